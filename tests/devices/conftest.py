"""Around every test: nothing of the machine's environment before, no thread of the package left behind after."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from tests.peer import SOON


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("DASHSCOPE_") or name.lower() in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    threads = set(threading.enumerate())
    yield
    mine = [each for each in threading.enumerate() if each not in threads and each.name.startswith("dashscope_rt-")]
    for thread in mine:
        thread.join(SOON)
    assert [thread.name for thread in mine if thread.is_alive()] == []
