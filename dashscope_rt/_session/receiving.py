"""The receiving half of a connection, on the network thread: messages to events, to state, to the inbox."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from .. import codec
from .. import events as ev
from .._network.frames import TEXT, Message
from ..errors import APIError, ProtocolError
from . import callbacks
from .callbacks import Batch, Heard, Inbox, Reader, as_heard
from .calling import Calling
from .opening import OPEN, Opening
from .recovery import Recovery
from .sending import Sending
from .state import Notice
from .stats import Counters

_log = logging.getLogger("dashscope_rt")
_FOLLOWED = frozenset((ev.Error, ev.MalformedEvent, ev.InputAudioBufferCommitted, ev.InputAudioBufferCleared))
_DELTAS = frozenset((ev.ResponseAudioDelta, ev.ResponseAudioTranscriptDelta, ev.ResponseTextDelta))
Sink = Callable[["ev.ServerEvent | None", "tuple[Notice, ...]", float], None]  # None: time brought the notices


class Receiving(Sending):
    """What `Connection` receives with; the attributes are set there.

    Everything one read of the socket gives goes through together: one lock, one hand-over to the callbacks.
    """

    calling: Calling
    counters: Counters
    inbox: Inbox
    reader: Reader
    _state_lock: threading.Lock
    _opening: Opening
    _recovery: Recovery | None
    _fatal: APIError | None

    def __init__(self) -> None:
        super().__init__()
        self._decoder = codec.Decoder()
        self._waiting = 0  # threads inside a wait; spares a notify per read when there are none
        self._sinks: tuple[Sink, ...] = ()
        self.unheard: list[Batch] = []  # what callbacks will be told of when the network thread has done its work

    def _advance(self, event: ev.ServerEvent, now: float) -> tuple[Notice, ...]:
        raise AssertionError  # the connection knows how it opens

    def _follow(self, event: ev.ServerEvent, notices: Sequence[Notice]) -> None:
        raise AssertionError  # the connection knows what a reconnect will need

    def add_sink(self, sink: Sink) -> None:
        """Have every later event folded into ``sink`` on the network thread, under `changed`: pure code only."""
        with self.changed:
            self._check_open()
            self._sinks = (*self._sinks, sink)

    def remove_sink(self, sink: Sink) -> None:
        """Undo `add_sink`."""
        with self.changed:
            self.sinks_changed(without=sink)

    def sinks_changed(self, *, without: Sink) -> None:
        """Undo `add_sink` where `changed` is held already."""
        self._sinks = tuple(other for other in self._sinks if other != without)

    def received(self, messages: Iterator[Message]) -> float:
        """Decode, fold, hand over: all that one read gave, together."""
        events: list[ev.ServerEvent] = []
        sizes: list[int] = []
        due = math.inf
        broken: UnicodeDecodeError | ProtocolError | None = None
        begin = self._decoder.begin
        try:
            try:
                for opcode, payload in messages:
                    events.append(begin(payload) if opcode == TEXT else codec.decode_binary(payload))
                    sizes.append(len(payload))
            finally:
                self._decoder.settle(events)
        except (UnicodeDecodeError, ProtocolError) as error:  # what came before it is still good
            broken = error
        if events:
            size = self._count(events, sizes)
            now = time.monotonic()
            with self._state_lock:  # of `changed`, whose own methods are not in C
                heard = self._fold(events, now)
                if self._waiting:
                    self.changed.notify_all()
            self.unheard.append((heard, size, now))
            # Deltas set no deadline; all they may need is that somebody looks after a callback that does not end.
            due = now + callbacks._SLOW if _DELTAS.issuperset(map(type, heard)) else now
        if broken is not None:
            raise broken
        if self._fatal is not None and self._recovery is not None:
            raise self._fatal  # reconnect at once: the service would close within seconds
        return due

    def hand_over(self, *, may_wait: bool) -> None:
        """Let the callbacks hear of what happened; with ``may_wait``, wait a moment for them if they are behind.

        Raises:
            RuntimeError: The system has no thread for them.
        """
        if self.unheard:
            if self.reader.runs or self.reader.start_for(self.unheard):
                for heard, size, now in self.unheard:
                    self.inbox.put(heard, size, now)
            self.unheard.clear()
            if may_wait:
                self.inbox.brake()

    def _fold(self, events: list[ev.ServerEvent], now: float) -> list[Heard]:
        # Under `changed`. Returns what the callbacks are told, in order.
        heard: list[Heard] = []
        state, fold = self.state, self.state.fold
        for event in events:
            notices = fold(event, now)
            if self._opening.phase != OPEN:
                notices += self._advance(event, now)
            elif self._recovery is not None or type(event) in _FOLLOWED:
                self._follow(event, notices)
            if notices:
                heard += as_heard(event, notices)
            else:
                heard.append(event)
            if notices or self._sinks:
                self._tell_sinks(event, notices, now)
            if state.waiting or state.follow_ups_wanted or state.to_cancel:
                self._release_creates(now)
        return heard

    def _count(self, events: list[ev.ServerEvent], sizes: list[int]) -> int:
        total = sum(sizes)
        counters = self.counters
        counters.events_received += len(events)
        counters.bytes_received += total
        for event, size in zip(events, sizes, strict=False):  # the last one may be no event
            if isinstance(event, ev.UnknownEvent):
                counters.not_understood(event)
                if isinstance(event, ev.MalformedEvent):
                    _log.warning("a message from the service could not be read: %s (%d bytes)", event.problem, size)
        return total

    def _tell_sinks(self, event: ev.ServerEvent | None, notices: Sequence[Notice], now: float) -> None:
        # Under `changed`.
        told = tuple(notices)
        self.calling.fold(event, told, now)
        for sink in self._sinks:
            sink(event, told, now)
