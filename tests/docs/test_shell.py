"""The commands that the documentation shows exist, with these options; those marked ``run`` do what the page says."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from dashscope_rt.cli.main import group
from dashscope_rt.testing.command import _parser as emulator_parser

from ..blocks import Block, assert_prints, blocks_of, environment
from .conftest import PAGES, ROOT
from .scenes import SCENES

BLOCKS = [block for path in sorted(PAGES.rglob("*.md")) for block in blocks_of(path)]
SHELL = [
    pytest.param(block, id=f"{block.path.relative_to(PAGES)}:{block.line}")
    for block in BLOCKS
    if block.language == "sh"
]


def _commands(text: str) -> list[list[str]]:
    """The simple commands of a script."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        words: list[str] = []
        for word in shlex.split(line, comments=True):
            if word in ("|", "&&", ";", "&"):
                found.append(words)
                words = []
            else:
                words.append(word)
        found.append(words)
    return [_bare(words) for words in found if _bare(words)]


def _bare(words: list[str]) -> list[str]:
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    return words


def _check(words: list[str]) -> None:
    """Refuse a command, an option, an extra or a file that does not exist."""
    if words[:3] == ["python", "-m", "dashscope_rt"]:
        words = ["dashscope-rt", *words[3:]]
    if words[0] == "dashscope-rt":
        _check_own(words[1:])
    elif "install" in words:
        for word in words:
            for extra in re.findall(r"\[(.*?)\]", word):
                for name in extra.split(","):
                    assert name in EXTRAS, f"there is no extra {name}"
    elif words[0] == "python" and words[1].endswith(".py"):
        assert Path(words[1]).exists(), f"there is no {words[1]}"


def _check_own(arguments: list[str]) -> None:
    if arguments[:1] == ["emulator"]:
        emulator_parser().parse_args(arguments[1:])
        return
    command: click.Command = group
    while isinstance(command, click.Group):
        _, found, arguments = command.resolve_command(click.Context(command, info_name="dashscope-rt"), arguments)
        assert found is not None
        command = found
    command.make_context(command.name, list(arguments))


_setup = configparser.ConfigParser(interpolation=None)
_setup.read(ROOT / "setup.cfg")
EXTRAS = set(_setup["options.extras_require"])


@pytest.mark.parametrize("block", SHELL)
def test_commands_exist_with_their_options(block: Block, folder: Path) -> None:
    for name in ("call.jsonl", "request.yaml", "photo.jpg"):
        (folder / name).touch()
    _write_what_came_before(block, folder)
    for words in _commands(block.text):
        try:
            _check(words)
        except (click.ClickException, SystemExit, AssertionError) as error:
            raise AssertionError(f"{block.where}: {shlex.join(words)}: {error}") from None


def _write_what_came_before(block: Block, folder: Path) -> None:
    for earlier in BLOCKS:
        if earlier.path == block.path and earlier.line < block.line:
            earlier.write(folder)


RUN = [each for each in SHELL if each.values[0].order.startswith("run")]


@pytest.mark.parametrize("block", RUN)
def test_commands_do_what_the_page_says(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    following = [each for each in BLOCKS if each.path == block.path and each.line > block.line][:1]
    _write_what_came_before(block, folder)
    with SCENES[block.order.removeprefix("run").strip() or "plain"](monkeypatch) as stage:
        for name, value in environment(stage.emulator.url).items():
            monkeypatch.setenv(name, value)
        done = subprocess.run(
            ["bash", "-ec", block.text],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        stage.emulator.check()
    assert done.returncode == 0, f"{block.where}\n{done.stdout}{done.stderr}"
    if following and following[0].language == "text" and following[0].title == "Output":
        assert_prints(done.stdout, following[0].text, block.where)
