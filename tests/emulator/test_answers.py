"""What the emulator answers: callables, scripts, the default, its sound and its bill."""

from __future__ import annotations

import base64
import json
import wave
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dashscope_rt.testing import Answer, Emulator, FunctionCall, Heard
from dashscope_rt.testing._images import jpeg_size
from dashscope_rt.testing._response import pieces
from dashscope_rt.testing._sound import pcm_of, read_wav, resample, samples, tones, wav_header
from dashscope_rt.testing._usage import image_tokens, text_tokens

from .conftest import Service
from .talk import AUDIO, MANUAL, NEWEST, OLD, TEXT_ONLY, Event, Machine, Talk, jpeg, read, silence, text_of

TalkTo = Callable[..., Talk]


def ask(machine: Machine, pcm: bytes = silence(200), **params: Any) -> list[Event]:
    machine.update(**MANUAL)
    machine.append(pcm)
    machine.send("input_audio_buffer.commit")
    machine.send("response.create", response=params)
    question = machine.session.question
    if question is not None:
        machine.session.answered(question, machine.answers.ask(question.heard), machine.now)
    return machine.wait()


def sound(events: list[Event]) -> bytes:
    return b"".join(base64.b64decode(event["delta"]) for event in events if event["type"] == "response.audio.delta")


def said(events: list[Event]) -> str:
    return "".join(
        event["delta"]
        for event in events
        if event["type"] in ("response.text.delta", "response.audio_transcript.delta")
    )


def test_a_callable_hears_everything() -> None:
    heard: list[Heard] = []
    machine = Machine(lambda question: heard.append(question))
    machine.update(**MANUAL, instructions="Be kind.")
    machine.append(silence(200))
    machine.send("input_image_buffer.append", image=text_of(jpeg(64, 32)))
    machine.send("input_audio_buffer.commit")
    part = [{"type": "input_text", "text": "Look."}]
    machine.send("conversation.item.create", item={"type": "message", "role": "user", "content": part})
    machine.send("response.create", response={"instructions": "Be brief."})
    question = machine.session.question
    assert question is not None
    found = question.heard
    assert (found.audio, found.rate, found.images) == (silence(200), 16000, (jpeg(64, 32),))
    assert (found.text, found.texts) == ("Look.", ("Look.",))
    assert (found.instructions, found.response_instructions) == ("Be kind.\nBe brief.", "Be brief.")
    assert (found.model, found.turn, found.connection, found.prompted) == (
        machine.session._context.info.name,
        1,
        1,
        True,
    )
    assert found.seconds == 0.2
    assert "Look" not in repr(found)


@pytest.mark.parametrize(
    ("given", "text", "length"),
    [
        ("Sunny.", "Sunny.", len(tones("Sunny.", 24000))),
        (silence(500, 24000), "This is the emulator with 24000 bytes of sound.", 24000),
        (None, "This is the emulator. You spoke for 0.2 seconds; here it is again.", 9600),
        (Answer("Beep.", audio=silence(100, 8000), rate=8000), "Beep.", 4800),
        (Answer("Again.", audio="echo"), "Again.", 9600),
        (Answer("Quiet.", audio=b""), "Quiet.", 0),
        (Answer(audio=silence(300, 24000)), "", 14400),
    ],
)  # fmt: skip
def test_a_callable_may_return(given: Any, text: str, length: int) -> None:
    events = ask(Machine(lambda heard: given))
    assert said(events) == text
    assert len(sound(events)) == length


def test_a_callable_that_returns_nonsense_is_told_so() -> None:
    machine = Machine(lambda heard: 5)
    with pytest.raises(TypeError, match="must return an Answer, str, bytes or None, not int"):
        machine.answers.ask(Heard())


def test_a_callable_that_fails_is_a_failure_of_the_test(service: Service) -> None:
    service.failing = True
    emulator = service(lambda heard: 1 / 0)
    made = service.talk(emulator, **MANUAL)
    made.ask()
    made.until("conversation.item.created")
    made.send("response.create")
    response = made.get("response.done")["response"]
    assert response["status"] == "failed"
    assert response["status_details"]["error"]["code"] == "InternalError"
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        emulator.check()


def test_a_script_is_played_on_each_connection_and_then_the_default(service: Service) -> None:
    emulator = service(["One.", {"text": "Two."}, Answer("Three.")])
    for _ in range(2):
        made = service.talk(emulator, **TEXT_ONLY)
        texts = []
        for _ in range(4):
            made.write("Next?")
            texts.append(said(made.turn()))
        assert texts == ["One.", "Two.", "Three.", "This is the emulator. You wrote: Next?"]


