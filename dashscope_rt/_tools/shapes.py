"""From a type hint to a `Shape`: what the model is told (`Shape.schema`), and what it may send (`Shape.fit`).

The schema stays inside what the service was seen to take: one ``type`` for each value, ``description``, ``enum``
without null, ``items``, ``properties`` and ``required``; no unions, no ``additionalProperties``, no references.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

import attrs

from . import docstring

_PLAIN: dict[object, str] = {str: "string", bool: "boolean", int: "integer", float: "number"}
_WORDS = {
    "string": "a text", "boolean": "true or false", "integer": "a whole number", "number": "a number",
    "array": "a list", "object": "an object",
}  # fmt: skip
_LISTS = (list, set, frozenset, tuple, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection,
          collections.abc.MutableSequence, collections.abc.Set, collections.abc.MutableSet)  # fmt: skip
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_MARKS = ("Required", "NotRequired", "ReadOnly")  # by name: before 3.11 they come from typing_extensions


class HintError(TypeError):
    """A hint that no schema can be made of; the text is a clause that follows the parameter's name."""


@attrs.define
class Field:
    """One property of an object: a parameter of a function, or a field of a class.

    Attributes:
        required: The model must give it.
        fill: None stands in when it is left out, because there is no default.
    """

    shape: Shape
    required: bool
    fill: bool = False


