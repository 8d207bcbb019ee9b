"""From a function to what the model is told of it."""

from __future__ import annotations

import functools
import inspect
import json
import sys
import typing
from typing import Annotated, Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashscope_rt import FunctionTool, Tool
from dashscope_rt.testing import Emulator
from tests.client.wire import client_for
from tests.tools import kinds
from tests.tools.kinds import HINTS, POINT, REFUSED


def taking(hint: Any, **default: Any) -> Any:
    """A function of one parameter, ``value``."""

    def function(value: Any) -> Any:
        return value

    parameter = inspect.Parameter("value", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=hint, **default)
    function.__annotations__ = {"value": hint}
    function.__signature__ = inspect.Signature([parameter])  # type: ignore[attr-defined]
    return function


def schema(function: Any) -> dict[str, Any]:
    return dict(Tool(function).parameters)


@pytest.mark.parametrize(("hint", "expected"), [(row[0], row[1]) for row in HINTS], ids=str)
def test_every_hint_has_the_schema_of_the_table(hint: Any, expected: dict[str, Any]) -> None:
    assert schema(taking(hint))["properties"]["value"] == expected


def nullable(hint: Any) -> bool:
    inner = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    return type(None) in typing.get_args(inner) or None in typing.get_args(inner)


@pytest.mark.parametrize("hint", [row[0] for row in HINTS], ids=str)
def test_what_may_be_none_is_not_required_and_everything_else_is(hint: Any) -> None:
    assert schema(taking(hint))["required"] == ([] if nullable(hint) else ["value"])
    assert schema(taking(hint, default=None))["required"] == []


@pytest.mark.parametrize(("hint", "clause"), REFUSED, ids=str)
def test_a_hint_without_a_schema_is_one_sentence_with_function_and_parameter(hint: Any, clause: str) -> None:
    with pytest.raises(TypeError) as caught:
        Tool(taking(hint))
    text = str(caught.value)
    assert text.startswith("function(): the parameter 'value' ")
    assert clause in text
    assert "\n" not in text


ALLOWED = {"type", "description", "enum", "items", "properties", "required"}


def inside(schema: dict[str, Any]) -> None:
    """Nothing the service was seen to refuse: no unions, no additionalProperties, no null in an enum, no references."""
    assert set(schema) <= ALLOWED
    assert isinstance(schema["type"], str)
    assert None not in schema.get("enum", ())
    assert len({type(value) for value in schema.get("enum", ())}) <= 1
    for inner in schema.get("properties", {}).values():
        inside(inner)
    assert set(schema.get("required", ())) <= set(schema.get("properties", {}))
    if "items" in schema:
        inside(schema["items"])


@pytest.mark.parametrize("hint", [row[0] for row in HINTS], ids=str)
def test_every_schema_stays_inside_what_the_service_takes(hint: Any) -> None:
    made = schema(taking(hint))
    inside(made)
    assert json.loads(json.dumps(made)) == made


leaves = st.sampled_from([row[0] for row in HINTS])
hints = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(lambda hint: list[hint]),  # type: ignore[valid-type]
        inner.map(lambda hint: dict[str, hint]),  # type: ignore[valid-type]
        inner.map(lambda hint: Optional[hint]),  # noqa: UP045
        inner.map(lambda hint: tuple[hint, ...]),  # type: ignore[valid-type]
        inner.map(lambda hint: Annotated[hint, "what it is"]),
    ),
    max_leaves=6,
)


@given(hint=hints)
def test_whatever_is_put_together_stays_inside_too(hint: Any) -> None:
    inside(schema(taking(hint)))


def test_the_emulator_takes_every_schema_of_the_table() -> None:
    with Emulator(answer=[]) as emulator:
        functions = [Tool(taking(row[0]), name=f"f{number}") for number, row in enumerate(HINTS)]
        with client_for(emulator.url, "sk-test").session(tools=functions, turn_detection=None):
            sent = emulator.wait_for("session.update").event["session"]["tools"]
        emulator.check()
    assert [tool["type"] for tool in sent] == ["function"] * len(HINTS)
    assert [tool["function"]["name"] for tool in sent] == [tool.name for tool in functions]


# ---- names and descriptions ---------------------------------------------------------------------------------------


def weather(
    city: Annotated[str, "The city's English name."],
    days: int = 1,
    place: kinds.Point | None = None,
    *,
    unit: kinds.Colour = kinds.Colour.RED,
) -> dict[str, Any]:
    """Tell the weather.

    Only of cities
    that exist.

    Args:
        city: Not this, the hint says it.
        days (int, optional): How many days,
            today included: 1 to 7.
        unit: Which one
        elsewhere: No such parameter.

    Returns:
        What it will be.

    Raises:
        ValueError: There is no such city.
    """
    return {"city": city, "days": days}


