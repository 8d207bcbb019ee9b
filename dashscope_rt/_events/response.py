"""The events of an answer, ``response.*``; `events` gives them to the public."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, ClassVar

import attrs

from .. import _speed
from .objects import ContentPart, Item, ResponseObject
from .wire import Event, ServerEvent, shown_as_bytes, shown_as_chars


def decoded(event: Event, text: str | bytes) -> bytes:
    """Decode an event's Base64; a ValueError names the event."""
    try:
        return _speed.base64_bytes(text)
    except ValueError as error:
        name = getattr(event, "event_id", None) or "without id"
        raise ValueError(f"the audio of event {name} ({event.type}) is not Base64: {error}") from error


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseEvent(ServerEvent):
    """The base of the events about an answer as a whole."""

    response: ResponseObject | None = None


class ResponseCreated(ResponseEvent):
    """The model starts an answer: asked for, after a VAD turn, or by itself (idle timeout).

    Source: server events.
    """

    __slots__ = ()
    type: ClassVar[str] = "response.created"


class ResponseDone(ResponseEvent):
    """The answer is over, with its items and what it cost. After a cancel it may never come.

    Source: server events.
    """

    __slots__ = ()
    type: ClassVar[str] = "response.done"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseCancelled(ResponseEvent):
    """The answer was cancelled. Source: third-party clients; the documentation does not mention it."""

    type: ClassVar[str] = "response.cancelled"
    response_id: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseOutputItem(ServerEvent):
    """The base of the events about an item of an answer.

    Attributes:
        response_id: The response.
        output_index: The item's place in it.
        item: The item.
    """

    response_id: str | None = None
    output_index: int | None = None
    item: Item | None = None


class ResponseOutputItemAdded(ResponseOutputItem):
    """The answer gets an item: a message or a function call, still empty. Source: server events."""

    __slots__ = ()
    type: ClassVar[str] = "response.output_item.added"


class ResponseOutputItemDone(ResponseOutputItem):
    """An item of the answer is complete. Source: server events."""

    __slots__ = ()
    type: ClassVar[str] = "response.output_item.done"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponsePiece(ServerEvent):
    """The base of the events about one part of an answer.

    Attributes:
        response_id: The response.
        item_id: Its item.
        output_index: The item's place in the response.
        content_index: The part's place in the item.
    """

    response_id: str | None = None
    item_id: str | None = None
    output_index: int | None = None
    content_index: int | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseContentPart(ResponsePiece):
    """The base of the events about a part as a whole."""

    part: ContentPart | None = None


class ResponseContentPartAdded(ResponseContentPart):
    """An item gets a part, audio or text, still empty. Source: server events."""

    __slots__ = ()
    type: ClassVar[str] = "response.content_part.added"


class ResponseContentPartDone(ResponseContentPart):
    """A part of an item is complete. Source: server events."""

    __slots__ = ()
    type: ClassVar[str] = "response.content_part.done"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseWords(ResponsePiece):
    """The base of the events that append words: ``delta`` is the piece to append."""

    delta: str | None = attrs.field(default=None, repr=shown_as_chars)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponsePreview(ResponsePiece):
    """The base of the events that preview words, each replacing the one before (LiveTranslate).

    Attributes:
        text: The beginning that will not change any more.
        stash: The end that may still change.
    """

    text: str | None = attrs.field(default=None, repr=shown_as_chars)
    stash: str | None = attrs.field(default=None, repr=shown_as_chars)

    @property
    def preview(self) -> str:
        """Text and stash together."""
        return (self.text or "") + (self.stash or "")


class ResponseTextDelta(ResponseWords):
    """A piece of a written answer: append ``delta``. Source: server events, response.text.delta."""

    __slots__ = ()
    type: ClassVar[str] = "response.text.delta"


class ResponseTextText(ResponsePreview):
    """The written translation so far: ``text`` stands, ``stash`` may change.

    Source: LiveTranslate server events.
    """

    __slots__ = ()
    type: ClassVar[str] = "response.text.text"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseTextDone(ResponsePiece):
    """A written answer, whole; also when it was interrupted. Source: server events, response.text.done."""

    type: ClassVar[str] = "response.text.done"
    text: str | None = attrs.field(default=None, repr=shown_as_chars)


class ResponseAudioTranscriptDelta(ResponseWords):
    """A piece of the words of a spoken answer: append ``delta``. Source: server events."""

    __slots__ = ()
    type: ClassVar[str] = "response.audio_transcript.delta"


