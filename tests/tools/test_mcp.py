"""MCP servers (3.8): declared as they are, approved by a callback, everything else passed through."""

from __future__ import annotations

from typing import Any

import pytest

from dashscope_rt import BadRequestError, ConnectionClosed, McpApproval, McpTool, UnsupportedByModel
from dashscope_rt.events import UnknownEvent
from tests.client.wire import (
    Background,
    Dialled,
    Event,
    Heard,
    client_for,
    dialled,
    error_event,
    item_added,
    item_done,
    response_created,
    response_done,
)
from tests.peer import SOON

MODEL = "qwen3.8-omni-flash-realtime"
SERVER = McpTool("docs", "https://mcp.example.com/mcp", authorization="Bearer hush", allowed_tools=["search"])


def request(name: str = "mcpr_1", **fields: Any) -> Event:
    return {
        "id": name, "object": "realtime.item", "type": "mcp_approval_request", "server_label": "docs",
        "name": "search", "arguments": ' {"query": "a secret"}', **fields,
    }  # fmt: skip


def asking(item: Event) -> list[Event]:
    """A response that stops because something has to be approved."""
    return [
        response_created("resp_1"),
        item_added({**item, "arguments": ""}),
        {"type": "conversation.item.created", "event_id": "event_i", "item": {**item, "arguments": ""}},
        item_done(item),
        response_done("resp_1", item),
    ]


def play(at: Dialled, events: list[Event]) -> None:
    for event in events:
        at.line.send(event)


def weather(city: str) -> str:
    return city


def test_servers_and_functions_are_declared_together() -> None:
    with dialled(MODEL, tools=[SERVER, weather]) as at:
        tools = at.line.received[0]["session"]["tools"]
    assert tools[0] == {
        "type": "mcp", "server_label": "docs", "server_url": "https://mcp.example.com/mcp",
        "authorization": "Bearer hush", "allowed_tools": ["search"],
    }  # fmt: skip
    assert tools[1]["function"]["name"] == "weather"


def test_a_function_registered_later_keeps_the_servers() -> None:
    """``server_label`` and ``server_url`` are required on every update."""
    with dialled(MODEL, tools=[SERVER]) as at:
        at.session.tool(weather)
        tools = at.line.read_event("session.update")["session"]["tools"]
    assert [tool["type"] for tool in tools] == ["mcp", "function"]
    assert tools[0]["server_url"] == "https://mcp.example.com/mcp"


