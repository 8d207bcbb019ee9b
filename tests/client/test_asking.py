"""ask(): one question, its answer; in manual and in VAD mode, whole and as a stream, through function calls."""

from __future__ import annotations

import base64
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashscope_rt import AudioFormat, Turn, WaitInCallbackError, events
from dashscope_rt.audio import wav_bytes
from tests.client.wire import (
    MODEL,
    OLD_MODEL,
    PCM,
    TRANSLATE,
    Background,
    Dialled,
    Event,
    Heard,
    audio_delta,
    call_item,
    calling,
    client_for,
    committed,
    created,
    dialled,
    item_done,
    manual,
    message,
    output_item,
    response_created,
    response_done,
    speech_started,
    speech_stopped,
    speech_text_delta,
    spoken,
    text_delta,
    text_item,
    transcribed,
    transcript,
    updated,
    user_item,
    written,
)
from tests.peer import SOON, Line, Peer

QUESTION = b"\x10\x00" * 16000  # 1 s
JPEG = b"\xff\xd8\xff\xe0" + b"picture" * 10 + b"\xff\xd9"


def take_audio(at: Dialled) -> tuple[bytes, list[str], Event]:
    """Read the question up to its commit: the audio, the types in order, and the commit."""
    audio, types = b"", []
    while True:
        event = at.line.read_event()
        types.append(event["type"])
        if event["type"] == "input_audio_buffer.append":
            audio += base64.b64decode(event["audio"])
        elif event["type"] != "input_image_buffer.append":
            return audio, types, event


def play(at: Dialled, sent: list[Event]) -> None:
    for event in sent:
        at.line.send(event)


# ---- manual mode --------------------------------------------------------------------------------------------------


def test_a_spoken_question_in_manual_mode() -> None:
    with manual() as at:
        asking = Background(at.session.ask, QUESTION)
        audio, types, last = take_audio(at)
        assert audio == QUESTION
        assert types == ["input_audio_buffer.append"] * 10 + ["input_audio_buffer.commit"]
        assert at.sees_nothing() == []  # the answer is asked for when the question was taken
        play(at, [committed(), user_item()])
        assert at.line.read_event()["type"] == "response.create"
        play(at, [transcript("What", " is"), transcribed("What is this?"), *spoken("A test.")])
        turn = asking.result()
    assert last["type"] == "input_audio_buffer.commit"
    assert isinstance(turn, Turn)
    assert (turn.status, turn.done, turn.text, turn.input_transcript) == ("completed", True, "A test.", "What is this?")
    assert (turn.audio, turn.audio_rate) == (PCM + PCM, 24000)
    assert [response.id for response in turn.responses] == ["resp_1"]
    assert turn.function_calls == ()
    assert turn.usage.total_tokens == 30


def test_a_written_question_is_an_item_on_models_that_take_it() -> None:
    with manual() as at:
        asking = Background(at.session.ask, text="Hello?")
        event = at.line.read_event()
        assert event["item"]["content"] == [{"type": "input_text", "text": "Hello?"}]
        assert at.sees_nothing() == []
        at.line.send(text_item("Hello?"))
        assert "response" not in at.line.read_event("response.create")
        play(at, written("Hi."))
        assert asking.result().text == "Hi."


def test_a_written_question_is_the_instructions_of_one_response_on_older_models() -> None:
    with manual(OLD_MODEL) as at:
        asking = Background(at.session.ask, text="Hello?")
        assert at.line.read_event()["response"] == {"instructions": "Hello?"}
        play(at, written("Hi."))
        assert asking.result().text == "Hi."


def test_speech_and_text_together() -> None:
    with manual() as at:
        asking = Background(at.session.ask, QUESTION, text="Answer in French.")
        take_audio(at)
        play(at, [committed(), user_item()])
        assert at.line.read_event()["type"] == "conversation.item.create"
        at.line.send(text_item("Answer in French.", "item_u2"))
        at.line.read_event("response.create")
        play(at, spoken("Oui."))
        assert asking.result().text == "Oui."


def test_a_question_without_any_input_asks_for_an_answer_to_what_is_there() -> None:
    with manual() as at:
        asking = Background(at.session.ask)
        assert at.line.read_event()["type"] == "response.create"
        play(at, written())
        assert asking.result().text == "Sunny."


