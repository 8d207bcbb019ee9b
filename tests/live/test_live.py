"""What users do, against the service itself; each test says what the service is expected to do."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import dashscope_rt as rt
from dashscope_rt.audio import chunks, read_wav, silence

from .conftest import MODEL, ROOT

QUESTION = ROOT / "samples" / "data" / "question.wav"
FLASH = rt.lookup(MODEL)


def test_a_spoken_question_in_manual_mode(cassette: Any) -> None:
    with cassette(turn_detection=None) as session:
        turn = session.ask(QUESTION)
        assert turn.status == "completed"
        assert turn.text
        assert turn.audio
        assert turn.usage is not None
        assert turn.usage.total_tokens
        assert session.id


def test_a_spoken_question_in_vad_mode(cassette: Any) -> None:
    with cassette(turn_detection=rt.ServerVad(silence_duration_ms=600)) as session:
        turn = session.ask(QUESTION)
        assert turn.text
        assert turn.audio
        assert turn.timing.latency_ms is not None


def test_a_conversation_remembers(cassette: Any) -> None:
    with cassette(turn_detection=None, modalities=["text"]) as session:
        assert session.ask(text="My name is Ottilie. Just say: ok.").text
        assert session.ask(text="What is my name? One word.").text


def test_text_only_answers_have_no_sound(cassette: Any) -> None:
    with cassette(turn_detection=None, modalities=["text"]) as session:
        turn = session.ask(QUESTION)
        assert turn.text
        assert not turn.audio


@pytest.mark.skipif(not FLASH.tools, reason="this model takes no tools")
def test_a_function_is_called_and_answered(cassette: Any) -> None:
    tool = rt.FunctionTool(
        name="lookup_weather",
        description="The weather of a city, now.",
        parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    )
    called: list[str] = []

    def answer(call: rt.FunctionCall) -> None:
        called.append(call.name)
        call.respond({"weather": "sunny", "celsius": 21})

    with cassette(turn_detection=None, modalities=["text"], tools=[tool], on_function_call=answer) as session:
        turn = session.ask(text="What is the weather in Hangzhou? Use the function.")
    assert called
    assert turn.text


def test_an_answer_can_be_stopped(cassette: Any) -> None:
    with cassette(turn_detection=None) as session:
        turn = session.ask(text="Count slowly from one to two hundred, in words.", stream=True)
        next(piece for piece in turn if piece.kind == "audio")
        assert session.cancel_response()
        assert turn.wait(20).status == "cancelled"
        assert session.ask(text="Say: ok.").text


def test_speech_interrupts_the_answer(cassette: Any) -> None:
    speech = read_wav(QUESTION).pcm
    done: list[rt.Response] = []
    sounding, over = threading.Event(), threading.Event()
    session = cassette(turn_detection=rt.ServerVad(silence_duration_ms=500), instructions="Answer at great length.")
    session.on_audio_delta(lambda event: sounding.set())
    session.on_done(lambda response: (done.append(response), over.set() if len(done) > 1 else None))
    with session:
        for pcm in chunks(speech + silence(1500, 16000), 100, 16000):
            session.append_audio(pcm)
        assert sounding.wait(60)
        for pcm in chunks(speech + silence(2500, 16000), 100, 16000):
            session.append_audio(pcm)
        assert over.wait(90)
    assert done[0].status in ("cancelled", "completed", "incomplete")


def test_settings_change_in_the_middle(cassette: Any) -> None:
    with cassette(turn_detection=None) as session:
        session.wait_ack(session.update(instructions="Answer in French only."))
        assert session.ask(QUESTION).text


def test_a_wrong_value_is_refused_with_an_error_event(cassette: Any) -> None:
    with cassette(turn_detection=None) as session:
        event_id = session.send_raw({"type": "session.update", "session": {"voice": "no such voice at all"}})
        with pytest.raises(rt.APIError):
            session.wait_ack(event_id)
        assert session.is_open


def test_a_wrong_key_is_told_at_once() -> None:
    client = rt.RealtimeClient("sk-this-key-does-not-exist-0000")
    with pytest.raises(rt.AuthenticationError):
        client.session(MODEL).connect()


def test_a_model_that_does_not_exist_is_told() -> None:
    session = rt.RealtimeClient().session("no-such-model-realtime", turn_detection=None)
    with pytest.raises(rt.RealtimeError), session:  # at the handshake, or as soon as anything is asked of it
        session.ask(QUESTION, timeout=60)


# A dark disk on light ground, 64 by 64 pixels.
PICTURE = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQc1tdhbWGkJ6jq62rZ4C8yb"
    "qmx5moq6T/wAALCABAAEABAREA/8QAGgABAAMBAQEAAAAAAAAAAAAAAAMFBgIEAf/EACkQAAEDAgYABwADAAAAAAAAAAEAAgMEEQYSITFBUQUj"
    "MnGBocET4fH/2gAIAQEAAD8AvkRERERFxNNFBGXzPaxo5JVVPiCFrrQwukFzck5R8br5HiGMu82nc1tt2uzH8VpT1MFUzNBI14G9tx7jhSoi4n"
    "mZBC+WQ2awXKyddWy1s2eTRo9LBs0LzIpaWplpZhLE6zhxwR0VrKKqZWUzZmC19C297HpToqfEkxbTxQi9pHEkg9cff0s+iIrnDcxEs0GpaW5x"
    "roLabfP0r9FTYljJigluMrXFp71/xUCIiuMNxk1M0txlazKe9T/S0CKKqgbVU0kLtA8Wv0eCsjVU0tLMYpW2cOeCOwokXcUT5pGxxtLnuNgAtZ"
    "4dSCipGxXBdfM4jYlelEUFXRwVkYZMy9vSRoR7Knnw9IHeRM0tJOjxYjrbdfI8PTl3mzRtbbdoLj+K3ovD6eiB/iaS4ixe43JXpREREREX/9k="
)


@pytest.mark.skipif(not FLASH.images, reason="this model takes no pictures")
def test_a_picture_is_taken(cassette: Any) -> None:
    picture = os.environ.get("DASHSCOPE_LIVE_IMAGE")
    with cassette(turn_detection=None, modalities=["text"]) as session:
        turn = session.ask(QUESTION, images=[picture or PICTURE])
        assert turn.text


@pytest.mark.parametrize("model", ["qwen3-asr-flash-realtime"])
def test_speech_is_recognised(cassette: Any, model: str) -> None:
    heard: list[str] = []
    session = cassette(model, turn_detection=rt.ServerVad(silence_duration_ms=600))
    session.on_input_transcript(lambda transcript: heard.append(transcript.text) if transcript.final else None)
    with session:
        for pcm in chunks(read_wav(QUESTION).pcm + silence(1500, 16000), 100, 16000):
            session.append_audio(pcm)
        session.finish(60)
    assert any(heard)


@pytest.mark.parametrize(
    "arguments",
    [
        ["ask", "Say: ok."],
        ["ask", "--audio", str(QUESTION), "-o", "answer.wav", "--json"],
        ["transcribe", str(QUESTION), "--format", "srt"],
        ["doctor"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_the_command_line(arguments: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DASHSCOPE_RT_CONFIG": str(tmp_path / "none.yaml")}
    done = subprocess.run(
        [sys.executable, "-m", "dashscope_rt", *arguments],
        capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=150, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    if "--json" in arguments:
        assert json.loads(done.stdout)["text"]
        assert read_wav(tmp_path / "answer.wav").duration_ms > 200


def test_the_command_line_hears_sound_in_a_pipe(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DASHSCOPE_RT_CONFIG": str(tmp_path / "none.yaml")}
    done = subprocess.run(
        [sys.executable, "-m", "dashscope_rt", "chat", "-o", "kept/"],
        input=QUESTION.read_bytes(), capture_output=True, cwd=tmp_path, env=environment, timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"Model: " in done.stdout
    assert (tmp_path / "kept" / "answer-001.wav").exists()
