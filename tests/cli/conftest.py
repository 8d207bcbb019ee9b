"""The command line as a person has it: a program, an environment without anything of this machine, the emulator."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dashscope_rt.audio import FakeDevice, Microphone, Speaker
from dashscope_rt.cli._display import Display
from dashscope_rt.testing import Emulator

pytest.importorskip("click")

ROOT = Path(__file__).parent.parent.parent
QUESTION = ROOT / "samples" / "data" / "question.wav"
KEY = "sk-0123456789abcdef-THE-END"
Run = Callable[..., subprocess.CompletedProcess[str]]
Hand = Callable[[str], None]


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


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Standard input that looks like a terminal, and the hand that types."""
    reading, writing = os.pipe()

    class Keyboard(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    with Keyboard(os.fdopen(reading, "rb")) as stdin, os.fdopen(writing, "w") as hand:
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(
            "dashscope_rt.cli._microphone.is_terminal", lambda _stream: False
        )  # it has no echo to turn off
        yield hand


class Talking:
    """`chat` in this process, with a microphone that hears a question and a loudspeaker made of nothing.

    Calling it runs the program until it ends: ``typing`` gets a hand that types lines, on a thread of its own.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, typed: Any, folder: Path, capsys: Any) -> None:
        self.device = FakeDevice()
        self.ear, self.mouth = Microphone(backend=self.device), Speaker(backend=self.device)
        self.sounded = threading.Event()
        self.mouth.tap = lambda block: self.sounded.set() if any(block) else None
        self._typed, self._capsys = typed, capsys
        self._shown = ""
        self._changed = threading.Condition()  # guards what was shown
        show = Display._print

        def look(display: Display, text: Any) -> None:
            show(display, text)
            with self._changed:
                self._shown += text.plain + "\n"
                self._changed.notify_all()

        monkeypatch.setattr(Display, "_print", look)
        monkeypatch.setattr("dashscope_rt.cli.chat._devices", lambda *_, **__: (self.ear.open(), self.mouth.open()))
        monkeypatch.setenv("DASHSCOPE_RT_CONFIG", str(folder / "none.yaml"))
        monkeypatch.setenv("DASHSCOPE_API_KEY", KEY)

    def wait_for(self, pattern: str, count: int = 1) -> None:
        """Wait until something was shown, and so many times."""
        with self._changed:
            found = self._changed.wait_for(lambda: len(re.findall(pattern, self._shown)) >= count, 20)
            assert found, f"{pattern!r} did not appear, but {self._shown!r}"

    def _type(self, line: str) -> None:
        self._typed.write(line + "\n")
        self._typed.flush()

    def __call__(self, emulator: Emulator, typing: Callable[[Hand], None], *arguments: str) -> tuple[int, str]:
        from dashscope_rt.cli.main import main

        failures: list[BaseException] = []

        def type_lines() -> None:
            try:
                self.wait_for("just speak")
                self.device.say(QUESTION)
                typing(self._type)
            except BaseException as error:
                failures.append(error)
                self._type("/exit")

        hand = threading.Thread(target=type_lines)
        hand.start()
        with self.device.run(speed=8):
            code = main(["chat", "--url", emulator.url, *arguments])
        hand.join(10)
        if failures:
            raise failures[0]
        return code, self._capsys.readouterr().out


@pytest.fixture
def talking(monkeypatch: pytest.MonkeyPatch, typed: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Talking:
    return Talking(monkeypatch, typed, tmp_path, capsys)
