"""What a session counts: how much went where, what was dropped, how late the callbacks are.

The network thread counts; any thread takes a snapshot. Numbers may lag each other by one event, never more.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from .. import events as ev
from .._network.outbox import Outgoing
from ..audio.pcm import duration_ms

__all__ = ["Counters", "Stats"]


def _tenths(ms: float) -> str:
    return f"{ms:.1f}"


@attrs.frozen(kw_only=True)
class Stats:
    """A snapshot of ``session.stats``, since the session was opened; lost connections included.

    Attributes:
        audio_queued_ms: Audio appended and still waiting for the network.
        audio_sent_ms: Audio handed to the operating system.
        audio_dropped_ms: Audio appended that never left: it made room during a reconnect, or the session ended.
        frames_replaced: Pictures that made room for newer ones before they left.
        events_sent: Client events handed to the operating system.
        events_received: Messages from the service.
        bytes_sent: Payload bytes, without framing.
        bytes_received: Payload bytes, without framing.
        unreadable: Messages that could not be read as an event.
        unknown: Events of a type this version does not know.
        callback_lag_ms: How late the last callback began, counted from the arrival of its event.
        callback_lag_max_ms: The worst of these.
        callback_errors: Callbacks that raised.
        reconnects: Connections that replaced a lost or an old one.
    """

    audio_queued_ms: float = attrs.field(default=0.0, repr=_tenths)
    audio_sent_ms: float = attrs.field(default=0.0, repr=_tenths)
    audio_dropped_ms: float = attrs.field(default=0.0, repr=_tenths)
    frames_replaced: int = 0
    events_sent: int = 0
    events_received: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    unreadable: int = 0
    unknown: int = 0
    callback_lag_ms: float = attrs.field(default=0.0, repr=_tenths)
    callback_lag_max_ms: float = attrs.field(default=0.0, repr=_tenths)
    callback_errors: int = 0
    reconnects: int = 0


class Counters:
    """The running numbers behind `Stats`; written on the network thread.

    Args:
        input_rate: Hz, to tell ms from bytes.
    """

    def __init__(self, input_rate: int) -> None:
        self._rate = input_rate
        self.audio_bytes_sent = 0
        self.audio_bytes_dropped = 0
        self.events_sent = 0
        self.events_received = 0
        self.bytes_sent = 0
        self.bytes_received = 0
        self.unreadable = 0
        self.unknown = 0
        self.reconnects = 0
        self._unaccepted = 0  # bytes of audio sent since a turn was last accepted

    def not_understood(self, event: ev.UnknownEvent) -> None:
        """Count one of them that says nothing to us."""
        if isinstance(event, ev.MalformedEvent):
            self.unreadable += 1
        elif type(event) is ev.UnknownEvent:
            self.unknown += 1

    def sent(self, items: Iterable[Outgoing]) -> int:
        """Count what left; returns the raw audio bytes among it."""
        audio = 0
        for item in items:
            self.events_sent += 1
            self.bytes_sent += len(item.payload)
            audio += item.audio_bytes
        self.audio_bytes_sent += audio
        self._unaccepted += audio
        return audio

    def accepted(self) -> None:
        """The service has taken (or thrown away) the audio so far; nothing of it hangs in the air any more."""
        self._unaccepted = 0

    def unaccepted_ms(self) -> float:
        """How much audio went out since."""
        return duration_ms(self._unaccepted, self._rate)

    def audio_ms(self, items: Iterable[Outgoing]) -> float:
        """How much audio is in these."""
        return duration_ms(sum(item.audio_bytes for item in items), self._rate)

    def unsent(self, items: Iterable[Outgoing]) -> None:
        """Count what never left."""
        self.audio_bytes_dropped += sum(item.audio_bytes for item in items)

    def snapshot(self, *, queued_audio_bytes: int, lag: tuple[float, float], errors: int, replaced: int) -> Stats:
        """Return the numbers as they are now; lags in seconds."""
        return Stats(
            audio_queued_ms=duration_ms(queued_audio_bytes, self._rate),
            audio_sent_ms=duration_ms(self.audio_bytes_sent, self._rate),
            audio_dropped_ms=duration_ms(self.audio_bytes_dropped, self._rate),
            frames_replaced=replaced,
            events_sent=self.events_sent,
            events_received=self.events_received,
            bytes_sent=self.bytes_sent,
            bytes_received=self.bytes_received,
            unreadable=self.unreadable,
            unknown=self.unknown,
            callback_lag_ms=lag[0] * 1000,
            callback_lag_max_ms=lag[1] * 1000,
            callback_errors=errors,
            reconnects=self.reconnects,
        )
