"""Functions the model may call: programs, Python functions from a file, or the person who sits at the prompt.

--tool weather="python weather.py"     the request file declares `weather`; the program gets the arguments as JSON on
                                       stdin, and what it writes on stdout is the result
--tools my_tools.py                    every public function of the file, described by its hints and its docstring
"""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import click

import dashscope_rt as rt

from ._contexts import nearest

_PROGRAM_S = 30.0
_MOST_BYTES = 64 * 1024  # of a result: the model has to read it
_FOR_EVER = 24 * 3600.0  # s; a person takes the time a person takes
_ANYTHING: Mapping[str, Any] = {"type": "object", "properties": {}}
NO_RESULT = "Error: the user gave no result."


def tools_of(
    config: rt.SessionConfig, programs: Sequence[str], files: Sequence[Path], desk: Desk | None = None
) -> list[Any] | None:
    """Return what the session's ``tools=`` is to be; None when the request file says it all.

    Args:
        config: Its tools are those that the request file declares.
        programs: ``NAME=COMMAND``, each.
        files: Python files.
        desk: Where calls of what is declared and has no program go; None leaves them to nobody.

    Raises:
        click.UsageError: A program that is not there, a name that nobody declares, a file that cannot be loaded.
    """
    declared = list(config.tools) if isinstance(config.tools, tuple) else []
    names = [tool.name for tool in declared if isinstance(tool, rt.FunctionTool)]
    commands = dict(_command(given, names) for given in programs)
    if not commands and not files and (desk is None or not names):
        return None
    found: list[Any] = []
    functions = [function for file in files for function in _functions(file)]
    here = {function.name for function in functions}  # they take the place of what is declared by the same name
    for tool in declared:
        if isinstance(tool, rt.FunctionTool) and tool.name in here:
            continue
        if isinstance(tool, rt.FunctionTool) and tool.name in commands:
            found.append(_answered_by(tool, _program(commands[tool.name]), _PROGRAM_S + 5))
        elif isinstance(tool, rt.FunctionTool) and desk is not None:
            desk.names.add(tool.name)
            found.append(_answered_by(tool, _asking(desk, tool.name), _FOR_EVER))
        else:
            found.append(tool)
    return found + functions


def _answered_by(tool: rt.FunctionTool, function: Callable[..., str], timeout: float) -> rt.Tool:
    return rt.Tool(
        function,
        name=tool.name,
        description=tool.description if isinstance(tool.description, str) else "",
        parameters=tool.parameters if isinstance(tool.parameters, Mapping) else _ANYTHING,
        timeout=timeout,
    )


def _asking(desk: Desk, name: str) -> Callable[..., str]:
    return lambda **arguments: desk.ask(name, arguments)


# ---- programs -----------------------------------------------------------------------------------------------------


def _command(given: str, names: Sequence[str]) -> tuple[str, list[str]]:
    name, equals, command = given.partition("=")
    name = name.strip()
    try:
        words = shlex.split(command, posix=os.name == "posix")
    except ValueError as error:
        raise click.UsageError(f"--tool {name}: {error}") from None
    if not equals or not words:
        raise click.UsageError(f"--tool wants NAME=COMMAND, not {given!r}")
    if name not in names:
        declared = nearest(name, names) if names else "a request file (-f) declares functions, under tools"
        raise click.UsageError(f"--tool {name}: no function of this name is declared; {declared}")
    program = shutil.which(words[0])
    if program is None:
        raise click.UsageError(f"--tool {name}: there is no program {words[0]!r}")
    return name, [program, *words[1:]]


def _program(words: list[str]) -> Callable[..., str]:
    name = Path(words[0]).name

    def run(**arguments: Any) -> str:
        # No shell: what the model writes reaches the program on stdin and nowhere else.
        question = json.dumps(arguments, ensure_ascii=False).encode("utf-8", "replace")
        try:
            done = subprocess.run(  # noqa: S603 — the user's own words
                words, check=False, input=question, capture_output=True, timeout=_PROGRAM_S
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{name} took longer than {_PROGRAM_S:g} s") from None
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise RuntimeError(f"{name} ended with exit code {done.returncode}" + (f": {said}" if said else ""))
        if len(done.stdout) > _MOST_BYTES:
            raise RuntimeError(f"{name} wrote {len(done.stdout):,} bytes, and a result has at most {_MOST_BYTES:,}")
        return done.stdout.decode("utf-8", "replace").strip()

    return run


# ---- Python files -------------------------------------------------------------------------------------------------


def _functions(file: Path) -> list[rt.Tool]:
    module = _load(file)
    named = getattr(module, "__all__", None)
    if named is None:
        named = [name for name, value in vars(module).items() if not name.startswith("_") and _is_own(value, module)]
    try:
        tools = [rt.Tool(getattr(module, name)) for name in named]
    except (TypeError, ValueError, AttributeError) as error:
        raise click.UsageError(f"--tools {file}: {error}") from None
    if not tools:
        raise click.UsageError(f"--tools {file}: there is no public function in it")
    return tools


def _is_own(value: Any, module: ModuleType) -> bool:
    return callable(value) and not isinstance(value, type) and getattr(value, "__module__", "") == module.__name__


def _load(file: Path) -> ModuleType:
    name = f"dashscope_rt_tools_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise click.UsageError(f"--tools {file}: not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look for their module there
    sys.path.insert(0, str(file.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise click.UsageError(f"--tools {file} cannot be loaded: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(file.resolve().parent))
    return module


# ---- what is shown ------------------------------------------------------------------------------------------------


def as_call(name: str, arguments: str) -> str:
    """A call, for people."""
    return f"the model calls {name}({arguments.strip()})"


def tell_calls(session: rt.RealtimeSession, say: Callable[[str], None], *, but: Collection[str] = ()) -> None:
    """Have every call and every result said, in one line each; callbacks run on the session's reader thread.

    Args:
        session: Not opened yet.
        say: Gets the line.
        but: Functions whose calls are shown elsewhere.
    """

    def called(event: Any) -> None:
        if event.name not in but:
            say(as_call(event.name or "", event.arguments or ""))

    def answered(sent: rt.Sent) -> None:
        if sent.type == "conversation.item.create":
            item = sent.event.get("item") or {}
            if item.get("type") == "function_call_output":
                say(f"→ {' '.join(str(item.get('output')).split())}")

    session.on("response.function_call_arguments.done")(called)
    session.on_sent(answered)


# ---- a person -----------------------------------------------------------------------------------------------------


@attrs.frozen
class Question:
    """A call that a person is to answer.

    Attributes:
        name: The function's.
        arguments: What it is called with.
        answers: Where the answer goes.
    """

    name: str
    arguments: Mapping[str, Any]
    answers: queue.SimpleQueue[str | None] = attrs.field(factory=queue.SimpleQueue)


class Desk:
    """Where calls wait for the person: `ask` runs on the tools' threads, the prompt's thread takes what is put.

    Attributes:
        inbox: Questions, and whatever else the prompt's thread waits for.
        names: The functions that come here.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Put a call before the person and wait for what is typed."""
        question = Question(name, arguments)
        self.inbox.put(question)
        return question.answers.get() or NO_RESULT
