"""Deltas that differ from one before only in ``event_id`` and ``delta``, read without parsing them again.

All deltas of one part of an answer have the same frame around these two texts. The first is read the ordinary way, and
its frame is remembered with the two texts cut out, after a proof: with two other texts put in, it parses to the same
object with just these two values changed. A later message whose frame is the same, byte for byte, therefore means the
same, as long as the new texts are plain: no quote (that is how they are cut), no backslash, nothing unprintable.

A race between threads remembers a frame twice, which does no harm.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from .. import _speed
from .._events.response import ResponseAudioDelta, ResponseAudioTranscriptDelta, ResponsePiece, ResponseTextDelta
from .._events.wire import RememberedFrame, ServerEvent

_KINDS = (ResponseAudioDelta, ResponseTextDelta, ResponseAudioTranscriptDelta)
_MOST = 256  # frames remembered; then all are forgotten and learnt again
_PROOF = ("the proof's id", "the proof's delta")
_new = object.__new__
Setter = Callable[[Any, Any], None]


class _Known(RememberedFrame):
    """A remembered frame, and what its events have in common."""

    __slots__ = ("audio", "kind", "place", "set_delta")

    def __init__(self, event: ResponsePiece) -> None:
        super().__init__(dict(event.raw))
        self.kind = type(event)
        self.audio = isinstance(event, ResponseAudioDelta)
        self.set_delta = _setter(self.kind, "delta")
        self.place = event.response_id, event.item_id, event.output_index, event.content_index


def _setter(kind: type, name: str) -> Setter:
    setter: Setter = getattr(kind, name).__set__
    return setter


# Events are filled through their slots: the constructor of a frozen class takes three times as long.
_set_id, _set_raw = _setter(ServerEvent, "event_id"), _setter(ServerEvent, "_raw")
_set_response, _set_item = _setter(ResponsePiece, "response_id"), _setter(ResponsePiece, "item_id")
_set_output, _set_content = _setter(ResponsePiece, "output_index"), _setter(ResponsePiece, "content_index")
_set_audio = _setter(ResponseAudioDelta, "_audio")
_frames: dict[bytes, _Known] = {}


def _cut(data: bytes) -> tuple[int, int, int, int] | None:
    """Return where the texts of ``event_id`` and ``delta`` begin and end, by the look of it."""
    id_at = data.find(b'"event_id":"') + 12
    if id_at < 12:
        id_at = data.find(b'"event_id": "') + 13
        if id_at < 13:
            return None
    delta_at = data.find(b'"delta":"') + 9
    if delta_at < 9:
        delta_at = data.find(b'"delta": "') + 10
        if delta_at < 10:
            return None
    return id_at, data.find(b'"', id_at), delta_at, data.find(b'"', delta_at)


def _key(data: bytes, id_at: int, id_end: int, delta_at: int, delta_end: int) -> bytes:
    # Zero bytes cannot stand in JSON, so the pieces cannot be mistaken for one another.
    if id_at < delta_at:
        return b"\0".join((data[:id_at], data[id_end:delta_at], data[delta_end:]))
    return b"\0".join((data[:delta_at], b"", data[delta_end:id_at], data[id_end:]))


def read(data: bytes) -> ServerEvent | None:
    """Return the event, if its frame is remembered and its texts are plain; None: read it the ordinary way.

    Raises:
        UnicodeDecodeError: A text is not UTF-8.
    """
    cuts = _cut(data)
    if cuts is None:
        return None
    id_at, id_end, delta_at, delta_end = cuts
    known = _frames.get(_key(data, id_at, id_end, delta_at, delta_end))
    if known is None:
        return None
    plain = event_id = str(data[id_at:id_end], "utf-8")
    text = data[delta_at:delta_end]
    delta: str | bytes | None = text
    audio: bytes | None = None
    if not known.audio:
        delta = str(text, "utf-8")
        plain += delta
    elif _speed.base64_is_quick:
        delta, audio = None, _decoded(text)  # the text can be had from the audio, see ResponseAudioDelta
        if audio is None:
            return None
    elif b"\\" in text or not text.isascii():
        return None  # what else is no Base64 `.audio` says: looking for it here would cost as much as decoding
    if "\\" in plain or not plain.isprintable():
        return None
    event: ServerEvent = _new(known.kind)
    _set_id(event, event_id)
    _set_raw(event, known)
    known.set_delta(event, delta)
    response_id, item_id, output_index, content_index = known.place
    _set_response(event, response_id)
    _set_item(event, item_id)
    _set_output(event, output_index)
    _set_content(event, content_index)
    if known.audio:
        _set_audio(event, audio)
    return event


def _decoded(text: bytes) -> bytes | None:
    """Return the audio of a Base64 text; None when it is none, or not the one that the audio would be written as."""
    try:
        audio = _speed.base64_bytes(text)
    except ValueError:
        return None
    if text[-1:] == b"=" and _speed.base64_text(audio)[-4:] != text[-4:]:
        return None  # the last letter holds bits that mean nothing
    return audio


def learn(data: bytes, event: ServerEvent) -> None:
    """Remember the frame of an event that was read the ordinary way, if the proof succeeds."""
    if not isinstance(event, _KINDS):
        return
    cuts = _cut(data)
    if cuts is None or min(cuts) < 0:
        return
    id_at, id_end, delta_at, delta_end = cuts
    first, second = (text.encode() for text in _PROOF)
    if id_at < delta_at:
        other = data[:id_at] + first + data[id_end:delta_at] + second + data[delta_end:]
    else:
        other = data[:delta_at] + second + data[delta_end:id_at] + first + data[id_end:]
    try:
        proof = json.loads(other)
    except ValueError:
        return
    if proof != {**event.raw, "event_id": _PROOF[0], "delta": _PROOF[1]}:
        return
    if len(_frames) >= _MOST:
        _frames.clear()
    _frames[_key(data, *cuts)] = _Known(event)
