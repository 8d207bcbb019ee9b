"""The samples run as a person runs them: as programs, against the emulator."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets.sync.client

from dashscope_rt.audio import read_wav, write_wav

from .browser.apps import COMMANDS, App

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


@pytest.fixture
def short(tmp_path: Path) -> str:
    """A question of 0.8 s, because the emulator answers in real time by playing it back."""
    path = tmp_path / "short.wav"
    write_wav(path, read_wav(SAMPLES / "data" / "question.wav").pcm[9600 : 9600 + 25600], 16_000)
    return str(path)


def test_ask_prints_both_transcripts_and_saves_the_spoken_answer(tmp_path: Path, short: str) -> None:
    done = run(str(SAMPLES / "01_ask.py"), short, "-o", "my answer.wav", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "emulator" in done.stdout
    assert "You:   (emulator) 0.8 seconds of speech" in done.stdout
    assert "Model: This is the emulator." in done.stdout
    answer = read_wav(tmp_path / "my answer.wav")
    assert answer.rate == 24000
    assert abs(answer.duration_ms - read_wav(short).duration_ms) < 200, "it plays back what it heard"


def test_ask_says_in_one_line_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    (tmp_path / "song.mp3").write_bytes(b"ID3")
    done = run(str(SAMPLES / "01_ask.py"), "song.mp3", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "not a WAV file" in done.stderr


def test_callbacks_tell_what_happens_and_save_the_answer(tmp_path: Path, short: str) -> None:
    done = run(str(SAMPLES / "02_callbacks.py"), short, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines[1:5]] == [
        "The session is open.", "The service noticed the end of the question.", "You", "Model",
    ]  # fmt: skip
    assert read_wav(tmp_path / "answer.wav").duration_ms > 500


def test_microphone_chat_plays_and_records_both_sides(tmp_path: Path, short: str) -> None:
    pytest.importorskip("soxr")
    arguments = ("--wav", short, "--echo", "headset", "--record", "talk.wav")
    done = run(str(SAMPLES / "03_microphone.py"), *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"You: .*\nModel: .*\n\d\.\d s were heard", done.stdout), done.stdout
    both = read_wav(tmp_path / "talk.wav")
    assert (both.channels, both.rate) == (2, 24_000)
    samples = memoryview(both.pcm).cast("h")
    assert max(samples[0::2].tolist()) > 500, "you, on the left"
    assert max(samples[1::2].tolist()) > 500, "the model, on the right"


def test_push_to_talk_asks_between_two_presses_of_enter(tmp_path: Path, short: str) -> None:
    code = f"""
import builtins, runpy, sys, time
replies = iter([(0, ""), (1.2, ""), (1.5, "q")])  # the pauses a person makes, in seconds
def person(prompt):
    print(prompt)
    pause, reply = next(replies)
    time.sleep(pause)
    return reply
