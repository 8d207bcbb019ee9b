"""What the service refuses, the emulator refuses, with the documented words where there are any, and goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from dashscope_rt.testing import Answer, FunctionCall

from .conftest import Service
from .talk import MANUAL, NEWEST, OLD, TESTS, TEXT_ONLY, TURBO, Machine, Talk, jpeg, read, silence, text_of

TalkTo = Callable[..., Talk]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
SERVER = {"type": "mcp", "server_label": "amap", "server_url": "https://mcp.example.com/mcp"}


def refusal(machine: Machine) -> dict[str, Any]:
    events = machine.events()
    assert [event["type"] for event in events] == ["error"], events
    error = events[0]["error"]
    assert isinstance(error, dict)
    return error


# Every value of session.update: field, value, the field that is named (session. in front), and the model

LAYOUT = "audio.input.format.channel_layout"
BAD_VALUES: list[tuple[dict[str, Any], str, str]] = [
    ({"modalities": ["audio"]}, "modalities", ""),
    ({"modalities": ["text", "video"]}, "modalities", ""),
    ({"modalities": "text"}, "modalities", ""),
    ({"modalities": []}, "modalities", ""),
    ({"voice": ""}, "voice", ""),
    ({"voice": 3}, "voice", ""),
    ({"instructions": ["no"]}, "instructions", ""),
    ({"model": 5}, "model", ""),
    ({"input_audio_format": "mp3"}, "input_audio_format", ""),
    ({"output_audio_format": 16}, "output_audio_format", ""),
    ({"input_audio_transcription": "on"}, "input_audio_transcription", ""),
    ({"turn_detection": "server_vad"}, "turn_detection", ""),
    ({"turn_detection": {"type": "magic"}}, "turn_detection.type", ""),
    ({"turn_detection": {"type": "semantic_vad"}}, "turn_detection.type", OLD),
    ({"turn_detection": {"threshold": 1.1}}, "turn_detection.threshold", ""),
    ({"turn_detection": {"threshold": -1.5}}, "turn_detection.threshold", ""),
    ({"turn_detection": {"threshold": "low"}}, "turn_detection.threshold", ""),
    ({"turn_detection": {"threshold": True}}, "turn_detection.threshold", ""),
    ({"turn_detection": {"silence_duration_ms": 199}}, "turn_detection.silence_duration_ms", ""),
    ({"turn_detection": {"silence_duration_ms": 6001}}, "turn_detection.silence_duration_ms", ""),
    ({"turn_detection": {"silence_duration_ms": 800.5}}, "turn_detection.silence_duration_ms", ""),
    ({"turn_detection": {"prefix_padding_ms": -1}}, "turn_detection.prefix_padding_ms", ""),
    ({"turn_detection": {"idle_timeout_ms": 4999}}, "turn_detection.idle_timeout_ms", ""),
    ({"turn_detection": {"idle_timeout_ms": 30001}}, "turn_detection.idle_timeout_ms", ""),
    ({"turn_detection": {"idle_timeout_ms": 6000}}, "turn_detection.idle_timeout_ms", OLD),
    ({"turn_detection": {"type": "semantic_vad", "idle_timeout_ms": 6000}}, "turn_detection.idle_timeout_ms", ""),
    ({"turn_detection": {"create_response": 1}}, "turn_detection.create_response", ""),
    ({"turn_detection": {"interrupt_response": "no"}}, "turn_detection.interrupt_response", ""),
    ({"temperature": 2}, "temperature", ""),
    ({"temperature": -0.1}, "temperature", ""),
    ({"temperature": "hot"}, "temperature", ""),
    ({"top_p": 0}, "top_p", ""),
    ({"top_p": 1.01}, "top_p", ""),
    ({"top_k": -1}, "top_k", ""),
    ({"top_k": 2.5}, "top_k", ""),
    ({"max_tokens": 0}, "max_tokens", ""),
    ({"max_tokens": 16385}, "max_tokens", OLD),
    ({"max_tokens": 65537}, "max_tokens", NEWEST),
    ({"repetition_penalty": 0}, "repetition_penalty", ""),
    ({"repetition_penalty": -0.1}, "repetition_penalty", NEWEST),
    ({"presence_penalty": 2.1}, "presence_penalty", ""),
    ({"presence_penalty": -2.1}, "presence_penalty", ""),
    ({"seed": 2**31}, "seed", ""),
    ({"seed": -2}, "seed", ""),
    ({"seed": 1.5}, "seed", ""),
    ({"temperature": 0.5}, "temperature", TURBO),
    ({"seed": 1}, "seed", TURBO),
    ({"smooth_output": True}, "smooth_output", ""),
    ({"smooth_output": "yes"}, "smooth_output", OLD),
    ({"enable_search": "yes"}, "enable_search", ""),
    ({"enable_search": True}, "enable_search", OLD),
    ({"search_options": {"enable_source": 1}}, "search_options.enable_source", ""),
    ({"search_options": {"enable_source": True}}, "search_options", OLD),
    ({"enable_search": True, "tools": [WEATHER]}, "enable_search", ""),
    ({"tool_choice": 1}, "tool_choice", ""),
    ({"tools": {}}, "tools", ""),
    ({"tools": [WEATHER]}, "tools", TURBO),
    ({"tools": ["weather"]}, "tools[0]", ""),
    ({"tools": [{"type": "function"}]}, "tools[0].function", ""),
    ({"tools": [{"type": "function", "name": "weather"}]}, "tools[0].function", ""),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", ""),
    ({"tools": [{"type": "function", "function": {"name": 1}}]}, "tools[0].function.name", ""),
    (
        {"tools": [WEATHER, {"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}]},
        "tools[1].function.parameters.type",
        "",
    ),
    ({"tools": [SERVER]}, "tools[0].type", ""),
    ({"tools": [{"type": "mcp", "server_label": "amap"}]}, "tools[0].server_url", NEWEST),
    ({"tools": [{**SERVER, "server_label": "a b"}]}, "tools[0].server_label", NEWEST),
    ({"tools": [SERVER, SERVER]}, "tools[1].server_label", NEWEST),
    ({"tools": [{**SERVER, "server_url": "http://mcp.example.com"}]}, "tools[0].server_url", NEWEST),
    ({"tools": [{**SERVER, "server_url": "https://u:p@mcp.example.com"}]}, "tools[0].server_url", NEWEST),
    ({"tools": [{**SERVER, "server_url": "https://mcp.example.com:8443/"}]}, "tools[0].server_url", NEWEST),
    ({"tools": [{**SERVER, "server_url": "https://mcp.example.com/#a"}]}, "tools[0].server_url", NEWEST),
    ({"tools": [{**SERVER, "authorization": "é"}]}, "tools[0].authorization", NEWEST),
    ({"tools": [{**SERVER, "headers": {"Host": "x"}}]}, "tools[0].headers", NEWEST),
    ({"tools": [{**SERVER, "headers": {"X-Forwarded-For": "x"}}]}, "tools[0].headers", NEWEST),
    ({"tools": [{**SERVER, "headers": {f"X-{n}": "x" for n in range(17)}}]}, "tools[0].headers", NEWEST),
    ({"tools": [{**SERVER, "allowed_tools": ["a b"]}]}, "tools[0].allowed_tools", NEWEST),
    ({"tools": [{**SERVER, "require_approval": "sometimes"}]}, "tools[0].require_approval", NEWEST),
    ({"video": {"input": {"representation_compact": "normal"}}}, "video.input.representation_compact", ""),
    ({"video": {"input": {"representation_compact": "tiny"}}}, "video.input.representation_compact", NEWEST),
    ({"audio": {"input": {"format": {"type": "mp3"}}}}, "audio.input.format.type", ""),
    ({"audio": {"input": {"format": {"sample_rate": 44100}}}}, "audio.input.format.sample_rate", ""),
    ({"audio": {"output": {"format": {"sample_rate": 16001}}}}, "audio.output.format.sample_rate", ""),
    ({"audio": {"input": {"format": {"type": "pcm"}}}}, "audio.input.format", OLD),
    ({"audio": {"output": {"voice": "Tina"}}}, "audio.output.voice", ""),
    ({"audio": {"input": {"format": {"channels": 2}}}}, "audio.input.format.channels", ""),
    ({"audio": {"input": {"format": {"channels": 3}}}}, "audio.input.format.channels", NEWEST),
    ({"audio": {"input": {"format": {"channels": 2, "channel_layout": "mono"}}}}, LAYOUT, NEWEST),
    ({"audio": {"input": {"format": {"channel_layout": None}}}}, LAYOUT, NEWEST),
    ({"audio": {"input": {"format": {"channels": 2, "sample_rate": 8000}}}}, "audio.input.format.sample_rate", NEWEST),
    ({"audio": {"input": {"format": {"packing": "planar"}}}}, "audio.input.format.packing", NEWEST),
    ({"audio": {"output": {"format": {"channels": 1}}}}, "audio.output.format.channels", NEWEST),
    ({"audio": {"input": {"format": {"type": "pcm"}}}, "output_audio_format": "pcm"}, "audio", ""),
]


@pytest.mark.parametrize(
    ("session", "param", "model"), BAD_VALUES, ids=[f"{json.dumps(row[0])[:60]}-{row[2]}" for row in BAD_VALUES]
)
def test_a_bad_value_is_named_and_changes_nothing(session: dict[str, Any], param: str, model: str) -> None:
    machine = Machine(**({"model": model} if model else {}))
    before = machine.events()[0]["session"]
    machine.update(**session)
    error = refusal(machine)
    assert error["param"] == f"session.{param}"
    assert error["type"] == "invalid_request_error"
    assert error["code"]
    assert "event_id" not in error
    machine.update()
    after = machine.events()[0]["session"]
    assert {name: after[name] for name in before} == before


GOOD_VALUES: list[tuple[dict[str, Any], str]] = [
    ({"modalities": ["audio", "text"]}, ""),
    ({"input_audio_format": "pcm16", "output_audio_format": "pcm24"}, OLD),
    ({"input_audio_transcription": {"model": None}}, ""),
    ({"instructions": None}, ""),
    ({"top_k": None, "seed": -1, "top_p": 1, "temperature": 0}, ""),
    ({"repetition_penalty": 0, "max_tokens": 65536}, NEWEST),
    ({"turn_detection": {"threshold": -1, "silence_duration_ms": 6000, "idle_timeout_ms": 5000}}, ""),
    ({"turn_detection": {"type": "semantic_vad", "create_response": False}}, NEWEST),
    ({"temperature": 1.0, "top_p": 0.01, "max_tokens": 2048}, TURBO),
    ({"smooth_output": None}, OLD),
    ({"enable_search": True, "search_options": {"enable_source": True}}, ""),
    ({"tools": [WEATHER], "tool_choice": "auto", "enable_search": False}, ""),
    ({"tools": [WEATHER, {**SERVER, "headers": {"X-A": "b"}, "allowed_tools": []}]}, NEWEST),
    ({"voice": "qwen-omni-vc-mine"}, ""),
    ({"something_new": 1}, ""),
]


@pytest.mark.parametrize(("session", "model"), GOOD_VALUES, ids=[json.dumps(row[0])[:60] for row in GOOD_VALUES])
def test_a_good_value_is_taken(session: dict[str, Any], model: str) -> None:
    machine = Machine(**({"model": model} if model else {}))
    machine.events()
    machine.update(**session)
    assert [event["type"] for event in machine.events()] == ["session.updated"]


@pytest.mark.parametrize("number", range(1, 11))
def test_the_documented_updates_are_taken(number: int) -> None:
    event = json.loads((TESTS / "vectors" / "omni" / "client" / f"session.update.{number}.json").read_text())
    model = event["session"].get("model") or (NEWEST if number in range(4, 10) else OLD)
    machine = Machine(model=model, voices=["Chelsie", "Tina", "longanlingxin"])
    machine.events()
    machine.update(**event["session"])
    got = machine.events()[0]
    if number == 2:  # the documentation's example breaks the documentation's rule
        assert got["error"]["param"] == "session.enable_search"
    else:
        assert got["type"] == "session.updated"


# Client events

BAD_EVENTS: list[tuple[str, dict[str, Any], str, str]] = [
    ("session.update", {}, "session", "Missing"),
    ("session.update", {"session": []}, "session", "Invalid type"),
    ("session.destroy", {}, "type", "Supported values are: 'session.update', "),
    ("session.finish", {}, "type", "Invalid value: 'session.finish'"),
    ("input_video_buffer.append", {"video": ""}, "type", "Invalid value"),
    ("input_audio_buffer.append", {}, "audio", "Missing"),
    ("input_audio_buffer.append", {"audio": 5}, "audio", "Invalid type"),
    ("input_audio_buffer.append", {"audio": "a!"}, "audio", "not valid Base64"),
    ("input_audio_buffer.append", {"audio": "AAA"}, "audio", "not valid Base64"),
    ("input_audio_buffer.append", {"audio": ""}, "audio", "empty"),
    ("input_image_buffer.append", {}, "image", "Missing"),
    ("input_image_buffer.append", {"image": text_of(b"\x89PNG\r\n\x1a\n")}, "image", "only JPEG"),
    ("input_image_buffer.append", {"image": "data:image/jpeg;base64,AAAA"}, "image", "not valid Base64"),
    ("input_image_buffer.append", {"image": text_of(jpeg(size=200_000))}, "image", "At most 262144"),
    ("conversation.item.create", {}, "item", "Missing"),
    ("conversation.item.create", {"item": {"type": "song"}}, "item.type", "Invalid value: 'song'"),
    ("conversation.item.create", {"item": {"type": "function_call_output", "output": ""}}, "item.call_id", "Missing"),
    ("conversation.item.create", {"item": {"type": "function_call_output", "call_id": "c"}}, "item.output", "Missing"),
    (
        "conversation.item.create",
        {"item": {"type": "function_call_output", "call_id": "c", "output": {}}},
        "item.output",
        "Invalid type",
    ),
    ("conversation.item.create", {"item": {"type": "message", "role": "user"}}, "item.content", "Missing"),
    ("conversation.item.create", {"item": {"type": "message", "role": "poet"}}, "item.role", "Invalid value: 'poet'"),
    (
        "conversation.item.create",
        {"item": {"type": "message", "role": "user", "content": [{"type": "input_image", "image": "AAAA"}]}},
        "item.content[0].type",
        "Invalid value: 'input_image'",
    ),
    (
        "conversation.item.create",
        {"item": {"type": "message", "role": "user", "content": [{"type": "input_text"}]}},
        "item.content[0].text",
        "Missing",
    ),
    ("conversation.item.create", {"item": {"type": "mcp_approval_response"}}, "item.type", "Invalid value"),
    ("response.create", {"response": "now"}, "response", "Invalid type"),
    ("response.create", {"response": {"modalities": ["audio"]}}, "response.modalities", "Supported combinations"),
    ("response.create", {"response": {"instructions": 1}}, "response.instructions", "Invalid type"),
]


@pytest.mark.parametrize(
    ("kind", "fields", "param", "message"), BAD_EVENTS, ids=[f"{row[0]}-{row[3][:20]}" for row in BAD_EVENTS]
)
def test_a_bad_event_is_refused(kind: str, fields: dict[str, Any], param: str, message: str) -> None:
    machine = Machine()
    machine.events()
    machine.send(kind, **fields)
    error = refusal(machine)
    assert error["param"] == param
    assert message in error["message"]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("{", "not valid JSON"), ("", "not valid JSON"), ("[1]", "JSON object"), ('"text"', "JSON object"),
        ("{}", "'type'"), ('{"type": 5}', "'type'"), ('{"type": "response.create", "event_id": 5}', "'event_id'"),
        ('{"type": NaN}', "not valid JSON"), ("[" * 100_000, "not valid JSON"), (b"\x00\x01", "binary"),
    ],
)  # fmt: skip
def test_what_is_no_event_is_refused(message: str | bytes, words: str) -> None:
    machine = Machine()
    machine.events()
    machine.session.receive(message, machine.now)
    assert words in refusal(machine)["message"]
    machine.update()
    assert machine.events()[0]["type"] == "session.updated"


def test_documented_words(talk: TalkTo) -> None:
    made = talk([Answer("One two three.", audio=silence(900, 24000), hold_after_ms=100)], session=MANUAL)
    assert made.refused("session.update", session={"modalities": ["audio"]}) == {
        "type": "invalid_request_error", "code": "invalid_value", "param": "session.modalities",
        "message": "Invalid modalities: ['audio']. Supported combinations are: ['text'] and ['audio', 'text'].",
    }  # fmt: skip
    assert made.refused("response.cancel") == {
        "type": "invalid_request_error", "code": "", "param": "", "event_id": "",
        "message": "Conversation has none active response",
    }  # fmt: skip
    plain = {"type": "invalid_request_error", "code": "", "param": ""}
    assert made.refused("input_image_buffer.append", image=text_of(jpeg())) == {
        **plain, "message": "Error append image before append audio.",
    }  # fmt: skip
    too_small = {
        **plain, "message": "Error committing input audio buffer: buffer too small, or have no audio.",
    }  # fmt: skip
    assert made.refused("input_audio_buffer.commit") == too_small
    made.append(silence(90))
    assert made.refused("input_audio_buffer.commit") == too_small
    assert made.refused("response.create")["message"].startswith("Cannot create response")
    item = {"type": "function_call_output", "call_id": "call_x", "output": "1"}
    assert made.refused("conversation.item.create", item=item) == {
        "type": "invalid_request_error", "message": "Unknown function call id: call_x",
    }  # fmt: skip
    made.ask()
    made.send("response.create")
    made.until("response.audio.delta")
    assert made.refused("response.create") == {**plain, "message": "Conversation already has an active response"}


def test_a_commit_counts_as_an_empty_buffer_for_images(talk: TalkTo) -> None:
    made = talk(session={**MANUAL, "input_audio_transcription": None})
    made.ask()
    made.until("conversation.item.created")
    assert "before append audio" in made.refused("input_image_buffer.append", image=text_of(jpeg()))["message"]


def test_no_response_while_the_user_speaks(talk: TalkTo) -> None:
    made = talk(session={"input_audio_transcription": None})
    pcm, _ = read("weather_en")
    made.append(pcm[: len(pcm) // 2])
    made.until("input_audio_buffer.speech_started")
    assert made.refused("response.create")["message"] == "Cannot create response while user is speaking."


@pytest.mark.parametrize("closes", [True, False])
def test_commit_under_vad(talk: TalkTo, closes: bool) -> None:
    made = talk(commit_in_vad_closes=closes)
    made.append(silence(200))
    assert made.refused("input_audio_buffer.commit") == {
        "type": "server_error", "code": "InternalError", "message": "Internal service error: null",
    }  # fmt: skip
    if closes:
        with pytest.raises(ConnectionClosed) as caught:
            made.next()
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1011, "Internal service error: null")
    else:
        made.update()


def test_an_unknown_voice_ends_the_session_at_the_first_update(talk: TalkTo) -> None:
    made = talk()
    assert made.refused("session.update", session={"voice": "Nobody"})["message"] == "Voice 'Nobody' is not supported."
    with pytest.raises(ConnectionClosed):
        made.next()


def test_an_unknown_voice_later_does_not(talk: TalkTo) -> None:
    made = talk()
    made.update()
    assert "not supported" in made.refused("session.update", session={"voice": "Nobody"})["message"]
    made.update()


def test_voices_may_be_given(talk: TalkTo) -> None:
    made = talk(voices=["Nobody"])
    assert made.update(voice="Nobody")["voice"] == "Nobody"


def test_the_voice_is_fixed_once_it_was_heard(talk: TalkTo) -> None:
    made = talk(session=MANUAL)
    made.update(voice="Ethan")
    made.ask()
    made.until("conversation.item.input_audio_transcription.completed")
    made.turn()
    error = made.refused("session.update", session={"voice": "Cherry"})
    assert (error["code"], error["type"]) == ("cannot_update_voice", "invalid_request_error")
    assert made.update(voice="Ethan")["voice"] == "Ethan"


def test_the_voice_is_free_after_text_only(talk: TalkTo) -> None:
    made = talk(session={**MANUAL, **TEXT_ONLY})
    made.write("Hello?")
    made.turn()
    assert made.update(voice="Ethan")["voice"] == "Ethan"


@pytest.mark.parametrize(
    "change",
    [
        {"audio": {"input": {"format": {"sample_rate": 8000}}}},
        {"audio": {"output": {"format": {"sample_rate": 8000}}}},
        {"input_audio_format": "wav"},
        {"video": {"input": {"representation_compact": "normal"}}},
    ],
)
def test_formats_are_fixed_after_the_first_audio(change: dict[str, Any]) -> None:
    machine = Machine(model=NEWEST if "video" in change else "qwen3.5-omni-plus-realtime")
    machine.append(silence(100))
    machine.events()
    machine.update(**change)
    assert "after audio was received" in refusal(machine)["message"]
    machine.update(audio={"input": {"format": {"sample_rate": 16000}}})
    assert machine.events()[0]["type"] == "session.updated"


def test_text_items_on_models_without_text_input() -> None:
    machine = Machine(model=OLD)
    machine.events()
    machine.send(
        "conversation.item.create",
        item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
    )
    error = refusal(machine)
    assert OLD in error["message"]
    assert error["code"] == "unsupported_parameter"


def test_an_append_over_15_mib_is_refused() -> None:
    machine = Machine()
    machine.update(**MANUAL)
    machine.events()
    machine.send("input_audio_buffer.append", audio=text_of(bytes(15 * 1024 * 1024 + 1)))
    assert "15728641 bytes" in refusal(machine)["message"]
    machine.send("input_audio_buffer.append", audio=text_of(bytes(15 * 1024 * 1024)))
    assert machine.events() == []


def test_images_of_older_limits_are_refused_by_size_of_base64() -> None:
    machine = Machine()
    machine.append(silence(100))
    machine.events()
    machine.send("input_image_buffer.append", image=text_of(jpeg(size=196_608)))
    assert machine.events() == []
    machine.send("input_image_buffer.append", image=text_of(jpeg(size=196_609)))
    assert refusal(machine)["param"] == "image"


def test_an_output_is_taken_once() -> None:
    machine = Machine([Answer(function_calls=[FunctionCall("weather")])])
    machine.update(**MANUAL, tools=[WEATHER])
    machine.append(silence(200))
    machine.send("input_audio_buffer.commit")
    machine.send("response.create")
    machine.events()
    call = machine.wait()[-1]["response"]["output"][0]
    item = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
    machine.send("conversation.item.create", item=item)
    assert machine.events()[0]["item"]["call_id"] == call["call_id"]
    machine.send("conversation.item.create", item=item)
    assert refusal(machine)["message"].startswith("Unknown function call id")


def test_mcp_tools_are_fixed_while_a_response_is_active() -> None:
    machine = Machine([Answer("Hm.", hold_after_ms=0)], model=NEWEST)
    machine.update(**MANUAL, tools=[SERVER])
    machine.append(silence(200))
    machine.send("input_audio_buffer.commit")
    machine.send("response.create")
    machine.wait()
    machine.update(tools=[])
    assert refusal(machine)["param"] == "session.tools"
    machine.send(
        "conversation.item.create", item={"type": "mcp_approval_response", "approval_request_id": "a", "approve": True}
    )
    assert "Unknown approval request id" in refusal(machine)["message"]


@pytest.mark.parametrize(("wish", "expected"), [(True, True), (False, False), (None, False)])
def test_error_event_ids(service: Service, wish: bool | None, expected: bool) -> None:
    made = service.talk(service(error_event_ids=wish))
    event_id = made.send("input_audio_buffer.append")
    assert made.next()["error"].get("event_id") == (event_id if expected else None)


def test_vad_settings_that_are_not_named_stay_or_go_back(service: Service) -> None:
    for merge, silence_ms in ((True, 300), (False, 800)):
        made = service.talk(service(merge_nested=merge), turn_detection={"silence_duration_ms": 300})
        assert made.update(turn_detection={"threshold": 0.1})["turn_detection"]["silence_duration_ms"] == silence_ms
