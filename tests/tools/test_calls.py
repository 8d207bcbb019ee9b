"""Calls of registered functions: on which thread, when, how often, and what the model is told when they fail.

The test itself is the service, event by event, so that the order of things is the test's own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from dashscope_rt import ConnectionClosed, FunctionTool, Reconnect, Tool, ToolPolicy, UnsupportedByModel
from tests.client.wire import (
    Background,
    Dialled,
    Event,
    Heard,
    call_item,
    calling,
    client_for,
    committed,
    created,
    dialled,
    error_event,
    manual,
    output_item,
    response_created,
    response_done,
    speech_started,
    speech_stopped,
    text_item,
    updated,
    written,
)
from tests.peer import SOON, Line, Peer

ROME = ' {"city": "Rome"}'


def play(at: Dialled, events: list[Event]) -> None:
    for event in events:
        at.line.send(event)


def output(at: Dialled) -> Event:
    """The next output the client sends."""
    event = at.line.read_event("conversation.item.create")
    assert event["item"]["type"] == "function_call_output"
    return dict(event["item"])


class Gate:
    """A tool that waits for the test: it says when it is inside, and returns when it is let go."""

    def __init__(self) -> None:
        self.inside = threading.Semaphore(0)
        self.go = threading.Event()
        self.calls: list[str] = []
        self.threads: list[threading.Thread] = []

    def __call__(self, city: str) -> str:
        self.calls.append(city)
        self.threads.append(threading.current_thread())
        self.inside.release()
        assert self.go.wait(SOON)
        return f"sunny in {city}"

    def entered(self) -> None:
        assert self.inside.acquire(timeout=SOON)

    @property
    def tool(self) -> Tool:
        return Tool(self, name="weather")


def weather(city: str) -> str:
    """Tell the weather."""
    return f"sunny in {city}"


# ---- threads ------------------------------------------------------------------------------------------------------


def test_a_tool_runs_on_a_thread_of_its_own_and_its_result_is_the_answer() -> None:
    gate, on_reader = Gate(), Heard()
    gate.go.set()
    with dialled(tools=[gate.tool]) as at:
        at.session.on("response.done")(on_reader)
        play(at, calling(call_item("call_1")))
        assert output(at) == {"type": "function_call_output", "call_id": "call_1", "output": "sunny in Rome"}
        on_reader.get()
        (thread,) = gate.threads
        assert thread.name.startswith("dashscope_rt-tool-")
        assert thread.daemon
        assert thread is not on_reader.thread


def test_a_tool_that_takes_its_time_holds_up_neither_the_callbacks_nor_the_socket() -> None:
    gate = Gate()
    with dialled(tools=[gate.tool]) as at:
        play(at, calling(call_item("call_1")))
        gate.entered()
        at.settle()  # callbacks run
        at.line.send_frame(9, b"alive")
        assert at.line.read_frame() == (10, b"alive")  # the socket is served
        gate.go.set()
        assert output(at)["call_id"] == "call_1"


def test_a_callback_that_takes_its_time_holds_up_no_tool() -> None:
    gate, blocked, go = Gate(), threading.Event(), threading.Event()
    gate.go.set()

    def slow(_: Any) -> None:
        blocked.set()
        go.wait(SOON)

    with dialled(tools=[gate.tool]) as at:
        at.session.on("test.slow")(slow)
        at.line.send({"type": "test.slow"})
        assert blocked.wait(SOON)
        play(at, calling(call_item("call_1")))
        assert output(at)["output"] == "sunny in Rome"
        go.set()


def test_the_calls_of_one_response_run_at_the_same_time() -> None:
    gate = Gate()
    with dialled(tools=[gate.tool]) as at:
        play(at, calling(*(call_item(f"call_{number}") for number in range(3))))
        for _ in range(3):
            gate.entered()
        assert len(set(gate.threads)) == 3
        gate.go.set()
        assert {output(at)["call_id"] for _ in range(3)} == {"call_0", "call_1", "call_2"}


def tool_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("dashscope_rt-tool-")]


def test_threads_are_made_for_the_first_call_used_again_and_end_with_the_session() -> None:
    gate = Gate()
    gate.go.set()
    with dialled(tools=[gate.tool]) as at:
        assert tool_threads() == []
        for number in range(5):
            play(at, calling(call_item(f"call_{number}"), response=f"resp_{number}"))
            output(at)
            at.line.send(output_item(f"call_{number}"))
            at.line.read_event("response.create")
            at.settle()
        assert len(set(gate.threads)) <= 2  # the second, where the first had not come back to rest yet
        threads = tool_threads()
    for thread in threads:
        thread.join(SOON)
        assert not thread.is_alive()


# ---- when ---------------------------------------------------------------------------------------------------------


def test_nothing_runs_before_the_response_is_over() -> None:
    gate = Gate()
    gate.go.set()
    with dialled(tools=[gate.tool]) as at:
        events = calling(call_item("call_1"))
        play(at, events[:-1])
        at.settle()
        assert gate.calls == []
        play(at, events[-1:])
        output(at)


@pytest.mark.parametrize("status", ["failed", "cancelled", "incomplete"])
def test_calls_of_a_response_that_is_not_completed_do_not_run(status: str) -> None:
    gate = Gate()
    gate.go.set()
    with dialled(tools=[gate.tool]) as at:
        play(at, calling(call_item("call_1"), status=status))
        at.settle()
        assert at.sees_nothing() == []
    assert gate.calls == []


@pytest.mark.parametrize("mode", [dialled, manual], ids=["vad", "manual"])
def test_all_outputs_are_acknowledged_before_the_one_create(mode: Callable[..., Any]) -> None:
    with mode(tools=[weather]) as at:
        play(at, calling(call_item("call_1"), call_item("call_2", arguments='{"city": "Bari"}')))
        assert {output(at)["output"] for _ in range(2)} == {"sunny in Rome", "sunny in Bari"}
        at.line.send(output_item("call_1"))
        at.settle()
        assert at.sees_nothing() == []
        at.line.send(output_item("call_2"))
        assert at.line.read_event()["type"] == "response.create"
        play(at, written(response="resp_2"))
        at.settle()
        assert at.sees_nothing() == []


def test_the_create_waits_until_the_user_has_spoken() -> None:
    with dialled(tools=[weather]) as at:
        play(at, calling(call_item("call_1")))
        output(at)
        play(at, [speech_started("item_u2"), output_item("call_1")])
        at.settle()
        assert at.sees_nothing() == []
        at.line.send(speech_stopped("item_u2"))  # and was not accepted: no commit
        assert at.line.read_event()["type"] == "response.create"


def test_a_response_the_service_begins_by_itself_is_taken_instead() -> None:
    with dialled(tools=[weather]) as at:
        play(at, calling(call_item("call_1")))
        output(at)
        play(at, [response_created("resp_2"), output_item("call_1"), response_done("resp_2")])
        at.settle()
        assert at.sees_nothing() == []


def test_a_call_id_runs_once_however_often_it_comes() -> None:
    gate = Gate()
    gate.go.set()
    with dialled(tools=[gate.tool]) as at:
        play(at, calling(call_item("call_1"), call_item("call_1"), call_item("call_2")))
        assert {output(at)["call_id"] for _ in range(2)} == {"call_1", "call_2"}
        play(at, [output_item("call_1"), output_item("call_2")])
        assert at.line.read_event()["type"] == "response.create"
        play(at, calling(call_item("call_1"), response="resp_2"))
        at.settle()
        assert at.sees_nothing() == []
    assert len(gate.calls) == 2


# ---- what goes wrong ----------------------------------------------------------------------------------------------


def failing(city: str) -> Any:
    """Raise, or return what cannot be sent."""
    if city == "Rome":
        raise LookupError("no such city\nsecond line")
    return object()


@pytest.mark.parametrize(
    ("name", "arguments", "kind", "told"),
    [
        ("failing", ROME, "raised", "Error: failing failed: LookupError: no such city."),
        ("failing", '{"city": "Bari"}', "result", "Error: failing ran, but its result cannot be told."),
        ("failing", '{"city": 1.5}', "arguments", "Error: failing was not called: city must be a text."),
        ("failing", "{", "arguments", "Error: failing was not called: the model's arguments for failing are not JSON"),
        ("failing", "[1]", "arguments", "are not a JSON object."),
        ("nothing", "{}", "unknown", "Error: there is no function 'nothing'; there are failing, weather."),
    ],
)
def test_what_goes_wrong_is_told_to_the_model_in_one_line_logged_and_reported(
    name: str, arguments: str, kind: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    failed = Heard()
    with dialled(tools=[failing, weather], on_tool_error=failed) as at:
        play(at, calling(call_item("call_1", name, arguments)))
        text = output(at)["output"]
        assert told in text
        assert "\n" not in text
        assert "Traceback" not in text
        failure = failed.get()
        assert (failure.kind, failure.call.call_id, failure.told) == (kind, "call_1", text)
        assert isinstance(failure.error, LookupError) == (kind == "raised")
        at.line.send(output_item("call_1"))
        assert at.line.read_event()["type"] == "response.create"
        assert failed.thread is not None
        assert failed.thread.name.startswith("dashscope_rt-reader-")
    assert name in caplog.text


def test_even_sys_exit_in_a_tool_is_only_a_failure() -> None:
    def leave() -> None:
        raise SystemExit(3)

    with dialled(tools=[leave]) as at:
        play(at, calling(call_item("call_1", "leave", "{}")))
        assert output(at)["output"] == "Error: leave failed: SystemExit: 3."


def test_log_and_repr_hold_nothing_that_was_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "dashscope_rt")
    failed = Heard()

    def secretive(city: str) -> Any:
        return {city: object()} if city == "a secret place" else "a secret result"

    with dialled(tools=[secretive], on_tool_error=failed) as at:
        play(at, calling(call_item("call_1", "secretive", '{"city": "a secret place"}')))
        output(at)
        shown = repr(failed.get())
        play(at, calling(call_item("call_2", "secretive", '{"city": ["a secret place"]}'), response="resp_2"))
        output(at)
        shown += repr(failed.get())
    assert "secret" not in shown.replace("secretive", "")
    assert "secret" not in caplog.text.replace("secretive", "")


def test_a_tool_that_takes_too_long_is_told_to_the_model_and_its_result_is_dropped_and_reported() -> None:
    gate, failed = Gate(), Heard()
    with dialled(tools=[Tool(gate, name="weather", timeout=0.05)], on_tool_error=failed) as at:
        play(at, calling(call_item("call_1")))
        gate.entered()
        assert output(at)["output"] == "Error: weather gave no result within 0.05 s."
        failure = failed.get()
        assert failure.kind == "timeout"
        assert failure.told
        at.line.send(output_item("call_1"))
        assert at.line.read_event()["type"] == "response.create"
        gate.go.set()
        late = failed.get()
        assert (late.kind, late.told, late.output) == ("late", "", "sunny in Rome")
        assert at.sees_nothing() == []


def test_the_policys_timeout_is_for_tools_without_one_of_their_own() -> None:
    gate = Gate()
    with dialled(tools=[gate.tool], tool_policy=ToolPolicy(timeout=0.05)) as at:
        play(at, calling(call_item("call_1")))
        assert "within 0.05 s" in output(at)["output"]
        gate.go.set()


@pytest.mark.parametrize(
    "fields", [{"timeout": 0}, {"timeout": "1"}, {"max_calls": 0}, {"max_calls": 1.5}, {"max_calls": True}]
)
def test_a_policy_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="ToolPolicy"):
        ToolPolicy(**fields)


def test_the_defaults_are_those_of_the_documentation() -> None:
    assert (ToolPolicy().timeout, ToolPolicy().max_calls) == (30.0, 16)


def test_calls_beyond_the_limit_are_refused_once_and_then_not_answered_any_more() -> None:
    gate, failed = Gate(), Heard()
    gate.go.set()
    with manual(tools=[gate.tool], tool_policy=ToolPolicy(max_calls=2), on_tool_error=failed) as at:
        play(at, calling(call_item("call_1"), call_item("call_2"), call_item("call_3")))
        outputs = {item["call_id"]: item["output"] for item in (output(at) for _ in range(3))}
        assert outputs["call_1"] == outputs["call_2"] == "sunny in Rome"
        assert outputs["call_3"].startswith("Error: weather was not called: the limit of 2 calls")
        assert failed.get().kind == "limit"
        play(at, [output_item(name) for name in outputs])
        at.line.read_event("response.create")
        play(at, calling(call_item("call_4"), response="resp_2"))
        failure = failed.get()
        assert (failure.kind, failure.told) == ("limit", "")
        at.settle()
        assert at.sees_nothing() == []
        # a new turn has calls again
        play(at, [text_item("and in Bari?"), *calling(call_item("call_5"), response="resp_3")])
        assert output(at)["call_id"] == "call_5"
    assert len(gate.calls) == 3


def test_the_limit_counts_through_the_follow_ups_of_one_turn() -> None:
    with manual(tools=[weather], tool_policy=ToolPolicy(max_calls=3)) as at:
        for number in range(4):
            play(at, calling(call_item(f"call_{number}"), response=f"resp_{number}"))
            text = output(at)["output"]
            assert ("limit" in text) == (number == 3)
            at.line.send(output_item(f"call_{number}"))
            at.line.read_event("response.create")


def test_a_call_made_in_vain_ends_the_turn_that_waits_for_it() -> None:
    with manual(tools=[weather], tool_policy=ToolPolicy(max_calls=1)) as at:
        asking = Background(at.session.ask, text="Weather?")
        at.line.read_event("conversation.item.create")
        at.line.send(text_item("Weather?"))
        at.line.read_event("response.create")
        for number in range(2):
            play(at, calling(call_item(f"call_{number}"), response=f"resp_{number}"))
            output(at)
            at.line.send(output_item(f"call_{number}"))
            at.line.read_event("response.create")
        play(at, calling(call_item("call_9"), response="resp_9"))
        turn = asking.result()
        assert turn.status == "completed"
        assert [call.answered for call in turn.function_calls] == [True, True, False]


# ---- too late -----------------------------------------------------------------------------------------------------


def overtaken_by_speech(at: Dialled) -> None:
    play(at, [speech_started("item_u2"), speech_stopped("item_u2"), committed("item_u2"), *written(response="resp_2")])
    at.settle()


def overtaken_in_writing(at: Dialled) -> None:
    at.session.send_text("Never mind.")
    at.session.create_response()
    at.line.read_event("response.create")
    play(at, [text_item("Never mind."), *written(response="resp_2")])
    at.settle()


@pytest.mark.parametrize(
    ("mode", "overtake"), [(dialled, overtaken_by_speech), (manual, overtaken_in_writing)], ids=["vad", "manual"]
)
def test_a_result_after_the_user_went_on_is_dropped_and_reported(
    mode: Callable[..., Any], overtake: Callable[[Dialled], None]
) -> None:
    gate, failed = Gate(), Heard()
    with mode(tools=[gate.tool], on_tool_error=failed) as at:
        play(at, calling(call_item("call_1")))
        gate.entered()
        overtake(at)
        gate.go.set()
        failure = failed.get()
        assert (failure.kind, failure.told, failure.output) == ("late", "", "sunny in Rome")
        assert at.sees_nothing() == []
        # and the next calls run as ever
        play(at, calling(call_item("call_2"), response="resp_3"))
        assert output(at)["call_id"] == "call_2"


def test_a_result_is_not_late_when_the_user_only_coughed() -> None:
    gate = Gate()
    with dialled(tools=[gate.tool]) as at:
        play(at, calling(call_item("call_1")))
        gate.entered()
        play(at, [speech_started("item_u2"), speech_stopped("item_u2"), *written("Bless you.", response="resp_2")])
        at.settle()
        gate.go.set()
        assert output(at)["output"] == "sunny in Rome"
        at.line.send(output_item("call_1"))
        assert at.line.read_event()["type"] == "response.create"


def test_a_result_is_not_late_when_the_model_speaks_although_nobody_spoke() -> None:
    """idle_timeout_ms: a response may come with no word of the user's."""
    gate = Gate()
    with dialled(tools=[gate.tool]) as at:
        play(at, calling(call_item("call_1")))
        gate.entered()
        play(at, written("Still here?", response="resp_2"))
        at.settle()
        gate.go.set()
        assert output(at)["output"] == "sunny in Rome"
        at.line.send(output_item("call_1"))
        assert at.line.read_event()["type"] == "response.create"


