"""Waiting for many sockets at once: epoll itself where there is one, `selectors` everywhere else.

`selectors` over epoll does the same with a dozen calls more for every socket that is ready, thousands of times
a second.
"""

from __future__ import annotations

import select
import selectors
import sys
from typing import Any

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Selector:
    """Any system. Not thread-safe.

    Attributes:
        counts_writes: A descriptor of `watch_bell` is ready once for every write, whether anybody reads it or not.
    """

    counts_writes = False

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def watch(self, fileno: int, events: int, before: int, whose: object) -> None:
        """Wait for a descriptor from now on, or no longer.

        Args:
            fileno: Of the socket.
            events: READ and WRITE; 0 forgets it.
            before: What this was so far.
            whose: Comes with its events.

        Raises:
            OSError: The system watches no more.
            ValueError: It cannot watch this one.
        """
        if not events:
            self._selector.unregister(fileno)
        elif before:
            self._selector.modify(fileno, events, whose)
        else:
            self._selector.register(fileno, events, whose)

    def watch_bell(self, fileno: int) -> None:
        """Wait for what others ring with; it comes with None."""
        self.watch(fileno, READ, 0, None)

    def wait(self, seconds: float | None) -> list[tuple[Any, int]]:
        """Return whose sockets are ready, and for what, as soon as one is; an error or the end counts as READ."""
        return [(key.data, events) for key, events in self._selector.select(seconds)]

    def close(self) -> None:
        """Give everything back."""
        self._selector.close()


if sys.platform == "linux":
    _IN, _OUT, _EDGE = 1, 4, 1 << 31  # EPOLLIN, EPOLLOUT, EPOLLET

    class Epoll:
        """The same for Linux."""

        counts_writes = True

        def __init__(self) -> None:
            self._epoll = select.epoll()
            self._whose: dict[int, object] = {}

        def watch(self, fileno: int, events: int, before: int, whose: object) -> None:
            """See `Selector.watch`."""
            wanted = (_IN if events & READ else 0) | (_OUT if events & WRITE else 0)
            if not wanted:
                self._whose.pop(fileno, None)
                self._epoll.unregister(fileno)
            elif before:
                self._epoll.modify(fileno, wanted)
            else:
                self._epoll.register(fileno, wanted)
                self._whose[fileno] = whose

        def watch_bell(self, fileno: int) -> None:
            """See `Selector.watch_bell`."""
            self._epoll.register(fileno, _IN | _EDGE)
            self._whose[fileno] = None

        def wait(self, seconds: float | None) -> list[tuple[Any, int]]:
            """See `Selector.wait`."""
            found = []
            whose = self._whose
            for fileno, events in self._epoll.poll(seconds):
                if fileno not in whose:  # closed, and kept open by a process that was forked off
                    continue
                if events == _IN:
                    found.append((whose[fileno], READ))
                else:
                    ready = (READ if events & ~_OUT else 0) | (WRITE if events & ~_IN else 0)
                    found.append((whose[fileno], ready))
            return found

        def close(self) -> None:
            """Give everything back."""
            self._epoll.close()

    def make() -> Selector | Epoll:
        """Return what is best here; gevent, which has to know of all waiting, takes epoll away."""
        return Epoll() if hasattr(select, "epoll") else Selector()
else:

    def make() -> Selector:
        """Return what is best here."""
        return Selector()
