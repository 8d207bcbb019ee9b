"""The orders of events, flow by flow, as a client sees them on the wire."""

from __future__ import annotations

import base64
import itertools
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from dashscope_rt.testing import Answer, FunctionCall, Heard

from .conftest import Service
from .talk import MANUAL, NEWEST, SOON, TEXT_ONLY, Event, Talk, jpeg, kinds, read, run_length, silence, text_of

DELTA = "conversation.item.input_audio_transcription.delta"
COMPLETED = "conversation.item.input_audio_transcription.completed"
COMMITTED = ["input_audio_buffer.committed", "conversation.item.created"]
TRANSCRIBED = [DELTA, COMPLETED]
MESSAGE = ["response.output_item.added", "conversation.item.created", "response.content_part.added"]
CLOSED = ["response.content_part.done", "response.output_item.done"]
VOICE_DONE = ["response.audio_transcript.done", "response.audio.done", *CLOSED]
SPOKEN = [
    "response.created", *MESSAGE, "response.audio_transcript.delta", "response.audio.delta", *VOICE_DONE,
    "response.done",
]  # fmt: skip
WRITTEN = ["response.created", *MESSAGE, "response.text.delta", "response.text.done", *CLOSED, "response.done"]
CALL = [
    "response.output_item.added", "conversation.item.created", "response.function_call_arguments.delta",
    "response.function_call_arguments.done", "response.output_item.done",
]  # fmt: skip
SPEECH = ["input_audio_buffer.speech_started", DELTA, "input_audio_buffer.speech_stopped"]

TalkTo = Callable[..., Talk]


def of(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event["type"] == kind]


def sound(events: list[Event]) -> bytes:
    return b"".join(base64.b64decode(event["delta"]) for event in of(events, "response.audio.delta"))


# 1. Opening


def test_opening_echoes_the_whole_configuration(talk: TalkTo) -> None:
    made = talk()
    created = made.events[0]["session"]
    updated = made.update(
        instructions="Be brief.", voice="Ethan", turn_detection={"type": "server_vad", "threshold": 0.1}
    )
    assert created["voice"] == "Tina"
    assert created["id"].startswith("sess_emulator")
    assert created["model"] == "qwen3.5-omni-flash-realtime"
    assert updated["id"] == created["id"]
    assert updated["instructions"] == "Be brief."
    assert updated["voice"] == "Ethan"
    assert updated["turn_detection"] == {
        "type": "server_vad", "threshold": 0.1, "prefix_padding_ms": 300, "silence_duration_ms": 800,
        "create_response": True, "interrupt_response": True,
    }  # fmt: skip
    assert updated["max_response_output_token"] == "inf"
    assert "audio" not in updated


def test_a_refused_update_changes_nothing(talk: TalkTo) -> None:
    made = talk()
    error = made.refused("session.update", session={"instructions": "New.", "modalities": ["audio"]})
    assert error["param"] == "session.modalities"
    assert made.update()["instructions"] == ""


def test_nested_formats_are_echoed_only_to_those_who_use_them(talk: TalkTo) -> None:
    made = talk()
    assert "audio" not in made.update(voice="Tina")
    updated = made.update(audio={"output": {"format": {"type": "pcm", "sample_rate": 8000}}})
    assert updated["audio"]["output"] == {"format": {"type": "pcm", "sample_rate": 8000}}
    assert updated["audio"]["input"] == {"format": {"type": "pcm", "sample_rate": 16000}}


def test_the_newest_family_speaks_nested(talk: TalkTo) -> None:
    made = talk(model=NEWEST)
    updated = made.update(voice="Ryan", audio={"output": {"voice": "longanlingxin"}})
    assert updated["voice"] == "longanlingxin"
    assert updated["audio"]["output"]["voice"] == "longanlingxin"
    assert updated["audio"]["input"]["format"]["channel_layout"] == "mono"


