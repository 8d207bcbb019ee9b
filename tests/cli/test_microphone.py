"""``chat`` by ear, with a microphone and a loudspeaker made of nothing."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import dashscope_rt as rt
from dashscope_rt.audio import FakeDevice, Microphone, Speaker, read_wav
from dashscope_rt.cli import chat
from dashscope_rt.cli.main import main
from dashscope_rt.testing import Emulator

from ..peer import SOON
from .conftest import KEY, QUESTION


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


def test_somebody_speaks_and_hears_the_answer(
    typed: Any, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device = FakeDevice(QUESTION)
    ear, mouth = Microphone(backend=device), Speaker(backend=device)
    monkeypatch.setattr(chat, "_devices", lambda *_, **__: (ear.open(), mouth.open()))
    monkeypatch.setenv("DASHSCOPE_RT_CONFIG", str(tmp_path / "none.yaml"))
    monkeypatch.setenv("DASHSCOPE_API_KEY", KEY)

    sounded = threading.Event()
    mouth.tap = lambda block: sounded.set() if any(block) else None

    def later() -> None:
        emulator.wait_for_sent("response.done", timeout=2 * SOON)
        sounded.wait(2 * SOON)
        typed.write("/wat\n/tools\n/exit\n")
        typed.flush()

    hand = threading.Thread(target=later)
    hand.start()
    with device.run(speed=20):
        code = main(["chat", "--url", emulator.url, "-o", f"{tmp_path}/kept/"])
    hand.join(SOON)
    shown = capsys.readouterr().out
    assert code == 0
    assert "You:   (emulator)" in shown
    assert "Model: This is the emulator. You spoke for" in shown
    assert "there is no command /wat" in shown
    assert read_wav(tmp_path / "kept" / "answer-001.wav").duration_ms > 2000
    assert not ear.is_open
    assert not mouth.is_open
    assert sounded.is_set()


def test_a_missing_device_falls_back_to_the_prompt_unless_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(_self: Any) -> Any:
        raise ImportError('a microphone needs sounddevice: pip install "dashscope_rt[audio]"')

    monkeypatch.setattr(Microphone, "open", missing)
    assert chat._devices(None, None, required=False) is None
    assert "dashscope_rt[audio]" in capsys.readouterr().err
    with pytest.raises(Exception, match="sounddevice"):
        chat._devices("usb", None, required=True)


def test_what_a_model_says_cannot_command_the_terminal() -> None:
    from dashscope_rt.cli._display import Display

    out = io.StringIO()
    display = Display(Console(file=out))
    display.live = True
    display.heard("a\x1b]0;owned\x07b", final=True)
    display.said("\x1b[2Jc\x9bd\r\n")
    display.line("\x1b[31me")
    display.over()
    assert "\x1b" not in out.getvalue()
    assert "\x9b" not in out.getvalue()
    assert "owned" in out.getvalue()


def test_long_answers_scroll_and_nothing_is_shown_twice() -> None:
    from dashscope_rt.cli._display import Display

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Screen()
    display = Display(Console(file=out))
    display.console = Console(file=out, width=40, force_terminal=False)
    display.live = True
    words = [f"word{number}字 " for number in range(60)]
    display.heard("question", final=True)
    for word in words:
        display.said(word)
    display.over("facts")
    text = " ".join(out.getvalue().split())
    assert text.startswith("You: question Model: word0字 word1字")
    for word in words:
        assert text.count(word.strip()) == 1
    assert max(len(line) for line in out.getvalue().splitlines()) <= 40


def test_rt_is_what_users_have() -> None:
    """The command line imports no private module of the package."""
    folder = Path(chat.__file__).parent
    for path in folder.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "dashscope_rt._" not in text, path.name
        assert "from .._" not in text, path.name
    assert rt.__all__
