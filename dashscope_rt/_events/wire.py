"""What all events and objects of the wire have in common: equality, hash, and a ``repr`` without secrets.

A ``repr`` never shows what people said or wrote, audio, pictures or credentials: it counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import attrs

# What a repr says in place of a value: this is the one place that decides it.


def shown_as_chars(value: object) -> str:
    """Spoken or typed text: its length."""
    return f"<{len(value)} chars>" if isinstance(value, str) else _kind(value)


def shown_as_bytes(value: object) -> str:
    """Audio or an image, as bytes or as Base64 text: its length in decoded bytes."""
    if isinstance(value, str):
        return f"<{max(0, len(value) * 3 // 4 - value[-2:].count('='))} bytes>"
    return f"<{len(value)} bytes>" if isinstance(value, (bytes, bytearray, memoryview)) else _kind(value)


def shown_as_names(value: object) -> str:
    """An object of the user's (instructions, tools, credentials may be in it): the names of its fields."""
    return f"<{', '.join(map(str, value)) or 'empty'}>" if isinstance(value, Mapping) else _kind(value)


def shown_as_count(value: object) -> str:
    """A list of such objects: how many."""
    return f"<{len(value)}>" if isinstance(value, (list, tuple)) else _kind(value)


def _kind(value: object) -> str:
    return "None" if value is None else f"<{type(value).__name__}>"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Wire:
    """A value that came over the wire: compared by its fields, shown without what people said.

    One generic ``__eq__``, ``__hash__`` and ``__repr__`` serve all of them, because attrs would otherwise
    compile three functions for each of some seventy classes, which is half of the package's import time.
    """

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        fields = attrs.fields(self.__class__)
        return all(getattr(self, field.name) == getattr(other, field.name) for field in fields if field.eq)

    def __hash__(self) -> int:
        # Mappings cannot be hashed; equal values have equal texts, so hashing the texts alone is right.
        values = (getattr(self, field.name) for field in attrs.fields(self.__class__) if field.eq)
        return hash((self.__class__, *(value for value in values if isinstance(value, str))))

    def __repr__(self) -> str:
        parts = []
        for field in attrs.fields(self.__class__):
            value = getattr(self, field.name)
            if field.repr is False or value is None:
                continue
            show: Callable[[Any], str] = repr if field.repr is True else field.repr
            parts.append(f"{field.name}={show(value)}")
        return f"{self.__class__.__name__}({', '.join(parts)})"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Event(Wire):
    """Anything that goes over the wire as a frame.

    Attributes:
        type: The wire type, for example ``response.audio.delta``.
    """

    type: ClassVar[str]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class WireObject(Wire):
    """A JSON object inside an event.

    Attributes:
        raw: The object as it came, including fields this package does not know; empty when made by hand.
    """

    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False, eq=False)


class RememberedFrame:
    """What all deltas of one part have in common; see `dashscope_rt._codec.quick`.

    Attributes:
        frame: The JSON object, with ``event_id`` and ``delta`` of the first of them.
    """

    __slots__ = ("frame",)

    def __init__(self, frame: Mapping[str, Any]) -> None:
        self.frame = frame

    def of(self, event: Any) -> dict[str, Any]:
        """Return the frame of another one."""
        return {**self.frame, "event_id": event.event_id, "delta": event.delta}


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ServerEvent(Event):
    """An event the service sent.

    Attributes:
        event_id: The service's id for this event; the documentation shows some events without one.
        raw: The frame as it came, including fields this package does not know; empty when made by hand.
    """

    event_id: str | None = None
    _raw: Mapping[str, Any] | RememberedFrame = attrs.field(factory=dict, repr=False, eq=False)

    @property
    def raw(self) -> Mapping[str, Any]:
        """The frame as it came, including fields this package does not know; empty when made by hand."""
        raw = self._raw
        if isinstance(raw, RememberedFrame):
            raw = raw.of(self)
            object.__setattr__(self, "_raw", raw)  # two threads that ask at once make the same thing twice
        return raw