def test_secrets_of_tools_are_never_echoed(talk: TalkTo) -> None:
    server = {
        "type": "mcp", "server_label": "amap", "server_url": "https://mcp.example.com/mcp", "authorization": "Bearer s",
        "headers": {"X-Team": "a"}, "allowed_tools": ["maps_weather"], "require_approval": "always",
    }  # fmt: skip
    made = talk(model=NEWEST)
    shown = made.update(tools=[server])["tools"][0]
    assert shown == {
        "type": "mcp", "server_label": "amap", "allowed_tools": ["maps_weather"], "require_approval": "always",
    }  # fmt: skip


# 2 and 3. Manual turns


def test_manual_turn(talk: TalkTo) -> None:
    made = talk(session=MANUAL)
    made.ask()
    asked = made.until(COMPLETED)
    answered = made.turn()
    assert kinds(asked) == [*COMMITTED, *TRANSCRIBED]
    assert kinds(answered) == SPOKEN
    user = asked[1]["item"]
    assert user["id"] == asked[0]["item_id"] == asked[-1]["item_id"]
    assert (user["role"], user["content"]) == ("user", [{"type": "input_audio"}])
    text = "".join(event["delta"] for event in of(answered, "response.audio_transcript.delta"))
    assert text == "This is the emulator. You spoke for 3.6 seconds; here it is again."
    assert of(answered, "response.audio_transcript.done")[0]["transcript"] == text
    assert of(answered, "response.output_item.done")[0]["item"]["content"] == [{"type": "audio", "text": text}]
    response = answered[-1]["response"]
    assert response["status"] == "completed"
    assert response["output"][0]["content"] == [{"type": "audio", "transcript": text}]
    assert len(sound(answered)) / 2 / 24000 == pytest.approx(len(read("weather_en")[0]) / 2 / 16000, abs=0.001)


def test_manual_turn_with_deltas_of_a_tenth_of_a_second_among_words(talk: TalkTo) -> None:
    made = talk(session=MANUAL)
    made.ask()
    made.until(COMPLETED)
    order = run_length(event["type"] for event in made.turn() if event["type"].endswith(".delta"))
    assert order.count("response.audio.delta") > 5
    assert order[0] == "response.audio_transcript.delta"
    sizes = {len(base64.b64decode(event["delta"])) for event in of(made.events, "response.audio.delta")[:-1]}
    assert sizes == {4800}


def test_text_only_turn(talk: TalkTo) -> None:
    made = talk(session={**MANUAL, **TEXT_ONLY})
    made.ask()
    made.until(COMPLETED)
    answered = made.turn()
    assert kinds(answered) == WRITTEN
    assert of(answered, "response.content_part.added")[0]["part"]["type"] == "text"
    text = "".join(event["delta"] for event in of(answered, "response.text.delta"))
    assert answered[-1]["response"]["output"][0]["content"] == [{"type": "text", "text": text}]
    assert "audio_tokens" not in answered[-1]["response"]["usage"]["output_tokens_details"]


def test_response_create_may_choose_modalities_and_instructions(talk: TalkTo) -> None:
    made = talk(lambda heard: heard.instructions, session={**MANUAL, "instructions": "Be kind."})
    made.ask()
    made.until("conversation.item.created")
    made.send("response.create", response={"modalities": ["text"], "instructions": "Be brief."})
    answered = made.until("response.done")
    assert kinds(answered) == ["response.created", *TRANSCRIBED, *WRITTEN[1:]]
    assert of(answered, "response.text.done")[0]["text"] == "Be kind.\nBe brief."


def test_images_go_with_the_next_commit(talk: TalkTo) -> None:
    heard: list[Heard] = []
    made = talk(lambda question: heard.append(question) or "Two cats.", session=MANUAL)  # type: ignore[func-returns-value]
    made.append(silence(200))
    for width in (640, 320):
        made.send("input_image_buffer.append", image=text_of(jpeg(width)))
    made.send("input_audio_buffer.commit")
    made.until("conversation.item.created")
    answered = made.turn()
    assert heard[0].images == (jpeg(640), jpeg(320))
    assert answered[-1]["response"]["usage"]["input_tokens_details"]["image_tokens"] == 20 * 15 + 10 * 15
    assert answered[-1]["response"]["usage"]["input_tokens_details"]["audio_tokens"] == 7


