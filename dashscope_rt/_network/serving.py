"""What the crew's thread does with one connection: all that is read and written, and every deadline.

One selector's turn after the other: read what came, let the owner do what is due, send what is queued, say what to wait
for. Beside it, `Link` dials and ends the connection.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable

from ..errors import (
    APIError,
    CloseInfo,
    ConnectionFailed,
    DeadlineExceeded,
    MessageTooLarge,
    ProtocolError,
    RealtimeError,
    from_close,
)
from . import crew
from .crew import READ, WRITE
from .frames import CLOSE, PING, PONG, TEXT, Masks, close_frame, frame, read_close
from .outbox import Outbox, Outgoing
from .owner import Owner
from .transport import Transport

_log = logging.getLogger("dashscope_rt")
_WRITE_SIZE = 64 * 1024  # bytes of payload framed and written at once
_READS_AT_ONCE = 8  # before the loop looks at its writes and deadlines again
_LAST_WORDS = 1000  # times that is done to hear what a peer said before its end; each takes up to a megabyte
IDLE = 3600.0  # a select without any deadline; wake() ends it


class Ending:
    """An orderly end that was asked for: what is queued, then a close frame, all until the deadline."""

    __slots__ = ("code", "deadline", "final", "frame_sent", "reason")

    def __init__(self, code: int, reason: str, deadline: float, *, final: bool) -> None:
        self.code = code
        self.reason = reason
        self.deadline = deadline
        self.final = final  # close(): nothing comes after; otherwise rotate(): the next connection does
        self.frame_sent = False


class Serving:
    """A connection while it is served; but for `wake` and the setting of ``_ending``, the crew's thread alone.

    Args:
        make_outbox: Makes the queue of client events; it is given what tells this connection of a put.
        owner: Who is told.
        ping_interval: Seconds between pings; None sends none.
        ping_timeout: Seconds without a single byte after a ping until the peer counts as dead; None waits for ever.
    """

    def __init__(
        self,
        make_outbox: Callable[[Callable[[bool], None]], Outbox],
        owner: Owner,
        *,
        ping_interval: float | None,
        ping_timeout: float | None,
    ) -> None:
        self._owner = owner
        self.unheard = owner.unheard
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._transport: Transport | None = None
        self._post: crew.Post | None = None  # while it is served
        self._ending: Ending | None = None  # what close() or rotate() asked for
        self._masks = Masks()
        self.begin()
        self.outbox = make_outbox(self._ring_for)

    def begin(self) -> None:
        """Forget the connection before; whoever dials."""
        self._info: CloseInfo | None = None
        self._out: bytes | memoryview = b""  # framed bytes the socket has not taken yet
        self._out_items: list[Outgoing] = []  # the events inside _out
        self._out_sizes: list[int] = []  # bytes of the frame of each
        self._control: list[bytes] = []  # pongs, pings, close: before the next events
        self._next_ping = time.monotonic() + (self._ping_interval or IDLE)
        self._pong_due: float | None = None
        self._reading = True  # or the socket is left alone, because the callbacks are too far behind
        self._restless = True  # something may have come under way that `Owner.tick` has to know of
        self._tick_due = 0.0

    def wake(self) -> None:
        """Make the thread look at the outbox, its deadlines and `Owner.inbox` now; any thread."""
        self._ring_for(False)

    def _ring_for(self, audio: bool) -> None:
        if not audio:  # which sets no deadline, and comes ten times a second
            self._restless = True
        post = self._post
        if post is None:
            self._look_up()
        elif not post.rung:
            post.ring()

    def _look_up(self) -> None:
        """Somebody wants to be noticed while nothing is served."""
        raise AssertionError  # whoever dials knows

    # ---- the crew's thread --------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """Return the socket's file descriptor."""
        return -1 if self._transport is None else self._transport.fileno()

    def hand_over(self, *, alone: bool) -> None:
        """Let the callbacks hear of what was received; see `crew.Line`."""
        if not self.unheard:
            return
        try:
            self._owner.hand_over(may_wait=alone)
        except RuntimeError as error:  # the system has no thread for them
            self.fail(error)
            self.wake()

    def fail(self, error: Exception) -> None:
        """The connection is over, because it cannot be served."""
        self._info = self._lost(ConnectionFailed(f"the connection cannot be served: {error}"))

    def turn(self, ready: int) -> tuple[int, float] | None:
        """Do all there is to do; see `crew.Line`."""
        transport = self._transport
        if transport is None:
            return None
        try:
            wanted = self._turn(transport, ready)
        except RealtimeError as error:
            self._info = self._broken(transport, error)
        except UnicodeDecodeError:
            problem = ProtocolError("the server sent text that is not UTF-8", close_code=1007)
            self._info = self._broken(transport, problem)
        except OSError as error:
            if self._info is None:
                self._info = self._lost(ConnectionFailed(f"the connection broke: {error.strerror or error}"))
        except Exception as error:  # noqa: BLE001 — a fault of ours must end in on_close, not in a silent thread
            _log.exception("the network thread failed")
            self._info = self._lost(ConnectionFailed(f"the network thread failed: {error!r}"))
        return None if self._info is not None else wanted

    def _turn(self, transport: Transport, ready: int) -> tuple[int, float]:
        inbox = self._owner.inbox
        # What was handed over since it was last asked may have been enough.
        if ready and (ready & READ or transport.read_wants_write) and not inbox.full:
            self._read(transport)
        now = time.monotonic()
        if self._info is None and (self._ending is not None or self._pong_due is not None):
            self._give_up_if_late(transport, now)
        if self._info is not None:
            return 0, now
        if self._restless or now >= self._tick_due:
            self._restless = False  # before the look: a later ring sets it again
            due = self._owner.tick(now)
            self._tick_due = now + IDLE if due is None else due
        if now >= self._next_ping:
            self._keepalive(now)
        stalled = False
        if self._out or self._control or self._ending is not None or not self.outbox.empty:
            try:
                stalled = self._write(transport)
            except OSError:
                self._hear_last_words(transport)
                raise
        reading = not inbox.full
        if reading and not self._reading and self._pong_due is not None and self._ping_timeout is not None:
            self._pong_due = now + self._ping_timeout  # nobody looked for the pong meanwhile
        self._reading = reading
        if reading and transport.opaque and transport.more_to_read():
            self._read(transport)
            self._tick_due = now  # there may be more, but others want their turn
        events = READ if reading or transport.write_wants_read else 0
        if (stalled and not transport.write_wants_read) or transport.read_wants_write:
            events |= WRITE
        soonest = min(self._next_ping, self._tick_due)
        if self._pong_due is not None or self._ending is not None:
            soonest = self._next_look(soonest)
        return events, soonest

    def _next_look(self, soonest: float) -> float:
        if self._pong_due is not None and self._reading and self._pong_due < soonest:
            soonest = self._pong_due
        if self._ending is not None and self._ending.deadline < soonest:
            soonest = self._ending.deadline
        return soonest

    def _read(self, transport: Transport) -> bool:
        """Take in what came; returns whether anything did."""
        anything = False
        for _ in range(_READS_AT_ONCE):
            messages = transport.receive()
            if messages is None:
                break
            anything = True
            self._pong_due = None  # any byte from the peer proves that it lives
            due = self._owner.received(messages)
            if due < self._tick_due:
                self._tick_due = due
            if transport.filled:  # more is coming, and this is enough to be going on with
                self.hand_over(alone=self._post is not None and len(self._post.crew.posts) == 1)
            for opcode, payload in transport.take_control() if transport.control else ():
                if opcode == PING:
                    self._control.append(frame(PONG, payload, self._masks.next()))
                elif opcode == CLOSE:
                    self._peer_closed(transport, payload)
                    return True
            if not transport.filled or self._owner.inbox.full:
                break
        if transport.at_end:
            self._info = self._lost(ConnectionFailed("the server ended the connection without a close frame"))
        return anything

    def _write(self, transport: Transport) -> bool:
        """Send what can be sent; returns whether the socket has no more room."""
        while True:
            if not self._out and not self._next_frames():
                return self._say_goodbye(transport) if self._ending is not None else False
            while self._out:
                size = transport.send(self._out)
                if not size:
                    return True
                self._out = b"" if size == len(self._out) else memoryview(self._out)[size:]
            if self._out_items:
                sent, self._out_items = self._out_items, []
                self._owner.sent(sent, time.monotonic())
                if self._ending is None and self.outbox.empty and not self._control:  # the usual way out
                    return False

    def _next_frames(self) -> bool:
        """Frame what is to be sent next; returns whether there is anything."""
        if self._control:
            self._out, self._control = b"".join(self._control), []
            self._out_sizes = []
            return True
        items = self.outbox.get(_WRITE_SIZE)
        if not items:
            return False
        if len(items) == 1:
            (item,) = items
            self._out = frame(TEXT, item.payload, self._masks.next())
            self._out_sizes = [len(self._out)]
        else:
            frames = [frame(TEXT, item.payload, self._masks.next()) for item in items]
            self._out = b"".join(frames)
            self._out_sizes = [len(each) for each in frames]
        self._out_items = items
        return True

    def _say_goodbye(self, transport: Transport) -> bool:
        # Everything queued is out: now the close frame may follow.
        ending = self._ending
        if ending is None or ending.frame_sent:
            return False
        ending.frame_sent = True
        self._control.append(close_frame(ending.code, ending.reason))
        return self._write(transport)

    def _keepalive(self, now: float) -> None:
        if now < self._next_ping:
            return
        self._next_ping = now + (self._ping_interval or IDLE)
        if self._ping_interval is None:
            return
        self._control.append(frame(PING, b"dashscope_rt"))
        if self._ping_timeout is not None and self._pong_due is None:
            self._pong_due = now + self._ping_timeout

    def _give_up_if_late(self, transport: Transport, now: float) -> None:
        ending = self._ending
        if ending is not None and now >= ending.deadline:
            self._info = CloseInfo(who="client", code=ending.code, reason=ending.reason)
        elif self._pong_due is not None and self._reading and now >= self._pong_due and not self._read(transport):
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

    # ---- the end, the crew's thread ------------------------------------------------------------------------------

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
