"""The queue of client events on their way to the socket.

Any thread puts; the network thread alone takes. It is bounded in bytes: when it is full, ``put`` waits until there is
room, and raises `DeadlineExceeded` at its deadline without having queued anything. Nothing is dropped.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from ..errors import DeadlineExceeded


class Outgoing:
    """One client event, already encoded.

    Attributes:
        payload: UTF-8 JSON.
        type: Wire type, for logs and statistics.
        event_id: The id inside the payload, "" if it has none.
        audio_bytes: Raw audio bytes in it (not base64); 0 for other events.
    """

    __slots__ = ("audio_bytes", "event_id", "payload", "type")

    def __init__(self, payload: bytes, event_type: str, event_id: str = "", audio_bytes: int = 0) -> None:
        self.payload = payload
        self.type = event_type
        self.event_id = event_id
        self.audio_bytes = audio_bytes


def _nobody_to_wake(_audio: bool) -> None:
    """The connection is over."""


class Outbox:
    """Bounded first-in first-out queue of `Outgoing`.

    Args:
        max_bytes: Room for payloads; one event that is larger than this still passes when the queue is empty.
        wake: Called after a put, with no lock held, from the putting thread: tells the network thread to look. True
            when it was audio only, which nobody answers.
    """

    def __init__(self, max_bytes: int, wake: Callable[[bool], None]) -> None:
        self._max = max_bytes
        self._wake = wake
        # Guards everything below. The hot path takes the lock itself, which is in C; the condition's methods are not.
        self._lock = threading.Lock()
        # Notified when room appears and when the queue ends; made by the first who waits.
        self._room: threading.Condition | None = None
        self._items: deque[Outgoing] = deque()
        self._bytes = 0
        self._waiting = 0  # threads inside a put
        self._ended: Callable[[], Exception] | None = None
        self._front: deque[Outgoing] = deque()  # what opens a connection; goes out even while the rest is held
        self._held = False
        self._keep = 0  # bytes of raw audio that are kept while held
        self._kept = 0
        self.replaced = 0  # events that made room for newer ones of their type
        self.dropped_audio_bytes = 0  # that made room for newer audio while held

    def put(self, item: Outgoing, timeout: float) -> None:
        """Queue one event; waits for room, at most ``timeout`` seconds.

        Raises:
            DeadlineExceeded: There was no room in time; the event was not queued.
            ConnectionClosed: The session is over.
        """
        size = len(item.payload)
        with self._lock:
            fits = not self._held and self._ended is None and (self._bytes + size <= self._max or not self._items)
            if fits:  # _append without the call
                self._items.append(item)
                self._bytes += size
                self._kept += item.audio_bytes
        if fits:
            self._wake(item.audio_bytes > 0)
        else:
            self.put_all((item,), timeout)

    def put_all(self, items: Sequence[Outgoing], timeout: float) -> None:
        """Queue events together, all of them or none; otherwise as `put`."""
        size = sum(len(item.payload) for item in items)
        deadline: float | None = None
        with self._lock:
            keeps_audio = self._held and bool(items[0].audio_bytes)
            while self._ended is None and not keeps_audio and self._items and self._bytes + size > self._max:
                now = time.monotonic()
                deadline = now + timeout if deadline is None else deadline
                if now >= deadline:
                    raise DeadlineExceeded(
                        f"{items[0].type} was not sent: {self._bytes:,} bytes have been waiting for the network for"
                        f" {timeout:g} s (the peer does not read, or more is put in than the line carries)"
                    )
                self._room = self._room or threading.Condition(self._lock)
                self._waiting += 1
                try:
                    self._room.wait(deadline - now)
                finally:
                    self._waiting -= 1
            for item in items:
                self._append(item, len(item.payload))
            if keeps_audio:
                self._make_room()
        self._wake(items[0].audio_bytes > 0)

    @property
    def audio_bytes(self) -> int:
        """Raw audio bytes that wait."""
        return self._kept

    def put_newest(self, item: Outgoing, timeout: float) -> None:
        """Queue one event in place of any of its type that has not left yet; otherwise as `put`."""
        with self._lock:
            stale = [other for other in self._items if other.type == item.type]
            for other in stale:
                self._items.remove(other)
                self._bytes -= len(other.payload)
            self.replaced += len(stale)
        self.put(item, timeout)

    def put_now(self, item: Outgoing) -> None:
        """Queue one small event without waiting, even when the queue is full; for the network thread itself.

        Raises:
            ConnectionClosed: The session is over.
        """
        with self._lock:
            self._append(item, len(item.payload))
        self._wake(False)

    def put_first(self, item: Outgoing) -> None:
        """Queue what opens a connection: before everything else, even while the rest is held."""
        with self._lock:
            if self._ended is not None:
                raise self._ended()
            self._front.append(item)
        self._wake(False)

    def hold(self, keep_audio_bytes: int) -> list[Outgoing]:
        """Keep what is queued for the next connection: the newest audio, and nothing else. Returns the rest."""
        with self._lock:
            gone = [item for item in self._items if not item.audio_bytes] + list(self._front)
            self._front.clear()
            self._items = deque(item for item in self._items if item.audio_bytes)
            self._held, self._keep = True, keep_audio_bytes
            self._bytes = sum(len(item.payload) for item in self._items)
            self._kept = sum(item.audio_bytes for item in self._items)
            self.dropped_audio_bytes = 0
            self._make_room()
            self._tell_waiting()
        return gone

    def release(self) -> int:
        """Let go out what was held; returns the raw audio bytes that had to make room meanwhile."""
        with self._lock:
            self._held = False
            dropped, self.dropped_audio_bytes = self.dropped_audio_bytes, 0
        self._wake(False)
        return dropped

    def _tell_waiting(self) -> None:
        # The caller holds _lock.
        if self._waiting and self._room is not None:
            self._room.notify_all()

    def _make_room(self) -> None:
        # The caller holds _lock; only audio is in the queue while it is held.
        while self._kept > self._keep:
            oldest = self._items.popleft()
            self._bytes -= len(oldest.payload)
            self._kept -= oldest.audio_bytes
            self.dropped_audio_bytes += oldest.audio_bytes

    def _append(self, item: Outgoing, size: int) -> None:
        # The caller holds _lock.
        if self._ended is not None:
            raise self._ended()
        self._items.append(item)
        self._bytes += size
        self._kept += item.audio_bytes

    def get(self, max_bytes: int) -> list[Outgoing]:
        """Take events for about ``max_bytes`` of payload, at least one if there is any; the network thread only."""
        taken: list[Outgoing] = []
        size = 0
        if not self._items and not self._front:
            return taken
        with self._lock:
            while self._front:
                taken.append(self._front.popleft())
            while self._items and size < max_bytes and not self._held:
                item = self._items.popleft()
                size += len(item.payload)
                self._kept -= item.audio_bytes
                taken.append(item)
            self._bytes -= size
            if self._waiting:
                self._tell_waiting()
        return taken

    def end(self, error: Callable[[], Exception]) -> list[Outgoing]:
        """Close the queue: waiting and later puts raise ``error()``. Returns what never left, once."""
        with self._lock:
            left, self._items, self._bytes, self._kept = list(self._items), deque(), 0, 0
            self._front.clear()
            if self._ended is None:
                self._ended = error
            self._tell_waiting()
        self._wake = _nobody_to_wake
        return left

    @property
    def empty(self) -> bool:
        """Whether there is nothing to get; without the lock: a put that races with it wakes the network thread."""
        return not self._items and not self._front

    def __len__(self) -> int:
        return len(self._items)
