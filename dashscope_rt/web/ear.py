"""What a browser plays: an outlet for `RealtimeSession.play_on` that knows what the browser says it has played.

network thread   write, end, stop ─► outgoing ─► browser
relay's thread   played(turn, ms) ◄─ browser: about five times a second while it sounds, once at the end
any thread       heard_ms, unheard, turn

Between two reports the time that went by counts as heard, for a quarter of a second at the most. A browser that never
reports counts as one that plays everything at once and without a pause.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import attrs

from ..audio.pcm import duration_ms
from . import messages
from .outgoing import Outgoing

_REMEMBERED = 64  # responses
_BETWEEN_MS = 250.0


@attrs.define(eq=False)
class _Spoken:
    turn: int
    sent_ms: float = 0.0
    began_at: float | None = None
    reported_ms: float | None = None
    reported_at: float = 0.0
    stopped_at: float | None = None


class Ear:
    """An outlet for `RealtimeSession.play_on`; numbers the responses as turns, from 1. Nothing here waits.

    Args:
        outgoing: The browser's queue.
        too_slow: Called when the browser is too far behind; on the network thread, must return at once.
        clock: Seconds.
        ahead_ms: So much speech may have been sent and not have sounded.
    """

    def __init__(
        self,
        outgoing: Outgoing,
        too_slow: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        ahead_ms: float = float("inf"),
    ) -> None:
        self._outgoing = outgoing
        self._too_slow = too_slow
        self._ahead_ms = ahead_ms
        self._clock = clock
        # Guards everything below; a leaf: only the outgoing queue is called under it.
        self._lock = threading.Lock()
        self._by_id: dict[str, _Spoken] = {}
        self._last = 0
        self._reports = False

    def turn(self, response_id: str) -> int:
        """The number of a response; the first to ask makes it, and tells the browser ``response_started``."""
        with self._lock:
            return self._entry(response_id).turn

    def _entry(self, response_id: str) -> _Spoken:
        entry = self._by_id.get(response_id)
        if entry is None:
            self._last += 1
            entry = self._by_id[response_id] = _Spoken(self._last)
            while len(self._by_id) > _REMEMBERED:
                del self._by_id[next(iter(self._by_id))]
            self._outgoing.put(messages.text_frame("response_started", turn=entry.turn))
        return entry

    def played(self, turn: int, ms: float) -> None:
        """The browser says how much of a turn has sounded, in ms."""
        with self._lock:
            self._reports = True
            for entry in self._by_id.values():
                if entry.turn == turn:
                    entry.reported_ms = min(max(entry.reported_ms or 0.0, ms), entry.sent_ms)
                    entry.reported_at = self._clock()

    # ---- Outlet -----------------------------------------------------------------------------------------------

    def write(self, pcm: bytes, source: str = "", rate: int | None = None) -> bool:
        """Send mono PCM; returns False when its source was stopped."""
        with self._lock:
            entry = self._entry(source)
            if entry.stopped_at is not None:
                return False
            ms = duration_ms(len(pcm), rate or 24_000)
            # Some servers take everything, whoever reads it: then only what has sounded says how far behind it is.
            fits = self._unheard_ms() + ms <= self._ahead_ms and self._outgoing.put_audio(entry.turn, pcm, ms)
            if fits:
                entry.sent_ms += ms
                if entry.began_at is None:
                    entry.began_at = self._clock()
        if not fits:
            self._too_slow()
        return fits

    def end(self, source: str = "") -> None:
        """A source is complete; the browser learns it from ``response_done``."""

    def stop(self, source: str | None = None) -> list[str]:
        """Silence a source, or all."""
        with self._lock:
            now = self._clock()
            names = [source] if source is not None else list(self._by_id)
            hit = [name for name in names if self._entry(name).stopped_at is None]
            for name in hit:
                self._by_id[name].stopped_at = now
            if hit:
                self._outgoing.flush(max(self._by_id[name].turn for name in hit))
            return hit

    def unheard(self) -> list[str]:
        """The sources of which something is still to sound."""
        with self._lock:
            return [
                name
                for name, entry in self._by_id.items()
                if entry.stopped_at is None and entry.sent_ms - self._heard(entry) > 1.0
            ]

    def heard_ms(self, source: str = "") -> float:
        """How much of a source has sounded."""
        with self._lock:
            entry = self._by_id.get(source)
            return 0.0 if entry is None else self._heard(entry)

    def given_ms(self, source: str = "") -> float:
        """The same: what a browser has queued falls silent with the flush."""
        return self.heard_ms(source)

    def _unheard_ms(self) -> float:
        return sum(entry.sent_ms - self._heard(entry) for entry in self._by_id.values() if entry.stopped_at is None)

    def _heard(self, entry: _Spoken) -> float:
        now = entry.stopped_at if entry.stopped_at is not None else self._clock()
        if entry.reported_ms is not None:
            since = min((now - entry.reported_at) * 1000, _BETWEEN_MS)
            return min(entry.reported_ms + max(since, 0.0), entry.sent_ms)
        if self._reports or entry.began_at is None:
            return 0.0
        return min(max((now - entry.began_at) * 1000, 0.0), entry.sent_ms)