def test_pictures_go_after_the_first_audio() -> None:
    with manual() as at:
        asking = Background(at.session.ask, QUESTION, images=[JPEG, JPEG])
        _, types, _ = take_audio(at)
        assert types == [
            "input_audio_buffer.append",
            *["input_image_buffer.append"] * 2,
            *["input_audio_buffer.append"] * 9,
            "input_audio_buffer.commit",
        ]
        at.line.send(committed())
        at.line.read_event("response.create")
        play(at, spoken())
        asking.result()


def test_pictures_without_audio_get_a_second_of_silence_each() -> None:
    with manual() as at:
        asking = Background(at.session.ask, text="What is this?", images=[JPEG, JPEG])
        audio, types, _ = take_audio(at)
        assert types == [*["input_audio_buffer.append", "input_image_buffer.append"] * 2, "input_audio_buffer.commit"]
        assert audio == bytes(2 * 32000)
        at.line.send(committed())
        at.line.read_event("conversation.item.create")
        at.line.send(text_item("What is this?", "item_u2"))
        at.line.read_event("response.create")
        play(at, spoken())
        asking.result()


@pytest.mark.parametrize(
    "kind", ["path", "str", "wav bytes", "pcm", "bytearray", "memoryview", "iterable", "generator"]
)
def test_audio_is_taken_in_every_form(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "question ü.wav"
    file.write_bytes(wav_bytes(QUESTION, 16000))

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(QUESTION), 1001):  # odd pieces, as they come
            yield QUESTION[start : start + 1001]

    audio: Any = {
        "path": file,
        "str": str(file),
        "wav bytes": file.read_bytes(),
        "pcm": QUESTION,
        "bytearray": bytearray(QUESTION),
        "memoryview": memoryview(QUESTION),
        "iterable": [QUESTION[:100], b"", QUESTION[100:]],
        "generator": pieces(),
    }[kind]
    with manual() as at:
        asking = Background(at.session.ask, audio)
        assert take_audio(at)[0] == QUESTION
        at.line.send(committed())
        at.line.read_event("response.create")
        play(at, spoken())
        asking.result()


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"audio": wav_bytes(QUESTION, 44100)}, ValueError, "44,100 Hz.*16,000 Hz"),
        ({"audio": wav_bytes(b"", 16000)}, ValueError, "no audio"),
        ({"audio": b""}, ValueError, "empty"),
        ({"audio": bytes(3201)}, ValueError, "sample"),
        ({"audio": bytes(3000)}, ValueError, "the audio lasts 93.75 ms, and the service takes no turn below 100 ms"),
        ({"audio": 7}, TypeError, "audio must be"),
        ({"audio": "missing.wav"}, FileNotFoundError, "no such file: 'missing.wav'"),
        ({"audio": "What is the weather?"}, FileNotFoundError, "a written question goes into text=…: 'What is"),
        ({"text": " "}, ValueError, "empty"),
        ({"images": [b"\x89PNG"]}, ValueError, "PNG"),
    ],
    ids=["rate", "empty wav", "empty", "half a sample", "too short", "int", "missing", "a sentence", "blank text", "png"],
)
def test_a_question_that_does_not_fit_is_refused_and_the_next_one_works(
    options: Any, error: type[Exception], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)  # as if the extra that resamples were not installed
    with manual() as at:
        with pytest.raises(error, match=says):
            at.session.ask(**options)
        assert at.sees_nothing() == []
        asking = Background(at.session.ask)
        at.line.read_event("response.create")
        play(at, written())
        assert asking.result().text == "Sunny."


def test_a_stereo_file_is_mixed_down(tmp_path: Path) -> None:
    stereo = b"".join(QUESTION[at : at + 2] * 2 for at in range(0, len(QUESTION), 2))
    with manual() as at:
        asking = Background(at.session.ask, wav_bytes(stereo, 16000, 2))
        assert take_audio(at)[0] == QUESTION
        at.line.send(committed())
        at.line.read_event("response.create")
        play(at, spoken())
        asking.result()


