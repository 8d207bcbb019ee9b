"""The events a client sends; `events` gives them to the public.

They carry decoded bytes and plain objects; `codec.encode` makes Base64 and JSON of them. ``event_id`` None
is not sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from .wire import Event, shown_as_bytes, shown_as_chars, shown_as_names


def _bytes_like(event: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        kind = type(value).__name__
        raise TypeError(
            f"{type(event).__name__}.{field.name} must be bytes, not {kind}; Base64 is made when it is sent"
        )


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ClientEvent(Event):
    """An event the client sends.

    Attributes:
        event_id: Names the event, so that an error can name it too; None is not sent (TTS and ASR want one).
    """

    event_id: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SessionUpdate(ClientEvent):
    """Change the configuration; only what is to change need be present.

    Source: client events, session.update.

    Attributes:
        session: The configuration as the wire wants it: `codec.config_to_wire` makes it of a
            ``SessionConfig``.
    """

    type: ClassVar[str] = "session.update"
    session: Mapping[str, Any] = attrs.field(repr=shown_as_names)


class SessionFinish(ClientEvent):
    """No more input will come; the service answers ``session.finished``. Source: ASR, TTS, LiveTranslate.

    Omni was seen to refuse it as an unknown type: there the client just closes.
    """

    __slots__ = ()
    type: ClassVar[str] = "session.finish"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class InputAudioBufferAppend(ClientEvent):
    """Add audio to the input buffer; no answer. Source: client events, input_audio_buffer.append.

    Attributes:
        audio: In the session's input format: by default PCM, signed 16 bit little-endian, mono, 16,000 Hz.
            100 ms (3,200 bytes) at a time is usual; 15 MiB of Base64 is the most the service takes at once.
    """

    type: ClassVar[str] = "input_audio_buffer.append"
    audio: bytes = attrs.field(repr=shown_as_bytes, validator=_bytes_like)


class InputAudioBufferCommit(ClientEvent):
    """Make a user item of the buffer (manual mode only); it starts no response. Source: client events."""

    __slots__ = ()
    type: ClassVar[str] = "input_audio_buffer.commit"


class InputAudioBufferClear(ClientEvent):
    """Empty the buffer. Source: client events."""

    __slots__ = ()
    type: ClassVar[str] = "input_audio_buffer.clear"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class InputImageBufferAppend(ClientEvent):
    """Add a picture to the buffer, after at least one piece of audio. Source: client events.

    Attributes:
        image: A JPEG; about one per second, at most 190 KB is advised (256 KB as Base64).
    """

    type: ClassVar[str] = "input_image_buffer.append"
    image: bytes = attrs.field(repr=shown_as_bytes, validator=_bytes_like)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class InputTextBufferAppend(ClientEvent):
    """Add text to be spoken. Source: TTS client events."""

    type: ClassVar[str] = "input_text_buffer.append"
    text: str = attrs.field(repr=shown_as_chars)


class InputTextBufferCommit(ClientEvent):
    """Speak what the text buffer holds, now. Source: TTS client events."""

    __slots__ = ()
    type: ClassVar[str] = "input_text_buffer.commit"


class InputTextBufferClear(ClientEvent):
    """Empty the text buffer. Source: TTS client events."""

    __slots__ = ()
    type: ClassVar[str] = "input_text_buffer.clear"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseCreate(ClientEvent):
    """Ask for an answer; one response at a time. Source: client events, response.create.

    Attributes:
        response: ``instructions`` and ``modalities`` for this answer; not documented, but taken by the
            service.
    """

    type: ClassVar[str] = "response.create"
    response: Mapping[str, Any] | None = attrs.field(default=None, repr=shown_as_names)


class ResponseCancel(ClientEvent):
    """Stop the answer that is running. Source: client events, response.cancel."""

    __slots__ = ()
    type: ClassVar[str] = "response.cancel"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemCreate(ClientEvent):
    """Add an item: a function's output, an MCP approval, the user's text. Source: client events.

    Attributes:
        item: ``{"type": "function_call_output", "call_id", "output"}``, ``{"type": "mcp_approval_response",
            "approval_request_id", "approve"}`` or ``{"type": "message", "role": "user", "content": [...]}``.
        previous_item_id: Where to insert it; OpenAI's field, not documented here.
    """

    type: ClassVar[str] = "conversation.item.create"
    item: Mapping[str, Any] = attrs.field(repr=shown_as_names)
    previous_item_id: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemDelete(ClientEvent):
    """Remove an item from the conversation. Source: Qwen-Audio client events."""

    type: ClassVar[str] = "conversation.item.delete"
    item_id: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConversationItemRetrieve(ClientEvent):
    """Ask for an item as the service holds it. Source: Qwen-Audio client events."""

    type: ClassVar[str] = "conversation.item.retrieve"
    item_id: str


CLIENT_EVENTS: Mapping[str, type[ClientEvent]] = {
    event.type: event
    for event in (
        SessionUpdate,
        SessionFinish,
        InputAudioBufferAppend,
        InputAudioBufferCommit,
        InputAudioBufferClear,
        InputImageBufferAppend,
        InputTextBufferAppend,
        InputTextBufferCommit,
        InputTextBufferClear,
        ResponseCreate,
        ResponseCancel,
        ConversationItemCreate,
        ConversationItemDelete,
        ConversationItemRetrieve,
    )
}
