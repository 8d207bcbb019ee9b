"""The committed table is that of this run."""

from __future__ import annotations

import pytest

from .table import ELSEWHERE, HOME, WRITING, Table, committed


def test_the_table_has_exactly_the_rows_of_this_run(table: Table, request: pytest.FixtureRequest) -> None:
    """A partial run checks only the rows it has."""
    if WRITING:
        pytest.skip("the table is written by this run")
    wanted, found = [*table.rows, *ELSEWHERE.values()], committed()
    missing = [row for row in wanted if row not in found]
    assert missing == []
    mine = {item.path.name for item in request.session.items if item.path.parent == HOME}
    whole = mine >= {path.name for path in HOME.glob("test_*.py")} and not request.config.option.keyword
    if whole and not request.session.testsfailed:
        assert [row for row in found if row not in wanted] == []
        assert len(found) == len(wanted)


def test_the_tests_of_other_folders_that_prove_a_row_exist_and_do_not_fail(table: Table) -> None:
    root = HOME.parent.parent
    for test in ELSEWHERE:
        path, _, name = test.partition("::")
        text = (root / path).read_text(encoding="utf-8")
        assert f"def {name}(" in text or not name, test
    assert table.failed == set()
