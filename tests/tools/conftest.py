"""Around every test: a clean environment before, and no thread and no socket left behind."""

from __future__ import annotations

from tests.client.conftest import clean_environment, nothing_left_behind

__all__ = ["clean_environment", "nothing_left_behind"]
