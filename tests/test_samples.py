"""The samples run as a person runs them: as programs, against the emulator."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from dashscope_rt.audio import read_wav

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "samples"


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DASHSCOPE_")}
    environment["PYTHONPATH"] = str(ROOT)
    environment["PYTHONIOENCODING"] = "utf-8"
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        encoding="utf-8",
    )


def test_ask_prints_both_transcripts_and_saves_the_spoken_answer(tmp_path: Path) -> None:
    question = SAMPLES / "data" / "question.wav"
    done = run(str(SAMPLES / "01_ask.py"), str(question), "-o", "my answer.wav", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "emulator" in done.stdout
    assert "You:   (emulator) 3.6 seconds of speech" in done.stdout
    assert "Model: This is the emulator." in done.stdout
    answer = read_wav(tmp_path / "my answer.wav")
    assert answer.rate == 24000
    assert abs(answer.duration_ms - read_wav(question).duration_ms) < 200, "it plays back what it heard"


def test_ask_says_in_one_line_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    (tmp_path / "song.mp3").write_bytes(b"ID3")
    done = run(str(SAMPLES / "01_ask.py"), "song.mp3", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "not a WAV file" in done.stderr


def test_every_sample_is_run_by_a_test() -> None:
    tests = Path(__file__).read_text(encoding="utf-8")
    for sample in SAMPLES.glob("*.py"):
        assert sample.name in tests, f"{sample.name} is run by no test"
