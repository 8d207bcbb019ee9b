"""Deltas that differ from one before only in ``event_id`` and ``delta``, read without parsing them again.

All deltas of one part of an answer have the same frame around these two texts. The first is read the ordinary way, and
its frame is remembered with the two texts cut out, after a proof: with two other texts put in, it parses to the same
object with just these two values changed. A later message whose frame is the same, byte for byte, therefore means the
same, as long as the new texts are plain: no quote (that is how they are cut), no backslash, nothing unprintable.

Base64 is decoded afterwards, for all that came together. Between other work every piece takes a third longer, because
each drives the other's branches out of the processor's memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, cast

from .. import _speed
from .._events.response import ResponseAudioDelta, ResponseAudioTranscriptDelta, ResponsePiece, ResponseTextDelta
from .._events.wire import RememberedFrame, ServerEvent

KINDS = frozenset((ResponseAudioDelta, ResponseTextDelta, ResponseAudioTranscriptDelta))
_MOST = 4  # frames that one connection remembers: sound and words of an answer, and of the one before it
_PATIENCE, _NOW_AND_THEN = 16, 64  # frames learnt in vain, after which only one in so many is
_PROOF = (b"the proof's id", b"the proof's delta")
_new = object.__new__
Setter = Callable[[Any, Any], None]


class _Shape(RememberedFrame):
    """A remembered frame, and what its events have in common.

    Attributes:
        head: The bytes before the first of the two texts.
        middle: Those between them, quotes included.
        tail: Those after the second.
        id_first: Whether the first text is ``event_id``.
        start, gap, end: How many bytes ``head``, ``middle`` and ``tail`` have.
        checked: Whether a quote in the second text shows by itself, because it is no Base64.
    """

    __slots__ = (
        "audio", "checked", "end", "gap", "head", "id_first", "kind", "middle", "place", "set_delta", "start", "tail",
    )  # fmt: skip

    def __init__(self, event: ResponsePiece, parts: tuple[bytes, bytes, bytes], *, id_first: bool) -> None:
        super().__init__(dict(event.raw))
        self.kind = type(event)
        self.audio = isinstance(event, ResponseAudioDelta)
        self.set_delta = _setter(self.kind, "delta")
        self.place = event.response_id, event.item_id, event.output_index, event.content_index
        self.head, self.middle, self.tail = parts
        self.start, self.gap, self.end = map(len, parts)
        self.id_first = id_first
        self.checked = self.audio and id_first

    def event(self, event_id: bytes, text: bytes) -> ServerEvent | None:
        """Return an event of this shape, without its audio if it is to have some; None when its texts are not plain.

        Raises:
            UnicodeDecodeError: A text is not UTF-8.
        """
        plain = name = str(event_id, "utf-8")
        delta: str | None = None
        if not self.audio:
            delta = str(text, "utf-8")
            plain += delta
        if "\\" in plain or not plain.isprintable():
            return None
        event: ServerEvent = _new(self.kind)
        _set_id(event, name)
        _set_raw(event, self)
        self.set_delta(event, delta)
        response_id, item_id, output_index, content_index = self.place
        _set_response(event, response_id)
        _set_item(event, item_id)
        _set_output(event, output_index)
        _set_content(event, content_index)
        return event


def _message(event: ServerEvent, text: bytes) -> bytes:
    """Return what an event was made of."""
    shape = cast("_Shape", event._raw)
    event_id = (event.event_id or "").encode()
    first, second = (event_id, text) if shape.id_first else (text, event_id)
    return shape.head + first + shape.middle + second + shape.tail


def _setter(kind: type, name: str) -> Setter:
    setter: Setter = getattr(kind, name).__set__
    return setter


# Events are filled through their slots: the constructor of a frozen class takes three times as long.
_set_id, _set_raw = _setter(ServerEvent, "event_id"), _setter(ServerEvent, "_raw")
_set_response, _set_item = _setter(ResponsePiece, "response_id"), _setter(ResponsePiece, "item_id")
_set_output, _set_content = _setter(ResponsePiece, "output_index"), _setter(ResponsePiece, "content_index")
_set_audio = _setter(ResponseAudioDelta, "_audio")


class Deltas:
    """The frames that one connection remembers. Not thread-safe: whoever reads its messages owns it."""

    def __init__(self) -> None:
        self._shapes: list[_Shape] = []  # the newest first
        self._unsettled: list[tuple[ServerEvent, bytes]] = []  # audio deltas and their Base64 text
        self._in_vain = 0  # learnt since one was last recognised: a service may put something new into every delta

    def read(self, data: bytes) -> ServerEvent | None:
        """Return the event, if its frame is remembered and its texts are plain; None: read it the ordinary way.

        An event of audio is whole after `settle` only.

        Raises:
            UnicodeDecodeError: A text is not UTF-8.
        """
        for shape in self._shapes:
            start = shape.start
            end = data.find(b'"', start)
            if data.startswith(shape.middle, end) and data.startswith(shape.head) and data.endswith(shape.tail):
                at, stop = end + shape.gap, len(data) - shape.end
                second = data[at:stop]
                if at > stop or not (shape.checked or b'"' not in second):
                    continue
                self._in_vain = 0
                if shape.id_first:
                    event = shape.event(data[start:end], second)
                    text = second
                else:
                    text = data[start:end]
                    event = shape.event(second, text)
                if shape.audio and event is not None:
                    self._unsettled.append((event, text))
                return event
        return None

    def settle(self) -> Sequence[tuple[ServerEvent, bytes]]:
        """Give the events that `read` has returned their audio; the text can be had from it, see ResponseAudioDelta.

        Returns:
            Events that are none, because their text is not the one that any audio would be written as, and their
            messages: read these the ordinary way.
        """
        if not self._unsettled:
            return ()
        unsettled, self._unsettled = self._unsettled, []
        wrong = []
        decode = _speed.base64_bytes
        for event, text in unsettled:
            try:
                audio = decode(text)
            except ValueError:
                wrong.append((event, _message(event, text)))
                continue
            # The last letter may hold bits that mean nothing, and then the text cannot be had from the audio.
            if text[-1:] == b"=" and _speed.base64_text(audio)[-4:] != text[-4:]:
                wrong.append((event, _message(event, text)))
            else:
                _set_audio(event, audio)
        return wrong

    def learn(self, data: bytes, event: ServerEvent) -> None:
        """Remember the frame of a delta that was read the ordinary way, if the proof succeeds."""
        self._in_vain += 1
        if self._in_vain > _PATIENCE and self._in_vain % _NOW_AND_THEN:
            return
        of_id, of_delta = _text_of(data, b"event_id"), _text_of(data, b"delta")
        id_first = of_id < of_delta
        (start, end), (at, stop) = (of_id, of_delta) if id_first else (of_delta, of_id)
        if start < 0 or not start <= end < at <= stop:
            return
        head, middle, tail = data[:start], data[end:at], data[stop:]
        first, second = _PROOF if id_first else reversed(_PROOF)
        try:
            proof = json.loads(head + first + middle + second + tail)
        except ValueError:
            return
        event_id, delta = (text.decode() for text in _PROOF)
        if isinstance(event, ResponsePiece) and proof == {**event.raw, "event_id": event_id, "delta": delta}:
            self._shapes.insert(0, _Shape(event, (head, middle, tail), id_first=id_first))
            del self._shapes[_MOST:]


def _text_of(data: bytes, name: bytes) -> tuple[int, int]:
    """Return where the text of a field begins and ends, by the look of it; (-1, -1) when it is not seen."""
    for colon in (b'":"', b'": "'):
        at = data.find(b'"' + name + colon)
        if at >= 0:
            start = at + 1 + len(name) + len(colon)
            return start, data.find(b'"', start)
    return -1, -1
