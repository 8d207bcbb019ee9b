"""From a fresh WebSocket to a session that can be used: the service speaks first, then we configure, then we remind.

    DIALLING     DNS, TCP, TLS, upgrade                                     until the WebSocket is open
    OPENING      waiting for session.created
    CONFIGURING  session.update is out, waiting for session.updated         skipped without a configuration
    RESTORING    the conversation so far is out, waiting for its item       only after a reconnect
    OPEN         events may be sent
    ENDED        nothing comes any more

Input that is sent before session.updated runs with the old configuration, which is why OPEN comes so late. Pure; the
connection's lock is held by whoever calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .. import events as ev
from ..errors import APIError
from .commands import Command
from .state import SessionState

DIALLING, OPENING, CONFIGURING, RESTORING, OPEN, ENDED = (
    "dialling",
    "opening",
    "configuring",
    "restoring",
    "open",
    "ended",
)
TOOK_LONG = {
    DIALLING: "DNS, TCP, TLS and the WebSocket upgrade",
    OPENING: "the service's session.created",
    CONFIGURING: "the service's session.updated",
    RESTORING: "the service's word on the conversation so far",
}


class Opening:
    """One way from DIALLING to OPEN.

    Args:
        configuration: The wire's ``session`` object to send; empty for none.
        history: The conversation so far as text; "" for none.
        new_id: Gives event ids.
    """

    def __init__(self, configuration: Mapping[str, Any], history: str, new_id: Callable[[], str]) -> None:
        self._configuration = configuration
        self._history = history
        self._new_id = new_id
        self._reminder: Command | None = None
        self.phase = DIALLING
        self.restored_chars = 0
        self.refusal: APIError | None = None

    def connected(self) -> None:
        """The WebSocket is open."""
        self.phase = OPENING

    def step(self, event: ev.ServerEvent, state: SessionState) -> list[ev.ClientEvent]:
        """Take one server event, folded into ``state`` already; returns what to send now."""
        if self.phase == RESTORING:
            return self._reminded()
        if event.type == ev.Error.type:  # by name: one field of the wrong kind must not hide what the event is
            self.refusal = state.last_error
            self.phase = ENDED
        elif event.type == ev.SessionCreated.type and self.phase == OPENING:
            if self._configuration:
                self.phase = CONFIGURING
                update = ev.SessionUpdate(event_id=self._new_id(), session=self._configuration)
                state.commands.add(Command(update.type, update.event_id or ""))
                return [update]
            return self._remind(state)
        elif event.type == ev.SessionUpdated.type and self.phase == CONFIGURING:
            return self._remind(state)
        return []

    def _remind(self, state: SessionState) -> list[ev.ClientEvent]:
        if not self._history:
            self.phase = OPEN
            return []
        self.phase = RESTORING
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": self._history}]}
        create = ev.ConversationItemCreate(event_id=self._new_id(), item=item)
        self._reminder = Command(create.type, create.event_id or "", benign=True)
        state.commands.add(self._reminder)
        return [create]

    def _reminded(self) -> list[ev.ClientEvent]:
        # A refusal of the reminder is no reason to give up a session that works.
        if self._reminder is not None and self._reminder.settled:
            self.restored_chars = len(self._history) if self._reminder.error is None else 0
            self.phase = OPEN
        return []
