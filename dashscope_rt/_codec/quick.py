"""Deltas that differ from one before only in ``event_id`` and ``delta``, read without parsing them again.

All deltas of one part of an answer have the same frame around these two texts. The first is read the ordinary way, and
its frame is remembered with the two texts cut out, after a proof: with two other texts put in, it parses to the same
object with just these two values changed. A later message whose frame is the same, byte for byte, therefore means the
same, as long as the new texts are plain: no quote (that is how they are cut), no backslash, nothing unprintable.

A race between threads remembers a frame twice, which does no harm.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ..events import ResponseAudioDelta, ResponseAudioTranscriptDelta, ResponseTextDelta, ServerEvent

_KINDS = (ResponseAudioDelta, ResponseTextDelta, ResponseAudioTranscriptDelta)
_MOST = 256  # frames remembered; then all are forgotten and learnt again
_ID, _DELTA = b'"event_id":', b'"delta":'
_PROOF = ("the proof's id", "the proof's delta")

Make = Callable[..., ServerEvent]
_frames: dict[bytes, tuple[Make, Mapping[str, Any], bool]] = {}


def _cut(data: bytes) -> tuple[int, int, int, int] | None:
    """Return where the texts of ``event_id`` and ``delta`` begin and end, by the look of it."""
    find = data.find
    id_at = find(_ID) + 11
    delta_at = find(_DELTA) + 8
    if id_at < 11 or delta_at < 8:
        return None
    id_at += 1 if data[id_at : id_at + 1] == b'"' else 2
    delta_at += 1 if data[delta_at : delta_at + 1] == b'"' else 2
    return id_at, find(b'"', id_at), delta_at, find(b'"', delta_at)


def _key(data: bytes, cuts: tuple[int, int, int, int]) -> bytes:
    id_at, id_end, delta_at, delta_end = cuts
    # Zero bytes cannot stand in JSON, so the pieces cannot be mistaken for one another.
    if id_at < delta_at:
        return b"%b\0%b\0%b" % (data[:id_at], data[id_end:delta_at], data[delta_end:])
    return b"%b\0\0%b\0%b" % (data[:delta_at], data[delta_end:id_at], data[id_end:])


def read(data: bytes) -> ServerEvent | None:
    """Return the event, if its frame is remembered and its texts are plain; None: read it the ordinary way.

    Raises:
        UnicodeDecodeError: A text is not UTF-8.
    """
    cuts = _cut(data)
    if cuts is None:
        return None
    known = _frames.get(_key(data, cuts))
    if known is None or b"\\" in data:
        return None
    make, frame, audio = known
    id_at, id_end, delta_at, delta_end = cuts
    event_id = str(data[id_at:id_end], "utf-8")
    if audio:  # Base64: what is not printable here is not Base64 either, and .audio says so
        if not data.isascii():
            return None
        delta = str(data[delta_at:delta_end], "ascii")
    else:
        delta = str(data[delta_at:delta_end], "utf-8")
        if not delta.isprintable():
            return None
    if not event_id.isprintable():
        return None
    return make(event_id=event_id, delta=delta, raw={**frame, "event_id": event_id, "delta": delta})


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
    fixed = {
        name: getattr(event, name) for name in ("response_id", "item_id", "output_index", "content_index")
    }
    _frames[_key(data, cuts)] = (partial(type(event), **fixed), dict(event.raw), type(event) is ResponseAudioDelta)