@attrs.define
class Shape:
    """What one value looks like.

    Attributes:
        type: JSON Schema's word for it.
        description: For the model; "" for none.
        enum: The values it may have; () for all.
        items: Of an array: the shape of each item; None for any.
        fields: Of an object: its properties; None for any.
        values: Of an object without fields: the shape of each value; None for any.
        nullable: Null may be sent, though the schema cannot say so.
    """

    type: str
    description: str = ""
    enum: tuple[Any, ...] = ()
    items: Shape | None = None
    fields: dict[str, Field] | None = None
    values: Shape | None = None
    nullable: bool = False

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema."""
        whole: dict[str, Any] = {"type": self.type}
        if self.description:
            whole["description"] = self.description
        if self.enum:
            whole["enum"] = list(self.enum)
        if self.items is not None:
            whole["items"] = self.items.schema()
        if self.fields is not None:
            whole["properties"] = {name: field.shape.schema() for name, field in self.fields.items()}
            whole["required"] = [name for name, field in self.fields.items() if field.required]
        return whole

    def fit(self, value: Any, path: str, problems: list[str]) -> Any:
        """Return the value as this shape wants it; what does not fit is added to ``problems``.

        Numbers and truth values that were written as text are read, whole numbers become text where text is wanted,
        null counts as left out where a value may be left out: models write such things. Nothing else is guessed.
        """
        if value is None and self.nullable:
            return None
        read = _READERS[self.type](self, value, path, problems)
        if read is _WRONG:
            problems.append(f"{path} must be {_WORDS[self.type]}")
        elif self.enum and read not in self.enum:
            problems.append(f"{path} must be one of {', '.join(map(repr, self.enum))}")
        return read


_WRONG = object()


def _read_text(_: Shape, value: Any, *__: Any) -> Any:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _WRONG


def _read_flag(_: Shape, value: Any, *__: Any) -> Any:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.strip().lower(), _WRONG) if isinstance(value, str) else _WRONG


def _read_whole(shape: Shape, value: Any, *rest: Any) -> Any:
    if isinstance(value, str):
        try:
            return int(value) if len(value) <= 40 else _WRONG
        except ValueError:
            pass
    number = _read_number(shape, value, *rest)
    if number is _WRONG or number != int(number):
        return _WRONG
    return number if isinstance(number, int) else int(number)


def _read_number(_: Shape, value: Any, *__: Any) -> Any:
    if isinstance(value, str):
        try:
            value = float(value) if len(value) <= 40 else None
        except ValueError:
            return _WRONG
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _WRONG
    return value if isinstance(value, int) or math.isfinite(value) else _WRONG


def _read_list(shape: Shape, value: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(value, list):
        return _WRONG
    items = shape.items
    if items is None:
        return value
    return [items.fit(item, f"{path}[{index}]", problems) for index, item in enumerate(value)]


def _read_object(shape: Shape, value: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(value, Mapping):
        return _WRONG
    if shape.fields is None:
        values = shape.values
        if values is None:
            return value
        return {key: values.fit(item, f"{path}.{key}", problems) for key, item in value.items()}
    whole: dict[str, Any] = {}
    for name, field in shape.fields.items():
        at = f"{path}.{name}" if path else name
        if name not in value or (value[name] is None and not field.required):
            if field.required:
                problems.append(f"{at} is missing")
            elif field.fill or (name in value and field.shape.nullable):
                whole[name] = None
            continue
        whole[name] = field.shape.fit(value[name], at, problems)
    strange = [f"{path}.{name}" if path else str(name) for name in value if name not in shape.fields]
    problems.extend(f"there is no {name}"[:100] for name in strange)
    return whole


_READERS = {
    "string": _read_text,
    "boolean": _read_flag,
    "integer": _read_whole,
    "number": _read_number,
    "array": _read_list,
    "object": _read_object,
}


# ---- from hint to shape -------------------------------------------------------------------------------------------


def shape_of(hint: Any, within: tuple[type, ...] = ()) -> Shape:
    """Return the shape of a hint.

    Args:
        hint: A resolved type hint; ``Annotated`` may carry a description.
        within: The classes that this one is a field of, to find those that contain themselves.

    Raises:
        HintError: There is none.
    """
    origin = get_origin(hint)
    if origin is typing.Annotated:
        shape = shape_of(hint.__origin__, within)
        shape.description = said_in(hint) or shape.description
        return shape
    if _mark(hint):
        return shape_of(get_args(hint)[0], within)
    alias = getattr(hint, "__supertype__", None) or (
        getattr(hint, "__value__", None) if type(hint).__name__ == "TypeAliasType" else None
    )
    if alias is not None:  # NewType, or type X = …
        return shape_of(alias, within)
    if not isinstance(hint, collections.abc.Hashable):
        raise HintError(_why_not(hint))
    if hint in _PLAIN:
        return Shape(_PLAIN[hint])
    if origin in (Union, types.UnionType):
        return _union(get_args(hint), within)
    if origin is Literal:
        return _choice(get_args(hint))
    if hint in _LISTS or origin in _LISTS:
        return _list(origin or hint, get_args(hint), within)
    if hint in _DICTS or origin in _DICTS:
        return _dict(get_args(hint), within)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _choice(tuple(member.value for member in hint), hint.__name__)
    if is_typed_dict(hint) or _is_record(hint):
        return _record(hint, within)
    raise HintError(_why_not(hint))


def said_in(hint: Any) -> str:
    """Return the description an ``Annotated`` hint carries; "" if none."""
    while _mark(hint):
        hint = get_args(hint)[0]
    for extra in getattr(hint, "__metadata__", ()):
        text = extra if isinstance(extra, str) else getattr(extra, "documentation", None)  # typing_extensions.Doc
        if isinstance(text, str) and text.strip():
            return " ".join(text.split())
    return ""


def is_typed_dict(hint: Any) -> bool:
    """Whether it is a TypedDict of typing or of typing_extensions."""
    # By what it has: before 3.12, that of typing_extensions is another kind than that of typing.
    return isinstance(hint, type) and issubclass(hint, dict) and hasattr(hint, "__required_keys__")


def _is_record(hint: Any) -> bool:
    return isinstance(hint, type) and (attrs.has(hint) or dataclasses.is_dataclass(hint))


def _shown(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and get_origin(hint) is None else str(hint).replace("typing.", "")


def _why_not(hint: Any) -> str:
    if hint is Any or hint is object:
        return "has a hint that says nothing to the model; name the type, or a list or dict of anything"
    if hint is None or hint is type(None):
        return "can only be None; leave it out"
    if isinstance(hint, typing.TypeVar):
        return f"has the type variable {hint.__name__} as its hint; name the type"
    return (
        f"has the hint {_shown(hint)}, which no schema can be made of; there are str, int, float, bool, Enum, Literal,"
        " list, dict, Optional, TypedDict, dataclasses and attrs classes; take one of them and convert it"
    )


def _union(parts: tuple[Any, ...], within: tuple[type, ...]) -> Shape:
    kept = [part for part in parts if part is not type(None)]
    if set(map(id, kept)) == {id(int), id(float)}:
        kept = [float]
    if len(kept) != 1:
        raise HintError(
            f"has the hint {' | '.join(map(_shown, parts))}, a union, which the service does not take; choose one type"
        )
    shape = shape_of(kept[0], within)
    shape.nullable = shape.nullable or type(None) in parts
    return shape


def _choice(values: tuple[Any, ...], owner: str = "") -> Shape:
    plain = [value.value if isinstance(value, enum.Enum) else value for value in values]
    kept = [value for value in plain if value is not None]
    kinds = {_PLAIN.get(type(value) if not isinstance(value, str) else str) for value in kept}
    if len(kinds) != 1 or None in kinds:
        of = f"the values of {owner}" if owner else "its values"
        raise HintError(f"needs {of} to be all texts, all whole numbers or all numbers, and at least one of them")
    shape = Shape(kinds.pop() or "", nullable=len(kept) < len(plain))
    values = tuple(str(value) if isinstance(value, str) else value for value in kept)
    shape.enum = () if shape.type == "boolean" and len(set(values)) == 2 else tuple(dict.fromkeys(values))
    return shape


def _list(kind: Any, parts: tuple[Any, ...], within: tuple[type, ...]) -> Shape:
    if kind is tuple and any(part not in (parts[0], Ellipsis) for part in parts):
        raise HintError("has the hint of a tuple of different types, a union, which the service does not take")
    item = parts[0] if parts else Any
    return Shape("array", items=None if item is Any or item is object else shape_of(item, within))


def _dict(parts: tuple[Any, ...], within: tuple[type, ...]) -> Shape:
    key, value = parts or (str, Any)
    if key is not str:
        raise HintError(f"has the hint of a dict with keys of {_shown(key)}; JSON has only keys of str")
    return Shape("object", values=None if value is Any or value is object else shape_of(value, within))


def _record(cls: Any, within: tuple[type, ...]) -> Shape:
    if cls in within:
        raise HintError(f"has a hint in which {cls.__name__} contains itself, which no schema of this kind can say")
    docs = docstring.of_class(cls)
    try:
        hints = resolve(cls, f"the class {cls.__name__}")
    except HintError as error:
        raise HintError(f"cannot be described: {error}") from None
    fields: dict[str, Field] = {}
    for name, required in _fields(cls, hints):
        try:
            shape = shape_of(hints.get(name, Any), (*within, cls))
        except HintError as error:
            raise HintError(f"has a hint whose field {cls.__name__}.{name} {error}") from None
        shape.description = said_in(hints[name]) or docs.arguments.get(name, "") or shape.description
        optional = shape.nullable and required
        fields[name] = Field(shape, required and not shape.nullable, fill=optional)
    return Shape("object", docs.text, fields=fields)


def _fields(cls: Any, hints: Mapping[str, Any]) -> list[tuple[str, bool]]:
    if is_typed_dict(cls):
        return [(name, _typed_dict_wants(cls, name, hints[name])) for name in hints]
    if attrs.has(cls):
        return [(field.name, field.default is attrs.NOTHING) for field in attrs.fields(cls) if field.init]
    missing = dataclasses.MISSING
    return [
        (field.name, field.default is missing and field.default_factory is missing)
        for field in dataclasses.fields(cls)
        if field.init
    ]


def _typed_dict_wants(cls: Any, name: str, hint: Any) -> bool:
    # The class itself does not see the marks when its annotations are texts.
    while (mark := _mark(hint)) or get_origin(hint) is typing.Annotated:
        if mark in ("Required", "NotRequired"):
            return mark == "Required"
        hint = get_args(hint)[0]
    return name in cls.__required_keys__


def unmarked(hint: Any) -> Any:
    """Return a hint of a TypedDict without Required, NotRequired and Annotated."""
    while _mark(hint) or get_origin(hint) is typing.Annotated:
        hint = get_args(hint)[0]
    return hint


def _mark(hint: Any) -> str:
    name = getattr(get_origin(hint), "_name", None)
    return name if name in _MARKS else ""


def resolve(owner: Any, what: str) -> dict[str, Any]:
    """Return the hints of a function or a class, texts read.

    Raises:
        HintError: A name in them cannot be found.
    """
    try:
        return typing.get_type_hints(owner, include_extras=True)
    except NameError as error:
        raise HintError(
            f"the type hints of {what} name {error.name!r}, which is not there where they are read; define it at the"
            " top level of the module, before this"
        ) from None
    except (TypeError, SyntaxError, AttributeError) as error:
        raise HintError(f"the type hints of {what} cannot be read: {error}") from None
