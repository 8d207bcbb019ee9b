"""Sequence diagrams from text: drawn here as HTML without any script, and compared with a real session by the tests.

    session.commit()        -> input_audio_buffer.commit
    on_input_transcript     <- conversation.item.input_audio_transcription.completed ~
                            <- response.audio.delta …
    -- a note

Left: what the program calls, or the callbacks that run. Right: the wire event, to the service or from it. Marks after
the event: ``…`` it comes many times, and others may come in between; ``~`` it may come at any later point; ``?`` it may
not come at all.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

_ROW = re.compile(r"(?P<left>.*?)\s*(?P<arrow>->|<-)\s+(?P<type>[a-z_.]+)(?P<marks>[ …~?]*)")
_WORDS = {"…": "many times", "~": "here or later", "?": "may be missing"}


@dataclass(frozen=True)
class Step:
    """One row.

    Attributes:
        left: A call, callbacks, or "".
        sent: Whether the event goes to the service.
        type: The wire type; "" for a note.
        marks: Some of ``…~?``.
        note: A note's text.
    """

    left: str = ""
    sent: bool = False
    type: str = ""
    marks: str = ""
    note: str = ""


def parse(text: str) -> list[Step]:
    """Read a diagram.

    Raises:
        ValueError: A line is none of the three kinds.
    """
    steps = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("--"):
            steps.append(Step(note=line[2:].strip()))
            continue
        match = _ROW.fullmatch(line)
        if match is None:
            raise ValueError(f"this is no row of a flow: {line!r}")
        marks = match["marks"].replace(" ", "")
        steps.append(Step(left=match["left"], sent=match["arrow"] == "->", type=match["type"], marks=marks))
    return steps


def drawn(text: str) -> str:
    """Draw a diagram as HTML."""
    head = '<div class="flow-head">your program</div><div class="flow-head">session</div>'
    parts = ['<div class="flow" role="figure">', head, '<div class="flow-head">service</div>']
    for step in parse(text):
        if step.note:
            parts.append(f'<div class="flow-note">{html.escape(step.note)}</div>')
            continue
        way = "out" if step.sent else "in"
        left = "<br>".join(f"<code>{_soft(each)}</code>" for each in step.left.split(", ") if each)
        marks = " ".join(f'<span class="flow-mark">{_WORDS[mark]}</span>' for mark in step.marks)
        parts.append(f'<div class="flow-cell l {way if left else "flow-empty"}">{left}</div>')
        parts.append(f'<div class="flow-cell r {way}"><code>{_soft(step.type)}</code> {marks}</div>')
    return "".join([*parts, "</div>"])


def _soft(text: str) -> str:
    """Escaped, with places where a narrow screen may break the line."""
    return re.sub(r"([._(])", r"\1<wbr>", html.escape(text))


def fence(source: str, *_: object, **__: object) -> str:
    """What pymdownx.superfences calls for a fence named ``flow``."""
    return drawn(source)
