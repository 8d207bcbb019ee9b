"""What the README shows works as it stands there."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashscope_rt.audio import FakeDevice, chunks, read_wav, silence
from dashscope_rt.testing import Answer, Emulator, FunctionCall, Heard

from .blocks import blocks_of
from .peer import SOON

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [block.text for block in blocks_of(ROOT / "README.md") if block.language == "python"]
RUN: set[str] = set()
QUESTION = ROOT / "samples" / "data" / "question.wav"


class Speaker:
    def __init__(self) -> None:
        self.heard = bytearray()
        self.sounded = threading.Event()
        self.stopped = threading.Event()

    def write(self, pcm: bytes) -> None:
        self.heard += pcm
        self.sounded.set()

    def stop(self) -> None:
        self.stopped.set()


def microphone(speaker: Speaker) -> Iterator[bytes]:
    """The question, then silence until the answer begins to sound."""
    yield from chunks(read_wav(QUESTION).pcm, 100, 16000)
    deadline = time.monotonic() + SOON
    while not speaker.sounded.wait(0.01) and time.monotonic() < deadline:
        yield silence(100, 16000)


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Emulator]:
    with Emulator() as emulator:
        monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-readme")
        monkeypatch.setenv("DASHSCOPE_REALTIME_URL", emulator.url)
        (tmp_path / "samples").symlink_to(ROOT / "samples")
        monkeypatch.chdir(tmp_path)
        yield emulator
        emulator.check()


def test_the_callback_program_hears_an_answer(emulator: Emulator) -> None:
    speaker = Speaker()
    exec(compile(BLOCKS[0], "README.md", "exec"), {"speaker": speaker, "microphone": microphone(speaker)})
    assert speaker.heard
    assert speaker.stopped.is_set()


def test_the_blocking_program_prints_and_saves_an_answer(
    emulator: Emulator, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    exec(compile(BLOCKS[1], "README.md", "exec"), {})
    assert re.search(r"\S.* -> \S.* \d+(\.\d+)? ms", capsys.readouterr().out)
    assert read_wav(tmp_path / "answer.wav").duration_ms > 1000


def block(beginning: str) -> str:
    """The one block that holds this text; blocks come and go, their order does not matter."""
    (found,) = [text for text in BLOCKS if beginning in text]
    RUN.add(found)
    return found


def test_the_session_with_everything_is_accepted_by_its_model() -> None:
    names: dict[str, Any] = {}
    exec(compile(block("llm-example"), "README.md", "exec"), names)
    assert names["client"].url.startswith("wss://llm-example.ap-southeast-1.")
    assert "Be brief." not in repr(names["session"].config)


def test_the_emulator_answers_as_the_function_says() -> None:
    exec(compile(block("lambda heard"), "README.md", "exec"), {})


def test_the_tool_is_called_and_its_result_becomes_the_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def model(heard: Heard) -> Answer:
        calls = [] if heard.function_outputs else [FunctionCall("weather", {"city": "Rome"})]
        return Answer(text=" ".join(heard.function_outputs.values()), function_calls=calls)

    with Emulator(answer=model) as emulator:
        monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-readme")
        monkeypatch.setenv("DASHSCOPE_REALTIME_URL", emulator.url)
        exec(compile(block("def weather"), "README.md", "exec"), {})
        emulator.check()
    assert capsys.readouterr().out == '{"city": "Rome", "days": 1, "sky": "sunny"}\n'


def test_the_conversation_is_heard_interrupted_and_recorded(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    program = block("rt.Conversation")
    pytest.importorskip("soxr")
    with FakeDevice(QUESTION) as device:
        monkeypatch.setattr("dashscope_rt.audio.devices.SoundDevices", lambda: device)

        def person() -> None:
            emulator.wait_for_sent("response.done")
            device.say(QUESTION)
            emulator.wait_for_sent("response.done", count=2)
            emulator.drop(1000, "enough")

        threading.Thread(target=person, daemon=True).start()
        device.run(speed=4)
        exec(compile(program, "README.md", "exec"), {})
    assert "heard until then: This is" in capsys.readouterr().out
    assert read_wav(tmp_path / "talk.wav").channels == 2


def test_the_fake_device_keeps_time_of_its_own(emulator: Emulator) -> None:
    exec(compile(block("FakeDevice()"), "README.md", "exec"), {})


def test_the_pictures_and_the_video_are_seen(emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    program = block("rt.VideoFeed")
    pytest.importorskip("PIL")
    exec(compile(program, "README.md", "exec"), {})
    picture, video = capsys.readouterr().out.splitlines()
    assert "1 image: 320 x 240 pixels. You wrote: What do you see?" in picture
    assert re.search(r"I received [34] images: 320 x 240.* You spoke for 3.6 seconds", video)


def test_the_notebooks_cell_gives_a_turn_that_shows_itself(emulator: Emulator) -> None:
    names: dict[str, Any] = {}
    exec(compile(block("the last line of a cell"), "README.md", "exec"), names)
    assert "<audio" in names["turn"]._repr_mimebundle_()["text/html"]


def test_the_flask_application_answers_who_is_logged_in(emulator: Emulator) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(block("dashscope_rt.web.flask"), "README.md", "exec"), names)
    with names["app"].test_client() as browser:
        assert browser.post("/voice/ask", json={"text": "Hello!"}).status_code == 401
        with browser.session_transaction() as session:
            session["user"] = "ann"
        assert "You wrote: Hello!" in browser.post("/voice/ask", json={"text": "Hello!"}).text


def test_the_programs_are_as_short_as_promised() -> None:
    lines = [sum(bool(line.strip()) for line in block.splitlines()) for block in BLOCKS]
    assert lines[0] <= 15
    assert lines[1] <= 6


def test_the_readme_says_where_text_and_chat_belong() -> None:
    assert "https://dashscope.aliyuncs.com/compatible-mode/v1" in README


def test_every_python_block_is_run_by_a_test() -> None:
    """Last in this file on purpose: pytest runs in order."""
    assert set(BLOCKS) - RUN == set(BLOCKS[:2]) - RUN
