"""The events of the conversation, ``conversation.item.*`` and voiceprints; `events` gives them to the public."""

from __future__ import annotations

from typing import ClassVar

import attrs

from .objects import ErrorDetail, Item
from .wire import ServerEvent, shown_as_chars


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
class TranscriptionCompleted(ServerEvent):
    """A final transcript: the base of the two events that carry one.

    Attributes:
        item_id: The user item.
        content_index: The part of the item.
        transcript: The words.
        language: For example ``en`` (siblings).
        emotion: For example ``neutral`` (siblings); may be "".
    """

    item_id: str | None = None
    content_index: int | None = None
    transcript: str | None = attrs.field(default=None, repr=shown_as_chars)
    language: str | None = None
    emotion: str | None = None


class ConversationItemInputAudioTranscriptionDelta(TranscriptionPreview):
    """The user's words so far.

    Source: server events of Omni and Qwen-Audio; LiveTranslate 3.8 with ``delta``.
    """

    __slots__ = ()
    type: ClassVar[str] = "conversation.item.input_audio_transcription.delta"


class ConversationItemInputAudioTranscriptionText(TranscriptionPreview):
    """The user's words so far. Source: server events of ASR and LiveTranslate."""

    __slots__ = ()
    type: ClassVar[str] = "conversation.item.input_audio_transcription.text"


class ConversationItemInputAudioTranscriptionCompleted(TranscriptionCompleted):
    """The user's words, final; may come any time after the item. Source: server events."""

    __slots__ = ()
    type: ClassVar[str] = "conversation.item.input_audio_transcription.completed"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemInputAudioTranscriptionFailed(ServerEvent):
    """The user's words could not be transcribed; the turn itself goes on. Source: server events."""

    type: ClassVar[str] = "conversation.item.input_audio_transcription.failed"
    item_id: str | None = None
    content_index: int | None = None
    error: ErrorDetail | None = None


class ConversationItemAmbientAudioTranscriptionDelta(TranscriptionPreview):
    """Words heard around the user, so far. Source: Qwen-Audio server events."""

    __slots__ = ()
    type: ClassVar[str] = "conversation.item.ambient_audio_transcription.delta"


class ConversationItemAmbientAudioTranscriptionCompleted(TranscriptionCompleted):
    """Words heard around the user, final. Source: Qwen-Audio server events."""

    __slots__ = ()
    type: ClassVar[str] = "conversation.item.ambient_audio_transcription.completed"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class VoiceprintAudioList(ServerEvent):
    """The base of the events about a session's voiceprint recordings (Qwen-Audio); ``reason`` only on failure."""

    item_id: str | None = None
    reason: str | None = None


class VoiceprintAudioListInProgress(VoiceprintAudioList):
    """The voiceprint recordings of a session are being read. Source: Qwen-Audio server events."""

    __slots__ = ()
    type: ClassVar[str] = "voiceprint_audio_list.in_progress"


class VoiceprintAudioListCompleted(VoiceprintAudioList):
    """The voiceprint recordings of a session were read. Source: Qwen-Audio server events."""

    __slots__ = ()
    type: ClassVar[str] = "voiceprint_audio_list.completed"


class VoiceprintAudioListFailed(VoiceprintAudioList):
    """The voiceprint recordings of a session could not be read. Source: Qwen-Audio server events."""

    __slots__ = ()
    type: ClassVar[str] = "voiceprint_audio_list.failed"
