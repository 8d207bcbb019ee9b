"""Every Python block of the documentation runs against the emulator, and prints what the page says it prints.

The blocks of a section (a heading of second level) belong together and share their names, as in one program. Blocks
with a file name as their title are files; those called ``test_….py`` are run by pytest.
"""

from __future__ import annotations

import builtins
import contextlib
import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

import dashscope_rt as rt

from ..blocks import Block, assert_prints, blocks_of, environment
from .conftest import PAGES
from .scenes import SCENES

BLOCKS = [block for path in sorted(PAGES.rglob("*.md")) for block in blocks_of(path)]
LANGUAGES = {"python", "text", "sh", "json", "yaml", "flow", "html", "javascript", "ini"}


def _sections() -> Iterator[Any]:
    for (path, section), blocks in itertools.groupby(BLOCKS, key=lambda block: (block.path, block.section)):
        listed = list(blocks)
        if any(block.language == "python" for block in listed):
            name = re.sub(r"\W+", "-", section.lower()).strip("-") or "top"
            yield pytest.param(listed, id=f"{path.relative_to(PAGES)}#{name}")


@pytest.mark.parametrize("blocks", list(_sections()))
def test_a_section_runs(
    blocks: list[Block], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    orders = [block.order for block in blocks if block.order.startswith("scene ")]
    scene = SCENES[orders[0].removeprefix("scene ") if orders else "plain"]
    printed: str | None = None  # by the block before; None: it was not for this test
    with scene(monkeypatch) as stage:
        for name, value in environment(stage.emulator.url).items():
            monkeypatch.setenv(name, value)
        names = {"__name__": "page", **stage.names}
        for block in BLOCKS:  # the files that the page has shown so far
            if block.path == blocks[0].path and block.line < blocks[0].line:
                block.write(folder)
        for block in blocks:
            if block.language == "text" and block.title == "Output" and printed is not None:
                assert_prints(printed, block.text, block.where)
            if block.language != "python":
                printed = printed if block.language == "text" else None
                continue
            if block.write(folder):
                printed = None
                if Path(block.title).name.startswith("test_"):
                    _pytest(block, folder)
                continue
            with _expected(block.order):
                block.run(names)
            printed = capsys.readouterr().out
        stage.emulator.check()


def _expected(order: str) -> AbstractContextManager[object]:
    name = order.removeprefix("raises ")
    if name == order:
        return contextlib.nullcontext()
    return pytest.raises(getattr(rt, name, None) or getattr(builtins, name))


def _pytest(block: Block, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", block.title],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, f"{block.where}\n{done.stdout}{done.stderr}"
    assert re.search(r"\d+ passed", done.stdout)


def test_every_block_is_in_a_language_that_something_looks_at() -> None:
    for block in BLOCKS:
        assert block.language in LANGUAGES, f"{block.where}: {block.language}"
        assert block.order.partition(" ")[0] in ("", "scene", "raises", "run", "check"), block.where


def test_every_output_is_compared_with_something() -> None:
    for before, block in itertools.pairwise(BLOCKS):
        if block.title == "Output":
            assert before.path == block.path, block.where
            runs = before.language == "python" and not before.title.endswith(".py")
            assert runs or (before.language == "sh" and before.order.startswith("run")), block.where


def test_no_block_hides_from_the_search() -> None:
    """A fence without a language, or one that is indented oddly, would be run by nothing."""
    for path in PAGES.rglob("*.md"):
        fences = len(re.findall(r"^ *```", path.read_text(encoding="utf-8"), re.MULTILINE))
        assert fences == 2 * len(blocks_of(path)), path


def test_a_wrong_output_and_a_wrong_name_are_noticed(tmp_path: Path) -> None:
    assert_prints("one 3 ms\ntwo\n\nthree", "one … ms\n…\nthree", "here")
    for said in ("one 3 ms\ntwo", "three", "one 3 s\nthree"):
        with pytest.raises(AssertionError, match="here says"):
            assert_prints(said, "one … ms\n…\nthree", "here")
    page = tmp_path / "page.md"
    page.write_text(
        '## A\n\n<!-- test: scene x -->\n```python title="a.py"\nimport dashscope_rt as rt\nrt.Nothing\n```\n'
    )
    (block,) = blocks_of(page)
    assert (block.section, block.title, block.order, block.line) == ("A", "a.py", "scene x", 5)
    with pytest.raises(AttributeError, match="Nothing") as caught:
        block.run({})
    assert caught.traceback[-2].lineno + 1 == 6, "the traceback points into the page"
