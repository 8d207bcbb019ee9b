"""The queue of client events on their way to the socket.

Any thread puts; the network thread alone takes. It is bounded in bytes: when it is full, ``put`` waits until there is
room, and raises `DeadlineExceeded` at its deadline without having queued anything. Nothing is dropped.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

import attrs

from .errors import DeadlineExceeded


@attrs.define(slots=True)
class Outgoing:
    """One client event, already encoded.

    Attributes:
        payload: UTF-8 JSON.
        type: Wire type, for logs and statistics.
        event_id: The id inside the payload, "" if it has none.
        audio_bytes: Raw audio bytes in it (not base64); 0 for other events.
    """

    payload: bytes
    type: str
    event_id: str = ""
    audio_bytes: int = 0


class Outbox:
    """Bounded first-in first-out queue of `Outgoing`.

    Args:
        max_bytes: Room for payloads; one event that is larger than this still passes when the queue is empty.
        wake: Called after a put, with no lock held, from the putting thread: tells the network thread to look.
    """

    def __init__(self, max_bytes: int, wake: Callable[[], None]) -> None:
        self._max = max_bytes
        self._wake = wake
        # Guards everything below; notified when room appears and when the queue ends.
        self._room = threading.Condition(threading.Lock())
        self._items: deque[Outgoing] = deque()
        self._bytes = 0
        self._ended: Callable[[], Exception] | None = None

    def put(self, item: Outgoing, timeout: float) -> None:
        """Queue one event; waits for room, at most ``timeout`` seconds.

        Raises:
            DeadlineExceeded: There was no room in time; the event was not queued.
            ConnectionClosed: The session is over.
        """
        size = len(item.payload)
        deadline: float | None = None
        with self._room:
            while self._ended is None and self._items and self._bytes + size > self._max:
                now = time.monotonic()
                deadline = now + timeout if deadline is None else deadline
                if now >= deadline:
                    raise DeadlineExceeded(
                        f"{item.type} was not sent: {self._bytes:,} bytes have been waiting for the network for"
                        f" {timeout:g} s (the peer does not read, or more is put in than the line carries)"
                    )
                self._room.wait(deadline - now)
            self._append(item, size)
        self._wake()

    def put_now(self, item: Outgoing) -> None:
        """Queue one small event without waiting, even when the queue is full; for the network thread itself.

        Raises:
            ConnectionClosed: The session is over.
        """
        with self._room:
            self._append(item, len(item.payload))
        self._wake()

    def _append(self, item: Outgoing, size: int) -> None:
        # The caller holds _room.
        if self._ended is not None:
            raise self._ended()
        self._items.append(item)
        self._bytes += size

    def get(self, max_bytes: int) -> list[Outgoing]:
        """Take events for about ``max_bytes`` of payload, at least one if there is any; the network thread only."""
        taken: list[Outgoing] = []
        size = 0
        if not self._items:  # a look without the lock: a put that races with it wakes the network thread again
            return taken
        with self._room:
            while self._items and size < max_bytes:
                item = self._items.popleft()
                size += len(item.payload)
                taken.append(item)
            self._bytes -= size
            self._room.notify_all()
        return taken

    def end(self, error: Callable[[], Exception]) -> list[Outgoing]:
        """Close the queue: waiting and later puts raise ``error()``. Returns what never left, once."""
        with self._room:
            left, self._items, self._bytes = list(self._items), deque(), 0
            if self._ended is None:
                self._ended = error
            self._room.notify_all()
        return left

    def __len__(self) -> int:
        return len(self._items)
