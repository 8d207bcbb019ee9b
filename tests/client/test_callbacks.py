"""Callbacks: every friendly name gets the documented object, in order, on one thread; whatever a callback does, nothing
else depends on it."""

from __future__ import annotations

import functools
import logging
import threading
import time
from typing import Any

import pytest

from dashscope_rt import (
    AnyEvent,
    APIError,
    CloseInfo,
    ConnectionClosed,
    FunctionCall,
    InputTranscript,
    RealtimeSession,
    Response,
    Timeouts,
    events,
)
from tests.client.wire import (
    MODEL,
    PCM,
    Background,
    Dialled,
    Heard,
    audio_delta,
    call_item,
    calling,
    client_for,
    created,
    dialled,
    error_event,
    manual,
    response_created,
    response_done,
    speech_started,
    speech_stopped,
    speech_text_delta,
    spoken,
    text_delta,
    transcribed,
    transcript,
    updated,
    written,
)
from tests.peer import SOON, Line, Peer, close_payload

FRIENDLY: dict[str, tuple[list[dict[str, Any]], type]] = {
    "on_open": ([], events.SessionCreated),
    "on_audio_delta": ([response_created(), audio_delta()], events.ResponseAudioDelta),
    "on_text_delta": ([response_created(), text_delta("a")], events.ResponseTextDelta),
    "on_input_transcript": ([transcript("He", "llo")], InputTranscript),
    "on_speech_started": ([speech_started()], events.InputAudioBufferSpeechStarted),
    "on_speech_stopped": ([speech_stopped()], events.InputAudioBufferSpeechStopped),
    "on_function_call": (calling(call_item("call_1")), FunctionCall),
    "on_done": ([response_created(), response_done()], Response),
    "on_error": ([error_event("no")], APIError),
    "on_close": ([], CloseInfo),
}


def provoke(at: Dialled, name: str) -> None:
    for event in FRIENDLY[name][0]:
        at.line.send(event)
    if name == "on_close":
        at.line.send_frame(8, close_payload(1000))


@pytest.mark.parametrize("name", FRIENDLY)
def test_a_friendly_callback_given_to_the_constructor_gets_its_object(name: str) -> None:
    heard = Heard()
    with dialled(**{name: heard}) as at:
        provoke(at, name)
        assert isinstance(heard.get(), FRIENDLY[name][1])
        assert heard.thread is not None
        assert heard.thread.name.startswith("dashscope_rt-reader-")


@pytest.mark.parametrize("name", [name for name in FRIENDLY if name != "on_open"])
@pytest.mark.parametrize("how", ["call", "decorator"])
def test_a_friendly_callback_is_registered_by_call_and_as_decorator(name: str, how: str) -> None:
    heard = Heard()
    with dialled() as at:
        register = getattr(at.session, name)
        if how == "call":
            assert register(heard) is heard
        else:

            @register
            def mine(what: object) -> None:
                heard(what)

            assert callable(mine)
        provoke(at, name)
        assert isinstance(heard.get(), FRIENDLY[name][1])


def test_the_objects_carry_what_the_events_said() -> None:
    names = (
        "on_audio_delta",
        "on_text_delta",
        "on_input_transcript",
        "on_function_call",
        "on_done",
        "on_error",
        "on_open",
    )
    heard = {name: Heard() for name in names}
    with dialled(**heard) as at:
        at.line.send(transcript("How is", " the wea"))
        at.line.send(transcribed("How is the weather?"))
        for event in spoken("Sunny.", pcm=(PCM,)):
            at.line.send(event)
        for event in written("Rainy.", "resp_2"):
            at.line.send(event)
        for event in calling(call_item("call_1"), response="resp_3"):
            at.line.send(event)
        at.line.send(error_event("no", code="some_code", param="session.voice", event_id="event_9"))
        at.settle()
        opened = heard["on_open"].get()
        assert opened.session.id == at.session.id == "sess_1"
    assert [event.audio for event in heard["on_audio_delta"].all] == [PCM]
    assert "".join(event.delta for event in heard["on_text_delta"].all) == "Sunny.Rainy."
    assert [(each.text, each.final, each.item_id) for each in heard["on_input_transcript"].all] == [
        ("How is the wea", False, "item_u1"),
        ("How is the weather?", True, "item_u1"),
    ]
    (call,) = heard["on_function_call"].all
    assert (call.name, call.call_id, call.arguments, call.response_id) == (
        "weather",
        "call_1",
        {"city": "Rome"},
        "resp_3",
    )
    first, second, third = heard["on_done"].all
    assert (first.id, first.status, first.text, first.audio, first.audio_rate) == (
        "resp_1",
        "completed",
        "Sunny.",
        PCM,
        24000,
    )
    assert (first.usage.total_tokens, first.conversation_id) == (30, "conv_1")
    assert (second.text, second.audio) == ("Rainy.", b"")
    assert third.function_calls == (call,)
    (error,) = heard["on_error"].all
    assert (error.message, error.code, error.param, error.client_event_id) == (
        "no",
        "some_code",
        "session.voice",
        "event_9",
    )