builtins.input = person
sys.argv = ["05_push_to_talk.py", "--wav", {short!r}]
runpy.run_path({str(SAMPLES / "05_push_to_talk.py")!r}, run_name="__main__")
"""
    done = run("-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Asked." in done.stdout
    assert "Model: This is the emulator. You spoke for" in done.stdout


def test_a_picture_is_described(tmp_path: Path) -> None:
    picture = str(SAMPLES / "data" / "picture.jpg")
    done = run(str(SAMPLES / "06_picture.py"), picture, "What do you see?", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "I received 1 image: 320 x 240 pixels. You wrote: What do you see?" in done.stdout
    done = run(str(SAMPLES / "06_picture.py"), str(SAMPLES / "06_picture.py"), "And this?", cwd=tmp_path)
    assert done.returncode == 1
    assert "no JPEG" in done.stderr


def test_a_video_goes_along_with_the_question(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    clip, question = SAMPLES / "data" / "clip.gif", SAMPLES / "data" / "question.wav"
    done = run(str(SAMPLES / "07_video.py"), str(clip), str(question), "--fps", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    frames = re.search(r"\(with (\d+) frames\)", done.stdout)
    assert frames is not None
    assert 4 <= int(frames.group(1)) <= 8
    assert re.search(r"Model: .*I received \d images: 320 x 240", done.stdout), done.stdout


def test_an_interruption_says_what_was_really_heard(tmp_path: Path) -> None:
    question = str(SAMPLES / "data" / "question.wav")
    done = run(str(SAMPLES / "08_interruption.py"), question, "--after", "0.5", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    cut = re.search(r"Interrupted by speech after (\d+) ms; heard: '(.*)'", done.stdout)
    assert cut is not None, done.stdout
    assert re.search(rf"cancelled: {cut.group(1)} ms heard", done.stdout), done.stdout
    assert "This is the emulator.".startswith(cut.group(2)[:8])
    assert re.search(r"completed: \d+ ms heard", done.stdout), done.stdout
    assert read_wav(tmp_path / "heard.wav").duration_ms > 3000


def test_two_assistants_talk_with_each_other(tmp_path: Path) -> None:
    done = run(str(SAMPLES / "09_two_assistants.py"), "Cats.", "--rounds", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()[1:5]] == ["Ada", "Ben", "Ada", "Ben"]
    dialogue = read_wav(tmp_path / "dialogue.wav")
    assert (dialogue.channels, dialogue.rate) == (2, 16_000)
    assert dialogue.duration_ms > 4000


def test_tools_calls_the_functions_and_prints_the_answer_made_of_them(tmp_path: Path) -> None:
    done = run(str(SAMPLES / "04_tools.py"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "weather('Paris', 'today')" in done.stdout
    assert "weather('Rome', 'tomorrow')" in done.stdout
    # The calls run side by side, so that their results come in either order.
    (answer,) = [line for line in done.stdout.splitlines() if line.startswith("Model: The functions say: ")]
    assert '{"city": "Paris", "sky": "cloudy", "degrees": 17.5}' in answer
    assert done.stderr == ""


@pytest.mark.parametrize("framework", ["flask", "django"])
def test_a_web_application_lets_in_whom_it_has_seen_and_answers(framework: str) -> None:
    """Without a browser; tests/browser does the rest."""
    for needed in (framework, "soxr", *(["daphne", "channels"] if framework == "django" else [])):
        pytest.importorskip(needed)
    app = App(framework, key=False)
    try:
        with urllib.request.urlopen(app.start().url, timeout=10) as page:
            assert "you talk with the emulator on this machine" in page.read().decode()
            cookie = page.headers["Set-Cookie"].partition(";")[0]
        with urllib.request.urlopen(f"{app.url}/voice/dashscope-rt.js", timeout=10) as module:
            assert module.headers.get_content_type() == "text/javascript"
        socket = f"{app.url.replace('http', 'ws')}/voice/ws"
        with pytest.raises(websockets.InvalidStatus):
            websockets.sync.client.connect(socket, proxy=None)
        with websockets.sync.client.connect(socket, additional_headers={"Cookie": cookie}, proxy=None) as browser:
            browser.send('{"type": "start", "version": 1, "rate": 16000, "options": {"language": ["no", "text"]}}')
            browser.send('{"type": "text", "text": "Good morning!"}')
            frames = [json.loads(frame) for frame in _until_done(browser) if isinstance(frame, str)]
        assert frames[0]["type"] == "ready"
        assert frames[-1]["text"] == "This is the emulator. You wrote: Good morning!"
    finally:
        app.close()


def _until_done(browser: websockets.sync.client.ClientConnection) -> Iterator[str | bytes]:
    while True:
        frame = browser.recv(timeout=10)
        yield frame
        if isinstance(frame, str) and json.loads(frame)["type"] == "response_done":
            return


def test_both_web_applications_show_the_same_page() -> None:
    for name in ("templates/talk.html", "static/talk.js", "static/talk.css"):
        flask, django = ((SAMPLES / sample / name).read_bytes() for sample in ("flask_app", "django_app"))
        assert flask == django, f"{name}: change both"


def test_every_sample_is_run_by_a_test() -> None:
    tests = Path(__file__).read_text(encoding="utf-8")
    for sample in SAMPLES.glob("*.py"):
        assert sample.name in tests, f"{sample.name} is run by no test"
    commands = str(COMMANDS)
    for folder in SAMPLES.glob("*_app"):
        assert f"samples/{folder.name}/" in commands, f"{folder.name} is started by no test"
