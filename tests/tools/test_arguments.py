"""From what the model sends to what the function gets, and back to text."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import json
import math
import pathlib
import subprocess
import sys
import uuid
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashscope_rt import Tool
from dashscope_rt.tools import ArgumentsError
from tests.tools.kinds import HINTS, STRAIGHTENED, WRONG, Colour, Point, Size
from tests.tools.test_schema import taking


def given_to(hint: Any, value: Any, **default: Any) -> Any:
    """What a function of this hint gets when the model sends this value."""
    got: list[Any] = []
    function = taking(hint, **default)

    def keep(value: Any) -> None:
        got.append(value)

    keep.__annotations__, keep.__signature__ = function.__annotations__, function.__signature__  # type: ignore[attr-defined]
    Tool(keep).call({"value": value})
    return got[0]


@pytest.mark.parametrize(("hint", "sent", "got"), [(row[0], row[2], row[3]) for row in HINTS], ids=str)
def test_every_hint_gets_its_own_type(hint: Any, sent: Any, got: Any) -> None:
    value = given_to(hint, json.loads(json.dumps(sent)))
    assert value == got or list(value) == list(got)
    assert type(value) is type(got) or isinstance(value, (list, tuple))


@pytest.mark.parametrize(("hint", "sent", "got"), STRAIGHTENED, ids=str)
def test_what_models_write_beside_the_schema_is_taken_where_it_is_clear(hint: Any, sent: Any, got: Any) -> None:
    value = given_to(hint, sent)
    assert value == got
    assert type(value) is type(got)


@pytest.mark.parametrize(("hint", "sent", "told"), WRONG, ids=str)
def test_what_does_not_fit_is_told_with_its_place(hint: Any, sent: Any, told: str) -> None:
    with pytest.raises(ArgumentsError, match=told) as caught:
        given_to(hint, sent)
    assert "\n" not in str(caught.value)


@given(
    hint=st.sampled_from([row[0] for row in HINTS]),
    sent=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("axy") | st.text(), inner, max_size=3)
        ),
        max_leaves=6,
    ),
)
def test_nothing_a_model_sends_gets_past_as_anything_but_an_arguments_error(hint: Any, sent: Any) -> None:
    try:
        given_to(hint, sent)
    except ArgumentsError as error:
        assert len(str(error)) < 4000


def several(a: int, b: str = "b", *, c: float | None = None, d: list[int] | None = None) -> Any:
    return [a, b, c, d]


@pytest.mark.parametrize(
    ("arguments", "got"),
    [
        ({"a": 1}, [1, "b", None, None]),
        ({"a": 1, "b": "x", "c": 2, "d": [3]}, [1, "x", 2.0, [3]]),
        ({"a": 1, "b": None, "c": None}, [1, "b", None, None]),
    ],
)
def test_defaults_stand_in_for_what_is_left_out_or_null(arguments: dict[str, Any], got: Any) -> None:
    assert json.loads(Tool(several).call(arguments)) == got


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ArgumentsError) as caught:
        Tool(several).call({"b": [], "c": "x", "e": 1})
    text = str(caught.value)
    assert text == "a is missing; b must be a text; c must be a number; there is no e"


def test_an_optional_without_a_default_is_none_when_left_out() -> None:
    def function(a: int | None, b: int) -> list[Any]:
        return [a, b]

    assert Tool(function).call({"b": 1}) == "[null, 1]"


def test_parameters_that_have_no_name_for_the_caller_work() -> None:
    def function(a: int, b: int = 2, /, c: int = 3) -> list[int]:
        return [a, b, c]

    assert Tool(function).call({"a": 1}) == "[1, 2, 3]"
    assert Tool(function).call({"a": 1, "b": 5, "c": 6}) == "[1, 5, 6]"


def test_with_a_schema_of_ones_own_the_arguments_come_as_they_are() -> None:
    def function(**values: Any) -> Any:
        return values

    tool = Tool(function, parameters={"type": "object", "properties": {"a": {"type": ["string", "null"]}}})
    assert json.loads(tool.call({"a": None, "b": {"c": [1]}})) == {"a": None, "b": {"c": [1]}}


def test_a_schema_that_promises_what_the_function_lacks_is_an_arguments_error() -> None:
    with pytest.raises(ArgumentsError):
        Tool(several, parameters={"type": "object"}).call({"nothing": 1})


def test_problems_quote_none_of_the_values() -> None:
    """They are logged nowhere, and still: what people said is in them."""
    with pytest.raises(ArgumentsError) as caught:
        Tool(several).call({"a": "my secret", "c": "another secret"})
    assert "secret" not in str(caught.value)


# ---- results ------------------------------------------------------------------------------------------------------


@attrs.define
class Inner:
    point: Point
    at: dt.date


@dataclasses.dataclass
class Outer:
    inner: Inner
    tags: set[str]


def returning(value: Any) -> str:
    return Tool(lambda: value, name="f").call({})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        (None, "null"),
        (7, "7"),
        (2.5, "2.5"),
        (True, "true"),
        ([1, "ü", None], '[1, "ü", null]'),
        ((1, 2), "[1, 2]"),
        ({"a": {"b": 1}}, '{"a": {"b": 1}}'),
        (Colour.RED, "red"),
        (Size.LARGE, "2"),
        ({"c": Colour.RED}, '{"c": "red"}'),
        (Point(1.0), '{"x": 1.0, "y": 0.0, "label": null, "seen": [], "hidden": 7}'),
        (
            Outer(Inner(Point(1.0), dt.date(2026, 11, 22)), {"a"}),
            (
                '{"inner": {"point": {"x": 1.0, "y": 0.0, "label": null, "seen": [], "hidden": 7}, "at": "2026-11-22"},'
                ' "tags": ["a"]}'
            ),
        ),
        (dt.datetime(2026, 11, 22, 8, 30), '"2026-11-22T08:30:00"'),  # noqa: DTZ001
        (decimal.Decimal("1.10"), '"1.10"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (pathlib.PurePosixPath("a/b"), '"a/b"'),
    ],
    ids=str,
)
def test_a_result_is_text_as_it_is_or_json(value: Any, text: str) -> None:
    assert returning(value) == text


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize("value", [object(), {1j}, {(1, 2): 3}, math.nan, [math.inf], LOOP, b"bytes"], ids=repr)
def test_a_result_that_is_no_json_is_a_type_error_of_the_tool(value: Any) -> None:
    with pytest.raises(TypeError, match="the result of f cannot be sent"):
        returning(value)


def test_what_the_function_raises_comes_through() -> None:
    def function() -> None:
        raise LookupError("no such city")

    with pytest.raises(LookupError, match="no such city"):
        Tool(function).call({})


def test_the_library_that_structures_is_loaded_by_the_first_call_only() -> None:
    code = (
        "import sys\nfrom dashscope_rt import Tool\ndef f(a: int) -> int: return a\n"
        "tool = Tool(f)\nprint('cattrs' in sys.modules)\ntool.call({'a': 1})\nprint('cattrs' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
