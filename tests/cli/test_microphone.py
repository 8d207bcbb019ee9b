"""``chat`` by ear, with a microphone and a loudspeaker made of nothing."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

import dashscope_rt as rt
from dashscope_rt.audio import Microphone, Speaker, read_wav
from dashscope_rt.cli import chat
from dashscope_rt.cli._display import Display
from dashscope_rt.cli._files import Answers
from dashscope_rt.cli._keyboard import Line
from dashscope_rt.cli._stream import Stream
from dashscope_rt.testing import Emulator

from ..peer import SOON
from .conftest import Hand, Talking


def test_somebody_speaks_and_hears_the_answer(talking: Talking, emulator: Emulator, tmp_path: Path) -> None:
    def typing(hand: Hand) -> None:
        talking.wait_for("answer-001.wav")
        assert talking.sounded.wait(2 * SOON)
        hand("/wat")
        hand("/tools")
        hand("/exit")

    code, shown = talking(emulator, typing, "-o", f"{tmp_path}/kept/")
    assert code == 0
    assert "You:   (emulator)" in shown
    assert "Model: This is the emulator. You spoke for" in shown
    assert "there is no command /wat" in shown
    assert read_wav(tmp_path / "kept" / "answer-001.wav").duration_ms > 2000
    assert not talking.ear.is_open
    assert not talking.mouth.is_open


def test_what_is_typed_is_asked_and_its_latency_is_its_own(talking: Talking, emulator: Emulator) -> None:
    def typing(hand: Hand) -> None:
        talking.wait_for("tokens so far")
        hand("And in words?")
        talking.wait_for("tokens so far", count=2)
        hand("/exit")

    code, shown = talking(emulator, typing)
    assert code == 0
    assert "Model: This is the emulator. You wrote: And in words?" in shown
    waits = re.findall(r"answered after (\d+\.\d\d) s", shown)
    assert len(waits) == 2
    assert all(float(wait) < 5 for wait in waits)


def test_a_refusal_is_said_once_and_in_the_better_words(talking: Talking, emulator: Emulator) -> None:
    def typing(hand: Hand) -> None:
        talking.wait_for("tokens so far")
        hand("/voice Ethan")
        talking.wait_for("voice is fixed")
        hand("/tools")
        talking.wait_for("no functions")
        hand("/exit")

    _, shown = talking(emulator, typing)
    assert shown.count("error: ") == 1
    assert "the voice is fixed once the model has spoken" in shown


def test_the_latency_is_that_of_the_answer_and_not_of_the_question_that_cut_it_off() -> None:
    facts: list[str] = []
    heard: dict[str, Any] = {}

    class Session:
        stats = SimpleNamespace(callback_lag_ms=2000.0)

        def on(self, name: str) -> Any:
            return lambda callback: heard.setdefault(name, callback)

        def __getattr__(self, name: str) -> Any:
            return lambda callback: heard.setdefault(name, callback)

    class Shown:
        def __getattr__(self, name: str) -> Any:
            return (lambda text="": facts.append(text)) if name == "over" else (lambda *_, **__: None)

    session = Session()
    Stream(session, Shown(), Answers(None))  # type: ignore[arg-type]
    heard["on_speech_stopped"](None)  # two seconds ago
    asked = time.monotonic() - 2.0
    heard["response.created"](SimpleNamespace(response=SimpleNamespace(id="one")))
    session.stats = SimpleNamespace(callback_lag_ms=0.0)
    heard["on_speech_stopped"](None)  # the next question is over before the first answer is done
    for response_id, first, expected in (("one", asked + 0.5, "0.50"), ("made by nobody here", asked + 9, None)):
        heard["on_done"](
            SimpleNamespace(
                id=response_id,
                usage=None,
                first_text_at=first,
                first_audio_at=None,
                status="completed",
                error=None,
                audio=b"",
                audio_rate=24000,
            )
        )
        found = re.search(r"answered after (\d\.\d)", facts[-1])
        assert (found and found.group(1)) == (expected and expected[:3]), facts


def test_a_missing_device_falls_back_to_the_prompt_unless_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(_self: Any) -> Any:
        raise ImportError('a microphone needs sounddevice: pip install "dashscope_rt[audio]"')

    monkeypatch.setattr(Microphone, "open", missing)
    monkeypatch.setattr(Speaker, "open", missing)
    assert chat._devices(None, None, prompt=False) == (None, None)
    said = capsys.readouterr().err
    assert said.startswith("no microphone: ")
    assert said.count("dashscope_rt[audio]") == 1
    for names in (("usb", None), (None, "usb")):
        with pytest.raises(Exception, match="sounddevice"):
            chat._devices(*names, prompt=False)
    with pytest.raises(Exception, match="--text is without a microphone"):
        chat._devices("usb", None, prompt=True)


def test_what_a_model_says_cannot_command_the_terminal() -> None:
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
    out, display = screen(40)
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


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def screen(width: int) -> tuple[Screen, Display]:
    out = Screen()
    display = Display(Console(file=out))
    display.console = Console(file=out, width=width, force_terminal=False)
    display.live = True
    return out, display


def test_a_terminal_that_changes_its_width_loses_no_word() -> None:
    out, display = screen(30)
    words = [f"word{number}" for number in range(60)]
    for number, word in enumerate(words):
        display.console.width = 24 if number % 9 < 4 else 77
        display.said(f"{word} " + ("\n\n" if number == 30 else ""))
    display.over()
    assert out.getvalue().replace("Model:", "").split() == words


def test_long_lines_stay_beside_what_they_belong_to() -> None:
    out, display = screen(40)
    display.heard("a question that is so long that it needs more than one line", final=True)
    display.line("       a path that is long/and/longer/than/a/line/and so on", "dim")
    display.line("       /audio FILE        ask with a sound file (WAV, .pcm) of yours", hang=19)
    rows = [row.rstrip() for row in out.getvalue().splitlines()]
    assert rows[0].startswith("You:   a question")
    assert all(row.startswith("       ") for row in rows[1:])
    assert max(map(len, rows)) <= 40
    assert rows[-1].startswith(" " * 19)


def test_what_comes_while_somebody_is_asked_waits() -> None:
    out, display = screen(80)
    with display.aside():
        display.line("later")
        assert out.getvalue() == ""
    assert out.getvalue() == "later\n"


@pytest.mark.parametrize(
    ("typed", "lines", "left"),
    [
        ("hallo\n", ["hallo"], ""),
        ("grüß 你好 😀", [], "grüß 你好 😀"),
        ("abc\x7f\x7fx\r", ["ax"], ""),
        ("one two\x17three\x15four\n", ["four"], ""),
        ("a\x1b[Ab\x1b[1;5Cc\x1bOP\x1bxd\n", ["abcd"], ""),
        ("ab\x04\n\x04", ["ab", None], ""),
        ("a\x07\x00b\n", ["ab"], ""),
    ],
)
def test_a_line_that_is_typed(typed: str, lines: list[str | None], left: str) -> None:
    whole = Line()
    assert list(whole.feed(typed.encode())) == lines
    assert whole.text == left
    by_byte = Line()
    found = [line for byte in typed.encode() for line in by_byte.feed(bytes([byte]))]
    assert (found, by_byte.text) == (lines, left)


def test_rt_is_what_users_have() -> None:
    """The command line imports no private module of the package."""
    folder = Path(chat.__file__).parent
    for path in folder.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "dashscope_rt._" not in text, path.name
        assert "from .._" not in text, path.name
    assert rt.__all__
