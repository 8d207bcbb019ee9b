"""JSON as `codec` wants it: read strictly, and a field of the wrong JSON type refused, never converted."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from .. import _speed

# Text to JSON.


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    return value


# Python's own reader takes NaN, Infinity and 1e999; JSON knows none of them, and they could not be sent again.
_JSON = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def parse(text: str) -> Any:
    """Parse JSON; a ValueError says what is wrong without quoting the text."""
    if _speed.json_value is not None:
        try:
            return _speed.json_value(text)
        except ValueError:  # the slower reader knows what is wrong, or reads what this one does not (lone surrogates)
            pass
    try:
        return _JSON.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise ValueError("not JSON this package reads: nested too deeply") from None
    except ValueError as error:
        number = "a number has too many digits" if "digits" in str(error) else str(error)
        raise ValueError(f"not JSON: {number}") from None


# JSON to values. A field of the wrong JSON type is refused, never converted: "5" is no number, 1 no bool.


def read_text(value: Any, _: Any = None) -> str | None:
    """A text, or None for null."""
    if value is None or type(value) is str:
        return value
    raise TypeError(f"should be a text, not {kind_of(value)}")


def read_whole(value: Any, _: Any = None) -> int | None:
    """A whole number, or None for null; 3.0 is one."""
    if value is None or type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    raise TypeError(f"should be a whole number, not {kind_of(value)}")


def read_number(value: Any, _: Any = None) -> float | None:
    """A number, or None for null."""
    if value is None or type(value) is float or type(value) is int:
        return value
    raise TypeError(f"should be a number, not {kind_of(value)}")


def read_flag(value: Any, _: Any = None) -> bool | None:
    """True or false, or None for null."""
    if value is None or type(value) is bool:
        return value
    raise TypeError(f"should be true or false, not {kind_of(value)}")


def read_text_or_whole(value: Any, _: Any = None) -> str | int | None:
    """A text or a whole number, or None for null."""
    if value is None or type(value) is str or type(value) is int:
        return value
    raise TypeError(f"should be a text or a whole number, not {kind_of(value)}")


def read_object(value: Any, _: Any = None) -> dict[str, Any] | None:
    """An object, or None for null."""
    if value is None or type(value) is dict:
        return value
    raise TypeError(f"should be an object, not {kind_of(value)}")


def read_anything(value: Any, _: Any = None) -> Any:
    """Whatever it is."""
    return value


def read_bytes(value: Any, _: Any = None) -> bytes:
    """The bytes of a Base64 text."""
    if type(value) is not str:
        raise TypeError(f"should be Base64 text, not {kind_of(value)}")
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise ValueError("should be Base64 text") from None


def read_list(value: Any, read: Callable[[Any], Any]) -> tuple[Any, ...]:
    """A list, each item read by a function."""
    if type(value) is not list:
        raise TypeError(f"should be a list, not {kind_of(value)}")
    return tuple([read(item) for item in value])


def kind_of(value: object) -> str:
    """Name the JSON type of a value, for a message."""
    kinds = {
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return "null" if value is None else kinds.get(type(value), type(value).__name__)


def _plain_json(value: object) -> Any:
    """``json``'s question about a value it does not know."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is nothing JSON can say")


def dump(frame: Mapping[str, Any]) -> bytes:
    """Compact UTF-8 JSON; a ValueError says what cannot be sent."""
    try:
        text = json.dumps(frame, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain_json)
    except (TypeError, ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"the event cannot be written as JSON: {reason}") from None
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate: JSON can say it, UTF-8 cannot
        return json.dumps(frame, separators=(",", ":"), default=_plain_json).encode("ascii")
