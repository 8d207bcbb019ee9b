"""Types for the tests of schemas, in a module whose annotations are texts, as most people write them."""

# ruff: noqa: UP045 — Optional is one of the things that are tested
from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypedDict, TypeVar

import attrs
import typing_extensions

T = TypeVar("T")
City = NewType("City", str)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Share(enum.Enum):
    HALF = 0.5
    WHOLE = 1.0


class Mixed(enum.Enum):
    A = 1
    B = "b"


class Nothing(enum.Enum):
    pass


@dataclasses.dataclass
class Point:
    """A place on the map.

    Attributes:
        x: Metres east.
    """

    x: float
    y: float = 0.0
    label: str | None = None
    seen: list[str] = dataclasses.field(default_factory=list)
    hidden: int = dataclasses.field(default=7, init=False)

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x must not be negative")


@dataclasses.dataclass
class Bare:
    a: int


@attrs.define
class Order:
    """An order."""

    place: Point
    items: list[str] = attrs.field(validator=attrs.validators.min_len(1))
    note: Optional[str]


class Filter(TypedDict):
    """What to look for.

    Attributes:
        text: Words to look for.
    """

    text: str
    colour: Colour
    size: int | None


class Loose(typing_extensions.TypedDict, total=False):
    a: typing_extensions.Required[int]
    b: Annotated[typing_extensions.NotRequired[str], "The b."]
    c: float


class Mostly(typing_extensions.TypedDict):
    a: int
    b: typing_extensions.NotRequired[str]


@dataclasses.dataclass
class Tree:
    value: int
    children: list[Tree]


@dataclasses.dataclass
class Odd:
    when: complex


class Pair(NamedTuple):
    a: int
    b: int


class Lost(TypedDict):
    a: NotThere  # type: ignore[name-defined]  # noqa: F821


STRING, WHOLE, NUMBER, FLAG = ({"type": kind} for kind in ("string", "integer", "number", "boolean"))
POINT = {
    "type": "object",
    "description": "A place on the map.",
    "properties": {
        "x": {"type": "number", "description": "Metres east."},
        "y": NUMBER,
        "label": STRING,
        "seen": {"type": "array", "items": STRING},
    },
    "required": ["x"],
}
FILTER = {
    "type": "object",
    "description": "What to look for.",
    "properties": {
        "text": {"type": "string", "description": "Words to look for."},
        "colour": {"type": "string", "enum": ["red", "blue"]},
        "size": WHOLE,
    },
    "required": ["text", "colour"],
}
A_AND_B = {"a": WHOLE, "b": STRING}

# hint, schema, what the model sends, what the function gets
HINTS: list[tuple[Any, dict[str, Any], Any, Any]] = [
    (str, STRING, "x", "x"),
    (int, WHOLE, 3, 3),
    (float, NUMBER, 2, 2.0),
    (bool, FLAG, True, True),
    (City, STRING, "Rome", "Rome"),
    (Colour, {"type": "string", "enum": ["red", "blue"]}, "blue", Colour.BLUE),
    (Size, {"type": "integer", "enum": [1, 2]}, 2, Size.LARGE),
    (Share, {"type": "number", "enum": [0.5, 1.0]}, 1, Share.WHOLE),
    (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}, "b", "b"),
    (Literal[1, 5], {"type": "integer", "enum": [1, 5]}, 5, 5),
    (Literal["a", None], {"type": "string", "enum": ["a"]}, None, None),
    (Literal[True], {"type": "boolean", "enum": [True]}, True, True),
    (Literal[True, False], FLAG, False, False),
    (Literal[Colour.RED], {"type": "string", "enum": ["red"]}, "red", Colour.RED),
    (Optional[int], WHOLE, 3, 3),
    (Optional[int], WHOLE, None, None),
    (int | None, WHOLE, None, None),
    (Optional[Colour], {"type": "string", "enum": ["red", "blue"]}, "red", Colour.RED),
    (int | float, NUMBER, 3, 3),
    (int | float | None, NUMBER, 2.5, 2.5),
    (list, {"type": "array"}, [1, "a", None], [1, "a", None]),
    (list[Any], {"type": "array"}, [1, "a"], [1, "a"]),
    (list[int], {"type": "array", "items": WHOLE}, [1, 2], [1, 2]),
    (list[list[str]], {"type": "array", "items": {"type": "array", "items": STRING}}, [["a"]], [["a"]]),
    (list[Colour], {"type": "array", "items": {"type": "string", "enum": ["red", "blue"]}}, ["red"], [Colour.RED]),
    (list[Optional[int]], {"type": "array", "items": WHOLE}, [1, None], [1, None]),
    (Sequence[int], {"type": "array", "items": WHOLE}, [1, 2], (1, 2)),
    (set[int], {"type": "array", "items": WHOLE}, [1, 1], {1}),
    (frozenset[str], {"type": "array", "items": STRING}, ["a"], frozenset({"a"})),
    (tuple[int, ...], {"type": "array", "items": WHOLE}, [1, 2], (1, 2)),
    (tuple[float, float], {"type": "array", "items": NUMBER}, [1, 2], (1.0, 2.0)),
    (dict, {"type": "object"}, {"a": [1]}, {"a": [1]}),
    (dict[str, Any], {"type": "object"}, {"a": None}, {"a": None}),
    (dict[str, int], {"type": "object"}, {"a": 1}, {"a": 1}),
    (dict[str, Point], {"type": "object"}, {"a": {"x": 1}}, {"a": Point(1.0)}),
    (Point, POINT, {"x": 1}, Point(1.0)),
    (Point, POINT, {"x": 1, "y": 2, "label": None, "seen": ["a"]}, Point(1.0, 2.0, None, ["a"])),
    (Bare, {"type": "object", "properties": {"a": WHOLE}, "required": ["a"]}, {"a": 1}, Bare(1)),
    (
        Order,
        {
            "type": "object",
            "description": "An order.",
            "properties": {"place": POINT, "items": {"type": "array", "items": STRING}, "note": STRING},
            "required": ["place", "items"],
        },
        {"place": {"x": 1}, "items": ["a"]},
        Order(Point(1.0), ["a"], None),
    ),
    (Filter, FILTER, {"text": "t", "colour": "red"}, {"text": "t", "colour": Colour.RED, "size": None}),
    (Filter, FILTER, {"text": "t", "colour": "red", "size": 2}, {"text": "t", "colour": Colour.RED, "size": 2}),
    (
        Loose,
        {
            "type": "object",
            "properties": {"a": WHOLE, "b": {"type": "string", "description": "The b."}, "c": NUMBER},
            "required": ["a"],
        },
        {"a": 1, "c": 2},
        {"a": 1, "c": 2.0},
    ),
    (Mostly, {"type": "object", "properties": A_AND_B, "required": ["a"]}, {"a": 1}, {"a": 1}),
    (Annotated[int, "How many."], {"type": "integer", "description": "How many."}, 2, 2),
    (Annotated[Optional[int], 7, "How many."], {"type": "integer", "description": "How many."}, None, None),
    (
        Annotated[Point, "Where  to\n go."],
        {**POINT, "description": "Where to go."},
        {"x": 1},
        Point(1.0),
    ),
    (
        list[Annotated[str, "One word."]],
        {"type": "array", "items": {"type": "string", "description": "One word."}},
        ["a"],
        ["a"],
    ),
]

