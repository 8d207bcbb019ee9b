"""A session that is over is freed as soon as nobody holds it, with all the audio of its answers.

Without the garbage collector: what waits for that is gone minutes later in a quiet process, and makes every other part of
a busy one slower.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator

import pytest

from dashscope_rt import ConnectionClosed, Reconnect, Timeouts
from tests.client.wire import (
    MODEL,
    Dialled,
    Heard,
    audio_delta,
    call_item,
    calling,
    client_for,
    manual,
    response_created,
    response_done,
    text_delta,
)

Refs = list["weakref.ref[object]"]


@pytest.fixture(autouse=True)
def no_garbage_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def of(at: Dialled) -> Refs:
    connection = at.session._connection
    assert connection is not None
    return [weakref.ref(each) for each in (at.session, connection, connection.network, connection.state)]


def one_answer(at: Dialled) -> None:
    for event in (response_created(), audio_delta(), audio_delta(), text_delta("hi"), response_done("resp_1")):
        at.line.send(event)
    at.settle()


def one_question(at: Dialled) -> None:
    turn = at.session.ask(stream=True)
    at.line.read_event("response.create")
    one_answer(at)
    assert turn.wait().text == "hi"


def one_call(at: Dialled) -> None:
    for event in calling(call_item("c1", "lookup", '{"word": "x"}')):
        at.line.send(event)
    assert at.line.read_event("conversation.item.create")["item"]["output"] == "found x"


def lookup(word: str) -> str:
    """Look a word up."""
    return f"found {word}"


def nothing(at: Dialled) -> None:
    pass


@pytest.mark.parametrize("life", [nothing, one_answer, one_question, one_call])
def test_a_closed_session_is_gone(life: Callable[[Dialled], None]) -> None:
    def run() -> Refs:
        with manual(on_audio_delta=print, tools=[lookup], timeouts=Timeouts(close=0.2)) as at:
            life(at)
            at.session.close()
            return of(at)

    assert [ref() for ref in run()] == [None] * 4


def test_a_session_that_was_never_opened_is_gone() -> None:
    session = client_for("ws://127.0.0.1:1/").session(MODEL, tools=[lookup], on_done=print)
    ref = weakref.ref(session)
    del session
    assert ref() is None


def test_a_session_that_was_reconnected_is_gone() -> None:
    def run() -> Refs:
        again = Heard()
        reconnect = Reconnect(first_delay=0.01, history_chars=0)
        with manual(reconnect=reconnect, on_reconnected=again, timeouts=Timeouts(close=0.2)) as at:
            one_answer(at)
            at.line.reset()
            again.get()
            at.session.close()
            return of(at)

    assert [ref() for ref in run()] == [None] * 4


def test_a_call_that_outlives_its_session_can_be_answered_no_more() -> None:
    """But says so, as it does while somebody holds the session."""
    called = Heard()
    with manual(on_function_call=called, timeouts=Timeouts(close=0.2)) as at:
        for event in calling(call_item("c1")):
            at.line.send(event)
        call = called.get()
        at.session.close()
    del at
    with pytest.raises(ConnectionClosed):
        call.respond("too late")


def test_a_session_whose_connection_was_lost_is_gone() -> None:
    def run() -> Refs:
        closed = Heard()
        with manual(on_close=closed) as at:
            one_answer(at)
            at.line.reset()
            closed.get()
            at.session.close()
            return of(at)

    assert [ref() for ref in run()] == [None] * 4