def test_the_whole_of_a_function() -> None:
    tool = Tool(weather)
    assert tool.name == "weather"
    assert tool.description == "Tell the weather.\nOnly of cities that exist."
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "The city's English name."},
            "days": {"type": "integer", "description": "How many days, today included: 1 to 7."},
            "place": POINT,
            "unit": {"type": "string", "description": "Which one", "enum": ["red", "blue"]},
        },
        "required": ["city"],
    }


def test_what_is_given_wins_over_what_the_function_says() -> None:
    tool = Tool(weather, name="get-weather", description="Short.", parameters={"type": "object"}, timeout=3)
    assert (tool.name, tool.description, tool.parameters, tool.timeout) == (
        "get-weather",
        "Short.",
        {"type": "object"},
        3,
    )


def test_the_nested_form_goes_to_the_service() -> None:
    config = Tool(weather).config
    assert isinstance(config, FunctionTool)
    assert (config.name, config.parameters) == ("weather", Tool(weather).parameters)


def test_a_function_without_a_docstring_has_no_description() -> None:
    def bare() -> None: ...

    tool = Tool(bare)
    assert tool.description == ""
    assert tool.parameters == {"type": "object", "properties": {}, "required": []}
    assert not tool.config.description


def test_a_docstring_of_another_style_is_all_description() -> None:
    def other(a: int) -> None:
        """Do it.

        :param a: something
        """

    assert Tool(other).description == "Do it.\n:param a: something"


class Service:
    """Something with methods."""

    def look_up(self, key: str) -> str:
        """Look it up."""
        return f"<{key}>"

    def __call__(self, key: str) -> str:
        """Call it."""
        return key

    @classmethod
    def of_class(cls, key: str) -> str:
        return key

    @staticmethod
    def of_none(key: str) -> str:
        return key


def decorated(function: Any) -> Any:
    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


@pytest.mark.parametrize(
    ("function", "name", "description"),
    [
        (Service().look_up, "look_up", "Look it up."),
        (Service(), "Service", "Call it."),
        (Service.of_class, "of_class", ""),
        (Service.of_none, "of_none", ""),
        (functools.partial(Service().look_up), "look_up", "Look it up."),
        (decorated(Service().look_up), "look_up", "Look it up."),
    ],
)
def test_everything_that_can_be_called_is_a_tool(function: Any, name: str, description: str) -> None:
    tool = Tool(function)
    assert (tool.name, tool.description) == (name, description)
    assert list(tool.parameters["properties"]) == ["key"]
    assert "k" in tool.call({"key": "k"})


async def waits(a: int) -> None: ...


def yields(a: int) -> Any:
    yield a


def any_number(*values: int) -> None: ...


def any_names(**values: int) -> None: ...


def unhinted(a) -> None: ...  # type: ignore[no-untyped-def]


def nowhere(a: NotThere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (waits, "waits() is a coroutine function"),
        (yields, "yields() is a generator function"),
        (any_number, "any_number(): *values: "),
        (any_names, "any_names(): **values: "),
        (unhinted, "unhinted(): the parameter 'a' has no type hint; write for example a: str"),
        (nowhere, "the type hints of nowhere() name 'NotThere'"),
        (kinds.Point, "Point is a class"),
        (7, "a tool needs a function, not int"),
    ],
)
def test_what_is_no_tool_is_refused_with_its_name(function: Any, text: str) -> None:
    with pytest.raises(TypeError) as caught:
        Tool(function)
    assert text in str(caught.value)


@pytest.mark.parametrize("name", ["", "has blank", "a" * 65, "天气", "a.b"])
def test_a_name_the_service_does_not_take_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no name the service takes"):
        Tool(weather, name=name)


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(ValueError, match="name="):
        Tool(lambda: 1)
    assert Tool(lambda: 1, name="one").call({}) == "1"


@pytest.mark.parametrize(
    "schema", [{}, {"type": "array"}, {"type": "object", "x": {1}}, {"type": "object", "x": float("nan")}, "x"]
)
def test_a_schema_of_ones_own_must_be_json_of_an_object(schema: Any) -> None:
    with pytest.raises(ValueError, match="parameters must be"):
        Tool(weather, parameters=schema)


@pytest.mark.parametrize("timeout", [0, -1, "1", True, float("inf"), float("nan")])
def test_a_timeout_is_a_number_of_seconds(timeout: Any) -> None:
    with pytest.raises(ValueError, match="timeout must be"):
        Tool(weather, timeout=timeout)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement")
def test_a_type_alias_is_what_it_stands_for() -> None:
    names: dict[str, Any] = {}
    exec("type Names = list[str]", names)
    assert schema(taking(names["Names"]))["properties"]["value"] == {"type": "array", "items": {"type": "string"}}
