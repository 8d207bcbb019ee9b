"""The package as it is installed and imported."""

from __future__ import annotations

import configparser
import importlib
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dashscope_rt

ROOT = Path(__file__).parent.parent
CORE = {"websocket", "attr", "attrs", "cattr", "cattrs"}
# What the three bring along themselves: cattrs needs typing_extensions (and exceptiongroup before Python 3.11).
BROUGHT_ALONG = {"typing_extensions", "exceptiongroup", "wsaccel", "python_socks"}


def in_a_fresh_interpreter(code: str, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    ).stdout


def test_importing_it_loads_nothing_beyond_the_core() -> None:
    code = (
        "import sys; before = set(sys.modules); import dashscope_rt\n"
        "everything = [getattr(dashscope_rt, name) for name in dashscope_rt.__all__]\n"
        "tops = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(' '.join(tops - set(sys.stdlib_module_names)))"
    )
    loaded = set(in_a_fresh_interpreter(code).split())
    assert loaded - CORE - BROUGHT_ALONG == {"dashscope_rt"}


@pytest.mark.alone
@pytest.mark.parametrize("code", ["import dashscope_rt", "from dashscope_rt import RealtimeClient"])
def test_importing_it_takes_at_most_twice_the_time_of_its_three_dependencies(code: str, tmp_path: Path) -> None:
    """Interleaved runs and medians, so that a busy machine slows both; everything is compiled by a first run."""
    compiled = {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(8):
        for statement, times in ((code, ours), ("import websocket, attrs, cattrs", theirs)):
            script = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
            times.append(float(in_a_fresh_interpreter(script, **compiled)))
    ours, theirs = ours[1:], theirs[1:]
    assert statistics.median(ours) <= 2 * statistics.median(theirs)


def test_importing_it_starts_no_thread_and_prints_nothing() -> None:
    assert in_a_fresh_interpreter("import dashscope_rt, threading; assert threading.active_count() == 1") == ""


def test_everything_public_exists_and_is_sorted_out() -> None:
    assert len(set(dashscope_rt.__all__)) == len(dashscope_rt.__all__)
    for name in dashscope_rt.__all__:
        assert getattr(dashscope_rt, name) is not None
    for module in ("events", "errors", "config", "models", "audio", "testing"):
        loaded = importlib.import_module(f"dashscope_rt.{module}")
        for name in getattr(loaded, "__all__", []):
            assert hasattr(loaded, name), f"{module}.{name}"


def test_every_public_thing_is_documented() -> None:
    for name in dashscope_rt.__all__:
        thing = getattr(dashscope_rt, name)
        if isinstance(thing, type):
            assert (thing.__doc__ or "").strip(), name
            for attribute, value in vars(thing).items():
                if not attribute.startswith("_") and (callable(value) or isinstance(value, property)):
                    assert (value.__doc__ or "").strip(), f"{name}.{attribute}"


def test_the_version_stands_in_one_place() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    assert setup["metadata"]["version"] == "attr: dashscope_rt._version.__version__"
    assert re.fullmatch(r"\d+\.\d+\.\d+", dashscope_rt.__version__)
    assert dashscope_rt.__version__ in in_a_fresh_interpreter(
        "from dashscope_rt.__main__ import main; main(['version'])"
    )


def test_the_core_stays_at_three_dependencies() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    needed = {re.split(r"[<>=~ ]", line)[0] for line in setup["options"]["install_requires"].split("\n") if line}
    assert needed == {"websocket-client", "attrs", "cattrs"}


def test_the_emulator_without_its_extra_says_which_extra(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['websockets'] = None\n"
        "from dashscope_rt.testing import Emulator\n"
        "try:\n    Emulator().__enter__()\n"
        "except ImportError as error:\n    print(error)"
    )
    assert "dashscope_rt[emulator]" in in_a_fresh_interpreter(code)


@pytest.mark.parametrize("arguments", [["emulator", "--help"], ["version"], ["--help"]])
def test_the_command_line_answers(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "dashscope_rt", *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0
    assert done.stdout


def test_an_unknown_command_is_a_usage_error() -> None:
    done = subprocess.run([sys.executable, "-m", "dashscope_rt", "emulate"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert "emulator" in done.stderr


def test_the_emulator_runs_from_the_command_line_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "dashscope_rt", "emulator", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert re.fullmatch(r"ws://127\.0\.0\.1:\d+/api-ws/v1/realtime", url)
        turn = dashscope_rt.RealtimeClient("sk-test", url=url).ask(text="Are you there?", timeout=10)
        assert "Are you there?" in turn.text
        started = time.monotonic()
        process.terminate()
        _, errors = process.communicate(timeout=10)
    assert "emulator" in errors
    assert process.returncode == 0
    assert time.monotonic() - started < 6
