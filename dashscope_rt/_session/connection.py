"""One opening of a session: its state, its queues, its part of two threads, from dialling to the end.

    in    socket -> frames -> codec.decode -> state.fold -> inbox   ||  inbox -> your callback
          |----------------- network thread -----------------|      |----- reader thread -----|

    out   your call -> codec.encode -> outbox                       ||  outbox -> frames -> socket
          |------- your thread, any number of them -------|         |------ network thread ------|

The network thread is one for all sessions of the process (`_network.crew`); `open` dials on its caller's thread. The
reader thread begins with the first thing that a callback is to hear.

A `RealtimeSession` makes a new `Connection` each time it is opened; nothing of an old one lives on in the next. With a
`Reconnect` policy, one `Connection` outlives several WebSockets: callbacks and waiters stay, the rest is new.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from .. import codec
from .. import events as ev
from .._network.link import Link, closed_error
from .._network.outbox import Outbox, Outgoing
from .._network.owner import Redial
from .._network.transport import Dialing, Endpoint
from ..audio.pcm import duration_ms, silence
from ..config import Keepalive, Limits, Reconnect, Timeouts
from ..errors import (
    APIError,
    BadRequestError,
    CloseInfo,
    ConnectionClosed,
    ConnectionFailed,
    DeadlineExceeded,
    RealtimeError,
)
from . import callbacks
from . import process as _process
from .callbacks import Inbox, Reader, Registry
from .calling import Calling, Toolbox
from .opening import DIALLING, ENDED, OPEN, TOOK_LONG, Opening
from .receiving import Receiving, Sink
from .recovery import History, Lost, Reconnecting, Recovery, fatal
from .sent import Sent
from .state import Interrupted, Notice, Opened, Reopened, Retrying, SessionState
from .stats import Counters, Stats

_log = logging.getLogger("dashscope_rt")
_T = TypeVar("_T")
_numbers = itertools.count(1)
_FATAL_GRACE = 5.0  # s that a service gets to close after it announced its end, when nobody reconnects
_ROTATION_PATIENCE = 240.0  # s that a planned change of connection waits for a turn boundary


class Connection(Receiving):
    """Threads, state and queues of one opening; made by `RealtimeSession.connect`.

    Args:
        endpoint: Gives where to connect, asked before every try (the key may be a temporary one).
        configuration: Gives the wire's ``session`` object to send first, asked before every try.
        audio_rates: Hz of the audio going in and coming out, until the service says otherwise.
        takes_text: Whether the model takes text items, so that a conversation can be restored.
        registry, toolbox: The callbacks and the tools.
        timeouts: Seconds.
        keepalive: Pings and silence.
        limits: Bytes.
        reconnect: What to do when the connection is lost; None ends the session.
    """

    def __init__(
        self,
        endpoint: Callable[[], Endpoint],
        *,
        configuration: Callable[[], Mapping[str, Any]],
        audio_rates: tuple[int, int],
        takes_text: bool,
        registry: Registry,
        toolbox: Toolbox,
        timeouts: Timeouts,
        keepalive: Keepalive,
        limits: Limits,
        reconnect: Reconnect | None,
    ) -> None:
        super().__init__()
        number = next(_numbers)
        self._endpoint = endpoint
        self._registry = registry
        self._configuration = configuration
        self._input_rate = audio_rates[0]
        self._takes_text = takes_text
        self._timeouts = timeouts
        self._keepalive = keepalive
        self._limits = limits
        self._reconnect = reconnect
        # Guards the state, the opening, the sinks and the info; notified at every event while anybody waits.
        self._state_lock = threading.Lock()
        self.changed = threading.Condition(self._state_lock)
        self.calling = Calling(toolbox, answer=self.answer_call, decide=self.decide, tell=self.tell)
        self.state = SessionState(audio_rates[1], timeouts.cancel, rounds=self.calling.rounds)
        self.counters = Counters(self._input_rate)
        self.info: CloseInfo | None = None
        self._opening = Opening(configuration(), "", self.next_id)
        self._failure: RealtimeError | None = None
        self._recovery = Recovery(reconnect) if reconnect is not None else None
        self._history = History(reconnect.history_chars if reconnect is not None else 0)
        self._lost: Lost | None = None  # the account of the gap that is open now
        self._lost_at = 0.0
        self._opened_at = 0.0
        self._fatal: APIError | None = None
        self._fatal_due = 0.0
        self._audio_at = 0.0  # when audio last went out, for the silence of a muted microphone
        self.inbox = Inbox(limits.inbox_bytes, self._resume_reading)
        self.reader = Reader(registry, self.inbox, name=f"dashscope_rt-reader-{number}")
        self.network = Link(
            self._dial(),
            lambda wake: Outbox(limits.outbox_bytes, wake),
            self,
            ping_interval=keepalive.ping_interval,
            ping_timeout=keepalive.ping_timeout,
            name=f"dashscope_rt-redial-{number}",
        )
        self._outbox = self.network.outbox
        self._outbox.hold(limits.outbox_bytes)  # nobody overtakes the configuration

    @property
    def phase(self) -> str:
        """Where on the way from DIALLING to ENDED it is; see `_opening`."""
        return ENDED if self.info is not None else self._opening.phase

    @property
    def opening(self) -> bool:
        """Whether the service has not accepted everything yet."""
        return self.phase not in (OPEN, ENDED)

    @property
    def reconnecting(self) -> bool:
        """Whether a lost connection is being replaced."""
        return self._lost is not None and self.info is None

    def _dial(self) -> Dialing:
        # The caller's thread for the first try, one of its own for the others.
        self._opening_due = time.monotonic() + self._timeouts.connect
        return Dialing(self._endpoint(), self._opening_due, self._limits.max_message_bytes)

    # ---- opening and closing, any thread ----------------------------------------------------------------------

    def open(self) -> None:
        """Connect and wait until the session is configured.

        Raises:
            APIError: The service refused the key, the model or the configuration.
            ConnectionFailed: There is no connection.
            DeadlineExceeded: It took longer than ``Timeouts.connect``; nothing of the attempt is left.
        """
        deadline = time.monotonic() + self._timeouts.connect
        _process.remember(self)
        try:
            self.network.open(deadline)
            with self.changed:
                self._wait(lambda: self.phase in (OPEN, ENDED), deadline)
                phase = self.phase
        except BaseException:  # Ctrl-C
            self._give_up()
            raise
        if phase == OPEN:
            return
        self._give_up()
        if phase != ENDED:
            raise DeadlineExceeded(
                f"connecting took longer than {self._timeouts.connect:g} s (Timeouts.connect):"
                f" {TOOK_LONG[phase]} did not come"
            )
        info = self.info or CloseInfo(who="network", code=1006)
        raise self._failure or info.error or closed_error(info)

    def _give_up(self) -> None:
        self.network.close(1000, "", time.monotonic())
        self.network.abort()
        self.network.join(0.5)
        self.reader.join(0.5)

    def close(self, timeout: float, *, code: int, reason: str, finish: bool) -> None:
        """End the session within ``timeout`` seconds, whatever the peer does."""
        deadline = time.monotonic() + timeout
        if finish and self.phase == OPEN:
            with contextlib.suppress(RealtimeError):  # whatever happens to the farewell, the close goes on
                self.send(ev.SessionFinish(event_id=self.next_id()), timeout=timeout / 4)
                self.wait_until(lambda: self.state.finished, deadline - timeout / 4, "session.finished")
        self.network.close(code, reason, deadline)
        if not self.network.join(deadline - time.monotonic() + 0.05):
            self.network.abort()
            self.network.join(0.2)
        self.reader.join(max(0.0, deadline - time.monotonic()))

    def stats(self) -> Stats:
        """Return the numbers as they are now."""
        reader = self.reader
        return self.counters.snapshot(
            queued_audio_bytes=self._outbox.audio_bytes,
            lag=(reader.lag, reader.lag_max),
            errors=reader.callback_errors,
            replaced=self._outbox.replaced,
        )

    # ---- waiting, any thread but the network's ----------------------------------------------------------------

    def _wait(self, ready: Callable[[], object], deadline: float) -> bool:
        # Under `changed`. Returns False when the deadline passed first.
        self._waiting += 1
        try:
            while not ready():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self.changed.wait(min(left, threading.TIMEOUT_MAX))
            return True
        finally:
            self._waiting -= 1

    def wait_until(self, ready: Callable[[], _T], deadline: float, what: str) -> _T:
        """Wait until ``ready()`` is true, at the latest until ``deadline`` (monotonic seconds), and return its value.

        Raises:
            DeadlineExceeded: It did not come true in time.
            ConnectionClosed: The session ended first.
        """
        with self.changed:
            self._wait(lambda: ready() or self.info is not None, deadline)
            value = ready()
            if value:
                return value
            self._check_open()
        raise DeadlineExceeded(f"{what} did not come in time")

    def wait_ended(self, deadline: float) -> bool:
        """Wait until the connection is over; returns whether it is."""
        with self.changed:
            return self._wait(lambda: self.info is not None, deadline)

    def _resume_reading(self) -> None:
        self.network.wake()

    # ---- what the network thread reports (see _network.Owner) -------------------------------------------------

    def meanwhile(self) -> None:
        """Have the readers of events written, which takes some ms once in a process."""
        codec.prepare()

    def connected(self) -> None:
        """The WebSocket is open; the service speaks first."""
        with self.changed:
            self._opening.connected()

    def _follow(self, event: ev.ServerEvent, notices: Sequence[Notice]) -> None:
        # Under `changed`, while the session is open: what a reconnect will need.
        error = self.state.last_error
        if event.type == ev.Error.type:
            if error is not None and fatal(error) and self._fatal is None:
                self._fatal, self._fatal_due = error, time.monotonic() + _FATAL_GRACE
            return
        if self._recovery is not None:
            self._recovery.good_event()
            self._history.note(event, notices)
        if isinstance(event, (ev.InputAudioBufferCommitted, ev.InputAudioBufferCleared)):
            self.counters.accepted()
            if isinstance(event, ev.InputAudioBufferCommitted):
                self.has_audio = self.has_audio and bool(self._own_commits)  # the VAD's commit takes all there is
                self._own_commits = max(0, self._own_commits - 1)

    def _advance(self, event: ev.ServerEvent, now: float) -> tuple[Notice, ...]:
        # Under `changed`, while the session is being opened.
        opening = self._opening
        for answer in opening.step(event, self.state):
            self._outbox.put_first(Outgoing(codec.encode(answer), answer.type, answer.event_id or ""))
        if opening.refusal is not None and self._lost is not None:
            self._fatal = opening.refusal  # `received` raises it, and the reconnect policy decides
        elif opening.refusal is not None:
            self._failure = opening.refusal
            self.network.close(1000, "", now + self._timeouts.close)
        if opening.phase != OPEN:
            return ()
        self._opened_at = self._audio_at = now
        dropped = self._outbox.release()
        if self._lost is None:
            return (Opened(self.state.created or ev.SessionCreated()),)
        lost, self._lost = self._lost, None
        self.has_audio, self._own_commits = False, 0
        self.counters.reconnects += 1
        self.counters.audio_bytes_dropped += dropped
        missing = self._history.not_in_text(restored=opening.restored_chars > 0)
        return (
            Reopened(
                attrs.evolve(
                    lost,
                    dropped_audio_ms=lost.dropped_audio_ms + duration_ms(dropped, self._input_rate),
                    restored_chars=opening.restored_chars,
                    not_restored=missing,
                    gap_s=now - self._lost_at,
                )
            ),
        )

    def sent(self, items: list[Outgoing], now: float) -> None:
        """Note what left."""
        if self.counters.sent(items):
            self._audio_at = now
        if _log.isEnabledFor(logging.DEBUG):
            for item in items:
                _log.debug("sent %s (%d bytes)", item.type, len(item.payload))
        if self._registry.has("on_sent"):
            for item in items:
                notice = Sent(item.type, item.event_id, bytes(item.payload), now)
                self.unheard.append(([notice], len(item.payload), now))

    def tick(self, now: float) -> float | None:
        """Do what time demands; returns when to look again."""
        if self._told:
            with self.changed:
                told, self._told = tuple(self._told), []
            self.unheard.append(([*told], 0, now))
        due = self.state.next_due()
        if due is not None and now >= due:
            self._tick_state(now)
            due = self.state.next_due()
        callback_due = now + callbacks._SLOW if self.unheard else self.reader.watch(now)
        dues = [due, callback_due, self.calling.watch(now)]
        if self._keepalive.silence_interval is not None:
            dues.append(self._tick_silence(now, self._keepalive.silence_interval))
        if self._lost is not None and self._opening.phase != OPEN:
            if now >= self._opening_due:  # at the first connect the caller waits; here nobody does
                raise DeadlineExceeded(
                    f"reconnecting took longer than {self._timeouts.connect:g} s (Timeouts.connect):"
                    f" {TOOK_LONG[self._opening.phase]} did not come"
                )
            dues.append(self._opening_due)
        if self._reconnect is not None:
            dues.append(self._tick_rotation(now))
        if self._fatal is not None:
            if now >= self._fatal_due:
                raise self._fatal
            dues.append(self._fatal_due)
        return min([due for due in dues if due is not None], default=None)

    def _tick_state(self, now: float) -> None:
        with self.changed:
            notices = tuple(self.state.tick(now))
            self._tell_sinks(None, notices, now)
            self._release_creates(now)
            self.changed.notify_all()
        if notices:
            self.unheard.append(([*notices], 0, now))

    def _tick_silence(self, now: float, interval: float) -> float | None:
        if self._opening.phase != OPEN:
            return None
        if now >= self._audio_at + interval:
            self._audio_at = now
            quiet = silence(1000, self._input_rate)
            event_id = self.next_id()
            payload = codec.encode_audio_append(quiet, event_id)
            self._outbox.put_now(Outgoing(payload, "input_audio_buffer.append", event_id, len(quiet)))
        return self._audio_at + interval

    def _tick_rotation(self, now: float) -> float | None:
        policy = self._reconnect
        if policy is None or policy.rotate_after is None or self._opening.phase != OPEN:
            return None
        due = self._opened_at + policy.rotate_after
        if now < due:
            return due
        state = self.state
        quiet = not (state.responding or state.waiting or state.speaking or state.commands.waiting())
        if quiet or now >= due + _ROTATION_PATIENCE:
            self.network.rotate(now + self._timeouts.close)
            return None
        return now + 0.25

    def ended(self, info: CloseInfo, *, planned: bool) -> Redial | None:
        """The connection is over or never came about: go on with another one, or report the end."""
        redial = self._try_again(info, planned=planned)
        if redial is None:
            self._end(info)
        try:
            self.hand_over(may_wait=False)
        except RuntimeError as error:  # the system has no more threads
            _log.error("the callbacks are not told of the end: %s", error)
        if redial is None:
            self.inbox.end()
            _process.forget(self)
            self._configuration = dict  # the session is not needed any more, see `Held`
        return redial

    def _try_again(self, info: CloseInfo, *, planned: bool) -> Redial | None:
        now = time.monotonic()
        policy, recovery = self._reconnect, self._recovery
        asked_for = info.who == "client" and info.error is None and not planned  # close(), not a stream we gave up
        if policy is None or recovery is None or asked_for:
            return None
        with self.changed:
            was_open = self._opening.phase == OPEN
            if not was_open and self._lost is None:
                return None  # the first connect: it fails at once, in the caller's hands
            error = info.error or (None if planned else ConnectionFailed(str(info)))
            delay = 0.0 if planned else recovery.next_delay(error)
            if delay is None:
                return None
            notices: tuple[Notice, ...] = ()
            if was_open:
                notices = tuple(self._lose(info, now, policy))
            text = self._history.as_text() if self._takes_text and policy.history_chars else ""
            self._opening = Opening(self._configuration(), text, self.next_id)
            self._fatal = None
            about = Reconnecting(attempt=max(1, recovery.attempt), delay=delay, planned=planned, info=info, error=error)
            notices += (Retrying(about),)
            self._tell_sinks(None, notices, now)
            self.changed.notify_all()
        _log.info("the connection is replaced (%s); next try in %.2f s", info, delay)
        self.unheard.append(([*notices], 0, now))
        return Redial(delay, self._dial)

    def _lose(self, info: CloseInfo, now: float, policy: Reconnect) -> list[Notice]:
        # Under `changed`: account for what the old connection takes with it.
        keep = int(policy.audio_buffer_ms * self._input_rate / 1000) * 2
        unsent = [item for item in self.network.unsent() if not item.audio_bytes] + self._outbox.hold(keep)
        error = ConnectionClosed(
            f"the connection was lost in the middle of this ({info}); it is being replaced and the session goes on:"
            " ask again",
            info,
        )
        responses, events, notices = self.state.lose(error, now)
        heard = self.counters.unaccepted_ms() + self.counters.audio_ms(self.network.unsent())
        self.counters.accepted()
        events += [item.type for item in unsent if item.type not in events]
        self._lost = Lost(audio_ms=heard, responses=tuple(responses), events=tuple(events))
        self._lost_at = now
        return [*notices, Interrupted(error)]

    def _end(self, info: CloseInfo) -> None:
        left = [*self.network.unsent(), *self._outbox.end(lambda: closed_error(info))]
        with self.changed:
            was_open = self._opening.phase == OPEN or self._lost is not None
            error = info.error
            last = self.state.last_error
            repeats = last is not None and last.message == info.reason
            said_nothing = info.who == "network" or not info.reason or repeats or type(error) is APIError
            if last is not None and not isinstance(last, BadRequestError) and info.who != "client" and said_nothing:
                error = last  # the service had said why before it went
            info = attrs.evolve(
                info, error=error, unsent_events=len(left), unsent_audio_bytes=sum(item.audio_bytes for item in left)
            )
            if not was_open and self._failure is None:
                self._failure = error if error is not None else closed_error(info)
            now, gone = time.monotonic(), closed_error(info)
            notices: tuple[Notice, ...] = (*self._told, *self.state.lose(gone, now)[2], Interrupted(gone))
            self._tell_sinks(None, notices, now)
            self.info = info
            self._opening.phase = ENDED
            self.changed.notify_all()
        self.calling.end()
        self.counters.unsent(left)
        if was_open:
            self.unheard.append(([*notices, info], 0, now))
        _log.debug("%s", info)


__all__ = ["DIALLING", "ENDED", "OPEN", "Connection", "Sink"]
