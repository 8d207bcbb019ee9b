"""Client and emulator together: every flow the service is known for, from the microphone's bytes to the answer's."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashscope_rt import (
    AudioFormat,
    AuthenticationError,
    BadRequestError,
    ConnectionClosed,
    PermissionDeniedError,
    QuotaExceededError,
    RealtimeClient,
    RealtimeSession,
    ServiceBusyError,
    Timeouts,
    Turn,
)
from dashscope_rt.audio import chunks, read_wav, silence
from dashscope_rt.testing import Answer, Emulator, FunctionCall
from tests.client.wire import FREE_TIER, KEY, MODEL, OLD_MODEL, Background, Heard
from tests.peer import SOON

AUDIO = Path(__file__).parent.parent / "audio"
WEATHER = AUDIO / "weather_en.wav"
NEWEST = "qwen3.8-omni-flash-realtime"
TURBO = "qwen-omni-turbo-realtime"
JPEG = (
    b"\xff\xd8\xff\xe0\x00\x04\x00\x00\xff\xc0\x00\x0b\x08\x01\xe0\x02\x80\x01\x01\x11\x00\xff\xd9"  # 640 x 480
)
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": {"type": "object"}}}]


class Service:
    """Starts emulators, and clients that know them."""

    def __init__(self) -> None:
        self.emulators: list[Emulator] = []

    def __call__(self, answer: Any = None, **options: Any) -> Emulator:
        emulator = Emulator(answer, **options).start()
        self.emulators.append(emulator)
        return emulator

    def session(self, emulator: Emulator, model: str = MODEL, **options: Any) -> RealtimeSession:
        client = RealtimeClient(KEY, url=emulator.url, proxy="", ca_file=emulator.ca_file, timeouts=Timeouts(turn=20, cancel=0.5))
        return client.session(model, **options)


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    for emulator in made.emulators:
        emulator.close()
    for emulator in made.emulators:
        emulator.check()


def types(emulator: Emulator) -> list[str]:
    """What the client sent, repeats of the same kind as one."""
    found: list[str] = []
    for record in emulator.received:
        if not found or found[-1] != record.type:
            found.append(record.type)
    return found


def spoken_to(turn: Turn) -> tuple[str, str, bool]:
    return turn.status, turn.text, bool(turn.audio)


# ---- turns --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [MODEL, NEWEST, OLD_MODEL, TURBO])
@pytest.mark.parametrize("modalities", [["text", "audio"], ["text"]])
def test_a_spoken_question_in_manual_mode(service: Service, model: str, modalities: list[str]) -> None:
    emulator = service([Answer(text="It is sunny.", input_transcript="What is the weather?")])
    with service.session(emulator, model, turn_detection=None, modalities=modalities) as session:
        turn = session.ask(WEATHER)
    assert spoken_to(turn) == ("completed", "It is sunny.", "audio" in modalities)
    assert turn.input_transcript in ("What is the weather?", "")
    assert turn.usage is not None
    assert turn.audio_rate == 24000
    assert types(emulator) == ["session.update", "input_audio_buffer.append", "input_audio_buffer.commit", "response.create"]


@pytest.mark.parametrize("model", [MODEL, NEWEST, OLD_MODEL, TURBO])
def test_a_spoken_question_in_vad_mode(service: Service, model: str) -> None:
    emulator = service([Answer(text="It is sunny.", input_transcript="What is the weather?")])
    with service.session(emulator, model) as session:
        turn = session.ask(WEATHER)
    assert spoken_to(turn) == ("completed", "It is sunny.", True)
    assert turn.input_transcript == "What is the weather?"
    assert turn.timing.speech_stopped_ms is not None
    assert set(types(emulator)) <= {"session.update", "input_audio_buffer.append"}


def test_semantic_vad(service: Service) -> None:
    emulator = service([Answer(text="It is sunny.")])
    with service.session(emulator, turn_detection="semantic_vad") as session:
        assert session.ask(WEATHER).text == "It is sunny."


def test_a_turn_the_semantic_vad_rejects(service: Service) -> None:
    emulator = service([Answer(text="", reject_semantic=True), Answer(text="Now I heard you.")])
    with service.session(emulator, turn_detection="semantic_vad") as session:
        with pytest.raises(BadRequestError, match="semantic turn detection"):
            session.ask(WEATHER)
        assert session.is_open
        assert session.ask(WEATHER).status == "completed"


def test_the_default_answer_is_what_was_heard(service: Service) -> None:
    emulator = service()
    question = read_wav(WEATHER)
    with service.session(emulator, turn_detection=None) as session:
        turn = session.ask(WEATHER)
    assert abs(len(turn.audio) / 2 / turn.audio_rate - question.duration_ms / 1000) < 0.3


def test_a_stream_gives_its_pieces_and_its_transcript(service: Service) -> None:
    emulator = service([Answer(text="It is sunny today, and it will stay so.", input_transcript="What is the weather?")])
    with service.session(emulator) as session:
        turn = session.ask(WEATHER, stream=True)
        pieces = list(turn)
    text = "".join(piece.text for piece in pieces)
    assert text == turn.text == "It is sunny today, and it will stay so."
    assert b"".join(piece.audio for piece in pieces) == turn.audio
    assert [piece.input_transcript.text for piece in pieces if piece.input_transcript][-1] == "What is the weather?"


@pytest.mark.parametrize(("model", "how"), [(MODEL, "item"), (NEWEST, "item"), (OLD_MODEL, "instructions"), (TURBO, "instructions")])
@pytest.mark.parametrize("detection", [None, "server_vad"])
def test_a_written_question(service: Service, model: str, how: str, detection: str | None) -> None:
    emulator = service(lambda heard: Answer(text=f"You said {heard.text or heard.response_instructions}"))
    with service.session(emulator, model, turn_detection=detection) as session:
        turn = session.ask(text="Hello?")
    assert turn.text == "You said Hello?"
    assert ("conversation.item.create" in types(emulator)) is (how == "item")


@pytest.mark.parametrize("audio", [None, WEATHER], ids=["alone", "with speech"])
def test_pictures(service: Service, audio: Path | None) -> None:
    emulator = service(lambda heard: Answer(text=f"{len(heard.images)} pictures"))
    with service.session(emulator, turn_detection=None) as session:
        turn = session.ask(audio, text="What is on them?", images=[JPEG, JPEG])
    assert turn.text == "2 pictures"


def test_other_rates(service: Service) -> None:
    emulator = service([Answer(text="Yes.")])
    formats = {"input_audio_format": AudioFormat(sample_rate=8000), "output_audio_format": AudioFormat(sample_rate=48000)}
    with service.session(emulator, turn_detection=None, **formats) as session:
        turn = session.ask(silence(1000, 8000))
        assert session.output_rate == 48000
    assert turn.audio_rate == 48000


def test_several_turns_in_one_session(service: Service) -> None:
    emulator = service(["One.", "Two.", "Three."])
    with service.session(emulator, turn_detection=None) as session:
        assert [session.ask(text="?").text for _ in range(3)] == ["One.", "Two.", "Three."]


def test_one_question_in_one_line(service: Service) -> None:
    emulator = service(["Sunny."])
    client = RealtimeClient(KEY, url=emulator.url, proxy="")
    assert client.ask(WEATHER).text == "Sunny."
    emulator.wait_closed()
    assert [(each.closed_by, each.close_code) for each in emulator.connections] == [("client", 1000)]


@pytest.mark.parametrize("question", [{"audio": "absent.wav"}, {"text": "?", "images": [Path("absent.jpg")]}])
def test_no_connection_is_made_for_a_file_that_is_not_there(service: Service, question: dict[str, Any]) -> None:
    emulator = service()
    with pytest.raises(FileNotFoundError, match="absent"):
        RealtimeClient(KEY, url=emulator.url, proxy="").ask(**question)
    assert emulator.connections == []


def test_over_tls(service: Service) -> None:
    emulator = service(["Sunny."], tls=True)
    with service.session(emulator, turn_detection=None) as session:
        assert session.ask(WEATHER).text == "Sunny."


# ---- functions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("detection", [None, "server_vad"])
@pytest.mark.parametrize("calls", [1, 3])
def test_functions_are_followed_to_the_spoken_answer(service: Service, detection: str | None, calls: int) -> None:
    wanted = [FunctionCall("get_weather", {"city": city}, f"call_{city}") for city in ("Rome", "Oslo", "Lima")[:calls]]

    def answer(heard: Any) -> Answer:
        if heard.function_outputs:
            return Answer(text=" ".join(sorted(heard.function_outputs.values())))
        return Answer(function_calls=wanted)

    emulator = service(answer)
    options: dict[str, Any] = {"on_function_call": lambda call: call.respond(f"{call.arguments['city']}: 22")}
    with service.session(emulator, turn_detection=detection, tools=TOOLS, **options) as session:
        turn = session.ask(WEATHER)
    assert turn.text == " ".join(sorted(f"{call.arguments['city']}: 22" for call in turn.function_calls))
    assert len(turn.function_calls) == calls
    creates = [record for record in emulator.received if record.type == "response.create"]
    assert len(creates) == (2 if detection is None else 1)


def test_where_the_service_goes_on_by_itself_after_functions_no_second_create_is_sent(service: Service) -> None:
    def answer(heard: Any) -> Answer:
        return Answer(text="22.") if heard.function_outputs else Answer(function_calls=[FunctionCall("get_weather")])

    emulator = service(answer, continue_after_tools=True)
    errors = Heard()
    options: dict[str, Any] = {"on_function_call": lambda call: call.respond("22"), "on_error": errors}
    with service.session(emulator, tools=TOOLS, **options) as session:
        assert session.ask(WEATHER).text == "22."
    assert len([record for record in emulator.received if record.type == "response.create"]) <= 1


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_functions_of_a_response_that_is_not_completed_are_not_called(service: Service, status: str) -> None:
    emulator = service([Answer(function_calls=[FunctionCall("get_weather")], status=status)])  # type: ignore[arg-type]
    calls, done = Heard(), Heard()
    with service.session(emulator, turn_detection=None, tools=TOOLS, on_function_call=calls, on_done=done) as session:
        session.send_text("Weather?")
        session.create_response()
        assert done.get().status == status
    assert calls.all == []


# ---- cancelling and interrupting ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sends_done", [True, False])
def test_cancelling_an_answer(service: Service, sends_done: bool) -> None:
    emulator = service([Answer(text="word " * 200, hold_after_ms=200), "Next."], cancel_sends_done=sends_done)
    first, done = threading.Event(), Heard()
    with service.session(emulator, turn_detection=None, on_done=done) as session:
        session.on_audio_delta(lambda _: first.set())
        turn = session.ask(text="Tell me a story.", stream=True)
        assert first.wait(SOON)
        assert session.cancel_response() is True
        turn.wait()
        assert turn.status == "cancelled"
        assert done.get().status == "cancelled"
        assert session.cancel_response() is False
        assert session.ask(text="And now?").text == "Next."


@pytest.mark.parametrize("ends", ["cancelled", "completed", "incomplete", None])
def test_barge_in(service: Service, ends: Any) -> None:
    """The user speaks into the answer; the client sends no cancel, and late pieces belong to nobody."""
    story = Answer(text="word " * 100, hold_after_ms=300)
    emulator = service([story, Answer(text="Yes?")], barge_in_done=ends, late_deltas=3)
    first, interrupted, done = threading.Event(), Heard(), Heard()
    with service.session(emulator) as session:
        session.on_audio_delta(lambda _: first.set())
        turn = session.ask(text="Tell me a story.", stream=True)
        assert first.wait(SOON)
        session.on_speech_started(interrupted)
        session.on_done(done)
        for piece in chunks(read_wav(WEATHER).pcm + silence(1500, 16000), 100, 16000):
            session.append_audio(piece)
        interrupted.get()
        responses = [done.get(), done.get()]
        assert [response.status for response in responses] == [ends or "cancelled", "completed"]
        assert responses[1].text == "Yes?"
        assert turn.responses[0] is responses[0]
    assert "response.cancel" not in types(emulator)


# ---- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("body", ["flat", "nested", "empty"])
def test_a_wrong_key(service: Service, status: int, body: str) -> None:
    emulator = service(api_keys={"sk-good"}, refusal_status=status, refusal_body=body)
    with pytest.raises((AuthenticationError, PermissionDeniedError)) as caught:
        service.session(emulator).connect()
    assert caught.value.status == status
    assert isinstance(caught.value, AuthenticationError) or (status == 403 and body == "empty")


def test_what_is_refused_leaves_the_session_open(service: Service) -> None:
    emulator = service(["Sunny."])
    errors = Heard()
    with service.session(emulator, turn_detection=None, on_error=errors) as session:
        with pytest.raises(BadRequestError, match="buffer too small"):
            session.wait_ack(session.commit(), SOON)
        assert "buffer too small" in errors.get().message
        session.send_raw({"type": "input_image_buffer.append", "image": base64.b64encode(JPEG).decode()})
        assert "append image" in errors.get().message
        with pytest.raises(BadRequestError, match="Unknown function call id"):
            item = {"type": "function_call_output", "call_id": "call_none", "output": "x"}
            session.wait_ack(session.create_item(item), SOON)
        with pytest.raises(BadRequestError):
            session.wait_ack(session.update(modalities=["text"], extra={"temperature": 99}), SOON)
        session.send_raw({"type": "no.such.event"})
        assert session.ask(text="?").text == "Sunny."


def test_a_failed_response(service: Service) -> None:
    emulator = service([Answer(text="Sun", status="failed"), "Sunny."])
    with service.session(emulator, turn_detection=None) as session:
        with pytest.raises(Exception, match=r".") as caught:
            session.ask(text="?")
        assert caught.value.turn.status == "failed"  # type: ignore[attr-defined]
        assert session.ask(text="?").text == "Sunny."


def test_a_quota_that_ends_in_the_middle(service: Service) -> None:
    emulator = service([Answer(text="word " * 50, hold_after_ms=100, close=(1007, FREE_TIER))])
    closed = Heard()
    with service.session(emulator, turn_detection=None, on_close=closed) as session:
        with pytest.raises((ConnectionClosed, QuotaExceededError), match="free tier") as caught:
            asking = Background(session.ask, text="?")
            emulator.wait_for("response.create")
            emulator.release()
            asking.result(20)
        assert caught.value.turn.text  # type: ignore[attr-defined]
        info = closed.get()
    assert (info.who, info.code, info.reason) == ("server", 1007, FREE_TIER)
    assert isinstance(info.error, QuotaExceededError)


def test_the_idle_time_out_of_the_service(service: Service) -> None:
    emulator = service(response_idle_s=0.3)
    closed, errors = Heard(), Heard()
    with service.session(emulator, on_close=closed, on_error=errors):
        assert isinstance(errors.get(), ServiceBusyError)
        info = closed.get()
    assert (info.who, info.error.code) == ("server", "response_idle_timeout")


# ---- endings ------------------------------------------------------------------------------------------------------


def test_omni_is_just_closed(service: Service) -> None:
    emulator = service()
    with service.session(emulator):
        pass
    emulator.wait_closed(connection=1)
    assert "session.finish" not in types(emulator)
    assert [(each.closed_by, each.close_code) for each in emulator.connections] == [("client", 1000)]


def test_a_connection_the_service_drops(service: Service) -> None:
    emulator = service([Answer(text="word " * 50, hold_after_ms=100)])
    closed = Heard()
    with service.session(emulator, turn_detection=None, on_close=closed) as session:
        asking = Background(session.ask, text="?")
        emulator.wait_for_sent("response.audio.delta")
        emulator.drop(1006)
        error = asking.error()
        assert isinstance(error, ConnectionClosed)
        assert (closed.get().who, closed.all[0].code) == ("network", 1006)


def test_a_session_is_opened_again(service: Service) -> None:
    emulator = service(["Sunny."])
    session = service.session(emulator, turn_detection=None)
    ids = []
    for _ in range(3):
        with session:
            ids.append(session.id)
            assert session.ask(text="?").text == "Sunny."
    assert len(set(ids)) == 3
