"""Many connections, one thread: all sessions of a process are served together.

    connect()  dials on the caller's thread ──> takes its post ───────────┐
    connect()  dials on the caller's thread ──> takes its post ─────────┐ │
    a gap      dials on a thread of its own ──> takes its post ───────┐ │ │
    crew's thread                                                     A B C ──> serves them, until the last is over

The thread starts with the first connection, while that is being dialled, and ends with the last; it waits for all
sockets at once and does what is to be done on each. With hundreds of sessions that saves most of the wake-ups, and
nearly all of the fighting for the interpreter's lock. A connection is never touched by two threads at a time.

When so much is going on that it would wake up thousands of times a second, it *gathers*: it sleeps for a part of a
millisecond, and then does together what has come meanwhile.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import os
import threading
import time
from collections import deque
from typing import Any, Protocol

from . import poller
from .bell import Bell
from .poller import READ, WRITE

__all__ = ["READ", "WRITE", "Crew", "Line", "Post", "reserve"]

_log = logging.getLogger("dashscope_rt")
_NEVER = float("inf")
_MOST = 250 if os.name == "nt" else 1000  # connections of one crew; Windows can wait for some 500 sockets at once
_BUSY = 2000.0  # looks at a connection per second, from which on it gathers
_GATHER = 0.0006  # s from one waking to the next while it does; Windows cannot sleep that short
_COUNTED = 0.02  # s over which the looks are counted
_TOGETHER = 6  # lines that hand over at once; fewer, and callbacks' threads fight this one for the interpreter
_PATIENCE = 0.5  # s to wait for the end of a thread that nobody needs
_TOO_SHORT = 0.00005  # s that are not worth going to sleep for


class Line(Protocol):
    """A connection that is served; every call comes from the crew's thread and must not block.

    Attributes:
        unheard: What was received and waits for `hand_over`; a list for life.
    """

    unheard: list[Any]

    def fileno(self) -> int:
        """Return the socket's file descriptor."""

    def turn(self, ready: int) -> tuple[int, float] | None:
        """Do all there is to do; never raises.

        Args:
            ready: READ and WRITE, as far as the socket is; an error or the end of the stream counts as READ.

        Returns:
            What to wait for, and until when (monotonic seconds); None when the connection is over.
        """

    def hand_over(self, *, alone: bool) -> None:
        """Pass on what was received; it may take a moment if it is ``alone``, and nobody else has to wait for it."""

    def fail(self, error: Exception) -> None:
        """The connection is over, because it cannot be served."""

    def over(self) -> None:
        """It is served no more: the last call."""


class Post:
    """A line's place in a crew: reserved, then taken or given up."""

    __slots__ = ("crew", "due", "events", "fileno", "line", "over", "rung", "taken")

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.line: Line | None = None
        self.fileno = -1
        self.events = 0  # what the selector waits for
        self.due = _NEVER  # when it is looked at in any case
        self.rung = False  # it is on the list of those to be looked at now; a race looks twice
        self.taken = False
        self.over = False

    def take(self, line: Line) -> None:
        """Have a line served from now on; whoever has reserved the post.

        Raises:
            RuntimeError: The crew's thread has failed meanwhile.
        """
        if self.crew.over:
            raise RuntimeError("the network thread has ended")
        self.fileno = line.fileno()
        self.line = line
        self.taken = True
        self.ring()

    def give_up(self) -> None:
        """Nobody will take it; the thread has ended when this returns, if nobody else is served."""
        with _lock:
            self.crew.posts.discard(self)
            if not self.crew.posts:
                self.crew.end()
        self.leave(_PATIENCE)

    def ring(self) -> None:
        """Have the line looked at now; any thread."""
        if self.rung:
            return
        crew = self.crew
        try:
            self.rung = True
            crew.rung.append(self)
            if not crew.gathering:
                crew.bell.ring()
        except BaseException:  # Ctrl-C: who believes that it is rung for never rings again
            self.rung = False
            raise

    def leave(self, timeout: float) -> None:
        """Wait for the end of the crew's thread, if this line was its last; any thread after the line is over."""
        if self.crew.over:
            self.crew.join(timeout)