def test_a_script_file(tmp_path: Path) -> None:
    (tmp_path / "beep.wav").write_bytes(wav_header(8000, 1600) + silence(100, 8000))
    turns = [
        {"text": "Beep.", "audio": "beep.wav", "input_transcript": "Please beep."},
        {"audio": "echo", "text": "Back."},
        {"function_calls": [{"name": "f", "arguments": {"a": 1}, "call_id": "call_1"}]},
        {"text": "Half", "status": "incomplete"},
        {"close": [1011, "over"]},
    ]
    path = tmp_path / "script.json"
    for content in (turns, {"turns": turns}):
        path.write_text(json.dumps(content))
        machine = Machine(str(path))
        events = ask(machine)
        assert said(events) == "Beep."
        assert len(sound(events)) == 4800
        assert any(event.get("transcript") == "Please beep." for event in events)
        assert len(sound(ask(machine))) == 9600
        call = ask(machine)[-1]["response"]["output"][0]
        assert (call["name"], call["call_id"], call["arguments"]) == ("f", "call_1", ' {"a": 1}')
        assert ask(machine)[-1]["response"]["status"] == "incomplete"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "no JSON"), ("5", "list of turns"), ('[{"txt": "a"}]', "unknown field 'txt'; did you mean 'text'"),
        ("[5]", "turn 1 must be an object"), ('["ok", {"status": "done"}]', "turn 2 is wrong: status must be one of"),
        ('[{"audio": "none.wav"}]', "turn 1: there is no file"),
        ('[{"function_calls": [{"nome": "f"}]}]', "turn 1 is wrong"),
    ],
)  # fmt: skip
def test_a_wrong_script_is_refused_when_it_is_given(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "script.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=words):
        Emulator(path)


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(TypeError, match="did you mean 'cancel_sends_done'"):
        Emulator(cancel_send_done=True)
    with pytest.raises(ValueError, match="transcription must be one of 'deltas', 'completed', 'off', not 'some'"):
        Emulator(transcription="some")
    with pytest.raises(ValueError, match="pace"):
        Emulator(pace=-1)
    with pytest.raises(TypeError, match="answer must be a callable"):
        Emulator(answer=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="status must be one of"):
        Answer(status="done")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        Emulator("no-such-script.json")


def test_a_wav_that_is_none_fails_the_test(service: Service, tmp_path: Path) -> None:
    service.failing = True
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF")
    emulator = service([Answer("Oh.", audio=bad)])
    made = service.talk(emulator, **MANUAL)
    made.ask()
    made.send("response.create")
    ended = emulator.wait_closed()
    assert (ended.close_code, ended.close_reason) == (1011, "The emulator failed inside.")
    with pytest.raises(AssertionError, match=r"bad\.wav is not a PCM WAV file"):
        emulator.check()


# The default answer


def test_default_answer_to_speech_is_what_was_heard() -> None:
    pcm, _ = read("weather_zh")
    events = ask(Machine(), pcm)
    heard = samples(sound(events))
    again = samples(resample(pcm, 16000, 24000))
    assert heard == again
    assert said(events) == "This is the emulator. You spoke for 5.5 seconds; here it is again."


def test_default_answer_to_pictures() -> None:
    machine = Machine()
    machine.update(**MANUAL)
    machine.append(silence(200))
    for size in ((640, 480), (1280, 720)):
        machine.send("input_image_buffer.append", image=text_of(jpeg(*size)))
    text = said(ask(machine))
    assert "2 images: 640 x 480 pixels, 1280 x 720 pixels" in text


def test_the_default_is_honest_in_its_transcript() -> None:
    assert any(event.get("transcript") == "(emulator) 0.2 seconds of speech" for event in ask(Machine()))


# Sound


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
@pytest.mark.parametrize("container", ["pcm", "wav"])
def test_output_formats(rate: int, container: str) -> None:
    machine = Machine(model="qwen3.5-omni-plus-realtime")
    machine.update(audio={"output": {"format": {"type": container, "sample_rate": rate}}})
    events = ask(machine, read("weather_en")[0])
    data = sound(events)
    if container == "wav":
        assert data[:44] == wav_header(rate)
        data = data[44:]
    assert len(data) / 2 / rate == pytest.approx(57658 / 16000, abs=0.001)
    created = next(event for event in events if event["type"] == "response.created")["response"]
    assert created["output_audio_format"] == container


def test_each_wav_delta_may_be_a_file() -> None:
    machine = Machine(wav_headers="each")
    machine.update(audio={"output": {"format": {"type": "wav"}}})
    deltas = [base64.b64decode(e["delta"]) for e in ask(machine) if e["type"] == "response.audio.delta"]
    assert [delta[:44] for delta in deltas] == [wav_header(24000, len(delta) - 44) for delta in deltas]


def test_tones_last_as_long_as_their_text() -> None:
    short, long = tones("Hi.", 24000), tones("A much longer sentence about the weather.", 24000)
    assert 100 < len(short) / 48 < 300
    assert 1500 < len(long) / 48 < 3000
    assert tones("Hi.", 24000) == short
    assert max(samples(short)) > 3000
    assert len(tones("word " * 1000, 8000)) <= 30 * 16000
    assert tones("", 8000) == b""


def test_resampling_keeps_length_and_shape() -> None:
    ramp = pcm_of(array("h", range(0, 16000, 10)))
    for rate in (8000, 24000, 48000):
        there = samples(resample(ramp, 16000, rate))
        assert len(there) == 1600 * rate // 16000
        assert list(there) == sorted(there)
        assert there[-1] == pytest.approx(15990, abs=25)
    assert resample(ramp, 16000, 16000) == ramp
    assert resample(b"", 16000, 8000) == b""


def test_wav_files_of_several_kinds(tmp_path: Path) -> None:
    assert read_wav(AUDIO / "weather_en.wav") == read("weather_en")
    path = tmp_path / "stereo.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(pcm_of(array("h", [10, 20] * 10)))
    assert read_wav(path) == (pcm_of(array("h", [15] * 10)), 8000)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(bytes(10))
    with pytest.raises(ValueError, match="8-bit samples"):
        read_wav(path)


@pytest.mark.parametrize(
    "text", ["Hello there, world!", "今天下午三点在图书馆见面。", " a  b ", "é🙂 x", "MIX 中文 mix"]
)
def test_pieces_join_to_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text
    assert len(pieces(text)) > 1


# The bill


def test_tokens() -> None:
    assert text_tokens("") == 0
    assert text_tokens("abcd") == 1
    assert text_tokens("abcde") == 2
    assert text_tokens("中文") == 2
    assert image_tokens(jpeg(64, 64)) == 4
    assert image_tokens(jpeg(640, 480)) == 300
    assert image_tokens(jpeg(1920, 1080)) == 1280
    assert image_tokens(jpeg(280, 280), 28) == 100


@pytest.mark.parametrize(
    ("model", "into", "out"),
    [("qwen3.5-omni-plus-realtime", 26, 46), (OLD, 46, 46), ("qwen-omni-turbo-realtime", 91, 91)],
)
def test_audio_is_billed_by_the_second(model: str, into: int, out: int) -> None:
    usage = ask(Machine(model=model), read("weather_en")[0])[-1]["response"]["usage"]
    assert usage["input_tokens_details"]["audio_tokens"] == into
    assert usage["output_tokens_details"]["audio_tokens"] == out
    assert usage["output_tokens_details"]["text_tokens"] == text_tokens(
        "This is the emulator. You spoke for 3.6 seconds; here it is again."
    )


def test_history_is_billed_again_and_less_than_a_second_is_one() -> None:
    machine = Machine([Answer("Four", audio=b""), Answer("Four", audio=b"")])
    machine.update(instructions="12345678")
    first = ask(machine)[-1]["response"]["usage"]
    second = ask(machine)[-1]["response"]["usage"]
    assert first["input_tokens_details"] == {"text_tokens": 2, "audio_tokens": 7}
    assert second["input_tokens_details"] == {"text_tokens": 3, "audio_tokens": 14}


def test_compact_pictures_cost_a_quarter_and_search_is_named() -> None:
    machine = Machine(model=NEWEST)
    machine.update(video={"input": {"representation_compact": "normal"}}, enable_search=True)
    machine.update(**MANUAL)
    machine.append(silence(200))
    machine.send("input_image_buffer.append", image=text_of(jpeg()))
    usage = ask(machine)[-1]["response"]["usage"]
    assert usage["input_tokens_details"]["image_tokens"] == 75
    assert usage["plugins"] == {"search": {"count": 1, "strategy": "agent"}}


def test_jpeg_sizes() -> None:
    assert jpeg_size(jpeg(800, 600)) == (800, 600)
    assert jpeg_size(b"\xff\xd8\xff\xff\xff\xd9") is None
    assert jpeg_size(jpeg()[:15]) is None
    assert jpeg_size(b"\xff\xd8abcd") is None
    assert jpeg_size(b"") is None


def test_reprs_keep_what_was_said_to_themselves() -> None:
    answer = Answer("secret", function_calls=[FunctionCall("f", {"a": "secret"})])
    assert "secret" not in repr(answer)
    assert "6 chars" in repr(answer)
