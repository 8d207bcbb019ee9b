"""The seats of this process: how many sessions at once, one for each user, who sits too long, and the end of it all.

Nothing runs and no thread exists before the first seat is taken, so a pool may be made before a fork (gunicorn's
``preload``) or in the parent of a reloader.

    any thread       claim ─► Seat ─► release
    reaper thread    seats that are idle for too long ─► relay.end     (lives while seats are taken)
    closing thread   close: every seat is told, and waited for
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from typing import Literal, Protocol

from . import messages, stopping

__all__ = ["Closing", "Full", "Pool", "Seat", "Taken"]

_log = logging.getLogger("dashscope_rt.web")
Second = Literal["newer", "refuse"]


class Full(Exception):
    """All seats of this process are taken; HTTP 503."""


class Closing(Full):
    """The process is shutting down; HTTP 503."""


class Taken(Exception):
    """The user has a seat already, and the pool lets the older one stay; HTTP 409."""


class Sitter(Protocol):
    """What sits on a seat: a relay, or one answer in writing."""

    active_at: float

    def end(self, code: int, reason: str) -> None:
        """Leave soon; any thread, returns at once."""


class Seat:
    """A place in the pool, until `release`."""

    def __init__(self, pool: Pool, user: str | None) -> None:
        self._pool = pool
        self.user = user
        self.taken_at = time.monotonic()
        self.sitter: Sitter | None = None
        self.told: tuple[int, str] | None = None  # under the pool's lock

    @property
    def active_at(self) -> float:
        """When something last happened here, ``time.monotonic()`` seconds."""
        sitter = self.sitter
        return self.taken_at if sitter is None else sitter.active_at

    def sit(self, sitter: Sitter) -> None:
        """From now on this is told to end."""
        self._pool._sit(self, sitter)

    def release(self) -> None:
        """Give the place back; may be called again."""
        self._pool._release(self)

    def __enter__(self) -> Seat:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Pool:
    """See the module.

    Args:
        limit: Seats in this process.
        second: What happens when a user who has a seat comes again, from a second tab for example: ``newer``: the older
            one is ended with 1008; ``refuse``: the newer one is refused.
        idle_s: Seconds without speech, text or an answer until a seat is ended with 1008; None: never. Silence of an
            open microphone counts as nothing.
        close_s: Seconds that `close` waits.
        signals: Close on SIGTERM (and SIGINT, SIGQUIT where a server handles them) before the server's own handler.

    Raises:
        ValueError: A value that cannot be.
    """

    def __init__(
        self,
        limit: int = 50,
        *,
        second: Second = "newer",
        idle_s: float | None = 300.0,
        close_s: float = 5.0,
        signals: bool = True,
    ) -> None:
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise ValueError(f"limit is the sessions of one process, a whole number of at least 1, not {limit!r}")
        if second not in ("newer", "refuse"):
            raise ValueError(f"second must be 'newer' or 'refuse', not {second!r}")
        if idle_s is not None and not idle_s > 0:
            raise ValueError(f"idle_s must be a number of seconds greater than 0, or None, not {idle_s!r}")
        self.limit, self.second, self.idle_s, self.close_s = limit, second, idle_s, close_s
        self._signals = signals
        self._begin()
        if signals:
            stopping.watch(self.close)

    def _begin(self) -> None:
        self._pid = os.getpid()
        # Guards everything below; sitters are told outside of it.
        self._changed = threading.Condition()
        self._seats: list[Seat] = []
        self._closed = False
        self._reaper: threading.Thread | None = None
        self._used = False

    @property
    def taken(self) -> int:
        """Seats taken now."""
        return len(self._seats) if self._pid == os.getpid() else 0

    def claim(self, user: str | None = None) -> Seat:
        """Take a seat for a user; None is somebody nobody knows, who may have any number.

        Raises:
            Full: All are taken.
            Closing: The process is shutting down.
            Taken: The user has one, and ``second`` is ``refuse``.
        """
        if self._pid != os.getpid():  # a worker of a preloading server: the parent's seats are not here
            self._begin()
        with self._changed:
            mine = self._look(user)
            seat = Seat(self, user)
            older = self._leave(mine, messages.POLICY, "you are connected in another tab or on another device now")
            self._seats.append(seat)
            first, self._used = not self._used, True
            if self.idle_s is not None and self._reaper is None:
                self._reaper = threading.Thread(
                    target=self._reap, args=(self.idle_s,), name="dashscope_rt-web-reaper", daemon=True
                )
                self._reaper.start()
            self._changed.notify_all()
        _tell(older)
        if first:
            atexit.register(self.close)
        if self._signals:
            stopping.ensure()
        return seat

    def look(self, user: str | None = None) -> None:
        """See whether `claim` would give a seat, without taking it; raises what that raises."""
        if self._pid == os.getpid():
            with self._changed:
                self._look(user)

    def close(self) -> None:
        """End every seat with 1013 and wait until they are free, at most ``close_s`` seconds; nobody gets one then."""
        if self._pid != os.getpid():
            return
        deadline = time.monotonic() + self.close_s
        with self._changed:
            self._closed = True
            told = self._leave(list(self._seats), messages.LATER, "this server is shutting down", free=False)
            self._changed.notify_all()
        _tell(told)
        with self._changed:
            while self._seats and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            if self._seats:
                _log.warning("%d sessions were still open after %g s", len(self._seats), self.close_s)

    # ---- inside -----------------------------------------------------------------------------------------------

    def _look(self, user: str | None) -> list[Seat]:
        # Under the lock; returns the user's seats, which have to go.
        if self._closed:
            raise Closing("this server is shutting down")
        mine = [seat for seat in self._seats if user is not None and seat.user == user]
        if mine and self.second == "refuse":
            raise Taken("you are connected already, in another tab or on another device")
        if len(self._seats) - len(mine) >= self.limit:
            raise Full("all lines are busy; try again later")
        return mine

    def _leave(self, seats: list[Seat], code: int, reason: str, *, free: bool = True) -> list[Seat]:
        # Under the lock.
        for seat in seats:
            seat.told = seat.told or (code, reason)
            if free:
                self._seats.remove(seat)
        return seats

    def _sit(self, seat: Seat, sitter: Sitter) -> None:
        with self._changed:
            seat.sitter = sitter
            told = seat.told
        if told is not None:
            sitter.end(*told)

    def _release(self, seat: Seat) -> None:
        with self._changed:
            if seat in self._seats:
                self._seats.remove(seat)
            self._changed.notify_all()

    def _reap(self, idle_s: float) -> None:
        while True:
            with self._changed:
                if not self._seats:
                    self._reaper = None
                    return
                now = time.monotonic()
                due = [seat for seat in self._seats if seat.active_at + idle_s <= now and seat.told is None]
                if not due:
                    waiting = [seat.active_at for seat in self._seats if seat.told is None]
                    left = min(waiting) + idle_s - now if waiting else threading.TIMEOUT_MAX
                    self._changed.wait(min(left, threading.TIMEOUT_MAX))
                    continue
                self._leave(due, messages.POLICY, f"nothing was said for {idle_s:g} s", free=False)
            _tell(due)


def _tell(seats: list[Seat]) -> None:
    for seat in seats:
        if seat.sitter is not None and seat.told is not None:
            seat.sitter.end(*seat.told)