def test_the_rates_of_the_session_are_those_of_question_and_answer(tmp_path: Path) -> None:
    formats = {
        "input_audio_format": AudioFormat(type="pcm", sample_rate=8000),
        "output_audio_format": AudioFormat(type="pcm", sample_rate=48000),
    }
    with manual(**formats) as at:
        asking = Background(at.session.ask, wav_bytes(QUESTION, 8000))
        audio, types, _ = take_audio(at)
        assert audio == QUESTION
        assert len(types) == 21  # 100 ms each
        at.line.send(committed())
        at.line.read_event("response.create")
        play(at, spoken())
        turn = asking.result()
        assert turn.audio_rate == 48000
        turn.save(tmp_path / "answer.wav")
    assert (tmp_path / "answer.wav").read_bytes() == wav_bytes(PCM + PCM, 48000)


def test_the_rate_the_service_tells_is_the_rate_of_the_answer() -> None:
    """Its echo is the truth, whatever was asked for."""
    with manual() as at:
        event_id = at.session.update(instructions="x")
        at.line.read_event("session.update")
        echo = updated({"turn_detection": None, "audio": {"output": {"format": {"type": "pcm", "sample_rate": 8000}}}})
        at.line.send(echo)
        at.session.wait_ack(event_id, SOON)
        assert at.session.output_rate == 8000
        asking = Background(at.session.ask)
        at.line.read_event("response.create")
        play(at, spoken())
        turn = asking.result()
    assert (turn.audio_rate, turn.responses[0].audio_rate) == (8000, 8000)


def test_a_family_that_answers_by_itself_gets_no_response_create() -> None:
    with manual(TRANSLATE) as at:
        asking = Background(at.session.ask, QUESTION)
        take_audio(at)
        at.line.send(committed())
        play(at, spoken("Bonjour."))
        assert asking.result().text == "Bonjour."
        assert at.sees_nothing() == []


# ---- VAD mode -----------------------------------------------------------------------------------------------------


def speech(at: Dialled, size: int) -> None:
    """Take so many bytes of audio, as a VAD would."""
    taken = 0
    while taken < size:
        taken += len(base64.b64decode(at.line.read_event("input_audio_buffer.append")["audio"]))


def test_a_spoken_question_in_vad_mode_sends_neither_commit_nor_create() -> None:
    with dialled() as at:
        asking = Background(at.session.ask, QUESTION)
        speech(at, len(QUESTION))
        play(at, [speech_started(), speech_started(), transcript("What")])
        speech(at, 32 * 1300)  # silence, without which no VAD notices the end
        play(at, [speech_stopped(), committed(), user_item(), transcribed("What is this?"), *spoken("A test.")])
        turn = asking.result()
        types = {event["type"] for event in at.sees_nothing()}
        assert types <= {"input_audio_buffer.append"}
    assert (turn.text, turn.input_transcript, turn.audio) == ("A test.", "What is this?", PCM + PCM)
    assert {event["type"] for event in at.line.received} == {"input_audio_buffer.append", "test.mark"}


def test_silence_goes_on_until_the_vad_has_noticed_and_no_longer() -> None:
    with dialled() as at:
        asking = Background(at.session.ask, QUESTION)
        speech(at, len(QUESTION) + 32 * 2000)  # more than it is configured to wait for
        play(at, [speech_started(), speech_stopped(), committed(), response_created()])
        at.settle()
        at.sees_nothing()
        play(at, [text_delta("x"), response_done()])
        asking.result()
        assert at.sees_nothing() == []


def test_a_question_of_several_utterances_ends_with_the_last_answer() -> None:
    """A pause splits the question; the first answer is interrupted by the rest of it."""
    with dialled() as at:
        asking = Background(at.session.ask, QUESTION)
        speech(at, len(QUESTION))
        play(at, [speech_started("item_u1"), speech_stopped("item_u1"), committed("item_u1")])
        play(at, [response_created("resp_1"), speech_text_delta("I thi")])
        play(at, [speech_started("item_u2"), speech_stopped("item_u2"), committed("item_u2")])
        at.settle()
        assert asking.running
        play(at, [response_done("resp_1", status="cancelled")])
        at.settle()
        assert asking.running
        play(at, spoken("Both.", "resp_2"))
        turn = asking.result()
    assert turn.text == "Both."
    assert [response.status for response in turn.responses] == ["cancelled", "completed"]


