"""Every event of the wire as a frozen class, named after the wire type in CamelCase, with the wire's fields.

    Event                        .type, .event_id
    ├── ServerEvent = AnyEvent   .raw, the frame as it came
    │   ├── one class for each type the service sends
    │   ├── ChoicesEvent         a frame without type that one third-party SDK reports
    │   └── UnknownEvent         a type this package does not know; everything is in .raw
    │       └── MalformedEvent   a frame that could not be read; .problem says why
    └── ClientEvent              one class for each type the client sends; audio and images are bytes

Whatever a frame may lack is None. Times are in milliseconds, counted from the first audio of the session;
texts and audio never appear in a ``repr``. "Source" names the page of the service's documentation: "client
events" and "server events" are those of Qwen-Omni-Realtime, "ASR", "TTS", "LiveTranslate" and "Qwen-Audio"
those of its siblings on the same path.

This module and those it gathers for the public (`_objects`, `_client_events`, `_response_events`, `_wire`)
know nothing of the rest of the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs

from ._client_events import (
    CLIENT_EVENTS,
    ClientEvent,
    ConversationItemCreate,
    ConversationItemDelete,
    ConversationItemRetrieve,
    InputAudioBufferAppend,
    InputAudioBufferClear,
    InputAudioBufferCommit,
    InputImageBufferAppend,
    InputTextBufferAppend,
    InputTextBufferClear,
    InputTextBufferCommit,
    ResponseCancel,
    ResponseCreate,
    SessionFinish,
    SessionUpdate,
)
from ._objects import (
    AudioFormatObject,
    AudioInputObject,
    AudioObject,
    AudioOutputObject,
    ContentPart,
    ErrorDetail,
    Item,
    ResponseObject,
    SessionObject,
    StatusDetails,
    TokenDetails,
    TranscriptionObject,
    TurnDetectionObject,
    Usage,
)
from ._response_events import (
    ResponseAudioDelta,
    ResponseAudioDone,
    ResponseAudioTranscriptDelta,
    ResponseAudioTranscriptDone,
    ResponseAudioTranscriptText,
    ResponseCancelled,
    ResponseContentPartAdded,
    ResponseContentPartDone,
    ResponseCreated,
    ResponseDone,
    ResponseFunctionCallArgumentsDelta,
    ResponseFunctionCallArgumentsDone,
    ResponseOutputItemAdded,
    ResponseOutputItemDone,
    ResponsePiece,
    ResponseTextDelta,
    ResponseTextDone,
    ResponseTextText,
    decoded,
)
from ._wire import Event, ServerEvent, shown_as_bytes, shown_as_chars

__all__ = [
    "CLIENT_EVENTS",
    "SERVER_EVENTS",
    "AnyEvent",
    "AudioFormatObject",
    "AudioInputObject",
    "AudioObject",
    "AudioOutputObject",
    "ChoicesEvent",
    "ClientEvent",
    "ContentPart",
    "ConversationItemAmbientAudioTranscriptionCompleted",
    "ConversationItemAmbientAudioTranscriptionDelta",
    "ConversationItemCreate",
    "ConversationItemCreated",
    "ConversationItemDelete",
    "ConversationItemDeleted",
    "ConversationItemInputAudioTranscriptionCompleted",
    "ConversationItemInputAudioTranscriptionDelta",
    "ConversationItemInputAudioTranscriptionFailed",
    "ConversationItemInputAudioTranscriptionText",
    "ConversationItemRetrieve",
    "ConversationItemRetrieved",
    "Error",
    "ErrorDetail",
    "Event",
    "InputAudioBufferAppend",
    "InputAudioBufferClear",
    "InputAudioBufferCleared",
    "InputAudioBufferCommit",
    "InputAudioBufferCommitted",
    "InputAudioBufferSpeechStarted",
    "InputAudioBufferSpeechStopped",
    "InputImageBufferAppend",
    "InputTextBufferAppend",
    "InputTextBufferClear",
    "InputTextBufferCleared",
    "InputTextBufferCommit",
    "InputTextBufferCommitted",
    "Item",
    "MalformedEvent",
    "ResponseAudioDelta",
    "ResponseAudioDone",
    "ResponseAudioTranscriptDelta",
    "ResponseAudioTranscriptDone",
    "ResponseAudioTranscriptText",
    "ResponseCancel",
    "ResponseCancelled",
    "ResponseContentPartAdded",
    "ResponseContentPartDone",
    "ResponseCreate",
    "ResponseCreated",
    "ResponseDone",
    "ResponseFunctionCallArgumentsDelta",
    "ResponseFunctionCallArgumentsDone",
    "ResponseObject",
    "ResponseOutputItemAdded",
    "ResponseOutputItemDone",
    "ResponsePiece",
    "ResponseTextDelta",
    "ResponseTextDone",
    "ResponseTextText",
    "ServerEvent",
    "SessionCreated",
    "SessionFinish",
    "SessionFinished",
    "SessionObject",
    "SessionUpdate",
    "SessionUpdated",
    "StatusDetails",
    "TokenDetails",
    "TranscriptionObject",
    "TranscriptionPreview",
    "TurnDetectionObject",
    "UnknownEvent",
    "Usage",
    "VoiceprintAudioListCompleted",
    "VoiceprintAudioListFailed",
    "VoiceprintAudioListInProgress",
]


AnyEvent = ServerEvent
"""Stands for every server event, where a class of event is asked for."""


# Frames that are not an event this package knows.


@attrs.frozen(kw_only=True, eq=False, repr=False)
class UnknownEvent(ServerEvent):
    """An event of a type this package does not know: new since this was written; read it from ``raw``.

    Attributes:
        type: The wire type.
    """

    type: str  # type: ignore[misc]  # the one event whose type belongs to the instance


@attrs.frozen(kw_only=True, eq=False, repr=False)
class MalformedEvent(UnknownEvent):
    """A frame that could not be read: no JSON, no object, no type, or a field of the wrong JSON type.

    It is an event like any other and ends nothing: the next frame may be fine.

    Attributes:
        type: The wire type, or "" when the frame has none.
        problem: One sentence naming what is wrong; it never quotes the frame.
        raw: The frame, when it was a JSON object.
    """

    problem: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ChoicesEvent(ServerEvent):
    """An odd frame without type, shaped as Chat Completions: ``choices[0].message.content[]``.

    Source: one third-party SDK; not documented. The wire has no type for it, ``type`` is a name of ours.

    Attributes:
        text: The texts of the content, joined; None when it has none.
        data: The Base64 audio pieces of the content.
        finish_reason: Why the answer ended; None while it is running (the wire says the text "null" then).
    """

    type: ClassVar[str] = "choices"
    text: str | None = attrs.field(default=None, repr=shown_as_chars)
    data: tuple[str, ...] = attrs.field(default=(), repr=lambda pieces: shown_as_bytes("".join(pieces)))
    finish_reason: str | None = None

    @property
    def audio(self) -> bytes:
        """The audio of all pieces; b"" when there is none.

        Raises:
            ValueError: A piece is not Base64.
        """
        return b"".join(decoded(self, piece) for piece in self.data)


# The session. Every family on this path.


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Error(ServerEvent):
    """The service refused or failed something; whether the session goes on depends on ``error.type``.

    ``invalid_request_error`` keeps the session open, ``server_error`` ends it. Source: server events, error.
    """

    type: ClassVar[str] = "error"
    error: ErrorDetail | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SessionCreated(ServerEvent):
    """The first event of every connection: the session with its defaults.

    Source: server events, session.created.
    """

    type: ClassVar[str] = "session.created"
    session: SessionObject | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SessionUpdated(ServerEvent):
    """A ``session.update`` was taken: the whole configuration, changed fields included.

    Source: server events, session.updated.
    """

    type: ClassVar[str] = "session.updated"
    session: SessionObject | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SessionFinished(ServerEvent):
    """Everything before ``session.finish`` is done. Source: ASR, TTS and LiveTranslate, session.finished."""

    type: ClassVar[str] = "session.finished"


# Input: the audio buffer, the text buffer of TTS.


@attrs.frozen(kw_only=True, eq=False, repr=False)
class InputAudioBufferSpeechStarted(ServerEvent):
    """Turn detection hears speech; may repeat for the same speech. Source: server events.

    Attributes:
        audio_start_ms: Where in the input the speech starts.
        item_id: The user item this will become.
        speaker_id: Who speaks (LiveTranslate 3.8); its JSON type is not documented.
    """

    type: ClassVar[str] = "input_audio_buffer.speech_started"
    audio_start_ms: int | None = None
    item_id: str | None = None
    speaker_id: str | int | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class InputAudioBufferSpeechStopped(ServerEvent):
    """Turn detection hears that the speech is over. Source: server events.

    Attributes:
        audio_end_ms: Where in the input the speech ends.
        item_id: The user item this becomes.
        reason: ``turn_invalid`` when the turn is dropped (Qwen-Audio).
    """

    type: ClassVar[str] = "input_audio_buffer.speech_stopped"
    audio_end_ms: int | None = None
    item_id: str | None = None
    reason: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class InputAudioBufferCommitted(ServerEvent):
    """The buffer became a user item, by turn detection or by commit. Source: server events.

    Attributes:
        item_id: The user item; missing on LiveTranslate.
        previous_item_id: The item before it (ASR, Qwen-Audio).
    """

    type: ClassVar[str] = "input_audio_buffer.committed"
    item_id: str | None = None
    previous_item_id: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class InputAudioBufferCleared(ServerEvent):
    """The buffer was emptied by ``input_audio_buffer.clear``. Source: server events."""

    type: ClassVar[str] = "input_audio_buffer.cleared"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class InputTextBufferCommitted(ServerEvent):
    """The text buffer goes to speech. Source: TTS server events."""

    type: ClassVar[str] = "input_text_buffer.committed"
    item_id: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class InputTextBufferCleared(ServerEvent):
    """The text buffer was emptied by ``input_text_buffer.clear``. Source: TTS server events."""

    type: ClassVar[str] = "input_text_buffer.cleared"


# The conversation.


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemCreated(ServerEvent):
    """An item joined the conversation: the user's, the answer's, a function call or its output.

    It also acknowledges ``conversation.item.create``. With semantic VAD it may come while the user still
    speaks; only `InputAudioBufferCommitted` accepts the turn. Source: server events.

    Attributes:
        item: The item; a function call's arguments are still "".
        previous_item_id: The item before it; on LiveTranslate it links a translation to its source.
    """

    type: ClassVar[str] = "conversation.item.created"
    item: Item | None = None
    previous_item_id: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemDeleted(ServerEvent):
    """An item left the conversation. Source: Qwen-Audio server events."""

    type: ClassVar[str] = "conversation.item.deleted"
    item_id: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemRetrieved(ServerEvent):
    """The item that ``conversation.item.retrieve`` asked for. Source: Qwen-Audio server events."""

    type: ClassVar[str] = "conversation.item.retrieved"
    item: Item | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TranscriptionPreview(ServerEvent):
    """What the user has said so far: the base of the four events that preview a transcript.

    The previews of an item replace one another; the ``completed`` event has the final text.

    Attributes:
        item_id: The user item.
        content_index: The part of the item.
        text: The beginning that will not change any more.
        stash: The end that may still change.
        delta: A piece to append, in place of text and stash (LiveTranslate 3.8).
        language: For example ``zh``.
        emotion: For example ``neutral``; may be "".
        obfuscation: Padding without meaning.
    """

    item_id: str | None = None
    content_index: int | None = None
    text: str | None = attrs.field(default=None, repr=shown_as_chars)
    stash: str | None = attrs.field(default=None, repr=shown_as_chars)
    delta: str | None = attrs.field(default=None, repr=shown_as_chars)
    language: str | None = None
    emotion: str | None = None
    obfuscation: str | None = attrs.field(default=None, repr=shown_as_chars)

    @property
    def preview(self) -> str:
        """Text and stash together; where the wire has neither, the delta."""
        if self.text is None and self.stash is None:
            return self.delta or ""
        return (self.text or "") + (self.stash or "")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemInputAudioTranscriptionDelta(TranscriptionPreview):
    """The user's words so far.

    Source: server events of Omni and Qwen-Audio; LiveTranslate 3.8 with ``delta``.
    """

    type: ClassVar[str] = "conversation.item.input_audio_transcription.delta"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemInputAudioTranscriptionText(TranscriptionPreview):
    """The user's words so far. Source: server events of ASR and LiveTranslate."""

    type: ClassVar[str] = "conversation.item.input_audio_transcription.text"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemInputAudioTranscriptionCompleted(ServerEvent):
    """The user's words, final; may come any time after the item. Source: server events.

    Attributes:
        item_id: The user item.
        content_index: The part of the item.
        transcript: The words.
        language: For example ``en`` (siblings).
        emotion: For example ``neutral`` (siblings); may be "".
    """

    type: ClassVar[str] = "conversation.item.input_audio_transcription.completed"
    item_id: str | None = None
    content_index: int | None = None
    transcript: str | None = attrs.field(default=None, repr=shown_as_chars)
    language: str | None = None
    emotion: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemInputAudioTranscriptionFailed(ServerEvent):
    """The user's words could not be transcribed; the turn itself goes on. Source: server events."""

    type: ClassVar[str] = "conversation.item.input_audio_transcription.failed"
    item_id: str | None = None
    content_index: int | None = None
    error: ErrorDetail | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemAmbientAudioTranscriptionDelta(TranscriptionPreview):
    """Words heard around the user, so far. Source: Qwen-Audio server events."""

    type: ClassVar[str] = "conversation.item.ambient_audio_transcription.delta"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemAmbientAudioTranscriptionCompleted(ServerEvent):
    """Words heard around the user, final. Source: Qwen-Audio server events."""

    type: ClassVar[str] = "conversation.item.ambient_audio_transcription.completed"
    item_id: str | None = None
    content_index: int | None = None
    transcript: str | None = attrs.field(default=None, repr=shown_as_chars)
    language: str | None = None
    emotion: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class VoiceprintAudioListInProgress(ServerEvent):
    """The voiceprint recordings of a session are being read. Source: Qwen-Audio server events."""

    type: ClassVar[str] = "voiceprint_audio_list.in_progress"
    item_id: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class VoiceprintAudioListCompleted(ServerEvent):
    """The voiceprint recordings of a session were read. Source: Qwen-Audio server events."""

    type: ClassVar[str] = "voiceprint_audio_list.completed"
    item_id: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class VoiceprintAudioListFailed(ServerEvent):
    """The voiceprint recordings of a session could not be read. Source: Qwen-Audio server events."""

    type: ClassVar[str] = "voiceprint_audio_list.failed"
    item_id: str | None = None
    reason: str | None = None


