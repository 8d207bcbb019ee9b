"""One response at a time: creates wait their turn and are matched in order; cancelling always comes to an end."""

from __future__ import annotations

import time
from typing import Any

import pytest

from dashscope_rt import APIError, BadRequestError, ServiceBusyError, Timeouts, UnsupportedByModel
from dashscope_rt._session import state as state_module
from tests.client.wire import (
    MODEL,
    PCM,
    TRANSLATE,
    Background,
    Dialled,
    Heard,
    audio_delta,
    client_for,
    committed,
    dialled,
    error_event,
    item_done,
    manual,
    message,
    response_created,
    response_done,
    speech_started,
    speech_stopped,
    text_delta,
    text_done,
    updated,
    written,
)
from tests.peer import SOON

ACTIVE = "Conversation already has an active response"
NONE_ACTIVE = "Conversation has none active response"


def running(at: Dialled, response: str = "resp_1") -> None:
    """A response runs, asked for by nobody here."""
    with at.session.expect("response.created") as began:
        at.line.send(response_created(response))
        began.wait(SOON)


# ---- create -------------------------------------------------------------------------------------------------------


def test_a_create_goes_out_at_once_when_nothing_runs() -> None:
    with manual() as at:
        event_id = at.session.create_response()
        assert at.line.read_event()["event_id"] == event_id


def test_a_create_waits_for_the_running_response() -> None:
    with manual() as at:
        running(at)
        event_id = at.session.create_response()
        assert at.sees_nothing() == []
        at.line.send(response_done())
        assert at.line.read_event() == {"type": "response.create", "event_id": event_id}


def test_creates_go_out_one_by_one_in_the_order_they_were_asked_for() -> None:
    with manual() as at:
        ids = [at.session.create_response(instructions=str(number)) for number in range(4)]
        for number, event_id in enumerate(ids):
            event = at.line.read_event()
            assert (event["event_id"], event["response"]["instructions"]) == (event_id, str(number))
            assert at.sees_nothing() == []  # the next one waits for response.created and response.done
            at.line.send(response_created(f"resp_{number}"))
            at.settle()
            assert at.sees_nothing() == []
            at.line.send(response_done(f"resp_{number}"))


def test_a_response_create_sent_as_an_event_waits_its_turn_too() -> None:
    from dashscope_rt import events

    with manual() as at:
        running(at)
        at.session.send(events.ResponseCreate(event_id="mine"))
        assert at.sees_nothing() == []
        at.line.send(response_done())
        assert at.line.read_event()["event_id"] == "mine"


def test_a_create_waits_until_the_user_has_spoken() -> None:
    """The service refuses it: "Cannot create response while user is speaking."."""
    with dialled() as at:
        at.line.send(speech_started())
        at.settle()
        event_id = at.session.create_response()
        assert at.sees_nothing() == []
        at.line.send(speech_stopped())
        assert at.line.read_event()["event_id"] == event_id


@pytest.mark.parametrize(
    "event",
    [
        speech_stopped(),
        committed(),
        {"type": "input_audio_buffer.cleared"},
        updated({"turn_detection": None}),
        error_event("Input speech was not accepted by semantic turn detection"),
    ],
    ids=["stopped", "committed", "cleared", "manual mode", "rejected"],
)
def test_whatever_ends_the_speech_lets_a_create_go_out(event: dict[str, Any]) -> None:
    with dialled() as at:
        at.line.send(speech_started())
        at.line.send(speech_started())  # it may be repeated
        at.settle()
        event_id = at.session.create_response()
        assert at.sees_nothing() == []
        at.line.send(event)
        assert at.line.read_event()["event_id"] == event_id


def test_a_create_is_acknowledged_by_response_created_in_order() -> None:
    with manual() as at:
        first, second = at.session.create_response(), at.session.create_response()
        waiting = [Background(at.session.wait_ack, event_id) for event_id in (first, second)]
        at.line.read_event()
        at.line.send(response_created("resp_1"))
        waiting[0].result()
        at.line.send(response_done("resp_1"))
        assert at.line.read_event()["event_id"] == second
        at.settle()
        assert waiting[1].running
        at.line.send(response_created("resp_2"))
        waiting[1].result()


