"""What the classes say of themselves: docstrings, fields, types; as Markdown."""

from __future__ import annotations

import inspect
import re
from typing import Any

import attrs

_SECTIONS = ("Args", "Attributes", "Raises", "Returns", "Yields")
_FIELD = re.compile(r"    (?P<names>\w[\w, ]*): (?P<text>.*)")


def markdown(text: str) -> str:
    """Docstring text as Markdown: double backticks become single ones."""
    return re.sub(r"``(.+?)``", r"`\1`", text)


def summary(thing: Any) -> str:
    """A docstring's text up to its first section, paragraphs kept."""
    lines = []
    for line in (inspect.getdoc(thing) or "").splitlines():
        if line.rstrip(":") in _SECTIONS and line.endswith(":"):
            break
        lines.append(line)
    return markdown("\n".join(lines).strip())


def attributes(kind: type) -> dict[str, str]:
    """What the docstrings of a class and its bases say under "Attributes", by name; the class itself wins."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        doc = base.__dict__.get("__doc__")
        if doc:
            found |= _section(inspect.cleandoc(doc), "Attributes")
    return found


def _section(doc: str, title: str) -> dict[str, str]:
    found: dict[str, str] = {}
    names: list[str] = []
    inside = False
    for line in doc.splitlines():
        if not line.startswith(" "):
            inside = line == f"{title}:" or (inside and not line)
            continue
        match = _FIELD.fullmatch(line) if inside else None
        if match is not None:
            names = [name.strip() for name in match["names"].split(",")]
            found |= dict.fromkeys(names, match["text"])
        elif inside:
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return {name: markdown(text) for name, text in found.items()}


def type_of(field: attrs.Attribute[Any]) -> str:
    """A field's type as it is written, without the machinery of configurations."""
    kind = field.type if isinstance(field.type, str) else inspect.formatannotation(field.type)
    kind = kind.replace(" | Unset", "").replace("RememberedFrame", "").replace("ev.", "")
    return kind.removesuffix(" | ")


def properties(kind: type, below: type) -> dict[str, str]:
    """Public properties that a class adds to a base: name, first sentence."""
    found = {}
    for base in kind.__mro__:
        if base is below:
            break
        for name, value in base.__dict__.items():
            if not name.startswith("_") and (isinstance(value, property) or type(value).__name__ == "cached_property"):
                found.setdefault(name, summary(value))
    return found


def cell(text: str) -> str:
    """Text for one cell of a table; in code a bar is left alone, because there the parser does not look for cells."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else part.replace("|", "\\|") for part in parts)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(cell(each) for each in row) + " |" for row in rows]
    return "\n".join(lines)