@pytest.mark.parametrize(("decide", "approve"), [("approve", True), ("deny", False)])
def test_a_request_comes_once_and_whole_and_its_answer_is_sent(decide: str, approve: bool) -> None:
    approvals, done = Heard(), Heard()
    with dialled(MODEL, tools=[SERVER], on_mcp_approval=approvals, on_done=done) as at:
        play(at, asking(request()))
        approval = approvals.get()
        assert isinstance(approval, McpApproval)
        assert (approval.id, approval.server_label, approval.name) == ("mcpr_1", "docs", "search")
        assert approval.arguments == {"query": "a secret"}
        assert "secret" not in repr(approval)
        event_id = getattr(approval, decide)()
        assert approval.answered
        sent = at.line.read_event("conversation.item.create")
        assert sent["event_id"] == event_id
        assert sent["item"] == {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": approve}
        done.get()
        at.settle()
        assert at.sees_nothing() == []
    assert len(approvals.all) == 1
    assert approvals.thread is not None
    assert approvals.thread.name.startswith("dashscope_rt-reader-")


@pytest.mark.parametrize(
    "events",
    [
        [{"type": "conversation.item.created", "item": request()}],
        [{"type": "conversation.item.created", "item": request(arguments="", status="completed")}],
        [response_created("resp_1"), item_done(request())],
        [response_created("resp_1"), response_done("resp_1", request())],
    ],
    ids=["an item with arguments", "a completed item", "an item that is done", "a response that is done"],
)
def test_a_request_is_found_wherever_the_service_puts_it(events: list[Event]) -> None:
    """The pages that show it were not to be seen: every place it may stand in counts."""
    approvals = Heard()
    with dialled(MODEL, on_mcp_approval=approvals) as at:
        play(at, events)
        assert approvals.get().id == "mcpr_1"


def test_a_request_is_decided_once() -> None:
    approvals = Heard()
    with dialled(MODEL, on_mcp_approval=approvals) as at:
        play(at, asking(request()))
        approval = approvals.get()
        Background(approval.deny).result()
        with pytest.raises(RuntimeError, match="decided before"):
            approval.approve()


def test_the_answer_is_acknowledged_or_refused() -> None:
    approvals = Heard()
    with dialled(MODEL, on_mcp_approval=approvals) as at:
        play(at, [*asking(request()), *asking(request("mcpr_2"))[3:4]])
        for number, event in ((1, None), (2, "Unknown approval request id: mcpr_2")):
            event_id = approvals.get().approve()
            at.line.read_event("conversation.item.create")
            waiting = Background(at.session.wait_ack, event_id, SOON)
            if event is None:
                fixed = {"type": "mcp_approval_response", "approval_request_id": f"mcpr_{number}", "approve": True}
                at.line.send({"type": "conversation.item.created", "item": {"id": "item_x", **fixed}})
                waiting.result()
            else:
                at.line.send(error_event(event, event_id=event_id))
                assert isinstance(waiting.error(), BadRequestError)


def test_deciding_after_the_end_raises_and_is_no_decision() -> None:
    approvals = Heard()
    with dialled(MODEL, on_mcp_approval=approvals) as at:
        play(at, asking(request()))
        approval = approvals.get()
        at.line.reset()
        at.session.wait_closed(SOON)
        with pytest.raises(ConnectionClosed):
            approval.approve()
        assert not approval.answered


def test_a_request_nobody_listens_for_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with dialled(MODEL) as at:
        play(at, asking(request()))
        at.settle()
    assert "on_mcp_approval" in caplog.text
    assert "secret" not in caplog.text


def test_the_create_that_has_the_result_spoken_waits_for_the_end_of_the_calling_response() -> None:
    approvals = Heard()
    with dialled(MODEL, on_mcp_approval=approvals) as at:
        events = asking(request())
        play(at, events[:-1])
        approvals.get().approve()
        at.session.create_response()
        assert at.line.read_event()["type"] == "conversation.item.create"
        assert at.sees_nothing() == []
        play(at, events[-1:])
        assert at.line.read_event()["type"] == "response.create"


def test_what_else_an_mcp_server_causes_passes_through() -> None:
    listed, calls, done = Heard(), Heard(), Heard()
    with dialled(MODEL, tools=[SERVER, weather], on_done=done) as at:
        at.session.on("mcp_list_tools.completed")(listed)
        at.session.on(UnknownEvent)(calls)
        call = {"id": "mcp_1", "type": "mcp_call", "status": "completed", "server_label": "docs", "output": "x"}
        play(at, [
            {"type": "mcp_list_tools.completed", "event_id": "event_1", "item_id": "mcpl_1"},
            response_created("resp_1"),
            {"type": "response.mcp_call.in_progress", "event_id": "event_2", "item_id": "mcp_1"},
            item_done(call),
            response_done("resp_1", call),
        ])  # fmt: skip
        assert listed.get().raw["item_id"] == "mcpl_1"
        assert [calls.get().type for _ in range(2)] == ["mcp_list_tools.completed", "response.mcp_call.in_progress"]
        response = done.get()
        assert response.function_calls == ()
        assert response.output[0].raw["output"] == "x"
        assert at.sees_nothing() == []


def test_a_model_without_mcp_refuses_servers() -> None:
    with pytest.raises(UnsupportedByModel, match="mcp"):
        client_for("ws://127.0.0.1:9/").session("qwen3.5-omni-flash-realtime", tools=[SERVER])
