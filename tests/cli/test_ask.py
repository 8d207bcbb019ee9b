"""``ask``: what comes out, where, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dashscope_rt.audio import read_wav
from dashscope_rt.cli.main import main
from dashscope_rt.testing import Answer, Emulator, FunctionCall

from .conftest import KEY, QUESTION, Run

JPEG = b"\xff\xd8\xff\xe0" + bytes(20) + b"\xff\xd9"


def test_a_text_question_prints_the_answer_and_nothing_else_on_stdout(run: Run, emulator: Emulator) -> None:
    done = run("ask", "Wie", "geht's? 你好", emulator=emulator)
    assert (done.returncode, done.stdout) == (0, "This is the emulator. You wrote: Wie geht's? 你好\n")
    assert emulator.wait_for("session.update").event["session"]["modalities"] == ["text"]


def test_audio_in_a_pipe_of_json_keeps_the_sound(run: Run, emulator: Emulator, tmp_path: Path) -> None:
    target = tmp_path / "an answer é.wav"
    done = run("ask", "--audio", QUESTION, "-o", target, "--json", emulator=emulator)
    assert done.returncode == 0
    answer = json.loads(done.stdout)
    assert answer["input_transcript"] == "(emulator) 3.6 seconds of speech"
    assert "You spoke for 3.6 seconds" in answer["text"]
    assert answer["usage"]["total_tokens"] > 0
    assert answer["timing"]["latency_ms"] >= 0
    assert read_wav(target).duration_ms == pytest.approx(answer["audio_ms"], abs=1)
    assert answer["audio_ms"] > 3000


def test_nothing_is_written_over_and_nothing_asked_for_it(run: Run, emulator: Emulator, tmp_path: Path) -> None:
    target = tmp_path / "a.wav"
    target.write_text("precious")
    done = run("ask", "Hello", "-o", target, emulator=emulator)
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert target.read_text() == "precious"
    assert emulator.connections == []


@pytest.mark.full
def test_sound_on_stdin_is_heard_and_sound_on_stdout_is_a_wav(run: Run, emulator: Emulator) -> None:
    done = run("ask", "-o", "-", emulator=emulator, stdin=QUESTION.read_bytes())
    assert done.returncode == 0
    assert read_wav(done.stdout.encode("utf-8", "surrogateescape")).duration_ms > 3000


def test_a_wrong_key_is_exit_code_3_with_a_hint(run: Run, emulator: Emulator) -> None:
    done = run("ask", "Hello", emulator=emulator, DASHSCOPE_API_KEY="sk-wrong-wrong-wrong")
    assert done.returncode == 3
    lines = done.stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "hint"]
    assert done.stdout == ""


@pytest.mark.full
def test_no_network_is_exit_code_1_in_one_line(run: Run) -> None:
    done = run("ask", "Hello", DASHSCOPE_API_KEY=KEY, DASHSCOPE_REALTIME_URL="ws://127.0.0.1:1")
    assert done.returncode == 1
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]
    assert "doctor" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ask"], "there is no question"),
        (["ask", "--audio", "nowhere.wav"], "nowhere.wav"),
        (["ask", "hi", "--key", "sk-in-the-open-in-the-open"], "env:NAME"),
        (["aks"], "did you mean 'ask'?"),
        (["ask", "hi", "-c", "nobody"], "nobody"),
    ],
)
def test_wrong_use_is_exit_code_2(
    emulator: Emulator, arguments: list[str], said: str, ready: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.startswith("error: ")
    assert "sk-in-the-open" not in shown.err + shown.out
    assert emulator.connections == []


def test_a_request_file_asks_and_flags_win_over_it(run: Run, emulator: Emulator, tmp_path: Path) -> None:
    folder = tmp_path / "with a blank"
    folder.mkdir()
    (folder / "q.wav").write_bytes(QUESTION.read_bytes())
    (folder / "request.yaml").write_text(
        "model: qwen3-omni-flash-realtime\nvoice: Ethan\ninstructions: Be brief.\naudio_file: q.wav\n"
        "turn_detection: null\ntemperature: 0.5\nenable_input_audio_transcription: false\n",
        encoding="utf-8",
    )
    done = run("ask", "-f", folder / "request.yaml", "--voice", "Cherry", "--json", emulator=emulator)
    assert done.returncode == 0, done.stderr
    session = emulator.wait_for("session.update").event["session"]
    assert (session["voice"], session["instructions"], session["temperature"]) == ("Cherry", "Be brief.", 0.5)
    assert session["input_audio_transcription"] is None
    assert session["turn_detection"] is None
    assert json.loads(done.stdout)["model"] == "qwen3-omni-flash-realtime"
    assert emulator.connections[0].model == "qwen3-omni-flash-realtime"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("r.yaml", "instrutions: x", "did you mean 'instructions'?"),
        ("r.json", '{"voice": }', "line 1"),
        ("r.yaml", "temperature: 7", "temperature"),
        ("r.yaml", "turn_detection: {type: server_vad, treshold: 0.2}", "threshold"),
        ("r.yaml", "audio_file: gone.wav", "gone.wav"),
        ("r.yaml", "- a list", "mapping"),
    ],
)
def test_a_wrong_request_file_says_what_is_wrong(
    name: str, content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(content)
    assert main(["ask", "-f", str(tmp_path / name), "Hello"]) == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert name in errors


@pytest.mark.full
def test_pictures_and_function_calls_pass(run: Run, tmp_path: Path) -> None:
    (tmp_path / "p.jpg").write_bytes(JPEG)
    (tmp_path / "r.json").write_text(
        json.dumps(
            {"tools": [{"type": "function", "name": "weather", "description": "…", "parameters": {"type": "object"}}]}
        )
    )
    calls = [Answer(function_calls=[FunctionCall("weather", {"city": "Köln"})])]
    with Emulator(calls, api_keys={KEY}) as emulator:
        done = run("ask", "-i", "p.jpg", "-f", "r.json", "--json", "How warm?", emulator=emulator)
        assert done.returncode == 0, done.stderr
        call = json.loads(done.stdout)["function_calls"][0]
        assert call["name"] == "weather"
        assert json.loads(call["arguments"]) == {"city": "Köln"}
        assert emulator.wait_for("input_image_buffer.append")


def test_a_failed_answer_is_exit_code_1(
    ready: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = {"type": "server_error", "code": "internal_error", "message": "It broke."}
    with Emulator([Answer(text="Well", error=error, close=(1011, "It broke."))], api_keys={KEY}) as emulator:
        assert main(["ask", "Hello", "--url", emulator.url]) == 1
    assert "error: It broke." in capsys.readouterr().err


@pytest.mark.full
def test_debug_shows_the_traceback_and_what_happened_but_no_key(run: Run, emulator: Emulator) -> None:
    done = run("ask", "Hello", "--debug", emulator=emulator, DASHSCOPE_API_KEY="sk-wrong-wrong-wrong")
    assert done.returncode == 3
    assert "Traceback" in done.stderr
    assert "sk-wrong-wrong-wrong" not in done.stderr
