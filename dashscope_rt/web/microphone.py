"""The browser's microphone on its way into a session: resampled, and bounded when the line to the service is slow."""

from __future__ import annotations

from ..audio.pcm import duration_ms
from ..audio.resampling import Resampler
from ..session import RealtimeSession


class Line:
    """Takes what the browser sends. The relay's thread only; never waits for the network.

    While the session has too much that it could not send yet, what comes is thrown away: it would be heard late, and
    so would everything after it.

    Args:
        session: An open session.
        rate: Hz of what comes.
        max_ms: So much may wait in the session.

    Raises:
        ImportError: The rate is not the session's, and soxr is not installed (it comes with the extras ``flask`` and
            ``django``).

    Attributes:
        dropped_ms: What was thrown away, in ms, since the beginning.
        fed_ms: What the session got since `restart`.
    """

    def __init__(self, session: RealtimeSession, rate: int, *, max_ms: float) -> None:
        self._session = session
        self._resampler = Resampler(rate, session.input_rate)
        self._max_ms = max_ms
        self.dropped_ms = 0.0
        self.fed_ms = 0.0

    def put(self, pcm: bytes) -> bool:
        """Take a piece; returns False when it was thrown away."""
        return self._feed(self._resampler.feed(pcm))

    def finish(self) -> None:
        """The turn ends here (manual mode): what is still inside the resampler belongs to it."""
        self._feed(self._resampler.end())

    def restart(self) -> None:
        """A new turn begins."""
        self.fed_ms = 0.0

    def _feed(self, pcm: bytes) -> bool:
        if not pcm:
            return True
        ms = duration_ms(len(pcm), self._session.input_rate)
        if self._session.stats.audio_queued_ms + ms > self._max_ms:
            self.dropped_ms += ms
            return False
        self._session.append_audio(pcm)
        self.fed_ms += ms
        return True
