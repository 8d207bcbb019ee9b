"""The part of a session that waits: for an event, an acknowledgement, the end; any thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .. import events as ev
from ..errors import CloseInfo, ConnectionClosed, DeadlineExceeded
from .callbacks import warn_of_misspelling
from .connection import Connection
from .held import Held


class Waiting(Held):
    """What a session waits for; nothing polls, everything has a deadline."""

    def wait_for(
        self, event: str | type[ev.ServerEvent] | Callable[[ev.ServerEvent], object], timeout: float | None = None
    ) -> ev.ServerEvent:
        """Wait for the next event of a kind that comes after this call. To send first, use `expect`.

        Args:
            event: Wire type, event class, ``AnyEvent``, or a function that says whether an event is the one
                (it runs on the network thread: quick and without side effects).
            timeout: Seconds; None takes ``Timeouts.turn``.

        Raises:
            DeadlineExceeded: It did not come in time.
            ConnectionClosed: The session ended first.
        """
        with self.expect(event) as expected:
            event_: ev.ServerEvent = expected.wait(timeout)
            return event_

    def expect(self, event: str | type[ev.ServerEvent] | Callable[[ev.ServerEvent], object]) -> Expected:
        """Begin to listen now and wait later, so that no fast answer is missed.

            with session.expect("input_audio_buffer.committed") as committed:
                session.commit()
                item_id = committed.wait().item_id

        Args:
            event: As in `wait_for`.

        Raises:
            ConnectionClosed: The session is over.
        """
        if isinstance(event, str):
            warn_of_misspelling(event, 3)
        return Expected(self._open_connection(), _matcher(event), _named(event), self.timeouts.turn)

    def wait_ack(self, event_id: str, timeout: float | None = None) -> None:
        """Wait until the service has taken an event it acknowledges (update, commit, clear, create_item, …).

        Raises:
            APIError: The service refused it.
            DeadlineExceeded: No acknowledgement came in time (None takes ``Timeouts.acknowledge``).
            ConnectionClosed: The session ended first.
        """
        connection = self._open_connection()
        command = connection.command(event_id)
        if command is None:
            error = connection.state.commands.refused(event_id)
            if error is not None:
                raise error
            return
        deadline = time.monotonic() + (self.timeouts.acknowledge if timeout is None else timeout)
        connection.wait_until(lambda: command.settled, deadline, f"the answer to {command.type}")
        if command.error is not None:
            raise command.error

    def wait_closed(self, timeout: float | None = None) -> CloseInfo:
        """Wait until the session is over, and all callbacks but the calling one have run.

        Args:
            timeout: Seconds; None waits as long as the session lives.

        Raises:
            DeadlineExceeded: The session still lives.
            APIError: Never: how it ended is the result.
        """
        connection = self._connection
        if connection is None:
            raise ConnectionClosed("the session was never open; call connect() or use it in a with statement")
        self._check_process()
        deadline = time.monotonic() + (timeout if timeout is not None else 10 * 365 * 86400)
        if not connection.wait_ended(deadline):
            raise DeadlineExceeded(f"the session is still open after {timeout:g} s")
        connection.reader.join(deadline - time.monotonic() if timeout is not None else self.timeouts.close)
        info = connection.info
        return info if info is not None else CloseInfo(who="network", code=1006)


class Expected:
    """An event somebody waits for, listening since it was made; see `RealtimeSession.expect`."""

    def __init__(
        self, connection: Connection, matches: Callable[[ev.ServerEvent], object], what: str, timeout: float
    ) -> None:
        self._connection = connection
        self._matches = matches
        self._what = what
        self._timeout = timeout
        self._event: ev.ServerEvent | None = None
        self._error: Exception | None = None
        self._listening = True
        connection.add_sink(self._look)

    def _look(self, event: ev.ServerEvent | None, _notices: object, _now: float) -> None:
        if event is None or self._event is not None:
            return
        try:
            if self._matches(event):
                self._event = event
        except Exception as error:  # noqa: BLE001 — the caller's function: its error belongs to the caller
            self._error = error

    def wait(self, timeout: float | None = None) -> Any:
        """Return the first matching event since this began; see `RealtimeSession.wait_for` for what it raises.

        Raises:
            RuntimeError: The with block is over and the event had not come: nobody listens any more.
        """
        if not (self._listening or self._event or self._error):
            raise RuntimeError(f"nobody listens for {self._what} any more: call wait() inside the with block")
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        self._connection.wait_until(lambda: self._event or self._error, deadline, self._what)
        if self._error is not None:
            raise self._error
        return self._event

    def __enter__(self) -> Expected:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening = False
        self._connection.remove_sink(self._look)


def _matcher(
    event: str | type[ev.ServerEvent] | Callable[[ev.ServerEvent], object],
) -> Callable[[ev.ServerEvent], object]:
    if isinstance(event, str):
        name = event
        return lambda came: came.type == name
    if isinstance(event, type):
        kind = event
        return lambda came: isinstance(came, kind)
    return event


def _named(event: object) -> str:
    name = event if isinstance(event, str) else getattr(event, "type", None)
    return name if isinstance(name, str) else str(getattr(event, "__name__", event))