def test_on_open_comes_once_after_the_configuration_is_applied() -> None:
    """session.created is too early: what is sent then runs with the old configuration."""
    opened, go, asked = Heard(), threading.Event(), threading.Event()

    def script(line: Line) -> None:
        line.accept()
        line.send(created())
        update = line.read_event("session.update")
        asked.set()
        go.wait(SOON)
        line.send(updated(update["session"]))
        line.drain()

    with Peer(script) as peer:
        session = client_for(peer.url).session(MODEL, voice="Tina", on_open=opened)
        connecting = Background(session.connect)
        assert asked.wait(SOON)
        assert opened.all == []
        go.set()
        connecting.result()
        assert isinstance(opened.get(), events.SessionCreated)
        session.close()
    assert len(opened.all) == 1


# ---- registration -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["response.output_item.done", events.ResponseOutputItemDone])
def test_every_wire_event_can_be_had_by_name_and_by_class(key: Any) -> None:
    heard = Heard()
    with dialled() as at:
        at.session.on(key)(heard)
        for event in written():
            at.line.send(event)
        assert heard.get().item.text == "Sunny."
        at.settle()
    assert len(heard.all) == 1


def test_any_event_gets_all_of_them_in_order() -> None:
    heard = Heard()
    with dialled() as at:
        at.settle()
        at.session.on(AnyEvent)(heard)
        sent = spoken()
        for event in sent:
            at.line.send(event)
        at.line.send({"type": "never.heard.of", "x": 1})
        at.line.send_frame(1, b"no json")
        at.settle()
    assert [event.type for event in heard.all[:-1]] == [*(event["type"] for event in sent), "never.heard.of", ""]


def test_unknown_and_malformed_events_are_reachable() -> None:
    unknown, malformed, named, typed = Heard(), Heard(), Heard(), Heard()
    with dialled() as at:
        at.session.on(events.UnknownEvent)(unknown)
        at.session.on(events.MalformedEvent)(malformed)
        at.session.on("never.heard.of")(named)
        at.session.on(events.ResponseDone)(typed)
        at.line.send({"type": "never.heard.of", "x": 1})
        at.line.send({"type": "response.done", "response": "not an object"})
        at.settle()
    assert (unknown.all[0].type, unknown.all[0].raw["x"]) == ("never.heard.of", 1)
    assert named.all == unknown.all[:1]
    assert malformed.all[0].type == "response.done"
    assert "response" in malformed.all[0].problem
    assert typed.all == []  # by class: instances of that class and nothing else


@pytest.mark.parametrize(
    "name", ["*", "on_done", "on_close", "on_callback_error", "AnyEvent", "MalformedEvent", "event x"]
)
def test_no_type_of_a_frame_reaches_a_callback_that_is_not_meant(name: str) -> None:
    heard, all_events = Heard(), Heard()
    with dialled(on_done=heard, on_close=heard, on_callback_error=heard) as at:
        at.session.on(events.MalformedEvent)(heard)
        at.session.on("x")(heard)
        at.session.on(AnyEvent)(all_events)
        at.line.send({"type": name})
        at.settle()
        assert heard.all == []
        assert [event.type for event in all_events.all].count(name) == 1


