"""``config``: contexts, made, chosen, shown and taken over."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import click
import yaml
from rich.table import Table
from rich.text import Text

import dashscope_rt as rt

from . import _contexts
from ._contexts import Context, Contexts, check_name, load, locked, mask, save
from ._options import check_key_option, config_option, debug_option, read_key, settings
from ._output import is_terminal, json_line, note, print_table


@click.group()
def config() -> None:
    """Contexts: a name for a key, a region, a workspace, a URL, a default model and voice.

    \b
    Examples:
      dashscope-rt config add-context work --region cn-beijing       asks for the key
      dashscope-rt config add-context work --key env:WORK_KEY        keeps only the variable's name
      dashscope-rt config use-context work
    """


def _path(config_path: Path | None) -> Path:
    return config_path or _contexts.default_path()


@config.command("add-context")
@click.argument("name")
@click.option("--key", metavar="SOURCE", callback=check_key_option, help="env:NAME, or - to read it from stdin.")
@click.option("--region", type=click.Choice(list(rt.REGIONS)), help="Where the key is from.")
@click.option("--workspace", default="", help="Workspace id.")
@click.option("--url", default="", help="Another endpoint.")
@click.option("-m", "--model", default="", help="Default model.")
@click.option("--voice", default="", help="Default voice.")
@click.option("--use", is_flag=True, help="Use it from now on.")
@click.option("--force", is_flag=True, help="Replace a context of this name.")
@config_option
@debug_option
def add_context(
    name: str, key: str | None, region: str | None, use: bool, force: bool, config_path: Path | None, **fields: str
) -> None:
    """Add a context. The key comes from a prompt that shows nothing, from stdin, or stays in a variable.

    \b
    Examples:
      dashscope-rt config add-context work --region cn-beijing
      dashscope-rt config add-context intl --region ap-southeast-1 --key env:INTL_KEY
      pass show dashscope | dashscope-rt config add-context work --key - --use
    """
    path = _path(config_path)
    check_name(name)
    if not force and name in load(path).by_name:
        raise click.UsageError(f"there is a context {name!r} already; --force replaces it")
    if fields["url"] and region:
        raise click.UsageError("--url and --region both say where to connect; give one")
    if key is not None and key.startswith("env:"):
        secret = key
        if not os.environ.get(key.removeprefix("env:")):
            note(f"the variable {key.removeprefix('env:')} is not set now; it is read when the context is used")
    elif key == "-" or not is_terminal(sys.stdin):
        secret = read_key("-")
    else:
        secret = click.prompt("API key (not shown)", hide_input=True, err=True).strip()
    context = Context(key=secret, region=region or "", **fields)
    rt.RealtimeClient(  # says at once what cannot be used
        "unused" if secret.startswith("env:") else secret,
        region=region or "cn-beijing", workspace=context.workspace or None, url=context.url or None,
    )  # fmt: skip
    with locked(path):
        contexts = load(path)
        if not force and name in contexts.by_name:
            raise click.UsageError(f"there is a context {name!r} already; --force replaces it")
        current = name if use or not contexts.current else contexts.current
        save(path, Contexts(current=current, by_name={**contexts.by_name, name: context}))
    note(f"context {name} is saved in {path}" + (", and in use" if current == name else ""))


@config.command("use-context")
@click.argument("name")
@config_option
@debug_option
def use_context(name: str, config_path: Path | None) -> None:
    """Choose the context that is used when no other is named."""
    path = _path(config_path)
    with locked(path):
        contexts = load(path)
        contexts.get(name, path)
        save(path, attrs.evolve(contexts, current=name))
    note(f"context {name} is in use")


@config.command("get-context")
@config_option
@debug_option
def get_context(config_path: Path | None) -> int:
    """Print the name of the context in use; exit code 1 when there is none."""
    current = os.environ.get("DASHSCOPE_RT_CONTEXT") or load(_path(config_path)).current
    if not current:
        note("no context is in use; choose one: dashscope-rt config use-context NAME")
        return 1
    click.echo(current)
    return 0


@config.command("list-contexts")
@click.option("--json", "as_json", is_flag=True, help="One object per line.")
@config_option
@debug_option
def list_contexts(as_json: bool, config_path: Path | None) -> None:
    """List the contexts; keys are masked."""
    contexts = load(_path(config_path))
    if as_json:
        for name, context in sorted(contexts.by_name.items()):
            json_line({"name": name, "current": name == contexts.current, **context.shown()})
        return
    if not contexts.by_name:
        note("there are no contexts yet: dashscope-rt config add-context NAME")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "NAME", "KEY", "WHERE", "WORKSPACE", "MODEL", "VOICE"):
        table.add_column(title, no_wrap=True)
    for name, context in sorted(contexts.by_name.items()):
        where = context.url or context.region or "cn-beijing"
        row = (name, mask(context.key), where, context.workspace, context.model, context.voice)
        table.add_row("*" if name == contexts.current else "", *map(Text, row))
    print_table(table)


@config.command("delete-context")
@click.argument("name")
@config_option
@debug_option
def delete_context(name: str, config_path: Path | None) -> None:
    """Delete a context."""
    path = _path(config_path)
    with locked(path):
        contexts = load(path)
        contexts.get(name, path)
        left = {other: context for other, context in contexts.by_name.items() if other != name}
        save(path, Contexts(current="" if contexts.current == name else contexts.current, by_name=left))
    note(f"context {name} is deleted")


@config.command()
@click.option("-c", "--context", help="This context instead of the one in use.")
@click.option("--json", "as_json", is_flag=True, help="One object.")
@config_option
@debug_option
def view(context: str | None, as_json: bool, config_path: Path | None) -> None:
    """Show what a command would use now, and where each value comes from; the key is masked."""
    chosen = settings(config_path=config_path, context=context, key_needed=False)
    values = {name: getattr(chosen, name) for name in _contexts.FIELDS}
    values["key"] = mask(chosen.key) or chosen.problem
    rows = {name: (value, chosen.sources.get(name, "")) for name, value in values.items()}
    if not values["region"] and not values["url"]:
        rows["region"] = ("cn-beijing", "default")
    if as_json:
        json_line({name: {"value": value, "from": source} for name, (value, source) in rows.items() if value})
        return
    click.echo(f"file       {_path(config_path)}")
    for name, (value, source) in rows.items():
        click.echo(f"{name:<10} {value or '–'}" + (f"  ({source})" if source else ""))


@config.command("import-giztoy")
@click.argument("file", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--force", is_flag=True, help="Replace contexts of the same names.")
@config_option
@debug_option
def import_giztoy(file: Path | None, force: bool, config_path: Path | None) -> None:
    """Take over the contexts of the giztoy tools, Go or Rust; default: ~/.giztoy/dashscope/config.yaml.

    \b
    Examples:
      dashscope-rt config import-giztoy
      dashscope-rt config import-giztoy old/config.yaml --force
    """
    source = file or Path.home() / ".giztoy" / "dashscope" / "config.yaml"
    try:
        documents = list(yaml.safe_load_all(source.read_text(encoding="utf-8")))
    except OSError as error:
        raise click.UsageError(f"{source} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise click.UsageError(f"{source} is not YAML") from None
    found = dict(_giztoy(documents, source))
    if not found:
        raise click.UsageError(f"{source} holds no contexts of giztoy")
    chosen_there = [str(each.get("current_context") or "") for each in documents if isinstance(each, dict)]
    current = next(filter(None, chosen_there), "")
    path = _path(config_path)
    with locked(path):
        contexts = load(path)
        clash = sorted(found.keys() & contexts.by_name.keys())
        if clash and not force:
            raise click.UsageError(f"there are contexts of these names: {', '.join(clash)}; --force replaces them")
        chosen = contexts.current or (current if current in found else "")
        save(path, Contexts(current=chosen, by_name={**contexts.by_name, **found}))
    note(f"taken over: {', '.join(sorted(found))}")


def _giztoy(documents: list[Any], source: Path) -> Iterator[tuple[str, Context]]:
    for document in documents:
        if not isinstance(document, dict):
            continue
        contexts = document.get("contexts")
        if isinstance(contexts, dict):
            for name, fields in contexts.items():
                if isinstance(fields, dict):
                    yield check_name(str(name)), _from_giztoy(fields)
        elif document.get("api_key"):  # the later shapes: one file, or one document, for one set of credentials
            yield check_name(str(document.get("name") or source.resolve().parent.name)), _from_giztoy(document)


def _from_giztoy(fields: dict[str, Any]) -> Context:
    extra = fields.get("extra")
    workspace = fields.get("workspace") or (extra.get("workspace") if isinstance(extra, dict) else "") or ""
    url = str(fields.get("base_url") or "")
    region = next((name for name, place in rt.REGIONS.items() if f"//{place.public_host}/" in f"{url}/"), "")
    return Context(
        key=str(fields.get("api_key") or ""),
        region=region,
        workspace=str(workspace),
        url="" if region else url,
        voice=str(fields.get("default_voice") or ""),
    )
