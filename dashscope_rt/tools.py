"""Functions the model may call: `Tool` makes the schema of a signature, and takes the arguments the model sends.

    function -> hints, docstring -> Shape -> schema          when it is registered
    arguments -> Shape.fit -> cattrs -> function -> text     on a thread of the session's own, for every call

A function is given to ``client.session(tools=[…])`` or decorated with ``@session.tool``; who runs it, and when, is
written in `_session.calling`.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import attrs

from ._tools import docstring, results
from ._tools.arguments import structure
from ._tools.shapes import Field, HintError, Shape, resolve, said_in, shape_of
from .config import UNSET, FunctionTool
from .responses import FunctionCall

__all__ = ["Tool", "ToolFailure", "ToolPolicy"]

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


@attrs.frozen(kw_only=True)
class ToolPolicy:
    """How the session runs tools.

    Attributes:
        timeout: Seconds until a call counts as failed and the model is told so; None waits for ever. A function cannot
            be stopped from outside: it runs on, its result is dropped and reported.
        max_calls: Calls of one turn, that is, since the user last said something. Calls beyond it are refused, and when
            the model goes on calling all the same, it is not answered any more.

    Raises:
        ValueError: Not a number greater than 0.
    """

    timeout: float | None = 30.0
    max_calls: int = 16

    def __attrs_post_init__(self) -> None:
        check_timeout(self.timeout, "ToolPolicy.timeout")
        if isinstance(self.max_calls, bool) or not isinstance(self.max_calls, int) or self.max_calls < 1:
            raise ValueError("ToolPolicy.max_calls must be a whole number of at least 1")


def check_timeout(seconds: object, name: str) -> None:
    """Refuse what is no time.

    Raises:
        ValueError: Not None and not a number greater than 0.
    """
    number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if seconds is not None and not (number and 0 < seconds < float("inf")):  # type: ignore[operator]
        raise ValueError(f"{name} must be a number of seconds greater than 0, or None")


@attrs.frozen(kw_only=True)
class ToolFailure:
    """A call that did not go as it should; what ``on_tool_error`` gets.

    Attributes:
        kind: ``raised`` (the function raised `error`), ``timeout``, ``arguments`` (they do not fit, nothing was
            called), ``result`` (it cannot be written as JSON), ``unknown`` (there is no such function), ``limit``
            (`ToolPolicy.max_calls`, or too many calls that never ended), or ``late``: the result came when nobody
            waited for it any more, because the user had gone on to something else, the connection was replaced, or
            the session had ended.
        call: The call.
        told: What the model was told instead of a result; "" if nothing.
        error: The exception, where there is one.
        output: The result that was dropped, as text, where there is one.
    """

    kind: Literal["raised", "timeout", "arguments", "result", "unknown", "limit", "late"]
    call: FunctionCall
    told: str = attrs.field(default="", repr=lambda text: f"<{len(text)} chars>")
    error: BaseException | None = attrs.field(default=None, repr=lambda error: type(error).__name__)
    output: str | None = attrs.field(default=None, repr=lambda text: "None" if text is None else f"<{len(text)} chars>")


class ArgumentsError(ValueError):
    """The model's arguments do not fit; the text is for the model and quotes no value."""


class ResultError(TypeError):
    """What the function returned cannot be written as JSON."""