@pytest.mark.parametrize("how", ["friendly", "name", "class", "twice"])
def test_off_takes_a_callback_out_wherever_it_is(how: str) -> None:
    heard = Heard()
    with dialled() as at:
        if how in ("friendly", "twice"):
            at.session.on_audio_delta(heard)
        if how in ("name", "twice"):
            at.session.on("response.audio.delta")(heard)
        if how == "class":
            at.session.on(events.ResponseAudioDelta)(heard)
        assert at.session.off(heard) is True
        assert at.session.off(heard) is False
        at.line.send(audio_delta())
        at.settle()
        assert heard.all == []


def test_off_of_a_bound_method_works() -> None:
    class Player:
        def __init__(self) -> None:
            self.played = 0

        def play(self, _: object) -> None:
            self.played += 1

    player = Player()
    with dialled(on_audio_delta=player.play) as at:
        at.line.send(audio_delta())
        at.settle()
        assert at.session.off(player.play)
        at.line.send(audio_delta())
        at.settle()
    assert player.played == 1


def test_several_callbacks_of_one_event_run_in_the_order_of_registration() -> None:
    order: list[int] = []
    with dialled() as at:
        for number in range(5):
            at.session.on("x")(functools.partial(lambda number, _: order.append(number), number))
        at.line.send({"type": "x"})
        at.settle()
    assert order == [0, 1, 2, 3, 4]


def test_a_callback_may_register_and_take_out_others() -> None:
    order: list[str] = []
    with dialled() as at:

        def once(_: object) -> None:
            order.append("once")
            at.session.off(once)
            at.session.on("x")(lambda _: order.append("later"))

        at.session.on("x")(once)
        at.line.send({"type": "x"})
        at.line.send({"type": "x"})
        at.settle()
    assert order == ["once", "later"]


async def coroutine(_: object) -> None:
    """Not a callback."""


class AsyncCallable:
    async def __call__(self, _: object) -> None:
        """Not a callback either."""


@pytest.mark.parametrize(
    "callback", [coroutine, AsyncCallable(), functools.partial(coroutine)], ids=["def", "object", "partial"]
)
def test_a_coroutine_function_is_refused_with_what_to_do(callback: Any) -> None:
    session = client_for("ws://127.0.0.1:9").session(MODEL)
    for register in (session.on_done, session.on("x"), session.on(AnyEvent)):
        with pytest.raises(TypeError, match="run_coroutine_threadsafe"):
            register(callback)
    with pytest.raises(TypeError, match="on_done cannot be a coroutine"):
        client_for("ws://127.0.0.1:9").session(MODEL, on_done=callback)


@pytest.mark.parametrize("callback", [7, "print", None])
def test_what_cannot_be_called_is_refused(callback: Any) -> None:
    with pytest.raises(TypeError, match="needs a function"):
        client_for("ws://127.0.0.1:9").session(MODEL).on_done(callback)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("on_audio", "on_audio_delta"),
        ("on_functioncall", "on_function_call"),
        ("on_finish", "on_"),
        ("on_dnoe", "on_done"),
    ],
)
def test_a_misspelt_callback_names_the_nearest(name: str, near: str) -> None:
    with pytest.raises(TypeError, match=rf"there is no callback {name};.*{near}"):
        client_for("ws://127.0.0.1:9").session(MODEL, **{name: print})


def test_a_misspelt_option_names_the_nearest_field() -> None:
    with pytest.raises(TypeError, match="voice"):
        client_for("ws://127.0.0.1:9").session(MODEL, voize="Tina")


def test_a_callback_of_none_is_no_callback() -> None:
    with dialled(on_done=None) as at:
        assert at.session.is_open


@pytest.mark.parametrize("what", ["on_done", "on_close"])
def test_the_name_of_a_method_is_no_event(what: str) -> None:
    with pytest.raises(ValueError, match=rf"session\.{what}"):
        client_for("ws://127.0.0.1:9").session(MODEL).on(what)