def test_clear_forgets_audio_and_images(talk: TalkTo) -> None:
    made = talk(session=MANUAL)
    made.say()
    made.send("input_image_buffer.append", image=text_of(jpeg()))
    made.send("input_audio_buffer.clear")
    assert kinds(made.until("input_audio_buffer.cleared")) == ["input_audio_buffer.cleared"]
    assert "too small" in made.refused("input_audio_buffer.commit")["message"]
    assert "before append audio" in made.refused("input_image_buffer.append", image=text_of(jpeg()))["message"]


@pytest.mark.parametrize(("transcription", "expected"), [("completed", [COMPLETED]), ("off", [])])
def test_transcription_variants(talk: TalkTo, transcription: str, expected: list[str]) -> None:
    made = talk(session=MANUAL, transcription=transcription)
    made.ask()
    made.send("response.create")
    assert kinds(made.until("response.done"))[: -len(SPOKEN)] == [*COMMITTED, *expected]


def test_no_transcription_when_it_is_switched_off(talk: TalkTo) -> None:
    made = talk(session={**MANUAL, "input_audio_transcription": None})
    made.ask()
    made.send("response.create")
    assert kinds(made.until("response.done")) == [*COMMITTED, *SPOKEN]


def test_transcription_fails_when_told_to(talk: TalkTo) -> None:
    made = talk([Answer("Hm?", transcription_failed="too noisy")], session=MANUAL)
    made.ask()
    failed = made.get("conversation.item.input_audio_transcription.failed")
    assert failed["error"]["message"] == "too noisy"


def test_transcription_grows_as_text_and_stash(talk: TalkTo) -> None:
    made = talk([Answer("Sunny.", input_transcript="Will it be sunny tomorrow?")], session=MANUAL)
    made.ask()
    deltas = of(made.until(COMPLETED), DELTA)
    assert [(delta["text"], delta["stash"]) for delta in deltas] == [
        ("", "Will "), ("Will ", "it "), ("Will it ", "be "), ("Will it be ", "sunny "),
        ("Will it be sunny ", "tomorrow?"), ("Will it be sunny tomorrow?", ""),
    ]  # fmt: skip
    assert made.events[-1]["transcript"] == "Will it be sunny tomorrow?"
    assert "delta" not in deltas[0]


def test_the_transcript_of_a_callable_comes_after_response_created(talk: TalkTo) -> None:
    made = talk(lambda heard: Answer("Sunny.", input_transcript="Sunny?"), session=MANUAL)
    made.ask()
    made.send("response.create")
    assert kinds(made.until("response.done")) == [*COMMITTED, "response.created", *TRANSCRIBED, *SPOKEN[1:]]
    assert of(made.events, COMPLETED)[0]["transcript"] == "Sunny?"


def test_a_transcribe_function_tells_before_the_answer(talk: TalkTo) -> None:
    made = talk(lambda heard: "Sunny.", session=MANUAL, transcribe=lambda pcm, rate: f"{len(pcm)} at {rate}")
    made.ask()
    assert made.get(COMPLETED)["transcript"] == f"{len(read('weather_en')[0])} at 16000"


# 4 and 5. Voice activity


def test_vad_turn(talk: TalkTo) -> None:
    made = talk()
    made.say(extra_ms=200)
    events = made.until("response.done")
    assert kinds(events) == [*SPEECH, *COMMITTED, *TRANSCRIBED, *SPOKEN]
    items = {
        event["item_id"] for event in events if event["type"].startswith(("input_audio_buffer", "conversation.item.i"))
    }
    assert items == {events[0]["item_id"]}
    assert 0 <= events[0]["audio_start_ms"] < 400
    stopped = of(events, "input_audio_buffer.speech_stopped")[0]
    after = events[events.index(stopped) : events.index(of(events, COMPLETED)[0])]
    assert [delta["text"] for delta in of(after, DELTA)] == [of(events, COMPLETED)[0]["transcript"]]
    assert 2400 < stopped["audio_end_ms"] <= 3800


