"""Options that several commands share, and which value wins: flag, then request file, then context, then default.

For where to connect and with which key: flag, ``-c NAME``, environment, current context, default.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

import dashscope_rt as rt

from . import _contexts, _request
from ._contexts import Context

_F = TypeVar("_F", bound=Callable[..., Any])
RECORDED = ("texts", "audio", "ids")
DEFAULT_MODEL = "qwen3.5-omni-flash-realtime"
_VADS: dict[str, Any] = {"server": "server_vad", "semantic": "semantic_vad", "off": None}
_VARIABLES = {
    "key": "DASHSCOPE_API_KEY",
    "region": "DASHSCOPE_REGION",
    "workspace": "DASHSCOPE_WORKSPACE",
    "url": "DASHSCOPE_REALTIME_URL",
}


@attrs.frozen(kw_only=True)
class Settings:
    """Where to connect, and as whom.

    Attributes:
        sources: Where each value comes from, for `config view` and `doctor`.
        problem: Why there is no key, when it was to come from somewhere.
    """

    key: str = attrs.field(default="", repr=lambda key: repr(_contexts.mask(key)))
    region: str = ""
    workspace: str = ""
    url: str = ""
    model: str = ""
    voice: str = ""
    ca_file: Path | None = None
    proxy: str | None = attrs.field(default=None, repr=False)
    sources: dict[str, str] = attrs.field(factory=dict)
    problem: str = ""

    def client(self, *, connect: float = 10.0, turn: float = 60.0) -> rt.RealtimeClient:
        """Make the client; it opens nothing.

        Raises:
            ValueError: A value that cannot be used.
        """
        return rt.RealtimeClient(
            self.key or _no_key,
            region=self.region or "cn-beijing",
            workspace=self.workspace or None,
            url=self.url or None,
            ca_file=self.ca_file,
            proxy=self.proxy,
            timeouts=rt.Timeouts(connect=connect, turn=turn),
            user_agent="dashscope-rt",
        )


def _no_key() -> str:
    raise rt.AuthenticationError(
        "there is no API key: no context has one and the environment variable DASHSCOPE_API_KEY is not set"
    )


def settings(
    config_path: Path | None = None,
    context: str | None = None,
    key: str | None = None,
    region: str | None = None,
    workspace: str | None = None,
    url: str | None = None,
    ca_file: Path | None = None,
    proxy: str | None = None,
    key_needed: bool = True,
    **_: Any,
) -> Settings:
    """Resolve what the options, the environment and the contexts say.

    Without ``key_needed`` a variable for the key that is not set is a `Settings.problem` and no error.

    Raises:
        click.UsageError: A context that does not exist, a key that is nowhere, two values that exclude each other.
    """
    path = config_path or _contexts.default_path()
    named = context or os.environ.get("DASHSCOPE_RT_CONTEXT") or ""
    contexts = _contexts.load(path)
    flags = Context(key=read_key(key) if key else "", region=region or "", workspace=workspace or "", url=url or "")
    environment = Context(**{name: os.environ.get(variable, "").strip() for name, variable in _VARIABLES.items()})
    layers: list[tuple[str, Context]] = [("option", flags)]
    if named:
        layers += [(f"context {named}", contexts.get(named, path)), ("environment", environment)]
    else:
        layers.append(("environment", environment))
        if contexts.current:
            layers.append((f"context {contexts.current}", contexts.get(contexts.current, path)))
    values: dict[str, str] = {}
    sources: dict[str, str] = {}
    problem = ""
    for source, layer in layers:
        for name in _contexts.FIELDS:
            # A region and a URL both say where to connect: the higher layer decides, whichever it gives.
            other = {"url": "region", "region": "url"}.get(name, "")
            if sources.get(other, source) != source:
                continue
            value = getattr(layer, name)
            if not value or name in sources:
                continue
            sources[name] = source
            try:
                values[name] = read_key(value) if name == "key" else value
            except click.UsageError as error:
                if key_needed:
                    raise
                problem = error.message
    if flags.url and flags.region:
        raise click.UsageError("--url and --region both say where to connect; give one")
    return Settings(**values, ca_file=ca_file, proxy=proxy, sources=sources, problem=problem)


def read_key(given: str) -> str:
    """Read an API key: ``env:NAME``, ``-`` for the first line of stdin, or (from a file of contexts) the key itself.

    Raises:
        click.UsageError: The variable is not set, or stdin holds nothing.
    """
    if given == "-":
        line = sys.stdin.readline().strip()
        if not line:
            raise click.UsageError("no API key came on stdin")
        return line
    if not given.startswith("env:"):
        return given
    name = given.removeprefix("env:")
    value = os.environ.get(name, "").strip()
    if not value:
        raise click.UsageError(f"the API key is to come from the environment variable {name}, which is not set")
    return value


def check_key_option(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Callback of ``--key``: a key itself on the command line can be read by everybody on the machine."""
    if value and value != "-" and not value.startswith("env:"):
        raise click.BadParameter(
            "give env:NAME, or - to read it from stdin: a key on the command line can be seen by everybody here"
        )
    return value


