"""A short run of the fuzzer; the long one is ``python -m tests.fuzz.fuzz``."""

from __future__ import annotations

import pytest

from .fuzz.fuzz import run


@pytest.mark.parametrize("seed", [1, 20261122])
def test_no_input_hangs_grows_memory_or_raises_anything_foreign(seed: int) -> None:
    assert run(10_000, seed)[0] == 10_000