def test_vad_turn_is_transcribed_as_the_script_says(talk: TalkTo) -> None:
    made = talk([Answer("Yes.", input_transcript="Will it rain on Sunday in the north of the country?")])
    made.say(extra_ms=200)
    events = made.until("response.done")
    deltas = [delta["text"] + delta["stash"] for delta in of(events, DELTA)]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(deltas))
    assert deltas[-1] == of(events, COMPLETED)[0]["transcript"]
    before = events.index(of(events, "input_audio_buffer.speech_stopped")[0])
    assert of(events[:before], DELTA)


def test_speech_started_may_repeat(talk: TalkTo) -> None:
    made = talk(repeat_speech_started=2)
    made.say(extra_ms=200)
    started = of(made.until("response.done"), "input_audio_buffer.speech_started")
    assert len(started) == 3
    assert len({(event["item_id"], event["audio_start_ms"]) for event in started}) == 1


def test_vad_without_create_response_waits_for_the_client(talk: TalkTo) -> None:
    made = talk(session={"turn_detection": {"create_response": False}})
    made.say(extra_ms=200)
    made.until(COMPLETED)
    assert kinds(made.turn()) == SPOKEN


def test_semantic_vad_shows_the_item_early(talk: TalkTo) -> None:
    made = talk(session={"turn_detection": {"type": "semantic_vad"}})
    made.say(extra_ms=200)
    order = kinds(made.until("response.done"))
    assert order.count("conversation.item.created") == 2
    assert order.index("conversation.item.created") < order.index("input_audio_buffer.speech_stopped")
    assert order[-len(SPOKEN) :] == SPOKEN
    assert order[order.index("input_audio_buffer.speech_stopped") + 1] == "input_audio_buffer.committed"


def test_semantic_vad_may_refuse_a_turn(talk: TalkTo) -> None:
    made = talk(
        [Answer(reject_semantic=True), Answer("Now.")],
        session={"turn_detection": {"type": "semantic_vad"}}, semantic_early_item=False,
    )  # fmt: skip
    made.say(extra_ms=200)
    events = made.until("error")
    assert kinds(events) == [*SPEECH, "error"]
    assert events[-1]["error"] == {
        "type": "invalid_request_error", "message": "Input speech was not accepted by semantic turn detection",
    }  # fmt: skip
    made.say(extra_ms=200)
    assert kinds(made.until("response.done"))[-len(SPOKEN) :] == SPOKEN


def test_semantic_vad_may_refuse_a_response_create(talk: TalkTo) -> None:
    detection = {"type": "semantic_vad", "create_response": False, "interrupt_response": True}
    made = talk([Answer(reject_semantic=True)], session={"turn_detection": detection})
    made.say(extra_ms=200)
    made.until(COMPLETED)
    event_id = made.send("response.create")
    error = made.next()["error"]
    assert error["event_id"] == event_id
    assert error["message"].startswith("Input speech was not accepted")


def test_semantic_vad_waits_for_a_callable(talk: TalkTo) -> None:
    made = talk(
        lambda heard: Answer("Yes.", input_transcript="Well?"), session={"turn_detection": {"type": "semantic_vad"}}
    )
    made.say(extra_ms=200)
    events = made.until("response.done")
    assert of(events, COMPLETED)[0]["transcript"] == "Well?"
    assert of(events, "response.audio_transcript.done")[0]["transcript"] == "Yes."


# 6 and 7. Barge-in and cancel

HOLDING = Answer("One two three four five.", audio=silence(1000, 24000), hold_after_ms=300)