SERVER_EVENTS: Mapping[str, type[ServerEvent]] = {
    event.type: event
    for event in (
        Error,
        SessionCreated,
        SessionUpdated,
        SessionFinished,
        InputAudioBufferSpeechStarted,
        InputAudioBufferSpeechStopped,
        InputAudioBufferCommitted,
        InputAudioBufferCleared,
        InputTextBufferCommitted,
        InputTextBufferCleared,
        ConversationItemCreated,
        ConversationItemDeleted,
        ConversationItemRetrieved,
        ConversationItemInputAudioTranscriptionDelta,
        ConversationItemInputAudioTranscriptionText,
        ConversationItemInputAudioTranscriptionCompleted,
        ConversationItemInputAudioTranscriptionFailed,
        ConversationItemAmbientAudioTranscriptionDelta,
        ConversationItemAmbientAudioTranscriptionCompleted,
        VoiceprintAudioListInProgress,
        VoiceprintAudioListCompleted,
        VoiceprintAudioListFailed,
        ResponseCreated,
        ResponseDone,
        ResponseCancelled,
        ResponseOutputItemAdded,
        ResponseOutputItemDone,
        ResponseContentPartAdded,
        ResponseContentPartDone,
        ResponseTextDelta,
        ResponseTextText,
        ResponseTextDone,
        ResponseAudioTranscriptDelta,
        ResponseAudioTranscriptText,
        ResponseAudioTranscriptDone,
        ResponseAudioDelta,
        ResponseAudioDone,
        ResponseFunctionCallArgumentsDelta,
        ResponseFunctionCallArgumentsDone,
    )
}
