"""Function calls: given out when their response is completed, answered once, followed by exactly one response.create."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from dashscope_rt import APIError, BadRequestError, ConnectionClosed, FunctionCall
from tests.client.wire import (
    Background,
    Dialled,
    Event,
    Heard,
    call_item,
    calling,
    dialled,
    error_event,
    manual,
    output_item,
    response_created,
    response_done,
    speech_started,
    speech_stopped,
    written,
)
from tests.peer import SOON


def play(at: Dialled, events: list[Event]) -> None:
    for event in events:
        at.line.send(event)


def test_a_call_is_given_out_after_its_response_is_done_and_before_on_done() -> None:
    order: list[str] = []
    options: Any = {
        "on_function_call": lambda call: order.append(call.call_id),
        "on_done": lambda _: order.append("done"),
    }
    with dialled(**options) as at:
        events = calling(call_item("call_1"), call_item("call_2", "stock", "{}"))
        play(at, events[:-1])
        at.settle()
        assert order == []
        play(at, events[-1:])
        at.settle()
    assert order == ["call_1", "call_2", "done"]


def test_one_call_its_output_its_acknowledgement_and_one_create() -> None:
    with dialled(on_function_call=lambda call: call.respond("22 degrees")) as at:
        play(at, calling(call_item("call_1")))
        sent = at.line.read_event()
        assert sent["type"] == "conversation.item.create"
        assert sent["item"] == {"type": "function_call_output", "call_id": "call_1", "output": "22 degrees"}
        assert at.sees_nothing() == []  # not before the acknowledgement
        at.line.send(output_item("call_1"))
        assert at.line.read_event()["type"] == "response.create"
        play(at, written(response="resp_2"))
        at.settle()
        assert at.sees_nothing() == []


def test_several_calls_are_all_acknowledged_before_the_one_create() -> None:
    calls = Heard()
    with dialled(on_function_call=calls) as at:
        play(at, calling(call_item("call_1"), call_item("call_2"), call_item("call_3")))
        given = [calls.get() for _ in range(3)]
        for call in reversed(given):
            call.respond("x")
        assert [at.line.read_event()["item"]["call_id"] for _ in range(3)] == ["call_3", "call_2", "call_1"]
        for name in ("call_3", "call_2"):
            at.line.send(output_item(name))
            at.settle()
            assert at.sees_nothing() == []
        at.line.send(output_item("call_1"))
        assert at.line.read_event()["type"] == "response.create"
        assert at.sees_nothing() == []


def test_a_call_that_is_answered_late_holds_back_the_create() -> None:
    calls = Heard()
    with dialled(on_function_call=calls) as at:
        play(at, calling(call_item("call_1"), call_item("call_2")))
        first, second = calls.get(), calls.get()
        first.respond("x")
        at.line.read_event()
        at.line.send(output_item("call_1"))
        at.settle()
        assert at.sees_nothing() == []
        second.respond("y")
        at.line.read_event()
        at.line.send(output_item("call_2"))
        assert at.line.read_event()["type"] == "response.create"


@pytest.mark.parametrize("status", ["failed", "cancelled", "incomplete"])
def test_calls_of_a_response_that_is_not_completed_are_not_given_out(status: str) -> None:
    calls, done = Heard(), Heard()
    with dialled(on_function_call=calls, on_done=done) as at:
        play(at, calling(call_item("call_1"), status=status))
        response = done.get()
        assert response.function_calls == ()
        assert [item.call_id for item in response.output] == ["call_1"]
        at.settle()
    assert calls.all == []


def test_calls_of_a_response_that_another_one_supersedes_are_not_given_out() -> None:
    calls = Heard()
    with dialled(on_function_call=calls) as at:
        play(at, [*calling(call_item("call_1"))[:-1], response_created("resp_2"), response_done("resp_2")])
        at.settle()
    assert calls.all == []


def test_a_call_is_found_where_response_done_lists_no_output() -> None:
    calls = Heard()
    with dialled(on_function_call=calls) as at:
        play(at, [*calling(call_item("call_1"))[:-1], response_done("resp_1")])
        assert calls.get().call_id == "call_1"


def test_the_call_made_of_the_vector_of_the_documentation() -> None:
    """Arguments begin with a blank, as they often do."""
    calls = Heard()
    with dialled(on_function_call=calls) as at:
        play(at, calling(call_item("call_1", "get_current_weather", ' {"location": "成都"}')))
        call = calls.get()
        assert (call.name, call.arguments, call.arguments_json) == (
            "get_current_weather",
            {"location": "成都"},
            '{"location": "成都"}',
        )


# ---- arguments ----------------------------------------------------------------------------------------------------


def made(arguments: str, answer: Any = None) -> FunctionCall:
    return FunctionCall(name="f", call_id="call_1", arguments_json=arguments, response_id="resp_1", answer=answer)


@pytest.mark.parametrize(
    ("arguments", "value"), [(' {"a": 1}', {"a": 1}), ('{"a": null}\n', {"a": None}), ("", {}), ("  ", {}), ("{}", {})]
)
def test_arguments_are_a_dict(arguments: str, value: dict[str, Any]) -> None:
    assert made(arguments).arguments == value


@pytest.mark.parametrize("arguments", ["{", "not json", "[1]", "7", '"x"', "null", "[" * 100_000, '{"a": 1} trailing'])
def test_arguments_that_are_no_json_object_are_a_value_error_and_the_call_can_still_be_answered(arguments: str) -> None:
    answers: list[str] = []
    call = made(arguments, lambda _, text: answers.append(text) or "event_1")  # type: ignore[func-returns-value]
    with pytest.raises(ValueError, match="arguments for f"):
        _ = call.arguments
    call.respond("these are no arguments")
    assert answers == ["these are no arguments"]


def test_a_callback_that_trips_over_bad_arguments_does_not_end_the_session() -> None:
    raised = Heard()
    with dialled(on_function_call=lambda call: call.arguments["x"], on_callback_error=raised) as at:
        play(at, calling(call_item("call_1", arguments="{broken")))
        error, _, what = raised.get()
        assert isinstance(error, ValueError)
        assert isinstance(what, FunctionCall)
        assert not what.answered
        what.respond("your arguments were no JSON")
        assert at.line.read_event()["item"]["output"] == "your arguments were no JSON"


# ---- answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ({"t": 22, "s": "ü"}, '{"t": 22, "s": "ü"}'),
        ([1, 2], "[1, 2]"),
        (7, "7"),
        (True, "true"),
        (None, "null"),
    ],
)
def test_an_output_is_a_text_or_becomes_json(output: Any, text: str) -> None:
    calls = Heard()
    with dialled(on_function_call=calls) as at:
        play(at, calling(call_item("call_1")))
        event_id = calls.get().respond(output)
        sent = at.line.read_event()
        assert sent["item"]["output"] == text
        assert sent["event_id"] == event_id
        assert isinstance(sent["item"]["output"], str)


def test_an_output_that_is_no_json_is_refused_and_the_call_stays_open() -> None:
    calls = Heard()
    with dialled(on_function_call=calls) as at:
        play(at, calling(call_item("call_1")))
        call = calls.get()
        with pytest.raises(TypeError):
            call.respond(object())
        assert not call.answered
        call.respond("x")
        assert call.answered


def test_a_call_is_answered_once() -> None:
    calls = Heard()
    with dialled(on_function_call=calls) as at:
        play(at, calling(call_item("call_1")))
        call = calls.get()
        call.respond("x")
        with pytest.raises(RuntimeError, match="answered before"):
            call.respond("y")
        at.line.read_event()
        assert at.sees_nothing() == []


def test_two_threads_cannot_both_answer_a_call() -> None:
    inside, go = threading.Event(), threading.Event()
    answers: list[str] = []

    def answer(_: FunctionCall, text: str) -> str:
        inside.set()
        go.wait(SOON)
        answers.append(text)
        return "event_1"

    call = made("{}", answer)
    first = Background(call.respond, "first")
    assert inside.wait(SOON)
    second = Background(call.respond, "second")
    second._thread.join(0.05)  # it has raised, or it waits
    go.set()
    first.result()
    assert isinstance(second.error(), RuntimeError)
    assert answers == ["first"]


def test_a_call_whose_answer_could_not_be_sent_can_be_answered_again() -> None:
    outcomes = iter([ConnectionClosed("gone"), "event_2"])

    def answer(_: FunctionCall, __: str) -> str:
        outcome = next(outcomes)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    call = made("{}", answer)
    with pytest.raises(ConnectionClosed):
        call.respond("x")
    assert not call.answered
    assert call.respond("x") == "event_2"


def test_answering_works_from_any_thread_and_after_the_callback() -> None:
    calls = Heard()
    with dialled(on_function_call=calls) as at:
        play(at, calling(call_item("call_1")))
        call = calls.get()
        Background(call.respond, {"t": 1}).result()
        assert json.loads(at.line.read_event()["item"]["output"]) == {"t": 1}
        at.line.send(output_item("call_1"))
        assert at.line.read_event()["type"] == "response.create"


def test_answering_after_the_end_raises_with_why() -> None:
    calls = Heard()
    with dialled(on_function_call=calls) as at:
        play(at, calling(call_item("call_1")))
        call = calls.get()
        at.line.reset()
        at.session.wait_closed(SOON)
        with pytest.raises(ConnectionClosed) as caught:
            call.respond("x")
        assert caught.value.info is at.session.close_info


# ---- what the service may do meanwhile ----------------------------------------------------------------------------


@pytest.mark.parametrize("named", [True, False], ids=["error names the event", "error names nothing"])
def test_an_unknown_call_id_is_an_error_and_no_create_follows(named: bool) -> None:
    calls, errors = Heard(), Heard()
    with dialled(on_function_call=calls, on_error=errors) as at:
        play(at, calling(call_item("call_1")))
        event_id = calls.get().respond("x")
        waiting = Background(at.session.wait_ack, event_id)
        at.line.read_event()
        at.line.send(error_event("Unknown function call id: call_1", **({"event_id": event_id} if named else {})))
        assert isinstance(waiting.error(), BadRequestError)
        assert isinstance(errors.get(), APIError)
        at.settle()
        assert at.sees_nothing() == []
        assert at.session.is_open


def test_the_error_about_one_of_several_calls_is_tied_to_the_call_it_names() -> None:
    calls = Heard()
    with dialled(on_function_call=calls) as at:
        play(at, calling(call_item("call_1"), call_item("call_2")))
        ids = {call.call_id: call.respond("x") for call in (calls.get(), calls.get())}
        at.line.read_event()
        at.line.read_event()
        waiting = {name: Background(at.session.wait_ack, event_id) for name, event_id in ids.items()}
        at.line.send(error_event("Unknown function call id: call_2"))
        assert isinstance(waiting["call_2"].error(), BadRequestError)
        assert waiting["call_1"].running
        at.line.send(output_item("call_1"))
        waiting["call_1"].result()
        assert at.line.read_event()["type"] == "response.create"  # one of the two was taken


def test_when_the_service_goes_on_by_itself_no_second_create_is_sent() -> None:
    """In VAD mode the user may speak meanwhile; the service's own response then consumes the outputs."""
    calls = Heard()
    with dialled(on_function_call=calls) as at:
        play(at, calling(call_item("call_1")))
        call = calls.get()
        play(at, [speech_started("item_u2")])
        call.respond("x")
        at.line.read_event()
        at.line.send(output_item("call_1"))
        at.settle()
        assert at.sees_nothing() == []  # the user speaks
        play(at, [response_created("resp_2"), speech_stopped("item_u2")])
        at.settle()
        assert at.sees_nothing() == []
        play(at, [response_done("resp_2")])
        at.settle()
        assert at.sees_nothing() == []


