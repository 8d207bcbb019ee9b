"""Kernels for the tests, and a place of their own for everything they write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.notebook.kernel import Kernel

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="package")
def environment() -> Iterator[dict[str, str]]:
    """The environment of a kernel: this package, no key, and nobody's settings."""
    folder = tempfile.mkdtemp(prefix="nb")
    mine = {name: value for name, value in os.environ.items() if not name.startswith("DASHSCOPE_")}
    mine |= {
        "PYTHONPATH": str(ROOT),
        "PYTHONIOENCODING": "utf-8",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "IPYTHONDIR": f"{folder}/i",
        "JUPYTER_RUNTIME_DIR": f"{folder}/r",
        "JUPYTER_CONFIG_DIR": f"{folder}/c",
        "JUPYTER_DATA_DIR": f"{folder}/d",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
    mine = {name: value for name, value in mine.items() if name.lower() not in ("http_proxy", "https_proxy", "all_proxy")}
    before = {name: os.environ.get(name) for name in mine if name.startswith(("JUPYTER_", "IPYTHON"))}
    os.environ.update({name: mine[name] for name in before})  # for the kernel's manager, which lives in this process
    yield mine
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="package")
def fonts(environment: dict[str, str]) -> None:
    """Matplotlib looks for fonts the first time, and says so where that takes long; not in a cell."""
    subprocess.run([sys.executable, "-c", "import matplotlib.pyplot"], env=environment, check=True, timeout=120)


@pytest.fixture(scope="module")
def kernel(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    kernel = Kernel(tmp_path_factory.mktemp("kernel"), environment)
    yield kernel
    kernel.close()