@pytest.mark.parametrize("named", [True, False], ids=["error names the event", "error names nothing"])
@pytest.mark.parametrize(
    "text",
    [
        ACTIVE,
        "Cannot create response while user is speaking.",
        "Cannot create response while another response is in progress.",
        "Input speech was not accepted by semantic turn detection.",
    ],
)
def test_a_refused_create_is_tied_to_its_error_and_the_next_one_goes_out(text: str, named: bool) -> None:
    errors = Heard()
    with manual(on_error=errors) as at:
        first, second = at.session.create_response(), at.session.create_response()
        waiting = Background(at.session.wait_ack, first)
        assert at.line.read_event()["event_id"] == first
        at.line.send(error_event(text, **({"event_id": first} if named else {})))
        error = waiting.error()
        assert isinstance(error, BadRequestError)
        assert error.message == text
        assert errors.get() is error
        assert at.line.read_event()["event_id"] == second


def test_an_error_about_an_earlier_create_does_not_hit_a_later_one() -> None:
    """Raw creates, cancels and repeats leave nothing behind that a later error could be blamed on."""
    with manual() as at:
        at.session.send_raw({"type": "response.create"})
        at.line.read_event()
        for event in written():
            at.line.send(event)
        at.settle()
        first, second = at.session.create_response(), at.session.create_response()
        waiting = Background(at.session.wait_ack, first)
        assert at.line.read_event()["event_id"] == first
        at.line.send(error_event(ACTIVE))
        assert isinstance(waiting.error(), APIError)
        assert at.line.read_event()["event_id"] == second


def test_a_create_that_nobody_answers_does_not_hold_back_the_next_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "_IN_DOUBT", 0.1)
    with manual() as at:
        first, second = at.session.create_response(), at.session.create_response()
        waiting = Background(at.session.wait_ack, first)
        assert at.line.read_event()["event_id"] == first
        assert at.line.read_event()["event_id"] == second
        assert isinstance(waiting.error(), ServiceBusyError)


def test_a_response_the_service_supersedes_is_over() -> None:
    """A split turn, or a barge-in whose end is never said: the second response.created ends the first."""
    done = Heard()
    with dialled(on_done=done) as at:
        for event in (response_created("resp_1"), audio_delta(), response_created("resp_2")):
            at.line.send(event)
        first = done.get()
        assert (first.id, first.status, first.audio) == ("resp_1", "cancelled", PCM)
        at.line.send(audio_delta(response="resp_1"))  # late, and nobody's
        at.line.send(response_done("resp_1"))  # its own end, too late
        at.line.send(response_done("resp_2"))
        second = done.get()
        assert (second.id, second.status, second.audio) == ("resp_2", "completed", b"")
        at.settle()
    assert len(done.all) == 2
    assert first.audio == PCM


def test_on_done_comes_once_for_each_response_whatever_is_repeated() -> None:
    done = Heard()
    with dialled(on_done=done) as at:
        for event in (
            response_created(),
            response_created(),
            response_done(),
            response_done(),
            response_done("resp_9"),
        ):
            at.line.send(event)
        at.settle()
    assert [response.id for response in done.all] == ["resp_1"]


@pytest.mark.parametrize("status", ["completed", "failed", "incomplete", "cancelled"])
def test_a_response_ends_with_the_status_the_service_gives(status: str) -> None:
    done = Heard()
    with dialled(on_done=done) as at:
        at.line.send(response_created())
        at.line.send(response_done(status=status))
        assert done.get().status == status


def test_the_end_of_a_response_without_usage_or_output_is_taken_from_its_events() -> None:
    done = Heard()
    with dialled(on_done=done) as at:
        for event in [*written()[:-1], {"type": "response.done", "response": {"id": "resp_1", "status": "completed"}}]:
            at.line.send(event)
        response = done.get()
    assert response.text == "Sunny."
    assert [item.id for item in response.output] == ["item_a1"]
    assert response.usage is None
    assert response.conversation_id == "conv_1"


