"""What came out, as a Markdown table between two marks of the README, and as JSON for whoever wants to look closer."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from tests.benchmarks import peers
from tests.benchmarks.runner import Results
from tests.benchmarks.scenarios import BARE, DEPENDENCIES, OURS, SCENARIOS, SPEED, STREAMING, Scenario

BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
HEADS = {
    OURS: "dashscope_rt",
    SPEED: "with `[speed]`",
    BARE: "bare socket loop",
    "websocket-client": "websocket-client",
    "websockets": "websockets",
    "openai": "openai",
    "official": "dashscope 1.x class",
}


def number(value: float) -> str:
    """Return a figure with three digits that matter."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell(results: Results, client: str) -> str:
    """Return one figure of the table, with its ratio and what belongs to it."""
    scenario = results.scenario
    if client not in results.runs:
        return ""
    value, ratio = results.median(client), results.ratio(client)
    latency = results.latency(client, "p99")
    if scenario.hog and latency is not None:  # the CPU time is the glutton's
        pong = results.median(client, "pong_max_ms")
        said = f"p99 {number(latency)} ms" + (f", pong {number(pong)} ms" if pong is not None else "")
        return f"**{said}**" if client == OURS else said
    if value is None:
        return f"cannot keep up (p99 {latency / 1e3:.1f} s)" if latency is not None else "failed"
    parts = []
    if scenario.kind in ("flood", "append"):
        wall = results.median(client, "wall_s")
        events = results.median(client, "events")
        if wall is not None and events:
            parts.append(f"wall {number(wall / events * 1e6)}")
    if scenario.kind == "connect":
        wall, compared = results.median(client, "wall_ms"), results.ratio(client, "wall_ms")
        if wall is not None:
            known = compared is not None and client != scenario.baseline
            parts.append(f"wall {number(wall)}" + (f" = {compared:.2f} ×" if known else ""))
    if latency is not None:
        parts.append(f"p99 {number(latency)} ms")
    if ratio is not None and client != scenario.baseline and scenario.kind != "memory":
        parts.append(f"{ratio:.2f} ×")
    said = number(value) + (f" ({', '.join(parts)})" if parts else "")
    return f"**{said}**" if client == OURS else said


def table(all_results: Sequence[Results]) -> str:
    """Return the Markdown table, with a line under it that says where the figures are from."""
    everybody = [client for client in STREAMING if any(client in results.runs for results in all_results)]
    lines = [
        "| | " + " | ".join(HEADS[client] for client in everybody) + " |",
        "|---|" + "---|" * len(everybody),
    ]
    others = []
    for results in all_results:
        scenario = results.scenario
        if scenario.kind == "imports":
            ratio = results.ratio(OURS)
            if ratio is not None:
                what = (
                    "`from dashscope_rt import RealtimeClient`"
                    if scenario.name == "import-client"
                    else "`import dashscope_rt`"
                )
                others.append(f"{what} takes {ratio:.2f} × the time of importing its three dependencies.")
            continue
        cells = [cell(results, client) for client in everybody]
        unit = "" if scenario.hog else f", {scenario.unit}"
        lines.append(f"| {scenario.title}{unit} | " + " | ".join(cells) + " |")
    lines += ["", " ".join([_legend(all_results), *others, _machine()])]
    return "\n".join(lines)


def _legend(all_results: Sequence[Results]) -> str:
    counts = {len(runs) for results in all_results for runs in results.runs.values()}
    rounds = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else f"{max(counts, default=0)}"
    return (
        "CPU time of the client's process, all its threads, from a load server on the same machine; × is the ratio to"
        f" the bare loop (socket, `json.loads`, `b64decode`; for connecting to websocket-client) within a round, medians"
        f" of {rounds} interleaved rounds. p99 is from the server's send to the callback, pong from its ping to the pong."
        " Connecting is until session.created is there and the thread that serves the socket runs; the thread for callbacks"
        " begins with the first event that one wants, which idle sessions have not had."
    )


def _machine() -> str:
    installed = [peers.versions(client) for client in (SPEED, "websocket-client", "websockets", "openai", "official")]
    names = sorted({name for line in installed if line for name in line.split(", ")})
    return f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores" + (
        f"; {', '.join(names)}." if names else "."
    )


def write_readme(readme: Path, text: str) -> None:
    """Put the text between the two marks.

    Raises:
        ValueError: The marks are not there.
    """
    page = readme.read_text(encoding="utf-8")
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"{readme} must have the lines {BEGIN} and {END}, once each, in this order")
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def write_json(path: Path, all_results: Sequence[Results]) -> None:
    """Write every run of every client."""
    said = [{"scenario": asdict(results.scenario), "runs": results.runs} for results in all_results]
    path.write_text(
        json.dumps({"machine": _machine(), "results": said}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def read_json(path: Path) -> list[Results]:
    """Return what `write_json` wrote; nothing where there is no such file."""
    if not path.exists():
        return []
    found = json.loads(path.read_text(encoding="utf-8"))["results"]
    known = {field.name for field in fields(Scenario)}
    return [
        Results(Scenario(**{name: value for name, value in each["scenario"].items() if name in known}), each["runs"])
        for each in found
    ]


def merged(old: Sequence[Results], new: Sequence[Results]) -> list[Results]:
    """Return the new results, and the old ones of scenarios that were not run again, in the order of the scenarios."""
    by_name = {results.scenario.name: results for results in (*old, *new)}
    return [by_name[name] for name in SCENARIOS if name in by_name]


def summary(results: Results) -> str:
    """Return the medians and ratios of a scenario, one client a line."""
    lines = []
    for client in results.runs:
        value, ratio, best = results.median(client), results.ratio(client), results.best_ratio(client)
        figures = "not finished" if value is None else f"{number(value):>9} {results.scenario.unit}"
        compared = (
            ""
            if ratio is None or best is None
            else f"   {ratio:.2f} × {results.scenario.baseline} (best runs {best:.2f} ×)"
        )
        label = client if client != DEPENDENCIES else "its dependencies"
        lines.append(f"    {label:22} {figures}{compared}")
    return "\n".join(lines)