def test_barge_in_ends_the_response(talk: TalkTo) -> None:
    made = talk([HOLDING, Answer("Sorry.")])
    made.say(extra_ms=200)
    made.until("response.audio.delta")
    made.say(extra_ms=200)
    events = [*made.until("response.done"), *made.until("response.done")]
    cut = events.index(of(events, "input_audio_buffer.speech_started")[0])
    assert set(kinds(events[:cut])) <= {"response.audio.delta", "response.audio_transcript.delta"}
    assert kinds(events[cut:]) == [
        "input_audio_buffer.speech_started", *VOICE_DONE, "response.done",
        *SPEECH[1:], *COMMITTED, *TRANSCRIBED, *SPOKEN,
    ]  # fmt: skip
    first = of(events, "response.done")[0]["response"]
    assert first["status"] == "cancelled"
    assert first["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert len(sound(made.events[: made.events.index(of(events, "response.done")[0])])) == 3 * 4800


@pytest.mark.parametrize("status", ["completed", "incomplete", None])
def test_barge_in_variants(talk: TalkTo, status: str | None) -> None:
    made = talk([HOLDING, Answer("Sorry.")], barge_in_done=status, late_deltas=2)
    made.say(extra_ms=200)
    first = made.get("response.created")["response"]["id"]
    made.until("response.audio.delta")
    made.say(extra_ms=200)
    made.until("input_audio_buffer.speech_started")
    events = made.until("response.created")
    late = [event for event in events if event.get("response_id") == first and event["type"].endswith(".delta")]
    assert len(of(late, "response.audio.delta")) == 2
    done = of(events, "response.done")
    assert [event["response"]["status"] for event in done] == ([status] if status else [])


def test_without_interrupt_response_the_answer_goes_on_and_the_next_follows(service: Service) -> None:
    emulator = service([HOLDING, Answer("Second.")])
    made = service.talk(emulator, turn_detection={"interrupt_response": False})
    made.say(extra_ms=200)
    made.until("response.audio.delta")
    made.say(extra_ms=200)
    made.until(COMPLETED)
    emulator.release()
    first = made.get("response.done")["response"]
    second = made.get("response.done")["response"]
    assert first["status"] == second["status"] == "completed"
    assert second["output"][0]["content"][0]["transcript"] == "Second."


@pytest.mark.parametrize("ends", [True, False])
def test_cancel(talk: TalkTo, ends: bool) -> None:
    made = talk([HOLDING, Answer("Again.")], session=MANUAL, cancel_sends_done=ends)
    made.ask()
    made.send("response.create")
    made.until("response.audio.delta")
    made.send("response.cancel")
    made.until("response.audio_transcript.done")
    events = made.until("response.output_item.done")
    assert events[-1]["item"]["status"] == "incomplete"
    if ends:
        response = made.next()["response"]
        assert response["status"] == "cancelled"
        assert response["status_details"]["reason"] == "client_cancelled"
        assert response["output"][0]["status"] == "incomplete"
    made.ask()
    made.until(COMPLETED)
    assert kinds(made.turn()) == SPOKEN


def test_cancelled_on_35_means_no_done_as_it_was_measured(talk: TalkTo) -> None:
    for model, ends in (("qwen3.5-omni-plus-realtime", False), (NEWEST, True)):
        made = talk([HOLDING], model=model, session=MANUAL)
        made.ask()
        made.send("response.create")
        made.until("response.audio.delta")
        made.send("response.cancel")
        made.until("response.output_item.done")
        made.send("response.cancel")
        assert kinds(made.until("error")) == [*(["response.done"] if ends else []), "error"]


def test_cancel_while_the_answer_is_being_thought_of(talk: TalkTo) -> None:
    asked, may_answer = threading.Event(), threading.Event()

    def answer(heard: Heard) -> str:
        if heard.turn == 1:
            asked.set()
            assert may_answer.wait(SOON)
            return "Too late."
        return "In time."

    made = talk(answer, session=MANUAL, cancel_sends_done=True)
    made.ask()
    made.send("response.create")
    assert asked.wait(SOON)
    made.send("response.cancel")
    events = made.until("response.done")
    assert events[-1]["response"]["output"] == []
    assert of(made.events, COMPLETED)[0]["transcript"] == "(emulator) 3.6 seconds of speech"
    may_answer.set()
    made.ask()
    made.until("conversation.item.created")
    done = made.turn()[-1]["response"]
    assert done["output"][0]["content"][0]["transcript"] == "In time."


# 8. Function calls

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_current_weather", "description": "Weather of a place.",
        "parameters": {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]},
    },
}  # fmt: skip
TOOLS = {"tools": [WEATHER]}
CHENGDU = FunctionCall("get_current_weather", {"location": "成都"})


