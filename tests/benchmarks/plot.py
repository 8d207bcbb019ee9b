"""The plot of the README: an SVG written by hand, bars on a logarithmic scale, readable on light and on dark pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from tests.benchmarks.report import HEADS, number
from tests.benchmarks.runner import Results
from tests.benchmarks.scenarios import BARE, OURS, SPEED, STREAMING

_SHOWN = ("audio", "transcript", "append", "paced-200")
_WIDTH, _LABELS, _VALUES = 860, 190, 70
_BAR, _GAP, _HEAD, _LEGEND = 15, 4, 34, 26
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f; } .title { font-weight: 600; } .faint { fill: #6e7781; }
.ours { fill: #1a7f5a; } .speed { fill: #4cc38a; } .bare { fill: #6e7781; } .rival { fill: #afb8c1; }
.line { stroke: #6e7781; stroke-dasharray: 3 3; }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3; } .faint { fill: #8b949e; } .rival { fill: #484f58; } }
"""
_CLASSES = {OURS: "ours", SPEED: "speed", BARE: "bare"}


def svg(all_results: Sequence[Results]) -> str:
    """Return the picture of the streaming scenarios among the results; "" when there are none."""
    panels = [results for results in all_results if results.scenario.name in _SHOWN]
    parts: list[str] = []
    y = _LEGEND
    for results in panels:
        drawn, y = _panel(results, y)
        parts += drawn
    if not parts:
        return ""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 8}" role="img"'
        ' aria-label="CPU time per event of dashscope_rt and other clients">'
    )
    note = '<text class="faint" x="0" y="14">CPU µs per event, less is better; logarithmic; the dashed line is the bare socket loop</text>'
    return "\n".join([head, f"<style>{_STYLE}</style>", note, *parts, "</svg>"]) + "\n"


def _panel(results: Results, y: int) -> tuple[list[str], int]:
    figures = [(client, results.median(client)) for client in STREAMING if client in results.runs]
    values = [value for _, value in figures if value]
    if not values:
        return [], y
    low, high = min(values) / 1.6, max(values)
    room = _WIDTH - _LABELS - _VALUES

    def reach(value: float) -> float:
        return room * math.log(value / low) / math.log(high / low) if high > low else room

    parts = [f'<text class="title" x="0" y="{y + 20}">{escape(results.scenario.title)}</text>']
    top = y + _HEAD - 4
    y += _HEAD
    for client, value in figures:
        middle = y + _BAR - 3
        parts.append(
            f'<text x="{_LABELS - 8}" y="{middle}" text-anchor="end">{escape(HEADS[client].replace("`", ""))}</text>'
        )
        if value is None:
            parts.append(f'<text class="faint" x="{_LABELS}" y="{middle}">cannot keep up</text>')
        else:
            width = reach(value)
            parts.append(
                f'<rect class="{_CLASSES.get(client, "rival")}" x="{_LABELS}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2"/>'
            )
            parts.append(f'<text x="{_LABELS + width + 6:.1f}" y="{middle}">{number(value)}</text>')
        y += _BAR + _GAP
    bare = results.median(BARE)
    if bare is not None:
        x = _LABELS + reach(bare)
        parts.append(f'<line class="line" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{y}"/>')
    return parts, y + 6
