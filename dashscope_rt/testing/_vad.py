"""Voice activity by loudness, on audio time: how fast the bytes arrive makes no difference.

Frames of 20 ms are loud or not. Speech starts with three loud frames out of five, and ends when that has not happened
again for the configured silence: a click does not start a turn, and a stop inside a word does not end one.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from operator import mul
from typing import Literal

FRAME_MS = 20
_WINDOW = 5
_NEEDED = 3


@dataclass(frozen=True)
class Edge:
    """Where speech starts or stops, in samples since the first sample of the session.

    Attributes:
        kind: ``started`` or ``stopped``.
        at: Where the speech itself starts or ends.
        noticed: How far had been heard when that became clear.
    """

    kind: Literal["started", "stopped"]
    at: int
    noticed: int


def level_of(threshold: float) -> float:
    """The loudness in dB of full scale from which a frame counts as speech: -40 for 0.5; lower is more sensitive."""
    return -50.0 + 20.0 * threshold


class EnergyVad:
    """Follows one stream of mono samples.

    Args:
        rate: Samples per second.
        threshold: From -1 to 1 as in ``turn_detection.threshold``.
        silence_ms: ``turn_detection.silence_duration_ms``.
        start: The position of the next sample.
    """

    def __init__(self, rate: int, threshold: float, silence_ms: int, start: int = 0) -> None:
        self.rate = rate
        self.frame = rate * FRAME_MS // 1000
        self.speaking = False
        self._level = (32768.0 * 10 ** (level_of(threshold) / 20)) ** 2 * self.frame
        self._silence_frames = math.ceil(silence_ms / FRAME_MS)
        self._pending: array[int] = array("h")
        self._position = start
        self._recent: deque[bool] = deque(maxlen=_WINDOW)
        self._quiet = 0
        self._last_loud = start

    def feed(self, values: array[int]) -> Iterator[Edge]:
        """Takes the next samples; gives the edges in them, one by one."""
        self._pending.extend(values)
        place = 0
        pending, frame = self._pending, self.frame
        edges = []
        while place + frame <= len(pending):
            piece = pending[place : place + frame]
            place += frame
            edge = self._step(sum(map(mul, piece, piece)) >= self._level)
            if edge is not None:
                edges.append(edge)
        del pending[:place]
        yield from edges

    def _step(self, loud: bool) -> Edge | None:
        start = self._position
        self._position += self.frame
        self._recent.append(loud)
        enough = sum(self._recent) >= _NEEDED
        if not self.speaking:
            if not enough:
                return None
            first = list(self._recent).index(True)
            self.speaking = True
            self._quiet = 0
            self._last_loud = self._position
            at = max(0, start - (len(self._recent) - 1 - first) * self.frame)
            return Edge("started", at, self._position)
        if loud and enough:
            self._quiet = 0
            self._last_loud = self._position
            return None
        self._quiet += 1
        if self._quiet < self._silence_frames:
            return None
        self.speaking = False
        self._recent.clear()
        return Edge("stopped", self._last_loud, self._position)