def test_a_family_without_response_create_says_so() -> None:
    session = client_for("ws://127.0.0.1:9").session(TRANSLATE)
    with pytest.raises(UnsupportedByModel, match="answers by itself"):
        session.create_response()
    assert MODEL not in str(session)


# ---- cancel -------------------------------------------------------------------------------------------------------


def test_cancelling_nothing_is_false_and_sends_nothing() -> None:
    errors = Heard()
    with manual(on_error=errors) as at:
        assert at.session.cancel_response() is False
        running(at)
        at.line.send(response_done())
        at.settle()
        assert at.session.cancel_response() is False
        assert at.sees_nothing() == []
    assert errors.all == []


def test_cancelling_waits_for_response_done() -> None:
    done = Heard()
    with manual(on_done=done, timeouts=Timeouts(cancel=SOON)) as at:
        running(at)
        cancelling = Background(at.session.cancel_response)
        assert at.line.read_event()["type"] == "response.cancel"
        at.line.send(text_done("Sun"))
        at.settle()
        assert cancelling.running
        at.line.send(response_done(status="cancelled"))
        assert cancelling.result() is True
        assert done.get().status == "cancelled"


def test_a_response_that_is_cancelled_without_an_end_is_over_after_output_item_done() -> None:
    """Seen on 3.5: text.done, content_part.done and output_item.done come, response.done never."""
    done = Heard()
    with manual(on_done=done, timeouts=Timeouts(cancel=1.0)) as at:
        running(at)
        at.line.send(text_delta("Sun"))
        start = time.monotonic()
        cancelling = Background(at.session.cancel_response)
        at.line.read_event("response.cancel")
        at.line.send(text_done("Sun"))
        at.line.send(item_done(message("Sun")))
        assert cancelling.result() is True
        assert time.monotonic() - start < 0.9  # before the grace is over
        response = done.get()
        assert (response.status, response.text) == ("cancelled", "Sun")
        assert [item.id for item in response.output] == ["item_a1"]
        at.settle()
    assert len(done.all) == 1


def test_a_cancelled_response_that_never_ends_is_over_after_the_grace() -> None:
    done = Heard()
    with manual(on_done=done, timeouts=Timeouts(cancel=0.2)) as at:
        running(at)
        at.line.send(audio_delta())
        start = time.monotonic()
        assert at.session.cancel_response() is True
        assert 0.1 < time.monotonic() - start < 2
        response = done.get()
        assert (response.status, response.audio) == ("cancelled", PCM)
        event_id = at.session.create_response()  # and the next one may begin
        at.line.read_event("response.cancel")
        assert at.line.read_event()["event_id"] == event_id
        at.line.send(response_done())  # its end, far too late
        at.line.send(response_created("resp_2"))
        at.settle()
    assert [each.id for each in done.all if each.id == "resp_1"] == ["resp_1"]


def test_a_create_that_waits_goes_out_after_the_cancelled_response_is_over() -> None:
    with manual(timeouts=Timeouts(cancel=0.2)) as at:
        running(at)
        assert at.session.cancel_response(0) is True
        event_id = at.session.create_response()
        assert [event["type"] for event in at.sees_nothing()] == ["response.cancel"]
        assert at.line.read_event()["event_id"] == event_id


@pytest.mark.parametrize("named", [True, False], ids=["error names the event", "error names nothing"])
def test_when_the_service_says_that_nothing_runs_it_is_false_and_no_error(named: bool) -> None:
    errors, done = Heard(), Heard()
    with manual(on_error=errors, on_done=done, timeouts=Timeouts(cancel=SOON)) as at:
        running(at)
        cancelling = Background(at.session.cancel_response)
        event = at.line.read_event("response.cancel")
        at.line.send(error_event(NONE_ACTIVE, **({"event_id": event["event_id"]} if named else {})))
        assert cancelling.result() is False
        assert done.get().id == "resp_1"
        assert at.session.cancel_response() is False
        at.settle()
    assert errors.all == []


