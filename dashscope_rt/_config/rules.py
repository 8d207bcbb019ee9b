"""The sentinel ``UNSET`` and the rules that the parts of a configuration check their values by.

A rule is an attrs validator: it lets ``UNSET`` and None pass, and refuses everything else outside its range
with a ValueError that names the field, the value and the range. A bool is not a number, "0.5" is not a
number.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import attrs

Rule = Callable[[Any, "attrs.Attribute[Any]", Any], None]


class Unset(enum.Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False


UNSET: Final = Unset.UNSET
"""Stands for a field that is not sent; None, in contrast, is sent as null."""


def shown(value: object) -> str:
    """A value as an error message may quote it: numbers and short texts, the size of anything else."""
    if value is None or isinstance(value, (bool, int, float, Unset)):
        text = repr(value)
        return text if len(text) <= 40 else "a very long number"
    if isinstance(value, str):
        return repr(value) if len(value) <= 40 else f"a text of {len(value)} characters"
    return f"a {type(value).__name__}"


def refuse(instance: object, field: attrs.Attribute[Any], value: object, allowed: str) -> ValueError:
    """Make the ValueError for a value outside its range."""
    owner = type(instance).__name__
    return ValueError(f"{owner}.{field.name} must be {allowed}, not {shown(value)}")


def number(
    low: float | None = None,
    high: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
) -> Rule:
    """A number: from ``low`` to ``high``, both included; greater than ``above``; less than ``below``."""
    bounds = []
    if low is not None and high is not None:
        bounds.append(f"from {low:g} to {high:g}")
    elif low is not None:
        bounds.append(f"of at least {low:g}")
    if above is not None:
        bounds.append(f"greater than {above:g}")
    if below is not None:
        bounds.append(f"below {below:g}")
    if high is not None and low is None:
        bounds.append(f"up to {high:g}")
    allowed = f"a number {' and '.join(bounds)}".strip()

    def rule(instance: object, field: attrs.Attribute[Any], value: object) -> None:
        if value is UNSET or value is None:
            return
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not _finite(value):
            raise refuse(instance, field, value, allowed)
        if (
            (low is not None and value < low)
            or (high is not None and value > high)
            or (above is not None and value <= above)
            or (below is not None and value >= below)
        ):
            raise refuse(instance, field, value, allowed)

    return rule


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond any float
        return False


def whole(low: int, high: int | None = None, *, also: str = "") -> Rule:
    """A whole number from ``low`` to ``high``; ``also`` says what an exception within that range means."""
    allowed = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"
    allowed += f" ({also})" if also else ""

    def rule(instance: object, field: attrs.Attribute[Any], value: object) -> None:
        if value is UNSET or value is None:
            return
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise refuse(instance, field, value, allowed)
        if high is not None and value > high:
            raise refuse(instance, field, value, allowed)

    return rule


def one_of(*values: str | int) -> Rule:
    """One of a few words or numbers."""
    allowed = f"one of {', '.join(map(repr, values))}"

    def rule(instance: object, field: attrs.Attribute[Any], value: object) -> None:
        if value is UNSET or value is None:
            return
        if isinstance(value, bool) or not isinstance(value, (str, int)) or value not in values:
            raise refuse(instance, field, value, allowed)

    return rule


def text(*, empty: bool = False) -> Rule:
    """A text; ``empty`` says whether it may be ""."""
    allowed = "a text" if empty else "a text that is not empty"

    def rule(instance: object, field: attrs.Attribute[Any], value: object) -> None:
        if value is UNSET or value is None:
            return
        if not isinstance(value, str) or not (value or empty):
            raise refuse(instance, field, value, allowed)

    return rule


def flag() -> Rule:
    """True or False."""

    def rule(instance: object, field: attrs.Attribute[Any], value: object) -> None:
        if value is not UNSET and value is not None and not isinstance(value, bool):
            raise refuse(instance, field, value, "True or False")

    return rule


def instance_of(allowed: str, *kinds: type) -> Rule:
    """An object of one of these classes, described by ``allowed``."""

    def rule(instance: object, field: attrs.Attribute[Any], value: object) -> None:
        if value is not UNSET and value is not None and not isinstance(value, kinds):
            raise refuse(instance, field, value, allowed)

    return rule


def sent(rule: Rule) -> Rule:
    """The same rule for a field that is never sent as null."""

    def strict(instance: object, field: attrs.Attribute[Any], value: object) -> None:
        if value is None:
            owner = type(instance).__name__
            raise ValueError(f"{owner}.{field.name} must not be None; leave it out in order not to send it")
        rule(instance, field, value)

    return strict


def mapping(allowed: str = "a mapping") -> Rule:
    """A JSON object that is sent as it is."""

    def rule(instance: object, field: attrs.Attribute[Any], value: object) -> None:
        if value is UNSET or value is None:
            return
        if not isinstance(value, Mapping):
            raise refuse(instance, field, value, allowed)
        check_json(value, f"{type(instance).__name__}.{field.name}")

    return rule


def check_json(value: object, where: str) -> None:
    """Refuse what JSON cannot say.

    Raises:
        ValueError: Names the place within the value.
    """
    try:
        _check_json(value, where)
    except RecursionError:
        raise ValueError(f"{where} is nested too deeply to be sent as JSON") from None


def _check_json(value: object, where: str) -> None:
    if value is None or isinstance(value, (str, bool)):
        return
    if isinstance(value, (int, float)):
        if not _finite(value):
            raise ValueError(f"{where} must be a finite number, not {shown(value)}")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{where} must have texts as keys, not {shown(key)}")
            _check_json(inner, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            _check_json(inner, f"{where}[{index}]")
    else:
        raise ValueError(f"{where} must be something JSON can say, not {shown(value)}")


def copied(value: Mapping[str, Any] | Unset | None) -> Any:
    """Converter: copy mappings and lists, so that the caller's later changes have no effect here."""
    try:
        return _copy(value)
    except RecursionError:
        return value  # the rule that follows refuses it, with the field's name


