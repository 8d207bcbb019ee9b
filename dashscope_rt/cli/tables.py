"""``models``, ``voices``, ``emulator``, ``version``: what is known without asking anybody."""

from __future__ import annotations

import sys
from typing import Any

import click
from rich.table import Table

import dashscope_rt as rt

from ._contexts import nearest
from ._options import debug_option
from ._output import console, is_terminal, json_line, note, print_table


def _abilities(model: rt.ModelInfo) -> list[str]:
    names = {
        "text": model.text_input, "images": model.images, "tools": model.tools, "mcp": model.mcp,
        "search": model.search, "semantic vad": model.semantic_vad,
    }  # fmt: skip
    return [name for name, can in names.items() if can]


def _as_json(model: rt.ModelInfo) -> dict[str, Any]:
    return {
        "name": model.name,
        "family": model.family,
        "known": model.known,
        "default_voice": model.default_voice,
        "voices": list(model.voices),
        "input_rates": list(model.input_rates),
        "output_rates": list(model.output_rates),
        "turn_detection": list(model.vad_types),
        "max_tokens": model.max_tokens,
        "max_session_s": model.max_session_s,
        "abilities": _abilities(model),
        "settings": sorted(model.session_fields),
    }


@click.command()
@click.argument("names", nargs=-1, metavar="[MODEL]...")
@click.option("--json", "as_json", is_flag=True, help="One object per line.")
@debug_option
def models(names: tuple[str, ...], as_json: bool) -> None:
    """The models, or those named, and what they can do.

    \b
    Examples:
      dashscope-rt models
      dashscope-rt models --json | jq -r 'select(.abilities | index("tools")) | .name'
    """
    found = [rt.lookup(name) for name in names or rt.MODELS]
    if as_json:
        for model in found:
            json_line(_as_json(model))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    wide = not is_terminal(sys.stdout) or console().width >= 125
    for title in ("MODEL", "VOICE", *(("FAMILY", "IN kHz", "OUT kHz") if wide else ()), "TAKES"):
        table.add_column(title, no_wrap=title != "TAKES")
    for model in found:
        family = model.family + ("" if model.known else " (guessed)")
        more = (family, _kilohertz(model.input_rates), _kilohertz(model.output_rates)) if wide else ()
        table.add_row(model.name, model.default_voice or "–", *more, ", ".join(_abilities(model)) or "–")
    print_table(table)


def _kilohertz(rates: tuple[int, ...]) -> str:
    return ",".join(f"{rate / 1000:g}" for rate in rates) or "–"


@click.command()
@click.argument("model", default="qwen3.5-omni-flash-realtime")
@click.option("--json", "as_json", is_flag=True, help="One object.")
@debug_option
def voices(model: str, as_json: bool) -> None:
    """The voices listed for a model; clones and new ones work too, for voices are free text.

    \b
    Examples:
      dashscope-rt voices
      dashscope-rt voices qwen3-omni-flash-realtime
    """
    info = rt.lookup(model)
    if not info.known and info.family == "unknown":
        raise click.UsageError(f"nothing is known of {model!r}; {nearest(model, rt.MODELS)}")
    if as_json:
        json_line({"model": model, "default": info.default_voice, "voices": list(info.voices)})
        return
    if not info.voices:
        note(f"{model} does not speak, or no list of its voices is known.")
    for voice in info.voices:
        click.echo(f"{voice}{'  (default)' if voice == info.default_voice else ''}")


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def emulator(arguments: tuple[str, ...]) -> int:
    """The service on this machine, without a model; --help tells more."""
    from dashscope_rt.testing.command import main

    try:
        return main(list(arguments))
    except SystemExit as leaving:  # argparse: --help, or wrong arguments
        return leaving.code if isinstance(leaving.code, int) else 2


@click.command()
def version() -> None:
    """The version."""
    click.echo(rt.__version__)