def test_when_the_service_answers_between_output_and_acknowledgement_no_create_is_sent() -> None:
    calls = Heard()
    with dialled(on_function_call=calls) as at:
        play(at, calling(call_item("call_1")))
        calls.get().respond("x")
        at.line.read_event()
        play(at, [response_created("resp_2"), output_item("call_1"), response_done("resp_2")])
        at.settle()
        assert at.sees_nothing() == []


def test_an_output_that_comes_after_the_service_went_on_is_followed_by_a_create_of_its_own() -> None:
    calls = Heard()
    with dialled(on_function_call=calls) as at:
        play(at, calling(call_item("call_1")))
        call = calls.get()
        play(at, written(response="resp_2"))
        at.settle()
        call.respond("x")
        at.line.read_event()
        at.line.send(output_item("call_1"))
        assert at.line.read_event()["type"] == "response.create"


def test_the_create_after_the_outputs_waits_for_a_running_response_of_somebody_else() -> None:
    """ "Already has an active response" otherwise."""
    calls = Heard()
    with manual(on_function_call=calls) as at:
        play(at, calling(call_item("call_1")))
        call = calls.get()
        at.session.create_response()
        at.line.read_event("response.create")
        at.line.send(response_created("resp_2"))
        at.settle()
        call.respond("x")
        at.line.read_event()
        at.line.send(output_item("call_1"))
        at.settle()
        assert at.sees_nothing() == []
        at.line.send(response_done("resp_2"))
        assert at.line.read_event()["type"] == "response.create"


def test_the_follow_up_may_call_functions_again() -> None:
    calls = Heard()
    with dialled(on_function_call=calls) as at:
        for number in range(3):
            play(at, calling(call_item(f"call_{number}"), response=f"resp_{number}"))
            calls.get().respond("x")
            assert at.line.read_event()["item"]["call_id"] == f"call_{number}"
            at.line.send(output_item(f"call_{number}"))
            assert at.line.read_event()["type"] == "response.create"


def test_an_output_sent_by_hand_is_no_answer_of_the_calls_own() -> None:
    """create_item is the raw way: the caller also asks for the response."""
    with dialled() as at:
        play(at, calling(call_item("call_1")))
        event_id = at.session.create_item({"type": "function_call_output", "call_id": "call_1", "output": "x"})
        waiting = Background(at.session.wait_ack, event_id)
        at.line.read_event()
        at.line.send(output_item("call_1"))
        waiting.result()
        assert at.sees_nothing() == []
