"""What sounds and what was heard: the jitter buffer between the network and a loudspeaker. No device, no thread.

    network thread    write(pcm, source) ─┐                  ┌─ take(frames, at)   device thread, block by block
                      end(source)         ├─►  the buffer  ──┤
    any thread        stop()             ─┘                  └─ heard_ms(source), playhead(now)

A *source* is what the audio belongs to, such as a response's id. Sources play one after the other. A position counts as
heard when its sample is due at the loudspeaker, the device's latency included.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import attrs

from .pcm import BYTES_PER_SAMPLE

_REMEMBERED = 1000  # sources whose heard_ms is kept


@attrs.frozen(kw_only=True)
class Playhead:
    """Where a speaker is.

    Attributes:
        source: What sounds now, or sounded last; "" if nothing ever did.
        heard_ms: How much of it was really heard, in ms.
        buffered_ms: How much audio, of all sources, is still to come, in ms.
        sounding: Whether something sounds at this moment.
    """

    source: str = ""
    heard_ms: float = 0.0
    buffered_ms: float = 0.0
    sounding: bool = False


@attrs.define
class _Source:
    name: str
    frames_in: int = 0
    frames_out: int = 0  # handed to the device
    ended: bool = False
    stopped: bool = False


@attrs.frozen
class _Span:
    """Audio that was handed to the device: from ``at`` on (s, the device's clock) these frames sound."""

    at: float
    source: _Source
    frames: int


class Playback:
    """The buffer. Thread-safe; every method returns at once.

    Args:
        rate: Hz of the mono PCM in it.
        start_ms: So much must be buffered before a source begins to sound, or begins again after it ran dry; or the
            source must be at its end, or have waited for so long.
    """

    def __init__(self, rate: int, start_ms: float) -> None:
        self.rate = rate
        self._start = round(rate * start_ms / 1000)
        # Guards everything below; held for a few instructions, so a device thread may take it.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)  # a block was taken, or audio dropped
        self._waiting = 0
        self._pieces: deque[tuple[_Source, memoryview]] = deque()
        self._buffered = 0  # frames
        self._sources: dict[str, _Source] = {}
        self._spans: deque[_Span] = deque()
        self._current: _Source | None = None
        self._filling = True  # below the threshold: nothing sounds yet
        self._waited = 0  # frames of silence that were given while something was buffered
        self._quiet = -1  # frames of silence since the last sound; -1: there was none yet
        self.underruns = 0

    # ---- in ---------------------------------------------------------------------------------------------------

    def write(self, pcm: bytes, source: str = "") -> bool:
        """Add audio; returns False when its source was stopped, and then it never sounds."""
        with self._lock:
            entry = self._entry(source)
            if entry.stopped:
                return False
            frames = len(pcm) // BYTES_PER_SAMPLE
            if frames:
                self._pieces.append((entry, memoryview(pcm)[: frames * BYTES_PER_SAMPLE]))
                self._buffered += frames
                entry.frames_in += frames
                entry.ended = False
            return True

    def end(self, source: str = "") -> None:
        """Say that a source is complete: what there is of it sounds, however little."""
        with self._lock:
            if source in self._sources:
                self._sources[source].ended = True

    def stop(self, source: str | None = None) -> list[str]:
        """Drop what was not handed to the device yet, of one source or of all; what comes of them later is dropped too.

        Returns:
            The sources that lost something.
        """
        with self._lock:
            if source is not None:
                self._entry(source)
            hit = []
            for name, entry in self._sources.items():
                if source in (None, name) and not entry.stopped:
                    if entry.frames_in > entry.frames_out or not entry.ended:
                        hit.append(name)
                    entry.stopped = True
            self._pieces = deque(piece for piece in self._pieces if not piece[0].stopped)
            self._buffered = sum(len(pcm) // BYTES_PER_SAMPLE for _, pcm in self._pieces)
            if not self._pieces:
                self._filling, self._waited = True, 0
            self._changed.notify_all()
            return hit

    def _entry(self, name: str) -> _Source:
        # Under the lock.
        entry = self._sources.get(name)
        if entry is None or (name == "" and entry.stopped):  # who names no sources begins anew after a stop
            self._sources.pop(name, None)
            entry = self._sources[name] = _Source(name)
            while len(self._sources) > _REMEMBERED:
                del self._sources[next(iter(self._sources))]
        return entry

    # ---- out, device thread -----------------------------------------------------------------------------------

    def take(self, frames: int, at: float) -> bytes:
        """Return the next block, padded with silence.

        Args:
            frames: Its length.
            at: When its first frame is due at the loudspeaker, seconds on the device's clock.
        """
        out = bytearray()
        wanted = frames * BYTES_PER_SAMPLE
        with self._lock:
            if self._filling and not self._ready():
                self._waited += frames if self._buffered else 0
            else:
                while len(out) < wanted and self._pieces:
                    source, pcm = self._pieces[0]
                    part = pcm[: wanted - len(out)]
                    self._spans.append(
                        _Span(at + len(out) / BYTES_PER_SAMPLE / self.rate, source, len(part) // BYTES_PER_SAMPLE)
                    )
                    source.frames_out += len(part) // BYTES_PER_SAMPLE
                    self._current = source
                    out += part
                    if len(part) == len(pcm):
                        self._pieces.popleft()
                    else:
                        self._pieces[0] = (source, pcm[len(part) :])
                self._buffered -= len(out) // BYTES_PER_SAMPLE
                self._filling, self._waited = False, 0
                if len(out) < wanted:
                    self._filling = True
                    if self._current is not None and not (self._current.ended or self._current.stopped):
                        self.underruns += bool(out) or self._quiet == 0
            if out:
                self._quiet = frames - len(out) // BYTES_PER_SAMPLE
            elif self._quiet >= 0:
                self._quiet += frames
            while len(self._spans) > 1 and self._spans[0].at + self._spans[0].frames / self.rate < at - 5.0:
                self._spans.popleft()  # long heard; only what is still on its way is asked for
            if self._waiting:
                self._changed.notify_all()
        return bytes(out) + bytes(wanted - len(out))

    def _ready(self) -> bool:
        # Under the lock.
        if not self._pieces:
            return False
        return self._buffered >= self._start or self._pieces[0][0].ended or self._waited >= self._start

    # ---- what was heard ---------------------------------------------------------------------------------------

    def heard_ms(self, source: str, now: float) -> float:
        """Return how much of a source was really heard until ``now`` (s, the device's clock), in ms."""
        with self._lock:
            return self._heard(self._sources.get(source), now)

    def _heard(self, entry: _Source | None, now: float) -> float:
        if entry is None:
            return 0.0
        coming = sum(
            min(float(span.frames), max(0.0, span.frames - (now - span.at) * self.rate))
            for span in self._spans
            if span.source is entry
        )
        return (entry.frames_out - coming) * 1000 / self.rate

    def given_ms(self, source: str) -> float:
        """Return how much of a source was handed to the device, in ms: what will have been heard when it is silent."""
        with self._lock:
            entry = self._sources.get(source)
            return entry.frames_out * 1000 / self.rate if entry is not None else 0.0

    def unheard(self) -> list[str]:
        """Return the sources of which something is still to sound, oldest first."""
        with self._lock:
            return [
                name
                for name, entry in self._sources.items()
                if not entry.stopped and entry.frames_in > entry.frames_out
            ]

    def wait_silent(self, now: Callable[[], float], timeout: float | None) -> bool:
        """Wait until all of it was heard; looks when a block is taken. Not for the device's thread.

        Args:
            now: Tells the seconds on the device's clock; it must not wait.
            timeout: Seconds; None waits for ever.

        Returns:
            Whether all was heard.
        """

        def heard() -> bool:
            last = self._spans[-1] if self._spans else None
            return not self._pieces and (last is None or last.at + last.frames / self.rate <= now())

        with self._changed:
            self._waiting += 1
            try:
                return self._changed.wait_for(heard, timeout)
            finally:
                self._waiting -= 1

    def playhead(self, now: float) -> Playhead:
        """Return where it is at ``now`` (s, the device's clock)."""
        with self._lock:
            spans = [span for span in self._spans if span.at <= now < span.at + span.frames / self.rate]
            current = spans[-1].source if spans else self._current
            return Playhead(
                source=current.name if current is not None else "",
                heard_ms=self._heard(current, now),
                buffered_ms=self._buffered * 1000 / self.rate,
                sounding=bool(spans),
            )

    @property
    def quiet_ms(self) -> float:
        """How much silence was given since the last sound, in ms; infinite before the first."""
        quiet = self._quiet
        return float("inf") if quiet < 0 else quiet * 1000 / self.rate

    @property
    def silent(self) -> bool:
        """Whether nothing is buffered."""
        return not self._buffered