def test_a_written_question_in_vad_mode_needs_no_speech() -> None:
    with dialled() as at:
        asking = Background(at.session.ask, text="Hello?")
        at.line.read_event("conversation.item.create")
        at.line.send(text_item("Hello?"))
        at.line.read_event("response.create")
        play(at, written("Hi."))
        assert asking.result().text == "Hi."


def test_speech_and_text_together_in_vad_mode() -> None:
    """The text goes first: the service answers by itself as soon as the speech ends."""
    with dialled() as at:
        asking = Background(at.session.ask, QUESTION, text="Answer in French.")
        assert at.line.read_event()["item"]["content"][0]["text"] == "Answer in French."
        assert at.sees_nothing() == []
        at.line.send(text_item("Answer in French."))
        speech(at, len(QUESTION) + 32 * 1300)
        play(at, [speech_started("item_u2"), speech_stopped("item_u2"), committed("item_u2"), *spoken("Oui.")])
        assert asking.result().text == "Oui."


def test_text_that_an_older_model_cannot_take_along_with_speech_in_vad_mode_is_not_dropped_silently() -> None:
    """There it could only be instructions of a response.create, and in VAD mode the service creates the response."""
    with dialled(OLD_MODEL) as at, pytest.raises(ValueError, match=r"VAD|turn_detection"):
        at.session.ask(QUESTION, text="Answer in French.", timeout=0.5)


def test_where_the_vad_creates_no_responses_the_turn_does() -> None:
    with dialled(turn_detection={"type": "server_vad", "create_response": False}) as at:
        asking = Background(at.session.ask, QUESTION)
        speech(at, len(QUESTION) + 32 * 1300)
        play(at, [speech_started(), speech_stopped(), committed(), user_item()])
        assert at.line.read_event("response.create")
        play(at, spoken())
        asking.result()


def test_pictures_without_speech_are_refused_in_vad_mode() -> None:
    with dialled() as at, pytest.raises(ValueError, match="VAD"):
        at.session.ask(text="What is this?", images=[JPEG])


def test_a_session_that_is_switched_to_manual_mode_asks_so() -> None:
    with dialled() as at:
        assert at.session.uses_vad is True
        event_id = at.session.update(turn_detection=None)
        update = at.line.read_event("session.update")
        at.line.send(updated(update["session"]))
        at.session.wait_ack(event_id, SOON)
        assert at.session.uses_vad is False
        asking = Background(at.session.ask, QUESTION)
        take_audio(at)
        at.line.send(committed())
        at.line.read_event("response.create")
        play(at, spoken())
        assert asking.result().text == "Sunny."


# ---- as a stream --------------------------------------------------------------------------------------------------


def test_a_streamed_answer_gives_its_pieces_as_they_come() -> None:
    with manual() as at:
        turn = at.session.ask(text="Hello?", stream=True)
        assert (turn.done, turn.status) == (False, "in_progress")
        at.line.read_event("conversation.item.create")
        at.line.send(text_item("Hello?"))
        at.line.read_event("response.create")
        pieces = iter(turn)
        play(at, [response_created(), speech_text_delta("Sun")])
        first = next(pieces)
        assert (first.kind, first.text, first.audio) == ("text", "Sun", b"")
        assert turn.text == "Sun"
        play(at, [audio_delta(), transcribed("Hello?")])
        second, third = next(pieces), next(pieces)
        assert (second.kind, second.text, second.audio) == ("audio", "", PCM)
        assert (third.kind, third.text) == ("input_transcript", "")
        assert third.input_transcript is not None
        assert (third.input_transcript.text, third.input_transcript.final) == ("Hello?", True)
        assert not turn.done
        play(at, [speech_text_delta("ny."), response_done("resp_1", message("Sunny."))])
        assert [piece.text for piece in pieces] == ["ny."]
        assert turn.done
        assert turn.wait() is turn
        assert (turn.text, turn.audio, turn.status) == ("Sunny.", PCM, "completed")
    assert [piece.kind for piece in turn] == ["text", "audio", "input_transcript", "text"]  # again, from the beginning