def give(made: Talk, call: dict[str, Any], output: str) -> Event:
    item = {"type": "function_call_output", "call_id": call["call_id"], "output": output, "id": "item_mine"}
    made.send("conversation.item.create", item=item)
    return made.get("conversation.item.created")


def test_function_call_in_manual_mode(talk: TalkTo) -> None:
    made = talk([Answer(function_calls=[CHENGDU])], session={**MANUAL, **TOOLS})
    made.ask()
    made.until(COMPLETED)
    events = made.turn()
    assert kinds(events) == ["response.created", *CALL, "response.done"]
    done = of(events, "response.function_call_arguments.done")[0]
    assert done["arguments"].startswith(" ")
    assert json.loads(done["arguments"]) == {"location": "成都"}
    assert "".join(e["delta"] for e in of(events, "response.function_call_arguments.delta")) == done["arguments"]
    created = of(events, "conversation.item.created")[0]["item"]
    assert (created["type"], created["arguments"], created["call_id"]) == ("function_call", "", done["call_id"])
    call = events[-1]["response"]["output"][0]
    assert (call["name"], call["arguments"], call["status"]) == ("get_current_weather", done["arguments"], "completed")
    assert "audio_tokens" not in events[-1]["response"]["usage"]["output_tokens_details"]
    ack = give(made, call, '{"weather": "rain"}')
    assert ack["item"]["id"] != "item_mine"
    assert ack["previous_item_id"] == call["id"]
    assert (ack["item"]["status"], ack["item"]["output"]) == ("completed", '{"weather": "rain"}')
    answered = made.turn()
    assert kinds(answered) == SPOKEN
    assert '{"weather": "rain"}' in of(answered, "response.audio_transcript.done")[0]["transcript"]


def test_function_call_in_vad_mode_is_continued_by_the_client(talk: TalkTo) -> None:
    made = talk([Answer(function_calls=[CHENGDU]), Answer("Rain.")], session=TOOLS)
    made.say(extra_ms=200)
    events = made.until("response.done")
    assert kinds(events)[-7:] == ["response.created", *CALL, "response.done"]
    give(made, events[-1]["response"]["output"][0], "rain")
    assert kinds(made.turn()) == SPOKEN


def test_the_server_may_continue_by_itself(talk: TalkTo) -> None:
    made = talk([Answer(function_calls=[CHENGDU]), Answer("Rain.")], session=TOOLS, continue_after_tools=True)
    made.say(extra_ms=200)
    give(made, made.get("response.done")["response"]["output"][0], "rain")
    assert kinds(made.until("response.done")) == SPOKEN