def test_a_result_is_not_late_when_the_model_goes_on_after_another_tool() -> None:
    """That answers another call, not what the user said meanwhile."""
    gate = Gate()
    with manual(tools=[gate.tool, failing]) as at:
        play(at, calling(call_item("call_1")))
        gate.entered()
        play(at, calling(call_item("call_2", "failing"), response="resp_2"))
        assert output(at)["call_id"] == "call_2"
        play(at, [text_item("Take your time."), output_item("call_2")])
        at.line.read_event("response.create")
        play(at, written("It failed.", response="resp_3"))
        at.settle()
        gate.go.set()
        assert output(at)["call_id"] == "call_1"


def test_a_tool_that_raises_when_nobody_waits_any_more_is_late() -> None:
    go, failed = threading.Event(), Heard()

    def slow() -> None:
        go.wait(SOON)
        raise LookupError("no such city")

    with dialled(tools=[Tool(slow, timeout=0.05)], on_tool_error=failed) as at:
        play(at, calling(call_item("call_1", "slow", "{}")))
        output(at)
        assert failed.get().kind == "timeout"
        go.set()
        late = failed.get()
        assert (late.kind, late.told, type(late.error)) == ("late", "", LookupError)


def test_a_result_after_the_end_is_dropped_and_the_close_does_not_wait_for_it(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    with dialled(tools=[gate.tool]) as at:
        play(at, calling(call_item("call_1")))
        gate.entered()
        at.line.sock.shutdown(2)
        at.session.wait_closed(SOON)
        at.session.close()
        (thread,) = gate.threads
        assert thread.is_alive()
        gate.go.set()
        thread.join(SOON)
        assert not thread.is_alive()
    assert "was dropped" in caplog.text


def test_a_result_after_a_reconnect_is_dropped_and_reported_and_the_tools_are_declared_again() -> None:
    gate, failed, again = Gate(), Heard(), Heard()
    lines: list[Line] = []
    second = threading.Event()

    def script(line: Line) -> None:
        line.sock.settimeout(SOON)
        line.accept()
        line.send(created(f"sess_{len(lines)}"))
        line.send(updated(line.read_event("session.update")["session"]))
        lines.append(line)
        if len(lines) == 1:
            for event in calling(call_item("call_1")):
                line.send(event)
            gate.entered()
            line.reset()
        else:
            second.set()
            line.drain()

    with Peer(script) as peer:
        session = client_for(peer.url).session(
            tools=[gate.tool], on_tool_error=failed, on_reconnected=again, reconnect=Reconnect(first_delay=0.01)
        )
        with session:
            again.get()
            assert second.wait(SOON)
            gate.go.set()
            failure = failed.get()
            assert (failure.kind, failure.told, failure.output) == ("late", "", "sunny in Rome")
            session.send_raw({"type": "test.mark"})
    told = [
        event["session"]["tools"][0]["function"]["name"]
        for event in lines[1].received
        if event["type"] == "session.update"
    ]
    assert told == ["weather"]
    assert "conversation.item.create" not in [event["type"] for event in lines[1].received]


def test_an_output_the_service_refuses_is_followed_by_nothing() -> None:
    errors = Heard()
    with dialled(tools=[weather], on_error=errors) as at:
        play(at, calling(call_item("call_1")))
        output(at)
        at.line.send(error_event("Unknown function call id: call_1"))
        errors.get()
        at.settle()
        assert at.sees_nothing() == []


# ---- who answers --------------------------------------------------------------------------------------------------


def test_a_registered_tool_comes_before_on_function_call_which_gets_the_rest() -> None:
    calls = Heard()
    declared = {"type": "function", "function": {"name": "stock", "parameters": {"type": "object"}}}
    with dialled(tools=[weather, declared], on_function_call=calls) as at:
        play(at, calling(call_item("call_1"), call_item("call_2", "stock"), call_item("call_3", "made_up")))
        assert output(at)["call_id"] == "call_1"
        given = [calls.get(), calls.get()]
        assert [call.name for call in given] == ["stock", "made_up"]
        for call in given:
            call.respond("by hand")
        assert {output(at)["call_id"] for _ in range(2)} == {"call_2", "call_3"}
        play(at, [output_item(f"call_{number}") for number in (1, 2, 3)])
        assert at.line.read_event()["type"] == "response.create"
        at.settle()
    assert len(calls.all) == 2


def test_a_function_declared_by_hand_is_left_to_whoever_has_its_call() -> None:
    done = Heard()
    declared = FunctionTool("stock", parameters={"type": "object"})
    with dialled(tools=[weather, declared], on_done=done) as at:
        play(at, calling(call_item("call_1", "stock", "{}")))
        (call,) = done.get().function_calls
        assert at.sees_nothing() == []
        call.respond("42")
        assert output(at)["output"] == "42"


def test_without_registered_functions_nothing_is_answered_for_the_user() -> None:
    with dialled() as at:
        play(at, calling(call_item("call_1")))
        at.settle()
        assert at.sees_nothing() == []


# ---- registering --------------------------------------------------------------------------------------------------


def test_functions_tools_dicts_and_parts_of_a_configuration_stand_in_one_list() -> None:
    flat = {"type": "function", "name": "flat", "parameters": {"type": "object"}}
    with dialled(tools=[weather, Tool(weather, name="other"), flat, FunctionTool("part")]) as at:
        tools = at.line.received[0]["session"]["tools"]
    assert [tool["function"]["name"] for tool in tools] == ["weather", "other", "flat", "part"]
    assert tools[0]["function"]["description"] == "Tell the weather."
    assert tools[0]["function"]["parameters"]["required"] == ["city"]


def test_a_tool_registered_before_the_session_is_open_is_declared_with_the_rest() -> None:
    session = client_for("ws://127.0.0.1:9/").session(tools=[weather], instructions="Be brief.")

    @session.tool
    def stock(name: str) -> float:
        return 1.0

    assert stock("x") == 1.0, "the decorator gives the function back"
    assert [tool.name for tool in session.config.tools] == ["weather", "stock"]  # type: ignore[union-attr]


def test_a_tool_registered_later_sends_the_whole_list_at_once_and_runs() -> None:
    with dialled(tools=[weather]) as at:

        @at.session.tool(name="stock-price", description="A price.", timeout=5)
        def stock(name: str) -> float:
            return 12.5

        update = at.line.read_event("session.update")["session"]
        assert list(update) == ["tools"]
        assert [tool["function"]["name"] for tool in update["tools"]] == ["weather", "stock-price"]
        at.line.send(updated(update))
        play(at, calling(call_item("call_1", "stock-price", '{"name": "x"}')))
        assert output(at)["output"] == "12.5"


def test_a_tool_of_the_same_name_is_replaced() -> None:
    with dialled(tools=[weather]) as at:

        @at.session.tool(name="weather")
        def other(city: str) -> str:
            return "rain"

        assert len(at.line.read_event("session.update")["session"]["tools"]) == 1
        play(at, calling(call_item("call_1")))
        assert output(at)["output"] == "rain"


def test_a_tool_the_service_refuses_is_not_called() -> None:
    errors, calls = Heard(), []
    with dialled(tools=[weather], on_error=errors) as at:

        @at.session.tool
        def stock(name: str) -> None:
            calls.append(name)

        event = at.line.read_event("session.update")
        at.line.send(error_event("Invalid tools", param="session.tools", event_id=event["event_id"]))
        errors.get()
        play(at, calling(call_item("call_1", "stock", '{"name": "x"}')))
        assert "there is no function 'stock'" in output(at)["output"]
    assert calls == []


def test_an_update_replaces_the_list_and_what_is_not_in_it_is_not_called_any_more() -> None:
    def stock(name: str) -> str:
        return "12"

    with dialled(tools=[weather]) as at:
        at.session.update(tools=[stock])
        update = at.line.read_event("session.update")["session"]
        assert [tool["function"]["name"] for tool in update["tools"]] == ["stock"]
        play(at, calling(call_item("call_1"), call_item("call_2", "stock", '{"name": "x"}')))
        outputs = {item["call_id"]: item["output"] for item in (output(at) for _ in range(2))}
        assert outputs == {"call_1": "Error: there is no function 'weather'; there are stock.", "call_2": "12"}


def test_two_functions_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two functions of the name 'weather'"):
        client_for("ws://127.0.0.1:9/").session(tools=[weather, Tool(failing, name="weather")])


@pytest.mark.parametrize("tools", [weather, {"type": "function"}, "weather", 7])
def test_tools_that_are_no_list_are_refused(tools: Any) -> None:
    with pytest.raises(TypeError, match="takes a list of functions"):
        client_for("ws://127.0.0.1:9/").session(tools=tools)


def test_a_model_without_function_calls_takes_no_tool() -> None:
    client = client_for("ws://127.0.0.1:9/")
    with pytest.raises(UnsupportedByModel):
        client.session("qwen-omni-turbo-realtime", tools=[weather])
    session = client.session("qwen-omni-turbo-realtime")
    with pytest.raises(UnsupportedByModel):
        session.tool(weather)
    assert not session.config.tools


def test_registering_on_a_session_that_is_over_is_for_its_next_opening() -> None:
    with dialled(tools=[weather]) as at:
        at.line.sock.shutdown(2)
        at.session.wait_closed(SOON)
        at.session.tool(failing)
        with pytest.raises(ConnectionClosed):
            at.session.commit()
    assert [attrs.asdict(tool)["name"] for tool in at.session.config.tools] == ["weather", "failing"]  # type: ignore[union-attr,arg-type]
