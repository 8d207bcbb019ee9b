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

from .._events.response import ResponseAudioDelta, ResponseAudioTranscriptDelta, ResponseTextDelta
from .._events.wire import RememberedFrame, ServerEvent

_KINDS = (ResponseAudioDelta, ResponseTextDelta, ResponseAudioTranscriptDelta)
_MOST = 256  # frames remembered; then all are forgotten and learnt again
_PROOF = ("the proof's id", "the proof's delta")
_new = object.__new__
Setter = Callable[[Any, Any], None]


class _Known(RememberedFrame):
    """A remembered frame and how to make events of it.

    Events are filled through their slots: the constructor of a frozen class takes three times as long, and nothing but
    the two texts is new.
    """

    __slots__ = ("audio", "fixed", "kind", "set_delta", "set_id", "set_raw")

    def __init__(self, event: ServerEvent) -> None:
        super().__init__(dict(event.raw))
        kind = self.kind = type(event)
        self.audio = kind is ResponseAudioDelta
        self.set_id, self.set_delta, self.set_raw = (_setter(kind, name) for name in ("event_id", "delta", "_raw"))
        names = ("response_id", "item_id", "output_index", "content_index", *(("_audio",) if self.audio else ()))
        self.fixed = tuple((_setter(kind, name), getattr(event, name)) for name in names)

    def event(self, event_id: str, delta: str) -> ServerEvent:
        event: ServerEvent = _new(self.kind)
        self.set_id(event, event_id)
        self.set_delta(event, delta)
        self.set_raw(event, self)
        for setter, value in self.fixed:
            setter(event, value)
        return event


def _setter(kind: type, name: str) -> Setter:
    owner = next(base for base in kind.__mro__ if name in vars(base))
    setter: Setter = vars(owner)[name].__set__
    return setter


_frames: dict[bytes, _Known] = {}


def _cut(data: bytes) -> tuple[int, int, int, int] | None:
    """Return where the texts of ``event_id`` and ``delta`` begin and end, by the look of it."""
    find = data.find
    id_at = find(b'"event_id":"') + 12
    if id_at < 12:
        id_at = find(b'"event_id": "') + 13
        if id_at < 13:
            return None
    delta_at = find(b'"delta":"') + 9
    if delta_at < 9:
        delta_at = find(b'"delta": "') + 10
        if delta_at < 10:
            return None
    return id_at, find(b'"', id_at), delta_at, find(b'"', delta_at)


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
    known = _frames.get(_key(data, *cuts))
    if known is None or b"\\" in data:
        return None
    id_at, id_end, delta_at, delta_end = cuts
    event_id = str(data[id_at:id_end], "utf-8")
    delta = str(data[delta_at:delta_end], "utf-8")
    # In Base64 what is not printable is no Base64 either, and `.audio` says so; looking would cost as much as decoding.
    if not event_id.isprintable() or not (delta.isascii() if known.audio else delta.isprintable()):
        return None
    return known.event(event_id, delta)


def learn(data: bytes, event: ServerEvent) -> None:
    """Remember the frame of an event that was read the ordinary way, if the proof succeeds."""
    if type(event) not in _KINDS:
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
