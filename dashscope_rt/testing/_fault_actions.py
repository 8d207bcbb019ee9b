"""The faults there are, by name, and the reading of a script with them."""

from __future__ import annotations

from collections.abc import Mapping

from ._fault_action import Action, nearest
from ._fault_grammar import Fault, Kind, Trigger, parse
from ._fault_line import CloseIt, Drip, Fragment, FreeTier, HalfClose, NoCloseAnswer, Reset, Silence, Split, StopReading
from ._fault_messages import (
    BadJson,
    BadUtf8,
    Binary,
    Duplicate,
    Huge,
    Lose,
    NoDoneAfterCancel,
    RawBytes,
    Reorder,
    ServiceError,
    UnknownEvent,
    UnknownIds,
)
from ._fault_opening import Idle, Limit, NeverCreated, Redirect, Refuse, Stall

__all__ = ["ACTIONS", "read"]

ACTIONS: Mapping[str, type[Action]] = {
    "refuse": Refuse,
    "redirect": Redirect,
    "stall": Stall,
    "never-created": NeverCreated,
    "close": CloseIt,
    "free-tier": FreeTier,
    "reset": Reset,
    "half-close": HalfClose,
    "no-close-answer": NoCloseAnswer,
    "idle": Idle,
    "limit": Limit,
    "silence": Silence,
    "stop-reading": StopReading,
    "drip": Drip,
    "split": Split,
    "fragment": Fragment,
    "bad-utf8": BadUtf8,
    "bad-json": BadJson,
    "binary": Binary,
    "huge": Huge,
    "raw": RawBytes,
    "unknown-event": UnknownEvent,
    "unknown-ids": UnknownIds,
    "duplicate": Duplicate,
    "reorder": Reorder,
    "lose": Lose,
    "no-done-after-cancel": NoDoneAfterCancel,
    "error": ServiceError,
}
_SPOKEN: Mapping[Kind, str] = {
    "connect": "connect",
    "sent": "an event of the server",
    "received": "an event of the client",
    "time": "a time such as 200ms",
}


def read(text: str) -> Fault:
    """Read a fault; see `Fault.parse`."""

    def complete(name: str, arguments: str | None, trigger: Trigger | None) -> tuple[tuple[str, ...], Trigger]:
        action = ACTIONS.get(name)
        if action is None:
            raise ValueError(nearest(name, ACTIONS, "fault"))
        made = action.read_arguments(arguments)
        trigger = action.default if trigger is None else trigger
        if trigger.kind not in action.triggers:
            allowed = " or ".join(_SPOKEN[kind] for kind in action.triggers)
            raise ValueError(f"{name} cannot strike at {trigger}; its trigger can be {allowed}")
        return made, trigger

    return parse(text, complete)