def _copy(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _copy(inner) for key, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint for a misspelt name: "; did you mean …?", or all the names there are."""
    import difflib  # only for a message: not worth loading with the package

    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"


@attrs.frozen(eq=False, repr=False)
class Part:
    """A configuration or a part of one, compared by its fields; its ``repr`` tells no texts and no secrets."""

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        fields = attrs.fields(self.__class__)
        return all(getattr(self, field.name) == getattr(other, field.name) for field in fields if field.eq)

    __hash__ = None  # type: ignore[assignment]  # the mappings inside cannot be hashed

    def __repr__(self) -> str:
        shown_fields = []
        for field in attrs.fields(self.__class__):
            value = getattr(self, field.name)
            if value is UNSET or field.repr is False or (field.name == "extra" and not value):
                continue
            show = repr if field.repr is True else field.repr
            shown_fields.append(f"{field.name}={show(value)}")
        return f"{self.__class__.__name__}({', '.join(shown_fields)})"


P = TypeVar("P", bound=Part)


def part_of(kind: type[P], value: Mapping[str, Any], where: str) -> P:
    """Make a part of a mapping with the part's own field names.

    Raises:
        ValueError: A key that is no field, or a value outside its range.
    """
    names = [field.name for field in attrs.fields(kind)]
    for key in value:
        if key not in names:
            raise ValueError(
                f"{where} has no field {shown(key)}: {nearest(str(key), names)} "
                f"What this version does not know can be sent with extra={{{where!r}: …}}"
            )
    missing = [field.name for field in attrs.fields(kind) if field.default is attrs.NOTHING and field.name not in value]
    if missing:
        raise ValueError(f"{where} is not complete: {' and '.join(missing)} must be given")
    return kind(**value)


def as_tuple(value: Iterable[Any] | Unset | None) -> Any:
    """Converter: a list becomes a tuple; a text stays one, so that it is refused and not taken apart."""
    plural = isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))
    return tuple(value) if plural else value  # type: ignore[arg-type]


def hidden(value: object) -> str:
    """``repr`` of a credential: only whether there is one."""
    return "None" if value is None else "'***'"


def counted(value: object) -> str:
    """``repr`` of what a user wrote: its length."""
    return f"<{len(value)} chars>" if isinstance(value, str) else repr(value)


def named(value: object) -> str:
    """``repr`` of a mapping: the names of its fields."""
    return f"<{', '.join(map(str, value)) or 'empty'}>" if isinstance(value, Mapping) else repr(value)


def tallied(value: object) -> str:
    """``repr`` of a collection: how many."""
    return f"<{len(value)}>" if isinstance(value, (Mapping, tuple, list)) else repr(value)
