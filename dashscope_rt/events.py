"""Every event of the wire as a frozen class, named after the wire type in CamelCase, with the wire's fields.

    Event                        .type, .event_id
    ├── ServerEvent = AnyEvent   .raw, the frame as it came
    │   ├── one class for each type the service sends
    │   ├── ChoicesEvent         a frame without type that one third-party SDK reports
    │   └── UnknownEvent         a type this package does not know; everything is in .raw
    │       └── MalformedEvent   a frame that could not be read; .problem says why
    └── ClientEvent              one class for each type the client sends; audio and images are bytes

Events with the same fields share a base, and one without fields of its own is a plain subclass: attrs has nothing to
write for it, which keeps the import cheap. Whatever a frame may lack is None. Times are in milliseconds, counted from
the first audio of the session; texts and audio never appear in a ``repr``. "Source" names the page of the service's
documentation: "client events" and "server events" are those of Qwen-Omni-Realtime, "ASR", "TTS", "LiveTranslate" and
"Qwen-Audio" those of its siblings on the same path.

This module and those it gathers for the public (`_client_events`, `_conversation_events`, `_response_events`,
`_objects`, `_wire`) know nothing of the rest of the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import attrs

from ._events.client import (
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
from ._events.conversation import (
    ConversationItemAmbientAudioTranscriptionCompleted,
    ConversationItemAmbientAudioTranscriptionDelta,
    ConversationItemCreated,
    ConversationItemDeleted,
    ConversationItemInputAudioTranscriptionCompleted,
    ConversationItemInputAudioTranscriptionDelta,
    ConversationItemInputAudioTranscriptionFailed,
    ConversationItemInputAudioTranscriptionText,
    ConversationItemRetrieved,
    TranscriptionCompleted,
    TranscriptionPreview,
    VoiceprintAudioList,
    VoiceprintAudioListCompleted,
    VoiceprintAudioListFailed,
    VoiceprintAudioListInProgress,
)
from ._events.objects import (
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
from ._events.response import (
    ResponseAudioDelta,
    ResponseAudioDone,
    ResponseAudioTranscriptDelta,
    ResponseAudioTranscriptDone,
    ResponseAudioTranscriptText,
    ResponseCancelled,
    ResponseContentPart,
    ResponseContentPartAdded,
    ResponseContentPartDone,
    ResponseCreated,
    ResponseDone,
    ResponseEvent,
    ResponseFunctionCallArgumentsDelta,
    ResponseFunctionCallArgumentsDone,
    ResponseOutputItem,
    ResponseOutputItemAdded,
    ResponseOutputItemDone,
    ResponsePiece,
    ResponsePreview,
    ResponseTextDelta,
    ResponseTextDone,
    ResponseTextText,
    ResponseWords,
    decoded,
)
from ._events.wire import Event, ServerEvent, shown_as_bytes, shown_as_chars

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
    "ResponseContentPart",
    "ResponseContentPartAdded",
    "ResponseContentPartDone",
    "ResponseCreate",
    "ResponseCreated",
    "ResponseDone",
    "ResponseEvent",
    "ResponseFunctionCallArgumentsDelta",
    "ResponseFunctionCallArgumentsDone",
    "ResponseObject",
    "ResponseOutputItem",
    "ResponseOutputItemAdded",
    "ResponseOutputItemDone",
    "ResponsePiece",
    "ResponsePreview",
    "ResponseTextDelta",
    "ResponseTextDone",
    "ResponseTextText",
    "ResponseWords",
    "ServerEvent",
    "SessionCreated",
    "SessionEvent",
    "SessionFinish",
    "SessionFinished",
    "SessionObject",
    "SessionUpdate",
    "SessionUpdated",
    "StatusDetails",
    "TokenDetails",
    "TranscriptionCompleted",
    "TranscriptionObject",
    "TranscriptionPreview",
    "TurnDetectionObject",
    "UnknownEvent",
    "Usage",
    "VoiceprintAudioList",
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
class SessionEvent(ServerEvent):
    """The base of the events that carry the session."""

    session: SessionObject | None = None


class SessionCreated(SessionEvent):
    """The first event of every connection: the session with its defaults.

    Source: server events, session.created.
    """

    __slots__ = ()
    type: ClassVar[str] = "session.created"


class SessionUpdated(SessionEvent):
    """A ``session.update`` was taken: the whole configuration, changed fields included.

    Source: server events, session.updated.
    """

    __slots__ = ()
    type: ClassVar[str] = "session.updated"


class SessionFinished(ServerEvent):
    """Everything before ``session.finish`` is done. Source: ASR, TTS and LiveTranslate, session.finished."""

    __slots__ = ()
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


class InputAudioBufferCleared(ServerEvent):
    """The buffer was emptied by ``input_audio_buffer.clear``. Source: server events."""

    __slots__ = ()
    type: ClassVar[str] = "input_audio_buffer.cleared"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class InputTextBufferCommitted(ServerEvent):
    """The text buffer goes to speech. Source: TTS server events."""

    type: ClassVar[str] = "input_text_buffer.committed"
    item_id: str | None = None


class InputTextBufferCleared(ServerEvent):
    """The text buffer was emptied by ``input_text_buffer.clear``. Source: TTS server events."""

    __slots__ = ()
    type: ClassVar[str] = "input_text_buffer.cleared"


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
