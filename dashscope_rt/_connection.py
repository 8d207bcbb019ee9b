"""One opening of a session: its two threads, its state, its queues, from dialling to the end.

    in    socket -> frames -> codec.decode -> state.fold -> inbox   ||  inbox -> your callback
          |----------------- network thread -----------------|      |----- reader thread -----|

    out   your call -> codec.encode -> outbox                       ||  outbox -> frames -> socket
          |------- your thread, any number of them -------|         |------ network thread ------|

A `RealtimeSession` makes a new `Connection` each time it is opened; nothing of an old one lives on in the next.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

from . import codec
from . import events as ev
from ._callbacks import Inbox, Reader, Registry
from ._commands import Command, Commands
from ._network import NetworkThread, closed_error
from ._outbox import Outbox, Outgoing
from ._state import Create, Notice, Opened, SessionState
from ._transport import Dialing, Endpoint
from .config import Keepalive, Timeouts
from .errors import APIError, BadRequestError, CloseInfo, ConnectionClosed, DeadlineExceeded, RealtimeError
from .responses import FunctionCall

_log = logging.getLogger("dashscope_rt")
_T = TypeVar("_T")
_numbers = itertools.count(1)
Sink = Callable[[ev.ServerEvent | None, tuple[Notice, ...], float], None]  # None: time brought the notices
DIALLING, OPENING, CONFIGURING, OPEN, ENDED = "dialling", "opening", "configuring", "open", "ended"
_WHAT_TOOK_LONG = {
    DIALLING: "DNS, TCP, TLS and the WebSocket upgrade",
    OPENING: "the service's session.created",
    CONFIGURING: "the service's session.updated",
}


@attrs.frozen(kw_only=True)
class Limits:
    """Bounds in bytes, so that no peer and no slow callback can take all memory.

    Attributes:
        max_message_bytes: A server message that announces more ends the session with `MessageTooLarge`.
        outbox_bytes: Client events waiting for the network; a full outbox makes senders wait, up to their deadline.
        inbox_bytes: Server messages waiting for callbacks; a full inbox makes the server wait.
    """

    max_message_bytes: int = 16 * 1024 * 1024
    outbox_bytes: int = 16 * 1024 * 1024
    inbox_bytes: int = 64 * 1024 * 1024


class Connection:
    """Threads, state and queues of one opening; made by `RealtimeSession.connect`."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        configuration: Mapping[str, Any],
        audio_rate: int,
        registry: Registry,
        timeouts: Timeouts,
        keepalive: Keepalive,
        limits: Limits,
    ) -> None:
        number = next(_numbers)
        self._configuration = configuration
        self._timeouts = timeouts
        self._ids = itertools.count(1)
        self._id_prefix = f"event_{os.urandom(8).hex()}_"
        # Guards the state, the phase, the sinks and the info; notified at every event while anybody waits.
        self.changed = threading.Condition(threading.Lock())
        self.state = SessionState(audio_rate, timeouts.cancel, self.answer_call)
        self.phase = DIALLING
        self.info: CloseInfo | None = None
        self._failure: RealtimeError | None = None
        self._waiting = 0  # threads inside wait(); spares a notify per event when there are none
        self._sinks: tuple[Sink, ...] = ()
        # Held from noting a command until it is in the outbox, so that answers come in the order of the notes.
        self._send_lock = threading.Lock()
        self._send_timeout = timeouts.send
        dialing = Dialing(endpoint, time.monotonic() + timeouts.connect, limits.max_message_bytes)
        self.inbox = Inbox(limits.inbox_bytes, self._resume_reading)
        self.reader = Reader(registry, self.inbox, name=f"dashscope_rt-reader-{number}")
        self.network = NetworkThread(
            dialing,
            lambda wake: Outbox(limits.outbox_bytes, wake),
            self,
            ping_interval=keepalive.ping_interval,
            ping_timeout=keepalive.ping_timeout,
            name=f"dashscope_rt-network-{number}",
        )
        self._outbox = self.network.outbox

    # ---- opening and closing, any thread ----------------------------------------------------------------------

    def open(self) -> None:
        """Connect and wait until the session is configured.

        Raises:
            APIError: The service refused the key, the model or the configuration.
            ConnectionFailed: There is no connection.
            DeadlineExceeded: It took longer than ``Timeouts.connect``; nothing of the attempt is left.
        """
        deadline = time.monotonic() + self._timeouts.connect
        self.reader.start()
        self.network.start()
        try:
            with self.changed:
                self._wait(lambda: self.phase in (OPEN, ENDED), deadline)
                phase = self.phase
        except BaseException:  # Ctrl-C
            self._give_up()
            raise
        if phase == OPEN:
            return
        if phase != ENDED:
            self._give_up()
            raise DeadlineExceeded(
                f"connecting took longer than {self._timeouts.connect:g} s (Timeouts.connect):"
                f" {_WHAT_TOOK_LONG[phase]} did not come"
            )
        self._give_up()
        raise self._failure or closed_error(self.info or CloseInfo(who="network", code=1006))

    def _give_up(self) -> None:
        self.network.abort()
        self.network.join(0.5)
        self.reader.join(0.5)

    def close(self, timeout: float, *, code: int, reason: str, finish: bool) -> None:
        """End the session within ``timeout`` seconds, whatever the peer does."""
        deadline = time.monotonic() + timeout
        if finish and self.phase == OPEN:
            with contextlib.suppress(RealtimeError):  # whatever happens to the farewell, the close goes on
                self.send(ev.SessionFinish(event_id=self.next_id()), timeout=max(0.0, timeout / 2))
                self.wait_until(lambda: self.state.finished, deadline - timeout / 4, "session.finished")
        self.network.close(code, reason, deadline)
        if not self.network.join(deadline - time.monotonic() + 0.05):
            self.network.abort()
            self.network.join(0.2)
        self.reader.join(max(0.0, deadline - time.monotonic()))

    # ---- sending, any thread ----------------------------------------------------------------------------------

    def next_id(self) -> str:
        """Return a fresh event id."""
        return f"{self._id_prefix}{next(self._ids)}"

    def send(self, event: ev.ClientEvent, *, timeout: float | None = None) -> str:
        """Queue one event and return its id; `create` is the way for ``response.create``."""
        event_id = event.event_id or ""
        key = None
        if isinstance(event, ev.ConversationItemCreate):
            key = event.item.get("call_id") or event.item.get("approval_request_id")
        return self.put(codec.encode(event), event.type, event_id, key=key, timeout=timeout)

    def put(
        self, payload: bytes, event_type: str, event_id: str, *, key: str | None = None, timeout: float | None = None
    ) -> str:
        """Queue one encoded event; notes it as a command when the service answers its kind."""
        timeout = self._send_timeout if timeout is None else timeout
        item = Outgoing(payload, event_type, event_id)
        if not Commands.expects_answer(event_type):
            self._outbox.put(item, timeout)
            return event_id
        command = Command(event_type, event_id, key)
        with self._send_lock:
            with self.changed:
                self.state.commands.add(command)
            try:
                self._outbox.put(item, timeout)
            except RealtimeError:
                with self.changed:
                    command.settled = True
                raise
        return event_id

    def put_audio(self, pcm: bytes | bytearray | memoryview) -> str:
        """Queue one piece of audio: the hot path."""
        event_id = self.next_id()
        payload = codec.encode_audio_append(pcm, event_id)
        self._outbox.put(Outgoing(payload, "input_audio_buffer.append", event_id, len(pcm)), self._send_timeout)
        return event_id

    def create(self, event: ev.ResponseCreate) -> Create:
        """Ask for a response as soon as none runs."""
        create = Create(Command("response.create", event.event_id or ""), event)
        with self.changed:
            self._check_open()
            self.state.add_create(create)
            self._release_creates(time.monotonic())
        return create

    def repeat_create(self, create: Create) -> None:
        """Send a ``response.create`` again that the service seems to have dropped; a refusal of it means nothing."""
        command = Command("response.create", self.next_id(), benign=True)
        with self.changed:
            if create.command.settled:
                return
            self.state.commands.add(command)
        event = attrs.evolve(create.event, event_id=command.event_id)
        self._outbox.put(Outgoing(codec.encode(event), event.type, command.event_id), self._send_timeout)

    def cancel(self, timeout: float) -> bool:
        """Cancel what runs or was asked for; returns whether there was anything."""
        deadline = time.monotonic() + timeout
        with self.changed:
            self._check_open()
            unsent = list(self.state.waiting)
            self.state.waiting.clear()
            for create in unsent:
                create.command.fail(BadRequestError("cancelled before it was sent"))
            self.changed.notify_all()
            # The service refuses a cancel before response.created, so wait for that first.
            self._wait(lambda: not self.state.in_flight or self.info is not None, deadline)
            running = self.state.cancelling(time.monotonic())
            if not running:
                return bool(unsent)
            command = Command("response.cancel", self.next_id(), benign=True)
            self.state.commands.add(command)
            event = ev.ResponseCancel(event_id=command.event_id)
            self._outbox.put_now(Outgoing(codec.encode(event), event.type, command.event_id))
        self.network.wake()  # its next deadline changed
        if timeout > 0:
            with self.changed:
                self._wait(
                    lambda: command.settled or self.info is not None or all(r.stopped for r in running), deadline
                )
        return command.error is None

    def answer_call(self, call: FunctionCall, output: str) -> str:
        """Send a function's output; the follow-up is asked for when all outputs of the round are acknowledged."""
        with self.changed:
            self._check_open()
            self.state.answering(call.call_id)
        item = {"type": "function_call_output", "call_id": call.call_id, "output": output}
        return self.send(ev.ConversationItemCreate(event_id=self.next_id(), item=item))

    def command(self, event_id: str) -> Command | None:
        """Return the open command with this id."""
        with self.changed:
            return self.state.commands.find(event_id)

    def _check_open(self) -> None:
        if self.info is not None:
            raise closed_error(self.info)

    def _release_creates(self, now: float) -> None:
        # Under `changed`, so that creates enter the outbox in the order in which their answers are expected.
        while self.state.follow_ups_wanted:
            self.state.follow_ups_wanted -= 1
            event = ev.ResponseCreate(event_id=self.next_id())
            command = Command("response.create", event.event_id or "")
            self.state.add_create(Create(command, event, follows_tools=True))
        create = self.state.releasable()
        if create is None:
            return
        self.state.sent_create(create, now)
        self.state.commands.add(create.command)
        with contextlib.suppress(ConnectionClosed):  # the waiter learns of the end anyway
            self._outbox.put_now(Outgoing(codec.encode(create.event), create.event.type, create.command.event_id))

    # ---- waiting, any thread but the network's ----------------------------------------------------------------

    def _wait(self, ready: Callable[[], object], deadline: float) -> bool:
        # Under `changed`. Returns False when the deadline passed first.
        self._waiting += 1
        try:
            while not ready():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self.changed.wait(left)
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
            in_time = self._wait(lambda: ready() or self.info is not None, deadline)
            value = ready()
            if value:
                return value
            if self.info is not None:
                raise closed_error(self.info)
            if not in_time:
                raise DeadlineExceeded(f"{what} did not come in time")
        return value

    def wait_ended(self, deadline: float) -> bool:
        """Wait until the connection is over; returns whether it is."""
        with self.changed:
            return self._wait(lambda: self.info is not None, deadline)

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

    def _resume_reading(self) -> None:
        self.network.wake()

    # ---- what the network thread reports (see _network.Owner) -------------------------------------------------

    def connected(self) -> None:
        """The WebSocket is open; the service speaks first."""
        with self.changed:
            self.phase = OPENING

    def may_read(self) -> bool:
        """Leave the socket alone while the callbacks are too far behind."""
        return not self.inbox.full

    def received(self, payload: bytes, *, binary: bool) -> None:
        """Decode, fold, hand over."""
        event = codec.decode_binary(payload) if binary else codec.decode(payload)
        if isinstance(event, ev.MalformedEvent):
            _log.warning("a message from the service could not be read: %s (%d bytes)", event.problem, len(payload))
        now = time.monotonic()
        opened: Opened | None = None
        with self.changed:
            notices = tuple(self.state.fold(event, now))
            if self.phase != OPEN:
                opened = self._advance(event)
            for sink in self._sinks:
                sink(event, notices, now)
            self._release_creates(now)
            if self._waiting:
                self.changed.notify_all()
        self.inbox.put(event, notices if opened is None else (*notices, opened), len(payload))

    def _advance(self, event: ev.ServerEvent) -> Opened | None:
        # Under `changed`: session.created -> our session.update -> session.updated -> open.
        if isinstance(event, ev.Error) and self.phase in (OPENING, CONFIGURING):
            self._failure = self.state.last_error
            self.network.close(1000, "", time.monotonic() + self._timeouts.close)
            self.phase = ENDED
            return None
        if isinstance(event, ev.SessionCreated) and self.phase == OPENING:
            if not self._configuration:
                self.phase = OPEN
                return Opened(event)
            update = ev.SessionUpdate(event_id=self.next_id(), session=self._configuration)
            self.state.commands.add(Command(update.type, update.event_id or ""))
            self._outbox.put_now(Outgoing(codec.encode(update), update.type, update.event_id or ""))
            self.phase = CONFIGURING
        elif isinstance(event, ev.SessionUpdated) and self.phase == CONFIGURING:
            self.phase = OPEN
            return Opened(self.state.created or ev.SessionCreated())
        return None

    def sent(self, items: list[Outgoing], now: float) -> None:
        """Note what left."""
        if _log.isEnabledFor(logging.DEBUG):
            for item in items:
                _log.debug("sent %s (%d bytes)", item.type, len(item.payload))

    def tick(self, now: float) -> float | None:
        """Let time end what the service never ended."""
        due = self.state.next_due()
        if due is None or now < due:
            return due
        with self.changed:
            notices = tuple(self.state.tick(now))
            for sink in self._sinks:
                sink(None, notices, now)
            self._release_creates(now)
            self.changed.notify_all()
            due = self.state.next_due()
        if notices:
            self.inbox.put(None, notices, 0)
        return due

    def failed(self, error: RealtimeError) -> None:
        """The dialling failed."""
        self._outbox.end(lambda: ConnectionClosed("the session was never open"))
        with self.changed:
            self._failure = self._failure or error
            self.info = CloseInfo(who="network", code=1006, error=error)
            self.phase = ENDED
            self.changed.notify_all()
        self.inbox.end()

    def ended(self, info: CloseInfo) -> None:
        """The connection is over."""
        left = self.network.unsent() + self._outbox.end(lambda: closed_error(self.info or info))
        error = info.error
        with self.changed:
            last = self.state.last_error
            if last is not None and info.who != "client" and (error is None or type(error) is APIError):
                error = last
            info = attrs.evolve(
                info, error=error, unsent_events=len(left), unsent_audio_bytes=sum(item.audio_bytes for item in left)
            )
            was_open = self.phase == OPEN
            if not was_open and self._failure is None:
                self._failure = error if info.who != "client" or error is not None else closed_error(info)
            self.info = info
            self.phase = ENDED
            self.changed.notify_all()
        if was_open:
            self.inbox.put(info, (), 0)
        self.inbox.end()
        _log.debug("%s", info)
