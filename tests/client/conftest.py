"""Around every test: a clean environment before, and no thread and no socket left behind."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator

import pytest

from tests.peer import SOON


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, endpoint or proxy of the machine the tests run on."""
    for name in list(os.environ):
        if name.startswith("DASHSCOPE_") or name.lower() in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Every thread of the package that the test started has ended, and every socket is closed."""
    threads, sockets = set(threading.enumerate()), open_sockets()
    yield
    mine = [
        thread for thread in threading.enumerate() if thread not in threads and thread.name.startswith("dashscope_rt-")
    ]
    for thread in mine:
        thread.join(SOON)
    assert [thread.name for thread in mine if thread.is_alive()] == []
    if open_sockets() - sockets:
        gc.collect()
    assert open_sockets() - sockets == set()


def open_sockets() -> set[str]:
    """The inodes of this process's sockets."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the folder's own descriptor
            continue
        if target.startswith(("socket:", "anon_inode:[event")):  # a selector, and what wakes it
            found.add(target if target.startswith("socket:") else f"{target}{name}")
    return found
