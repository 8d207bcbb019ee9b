"""The orders of events the service is known to send, in variants, and what a program is to hear of each.

Server events only, as they come; what the client sends is left out. Expected are the calls of the friendly callbacks, in
order, each as ``name`` or ``name:detail``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from tests.client.wire import (
    PCM,
    Event,
    audio_delta,
    call_item,
    calling,
    committed,
    error_event,
    item_done,
    message,
    output_item,
    response_created,
    response_done,
    speech_started,
    speech_stopped,
    speech_text_delta,
    spoken,
    text_delta,
    text_done,
    text_item,
    transcribed,
    transcript,
    updated,
    user_item,
    written,
)

SPOKEN = ["on_text_delta:Sun", "on_audio_delta", "on_audio_delta", "on_text_delta:ny.", "on_done:completed Sunny."]
WRITTEN = ["on_text_delta:Sun", "on_text_delta:ny.", "on_done:completed Sunny."]


@attrs.frozen
class Flow:
    """One order of events.

    Attributes:
        name: The flow and its variant.
        events: As the service sends them.
        heard: What a program hears, in order.
        texts: The texts of the responses that are over, in order.
    """

    name: str
    events: list[Event]
    heard: list[str]


def flows() -> Iterator[Flow]:
    yield from opening()
    yield from turns()
    yield from vad()
    yield from semantic()
    yield from barge_in()
    yield from cancelled()
    yield from functions()
    yield from refusals()
    yield from siblings()


def opening() -> Iterator[Flow]:
    yield Flow("1 updated", [updated({"instructions": "x"})], [])
    yield Flow("1 update refused", [error_event("no", event_id="event_1")], ["on_error:no"])


def turns() -> Iterator[Flow]:
    user = [committed(), user_item()]
    yield Flow("2 manual", [*user, *spoken()], SPOKEN)
    heard = ["on_input_transcript:What", "on_input_transcript:What is this", "on_input_transcript:What is this? final"]
    speech = [transcript("", "What"), transcript("What", " is this"), transcribed("What is this?")]
    yield Flow("2 transcribed before the answer", [*user, *speech, *spoken()], heard + SPOKEN)
    answer = spoken()
    yield Flow(
        "2 transcribed in the middle",
        [*user, *answer[:5], *speech, *answer[5:]],
        [SPOKEN[0], *heard, *SPOKEN[1:]],
    )
    yield Flow("2 transcribed after the answer", [*user, *answer, speech[2]], [*SPOKEN, heard[2]])
    failed = {
        "type": "conversation.item.input_audio_transcription.failed", "item_id": "item_u1", "content_index": 0,
        "error": {"code": "c", "message": "m", "param": ""},
    }  # fmt: skip
    yield Flow("2 transcription failed", [*user, failed, *answer], SPOKEN)
    yield Flow("2 the item's role is assistant", [committed(), user_item(role="assistant"), *answer], SPOKEN)
    yield Flow("2 only deltas and done", [response_created(), *(e for e in answer if "delta" in e["type"]), answer[-1]], SPOKEN)
    bare = {"type": "response.done", "response": {"id": "resp_1", "status": "completed"}}
    yield Flow("2 a bare response.done", [*answer[:-1], bare], SPOKEN)
    yield Flow("3 text only", [*user, *written()], WRITTEN)
    yield Flow("9 text input", [text_item("Hello?"), *written()], WRITTEN)
    failure = response_done(status="failed", status_details={"error": {"code": "c", "message": "m"}})
    yield Flow("2 failed", [*user, *answer[:6], failure], [*SPOKEN[:2], "on_done:failed Sun"])


def vad() -> Iterator[Flow]:
    start, stop = "on_speech_started", "on_speech_stopped"
    turn = [speech_started(), speech_stopped(), committed(), user_item()]
    yield Flow("4 vad", [*turn, *spoken()], [start, stop, *SPOKEN])
    yield Flow("4 repeated start", [turn[0], turn[0], turn[0], *turn[1:], *spoken()], [start] * 3 + [stop, *SPOKEN])
    previews = [transcript("", "Wh"), transcript("Wh", "at")]
    yield Flow(
        "4 previews",
        [turn[0], *previews, *turn[1:], transcribed("What?"), *spoken()],
        [start, "on_input_transcript:Wh", "on_input_transcript:What", stop, "on_input_transcript:What? final", *SPOKEN],
    )
    yield Flow("4 the model speaks first", spoken(), SPOKEN)
    second = [speech_started("item_u2"), speech_stopped("item_u2"), committed("item_u2"), user_item("item_u2")]
    yield Flow(
        "4 two turns", [*turn, *spoken(), *second, *written(response="resp_2")], [start, stop, *SPOKEN, start, stop, *WRITTEN]
    )


def semantic() -> Iterator[Flow]:
    start, stop = "on_speech_started", "on_speech_stopped"
    rejected = "Input speech was not accepted by semantic turn detection"
    early = [speech_started(), user_item(status="in_progress"), transcript("Wh"), speech_stopped(), committed()]
    yield Flow("5 early item", [*early, *spoken()], [start, "on_input_transcript:Wh", stop, *SPOKEN])
    yield Flow("5 rejected", [*early[:4], error_event(rejected)], [start, "on_input_transcript:Wh", stop, f"on_error:{rejected}"])
    yield Flow(
        "5 rejected, then accepted",
        [*early[:4], error_event(rejected), *early, *spoken()],
        [start, "on_input_transcript:Wh", stop, f"on_error:{rejected}", start, "on_input_transcript:Wh", stop, *SPOKEN],
    )
    yield Flow(
        "5 a turn the service splits",
        [*early, response_created("resp_1"), text_delta("I th"), *written(response="resp_2")],
        [start, "on_input_transcript:Wh", stop, "on_text_delta:I th", "on_done:cancelled I th", *WRITTEN],
    )


def barge_in() -> Iterator[Flow]:
    first = [response_created("resp_1"), speech_text_delta("Once u"), audio_delta()]
    heard = ["on_text_delta:Once u", "on_audio_delta", "on_speech_started"]
    turn = [speech_stopped("item_u3"), committed("item_u3"), user_item("item_u3")]
    rest = ["on_speech_stopped", *WRITTEN]
    start = speech_started("item_u3")
    for status in ("cancelled", "completed", "incomplete"):
        done = response_done("resp_1", status=status)
        yield Flow(
            f"6 interrupted, then {status}",
            [*first, start, done, *turn, *written(response="resp_2")],
            [*heard, f"on_done:{status} Once u", *rest],
        )
    yield Flow(
        "6 interrupted without an end",
        [*first, start, *turn, *written(response="resp_2")],
        [*heard, "on_speech_stopped", "on_done:cancelled Once u", *WRITTEN],
    )
    late = response_done("resp_1", status="cancelled")
    yield Flow(
        "6 its end comes after the next beginning",
        [*first, start, *turn, response_created("resp_2"), late, *written(response="resp_2")[1:]],
        [*heard, "on_speech_stopped", "on_done:cancelled Once u", *WRITTEN],
    )
    yield Flow(
        "6 a cancel that came too late",
        [*first, start, response_done("resp_1"), error_event("Conversation has none active response"), *turn],
        [*heard, "on_done:completed Once u", "on_error:Conversation has none active response", "on_speech_stopped"],
    )


def cancelled() -> Iterator[Flow]:
    begun = [response_created(), text_delta("Sun")]
    ends = [text_done("Sun"), item_done(message("Sun"))]
    yield Flow(
        "7 cancelled with an end",
        [*begun, *ends, response_done(status="cancelled")],
        ["on_text_delta:Sun", "on_done:cancelled Sun"],
    )
    yield Flow("7 cancelled without an end", [*begun, *ends], ["on_text_delta:Sun"])
    yield Flow(
        "7 response.cancelled",
        [*begun, {"type": "response.cancelled", "response": {"id": "resp_1"}}],
        ["on_text_delta:Sun", "on_done:cancelled Sun"],
    )


def functions() -> Iterator[Flow]:
    one = calling(call_item("call_1"))
    called = ["on_function_call:weather", "on_done:completed "]
    yield Flow("8 one call", one, called)
    yield Flow("8 without item events", [each for each in one if "item.created" not in each["type"]], called)
    after = [output_item("call_1"), *spoken(response="resp_2")]
    yield Flow("8 one call and its answer", [*one, *after], called + SPOKEN)
    two = calling(call_item("call_1"), call_item("call_2", "stock"))
    yield Flow("8 two calls", two, ["on_function_call:weather", "on_function_call:stock", "on_done:completed "])
    for status in ("failed", "cancelled"):
        yield Flow(f"8 {status}", calling(call_item("call_1"), status=status), [f"on_done:{status} "])
    text = "Unknown function call id: call_1"
    yield Flow("8 unknown id", [*one, error_event(text)], [*called, f"on_error:{text}"])
    spoken_meanwhile = [speech_started("item_u2"), output_item("call_1"), speech_stopped("item_u2"), committed("item_u2")]
    yield Flow(
        "8 the user speaks meanwhile",
        [*one, *spoken_meanwhile, *written(response="resp_2")],
        [*called, "on_speech_started", "on_speech_stopped", *WRITTEN],
    )
    mixed = [response_created(), text_delta("Let me see."), *one[1:]]
    yield Flow("8 with words", mixed, ["on_text_delta:Let me see.", "on_function_call:weather", "on_done:completed Let me see."])


def refusals() -> Iterator[Flow]:
    for text in (
        "Conversation already has an active response",
        "Cannot create response while user is speaking.",
        "Error committing input audio buffer: buffer too small, or have no audio.",
        "Error append image before append audio.",
    ):
        answer = spoken()
        yield Flow(f"10 {text[:25]}", [*answer[:3], error_event(text), *answer[3:]], [f"on_error:{text}", *SPOKEN])


def siblings() -> Iterator[Flow]:
    kind = "conversation.item.input_audio_transcription"
    asr = [
        {"type": f"{kind}.text", "item_id": "i", "text": "He", "stash": "llo", "language": "en", "emotion": "neutral"},
        {"type": f"{kind}.completed", "item_id": "i", "transcript": "Hello", "language": "en"},
        {"type": "session.finished"},
    ]
    yield Flow("11 asr", [speech_started(), speech_stopped(), committed(), *asr], [
        "on_speech_started", "on_speech_stopped", "on_input_transcript:Hello", "on_input_transcript:Hello final",
    ])  # fmt: skip
    ids: dict[str, Any] = {"response_id": "resp_1", "item_id": "i", "output_index": 0, "content_index": 0}
    translated = [
        response_created(),
        {"type": "response.audio_transcript.text", **ids, "text": "Sun", "stash": "ny."},
        audio_delta(PCM),
        {"type": "response.audio_transcript.done", **ids, "transcript": "Sunny."},
        response_done(),
    ]
    yield Flow("11 livetranslate", translated, ["on_audio_delta", "on_done:completed Sunny."])


FLOWS = list(flows())
