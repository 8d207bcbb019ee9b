"""One connection, both ways, from dialling to the last byte; and the next one, where a lost one is replaced.

It sends what the outbox holds, reads frames, answers pings, sends pings, keeps the deadlines. Two threads on one TLS
connection are a data race inside OpenSSL that shows as a false "connection lost", so one thread alone reads and writes:
that of the `crew`, which serves all connections of the process.

    connect()'s caller            open: dialling, and what is said until the session is open
    any thread                    close, rotate, wake, abort, join
    the crew's thread             turn, hand_over, over, and the calls of the `Owner` they bring
    a thread for each gap         the pause before the next try, dialling again
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from ..errors import CloseInfo, ConnectionClosed, ConnectionFailed, RealtimeError
from . import crew
from .crew import READ
from .outbox import Outbox
from .owner import Owner, Redial
from .serving import Ending, Serving
from .transport import Dialing, Transport


class Link(Serving):
    """Socket, frames and deadlines of one session.

    Args:
        dialing: How to get a transport.
        make_outbox: Makes the queue of client events; it is given what tells this connection of a put.
        owner: Who is told.
        ping_interval: Seconds between pings; None sends none.
        ping_timeout: Seconds without a single byte after a ping until the peer counts as dead; None waits for ever.
        name: Of the threads that dial again.
    """

    def __init__(
        self,
        dialing: Dialing,
        make_outbox: Callable[[Callable[[bool], None]], Outbox],
        owner: Owner,
        *,
        ping_interval: float | None,
        ping_timeout: float | None,
        name: str,
    ) -> None:
        super().__init__(make_outbox, owner, ping_interval=ping_interval, ping_timeout=ping_timeout)
        self._dialing = dialing
        self._name = name
        self._served: crew.Post | None = None  # the last one
        self._here = 0  # the thread that has dialled and still serves it
        self._rung: threading.Event | None = None  # somebody wants whoever waits for the next try to look up
        self._gone = threading.Lock()  # held until nothing comes any more
        self._gone.acquire()
        self._aborted = False
        # Guards _ending, _aborted, and the hand-over from _dialing to _transport.
        self._lock = threading.Lock()

    # ---- any thread -------------------------------------------------------------------------------------------

    def open(self, until: float) -> None:
        """Dial, on the caller's thread, once, and serve the session until it is open; the owner is told of all.

        Args:
            until: Not longer than this (monotonic seconds); then the crew goes on.
        """
        try:
            info = self._connect(until)
        except BaseException:  # Ctrl-C
            if self._served is None:  # otherwise the crew tells of the end, or has done so
                self._go_on(CloseInfo(who="client", code=1006))
            raise
        if info is not None:
            self._go_on(info)

    def _look_up(self) -> None:
        if self._rung is not None:
            self._rung.set()

    def close(self, code: int, reason: str, deadline: float) -> None:
        """Ask for an orderly end: what is queued goes out, then a close frame; all of it until ``deadline``."""
        with self._lock:
            if self._ending is None or not self._ending.final:
                self._ending = Ending(code, reason, deadline, final=True)
            dialing = self._dialing
        transport = self._transport
        if transport is None:
            dialing.abort()
        elif self._here not in (0, threading.get_ident()):
            transport.stop_reading()  # which is what the thread that serves it waits for
        self.wake()

    def rotate(self, deadline: float) -> None:
        """End this connection in order, to go on with another; `Owner.ended` is told that it was planned."""
        with self._lock:
            if self._ending is None:
                self._ending = Ending(1000, "", deadline, final=False)
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
        if transport is not None:
            with contextlib.suppress(OSError):
                transport.close()

    def join(self, timeout: float) -> bool:
        """Wait until nothing comes any more, never on the crew's own thread; returns whether it is so."""
        post, until = self._post, time.monotonic() + timeout
        mine = post is not None and threading.current_thread() is post.crew.thread
        if not self._gone.acquire(timeout=0.0 if mine else min(max(0.0, timeout), threading.TIMEOUT_MAX)):
            return False
        self._gone.release()
        if self._served is not None:
            self._served.leave(until - time.monotonic())
        return True

    # ---- whoever dials ------------------------------------------------------------------------------------------

    def _connect(self, open_here_until: float | None = None) -> CloseInfo | None:
        """Dial and have the connection served; returns why there is none."""
        self.begin()
        posts: list[crew.Post] = []

        def meanwhile() -> None:
            crew.reserve(posts)
            self._owner.meanwhile()

        try:
            transport = self._dialing.run(meanwhile)
            with self._lock:
                self._transport = transport
                if self._aborted:  # between the end of the dialling and now
                    return self._lost(ConnectionFailed("the attempt to connect was given up"))
            self._owner.connected()
            if open_here_until is not None and self._open_here(transport, open_here_until):
                return self._info
            self._post = self._served = posts[0]
            posts[0].take(self)
        except RealtimeError as error:
            return self._lost(error)
        except Exception as error:  # noqa: BLE001 — whoever waits in connect() must hear of it
            return self._lost(ConnectionFailed(f"connecting failed: {error!r}"))
        finally:
            if not any(post.taken for post in posts):  # Ctrl-C, too
                self._post = self._served = None
                self._release()
                for post in posts:
                    post.give_up()
        return None

    def _open_here(self, transport: Transport, until: float) -> bool:
        """Serve the connection on this thread until the session is open: no other has to wake up for it, and back.

        What is unusual is left to the crew: a close from elsewhere, callbacks that are too far behind, no time left.

        Returns:
            Whether the connection is over.
        """
        ready = READ
        self._here = threading.get_ident()
        try:
            while self._owner.opening and self._ending is None:
                wanted = self.turn(ready)
                self.hand_over(alone=False)
                if wanted is None:
                    return True
                events, due = wanted
                now = time.monotonic()
                if not events & READ or now >= until:
                    break
                if self._owner.opening:
                    ready = transport.wait(events, max(0.0, min(due, until) - now))
        finally:
            self._here = 0
        if self._ending is not None:  # what is written now is the last before the end of the stream is seen
            with contextlib.suppress(OSError):
                self._write(transport)
        return False

    def _release(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def _go_on(self, info: CloseInfo) -> None:
        """The connection is over or never came about: another one, or the end."""
        redial = self._owner.ended(info, planned=self._take_planned())
        if redial is None:
            self._leave()
            return
        self._rung = self._rung or threading.Event()
        try:
            threading.Thread(target=self._dial_again, args=(redial,), name=self._name, daemon=True).start()
        except RuntimeError as error:  # the system has no more threads
            failed = ConnectionFailed(f"the lost connection cannot be replaced: {error}", retryable=False)
            self._owner.ended(self._lost(failed), planned=False)
            self._leave()

    def _dial_again(self, redial: Redial | None) -> None:
        while redial is not None:
            if self._paused(redial.delay) and self._next_dialing(redial.dialing):
                info = self._connect()
                if info is None:
                    return
            else:
                ending = self._ending
                info = CloseInfo(who="client", code=ending.code if ending else 1006)
            redial = self._owner.ended(info, planned=self._take_planned())
        self._leave()

    def _leave(self) -> None:
        del self._owner  # nothing is called after its last `ended`, and it is freed as soon as nobody else needs it
        self._gone.release()

    def _take_planned(self) -> bool:
        with self._lock:
            planned = self._ending is not None and not self._ending.final
            if planned:
                self._ending = None
        return planned

    def _paused(self, delay: float) -> bool:
        """Wait before the next try; returns False as soon as the end is asked for."""
        until = time.monotonic() + delay
        while self._ending is None:
            left = until - time.monotonic()
            if left <= 0 or self._rung is None:
                return True
            self._rung.wait(left)
            self._rung.clear()
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

    # ---- the crew's thread --------------------------------------------------------------------------------------

    def over(self) -> None:
        """It is served no more."""
        self._post = None
        self._release()
        self._go_on(self._info or self._lost(ConnectionFailed("nobody served the connection any more")))


def closed_error(info: CloseInfo) -> ConnectionClosed:
    """Return the exception for a call on a session that ended with ``info``."""
    return ConnectionClosed(f"the session is over: {info}", info)
