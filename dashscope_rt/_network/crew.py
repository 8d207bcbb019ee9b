"""Many connections, one thread at a time: the network threads of a process take turns at keeping the watch.

    thread A   dials ──> serves A, B, C … ────────> A is over: passes the watch on ──> reports its end
    thread B   dials ──> sleeps ─────────────────────────────────> serves B, C … ──> …
    thread C   dials ──> sleeps ─────────────────────────────────────────────────> …

A thread that has dialled brings its connection here. One of them has the watch: it waits for all sockets at once and
does what is to be done on each; the others sleep until their own connection is over, or the watch falls to them. With
hundreds of sessions that saves most of the wake-ups and nearly all of the fighting for the interpreter's lock, and a
single session costs nothing more than it would alone. A connection is never touched by two threads at a time.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import selectors
import socket
import threading
import time
from collections import deque
from typing import Protocol

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_NEVER = float("inf")
_MOST = 250 if os.name == "nt" else 1000  # connections of one crew; Windows can wait for some 500 sockets at once


class Line(Protocol):
    """A connection that is served; every call comes from whoever has the watch and must not block."""

    def fileno(self) -> int:
        """Return the socket's file descriptor."""

    def turn(self, ready: int) -> tuple[int, float] | None:
        """Do all there is to do; never raises.

        Args:
            ready: READ and WRITE, as far as the socket is; an error or the end of the stream counts as READ.

        Returns:
            What to wait for, and until when (monotonic seconds); None when the connection is over.
        """

    def hand_over(self) -> None:
        """Pass on what was received."""

    def fail(self, error: Exception) -> None:
        """The connection is over, because its socket cannot be watched."""


class Post:
    """A line's place in a crew."""

    __slots__ = ("crew", "due", "events", "fileno", "line", "over", "rung", "to_do", "watch")

    def __init__(self, crew: Crew, watch: _Watch, line: Line) -> None:
        self.crew = crew
        self.watch = watch
        self.line = line
        self.fileno = line.fileno()
        self.events = 0  # what the selector waits for
        self.due = _NEVER  # when it is looked at in any case
        self.rung = False  # it is on the list of those to be looked at now; a race looks twice
        self.over = False
        self.to_do = threading.Lock()  # held while its thread may sleep
        self.to_do.acquire()

    @property
    def alone(self) -> bool:
        """Whether nobody else is served, who would have to wait for whatever takes long."""
        return self.crew.size == 1

    def serve(self) -> None:
        """Return when the line is over; see `Crew.serve`."""
        self.crew.serve(self)

    def ring(self) -> None:
        """Have the line looked at now; any thread."""
        if not self.rung:
            self.rung = True
            self.crew.ring(self)


class _Bell:
    """What wakes the watch: a socket that becomes readable."""

    def __init__(self) -> None:
        self.socket, self._cord = socket.socketpair()
        self.socket.setblocking(False)
        self._cord.setblocking(False)
        self._rings = False  # benign race: a byte too many

    def ring(self) -> None:
        """Wake the watch; any thread."""
        if not self._rings:
            self._rings = True
            with contextlib.suppress(OSError):  # full: it rings anyway; closed: nobody watches any more
                self._cord.send(b"\0")

    def hush(self) -> None:
        """Be ready for the next ring; whoever has the watch, before looking at what was rung for."""
        with contextlib.suppress(BlockingIOError):
            self.socket.recv(4096)
        self._rings = False

    def close(self) -> None:
        """Give the sockets back."""
        self.socket.close()
        self._cord.close()


class _Watch:
    """All a crew waits for."""

    def __init__(self) -> None:
        self.bell = _Bell()
        try:
            self.selector = selectors.DefaultSelector()
        except OSError:  # the process has no file descriptors left
            self.bell.close()
            raise
        self.selector.register(self.bell.socket, READ)

    def close(self) -> None:
        """Give everything back."""
        self.selector.close()
        self.bell.close()