REFUSED: list[tuple[Any, str]] = [
    (Any, "says nothing to the model"),
    (object, "says nothing to the model"),
    (None, "can only be None"),
    (int | str, "int | str, a union"),
    (Optional[int | str], "a union"),
    (list[int | str], "a union"),
    (tuple[int, str], "a tuple of different types"),
    (dict[int, str], "keys of int"),
    (complex, "the hint complex"),
    (bytes, "the hint bytes"),
    (Pair, "the hint Pair"),
    (T, "the type variable T"),
    (Mixed, "values of Mixed to be all texts"),
    (Nothing, "at least one"),
    (Literal["a", 1], "its values to be all texts"),
    (Literal[None], "at least one"),
    (Tree, "Tree contains itself"),
    (Odd, "field Odd.when has the hint complex"),
    (list[Odd], "field Odd.when has the hint complex"),
    (Lost, "'NotThere'"),
]

# hint, what the model sends, what it is told (of the parameter "value")
WRONG: list[tuple[Any, Any, str]] = [
    (str, 1.5, "value must be a text"),
    (str, None, "value is missing|value must be a text"),
    (int, "three", "value must be a whole number"),
    (int, 2.5, "value must be a whole number"),
    (int, True, "value must be a whole number"),
    (int, "9" * 50, "value must be a whole number"),
    (int, [], "value must be a whole number"),
    (float, "nan", "value must be a number"),
    (float, "x", "value must be a number"),
    (float, False, "value must be a number"),
    (bool, 1, "value must be true or false"),
    (bool, "yes", "value must be true or false"),
    (list[int], "12", "value must be a list"),
    (list[int], [1, "x"], r"value\[1\] must be a whole number"),
    (set[str], {"a": 1}, "value must be a list"),
    (tuple[float, float], [1], "value"),
    (dict[str, int], [], "value must be an object"),
    (dict[str, int], {"a": "x"}, r"value\.a must be a whole number"),
    (Colour, "green", "value must be one of 'red', 'blue'"),
    (Literal[1, 5], 2, "value must be one of 1, 5"),
    (Point, {}, r"value\.x is missing"),
    (Point, {"x": "east"}, r"value\.x must be a number"),
    (Point, {"x": 1, "z": 2}, r"there is no value\.z"),
    (Point, {"x": -1}, "value: x must not be negative"),
    (list[Point], [{"x": -1}], "x must not be negative"),
    (Order, {"place": {"x": 1}, "items": []}, "value: Length of 'items'"),
    (Filter, {"text": "t"}, r"value\.colour is missing"),
    (Filter, {"text": "t", "colour": "pink"}, r"value\.colour must be one of"),
    (Loose, {"b": "x"}, r"value\.a is missing"),
]

# hint, what models write all the same, what it is taken for
STRAIGHTENED: list[tuple[Any, Any, Any]] = [
    (int, "3", 3),
    (int, 3.0, 3),
    (int, " 3 ", 3),
    (float, "2.5", 2.5),
    (bool, "True", True),
    (bool, "false", False),
    (str, 1200, "1200"),
    (Size, "2", Size.LARGE),
    (list[int], ["1", 2.0], [1, 2]),
    (Point, {"x": "1", "seen": None, "y": None}, Point(1.0)),
]