class Tool:
    """A Python function with what the model is told about it.

    The hints may be ``str``, ``int``, ``float``, ``bool``, ``Enum``, ``Literal``, ``list`` (also ``tuple[T, ...]``,
    ``set``, ``Sequence``), ``dict[str, T]``, ``Optional``, ``TypedDict``, dataclasses and attrs classes, in each other;
    ``Annotated[T, "what it is for"]`` describes a parameter, and so does the ``Args`` section of a Google-style
    docstring. Parameters with a default may be left out, and so may Optional ones.

    Args:
        function: An ordinary function, method or callable object; neither a coroutine function nor a class.
        name: What the model calls it by; None takes the function's own.
        description: What it does and when to call it; None takes the docstring up to its first section.
        parameters: A JSON Schema of your own, of an object; the arguments are then passed as they come, by name,
            without a look at hints.
        timeout: Seconds for one call; None takes `ToolPolicy.timeout`.

    Attributes:
        name: What the model calls it by.
        description: What the model is told it does; "" for nothing.
        parameters: JSON Schema of an object.
        function: The function.
        timeout: Seconds for one call, or None.

    Raises:
        TypeError: It cannot be called, or a parameter has a hint that no schema can be made of; the message names both.
        ValueError: The name is none the service takes, or the schema is none of an object.
    """

    def __init__(
        self,
        function: Callable[..., object],
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> None:
        own = _own_name(function)
        _check_function(function, own)
        check_timeout(timeout, f"{own}: timeout")
        docs = docstring.read(_docstring(function))
        self.function = function
        self.name = own if name is None else name
        if not isinstance(self.name, str) or not _NAME.match(self.name):
            raise ValueError(
                f"{self.name!r} is no name the service takes: 1 to 64 letters, digits, '_' or '-'; give one with name="
            )
        self.description = docs.text if description is None else description
        self.timeout = timeout
        self._signature = _signature(function, own)
        self._hints: dict[str, Any] = {}
        self._shape: Shape | None = None
        if parameters is not None:
            self.parameters = _checked_schema(parameters, self.name)
        else:
            self._shape = self._read_signature(own, docs)
            self.parameters = self._shape.schema()

    def _read_signature(self, own: str, docs: docstring.Docs) -> Shape:
        try:
            hints = resolve(_hinted(self.function), f"{own}()")
        except HintError as error:
            raise TypeError(str(error)) from None
        fields: dict[str, Field] = {}
        for name, parameter in self._signature.parameters.items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise TypeError(
                    f"{own}(): {parameter} is no parameter a model can fill; name the parameters, or give parameters="
                )
            if name not in hints:
                raise TypeError(f"{own}(): the parameter {name!r} has no type hint; write for example {name}: str")
            try:
                shape = shape_of(hints[name])
            except HintError as error:
                raise TypeError(f"{own}(): the parameter {name!r} {error}") from None
            shape.description = said_in(hints[name]) or docs.arguments.get(name, "") or shape.description
            optional = parameter.default is not parameter.empty
            fill = shape.nullable and not optional
            fields[name] = Field(shape, required=not optional and not fill, fill=fill)
            self._hints[name] = hints[name]
        return Shape("object", fields=fields)

    @property
    def config(self) -> FunctionTool:
        """What ``session.update`` sends of it."""
        return FunctionTool(name=self.name, description=self.description or UNSET, parameters=self.parameters)

    def call(self, arguments: Mapping[str, Any]) -> str:
        """Call the function with a model's arguments, on this thread, and return its result as text.

        A str is returned as it is, anything else as JSON; dataclasses and attrs classes become objects.

        Raises:
            ValueError: The arguments do not fit; the message says what is wrong with which, and quotes none of them.
            TypeError: The result cannot be written as JSON.
            Exception: Whatever the function raises.
        """
        bound = self._bind(arguments)
        value = self.function(*bound.args, **bound.kwargs)
        try:
            return results.as_text(value)
        except (TypeError, ValueError) as error:
            raise ResultError(f"the result of {self.name} cannot be sent to the model: {error}") from error

    def _bind(self, arguments: Mapping[str, Any]) -> inspect.BoundArguments:
        given = dict(arguments)
        if self._shape is not None:
            problems: list[str] = []
            given = self._shape.fit(given, "", problems)
            if not problems:
                given = {name: structure(value, self._hints[name], name, problems) for name, value in given.items()}
            if problems:
                raise ArgumentsError("; ".join(problems[:8]))
        parameters = self._signature.parameters.values()
        first = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY]
        args = []
        for name in first:
            if name not in given:  # positional-only ones after it must keep their defaults too
                break
            args.append(given.pop(name))
        try:
            return self._signature.bind(*args, **given)
        except TypeError as error:  # a schema of the user's own, that promises what the function does not have
            raise ArgumentsError(str(error)) from None

    def __repr__(self) -> str:
        return f"Tool({self.name}({', '.join(self.parameters.get('properties') or ())}))"


def divided(given: object) -> tuple[list[Any], list[Tool]]:
    """Split what ``tools=`` was given: what the service is told of each, and the functions among them.

    Raises:
        TypeError, ValueError: As `Tool` does, and for two functions of one name.
    """
    if not isinstance(given, Iterable) or isinstance(given, (str, Mapping)):
        raise TypeError(f"tools= takes a list of functions, Tool, FunctionTool, McpTool or dicts, not {_kind(given)}")
    told: list[Any] = []
    functions: list[Tool] = []
    for item in given:
        tool = item if isinstance(item, Tool) else Tool(item) if _is_function(item) else None
        if tool is None:
            told.append(item)
            continue
        if any(tool.name == other.name for other in functions):
            raise ValueError(f"tools= holds two functions of the name {tool.name!r}; give one of them another name=")
        functions.append(tool)
        told.append(tool.config)
    return told, functions


def named(tool: object) -> str:
    """Return the name of a function tool in any spelling; "" for anything else."""
    if isinstance(tool, FunctionTool):
        return tool.name
    inner = tool.get("function", tool) if isinstance(tool, Mapping) else None
    name = inner.get("name") if isinstance(inner, Mapping) else None
    return name if isinstance(name, str) else ""


def _kind(thing: object) -> str:
    return "a function" if _is_function(thing) else f"a {type(thing).__name__}"


def _is_function(item: object) -> bool:
    return callable(item) and not isinstance(item, Mapping)


def _unwrapped(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _own_name(function: Any) -> str:
    inner = _unwrapped(function)
    return getattr(inner, "__name__", None) or type(inner).__name__


def _hinted(function: Any) -> Any:
    inner = inspect.unwrap(_unwrapped(function))
    return inner if inspect.isroutine(inner) else type(inner).__call__


def _docstring(function: Any) -> str | None:
    inner = _unwrapped(function)
    if inspect.isroutine(inner):
        return inspect.getdoc(inner)
    return inspect.getdoc(type(inner).__call__) or inspect.getdoc(inner)


def _check_function(function: Any, own: str) -> None:
    if not callable(function):
        raise TypeError(f"a tool needs a function, not {type(function).__name__}")
    if isinstance(function, type):
        raise TypeError(f"{own} is a class; a tool is a function: write one that makes what you want")
    inner = _hinted(function)
    if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
        raise TypeError(
            f"{own}() is a coroutine function: tools run on threads, not in an event loop; use a plain function that"
            " calls asyncio.run_coroutine_threadsafe(…).result()"
        )
    if inspect.isgeneratorfunction(inner):
        raise TypeError(f"{own}() is a generator function; a tool returns its result whole")


def _signature(function: Any, own: str) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        raise TypeError(f"{own}() does not tell its parameters; write a function around it") from None


def _checked_schema(schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(schema, Mapping) or schema.get("type") != "object":
        raise ValueError(f'{name}: parameters must be a JSON Schema of an object, {{"type": "object", …}}')
    try:
        whole: dict[str, Any] = json.loads(json.dumps(schema, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name}: parameters must be JSON: {error}") from None
    return whole