def test_a_streamed_turn_can_be_read_by_several_threads() -> None:
    with manual() as at:
        turn = at.session.ask(stream=True)
        at.line.read_event("response.create")
        readers = [Background(lambda: [piece.text for piece in turn if piece.kind == "text"]) for _ in range(4)]
        play(at, written("Sunny."))
        assert [reader.result() for reader in readers] == [["Sun", "ny."]] * 4


def test_a_streamed_answer_can_be_cancelled() -> None:
    with manual() as at:
        turn = at.session.ask(stream=True)
        at.line.read_event("response.create")
        play(at, [response_created(), text_delta("Sun")])
        assert next(iter(turn)).text == "Sun"
        cancelling = Background(turn.cancel)
        at.line.read_event("response.cancel")
        at.line.send(response_done(status="cancelled"))
        assert cancelling.result() is True
        assert turn.wait().status == "cancelled"
        assert turn.text == "Sun"


def test_an_abandoned_stream_does_not_hold_up_the_next_question() -> None:
    with manual() as at:
        at.session.ask(stream=True, text="nobody reads this")
        at.line.read_event("conversation.item.create")
        at.line.send(text_item("x"))
        at.line.read_event("response.create")
        asking = Background(at.session.ask)
        play(at, written("First."))
        at.line.read_event("response.create")
        play(at, written("Second.", "resp_2"))
        assert asking.result().text == "Second."


def test_an_abandoned_stream_that_never_ends_holds_up_the_next_question_until_its_deadline_only() -> None:
    with manual() as at:
        turn = at.session.ask(stream=True, timeout=0.3)
        at.line.read_event("response.create")
        play(at, [response_created("resp_1")])  # its end never comes
        at.settle()
        asking = Background(at.session.ask, text="Next?", timeout=SOON)
        assert at.line.read_event("conversation.item.create")["item"]["content"][0]["text"] == "Next?"
        at.line.send(text_item("Next?"))
        play(at, [response_done("resp_1")])
        at.line.read_event("response.create")
        play(at, written("Yes.", "resp_2"))
        assert asking.result().text == "Yes."
        assert turn.done


def test_audio_goes_out_as_it_comes_while_the_answer_is_streamed() -> None:
    """A microphone: the first piece goes out before the second one exists."""
    more = threading.Event()

    def microphone() -> Iterator[bytes]:
        yield QUESTION[:3200]
        assert more.wait(SOON)
        yield QUESTION[:3200]

    with manual() as at:
        turn = at.session.ask(microphone(), stream=True)
        assert at.line.read_event()["type"] == "input_audio_buffer.append"
        more.set()
        take_audio(at)
        at.line.send(committed())
        at.line.read_event("response.create")
        play(at, spoken())
        assert turn.wait().text == "Sunny."


# ---- one after the other ------------------------------------------------------------------------------------------


def test_the_second_question_waits_for_the_end_of_the_first() -> None:
    with manual() as at:
        first = Background(at.session.ask, text="One?")
        assert at.line.read_event()["item"]["content"][0]["text"] == "One?"
        second = Background(at.session.ask, text="Two?")
        at.line.send(text_item("One?"))
        at.line.read_event("response.create")
        play(at, [response_created(), text_delta("1")])
        at.settle()
        assert at.sees_nothing() == []
        play(at, [response_done()])
        assert first.result().text == "1"
        assert at.line.read_event()["item"]["content"][0]["text"] == "Two?"
        at.line.send(text_item("Two?"))
        at.line.read_event("response.create")
        play(at, written("2", "resp_2"))
        assert second.result().text == "2"


def test_a_question_waits_for_a_response_that_runs_without_it() -> None:
    """Its pieces belong to nobody's turn."""
    with manual() as at:
        play(at, [response_created("resp_0"), text_delta("old", "resp_0")])
        at.settle()
        asking = Background(at.session.ask, text="Hello?")
        at.line.read_event("conversation.item.create")
        at.line.send(text_item("Hello?"))
        at.settle()
        assert at.sees_nothing() == []
        play(at, [text_delta("old", "resp_0"), response_done("resp_0")])
        at.line.read_event("response.create")
        play(at, written("new"))
        turn = asking.result()
    assert turn.text == "new"
    assert "".join(piece.text for piece in turn if piece.kind == "text") == "new"
    assert [response.id for response in turn.responses] == ["resp_1"]


