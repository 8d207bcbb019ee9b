"""The network thread: it owns the socket, both ways, from dialling to the last byte.

One selector over the socket and a wake-up socket pair. It sends what the outbox holds, reads frames, answers pings,
sends pings, keeps the deadlines. Two threads on one TLS connection are a data race inside OpenSSL that shows as a false
"connection lost", so nobody else reads or writes.

    any thread      start, close, wake, abort
    network thread  everything else, and all calls of the `Owner`
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from ..errors import (
    APIError,
    CloseInfo,
    ConnectionClosed,
    ConnectionFailed,
    DeadlineExceeded,
    MessageTooLarge,
    ProtocolError,
    RealtimeError,
    from_close,
)
from .frames import CLOSE, PING, PONG, TEXT, Masks, Message, close_frame, frame, read_close
from .outbox import Outbox, Outgoing
from .transport import Dialing, Transport

_log = logging.getLogger("dashscope_rt")
_WRITE_SIZE = 64 * 1024  # bytes of payload framed and written at once
_READS_AT_ONCE = 8  # before the loop looks at its writes and deadlines again
_LAST_WORDS = 1000  # times that is done to hear what a peer said before its end; each takes up to a megabyte
_IDLE = 3600.0  # a select without any deadline; wake() ends it


class Owner(Protocol):
    """What the network thread reports to; every call comes on the network thread and must not block."""

    def connected(self) -> None:
        """The WebSocket is open."""

    def received(self, messages: Iterator[Message]) -> None:
        """Whole messages came, TEXT or BINARY, to be taken to the last; taking one may raise ProtocolError.

        May raise RealtimeError or UnicodeDecodeError to end the connection.
        """

    def sent(self, items: list[Outgoing], now: float) -> None:
        """These events were handed to the operating system."""

    def tick(self, now: float) -> float | None:
        """Do what is due; returns when to be called again (monotonic seconds), or None."""

    def may_read(self) -> bool:
        """False while what was read is not consumed: the socket is then left alone."""

    def ended(self, info: CloseInfo, *, planned: bool) -> Redial | None:
        """The connection is over, or never came about. Returns how to go on; None: nothing else is called after this.

        Args:
            info: Who ended it and why.
            planned: The end was asked for with `NetworkThread.rotate`.
        """


class Redial(NamedTuple):
    """Try again after ``delay`` seconds with what ``dialing`` then gives."""

    delay: float
    dialing: Callable[[], Dialing]


class _Ending:
    """An orderly end that was asked for: what is queued, then a close frame, all until the deadline."""

    __slots__ = ("code", "deadline", "final", "frame_sent", "reason")

    def __init__(self, code: int, reason: str, deadline: float, *, final: bool) -> None:
        self.code = code
        self.reason = reason
        self.deadline = deadline
        self.final = final  # close(): nothing comes after; otherwise rotate(): the next connection does
        self.frame_sent = False


class NetworkThread:
    """Thread, selector and deadlines of one connection.

    Args:
        dialing: How to get a transport.
        outbox: Where client events come from.
        owner: Who is told.
        ping_interval: Seconds between pings; None sends none.
        ping_timeout: Seconds without a single byte after a ping until the peer counts as dead; None waits for ever.
        name: Of the thread.
    """

    def __init__(
        self,
        dialing: Dialing,
        make_outbox: Callable[[Callable[[], None]], Outbox],
        owner: Owner,
        *,
        ping_interval: float | None,
        ping_timeout: float | None,
        name: str,
    ) -> None:
        self._dialing = dialing
        self._owner = owner
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._transport: Transport | None = None
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)
        self._awake = False  # a wake-up byte is on its way; benign race: one byte too many
        self._ending: _Ending | None = None  # what close() or rotate() asked for
        self._aborted = False
        # Guards _ending, _aborted, and the hand-over from _dialing to _transport.
        self._lock = threading.Lock()
        self._out = memoryview(b"")  # framed bytes the socket has not taken yet
        self._out_items: list[Outgoing] = []  # the events inside _out
        self._out_sizes: list[int] = []  # bytes of the frame of each
        self._masks = Masks()
        self._control: list[bytes] = []  # pongs, pings, close: before the next events
        self._next_ping = _IDLE
        self._pong_due: float | None = None
        self._events = 0  # selector interest now registered
        self._info: CloseInfo | None = None
        self.outbox = make_outbox(self.wake)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    # ---- any thread -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to dial."""
        self._thread.start()

    def wake(self) -> None:
        """Make the thread look at the outbox, its deadlines and `Owner.may_read` now."""
        if not self._awake:
            self._awake = True
            with contextlib.suppress(OSError):  # full: a wake-up is pending anyway; closed: the thread is gone
                self._wake_sender.send(b"\0")

    def close(self, code: int, reason: str, deadline: float) -> None:
        """Ask for an orderly end: what is queued goes out, then a close frame; all of it until ``deadline``."""
        with self._lock:
            if self._ending is None or not self._ending.final:
                self._ending = _Ending(code, reason, deadline, final=True)
            dialing = self._dialing
        if self._transport is None:
            dialing.abort()
        self.wake()

    def rotate(self, deadline: float) -> None:
        """End this connection in order, to go on with another; `Owner.ended` is told that it was planned."""
        with self._lock:
            if self._ending is None:
                self._ending = _Ending(1000, "", deadline, final=False)
        self.wake()

    def abort(self) -> None:
        """Break the connection without any ceremony."""
        with self._lock:
            self._aborted = True
            transport, dialing = self._transport, self._dialing
        if transport is None:
            dialing.abort()
        else:
            transport.abort()
        self.wake()

    def close_copies(self) -> None:
        """Close what a forked child has inherited; the parent's own is not touched."""
        transport = self._transport
        for holder in (self._wake_receiver, self._wake_sender, *(() if transport is None else (transport,))):
            with contextlib.suppress(OSError):
                holder.close()

    def join(self, timeout: float) -> bool:
        """Wait for the thread's end, never for itself; returns whether it is over."""
        if threading.current_thread() is not self._thread:
            self._thread.join(max(0.0, timeout))
        return not self._thread.is_alive()

    def is_current(self) -> bool:
        """Whether the caller is this very thread."""
        return threading.current_thread() is self._thread

    # ---- network thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            info = self._connect_and_serve()
            while (redial := self._owner.ended(info, planned=self._take_planned())) is not None:
                if self._paused(redial.delay) and self._next_dialing(redial.dialing):
                    info = self._connect_and_serve()
                else:
                    ending = self._ending
                    info = CloseInfo(who="client", code=ending.code if ending else 1006)
        finally:
            self._wake_receiver.close()
            self._wake_sender.close()

    def _connect_and_serve(self) -> CloseInfo:
        self._info = None
        self._out, self._out_items, self._control, self._pong_due = memoryview(b""), [], [], None
        try:
            transport = self._dialing.run()
        except RealtimeError as error:
            return self._lost(error)
        except Exception as error:  # noqa: BLE001 — whoever waits in connect() must hear of it
            return self._lost(ConnectionFailed(f"connecting failed: {error!r}"))
        with self._lock:
            if self._aborted:  # between the end of the dialling and now
                transport.close()
                return self._lost(ConnectionFailed("the attempt to connect was given up"))
            self._transport = transport
        try:
            return self._serve(transport)
        finally:
            self._transport = None

    def _take_planned(self) -> bool:
        with self._lock:
            planned = self._ending is not None and not self._ending.final
            if planned:
                self._ending = None
        return planned

    def _paused(self, delay: float) -> bool:
        """Wait before the next try; returns False as soon as the end is asked for."""
        until = time.monotonic() + delay
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_receiver, selectors.EVENT_READ)
            while self._ending is None:
                left = until - time.monotonic()
                if left <= 0:
                    return True
                if selector.select(left):
                    self._hush()
        return False

    def _next_dialing(self, make: Callable[[], Dialing]) -> bool:
        """Prepare the next try, unless the end was asked for; a key that cannot be had is a failed try."""
        try:
            dialing = make()
        except RealtimeError as error:
            dialing = Dialing.failed(error)
        except Exception as error:  # noqa: BLE001 — the user's function that gives the key
            dialing = Dialing.failed(ConnectionFailed(f"the API key could not be had: {error!r}"))
        with self._lock:
            self._dialing = dialing
            return self._ending is None

    def _hush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_receiver.recv(4096)
        self._awake = False  # before the outbox is looked at: a later put sends a new byte

    def _serve(self, transport: Transport) -> CloseInfo:
        selector = selectors.DefaultSelector()
        try:
            selector.register(self._wake_receiver, selectors.EVENT_READ)
            self._events = selectors.EVENT_READ
            selector.register(transport, self._events)
            self._next_ping = time.monotonic() + (self._ping_interval or _IDLE)
            self._owner.connected()
            while self._info is None:
                self._turn(selector, transport)
            return self._info
        except RealtimeError as error:
            return self._broken(transport, error)
        except UnicodeDecodeError:
            return self._broken(transport, ProtocolError("the server sent text that is not UTF-8", close_code=1007))
        except OSError as error:
            if self._info is not None:
                return self._info
            return self._lost(ConnectionFailed(f"the connection broke: {error.strerror or error}"))
        except Exception as error:  # noqa: BLE001 — a fault of ours must end in on_close, not in a silent thread
            _log.exception("the network thread failed")
            return self._lost(ConnectionFailed(f"the network thread failed: {error!r}"))
        finally:
            selector.close()
            transport.close()

    def _turn(self, selector: selectors.BaseSelector, transport: Transport) -> None:
        now = time.monotonic()
        due = self._owner.tick(now)
        self._keepalive(now)
        try:
            stalled = self._write(transport)
        except OSError:
            self._hear_last_words(transport)
            raise
        reading = self._owner.may_read()
        if reading and transport.more_to_read():
            self._read(transport)
            return
        self._watch(selector, transport, reading=reading, stalled=stalled)
        ready = selector.select(self._patience(now, due, reading=reading))
        for key, events in ready:
            if key.fileobj is self._wake_receiver:
                self._hush()
            elif reading and (events & selectors.EVENT_READ or transport.read_wants_write):
                self._read(transport)
        if self._info is None:
            self._give_up_if_late(time.monotonic(), reading=reading)

    def _watch(self, selector: selectors.BaseSelector, transport: Transport, *, reading: bool, stalled: bool) -> None:
        events = selectors.EVENT_READ if reading or transport.write_wants_read else 0
        if (stalled and not transport.write_wants_read) or transport.read_wants_write:
            events |= selectors.EVENT_WRITE
        if events == self._events:
            return
        if events and self._events:
            selector.modify(transport, events)
        elif events:
            selector.register(transport, events)
        else:
            selector.unregister(transport)
        self._events = events

    def _patience(self, now: float, due: float | None, *, reading: bool) -> float:
        soonest = min(now + _IDLE, self._next_ping)
        if due is not None:
            soonest = min(soonest, due)
        if self._pong_due is not None and reading:
            soonest = min(soonest, self._pong_due)
        if self._ending is not None:
            soonest = min(soonest, self._ending.deadline)
        return max(0.0, soonest - now)

    def _read(self, transport: Transport) -> bool:
        """Take in what came; returns whether anything did."""
        anything = False
        for _ in range(_READS_AT_ONCE):
            messages = transport.receive()
            if messages is None:
                break
            anything = True
            self._pong_due = None  # any byte from the peer proves that it lives
            self._owner.received(messages)
            for opcode, payload in transport.take_control():
                if opcode == PING:
                    self._control.append(frame(PONG, payload, self._masks.next()))
                elif opcode == CLOSE:
                    self._peer_closed(transport, payload)
                    return True
            if not transport.filled or not self._owner.may_read():
                break
        if transport.at_end:
            self._info = self._lost(ConnectionFailed("the server ended the connection without a close frame"))
        return anything

    def _write(self, transport: Transport) -> bool:
        """Send what can be sent; returns whether the socket has no more room."""
        while True:
            if not self._out:
                items = [] if self._control else self.outbox.get(_WRITE_SIZE)
                if not items and not self._control:
                    return self._say_goodbye(transport)
                frames, self._control = self._control, []
                texts = [frame(TEXT, item.payload, self._masks.next()) for item in items]
                self._out_sizes = [len(text) for text in texts]
                frames += texts
                self._out = memoryview(frames[0] if len(frames) == 1 else b"".join(frames))
                self._out_items = items
            while self._out:
                size = transport.send(self._out)
                if not size:
                    return True
                self._out = self._out[size:]
            if self._out_items:
                sent, self._out_items = self._out_items, []
                self._owner.sent(sent, time.monotonic())

    def _say_goodbye(self, transport: Transport) -> bool:
        # Everything queued is out: now the close frame may follow.
        ending = self._ending
        if ending is None or ending.frame_sent:
            return False
        ending.frame_sent = True
        self._control.append(close_frame(ending.code, ending.reason))
        return self._write(transport)

    def _keepalive(self, now: float) -> None:
        if now < self._next_ping or self._ping_interval is None:
            return
        self._next_ping = now + self._ping_interval
        self._control.append(frame(PING, b"dashscope_rt"))
        if self._ping_timeout is not None and self._pong_due is None:
            self._pong_due = now + self._ping_timeout

    def _give_up_if_late(self, now: float, *, reading: bool) -> None:
        ending = self._ending
        if ending is not None and now >= ending.deadline:
            self._info = CloseInfo(who="client", code=ending.code, reason=ending.reason)
        elif self._pong_due is not None and reading and now >= self._pong_due:
            self._info = self._lost(
                DeadlineExceeded(f"the peer is dead: it sent nothing for {self._ping_timeout:g} s after a ping")
            )

    def _hear_last_words(self, transport: Transport) -> None:
        """Read what the peer said before it shut its ears: often the very reason, an error event or a close frame.

        Even when the inbox is full: it is the last there is, and bounded by the system's own buffer.
        """
        with contextlib.suppress(OSError):
            for _ in range(_LAST_WORDS):
                if self._info is not None or not self._read(transport):
                    return

    # ---- the end, network thread ------------------------------------------------------------------------------

    def _peer_closed(self, transport: Transport, payload: bytes) -> None:
        code, reason = read_close(payload)
        ending = self._ending
        if ending is not None and ending.frame_sent:
            self._info = CloseInfo(who="client", code=ending.code, reason=ending.reason)
            return
        self._last_words(transport, 1000 if code == 1005 else code)
        self._info = CloseInfo(who="server", code=code, reason=reason, error=from_close(code, reason))

    def _broken(self, transport: Transport, error: RealtimeError) -> CloseInfo:
        """End it because the peer cannot be understood, telling it so if it listens."""
        if self._ending is not None:
            return self._lost(error)
        if isinstance(error, APIError):  # the service announced its own end; ours comes before its close frame
            self._last_words(transport, 1000)
            return CloseInfo(who="server", code=1006, reason=error.message, error=error)
        if isinstance(error, DeadlineExceeded):  # nobody here asked for the end: the peer took too long
            self._last_words(transport, 1000)
            return CloseInfo(who="network", code=1006, error=error)
        code = error.close_code if isinstance(error, ProtocolError) else 1011
        self._last_words(transport, code, type(error).__name__ if isinstance(error, MessageTooLarge) else str(error))
        return CloseInfo(who="client", code=code, reason=str(error), error=error)

    def _last_words(self, transport: Transport, code: int, reason: str = "") -> None:
        # One attempt, without waiting, and not into the middle of a frame.
        if not self._out and _may_be_sent(code):
            with contextlib.suppress(OSError):
                transport.send(memoryview(close_frame(code, reason)))

    def _lost(self, error: RealtimeError) -> CloseInfo:
        ending = self._ending
        if ending is not None:  # an end was asked for, and this is one
            return CloseInfo(who="client", code=ending.code, reason=ending.reason)
        return CloseInfo(who="server" if isinstance(error, APIError) else "network", code=1006, error=error)

    def unsent(self) -> list[Outgoing]:
        """Return events that were taken from the outbox but not wholly written; after the end only."""
        left = len(self._out)
        count = 0
        for size in reversed(self._out_sizes):  # events stand behind control frames, so the last sizes are theirs
            if left <= 0:
                break
            left -= size
            count += 1
        return self._out_items[max(0, len(self._out_items) - count) :]


def _may_be_sent(code: int) -> bool:
    return (1000 <= code <= 1014 and code not in (1004, 1005, 1006)) or 3000 <= code < 5000


def closed_error(info: CloseInfo) -> ConnectionClosed:
    """Return the exception for a call on a session that ended with ``info``."""
    return ConnectionClosed(f"the session is over: {info}", info)
