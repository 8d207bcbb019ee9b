"""Code blocks of Markdown files, found and run as a reader would run them: README and docs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_TITLE = re.compile(r'title="([^"]*)"')
_ORDER = re.compile(r"<!--\s*test:\s*([^<>]*?)\s*-->\s*\Z")
_HEADING = re.compile(r"^## (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        path: The file.
        line: Of its first line of text, counted from 1.
        section: The heading of second level it stands under; "" before the first.
        language: What follows the backticks.
        title: ``title="…"``, or "".
        order: What ``<!-- test: … -->`` right before it says, or "".
        text: Without the indentation of the fence.
    """

    path: Path
    line: int
    section: str
    language: str
    title: str
    order: str
    text: str

    @property
    def where(self) -> str:
        """File and line, as an editor takes them."""
        return f"{self.path}:{self.line}"

    def run(self, names: dict[str, Any]) -> None:
        """Execute it; tracebacks point into the Markdown file."""
        exec(compile("\n" * (self.line - 1) + self.text, str(self.path), "exec"), names)

    def write(self, folder: Path) -> bool:
        """Put a Python block with a file's name as its title into a folder; returns whether it is one."""
        if self.language != "python" or not self.title.endswith(".py"):
            return False
        (folder / self.title).parent.mkdir(parents=True, exist_ok=True)
        (folder / self.title).write_text(self.text, encoding="utf-8")
        return True


def blocks_of(path: Path) -> list[Block]:
    """All fenced blocks of a file, in order."""
    text = path.read_text(encoding="utf-8")
    plain = _FENCE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)  # a comment in code is no heading
    headings = [(match.start(), match[1]) for match in _HEADING.finditer(plain)]
    found = []
    for match in _FENCE.finditer(text):
        order = _ORDER.search(text[: match.start()])
        title = _TITLE.search(match["info"])
        indent = len(match["indent"])
        found.append(
            Block(
                path=path,
                line=text.count("\n", 0, match.start()) + 2,
                section=next((name for at, name in reversed(headings) if at < match.start()), ""),
                language=match["language"],
                title=title[1] if title else "",
                order=order[1] if order else "",
                text="\n".join(line[indent:] for line in match["text"].split("\n")),
            )
        )
    return found


def assert_prints(said: str, expected: str, where: str) -> None:
    """Compare what was printed with an output block; ``…`` is anything within a line, alone it is any lines."""
    lines = [line.rstrip() for line in expected.strip("\n").split("\n")]
    pattern = "".join(r"(?:.*\n)*?" if line == "…" else _pattern(line) + r" *\n" for line in lines)
    assert re.fullmatch(pattern, said.strip("\n") + "\n"), f"{where} says\n{expected}\nand the code printed\n{said}"


def _pattern(line: str) -> str:
    return ".*".join(map(re.escape, line.split("…")))


def environment(url: str, **more: str) -> Mapping[str, str]:
    """What lets `RealtimeClient()` find the emulator."""
    return {"DASHSCOPE_API_KEY": "sk-of-the-docs", "DASHSCOPE_REALTIME_URL": url, **more}
