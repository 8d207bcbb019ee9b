"""The small form of the load test: everything arrives, and soon."""

from __future__ import annotations

import sys

import pytest

from .load import measure


@pytest.mark.alone
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")
def test_ten_users_on_one_process_hear_everything_in_time() -> None:
    figures = measure(10, 1.0)
    assert figures["answers"] >= 10
    assert figures["pieces"] > 200
    assert figures["delay_ms_p50"] < 100, figures
    assert figures["memory_mb_a_user"] < 10, figures