def test_late_pieces_of_a_cancelled_answer_do_not_turn_up_in_the_next() -> None:
    with manual() as at:
        turn = at.session.ask(stream=True)
        at.line.read_event("response.create")
        play(at, [response_created("resp_1"), text_delta("old")])
        next(iter(turn))
        cancelling = Background(turn.cancel)
        at.line.read_event("response.cancel")
        play(at, [item_done(message("old")), response_done(status="cancelled")])
        cancelling.result()
        asking = Background(at.session.ask)
        at.line.read_event("response.create")
        play(at, [text_delta("late"), audio_delta(), response_created("resp_2"), text_delta("late"), audio_delta()])
        play(at, [text_delta("new", "resp_2"), response_done("resp_2")])
        second = asking.result()
    assert [piece.text for piece in second] == ["new"]
    assert second.text == "new"
    assert second.audio == b""
    assert second.timing.first_audio_ms is None


# ---- functions ----------------------------------------------------------------------------------------------------


def test_a_turn_follows_function_calls_to_the_spoken_answer() -> None:
    with manual(on_function_call=lambda call: call.respond({"t": 22})) as at:
        asking = Background(at.session.ask, text="Weather?")
        at.line.read_event("conversation.item.create")
        at.line.send(text_item("Weather?"))
        at.line.read_event("response.create")
        play(at, calling(call_item("call_1")))
        assert at.line.read_event()["item"]["output"] == '{"t": 22}'
        at.line.send(output_item("call_1"))
        at.line.read_event("response.create")
        play(at, calling(call_item("call_2"), response="resp_2"))
        at.line.read_event("conversation.item.create")
        at.line.send(output_item("call_2"))
        at.line.read_event("response.create")
        play(at, spoken("22 degrees.", "resp_3"))
        turn = asking.result()
    assert turn.text == "22 degrees."
    assert [call.call_id for call in turn.function_calls] == ["call_1", "call_2"]
    assert all(call.answered for call in turn.function_calls)
    assert [response.id for response in turn.responses] == ["resp_1", "resp_2", "resp_3"]
    assert turn.usage.total_tokens == 90
    assert turn.usage.input_tokens_details.audio_tokens == 45


def test_a_turn_whose_functions_nobody_answers_ends_with_the_calls() -> None:
    """Without on_function_call the caller gets the calls, answers them and asks on."""
    with manual() as at:
        asking = Background(at.session.ask, text="Weather?")
        at.line.read_event("conversation.item.create")
        at.line.send(text_item("Weather?"))
        at.line.read_event("response.create")
        play(at, calling(call_item("call_1")))
        turn = asking.result()
        assert turn.status == "completed"
        (call,) = turn.function_calls
        call.respond("22 degrees")
        at.line.read_event("conversation.item.create")
        at.line.send(output_item("call_1"))
        at.line.read_event("response.create")
        second = Background(at.session.ask)
        at.settle()
        assert at.sees_nothing() == []  # the follow-up is on its way already; asking on takes it
        play(at, spoken("22 degrees.", "resp_2"))
        assert second.result().text == "22 degrees."
        assert at.sees_nothing() == []


def test_a_turn_follows_the_response_that_the_service_starts_by_itself_after_a_call() -> None:
    calls = Heard()
    with dialled(on_function_call=calls) as at:
        asking = Background(at.session.ask, text="Weather?")
        at.line.read_event("conversation.item.create")
        at.line.send(text_item("Weather?"))
        at.line.read_event("response.create")
        play(at, calling(call_item("call_1")))
        calls.get().respond("x")
        at.line.read_event("conversation.item.create")
        play(at, [response_created("resp_2"), output_item("call_1"), *written("By itself.", "resp_2")[1:]])
        assert asking.result().text == "By itself."
        assert at.sees_nothing() == []


def test_a_call_answered_on_another_thread_after_the_callback() -> None:
    calls = Heard()
    with manual(on_function_call=calls) as at:
        asking = Background(at.session.ask)
        at.line.read_event("response.create")
        play(at, calling(call_item("call_1")))
        call = calls.get()
        at.settle()
        assert asking.running
        Background(call.respond, "x").result()
        at.line.read_event("conversation.item.create")
        at.line.send(output_item("call_1"))
        at.line.read_event("response.create")
        play(at, spoken("Done.", "resp_2"))
        assert asking.result().text == "Done."