class ResponseAudioTranscriptText(ResponsePreview):
    """The words of a spoken translation so far: ``text`` stands, ``stash`` may change.

    Source: LiveTranslate.
    """

    __slots__ = ()
    type: ClassVar[str] = "response.audio_transcript.text"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseAudioTranscriptDone(ResponsePiece):
    """The words of a spoken answer, whole. Source: server events, response.audio_transcript.done."""

    type: ClassVar[str] = "response.audio_transcript.done"
    transcript: str | None = attrs.field(default=None, repr=shown_as_chars)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseAudioDelta(ResponsePiece):
    """A piece of a spoken answer. Source: server events, response.audio.delta.

    Attributes:
        delta: Base64 text of the audio, in the session's output format: by default PCM, signed 16 bit little-endian,
            mono, 24,000 Hz.
    """

    type: ClassVar[str] = "response.audio.delta"
    delta: str | None = attrs.field(default=None, repr=shown_as_bytes)
    _audio: bytes | None = attrs.field(default=None, init=False, repr=False, eq=False)

    @property
    def audio(self) -> bytes:
        """The audio itself; b"" when there is none.

        Any thread may ask; two that ask at once decode the same bytes twice, which does no harm.

        Raises:
            ValueError: ``delta`` is not Base64.
        """
        audio = self._audio
        if audio is None:
            text = _kept_text(self)
            if text is None:
                return b""
            try:
                audio = _speed.base64_bytes(text)
            except ValueError:
                audio = decoded(self, text)  # which says whose it is
            _keep_audio(self, audio)  # a frozen event's one write: nobody can observe it
            # The text can be had from the audio again, but for bits of its last letter that mean nothing.
            if text[-1:] != "=" or text[-4:].encode() == base64.b64encode(audio)[-4:]:
                _keep_text(self, None)
        return audio

    @property
    def _carried(self) -> str | bytes:
        """What it holds just now: Base64 text, or the audio itself; for whoever keeps thousands of them."""
        audio = self._audio
        return (_kept_text(self) or "") if audio is None else audio

    @property
    def audio_bytes(self) -> int:
        """How many bytes `audio` has, counted without decoding it."""
        if self._audio is not None:
            return len(self._audio)
        text = self.delta or ""
        end = text[-2:]
        letters = len(text) - len(end) + len(end.rstrip("="))
        return letters * 3 // 4


class _AudioText:
    """What ``ResponseAudioDelta.delta`` is: hardly anybody wants the text, and it is larger than the audio.

    It is kept until the audio was asked for; from then on it is made anew from that.
    """

    def __get__(self, event: ResponseAudioDelta | None, kind: type | None = None) -> Any:
        if event is None:
            return _text_slot
        text, audio = _kept_text(event), event._audio
        if text is None and audio is not None:
            return str(_speed.base64_text(audio), "ascii")
        return text

    def __set__(self, event: ResponseAudioDelta, text: str | None) -> None:
        _keep_text(event, text)  # for the constructor; from outside a frozen event refuses before it comes here


_text_slot: Any = ResponseAudioDelta.delta
_kept_text: Callable[[ResponseAudioDelta], str | None] = _text_slot.__get__
_keep_text: Callable[[ResponseAudioDelta, str | None], None] = _text_slot.__set__
_keep_audio: Callable[[ResponseAudioDelta, bytes], None] = ResponseAudioDelta._audio.__set__  # type: ignore[union-attr]
ResponseAudioDelta.delta = _AudioText()  # type: ignore[assignment]


class ResponseAudioDone(ResponsePiece):
    """All audio of a part was sent. Source: server events, response.audio.done."""

    __slots__ = ()
    type: ClassVar[str] = "response.audio.done"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseFunctionCallArgumentsDelta(ResponsePiece):
    """A piece of a call's arguments: append ``delta``. Source: server events."""

    type: ClassVar[str] = "response.function_call_arguments.delta"
    call_id: str | None = None
    delta: str | None = attrs.field(default=None, repr=shown_as_chars)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseFunctionCallArgumentsDone(ResponsePiece):
    """A call's arguments, whole; run it only when its response is done and ``completed``.

    Source: server events.

    Attributes:
        call_id: Names the call; give it back with the output.
        name: The function.
        arguments: JSON text, often with a leading space.
    """

    type: ClassVar[str] = "response.function_call_arguments.done"
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = attrs.field(default=None, repr=shown_as_chars)
