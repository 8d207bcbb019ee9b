"""What came and went, kept for a test to look at."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

__all__ = ["Handshake", "Received", "Records"]

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Received:
    """One message that came in or went out.

    Attributes:
        connection: The connection's number, 1 for the first.
        type: The event's type; "" when it was no event.
        event: The whole event; empty when it was none.
        at: ``time.monotonic()``.
    """

    connection: int
    type: str
    event: Mapping[str, Any]
    at: float

    def __repr__(self) -> str:  # never the event: it holds what people said
        return f"Received(connection={self.connection}, type={self.type!r}, at={self.at:.3f})"


@dataclass(frozen=True)
class Handshake:
    """One connection, from its request to its end.

    Attributes:
        connection: Its number.
        at: ``time.monotonic()`` of the request.
        path: Without the query.
        query: The query's parameters, decoded.
        headers: Lower-case names; with the API key, so keep it out of logs.
        status: How the handshake was answered; 0 while it was not.
        model: The model asked for.
        workspace: The workspace id of the header or the host.
        closed: The connection is over.
        closed_by: ``client``, ``server`` or ``lost`` (no close frame).
        close_code: Code of the close frame that came first.
        close_reason: Its reason.
    """

    connection: int
    at: float
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    status: int = 0
    model: str | None = None
    workspace: str | None = None
    closed: bool = False
    closed_by: str | None = None
    close_code: int | None = None
    close_reason: str = ""


class _Log:
    """Messages of one direction, also by type: looking for one must not mean walking through all the audio."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._all: deque[Received] = deque()
        self._by_type: dict[str, deque[Received]] = {}

    def add(self, record: Received) -> None:
        self._all.append(record)
        self._by_type.setdefault(record.type, deque()).append(record)
        if len(self._all) > self._limit:
            self._by_type[self._all.popleft().type].popleft()

    def snapshot(self) -> list[Received]:
        return list(self._all)

    def find(self, kind: str, connection: int | None, count: int) -> Received | None:
        fits = (record for record in self._by_type.get(kind, ()) if connection in (None, record.connection))
        return next(itertools.islice(fits, count - 1, None), None)


class Records:
    """Thread-safe; every connection's thread writes, every thread may read.

    Args:
        limit: How many messages are kept per direction; the oldest go first.
    """

    def __init__(self, limit: int) -> None:
        # Guards everything below; notified on each change.
        self._changed = threading.Condition()
        self._received = _Log(limit)
        self._sent = _Log(limit)
        self._handshakes: dict[int, Handshake] = {}
        self._failures: list[BaseException] = []

    def add_received(self, connection: int, event: Mapping[str, Any] | None) -> None:
        """A message came in; None when it was no event."""
        with self._changed:
            self._received.add(_record(connection, event or {}))
            self._changed.notify_all()

    def add_sent(self, connection: int, event: Mapping[str, Any]) -> None:
        """A message is on its way out."""
        with self._changed:
            self._sent.add(_record(connection, event))
            self._changed.notify_all()

    def open(self, handshake: Handshake) -> None:
        """A request came in."""
        with self._changed:
            self._handshakes[handshake.connection] = handshake
            self._changed.notify_all()

    def change(self, connection: int, **changes: Any) -> None:
        """More is known of a connection; nothing is changed before its request came in."""
        with self._changed:
            if connection in self._handshakes:
                self._handshakes[connection] = dataclasses.replace(self._handshakes[connection], **changes)
                self._changed.notify_all()

    def close(self, connection: int) -> None:
        """A connection is over."""
        with self._changed:
            known = self._handshakes.get(connection)
            if known is not None:
                by = known.closed_by or ("server" if known.status not in (0, 101) else "lost")
                self._handshakes[connection] = dataclasses.replace(known, closed=True, closed_by=by)
                self._changed.notify_all()

    def fail(self, failure: BaseException) -> None:
        """The emulator itself went wrong."""
        with self._changed:
            self._failures.append(failure)
            self._changed.notify_all()

    @property
    def received(self) -> list[Received]:
        """A snapshot."""
        with self._changed:
            return self._received.snapshot()

    @property
    def sent(self) -> list[Received]:
        """A snapshot."""
        with self._changed:
            return self._sent.snapshot()

    @property
    def handshakes(self) -> list[Handshake]:
        """A snapshot, in order of arrival."""
        with self._changed:
            return list(self._handshakes.values())

    @property
    def failures(self) -> list[BaseException]:
        """A snapshot."""
        with self._changed:
            return list(self._failures)

    def wait(self, find: Callable[[], _Found | None], timeout: float) -> _Found | None:
        """Wait until ``find`` gives something; None after the timeout. It runs with the lock held, on every change."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while (found := find()) is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)
            return found

    def find_message(self, *, sent: bool, kind: str, connection: int | None, count: int) -> Received | None:
        """The count-th message of a type; for `wait`."""
        return (self._sent if sent else self._received).find(kind, connection, count)

    def find_handshake(self, *, closed: bool, connection: int | None, count: int) -> Handshake | None:
        """The count-th handshake that is answered, or over; for `wait`."""
        fits = [
            item
            for item in self._handshakes.values()
            if (item.closed if closed else item.status) and connection in (None, item.connection)
        ]
        return fits[count - 1] if len(fits) >= count else None


def _record(connection: int, event: Mapping[str, Any]) -> Received:
    kind = event.get("type")
    return Received(connection, kind if isinstance(kind, str) else "", event, time.monotonic())
