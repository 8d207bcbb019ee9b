"""SessionState: whatever order the service's events come in, folding them never fails and its promises hold."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashscope_rt import ConnectionClosed, codec, events
from dashscope_rt._session.commands import Command
from dashscope_rt._session.state import Call, Create, Done, Failure, Notice, SessionState
from tests.client.wire import Event, calling, error_event, response_created, response_done

VECTORS = Path(__file__).parent.parent / "vectors"
FRAMES: list[Event] = [
    json.loads(file.read_text(encoding="utf-8")) for file in sorted(VECTORS.glob("*/server/*.json"))
]
ERRORS = [
    "Conversation already has an active response",
    "Conversation has none active response",
    "Error append image before append audio.",
    "Error committing input audio buffer: buffer too small, or have no audio.",
    "Input speech was not accepted by semantic turn detection",
    "Unknown function call id: call_1",
    "Internal service error: null",
    "Voice 'x' is not supported.",
]
FRAMES += [error_event(text) for text in ERRORS]
FRAMES += [error_event("Internal service error: null", type="server_error", code="InternalError")]
FRAMES += [*calling({"id": "item_1", "type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"})]
IDS = ("response_id", "item_id", "call_id", "event_id", "id", "previous_item_id")


def renamed(value: Any, draw: st.DrawFn) -> Any:
    """The same frame with ids out of a small pool, or none at all: things meet, cross and repeat."""
    if isinstance(value, dict):
        made = {}
        for key, inner in value.items():
            if key in IDS and isinstance(inner, str):
                chosen = draw(st.sampled_from(["1", "2", "3", None, "absent"]))
                if chosen != "absent":
                    made[key] = chosen and f"{key}_{chosen}".replace("response_id", "id")
            else:
                made[key] = renamed(inner, draw)
        return made
    return [renamed(inner, draw) for inner in value] if isinstance(value, list) else value


@st.composite
def server_frames(draw: st.DrawFn) -> tuple[str, Any]:
    return "frame", renamed(copy.deepcopy(draw(st.sampled_from(FRAMES))), draw)


STEPS = st.lists(
    st.one_of(
        server_frames(),
        server_frames(),
        server_frames(),
        st.tuples(st.just("create"), st.none()),
        st.tuples(st.just("cancel"), st.none()),
        st.tuples(st.just("command"), st.sampled_from(["session.update", "input_audio_buffer.commit", "input_image_buffer.append"])),
        st.tuples(st.just("answer"), st.sampled_from(["call_id_1", "call_id_2", "call_1"])),
        st.tuples(st.just("time"), st.sampled_from([0.001, 0.5, 3.0, 20.0])),
        st.tuples(st.just("lose"), st.none()),
    ),
    max_size=40,
)


class Driver:
    """What the connection does around the state."""

    def __init__(self) -> None:
        self.state = SessionState(24000, 2.0, lambda call, output: "event_x")
        self.now = 100.0
        self.number = 0
        self.notices: list[Notice] = []

    def step(self, kind: str, what: Any) -> None:
        state = self.state
        if kind == "frame":
            self.notices += state.fold(codec.decode(json.dumps(what)), self.now)
        elif kind == "create":
            state.add_create(Create(self.command("response.create"), events.ResponseCreate()))
        elif kind == "cancel":
            if state.cancelling(self.now):
                state.commands.add(self.command("response.cancel", benign=True))
        elif kind == "command":
            state.commands.add(self.command(what))
        elif kind == "answer":
            state.answering(what)
            state.commands.add(self.command("conversation.item.create", key=what))
        elif kind == "time":
            self.now += what
            self.notices += state.tick(self.now)
        else:
            self.notices += state.lose(ConnectionClosed("gone"), self.now)[2]
        self.release()

    def command(self, kind: str, **options: Any) -> Command:
        self.number += 1
        return Command(kind, f"event_id_{self.number}", **options)

    def release(self) -> None:
        state = self.state
        while state.follow_ups_wanted:
            state.follow_ups_wanted -= 1
            state.add_create(Create(self.command("response.create"), events.ResponseCreate(), follows_tools=True))
        create = state.releasable()
        if create is not None:
            assert not state.active
            assert not state.in_flight
            assert not state.speaking
            state.sent_create(create, self.now)
            state.commands.add(create.command)


@given(STEPS)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_no_order_of_events_breaks_the_state_or_its_promises(steps: list[tuple[str, Any]]) -> None:
    driver = Driver()
    for kind, what in steps:
        driver.step(kind, what)
        state = driver.state
        due = state.next_due()
        assert due is None or due >= driver.now - 20
        assert all(response.status == "in_progress" and response.done_at is None for response in state.active.values())
        assert len(state.active) <= 1
    done = [notice.response for notice in driver.notices if isinstance(notice, Done)]
    assert len({id(response) for response in done}) == len(done)  # once for each
    for response in done:
        assert response.status != "in_progress"
        assert response.done_at is not None
        assert response.function_calls == () or response.status == "completed"
        assert isinstance(response.text, str)
        assert "chars" in repr(response)
    calls = [notice.call for notice in driver.notices if isinstance(notice, Call)]
    assert {id(call) for call in calls} == {id(call) for response in done for call in response.function_calls}


@given(STEPS)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_after_any_order_of_events_a_quiet_minute_lets_the_next_response_begin(steps: list[tuple[str, Any]]) -> None:
    """Nothing the service may say or leave out holds back the client for ever, but a response that really runs."""
    driver = Driver()
    for kind, what in steps:
        driver.step(kind, what)
    for _ in range(20 + len(steps)):
        driver.step("time", 20.0)
        for response_id in list(driver.state.active):
            driver.step("frame", response_done(response_id))
        driver.step("frame", {"type": "input_audio_buffer.speech_stopped"})
    assert not driver.state.waiting
    assert not driver.state.in_flight
    driver.step("create", None)
    assert driver.state.in_flight


def test_every_vector_of_every_family_folds() -> None:
    state = SessionState(24000, 2.0)
    for number, frame in enumerate(FRAMES):
        state.fold(codec.decode(json.dumps(frame)), float(number))


@pytest.mark.parametrize("status", [None, "completed", "failed"])
def test_a_response_done_that_names_nobody_means_the_one_that_runs(status: str | None) -> None:
    driver = Driver()
    driver.step("frame", response_created("resp_1"))
    driver.step("frame", {"type": "response.done", "response": {"status": status} if status else {}})
    (notice,) = driver.notices
    assert isinstance(notice, Done)
    assert notice.response.status == (status or "completed")


def test_a_response_without_an_id_is_one_all_the_same() -> None:
    driver = Driver()
    driver.step("frame", {"type": "response.created"})
    driver.step("frame", {"type": "response.created", "response": {}})
    driver.step("frame", {"type": "response.done", "response": {"id": "resp_7", "status": "completed"}})
    assert len([notice for notice in driver.notices if isinstance(notice, Done)]) >= 1


def test_the_end_of_a_response_nobody_knows_means_nothing() -> None:
    driver = Driver()
    driver.step("frame", response_done("resp_9"))
    driver.step("frame", error_event("Conversation has none active response"))
    assert [type(notice) for notice in driver.notices] == [Failure]


def test_response_cancelled_ends_a_response() -> None:
    """Listed by one third-party SDK, mentioned nowhere else."""
    driver = Driver()
    driver.step("frame", response_created("resp_1"))
    driver.step("frame", {"type": "response.cancelled", "response": {"id": "resp_1"}})
    assert [notice.response.status for notice in driver.notices if isinstance(notice, Done)] == ["cancelled"]
