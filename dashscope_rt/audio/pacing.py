"""Real time: audio that goes out as fast as it would be spoken, without drift."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from .pcm import duration_ms


class Pacer:
    """Holds audio back to the speed of real time; every wait is counted from the start, so errors do not add up.

        pacer = Pacer()
        for pcm in chunks(audio, 100, 16000):
            pacer.wait(100)
            session.append_audio(pcm)

    Args:
        speed: 1.0 is real time, 2.0 twice as fast.
        max_lag_ms: Who falls behind further than this (a stopped process, a source that paused) does not catch up in a
            burst: real time begins anew.
        clock: Gives seconds that never go back.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        *,
        speed: float = 1.0,
        max_lag_ms: float = 1000.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        if not speed > 0:
            raise ValueError(f"speed must be more than 0, not {speed}; 1.0 is real time")
        self._speed = speed
        self._max_lag = max_lag_ms / 1000
        self._clock = clock
        self._sleep = sleep
        self._due: float | None = None

    def wait(self, ms: float) -> float:
        """Wait until everything announced before has had its time, and announce ``ms`` more.

        Returns:
            How late this came, in ms; 0 in good times.
        """
        now = self._clock()
        if self._due is None or now - self._due > self._max_lag:
            self._due = now
        late = now - self._due
        if late < 0:
            self._sleep(-late)
        self._due += ms / 1000 / self._speed
        return max(0.0, late * 1000)


def paced(pieces: Iterable[bytes], rate: int, channels: int = 1, pacer: Pacer | None = None) -> Iterator[bytes]:
    """Yield PCM no faster than it would be spoken; the first piece at once."""
    pacer = pacer or Pacer()
    for pcm in pieces:
        pacer.wait(duration_ms(len(pcm), rate, channels))
        yield pcm
