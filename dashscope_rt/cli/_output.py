"""Two consoles: stdout for what was asked for, stderr for people. Colour and live output only on a terminal."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Mapping
from typing import IO, Any

import attrs
from rich.console import Console
from rich.table import Table
from rich.text import Text

import dashscope_rt as rt

_LINE = threading.Lock()  # held while one line is written: callbacks and the main thread both write


def console() -> Console:
    """The console on stdout, as it is now."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=not is_terminal(sys.stdout))


def people() -> Console:
    """The console on stderr."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=not is_terminal(sys.stderr))


def note(message: str, style: str = "dim") -> None:
    """Tell the person something, on stderr."""
    people().print(Text(message, style=style))


def warn(message: str) -> None:
    """Warn the person, on stderr, in one line."""
    people().print(Text.assemble(("warning: ", "yellow"), message))


def error_line(message: str, hint: str = "") -> None:
    """Write one line about an error on stderr, and one with what to do."""
    target = people()
    target.print(Text.assemble(("error: ", "bold red"), " ".join(message.split())))
    if hint:
        target.print(Text.assemble(("hint: ", "cyan"), " ".join(hint.split())))


def json_line(value: Any) -> None:
    """Write one JSON object as one line on stdout."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    with contextlib.suppress(ValueError), _LINE:  # ValueError: the file was closed while the program ends
        try:
            sys.stdout.write(text + "\n")
        except UnicodeEncodeError:  # half a surrogate pair, or a terminal that is not UTF-8
            sys.stdout.write(json.dumps(value, default=str) + "\n")
        sys.stdout.flush()


def is_terminal(stream: IO[Any]) -> bool:
    """Whether a stream is a terminal; False for one that is closed."""
    try:
        return stream.isatty()
    except ValueError:
        return False


def seconds(ms: float | None) -> str:
    """A length for people; an en dash for what did not happen."""
    return "–" if ms is None else f"{ms / 1000:.2f} s"


def of_turn(turn: rt.Turn, **more: Any) -> dict[str, Any]:
    """A turn as JSON."""
    usage = turn.usage
    return {
        "status": turn.status,
        "input_transcript": turn.input_transcript,
        "text": turn.text,
        "audio_ms": round(len(turn.audio) / 2 / turn.audio_rate * 1000) if turn.audio else 0,
        "function_calls": [
            {"name": call.name, "call_id": call.call_id, "arguments": call.arguments_json}
            for call in turn.function_calls
        ],
        "response_ids": [response.id for response in turn.responses],
        "usage": None if usage is None else _plain(usage),
        "timing": {name: value if value is None else round(value, 1) for name, value in _timing(turn).items()},
        **more,
    }


def _timing(turn: rt.Turn) -> dict[str, float | None]:
    return {**attrs.asdict(turn.timing), "latency_ms": turn.timing.latency_ms}


def _plain(value: Any) -> Any:
    if attrs.has(type(value)):
        fields = attrs.asdict(value, recurse=False)
        return {name: _plain(inner) for name, inner in fields.items() if inner is not None and name != "raw"}
    return dict(value) if isinstance(value, Mapping) else value


def summary(turn: rt.Turn) -> str:
    """A turn's numbers in one line, for people."""
    parts = []
    if turn.status not in ("completed", "in_progress"):
        parts.append(turn.status)
    if turn.timing.latency_ms is not None:
        parts.append(f"answered after {seconds(turn.timing.latency_ms)}")
    if turn.audio:
        parts.append(f"{len(turn.audio) / 2 / turn.audio_rate:.1f} s of speech")
    usage = turn.usage
    if usage is not None and usage.total_tokens is not None:
        sides = f" ({usage.input_tokens} in, {usage.output_tokens} out)" if usage.output_tokens is not None else ""
        parts.append(f"{usage.total_tokens} tokens{sides}")
    return " · ".join(parts)


def print_table(table: Table, width: int = 240) -> None:
    """Write a table on stdout; into a pipe, every row is one line without blanks at its end."""
    out = console()
    if is_terminal(out.file):
        out.print(table, soft_wrap=False)
        return
    out.width = width
    with out.capture() as captured:
        out.print(table, soft_wrap=False)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    sys.stdout.flush()
