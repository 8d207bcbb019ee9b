"""How things show in a notebook and a terminal: a `Sheet` says what, this says how. Pure text building.

The HTML is what every notebook shows, JupyterLab, VS Code, Colab and a page made by nbconvert alike: no scripts, no
style sheets, nothing loaded from elsewhere, every text escaped, and colours that are at home on white and on black.
Where styles are taken away, paragraphs and tables remain.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable

import attrs

from .audio.pcm import duration_ms
from .audio.wav import wav_bytes

__all__ = ["CALLS", "EMBEDDED_BYTES", "Sheet", "Sound", "bundle", "ms", "seconds"]

EMBEDDED_BYTES = 3_000_000  # of PCM, 62 s at 24,000 Hz: 4 MB in the notebook's file for each time it is shown
CALLS = "Calls"
_TABLE = '<table style="color:inherit;font:inherit;background:none;border:none;border-collapse:collapse;margin:.2em 0">'
_LINE = "rgba(128,128,128,.35)"
_WAITED, _ANSWERED = "#d9902f", "#3f8fd9"
_GOOD, _BUSY, _BAD = "#2e9e5b", _WAITED, "#d64545"
_COLOURS = {"completed": _GOOD, "open": _GOOD, "in_progress": _BUSY, "failed": _BAD}


@attrs.frozen(kw_only=True)
class Sound:
    """A spoken answer.

    Attributes:
        pcm: Signed 16-bit little-endian mono; of what is too long to be shown, anything.
        size: How many bytes it has.
        rate: Hz.
        save: What to write to keep it; "" where there is no such call.
    """

    pcm: bytes = attrs.field(repr=False)
    size: int
    rate: int
    save: str = ""

    @property
    def lasts(self) -> str:
        """Its length for people."""
        return seconds(duration_ms(self.size, self.rate))

    @property
    def too_long(self) -> bool:
        """Whether it is not put into a notebook."""
        return self.size > EMBEDDED_BYTES


@attrs.frozen(kw_only=True)
class Sheet:
    """What is shown of one thing; all of it plain text.

    Attributes:
        name: What it is.
        state: A word on how it is; "" where there is nothing to say.
        said: Who said what, in order; `CALLS` says code.
        sound: The spoken answer, if any.
        problem: What went wrong, or cannot be shown; "" for nothing.
        times: How long was waited and how long answered, in ms, as a bar; () for none.
        facts: Labels and short values.
        rows: Labels and longer values, one under the other.
    """

    name: str
    state: str = ""
    said: tuple[tuple[str, str], ...] = ()
    sound: Sound | None = None
    problem: str = ""
    times: tuple[float, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    rows: tuple[tuple[str, str], ...] = ()


def ms(value: float) -> str:
    """Milliseconds for people: ``312 ms``, ``4.21 s``, ``62.5 s``."""
    return f"{value:,.0f} ms" if value < 1000 else seconds(value)


def seconds(value: float) -> str:
    """Milliseconds as seconds."""
    return f"{value / 1000:.2f} s" if value < 10_000 else f"{value / 1000:,.1f} s"


def bundle(sheet: Sheet) -> dict[str, str]:
    """Return what ``_repr_mimebundle_`` gives."""
    return {"text/plain": as_text(sheet), "text/html": as_html(sheet)}


# ---- text ---------------------------------------------------------------------------------------------------------


def as_text(sheet: Sheet) -> str:
    """Return the sheet for a terminal."""
    lines = [f"{sheet.name}{f' ({sheet.state})' if sheet.state else ''}"]
    lines += [f"  {who + ':':<6} {text}" for who, text in sheet.said]
    if sheet.problem:
        lines.append(f"  {sheet.problem}")
    if sheet.sound is not None:
        keep = f", {sheet.sound.save} keeps it" if sheet.sound.save else ""
        lines.append(f"  speech: {sheet.sound.lasts} at {sheet.sound.rate:,} Hz{keep}")
    if sheet.facts:
        lines.append("  " + ", ".join(f"{label} {value}" for label, value in sheet.facts))
    width = max((len(label) for label, _ in sheet.rows), default=0)
    lines += [f"  {label:<{width}}  {value}" for label, value in sheet.rows]
    return "\n".join(lines)


# ---- HTML ---------------------------------------------------------------------------------------------------------


def as_html(sheet: Sheet) -> str:
    """Return the sheet for a notebook."""
    parts = [*_head(sheet), *(_paragraph(who, text) for who, text in sheet.said)]
    if sheet.problem:
        parts.append(f'<p style="margin:.35em 0;color:{_BAD}">{_text(sheet.problem)}</p>')
    if sheet.sound is not None:
        parts.append(_player(sheet.sound))
    if any(sheet.times):
        parts.append(_bar(sheet.times))
    speech = (("speech", sheet.sound.lasts),) if sheet.sound is not None else ()
    if sheet.facts or speech:
        parts.append(_facts((*sheet.facts, *speech)))
    if sheet.rows:
        parts.append(_rows(sheet.rows))
    # Both classes keep MathJax, of its different versions, from reading "$5 or $6" as a formula.
    return (
        f'<div class="tex2jax_ignore mathjax_ignore" style="max-width:46em;margin:.3em 0;padding:.6em 1em .7em;'
        f'border:1px solid {_LINE};border-radius:8px;line-height:1.5">{"".join(parts)}</div>'
    )


def _text(text: str) -> str:
    return html.escape(text).replace("$", "<span>$</span>")  # no two dollars in one piece of text: see above


def _head(sheet: Sheet) -> Iterable[str]:
    if sheet.said and sheet.state in ("", "completed"):
        return  # the words speak for themselves
    dot = ""
    if sheet.state:
        colour = _COLOURS.get(sheet.state.split()[0], "#888")
        dot = f' <span style="color:{colour}">&#9679;</span> {_text(sheet.state.replace("_", " "))}'
    yield f'<p style="margin:.1em 0 .35em"><b>{_text(sheet.name)}</b>{dot}</p>'


def _paragraph(who: str, text: str) -> str:
    tag = "code" if who == CALLS else "span"
    return (
        '<p style="margin:.35em 0;padding-left:4.2em;text-indent:-4.2em">'
        f'<b style="display:inline-block;width:4.2em;text-indent:0;opacity:.6">{_text(who)} </b>'
        f'<{tag} style="white-space:pre-wrap;overflow-wrap:anywhere;text-indent:0">{_text(text)}</{tag}></p>'
    )


def _player(sound: Sound) -> str:
    if sound.too_long:
        save = f" <code>{_text(sound.save)}</code> writes it into a file." if sound.save else ""
        return (
            f'<p style="margin:.35em 0"><i>The speech lasts {sound.lasts}, too long to be kept in a notebook'
            f" ({sound.size / 1e6:,.1f} MB; the limit is {EMBEDDED_BYTES / 1e6:,.0f} MB).</i>{save}</p>"
        )
    data = base64.b64encode(wav_bytes(sound.pcm, sound.rate)).decode()
    return (
        '<audio controls preload="metadata" style="display:block;width:100%;height:2.6em;margin:.5em 0"'
        f' src="data:audio/wav;base64,{data}">The speech lasts {sound.lasts}.</audio>'
    )


def _bar(times: tuple[float, ...]) -> str:
    pieces = "".join(
        f'<div style="flex:{length:.0f} 0 3px;background:{colour}"></div>'
        for length, colour in zip(times, (_WAITED, _ANSWERED), strict=False)
        if length > 0
    )
    return f'<div style="display:flex;height:5px;border-radius:3px;overflow:hidden;margin:.6em 0 .3em">{pieces}</div>'


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    cells = "".join(
        '<td style="text-align:left;padding:.1em 1.4em .1em 0;background:none;border:none">'
        f'<small style="opacity:.65">{_text(label)}</small><br><b>{_text(value)}</b></td>'
        for label, value in facts
    )
    return f'{_TABLE}<tr style="background:none">{cells}</tr></table>'


def _rows(rows: Iterable[tuple[str, str]]) -> str:
    plain = "text-align:left;background:none;border:none;"
    lines = "".join(
        f'<tr style="background:none"><td style="{plain}padding:.1em 1.6em .1em 0;opacity:.65">{_text(label)}</td>'
        f'<td style="{plain}padding:.1em 0;overflow-wrap:anywhere">{_text(value)}</td></tr>'
        for label, value in rows
    )
    return f"{_TABLE}{lines}</table>"
