"""The pytest fixtures ``dashscope_emulator`` and ``dashscope_replay``, found by themselves once this is installed.

def test_answer(dashscope_emulator):
client = dashscope_rt.RealtimeClient(api_key="sk-any", url=dashscope_emulator.url)

@pytest.mark.dashscope_emulator(answer=["Sunny."], cancel_sends_done=False)
def test_script(dashscope_emulator): ...

def test_what_happened_on_monday(dashscope_replay):
emulator = dashscope_replay("monday.jsonl")  # a recording made with dashscope_rt.recording.Recorder
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .emulator import Emulator

_MARK = "dashscope_emulator"


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", f"{_MARK}(**options): options of the Emulator behind the fixture of this name")


@pytest.fixture
def dashscope_emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """A running `Emulator` with the options of the mark; a failure inside it fails the test."""
    from .emulator import Emulator  # here, because this module is loaded in every pytest run

    options = {}
    for mark in reversed(list(request.node.iter_markers(_MARK))):
        options.update(mark.kwargs)
    with Emulator(**options) as emulator:
        yield emulator
    emulator.check()


@pytest.fixture
def dashscope_replay(request: pytest.FixtureRequest) -> Iterator[Callable[..., Emulator]]:
    """A function that plays a recording: ``dashscope_replay(path, speed=0)`` gives a running `Emulator`.

    Relative paths count from the test's own folder. A failure inside the emulator fails the test.
    """
    from ._replay import replaying
    from .emulator import Emulator

    running: list[Emulator] = []
    with contextlib.ExitStack() as stack:

        def start(path: str | os.PathLike[str], speed: float = 0.0) -> Emulator:
            whole = Path(request.node.path).parent / path
            emulator = stack.enter_context(Emulator(hooks=replaying(whole, speed)))
            running.append(emulator)
            return emulator

        yield start
    for emulator in running:
        emulator.check()
