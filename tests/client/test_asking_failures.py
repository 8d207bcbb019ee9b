"""What goes wrong in a turn reaches who waits for it: soon, with why, and with what came so far."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dashscope_rt import (
    APIError,
    BadRequestError,
    ConnectionClosed,
    DeadlineExceeded,
    QuotaExceededError,
    RateLimitError,
    ServiceBusyError,
    Timeouts,
)
from dashscope_rt._session import asking as _asking
from tests.client.test_asking import JPEG, QUESTION, play, speech, take_audio
from tests.client.wire import (
    FREE_TIER,
    PCM,
    Background,
    Dialled,
    Event,
    Heard,
    audio_delta,
    call_item,
    calling,
    committed,
    dialled,
    error_event,
    manual,
    output_item,
    response_created,
    response_done,
    speech_started,
    speech_stopped,
    spoken,
    text_delta,
    text_item,
    transcribed,
    user_item,
    written,
)
from tests.peer import SOON, close_payload


def works_again(at: Dialled, response: str = "resp_next") -> None:
    """The session takes the next question."""
    asking = Background(at.session.ask, text="Next?")
    at.line.read_event("conversation.item.create")
    at.line.send(text_item("Next?"))
    at.line.read_event("response.create")
    play(at, written("Yes.", response))
    assert asking.result().text == "Yes."


# ---- the service says no ------------------------------------------------------------------------------------------


def test_a_failed_response_raises_its_own_error_with_what_came() -> None:
    error_object = {"type": "server_error", "code": "DataInspectionFailed", "message": "Output data may be inappropriate."}
    with manual() as at:
        asking = Background(at.session.ask)
        at.line.read_event("response.create")
        details = {"type": "failed", "error": error_object}
        play(at, [response_created(), text_delta("Sun"), response_done(status="failed", status_details=details)])
        error = asking.error()
        assert isinstance(error, BadRequestError)
        assert error.message == "Output data may be inappropriate."
        turn = error.turn  # type: ignore[attr-defined]
        assert (turn.text, turn.status, turn.done) == ("Sun", "failed", True)
        works_again(at)


def test_a_failed_response_without_a_reason_says_that() -> None:
    with manual() as at:
        asking = Background(at.session.ask)
        at.line.read_event("response.create")
        play(at, [response_created(), response_done(status="failed")])
        error = asking.error()
        assert isinstance(error, APIError)
        assert "does not say why" in str(error)


@pytest.mark.parametrize("status", ["cancelled", "incomplete"])
def test_a_response_that_is_cut_off_is_no_error_but_a_status(status: str) -> None:
    with manual() as at:
        asking = Background(at.session.ask)
        at.line.read_event("response.create")
        play(at, [response_created(), text_delta("Sun"), response_done(status=status)])
        turn = asking.result()
        assert (turn.status, turn.text) == (status, "Sun")


def test_a_refused_commit_raises_in_the_ask_that_sent_it() -> None:
    text = "Error committing input audio buffer: buffer too small, or have no audio."
    heard = Heard()
    with manual(on_error=heard) as at:
        asking = Background(at.session.ask, b"\0\0" * 2000)
        take_audio(at)
        at.line.send(error_event(text))
        error = asking.error()
        assert isinstance(error, BadRequestError)
        assert error.message == text
        assert heard.get() is error
        assert error.turn.status == "failed"  # type: ignore[attr-defined]
        assert [event["type"] for event in at.sees_nothing()] == ["input_audio_buffer.clear"], "no answer is asked for"  # no response.create follows
        works_again(at)


def test_a_refused_picture_raises_in_the_ask_that_sent_it() -> None:
    """An answer that saw nothing of the picture is not the answer to the question."""
    with manual() as at:
        asking = Background(at.session.ask, QUESTION, images=[JPEG])
        take_audio(at)
        at.line.send(error_event("Error append image before append audio."))
        at.line.send(committed())
        error = asking.error()
        assert isinstance(error, BadRequestError)
        assert "append image" in error.message


def test_a_refused_text_raises_in_the_ask_that_sent_it() -> None:
    with manual() as at:
        asking = Background(at.session.ask, text="Hello?")
        event = at.line.read_event()
        at.line.send(error_event("Invalid item.", event_id=event["event_id"]))
        assert isinstance(asking.error(), BadRequestError)
        assert at.sees_nothing() == []


@pytest.mark.parametrize("named", [True, False], ids=["error names the event", "error names nothing"])
def test_a_refused_response_create_raises_in_the_ask_that_sent_it(named: bool) -> None:
    with manual() as at:
        asking = Background(at.session.ask)
        event = at.line.read_event()
        ids = {"event_id": event["event_id"]} if named else {}
        at.line.send(error_event("Input speech was not accepted by semantic turn detection", **ids))
        assert isinstance(asking.error(), BadRequestError)
        works_again(at)


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (error_event("Allocated quota exceeded, please increase your quota limit.", code="insufficient_quota", type=""), QuotaExceededError),
        (error_event("Requests rate limit exceeded", code="Throttling.RateQuota", type=""), RateLimitError),
        (error_event("Internal service error: null", code="InternalError", type="server_error"), ServiceBusyError),
        (error_event("Response stream timeout (timeout_seconds=298, elapsed_ms=298012)", type=""), ServiceBusyError),
        (error_event("model repeat output happened", code="COMMON_ERROR", type=""), ServiceBusyError),
    ],
    ids=["quota", "rate", "internal", "stream timeout", "repeat"],
)
@pytest.mark.parametrize("when", ["before response.created", "in the middle"])
def test_an_error_that_ends_the_answer_raises_soon(event: Event, kind: type[APIError], when: str) -> None:
    """Nothing else will come, so waiting for the deadline helps nobody."""
    with manual(timeouts=Timeouts(cancel=0.2)) as at:
        asking = Background(at.session.ask, timeout=60)
        at.line.read_event("response.create")
        if when == "in the middle":
            play(at, [response_created(), text_delta("Sun")])
        at.line.send(event)
        error = asking.error()
        assert type(error) is kind
        assert error.turn.text == ("Sun" if when == "in the middle" else "")  # type: ignore[attr-defined]


def test_an_error_about_something_else_does_not_end_the_turn() -> None:
    with manual() as at:
        asking = Background(at.session.ask)
        at.line.read_event("response.create")
        play(at, [response_created(), text_delta("Sun")])
        update = at.session.update(voice="Nobody")
        at.line.send(error_event("Voice 'Nobody' is not supported.", event_id=update, param="session.voice"))
        at.line.send(error_event("Error append image before append audio."))
        at.settle()
        assert asking.running
        play(at, [text_delta("ny."), response_done()])
        assert asking.result().text == "Sunny."


# ---- VAD ----------------------------------------------------------------------------------------------------------


def test_a_turn_the_semantic_vad_rejects_raises_at_once() -> None:
    text = "Input speech was not accepted by semantic turn detection."
    with dialled(turn_detection="semantic_vad") as at:
        asking = Background(at.session.ask, QUESTION, timeout=60)
        speech(at, len(QUESTION))
        play(at, [speech_started(), user_item(), speech_stopped(), error_event(text)])
        error = asking.error()
        assert isinstance(error, BadRequestError)
        assert error.message == text
        at.settle()
        assert {event["type"] for event in at.sees_nothing()} <= {"input_audio_buffer.append"}
        works_again(at)


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ([], "heard no speech in the audio"),
        ([speech_started()], "heard speech but no end of it"),
        ([speech_started(), speech_stopped(), committed()], "did not begin to answer"),
        ([speech_started(), speech_stopped(), committed(), response_created()], "response.done, did not come"),
    ],
    ids=["nothing", "no end", "no answer", "no end of the answer"],
)
def test_a_time_out_in_vad_mode_says_what_was_heard(events: list[Event], says: str) -> None:
    with dialled() as at:
        start = time.monotonic()
        asking = Background(at.session.ask, QUESTION, timeout=0.5)
        speech(at, len(QUESTION))  # it listens by now
        play(at, events)
        error = asking.error()
        assert isinstance(error, DeadlineExceeded)
        assert says in str(error)
        assert 0.4 < time.monotonic() - start < 3
        assert error.turn.status == "failed"  # type: ignore[attr-defined]


# ---- time ---------------------------------------------------------------------------------------------------------


def test_a_time_out_in_manual_mode_gives_what_came_so_far_and_the_session_goes_on() -> None:
    with manual() as at:
        asking = Background(at.session.ask, timeout=0.3)
        at.line.read_event("response.create")
        play(at, [response_created(), text_delta("Sun"), audio_delta()])
        error = asking.error()
        assert isinstance(error, DeadlineExceeded)
        assert isinstance(error, TimeoutError)
        assert "response.done" in str(error)
        turn = error.turn  # type: ignore[attr-defined]
        assert (turn.text, turn.audio, turn.status) == ("Sun", PCM, "failed")
        assert at.session.is_open
        play(at, [response_done()])
        at.settle()
        works_again(at)


@pytest.mark.parametrize(
    "reads_until", ["conversation.item.create", "response.create"], ids=["the item", "the response"]
)
def test_a_service_that_says_nothing_is_given_up_at_the_deadline(reads_until: str) -> None:
    with manual() as at:
        start = time.monotonic()
        asking = Background(at.session.ask, text="Hello?", timeout=0.3)
        at.line.read_event("conversation.item.create")
        if reads_until == "response.create":
            at.line.send(text_item("Hello?"))
        error = asking.error()
        assert isinstance(error, DeadlineExceeded)
        assert time.monotonic() - start < 2
        assert error.turn.done  # type: ignore[attr-defined]


def test_the_whole_turn_has_one_deadline_though_its_audio_never_ends() -> None:
    """A microphone that nobody switches off, in manual mode."""
    with manual() as at:
        reading = Background(at.line.drain)

        def endless() -> Iterator[bytes]:
            tick = threading.Event()
            while not tick.wait(0.001):
                yield PCM

        start = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            at.session.ask(endless(), timeout=0.3)
        assert time.monotonic() - start < 2
        assert reading.running


def test_a_wait_with_a_timeout_of_its_own_does_not_end_the_turn() -> None:
    with manual() as at:
        turn = at.session.ask(stream=True)
        at.line.read_event("response.create")
        at.line.send(response_created())
        with pytest.raises(DeadlineExceeded):
            turn.wait(0.05)
        assert not turn.done
        play(at, [text_delta("x"), response_done()])
        assert turn.wait().text == "x"


def test_a_function_that_nobody_answers_is_named_at_the_deadline() -> None:
    calls = Heard()
    with manual(on_function_call=calls) as at:
        asking = Background(at.session.ask, timeout=0.4)
        at.line.read_event("response.create")
        play(at, calling(call_item("call_1", "get_weather"), call_item("call_2", "get_news")))
        calls.get().respond("x")
        error = asking.error()
        assert isinstance(error, DeadlineExceeded)
        assert "get_news" in str(error)
        assert "get_weather" not in str(error)
        assert "respond" in str(error)
        assert [call.answered for call in error.turn.function_calls] == [True, False]  # type: ignore[attr-defined]


def test_a_question_that_waits_for_another_turn_says_so_at_its_deadline() -> None:
    with manual() as at:
        first = Background(at.session.ask, timeout=SOON)
        at.line.read_event("response.create")
        with pytest.raises(DeadlineExceeded, match="another turn"):
            at.session.ask(text="Hello?", timeout=0.1)
        play(at, written())
        assert first.result().text == "Sunny."


# ---- functions ----------------------------------------------------------------------------------------------------


def test_outputs_that_the_service_refuses_raise_in_the_ask() -> None:
    """No follow-up will be asked for, so nothing else would end the turn before its deadline."""
    with manual(on_function_call=lambda call: call.respond("x")) as at:
        asking = Background(at.session.ask, timeout=60)
        at.line.read_event("response.create")
        play(at, calling(call_item("call_1")))
        at.line.read_event("conversation.item.create")
        at.line.send(error_event("Unknown function call id: call_1"))
        error = asking.error()
        assert isinstance(error, BadRequestError)
        assert "Unknown function call id" in error.message


def test_a_follow_up_that_the_service_refuses_raises_in_the_ask() -> None:
    with manual(on_function_call=lambda call: call.respond("x")) as at:
        asking = Background(at.session.ask, timeout=60)
        at.line.read_event("response.create")
        play(at, calling(call_item("call_1")))
        at.line.read_event("conversation.item.create")
        at.line.send(output_item("call_1"))
        event = at.line.read_event("response.create")
        at.line.send(error_event("Invalid value.", code="invalid_value", event_id=event["event_id"]))
        assert isinstance(asking.error(), BadRequestError)


def test_a_follow_up_that_fails_raises_in_the_ask() -> None:
    with manual(on_function_call=lambda call: call.respond("x")) as at:
        asking = Background(at.session.ask, timeout=60)
        at.line.read_event("response.create")
        play(at, calling(call_item("call_1")))
        at.line.read_event("conversation.item.create")
        at.line.send(output_item("call_1"))
        at.line.read_event("response.create")
        play(at, [response_created("resp_2"), response_done("resp_2", status="failed")])
        error = asking.error()
        assert isinstance(error, APIError)
        assert len(error.turn.responses) == 2  # type: ignore[attr-defined]


def test_calls_of_a_failed_response_do_not_keep_the_turn_waiting() -> None:
    calls = Heard()
    with manual(on_function_call=calls) as at:
        asking = Background(at.session.ask, timeout=60)
        at.line.read_event("response.create")
        play(at, calling(call_item("call_1"), status="failed"))
        assert isinstance(asking.error(), APIError)
        assert calls.all == []


def test_calls_of_a_cancelled_response_do_not_keep_the_turn_waiting() -> None:
    with manual(on_function_call=lambda call: None) as at:
        asking = Background(at.session.ask, timeout=60)
        at.line.read_event("response.create")
        play(at, calling(call_item("call_1"), status="cancelled"))
        assert asking.result().status == "cancelled"


# ---- the end of the connection ------------------------------------------------------------------------------------

ENDS: dict[str, Callable[[Dialled], None]] = {
    "reset": lambda at: at.line.reset(),
    "close frame": lambda at: at.line.send_frame(8, close_payload(1007, FREE_TIER)),
    "end of stream": lambda at: at.line.sock.shutdown(1),
    "close()": lambda at: at.session.close(0.05),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_lost_connection_raises_with_what_came_so_far(end: str, stream: bool) -> None:
    came: list[str] = []

    def ask(session: Any) -> Any:
        if not stream:
            return session.ask(timeout=60)
        turn = session.ask(stream=True, timeout=60)
        for piece in turn:
            came.append(piece.text)
        return turn

    with manual() as at:
        asking = Background(ask, at.session)
        at.line.read_event("response.create")
        play(at, [response_created(), text_delta("Sun"), audio_delta()])
        at.settle()
        ENDS[end](at)
        error = asking.error()
        assert isinstance(error, ConnectionClosed)
        assert error.info is not None
        turn = error.turn  # type: ignore[attr-defined]
        assert (turn.text, turn.audio) == ("Sun", PCM)
        assert (turn.done, turn.status) == (True, "failed")
        if end == "close frame":
            assert FREE_TIER in str(error)
        if stream:
            assert came == ["Sun", ""]


@pytest.mark.parametrize("when", ["audio", "commit", "item", "create"])
def test_a_connection_lost_while_the_question_is_put_raises_too(when: str) -> None:
    more, over = threading.Event(), threading.Event()

    def slowly() -> Iterator[bytes]:
        yield QUESTION
        more.set()
        over.wait(SOON)
        yield QUESTION

    with manual() as at:
        asking = Background(at.session.ask, slowly() if when == "audio" else QUESTION, text="And?", timeout=60)
        if when == "audio":
            assert more.wait(SOON)
        else:
            take_audio(at)
        if when in ("item", "create"):
            at.line.send(committed())
            at.line.read_event("conversation.item.create")
        if when == "create":
            at.line.send(text_item("And?"))
            at.line.read_event("response.create")
        at.line.reset()
        connection = at.session._connection
        assert connection is not None
        connection.wait_ended(time.monotonic() + SOON)
        over.set()
        error = asking.error()
        assert isinstance(error, ConnectionClosed)
        assert error.turn.done  # type: ignore[attr-defined]


# ---- the question itself goes wrong -------------------------------------------------------------------------------


def broken() -> Iterator[bytes]:
    yield QUESTION[:3200]
    raise LookupError("the microphone is gone")


def test_what_the_audio_raises_reaches_the_caller() -> None:
    with manual() as at:
        with pytest.raises(LookupError, match="microphone"):
            at.session.ask(broken())
        types = [event["type"] for event in at.sees_nothing()]
        assert types == ["input_audio_buffer.append", "input_audio_buffer.clear"], "half a question is taken back"
        works_again(at)


def test_what_the_audio_of_a_stream_raises_reaches_who_reads_it() -> None:
    """As the cause at least; the connection is not closed, so ConnectionClosed would be untrue."""
    with manual() as at:
        turn = at.session.ask(broken(), stream=True)
        with pytest.raises(Exception, match="microphone") as caught:
            list(turn)
        assert isinstance(caught.value, LookupError) or isinstance(caught.value.__cause__, LookupError)
        assert not isinstance(caught.value, ConnectionClosed)
        assert at.session.is_open
        assert turn.done


def test_a_turn_that_has_failed_sends_nothing_more() -> None:
    """The service gave up while the question was still being spoken."""
    more, over = threading.Event(), threading.Event()

    def slowly() -> Iterator[bytes]:
        yield QUESTION[:3200]
        more.set()
        over.wait(SOON)
        yield QUESTION[:3200]

    with manual() as at:
        turn = at.session.ask(slowly(), stream=True, timeout=60)
        assert more.wait(SOON)
        at.line.read_event("input_audio_buffer.append")
        at.line.send(error_event("Internal service error: null", type="", code="InternalError"))
        with pytest.raises(ServiceBusyError):
            turn.wait()
        feeding = [each for each in threading.enumerate() if each.name == "dashscope_rt-ask"]
        over.set()
        for thread in feeding:
            thread.join(SOON)
        assert [event["type"] for event in at.sees_nothing()] == ["input_audio_buffer.clear"], "what was sent is taken back"
        works_again(at)


# ---- a request that vanishes --------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_asking, "_PATIENCE_S", 0.3)
    monkeypatch.setattr(_asking, "_PATIENCE_AFTER_TRANSCRIPT_S", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_response_create_that_vanishes_is_repeated_once() -> None:
    """On 3.5-plus, when it comes before the input's transcription is complete."""
    with manual() as at:
        asking = Background(at.session.ask, timeout=SOON)
        first = at.line.read_event("response.create")
        second = at.line.read_event("response.create")
        assert second["event_id"] != first["event_id"]
        play(at, written())
        assert asking.result().text == "Sunny."
        assert at.sees_nothing() == []


