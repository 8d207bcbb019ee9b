"""What holds for every test."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

WAIT_FOR = os.environ.get("TESTS_WAIT_FOR", "")  # a file that is there as long as something else runs; see .ci/run


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outside of the test's time limit
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """What measures speed or memory has the machine to itself."""
    while item.get_closest_marker("alone") is not None and os.path.exists(WAIT_FOR):
        threading.Event().wait(0.2)
    return (yield)


@pytest.fixture(autouse=True)
def loggers_as_they_were() -> Iterator[None]:
    """A command that runs inside a test may set the loggers for its process; the next test starts as if it had not."""
    loggers = [logging.getLogger(), logging.getLogger("dashscope_rt")]
    before = [(logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (level, propagate) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.propagate = propagate
