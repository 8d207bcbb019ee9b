"""Every order of events the service is known to send gives a program what it is to hear: folded, and over the line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dashscope_rt import APIError, FunctionCall, InputTranscript, Response, codec, events
from dashscope_rt._session.state import Call, Done, Failure, SessionState
from tests.client.flows import FLOWS, Flow
from tests.client.wire import Event, dialled, manual

NAMES = (
    "on_audio_delta", "on_text_delta", "on_input_transcript", "on_speech_started", "on_speech_stopped",
    "on_function_call", "on_done", "on_error",
)  # fmt: skip


def told(name: str, what: object) -> str:
    """One call of a callback in a line."""
    if isinstance(what, Response):
        return f"{name}:{what.status} {what.text}"
    if isinstance(what, InputTranscript):
        return f"{name}:{what.text}{' final' if what.final else ''}"
    if isinstance(what, FunctionCall):
        return f"{name}:{what.name}"
    if isinstance(what, APIError):
        return f"{name}:{what.message}"
    if isinstance(what, (events.ResponseTextDelta, events.ResponseAudioTranscriptDelta)):
        return f"{name}:{what.delta}"
    return name


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_a_flow_folds_into_its_notices(flow: Flow) -> None:
    state = SessionState(24000, 2.0)
    names = {Done: ("on_done", "response"), Call: ("on_function_call", "call"), Failure: ("on_error", "error")}
    heard = []
    for number, event in enumerate(flow.events):
        for notice in state.fold(codec.decode(json.dumps(event)), float(number)):
            if isinstance(notice, InputTranscript):
                heard.append(told("on_input_transcript", notice))
            elif type(notice) in names:
                name, field = names[type(notice)]
                heard.append(told(name, getattr(notice, field)))
    expected = [line for line in flow.heard if not line.startswith(("on_text", "on_audio", "on_speech"))]
    assert heard == expected


@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "in one packet"])
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_a_flow_over_the_line_calls_its_callbacks_in_order(flow: Flow, at_once: bool) -> None:
    heard: list[str] = []
    options: dict[str, Any] = {name: (lambda what, name=name: heard.append(told(name, what))) for name in NAMES}
    with dialled(**options) as at:
        if at_once:
            at.line.send_at_once(*flow.events)
        else:
            for event in flow.events:
                at.line.send(event)
        at.settle()
        assert at.session.is_open
        assert at.session.stats.callback_errors == 0
        assert at.session.stats.unreadable == 0
        assert at.session.stats.unknown == 1  # the mark of the test itself
    assert heard[: len(flow.heard)] == flow.heard
    assert all(line.startswith("on_done:cancelled") for line in heard[len(flow.heard) :])  # at the end of the line


@pytest.mark.parametrize("flow", [flow for flow in FLOWS if flow.name[0] in "234568"], ids=lambda flow: flow.name)
def test_after_a_flow_the_next_response_may_be_asked_for(flow: Flow) -> None:
    """Nothing is left over: not a running response, not a user who seems to speak for ever."""
    with dialled() as at:
        for event in flow.events:
            at.line.send(event)
        at.settle()
        event_id = at.session.create_response()
        assert at.line.read_event()["event_id"] == event_id


@pytest.mark.parametrize("missing", ["event_id", "item_id", "output_index", "content_index", "object", "conversation_id", "usage"])
def test_a_flow_survives_without_fields_the_service_may_leave_out(missing: str) -> None:
    (flow,) = [flow for flow in FLOWS if flow.name == "2 manual"]
    heard: list[str] = []
    with manual(on_done=lambda response: heard.append(told("on_done", response))) as at:
        for event in flow.events:
            at.line.send(without(event, missing))
        at.settle()
        assert at.session.stats.unreadable == 0
    assert heard == ["on_done:completed Sunny."]


def test_a_flow_survives_fields_nobody_has_heard_of() -> None:
    (flow,) = [flow for flow in FLOWS if flow.name == "2 manual"]
    heard: list[str] = []
    with manual(on_done=lambda response: heard.append(told("on_done", response))) as at:
        for event in flow.events:
            at.line.send({**event, "obfuscation": "x", "new": {"deep": [1]}, "raw": 7, "audio": "no"})
        at.settle()
        assert at.session.stats.unreadable == 0
    assert heard == ["on_done:completed Sunny."]


def without(value: Any, name: str) -> Any:
    """The frame without a field, at every depth."""
    if isinstance(value, dict):
        return {key: without(inner, name) for key, inner in value.items() if key != name}
    return [without(inner, name) for inner in value] if isinstance(value, list) else value


def test_the_flows_are_all_there() -> None:
    numbers = {int(flow.name.split(" ")[0]) for flow in FLOWS}
    assert numbers >= {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
    assert len({flow.name for flow in FLOWS}) == len(FLOWS)
    whole: list[Event] = [event for flow in FLOWS for event in flow.events]
    assert {event["type"] for event in whole} >= {"response.done", "error", "session.updated"}
