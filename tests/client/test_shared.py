"""What one thread looks through may grow under its eyes: neither the network thread nor a caller trips over it.

Each test puts something into a queue of the session that, when it is looked at, lets another thread add to the same queue
under the session's lock. Whoever looks must hold the lock, or look at a copy.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dashscope_rt import Reconnect, events
from dashscope_rt._session.commands import Command
from dashscope_rt._session.connection import Connection
from dashscope_rt._session.state import Create
from tests.client.wire import Dialled, manual
from tests.peer import SOON


@pytest.fixture
def at() -> Iterator[Dialled]:
    with manual() as dialled:
        yield dialled


class Moving:
    """Something in a queue that another thread adds to, at the moment it is looked at.

    Attributes of a command and of a create, as far as the tests go.
    """

    error = None
    type = "session.update"

    def __init__(self, connection: Connection, grow: Callable[[], object]) -> None:
        self._connection = connection
        self._grow = grow
        self._threads: list[threading.Thread] = []
        self.command = Command("response.create", "event_moving")

    def _look(self) -> None:
        if self._threads:
            return

        def growing() -> None:
            with self._connection.changed:
                self._grow()

        self._threads.append(threading.Thread(target=growing, daemon=True))
        self._threads[0].start()
        self._threads[0].join(0.1)  # it has grown, or the lock is held

    @property
    def event_id(self) -> str:
        self._look()
        return "event_moving"

    @property
    def settled(self) -> bool:
        self._look()
        return True

    @property
    def sent_at(self) -> float:
        self._look()
        return time.monotonic()

    def over(self) -> None:
        assert self._threads, "nobody looked"
        self._threads[0].join(SOON)
        assert not self._threads[0].is_alive()


def connection_of(at: Dialled) -> Connection:
    connection = at.session._connection
    assert connection is not None
    return connection


def another() -> Command:
    return Command("session.update", "event_another")


def test_asking_after_a_refusal_while_another_comes_in(at: Dialled) -> None:
    connection = connection_of(at)
    refused: Any = connection.state.commands._refused
    moving = Moving(connection, lambda: refused.append(another()))
    refused.extend([moving, another()])
    at.session.wait_ack("event_of_nobody")
    moving.over()


def test_looking_for_the_next_deadline_while_a_create_is_sent(at: Dialled) -> None:
    """The network thread does so before every wait; it would take the session down with it."""
    connection = connection_of(at)
    in_flight: Any = connection.state.in_flight
    moving = Moving(connection, lambda: in_flight.append(Create(another(), events.ResponseCreate(), sent_at=1e9)))
    in_flight.append(moving)
    connection.tick(time.monotonic())
    moving.over()
    in_flight.clear()
    at.settle()
    assert at.session.is_open


def test_looking_for_a_quiet_moment_while_a_command_is_sent(at: Dialled, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = connection_of(at)
    opened: Any = connection.state.commands._open
    moving = Moving(connection, lambda: connection.state.commands.add(another()))
    opened.extend([moving, another()])
    rotated: list[object] = []
    monkeypatch.setattr(connection.network, "rotate", rotated.append)
    monkeypatch.setattr(connection, "_reconnect", Reconnect(rotate_after=0.001))
    connection._tick_rotation(time.monotonic() + 1)
    assert rotated == []  # answers are outstanding: not a quiet moment
    moving.over()
    opened.clear()
