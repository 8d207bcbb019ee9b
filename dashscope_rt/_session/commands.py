"""Client events that the service answers, and which answer belongs to which.

The wire has no correlation id: answers come in the order of the commands of their kind, outputs of functions by their
``call_id``, and errors name the client event at fault only sometimes (``error.event_id``); otherwise their text tells
what they are about. Pure; the connection's lock is held by whoever calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..errors import APIError, RealtimeError

_KINDS = frozenset(
    {
        "session.update",
        "input_audio_buffer.commit",
        "input_audio_buffer.clear",
        "input_image_buffer.append",
        "conversation.item.create",
    }
)  # response.create and response.cancel have their own ways, see _sending
# Texts as the service writes them (lower case), and the command each is about. Source: the error catalogue.
_BY_TEXT: tuple[tuple[str, str], ...] = (
    ("error committing input audio buffer", "input_audio_buffer.commit"),
    ("error append image", "input_image_buffer.append"),
    ("none active response", "response.cancel"),
    ("already has an active response", "response.create"),
    ("another response is in progress", "response.create"),
    ("cannot create response", "response.create"),
    ("not accepted by semantic turn detection", "response.create"),
    ("unknown function call id", "conversation.item.create"),
    ("session update error", "session.update"),
    ("invalid modalities", "session.update"),
    ("invalid translation parameter", "session.update"),
    ("voice '", "session.update"),
    ("cannot_update_voice", "session.update"),
)


class Command:
    """One client event whose answer somebody may wait for."""

    __slots__ = ("answer", "benign", "error", "event_id", "key", "on_refusal", "settled", "type")

    def __init__(
        self,
        event_type: str,
        event_id: str,
        key: str | None = None,
        *,
        benign: bool = False,
        on_refusal: Callable[[], None] | None = None,
    ) -> None:
        self.type = event_type
        self.event_id = event_id
        self.key = key
        self.benign = benign  # a refusal of it is expected and nobody's business
        self.on_refusal = on_refusal  # quick and pure, under the connection's lock
        self.settled = False
        self.answer: object = None
        self.error: RealtimeError | None = None

    def succeed(self, answer: object) -> None:
        """The service did it."""
        self.settled = True
        self.answer = answer

    def fail(self, error: RealtimeError) -> None:
        """The service refused it, or the connection was lost before it said anything."""
        self.settled = True
        self.error = error
        if self.on_refusal is not None and isinstance(error, APIError):
            self.on_refusal()


class Commands:
    """The commands that wait for an answer, oldest first."""

    def __init__(self) -> None:
        self._open: deque[Command] = deque()
        self._refused: deque[Command] = deque(maxlen=64)  # for whoever asks after the fact
        self._late: deque[Command] = deque(maxlen=16)  # settled otherwise, but a refusal may still be on its way

    @staticmethod
    def expects_answer(event_type: str) -> bool:
        """Whether the service answers this client event, or names it in errors."""
        return event_type in _KINDS

    def add(self, command: Command) -> None:
        """Note a command that is about to be sent."""
        self._open.append(command)

    def find(self, event_id: str) -> Command | None:
        """Return the open command with this event id."""
        return next((command for command in self._open if command.event_id == event_id), None)

    def refused(self, event_id: str) -> RealtimeError | None:
        """Return why a recent command was refused; None if it was not."""
        return next((command.error for command in self._refused.copy() if command.event_id == event_id), None)

    def waiting(self) -> bool:
        """Whether any answer is outstanding."""
        return any(not command.settled for command in self._open.copy())  # asked without the lock too

    def fail_all(self, error: RealtimeError) -> list[str]:
        """Let every open command fail; returns their types."""
        failed = [command for command in self._open if not command.settled]
        self._open.clear()
        for command in failed:
            command.fail(error)
            self._refused.append(command)
        return [command.type for command in failed]

    def succeed(self, event_type: str, answer: object, *, key: str | None = None) -> Command | None:
        """Settle the oldest command of a kind (and key) and return it; None if the answer belongs to nobody."""
        for command in self._open:
            if command.type == event_type and command.key == key:
                self._open.remove(command)
                command.succeed(answer)
                return command
        return None

    def drop(self, command: Command, error: RealtimeError) -> None:
        """Take back a command that was never sent."""
        if command in self._open:
            self._open.remove(command)
        command.fail(error)

    def forget(self, event_type: str) -> None:
        """Settle all commands of a kind that the service never acknowledges."""
        for command in [command for command in self._open if command.type == event_type]:
            self._open.remove(command)
            command.settled = True
            if command.benign:
                self._late.append(command)

    def blame(self, error: APIError) -> Command | None:
        """Find the command that an error is about, let it fail, and return it.

        By ``event_id`` where the service gives one, else by what its text or ``param`` speaks of, oldest first.
        """
        self._open = deque(command for command in self._open if not command.settled)
        guilty = self.find(error.client_event_id) if error.client_event_id else None
        if guilty is None and not error.client_event_id:
            kind = _kind_of(error)
            suspects = [command for command in self._open if command.type == kind]
            named = [command for command in suspects if command.key and command.key in error.message]
            # A repeat that was not needed is refused where the original is not: it comes first.
            guilty = next(iter(named or sorted(suspects, key=lambda command: not command.benign)), None)
        if guilty is not None:
            self._open.remove(guilty)
            guilty.fail(error)
            self._refused.append(guilty)
            return guilty
        kind = _kind_of(error)
        for command in self._late:
            if command.event_id == error.client_event_id or (not error.client_event_id and command.type == kind):
                self._late.remove(command)
                return command
        return None


def _kind_of(error: APIError) -> str:
    text = f"{error.code} {error.message}".lower()
    for words, kind in _BY_TEXT:
        if words in text:
            return kind
    return "session.update" if (error.param or "").startswith("session.") else ""
