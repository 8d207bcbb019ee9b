"""What a Google-style docstring says: the description, and a line or more for each argument."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping

import attrs

_SECTION = re.compile(r"([A-Z][A-Za-z ]*):\s*\Z")
_ARGUMENTS = frozenset(
    {"Args", "Arguments", "Parameters", "Params", "Keyword Args", "Keyword Arguments", "Other Parameters"}
)
_ATTRIBUTES = frozenset({"Attributes", "Fields"})
_SECTIONS = _ARGUMENTS | _ATTRIBUTES | frozenset({
    "Example", "Examples", "Note", "Notes", "Raises", "References", "Return", "Returns", "See Also", "Todo", "Warning",
    "Warnings", "Warns", "Yield", "Yields",
})  # fmt: skip
_ARGUMENT = re.compile(r"\*{0,2}(\w+)\s*(?:\([^()]*(?:\([^()]*\)[^()]*)*\))?\s*:(?:\s+|\Z)(.*)")


@attrs.frozen
class Docs:
    """A docstring, taken apart: `text` is what stands before the first section, `arguments` what each is for."""

    text: str = ""
    arguments: Mapping[str, str] = attrs.field(factory=dict)


def read(docstring: str | None) -> Docs:
    """Read a Google-style docstring; anything else is all description."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    text: list[str] = []
    arguments: dict[str, list[str]] = {}
    section, indent, name = "", 0, ""
    for line in lines:
        header = _SECTION.match(line)
        if header is not None and header.group(1) in _SECTIONS:
            section, indent, name = header.group(1), 0, ""
        elif not section:
            text.append(line)
        elif section in _ARGUMENTS | _ATTRIBUTES and line.strip():
            if line[0] != " ":  # prose after the section
                name = ""
                continue
            depth = len(line) - len(line.lstrip())
            indent = indent or depth
            found = _ARGUMENT.match(line.strip()) if depth <= indent else None
            if found is not None:
                name = found.group(1)
                arguments[name] = [found.group(2)]
            elif name:
                arguments[name].append(line.strip())
    return Docs(_paragraphs(text), {name: " ".join(filter(None, said)) for name, said in arguments.items()})


def of_class(cls: type) -> Docs:
    """Read the docstring that stands in a class itself; what `dataclass` writes there by itself is none."""
    own = cls.__dict__.get("__doc__")
    return Docs() if not isinstance(own, str) or own.startswith(f"{cls.__name__}(") else read(own)


def _paragraphs(lines: list[str]) -> str:
    whole = "\n".join(line.strip() for line in lines).strip()
    return "\n".join(" ".join(part.split()) for part in re.split(r"\n{2,}", whole))