@pytest.mark.usefixtures("impatient")
def test_the_repeat_comes_soon_after_the_transcription_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_asking, "_PATIENCE_S", 60.0)
    with manual() as at:
        asking = Background(at.session.ask, QUESTION, timeout=SOON)
        take_audio(at)
        at.line.send(committed())
        at.line.read_event("response.create")
        at.line.send(transcribed("What is this?"))
        at.line.read_event("response.create")  # long before the patience without a transcript is at its end
        play(at, spoken())
        asking.result()


@pytest.mark.usefixtures("impatient")
def test_the_repeat_comes_soon_however_fast_the_transcription_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be complete before the asking thread, which has just sent its request, runs again."""
    monkeypatch.setattr(_asking, "_PATIENCE_S", 60.0)
    until_created = _asking.TurnTaking._until_created

    def late(taking: _asking.TurnTaking, turn: Any, create: Any) -> None:
        turn._connection.wait_until(lambda: turn._transcribed_at, time.monotonic() + SOON, "the transcript")
        until_created(taking, turn, create)

    monkeypatch.setattr(_asking.TurnTaking, "_until_created", late)
    with manual() as at:
        asking = Background(at.session.ask, QUESTION, timeout=SOON)
        take_audio(at)
        at.line.send(committed())
        at.line.read_event("response.create")
        at.line.send(transcribed("What is this?"))
        at.line.read_event("response.create")
        play(at, spoken())
        asking.result()


@pytest.mark.usefixtures("impatient")
def test_a_repeat_is_sent_once_and_no_more() -> None:
    with manual() as at:
        asking = Background(at.session.ask, timeout=1.0)
        for _ in range(2):
            at.line.read_event("response.create")
        assert isinstance(asking.error(), DeadlineExceeded)
        assert at.sees_nothing() == []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("order", ["error first", "response first"])
def test_when_the_first_request_was_only_slow_the_refusal_of_the_repeat_means_nothing(order: str) -> None:
    errors = Heard()
    with manual(on_error=errors) as at:
        asking = Background(at.session.ask, timeout=SOON)
        at.line.read_event("response.create")
        at.line.read_event("response.create")
        refusal = error_event("Conversation already has an active response")
        begin = [refusal, response_created()] if order == "error first" else [response_created(), refusal]
        play(at, [*begin, text_delta("Sunny."), response_done()])
        assert asking.result().text == "Sunny."
        works_again(at)
        at.settle()
    assert errors.all == []


@pytest.mark.usefixtures("impatient")
def test_a_repeat_leaves_nothing_behind_that_a_later_error_could_be_blamed_on() -> None:
    with manual() as at:
        asking = Background(at.session.ask, timeout=SOON)
        at.line.read_event("response.create")
        at.line.read_event("response.create")
        play(at, written())
        asking.result()
        event_id = at.session.create_response()
        waiting = Background(at.session.wait_ack, event_id)
        at.line.read_event("response.create")
        at.line.send(error_event("Conversation already has an active response"))
        assert isinstance(waiting.error(), BadRequestError)


@pytest.mark.usefixtures("impatient")
def test_a_request_that_waits_for_a_running_response_is_not_repeated() -> None:
    with manual() as at:
        at.line.send(response_created("resp_0"))
        at.settle()
        asking = Background(at.session.ask, timeout=SOON)
        waited = threading.Event()
        waited.wait(0.5)  # longer than the patience
        assert at.sees_nothing() == []
        at.line.send(response_done("resp_0"))
        at.line.read_event("response.create")
        play(at, written())
        assert asking.result().text == "Sunny."
        assert at.sees_nothing() == []
