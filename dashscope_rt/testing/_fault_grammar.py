"""How a fault is written: ``name=arguments@trigger#connections``, everything but the name optional.

    reset@response.audio.delta:3      when the third audio delta has gone out
    close=1011,going down@200ms       200 ms after the handshake was answered
    error=empty-commit@input_audio_buffer.commit
    refuse=503,nested#2-              from the second connection on
    duplicate@sent:*                  at each event

Reading one needs no socket; what it does is `_fault_actions`' business.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ._wire import CLIENT_EVENTS, FINISH

__all__ = ["AT_CONNECT", "Fault", "Kind", "Trigger", "parse"]

Kind = Literal["connect", "sent", "received", "time"]
EVERY = 0  # as Trigger.count
_FROM_CLIENT = frozenset((*CLIENT_EVENTS, FINISH, "input_text_buffer.append", "input_text_buffer.commit"))
_ANY: Mapping[str, Kind] = {"sent": "sent", "received": "received"}
_TEXT = re.compile(
    r"(?P<name>[a-z][a-z0-9-]*)(?:=(?P<arguments>.*?))?(?:@(?P<trigger>[^@#\s]+))?(?:#(?P<connections>[^@#]*))?",
    re.ASCII | re.DOTALL,
)
_TRIGGER_MS = re.compile(r"(\d{1,7})ms", re.ASCII)
_TRIGGER_TYPE = re.compile(r"(?P<type>[a-z][a-z0-9_.]*)(?::(?P<count>\*|[1-9]\d{0,6}))?", re.ASCII)
_RANGE = re.compile(r"(?P<first>[1-9]\d{0,6})(?:(?P<dash>-)(?P<last>[1-9]\d{0,6})?)?", re.ASCII)
_SHAPE = "name=arguments@trigger#connections, for example reset@response.audio.delta:3#1"


@dataclass(frozen=True)
class Trigger:
    """When a fault strikes.

    Attributes:
        kind: With the connection, with an event of the server or of the client, or by the clock.
        type: The event's wire type; "" means any.
        count: At which of these events; 0 means each.
        ms: After how many ms since the handshake was answered.
    """

    kind: Kind
    type: str = ""
    count: int = 1
    ms: int = 0

    def __str__(self) -> str:
        if self.kind == "connect":
            return "connect"
        if self.kind == "time":
            return f"{self.ms}ms"
        counted = "" if self.count == 1 else ":*" if self.count == EVERY else f":{self.count}"
        return (self.type or self.kind) + counted


AT_CONNECT = Trigger("connect")


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong; made by `Fault.parse`, which knows the names.

    Attributes:
        name: What.
        arguments: How, in the words of the script.
        trigger: When.
        connections: On which connections, first and last number each; (1, None) is all of them.
    """

    name: str
    arguments: tuple[str, ...] = ()
    trigger: Trigger = AT_CONNECT
    connections: tuple[tuple[int, int | None], ...] = field(default=((1, None),))

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read a fault from a script.

        Raises:
            ValueError: There is no such fault, or it is not written like one; one sentence says what is allowed.
        """
        from ._fault_actions import read

        return read(text)

    def concerns(self, connection: int) -> bool:
        """Whether the connection with this number has it."""
        return any(first <= connection and (last is None or connection <= last) for first, last in self.connections)

    def __str__(self) -> str:
        arguments = f"={','.join(self.arguments)}" if self.arguments else ""
        ranges = [f"{first}" if first == last else f"{first}-{last or ''}" for first, last in self.connections]
        numbers = "" if self.connections == ((1, None),) else f"#{','.join(ranges)}"
        return f"{self.name}{arguments}@{self.trigger}{numbers}"


def parse(text: str, complete: Callable[[str, str | None, Trigger | None], tuple[tuple[str, ...], Trigger]]) -> Fault:
    """Take a fault apart.

    Args:
        text: What was written.
        complete: Gets name, arguments and trigger as far as they were written; gives arguments and trigger, or raises
            ValueError with what is wrong.

    Raises:
        ValueError: With the whole text in front.
    """
    if not isinstance(text, str):
        raise ValueError(f"a fault is a text such as {_SHAPE}, not {type(text).__name__}")
    found = _TEXT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"the fault {text!r} is not written as {_SHAPE}")
    try:
        written = found["trigger"]
        trigger = None if written is None else _trigger(written)
        connections = _connections(found["connections"])
        arguments, trigger = complete(found["name"], found["arguments"], trigger)
    except ValueError as error:
        raise ValueError(f"the fault {text!r}: {error}") from None
    return Fault(found["name"], arguments, trigger, connections)


def _trigger(text: str) -> Trigger:
    if text == "connect":
        return AT_CONNECT
    if timed := _TRIGGER_MS.fullmatch(text):
        return Trigger("time", ms=int(timed[1]))
    typed = _TRIGGER_TYPE.fullmatch(text)
    if typed is None:
        raise ValueError(
            f"the trigger {text!r} must be connect, a time such as 200ms, or an event type such as response.done,"
            " response.audio.delta:3 or sent:* (sent and received stand for every type)"
        )
    name, count = typed["type"], EVERY if typed["count"] == "*" else int(typed["count"] or 1)
    if name in _ANY:
        return Trigger(_ANY[name], "", count)
    if "." not in name and name != "error":
        raise ValueError(
            f"{name!r} is no event type; write connect, sent, received, 200ms, or a type such as response.done"
        )
    return Trigger("received" if name in _FROM_CLIENT else "sent", name, count)


def _connections(text: str | None) -> tuple[tuple[int, int | None], ...]:
    if text is None:
        return ((1, None),)
    ranges: list[tuple[int, int | None]] = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            raise ValueError(f"connections are written #1, #2-, #2-4 or #1,3, not #{text}")
        first = int(found["first"])
        last = int(found["last"]) if found["last"] else None if found["dash"] else first
        if last is not None and last < first:
            raise ValueError(f"the connections {part.strip()} end before they begin")
        ranges.append((first, last))
    return tuple(ranges)