# ---- decorators ---------------------------------------------------------------------------------------------------


def _stacked(options: list[Callable[[Any], Any]]) -> Callable[[_F], _F]:
    return lambda command: functools.reduce(lambda inner, option: option(inner), reversed(options), command)


_PATH = click.Path(path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def debug_option(command: _F) -> _F:
    """``--debug``, kept on the context's object for `main`."""

    def remember(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value:
            context.find_root().meta["dashscope_rt.debug"] = True

    return click.option(
        "--debug", is_flag=True, expose_value=False, callback=remember, is_eager=True,
        help="Log what happens, and show tracebacks.",
    )(command)  # fmt: skip


def _context_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    try:
        contexts = _contexts.load(context.params.get("config_path") or _contexts.default_path())
    except click.ClickException:
        return []
    return [name for name in sorted(contexts.by_name) if name.startswith(incomplete)]


def _model_names(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in rt.MODELS if name.startswith(incomplete)]


config_option = click.option(
    "--config", "config_path", type=_PATH, help=f"The file of contexts ({_contexts.PATH_VARIABLE} does the same)."
)

connection_options = _stacked(
    [
        click.option("-c", "--context", shell_complete=_context_names, help="The context to use."),
        config_option,
        click.option("--key", metavar="SOURCE", callback=check_key_option, help="The API key: env:NAME, or - (stdin)."),
        click.option("--region", type=click.Choice(list(rt.REGIONS)), help="Where the key is from."),
        click.option("--workspace", help="Workspace id."),
        click.option("--url", help="Another endpoint, for example the emulator's."),
        click.option("--ca-file", type=_FILE, help="A CA to trust besides the system's."),
        click.option("--proxy", help='Proxy URL; "" for none.'),
        debug_option,
    ]
)

session_options = _stacked(
    [
        click.option("-f", "--file", "request_file", type=_FILE, help="Request file, YAML or JSON; flags win over it."),
        click.option("-m", "--model", shell_complete=_model_names, help=f"Model; default {DEFAULT_MODEL}."),
        click.option("--voice", help="The model's voice, see: dashscope-rt voices."),
        click.option("--instructions", help="The system message."),
        click.option("--vad", type=click.Choice(list(_VADS)), help="Who finds the turns: the service, or you (off)."),
        click.option("--allow-unsupported", is_flag=True, help="Send also what the model is known not to take."),
        click.option("--timeout", type=click.FloatRange(0.1), default=60.0, show_default=True, help="Seconds a turn."),
        click.option("--tool", "programs", multiple=True, metavar="NAME=COMMAND",
                     help="A program for a function of the request file: JSON arguments on stdin, result on stdout."),
        click.option("--tools", "tool_files", multiple=True, type=_FILE,
                     help="A Python file whose functions the model may call."),
        click.option("--record", type=_PATH, help="Record the session into this file."),
        click.option("--record-without", "left_out", multiple=True, type=click.Choice(RECORDED),
                     help="What the recording leaves out: dots for texts, lengths of sound, numbers for identifiers."),
    ]
)  # fmt: skip


def request_of(
    chosen: Settings,
    *,
    request_file: Path | None,
    model: str | None,
    voice: str | None,
    instructions: str | None,
    vad: str | None,
    defaults: rt.SessionConfig | None = None,
    **_: Any,
) -> _request.Request:
    """Lay the flags over the request file over the context over the defaults.

    Raises:
        click.UsageError: The file holds what it may not.
        ValueError: A flag's value is out of range.
    """
    asked = _request.load(request_file) if request_file is not None else _request.Request()
    config = defaults or rt.SessionConfig()
    if chosen.voice:
        config = rt.config.merge(config, voice=chosen.voice)
    config = rt.config.merge(config, asked.config)
    flags: dict[str, Any] = {"voice": voice, "instructions": instructions}
    config = rt.config.merge(config, **{name: value for name, value in flags.items() if value is not None})
    if vad is not None:
        config = rt.config.merge(config, turn_detection=_VADS[vad])
    return attrs.evolve(asked, model=model or asked.model or chosen.model or DEFAULT_MODEL, config=config)