def test_text_and_several_calls_in_one_response(talk: TalkTo) -> None:
    heard: list[Heard] = []

    def answer(question: Heard) -> Answer:
        heard.append(question)
        return (
            Answer("Let me see.", function_calls=[CHENGDU, FunctionCall("f", "{broken")])
            if question.turn == 1
            else Answer("So.")
        )

    made = talk(answer, session={**MANUAL, **TOOLS, **TEXT_ONLY})
    made.ask()
    made.until("conversation.item.created")
    events = made.turn()
    assert [event["output_index"] for event in of(events, "response.output_item.added")] == [0, 1, 2]
    output = events[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call", "function_call"]
    assert output[2]["arguments"] == "{broken"
    for item in output[1:]:
        give(made, item, item["name"])
    assert kinds(made.turn()) == WRITTEN
    assert sorted(heard[1].function_outputs.values()) == ["f", "get_current_weather"]
    assert heard[0].tools == (WEATHER,)


@pytest.mark.parametrize("status", ["failed", "cancelled", "incomplete"])
def test_a_call_in_a_response_that_does_not_complete(talk: TalkTo, status: str) -> None:
    made = talk([Answer(function_calls=[CHENGDU], status=status)], session={**MANUAL, **TOOLS})  # type: ignore[arg-type]
    made.ask()
    made.until(COMPLETED)
    response = made.turn()[-1]["response"]
    assert response["status"] == status
    assert response["status_details"]["type"] == status


def test_calls_without_items_and_without_leading_space(talk: TalkTo) -> None:
    made = talk(
        [Answer(function_calls=[CHENGDU])],
        session={**MANUAL, **TOOLS}, item_created=False, arguments_leading_space=False,
    )  # fmt: skip
    made.ask()
    made.until(COMPLETED)
    events = made.turn()
    assert "conversation.item.created" not in kinds(events)
    assert events[-1]["response"]["output"][0]["arguments"].startswith("{")


def test_the_users_next_turn_consumes_the_outputs(talk: TalkTo) -> None:
    made = talk([Answer(function_calls=[CHENGDU]), Answer("Rain.")], session=TOOLS)
    made.say(extra_ms=200)
    call = made.get("response.done")["response"]["output"][0]
    give(made, call, "rain")
    made.say(extra_ms=200)
    assert made.get("response.done")["response"]["status"] == "completed"
    assert "no new input" in made.refused("response.create")["message"]


# 9. Text


@pytest.mark.parametrize("model", ["qwen3.5-omni-plus-realtime", NEWEST])
def test_text_input(talk: TalkTo, model: str) -> None:
    made = talk(model=model, session=TEXT_ONLY)
    created = made.write("Hello?")
    assert created["item"]["content"] == [{"type": "input_text", "text": "Hello?"}]
    second = made.write("Anybody?")
    assert second["previous_item_id"] == created["item"]["id"]
    events = made.turn()
    assert kinds(events) == WRITTEN
    assert of(events, "response.text.done")[0]["text"] == "This is the emulator. You wrote: Hello?\nAnybody?"


def test_older_models_are_asked_with_instructions(talk: TalkTo) -> None:
    made = talk(model="qwen3-omni-flash-realtime", session=TEXT_ONLY)
    made.send("response.create", response={"instructions": "Say hello."})
    assert (
        of(made.until("response.done"), "response.text.done")[0]["text"]
        == "This is the emulator. You asked: Say hello."
    )


# 11. Ending


def test_session_finish_ends_what_is_going_on(talk: TalkTo) -> None:
    made = talk(session_finish=True)
    pcm, _ = read("weather_en")
    made.append(pcm[: len(pcm) // 2])
    made.send("session.finish")
    order = kinds(made.until("session.finished"))
    assert order[-len(SPOKEN) - 1 :] == [*SPOKEN, "session.finished"]


def test_session_finish_with_nothing_going_on(talk: TalkTo) -> None:
    made = talk(session_finish=True)
    made.send("session.finish")
    assert kinds(made.until("session.finished")) == ["session.finished"]


def test_the_servers_answer_may_break_off(talk: TalkTo) -> None:
    repeat = {"code": "COMMON_ERROR", "message": "model repeat output happened"}
    made = talk(
        [Answer("One two three.", audio=silence(900, 24000), hold_after_ms=300, error=repeat, close=(1011, "x"))],
        session=MANUAL,
    )
    made.ask()
    made.send("response.create")
    events = made.until("error")
    assert events[-1]["error"] == repeat
    assert "response.done" not in kinds(events)
    assert len(sound(events)) == 3 * 4800
    with pytest.raises(Exception, match="1011"):
        made.next()
