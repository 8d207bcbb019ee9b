"""The pytest fixture ``dashscope_emulator``. pytest finds it by itself once the package is installed.

def test_answer(dashscope_emulator):
client = dashscope_rt.RealtimeClient(api_key="sk-any", url=dashscope_emulator.url)

@pytest.mark.dashscope_emulator(answer=["Sunny."], cancel_sends_done=False)
def test_script(dashscope_emulator): ...
"""

from __future__ import annotations

from collections.abc import Iterator
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
