"""From what a function returned to the text the model reads."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import pathlib
import uuid
from typing import Any

import attrs

_AS_TEXT = (uuid.UUID, decimal.Decimal, pathlib.PurePath)
_DATES = (dt.date, dt.time)


def as_text(value: Any) -> str:
    """Return a text as it is, anything else as JSON; dataclasses and attrs classes become objects.

    Raises:
        TypeError: It cannot be written as JSON.
        ValueError: It holds a number JSON does not have, or contains itself.
    """
    if isinstance(value, str) and not isinstance(value, enum.Enum):
        return value
    if isinstance(value, enum.Enum):
        return as_text(value.value)
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except RecursionError:
        raise ValueError("the value contains itself") from None


def _plain(value: Any) -> Any:
    if attrs.has(type(value)):
        return {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return list(value)
    if isinstance(value, _DATES):
        return value.isoformat()
    if isinstance(value, _AS_TEXT):
        return str(value)
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")