def test_a_cancel_that_crosses_the_end_of_the_response_is_no_error() -> None:
    """The response was over before the cancel arrived; the service then complains, and nobody needs to hear of it."""
    errors, done = Heard(), Heard()
    with manual(on_error=errors, on_done=done, timeouts=Timeouts(cancel=SOON)) as at:
        running(at)
        cancelling = Background(at.session.cancel_response)
        at.line.read_event("response.cancel")
        at.line.send(response_done())
        at.line.send(error_event(NONE_ACTIVE))
        cancelling.result()
        assert done.get().status == "completed"
        at.settle()
    assert errors.all == []


def test_the_second_cancel_is_judged_by_its_own_answer() -> None:
    errors = Heard()
    with manual(on_error=errors, timeouts=Timeouts(cancel=SOON)) as at:
        for number, (answer, outcome) in enumerate(
            [(response_done("resp_0", status="cancelled"), True), (error_event(NONE_ACTIVE), False)]
        ):
            running(at, f"resp_{number}")
            cancelling = Background(at.session.cancel_response)
            at.line.read_event("response.cancel")
            at.line.send(answer)
            assert cancelling.result() is outcome
        at.settle()
    assert errors.all == []


def test_cancelling_before_response_created_waits_for_it() -> None:
    """The service refuses a cancel of a response that it has not begun."""
    with manual(timeouts=Timeouts(cancel=SOON)) as at:
        at.session.create_response()
        at.line.read_event("response.create")
        cancelling = Background(at.session.cancel_response)
        assert at.sees_nothing() == []
        at.line.send(response_created())
        assert at.line.read_event()["type"] == "response.cancel"
        at.line.send(response_done(status="cancelled"))
        assert cancelling.result() is True


def test_cancelling_takes_back_what_was_not_sent_yet() -> None:
    with manual(timeouts=Timeouts(cancel=SOON)) as at:
        running(at)
        event_id = at.session.create_response()
        waiting = Background(at.session.wait_ack, event_id)
        cancelling = Background(at.session.cancel_response)
        assert at.line.read_event()["type"] == "response.cancel"
        at.line.send(response_done(status="cancelled"))
        assert cancelling.result() is True
        assert isinstance(waiting.error(), APIError)
        assert at.sees_nothing() == []


def test_two_threads_may_cancel_at_once() -> None:
    with manual(timeouts=Timeouts(cancel=SOON)) as at:
        running(at)
        calls = [Background(at.session.cancel_response) for _ in range(4)]
        at.line.read_event("response.cancel")
        at.line.send(response_done(status="cancelled"))
        for call in calls:
            call.result()
        at.settle()
        assert at.session.cancel_response() is False


def test_cancelling_ends_with_the_session() -> None:
    with manual(timeouts=Timeouts(cancel=60)) as at:
        running(at)
        cancelling = Background(at.session.cancel_response)
        at.line.read_event("response.cancel")
        at.line.reset()
        try:
            cancelling.result()
        except APIError:
            pytest.fail("an APIError is the service's")
        except ConnectionError:
            pass


def test_cancelling_inside_a_callback_works() -> None:
    outcome, done = Heard(), Heard()
    with manual(timeouts=Timeouts(cancel=0.2), on_done=done) as at:
        at.session.on_speech_started(lambda _: outcome(at.session.cancel_response()))
        running(at)
        at.line.send(speech_started())
        assert outcome.get() is True
        assert done.get().status == "cancelled"


def test_a_response_the_service_gave_up_is_over_after_the_grace() -> None:
    """A server error while a response runs: its own end may never come."""
    done, errors = Heard(), Heard()
    with manual(on_done=done, on_error=errors, timeouts=Timeouts(cancel=0.1)) as at:
        running(at)
        text = "<50002> InternalError.Algo.ModelServingError: lost"
        at.line.send(error_event(text, type="server_error", code="COMMON_ERROR"))
        assert isinstance(errors.get(), ServiceBusyError)
        assert done.get().id == "resp_1"