class Crew:
    """Connections that are served together by one thread; made by `reserve`, gone with the last of them.

    Attributes:
        posts: Who is served, or will be; under the module's lock.
        over: Nobody gets a post here any more; under the module's lock.
        rung: Who is to be looked at now; any thread appends, the crew's takes.
        gathering: While it is set the thread sleeps, and looks at who was rung for as soon as it is not: no bell is
            needed.
        bell: Wakes the thread.
        thread: Ends soon after ``over``.
    """

    def __init__(self, number: int) -> None:
        self.posts: set[Post] = set()
        self.over = False
        self.rung: deque[Post] = deque()
        self.gathering = False
        self.bell = Bell()
        try:
            self._poller = poller.make()
        except OSError:  # the process has no file descriptors left
            self.bell.close()
            raise
        self._poller.watch_bell(self.bell.fileno)
        self._dues: list[tuple[float, int, Post]] = []  # a heap; a post may stand there more than once
        self._numbers = itertools.count()
        self._running = threading.Lock()  # held until the thread has done its work
        self._running.acquire()
        self.thread = threading.Thread(target=self._run, name=f"dashscope_rt-network-{number}", daemon=True)

    def end(self) -> None:
        """Let the thread end; under the module's lock: whoever comes now gets a new crew."""
        self.over = True
        if self in _crews:
            _crews.remove(self)
        if threading.current_thread() is not self.thread:
            self.bell.ring()

    def join(self, timeout: float) -> None:
        """Wait for the end of the thread, also of one that is only about to begin; never on itself."""
        until = time.monotonic() + timeout
        if threading.current_thread() is not self.thread and self._running.acquire(timeout=max(0.0, timeout)):
            self._running.release()
            self.thread.join(max(0.0, until - time.monotonic()))

    def close(self) -> None:
        """Give everything back."""
        self._poller.close()
        self.bell.close()

    def close_copies(self) -> None:
        """Close what a forked child has inherited; the parent's own is not touched."""
        self._poller.close()
        self.bell.close_copies()

    # ---- the crew's thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:  # noqa: BLE001 — a fault of ours must end in on_close, not in a silent thread
            _log.exception("the network thread failed")
            with _lock:
                self.end()
            for post in list(self.posts):
                if post.line is not None and not post.over:
                    post.line.fail(error)
                    self._tell_over(post, post.line)
        finally:
            self.close()
            self._running.release()

    def _serve(self) -> None:
        wait, bell, dues, rung = self._poller.wait, self.bell, self._dues, self.rung
        read_bell = not self._poller.counts_writes
        heard: list[Post] = []
        woke = counted = time.monotonic()
        looks = 0
        busy = False
        while True:
            for _ in range(len(rung)):  # who is rung for meanwhile comes after the sockets, which nobody can starve
                post = rung.popleft()
                post.rung = False
                looks += 1
                self._look(post, 0, heard)
            now = time.monotonic()
            while dues and dues[0][0] <= now:
                due, _, post = heapq.heappop(dues)
                if due == post.due:
                    post.due = _NEVER
                    self._look(post, 0, heard)
            # Only now, when nothing is left to do: the callbacks' threads wake up and need the interpreter, which this
            # thread gives away in the next moment.
            if heard:
                self._hand_over(heard)
            if self.over:
                return
            if now - counted >= _COUNTED:
                busy = looks >= _BUSY * (now - counted)
                counted, looks = now, 0
            if busy:
                self._gather(woke + _GATHER)
                woke = time.monotonic()
            seconds = 0.0 if rung else max(0.0, dues[0][0] - time.monotonic()) if dues else None
            for whose, ready in wait(seconds):
                if whose is None:
                    bell.hush(read=read_bell)
                else:
                    looks += 1
                    self._look(whose, ready, heard)

    def _gather(self, until: float) -> None:
        left = until - time.monotonic()
        if left > _TOO_SHORT and os.name != "nt":
            self.gathering = True
            time.sleep(left)
            self.gathering = False  # before the look at who was rung for

    def _look(self, post: Post, ready: int, heard: list[Post]) -> None:
        line = post.line
        if post.over or line is None:
            return
        wanted = line.turn(ready)
        if wanted is None:
            self._end(post, line)
            return
        if line.unheard:
            heard.append(post)
            if len(heard) >= _TOGETHER:  # more is waiting, and these should not wait for it
                self._hand_over(heard)
        events, due = wanted
        if events != post.events:
            try:
                self._watch_for(post, events)
            except (OSError, ValueError) as error:  # the system watches no more: this line's bad luck, nobody else's
                line.fail(error)
                self._end(post, line)
                return
        if due < post.due:
            post.due = due
            heapq.heappush(self._dues, (due, next(self._numbers), post))

    def _hand_over(self, heard: list[Post]) -> None:
        alone = len(self.posts) == 1
        for post in heard:
            if not post.over and post.line is not None:
                post.line.hand_over(alone=alone)
        heard.clear()

    def _watch_for(self, post: Post, events: int) -> None:
        self._poller.watch(post.fileno, events, post.events, post)
        post.events = events

    def _end(self, post: Post, line: Line) -> None:
        line.hand_over(alone=len(self.posts) == 1)
        if post.events:
            with contextlib.suppress(OSError, KeyError, ValueError):
                self._watch_for(post, 0)
        self._dues[:] = [entry for entry in self._dues if entry[2] is not post]
        heapq.heapify(self._dues)
        with _lock:
            self.posts.discard(post)
            if not self.posts:
                self.end()
        self._tell_over(post, line)

    def _tell_over(self, post: Post, line: Line) -> None:
        post.over = True
        post.line = None
        try:
            line.over()
        except Exception:  # noqa: BLE001 — a fault of ours, which the others must survive
            _log.exception("the network thread failed")


_lock = threading.Lock()  # guards _crews, and who belongs to which
_crews: list[Crew] = []
_numbers = itertools.count(1)


def reserve(posts: list[Post]) -> None:
    """Reserve a post in a crew that has one, and start its thread if there is none yet.

    Args:
        posts: Gets the post, so that Ctrl-C cannot come between its being reserved and its being known.

    Raises:
        OSError: The process has no file descriptors left.
        RuntimeError: It can start no more threads.
    """
    made: Crew | None = None
    post: Post | None = None
    try:
        with _lock:
            crew = next((crew for crew in _crews if len(crew.posts) < _MOST), None)
            if crew is None:
                crew = made = Crew(next(_numbers))
                made.thread.start()
                _crews.append(made)
            post = Post(crew)
            crew.posts.add(post)
            posts.append(post)
    except RuntimeError:  # the system has no more threads
        if made is not None:
            made.close()
        raise
    except BaseException:  # Ctrl-C: a new thread runs, or is about to
        if post is not None and post not in posts:
            post.give_up()
        elif post is None and made is not None:
            with _lock:
                made.end()
            made.join(_PATIENCE)
        raise


def _after_fork_in_child() -> None:
    # None of the threads lives here, and no lock can be trusted.
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
    for crew in _crews:
        with contextlib.suppress(OSError):
            crew.close_copies()
    _crews.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