class Crew:
    """Connections that are served together, and the threads that take turns at it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _posts, _leader and _watch
        self._posts: set[Post] = set()
        self._leader: Post | None = None
        self._watch: _Watch | None = None  # while there is anybody
        self._rung: deque[Post] = deque()
        self._dues: list[tuple[float, int, Post]] = []  # a heap; a post may stand there more than once
        self._numbers = itertools.count()

    @property
    def size(self) -> int:
        """How many lines there are."""
        return len(self._posts)

    def join(self, line: Line) -> Post | None:
        """Take a line in, the caller's; None when there is no place. `serve` must follow."""
        with self._lock:
            if len(self._posts) >= _MOST:
                return None
            if self._watch is None:
                self._watch = _Watch()
            post = Post(self, self._watch, line)
            self._posts.add(post)
            return post

    def serve(self, post: Post) -> None:
        """Return when the line is over; until then the caller's thread serves everybody, or sleeps."""
        with self._lock:
            leads = self._leader is None
            if leads:
                self._leader = post
        post.ring()  # the first look, by whoever has the watch
        try:
            if not leads:
                post.to_do.acquire()
            if not post.over:
                self._keep_watch(post)
        finally:
            if not post.over:  # a fault of ours, on the thread that has the watch: the others must go on
                post.over = True
                with contextlib.suppress(OSError, KeyError, ValueError):
                    self._watch_for(post, 0)
            self._leave(post)

    def ring(self, post: Post) -> None:
        """Have a line looked at now; any thread."""
        self._rung.append(post)
        post.watch.bell.ring()

    def close_copies(self) -> None:
        """Close what a forked child has inherited; the parent's own is not touched."""
        if self._watch is not None:
            with contextlib.suppress(OSError):
                self._watch.close()

    # ---- whoever has the watch --------------------------------------------------------------------------------

    def _keep_watch(self, mine: Post) -> None:
        selector, bell = mine.watch.selector, mine.watch.bell
        dues, rung = self._dues, self._rung
        looked_at: list[Post] = []
        while True:
            while rung:
                post = rung.popleft()
                post.rung = False
                self._look(post, 0, looked_at)
            now = time.monotonic()
            while dues and dues[0][0] <= now:
                due, _, post = heapq.heappop(dues)
                if due == post.due:
                    post.due = _NEVER
                    self._look(post, 0, looked_at)
            # Only now, when nothing is left to do: the callbacks' threads wake up and need the interpreter, which this
            # thread gives away in the next moment.
            for post in looked_at:
                if not post.over:
                    post.line.hand_over()
            looked_at.clear()
            if mine.over:
                return
            for key, ready in selector.select(max(0.0, dues[0][0] - time.monotonic()) if dues else None):
                if key.data is None:
                    bell.hush()
                else:
                    self._look(key.data, ready, looked_at)

    def _look(self, post: Post, ready: int, looked_at: list[Post]) -> None:
        if post.over:
            return
        wanted = post.line.turn(ready)
        if wanted is None:
            self._end(post)
            return
        looked_at.append(post)
        events, due = wanted
        try:
            self._watch_for(post, events)
        except (OSError, ValueError) as error:  # the system watches no more: this line's bad luck, and nobody else's
            post.line.fail(error)
            self._end(post)
            return
        if due < post.due:
            post.due = due
            heapq.heappush(self._dues, (due, next(self._numbers), post))

    def _end(self, post: Post) -> None:
        post.line.hand_over()
        self._watch_for(post, 0)
        self._dues[:] = [entry for entry in self._dues if entry[2] is not post]
        heapq.heapify(self._dues)
        post.over = True
        post.to_do.release()

    def _watch_for(self, post: Post, events: int) -> None:
        selector = post.watch.selector
        if events == post.events:
            return
        if not events:
            selector.unregister(post.fileno)
        elif post.events:
            selector.modify(post.fileno, events, post)
        else:
            selector.register(post.fileno, events, post)
        post.events = events

    def _leave(self, post: Post) -> None:
        with self._lock:
            self._posts.discard(post)
            if self._leader is post:
                self._leader = next((other for other in self._posts if not other.over), None)
                if self._leader is not None:
                    self._leader.to_do.release()
            if not self._posts and self._watch is not None:
                self._watch.close()
                self._watch = None
                self._rung.clear()
                self._dues.clear()


_crews: list[Crew] = [Crew()]


def join(line: Line) -> Post:
    """Take a line into a crew that has a place; the caller's thread must then `Post.serve` it.

    Raises:
        OSError: The process has no file descriptors left.
    """
    while True:
        for crew in _crews:
            post = crew.join(line)
            if post is not None:
                return post
        _crews.append(Crew())


def _after_fork_in_child() -> None:
    # None of the threads lives here, and no lock can be trusted.
    for crew in _crews:
        crew.close_copies()
    _crews[:] = [Crew()]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
