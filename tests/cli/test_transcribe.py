"""``transcribe``: text, subtitles, several files, a failed one among them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dashscope_rt.audio import read_wav, silence, write_wav
from dashscope_rt.cli._subtitles import Segment, formatted, in_order
from dashscope_rt.cli.main import main
from dashscope_rt.testing import Emulator

from .conftest import KEY, QUESTION, Run, environment

SPEECH = read_wav(QUESTION).pcm


def test_a_file_becomes_text_as_a_program(run: Run, emulator: Emulator) -> None:
    done = run("transcribe", QUESTION, "--speed", "0", "--language", "en", emulator=emulator)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\(emulator\) \d\.\d seconds of speech\n", done.stdout)
    assert emulator.connections[0].model == "qwen3-asr-flash-realtime"
    update = emulator.wait_for("session.update").event["session"]
    assert update["input_audio_transcription"]["language"] == "en"


def test_two_sentences_become_two_subtitles_at_their_times(
    ready: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_wav(tmp_path / "two.wav", SPEECH + silence(2000, 16000) + SPEECH, 16000)
    assert main(["transcribe", str(tmp_path / "two.wav"), "--speed", "0", "--format", "srt"]) == 0
    blocks = capsys.readouterr().out.split("\n\n")
    assert [block.split("\n")[0] for block in blocks] == ["1", "2"]
    starts = [re.search(r"00:00:(\d\d),\d{3} --> 00:00:\d\d,\d{3}\n\(emulator\)", block) for block in blocks]
    assert [int(start.group(1)) for start in starts if start] == [0, 5]


def test_an_omni_model_listens_and_does_not_answer(ready: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", str(QUESTION), "--speed", "0", "-m", "qwen3.5-omni-flash-realtime"]) == 0
    assert "seconds of speech" in capsys.readouterr().out
    assert "response.created" not in [record.type for record in ready.sent]


def test_a_file_that_fails_does_not_stop_the_others(
    ready: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF....WAVEnothing")
    (tmp_path / "good é.wav").write_bytes(QUESTION.read_bytes())
    files = [str(tmp_path / name) for name in ("broken.wav", "missing.wav", "good é.wav")]
    assert main(["transcribe", *files, "--speed", "0", "--format", "json"]) == 1
    shown = capsys.readouterr()
    rows = [json.loads(line) for line in shown.out.splitlines()]
    assert [row["file"] for row in rows] == files
    assert ["error" in row for row in rows] == [True, True, False]
    assert rows[2]["segments"][0]["start_ms"] < 500
    assert rows[2]["seconds"] == pytest.approx(3.6, abs=0.1)
    assert "broken.wav" in shown.err
    assert "2 of 3 files failed" in shown.err


def test_files_go_into_a_folder_and_over_nothing(ready: Emulator, tmp_path: Path) -> None:
    one, two, folder = tmp_path / "one.wav", tmp_path / "two.wav", tmp_path / "sub titles"
    for path in (one, two):
        path.write_bytes(QUESTION.read_bytes())
    command = ["transcribe", str(one), str(two), "--speed", "0", "--format", "vtt", "-o", str(folder)]
    assert main(command) == 0
    assert (folder / "one.vtt").read_text().startswith("WEBVTT\n\n00:00:00.")
    assert (folder / "two.vtt").exists()
    connections = len(ready.connections)
    assert main(command) == 2
    assert len(ready.connections) == connections
    assert main(["transcribe", str(one), str(two), "--format", "srt"]) == 2


def test_silence_is_no_error_but_is_said(ready: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_wav(tmp_path / "quiet.wav", silence(1000, 16000), 16000)
    assert main(["transcribe", str(tmp_path / "quiet.wav"), "--speed", "0"]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "no speech was heard" in shown.err


def test_a_refused_key_is_exit_code_3(ready: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-wrong")
    assert main(["transcribe", str(QUESTION), "--speed", "0"]) == 3


def test_subtitles_are_what_players_want() -> None:
    segments = in_order(
        [Segment(start_ms=3_661_001, end_ms=0, text="b --> c"), Segment(start_ms=-5, end_ms=900, text=" a\nb ")],
        3_662_000,
    )
    assert formatted("srt", segments, name="x", seconds=1) == (
        "1\n00:00:00,000 --> 00:00:00,900\na b\n\n2\n01:01:01,001 --> 01:01:02,000\nb → c\n"
    )
    assert formatted("vtt", segments[:1], name="x", seconds=1) == "WEBVTT\n\n00:00:00.000 --> 00:00:00.900\na b\n"
    assert formatted("text", segments, name="x", seconds=1) == "a b\nb --> c\n"


@pytest.mark.parametrize("raw", [False, pytest.param(True, marks=pytest.mark.full)])
def test_stdin_is_a_file_like_others(run: Run, emulator: Emulator, tmp_path: Path, raw: bool) -> None:
    sound = SPEECH if raw else QUESTION.read_bytes()
    done = run("transcribe", "-", "--speed", "0", "--format", "json", emulator=emulator, stdin=sound)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert row["file"] == "-"
    assert row["seconds"] == pytest.approx(3.6, abs=0.1)
    assert len(row["segments"]) == 1


def test_stdin_is_read_once_and_not_empty(run: Run, emulator: Emulator) -> None:
    assert run("transcribe", "-", "-", emulator=emulator).returncode == 2
    done = run("transcribe", "-", emulator=emulator)
    assert done.returncode == 2
    assert "stdin holds no audio" in done.stderr


def test_a_file_that_is_cut_off_is_transcribed_as_far_as_it_goes(
    ready: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cut.wav").write_bytes(QUESTION.read_bytes()[:60_000])
    assert main(["transcribe", "cut.wav", "--speed", "0", "--format", "json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["seconds"] == pytest.approx(1.9, abs=0.1)
    assert "cut.wav is cut off: 1.9 s of 3.6 s are there" in shown.err


def test_names_are_shown_as_they_are(ready: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "we[red]ird 你 \N{RIGHT-TO-LEFT OVERRIDE}.wav"
    (tmp_path / name).write_bytes(QUESTION.read_bytes())
    assert main(["transcribe", name, "--speed", "0", "-o", "out.txt"]) == 0
    assert "we[red]ird" in capsys.readouterr().err
    assert "seconds of speech" in (tmp_path / "out.txt").read_text(encoding="utf-8")


@pytest.mark.full
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_long_file_takes_little_memory(tmp_path: Path, emulator: Emulator, suffix: str) -> None:
    """Five minutes at 48 kHz in stereo are 58 MB, read whole many times that; two of them at once."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the peak is read from /proc")
    import soundfile

    path = tmp_path / f"long{suffix}"
    noise = np.zeros((48_000, 2), dtype="int16")
    noise[:20_000] = (np.random.default_rng(7).normal(0, 3000, (20_000, 2))).astype("int16")
    with soundfile.SoundFile(path, "w", 48_000, 2, subtype="PCM_16") as file:
        for _ in range(300):
            file.write(noise)
    code = (
        "import sys; from dashscope_rt.__main__ import main\n"
        "code = main(sys.argv[1:])\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(code, int(peak.split()[1]) // 1024)"
    )  # not getrusage(): its peak counts from before the program was loaded, when it was this one
    done = subprocess.run(
        [sys.executable, "-c", code, "transcribe", path, path, "--speed", "0", "--format", "json", "--timeout", "100"],
        capture_output=True, text=True, timeout=115, cwd=tmp_path,
        env=environment(tmp_path, DASHSCOPE_REALTIME_URL=emulator.url, DASHSCOPE_API_KEY=KEY),
    )  # fmt: skip
    *rows, last = done.stdout.splitlines()
    returned, megabytes = map(int, last.split())
    assert returned == 0, done.stderr
    assert [json.loads(row)["seconds"] for row in rows] == [pytest.approx(300, abs=0.2)] * 2
    assert megabytes < 130
