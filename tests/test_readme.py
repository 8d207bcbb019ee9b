"""What the README shows works as it stands there."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashscope_rt.audio import chunks, read_wav, silence
from dashscope_rt.testing import Emulator

from .peer import SOON

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
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


def test_every_python_block_is_run_by_a_test() -> None:
    assert len(BLOCKS) == 2


def test_the_programs_are_as_short_as_promised() -> None:
    lines = [sum(bool(line.strip()) for line in block.splitlines()) for block in BLOCKS]
    assert lines[0] <= 15
    assert lines[1] <= 6


def test_the_readme_says_where_text_and_chat_belong() -> None:
    assert "https://dashscope.aliyuncs.com/compatible-mode/v1" in README