@pytest.mark.parametrize("what", [7, None, int, events.ResponseCreate])
def test_what_is_no_event_is_refused(what: Any) -> None:
    with pytest.raises(TypeError, match="wire type"):
        client_for("ws://127.0.0.1:9").session(MODEL).on(what)


# ---- callbacks that raise -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [ValueError("mine"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration()]
)
def test_a_raising_callback_is_logged_counted_and_told_and_the_next_one_runs(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: object) -> None:
        raise error

    told, after, done = Heard(), Heard(), Heard()
    with manual(on_audio_delta=fails, on_callback_error=told, on_done=done) as at:
        at.session.on_audio_delta(after)
        for event in spoken(pcm=(PCM, PCM)):
            at.line.send(event)
        response = done.get()
        assert response.text == "Sunny."
        assert response.audio == PCM + PCM
        assert len(after.all) == 2
        assert at.session.stats.callback_errors == 2
        assert at.session.is_open
        assert at.sees_nothing() == []
    raised, name, what = told.all[0]
    assert raised is error
    assert "fails" in name
    assert isinstance(what, events.ResponseAudioDelta)
    records = [record for record in caplog.records if record.name == "dashscope_rt" and record.levelno == logging.ERROR]
    assert len(records) == 2
    assert "fails" in records[0].getMessage()
    assert "audio_delta" in records[0].getMessage() or "response.audio.delta" in records[0].getMessage()
    assert records[0].exc_info is not None


@pytest.mark.parametrize("name", list(FRIENDLY))
def test_every_friendly_callback_may_raise(name: str) -> None:
    told = Heard()

    def fails(_: object) -> None:
        raise ValueError(name)

    with dialled(**{name: fails, "on_callback_error": told}) as at:
        provoke(at, name)
        assert str(told.get()[0]) == name


def test_a_raising_on_callback_error_is_logged_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fails(*_: object) -> None:
        raise ValueError("mine")

    with dialled(on_audio_delta=fails, on_callback_error=fails) as at:
        at.session.on_callback_error(told := Heard())
        at.line.send(audio_delta())
        at.settle()
        assert len(told.all) == 1
        assert at.session.is_open
    assert "on_callback_error itself raised" in caplog.text


def test_a_raising_callback_does_not_keep_turns_from_ending() -> None:
    def fails(*_: object) -> None:
        raise ValueError("mine")

    with manual(on_done=fails, on_text_delta=fails, on_callback_error=fails) as at:
        at.session.on(AnyEvent)(fails)
        asking = Background(at.session.ask)
        at.line.read_event("response.create")
        for event in written():
            at.line.send(event)
        assert asking.result().text == "Sunny."


# ---- callbacks that take their time -------------------------------------------------------------------------------


class Gate:
    """A callback that waits to be let go."""

    def __init__(self) -> None:
        self.stuck = threading.Event()
        self.go = threading.Event()

    def __call__(self, _: object) -> None:
        self.stuck.set()
        assert self.go.wait(SOON)


def test_a_slow_callback_delays_neither_state_nor_waits_nor_sending() -> None:
    gate, done = Gate(), Heard()
    with manual(on_done=done) as at:
        at.session.on("gate")(gate)
        at.line.send({"type": "gate"})
        assert gate.stuck.wait(SOON)
        with at.session.expect("input_audio_buffer.committed") as taken:
            event_id = at.session.commit()
            assert at.line.read_event()["event_id"] == event_id
            at.line.send({"type": "input_audio_buffer.committed", "item_id": "item_7"})
            assert taken.wait(SOON).item_id == "item_7"
        at.session.wait_ack(event_id, SOON)
        asking = Background(at.session.ask)
        at.line.read_event("response.create")
        for event in written():
            at.line.send(event)
        assert asking.result().text == "Sunny."
        assert done.all == []  # callbacks wait for the slow one
        gate.go.set()
        assert done.get().text == "Sunny."


def test_one_callback_at_a_time_in_the_order_of_arrival() -> None:
    order: list[int] = []
    inside = threading.Lock()

    def mine(event: Any) -> None:
        assert inside.acquire(blocking=False)
        order.append(event.raw["number"])
        inside.release()

    with dialled() as at:
        at.session.on("numbered")(mine)
        for number in range(300):
            at.line.send({"type": "numbered", "number": number})
        at.settle()
        assert at.session.stats.callback_errors == 0
    assert order == list(range(300))


