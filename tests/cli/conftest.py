"""The command line as a person has it: a program, an environment without anything of this machine, the emulator."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dashscope_rt.testing import Emulator

pytest.importorskip("click")

ROOT = Path(__file__).parent.parent.parent
QUESTION = ROOT / "samples" / "data" / "question.wav"
KEY = "sk-0123456789abcdef-THE-END"
Run = Callable[..., subprocess.CompletedProcess[str]]


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DASHSCOPE_", "LC_", "COV_")) and not name.lower().endswith("_proxy")
    }
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder / ".config"),
        "NO_COLOR": "",
        **more,
    }


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(api_keys={KEY}) as emulator:
        yield emulator
    emulator.check()


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, emulator: Emulator) -> Iterator[Emulator]:
    """The same environment for commands that run in this process."""
    for name in list(os.environ):
        if name.startswith("DASHSCOPE_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DASHSCOPE_RT_CONFIG", str(tmp_path / "none.yaml"))
    monkeypatch.setenv("DASHSCOPE_API_KEY", KEY)
    monkeypatch.setenv("DASHSCOPE_REALTIME_URL", emulator.url)
    monkeypatch.chdir(tmp_path)
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        yield emulator


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the program; without ``url`` it has no endpoint, without ``key`` no key."""

    def run(
        *arguments: str | Path,
        emulator: Emulator | None = None,
        stdin: str | bytes = b"",
        cwd: Path = tmp_path,
        **more: str,
    ) -> subprocess.CompletedProcess[str]:
        if emulator is not None:
            more = {"DASHSCOPE_REALTIME_URL": emulator.url, "DASHSCOPE_API_KEY": KEY, **more}
        done = subprocess.run(
            [sys.executable, "-m", "dashscope_rt", *map(str, arguments)],
            input=stdin if isinstance(stdin, bytes) else stdin.encode(),
            capture_output=True,
            cwd=cwd,
            env=environment(tmp_path, **more),
            timeout=60,
        )
        stdout, stderr = done.stdout.decode("utf-8", "surrogateescape"), done.stderr.decode()
        assert "Traceback" not in stderr or "--debug" in arguments, stderr
        assert KEY not in stdout + stderr
        return subprocess.CompletedProcess(done.args, done.returncode, stdout, stderr)

    return run