# ---- inside callbacks ---------------------------------------------------------------------------------------------


def test_ask_inside_on_done_works() -> None:
    answers = Heard()
    with manual() as at:

        @at.session.on_done
        def again(response: Any) -> None:
            at.session.off(again)
            answers(at.session.ask(text=f"More about {response.text}"))

        first = Background(at.session.ask)
        at.line.read_event("response.create")
        play(at, written("rain"))
        assert first.result().text == "rain"
        assert at.line.read_event()["item"]["content"][0]["text"] == "More about rain"
        at.line.send(text_item("x"))
        at.line.read_event("response.create")
        play(at, written("Wet.", "resp_2"))
        assert answers.get().text == "Wet."


def test_ask_inside_on_function_call_of_a_turn_raises_at_once() -> None:
    outcome = Heard()
    with manual() as at:

        @at.session.on_function_call
        def call(call: Any) -> None:
            try:
                at.session.ask(text="What is the weather?", timeout=60)
            except WaitInCallbackError as error:
                outcome(error)
                call.respond("I cannot ask here")

        asking = Background(at.session.ask)
        at.line.read_event("response.create")
        play(at, calling(call_item("call_1")))
        error = outcome.get()
        assert isinstance(error, RuntimeError)
        assert "another thread" in str(error)
        at.line.read_event("conversation.item.create")
        at.line.send(output_item("call_1"))
        at.line.read_event("response.create")
        play(at, written("Sorry.", "resp_2"))
        assert asking.result().text == "Sorry."


def test_ask_inside_a_callback_raises_when_its_own_answer_needs_another_callback() -> None:
    outcome, calls = Heard(), Heard()
    with manual(on_function_call=calls) as at:

        def act(_: object) -> None:
            try:
                at.session.ask(timeout=60)
            except WaitInCallbackError as error:
                outcome(error)

        at.session.on("act")(act)
        at.line.send({"type": "act"})
        at.line.read_event("response.create")
        play(at, calling(call_item("call_1")))
        error = outcome.get()
        assert error.turn.function_calls[0].call_id == "call_1"
        assert calls.get().call_id == "call_1"  # the callback runs as soon as the other one has returned


def test_a_stream_begun_in_a_callback_goes_on_after_it() -> None:
    turns = Heard()
    with manual() as at:
        at.session.on("act")(lambda _: turns(at.session.ask(stream=True)))
        at.line.send({"type": "act"})
        turn = turns.get()
        at.line.read_event("response.create")
        play(at, written())
        assert turn.wait().text == "Sunny."


# ---- the client's own ask -----------------------------------------------------------------------------------------


def test_one_question_in_one_line() -> None:
    types: list[str] = []

    def script(line: Line) -> None:
        line.accept()
        line.send(created())
        update = line.read_event("session.update")
        types.append(str(update["session"]["turn_detection"]))
        line.send(updated(update["session"]))
        line.read_event("conversation.item.create")
        line.send(text_item("x"))
        line.read_event("response.create")
        for event in spoken("Hi."):
            line.send(event)
        types.append(str(line.read_close()[0]))
        line.send_frame(8, b"\x03\xe8")

    with Peer(script) as peer:
        turn = client_for(peer.url).ask(text="Hello?", model=MODEL, voice="Tina")
    assert (turn.text, turn.audio, turn.status) == ("Hi.", PCM + PCM, "completed")
    assert types == ["None", "1000"]


def test_the_turn_can_be_read_after_the_session_is_closed(tmp_path: Path) -> None:
    with manual() as at:
        asking = Background(at.session.ask)
        at.line.read_event("response.create")
        play(at, spoken("Sunny."))
        turn = asking.result()
    assert turn.wait() is turn
    assert [piece.kind for piece in turn] == ["text", "audio", "audio", "text"]
    turn.save(tmp_path / "a.wav")
    assert turn.audio_rate == 24000
    assert isinstance(turn.responses[0].output[0], events.Item)