# ---- what a callback may do ---------------------------------------------------------------------------------------


def in_callback(at: Dialled, act: Any) -> Background:
    """Run something inside a callback; its result is the call's."""
    box: list[Any] = []
    done = threading.Event()

    def mine(_: object) -> None:
        at.session.off(mine)
        try:
            box.append(act())
        except BaseException as error:
            box.append(error)
        done.set()

    at.session.on("act")(mine)
    at.line.send({"type": "act"})

    def outcome() -> Any:
        assert done.wait(SOON)
        if isinstance(box[0], BaseException):
            raise box[0]
        return box[0]

    return Background(outcome)


def test_sending_and_waiting_work_inside_a_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    with manual() as at:
        listening = threading.Event()
        expect = at.session.expect

        def then_tell(event: Any) -> Any:
            expected = expect(event)
            if event == "extra":
                listening.set()
            return expected

        monkeypatch.setattr(at.session, "expect", then_tell)

        def act() -> str:
            with at.session.expect("input_audio_buffer.committed") as taken:
                at.session.append_audio(PCM)
                event_id = at.session.commit()
                item: str = taken.wait(SOON).item_id
            at.session.wait_ack(event_id, SOON)
            at.session.wait_for("extra", SOON)
            return item

        outcome = in_callback(at, act)
        at.line.read_event("input_audio_buffer.commit")
        at.line.send({"type": "input_audio_buffer.committed", "item_id": "item_7"})
        assert listening.wait(SOON)
        at.line.send({"type": "extra"})
        assert outcome.result() == "item_7"


def test_ask_works_inside_a_callback() -> None:
    with manual() as at:
        outcome = in_callback(at, lambda: at.session.ask(text="And?"))
        at.line.read_event("conversation.item.create")
        at.line.send({"type": "conversation.item.created", "item": {"id": "i", "type": "message", "role": "user"}})
        at.line.read_event("response.create")
        for event in written():
            at.line.send(event)
        assert outcome.result().text == "Sunny."


def test_close_works_inside_a_callback_and_on_close_follows() -> None:
    closed = Heard()
    with manual(on_close=closed) as at:

        def act() -> float:
            start = time.monotonic()
            at.session.close()
            with pytest.raises(ConnectionClosed):
                at.session.commit()
            assert closed.all == []
            return time.monotonic() - start

        outcome = in_callback(at, act)
        Background(at.line.drain)
        assert outcome.result() < 1
        assert closed.get().who == "client"


def test_on_close_may_open_the_session_again() -> None:
    reopened = Heard()

    def script(line: Line) -> None:
        line.open()
        if len(peer.lines) == 1:
            line.read_event("input_audio_buffer.commit")
            line.send_frame(8, close_payload(1011))
        line.drain()

    with Peer(script) as peer:
        session = client_for(peer.url, timeouts=Timeouts(connect=SOON)).session(MODEL)

        def again(_: object) -> None:
            session.off(again)
            reopened(session.connect().is_open)

        session.on_close(again)
        session.connect()
        session.send_raw({"type": "input_audio_buffer.commit"})
        assert reopened.get() is True
        session.close()


def test_callbacks_registered_while_the_session_runs_are_called() -> None:
    with dialled() as at:
        heard = Heard()
        registering = [Background(at.session.on(f"x{number}"), heard) for number in range(20)]
        for call in registering:
            call.result()
        for number in range(20):
            at.line.send({"type": f"x{number}"})
        at.settle()
        assert len(heard.all) == 20


def test_speech_text_and_written_text_are_one_stream() -> None:
    heard = Heard()
    with dialled(on_text_delta=heard) as at:
        at.line.send(response_created())
        at.line.send(speech_text_delta("spoken"))
        at.line.send(text_delta("written"))
        at.settle()
    assert [event.delta for event in heard.all] == ["spoken", "written"]
    assert isinstance(at.session, RealtimeSession)
