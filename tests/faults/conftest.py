"""Around every test of this folder: nothing is left behind; and the rows of the table are collected."""

from __future__ import annotations

import pytest

from tests.client.conftest import clean_environment, nothing_left_behind  # noqa: F401 - fixtures

from .table import ELSEWHERE, README, WRITING, Table

TABLE = Table()
LAST = "test_table.py"


class Collector:
    """Sees the reports of all folders, not only of this one."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: item.path.name == LAST)  # stable: the table is looked at when all rows are there

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for test in (report.nodeid.split("[")[0], report.nodeid.split("::")[0]):
            if test not in ELSEWHERE:
                continue
            if report.failed:
                TABLE.failed.add(test)
            elif report.passed and report.when == "call":
                TABLE.passed[test] = TABLE.passed.get(test, 0.0) + report.duration

    def pytest_sessionfinish(self) -> None:
        if WRITING and TABLE.rows:
            README.write_text(TABLE.text(), encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Collector(), "dashscope-fault-table")


@pytest.fixture
def table() -> Table:
    """Where a test hands in its row, at its end."""
    return TABLE
