"""Scripts of what goes wrong: the emulator as a service over a bad network, on a bad day.

    Emulator(faults="reset@response.audio.delta:3")
    Emulator(faults=["refuse=503#1", "silence@2000ms#2"])
    python -m dashscope_rt emulator --fault "reset@response.audio.delta:3"      (--fault list shows them all)

A fault is written ``name=arguments@trigger#connections``; everything but the name may be left out.

* trigger: ``connect``; an event's wire type, ``response.audio.delta:3`` for the third of them, ``response.done:*`` for
  each; ``sent`` and ``received`` for events of any type; ``200ms`` after the handshake was answered. Whether an event
  is the server's or the client's follows from its type.
* connections: ``#1`` only the first, so that a reconnect succeeds; ``#2-``, ``#2-4``, ``#1,3``. Without it all of them.

At an event of the server, most faults strike when the event has gone out; those that put in a message, or change the
event, do so before it. At an event of the client they strike before the session sees it.

    _fault_grammar   text -> Fault
    _fault_action    what a fault can do; done in _fault_opening, _fault_line, _fault_messages, named in _fault_actions
    _error_rows      the service's errors as data
    faults           FaultHooks: one connection's faults, driven by the hooks
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ._error_rows import ERRORS
from ._fault_action import Action, Items
from ._fault_actions import ACTIONS
from ._fault_grammar import EVERY, Fault, Trigger
from ._hooks import Ending, Hooks, Raw, Reply
from ._records import Handshake
from ._variants import Variants
from ._wire import Event

if TYPE_CHECKING:
    from websockets.frames import Frame

    from ._connection import Connection

__all__ = ["Fault", "FaultHooks", "listing", "scripted"]

FaultSource = str | Fault | Iterable[str | Fault]


class _Armed:
    """A fault on one connection: its action, and how often its trigger came."""

    def __init__(self, fault: Fault) -> None:
        self.trigger: Trigger = fault.trigger
        self.action: Action = ACTIONS[fault.name](fault.arguments)
        self._count = 0

    def comes(self, kind: str, event_type: str) -> bool:
        """An event passes: does it strike now?"""
        if self.trigger.kind != kind or self.trigger.type not in ("", event_type):
            return False
        self._count += 1
        return self.trigger.count in (EVERY, self._count)


class FaultHooks(Hooks):
    """The faults of one connection; used on its thread only.

    Args:
        faults: Those that concern it.
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._armed = [_Armed(fault) for fault in faults]
        self._own = False  # an action is sending: that triggers nothing

    @property
    def _struck(self) -> list[Action]:
        return [armed.action for armed in self._armed if armed.action.struck]

    def _strike(self, armed: _Armed, connection: Connection, message: Mapping[str, Any] | None = None) -> None:
        armed.action.struck = True
        own, self._own = self._own, True
        try:
            armed.action.strike(connection, message)
        finally:
            self._own = own

    def varying(self, variants: Variants) -> Variants:
        """See `Hooks.varying`."""
        for armed in self._armed:
            variants = armed.action.varying(variants)
        return variants

    def accepted(self, connection: Connection) -> None:
        """See `Hooks.accepted`."""
        for armed in self._armed:
            if armed.trigger.kind == "connect":
                self._strike(armed, connection)

    def replying(self, connection: Connection, handshake: Handshake, reply: Reply) -> Reply | None:
        """See `Hooks.replying`."""
        decided: Reply | None = reply
        for armed in self._armed:
            decided = armed.action.reply(connection, handshake, decided)
            if armed.trigger.kind == "time":
                connection.call_later(
                    armed.trigger.ms / 1000,
                    lambda armed=armed: self._strike(armed, connection),  # type: ignore[misc]
                )
        return decided

    def receiving(self, connection: Connection, message: str | bytes) -> str | bytes | None:
        """See `Hooks.receiving`."""
        event = _event(message)
        kind = event.get("type")
        taken = False
        for armed in self._armed:
            if armed.comes("received", kind if isinstance(kind, str) else ""):
                self._strike(armed, connection, event)
                taken = taken or armed.action.swallows
        return None if taken else message

    def sending(self, connection: Connection, event: Event) -> Iterator[Event | Raw | Ending]:
        """See `Hooks.sending`."""
        if self._own:
            yield event
            return
        kind = event["type"]
        items: Items = [event]
        struck = self._struck
        coming = [armed for armed in self._armed if armed.comes("sent", kind)]
        for action in struck:
            items = action.passing(connection, items)
        for armed in coming:
            items = armed.action.replaced(connection, items)
        yield from items
        for armed in coming:  # what was yielded is on its way by now
            if not armed.action.first:
                self._strike(armed, connection)

    def framing(self, connection: Connection, frame: Frame) -> bool:
        """See `Hooks.framing`."""
        return all(action.frame(connection, frame) for action in self._struck)

    def writing(self, connection: Connection, data: bytes) -> bytes:
        """See `Hooks.writing`."""
        for action in self._struck:
            data = action.writing(data)
        return data


def scripted(source: FaultSource) -> Callable[[int], Hooks]:
    """Make what `Emulator` wants as ``hooks`` of a fault script.

    Args:
        source: One fault or several, as text or as `Fault`.

    Raises:
        ValueError: A fault is not written as it should be; one sentence says what is wrong and what is allowed.
    """
    each = [source] if isinstance(source, (str, Fault)) else list(source)
    faults = [fault if isinstance(fault, Fault) else Fault.parse(fault) for fault in each]
    return lambda number: FaultHooks(fault for fault in faults if fault.concerns(number))


def listing() -> str:
    """Every fault with one line each, and the names of the errors; for people."""
    rows = []
    for name, action in ACTIONS.items():
        shape = f"{name}={action.usage}" if action.usage and not action.usage.startswith("[") else name
        shape += f"[={action.usage[1:]}" if action.usage.startswith("[") else ""
        rows.append((f"{shape}", f"{action.about} (@{action.default})"))
    rows += [("", "")]
    for row in ERRORS.values():
        code = f"{row.code}: " if row.code else ""
        closes = f" (closes {row.close[0]})" if row.close is not None else ""
        rows.append((f"error={row.name}", f"{code}{row.message or row.close[1] if row.close else row.message}{closes}"))
    width = max(len(shape) for shape, _ in rows) + 2
    head = "name=arguments@trigger#connections; the trigger in brackets is the one it has without any.\n\n"
    return head + "\n".join(f"{shape:{width}}{about}".rstrip() for shape, about in rows) + "\n"


def _event(message: str | bytes) -> Mapping[str, Any]:
    try:
        event = json.loads(message)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}
