"""ask() follows the calls of tools, in callbacks too; against the emulator."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashscope_rt import DeadlineExceeded, RealtimeSession, ToolPolicy, WaitInCallbackError
from dashscope_rt.testing import Answer, Emulator, FunctionCall, Heard
from tests.client import wire
from tests.client.wire import client_for
from tests.peer import SOON

ROOT = Path(__file__).parent.parent.parent
CALL = FunctionCall("weather", {"city": "Rome"})


def answer(heard: Heard) -> Answer:
    """Calls the weather for every question, and says what it returned."""
    if heard.function_outputs:
        return Answer(text=f"It says: {' / '.join(heard.function_outputs.values())}")
    return Answer(function_calls=[CALL])


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(answer=answer) as emulator:
        yield emulator
        emulator.check()


def open_session(emulator: Emulator, **options: Any) -> RealtimeSession:
    return client_for(emulator.url, "sk-test").session(**{"turn_detection": None, **options})


def weather(city: str) -> str:
    """Tell the weather."""
    return f"sunny in {city}"


def test_a_question_is_answered_with_what_the_tool_returned(emulator: Emulator) -> None:
    with open_session(emulator, tools=[weather]) as session:
        turn = session.ask(text="How is the weather in Rome?")
    assert turn.text == "It says: sunny in Rome"
    assert len(turn.responses) == 2
    assert [call.name for call in turn.function_calls] == ["weather"]
    assert turn.function_calls[0].answered
    assert len([event for event in emulator.received if event.type == "response.create"]) == 2


def test_a_spoken_question_in_vad_mode_as_well(emulator: Emulator) -> None:
    with open_session(emulator, tools=[weather], turn_detection="server_vad") as session:
        turn = session.ask(str(ROOT / "samples" / "data" / "question.wav"))
    assert turn.text == "It says: sunny in Rome"
    assert len([event for event in emulator.received if event.type == "response.create"]) == 1


def test_one_question_of_a_client_takes_tools_too(emulator: Emulator) -> None:
    turn = client_for(emulator.url, "sk-test").ask(text="How is the weather in Rome?", tools=[weather])
    assert turn.text == "It says: sunny in Rome"


def test_asking_inside_a_callback_follows_calls_that_tools_answer(emulator: Emulator) -> None:
    turns = wire.Heard()
    session = open_session(emulator, tools=[weather])
    session.on_open(lambda _: turns(session.ask(text="Rome?")))
    with session:
        assert turns.get().text == "It says: sunny in Rome"


def test_asking_inside_a_callback_raises_when_only_another_callback_could_answer(emulator: Emulator) -> None:
    raised = wire.Heard()
    session = open_session(emulator, on_function_call=lambda call: call.respond("x"))

    @session.on_open
    def ask(_: Any) -> None:
        try:
            session.ask(text="Rome?")
        except WaitInCallbackError as error:
            raised(error)

    with session:
        assert "on_function_call" in str(raised.get())


def test_tools_answer_inside_a_callback_even_where_on_function_call_is_registered(emulator: Emulator) -> None:
    turns = wire.Heard()
    session = open_session(emulator, tools=[weather], on_function_call=lambda call: call.respond("x"))
    session.on_open(lambda _: turns(session.ask(text="Rome?")))
    with session:
        assert turns.get().text == "It says: sunny in Rome"


def test_asking_inside_the_tool_of_a_turn_raises_instead_of_waiting_for_itself(emulator: Emulator) -> None:
    raised = wire.Heard()

    def asks(city: str) -> str:
        try:
            session.ask(text="And in Bari?")
        except WaitInCallbackError as error:
            raised(error)
        return "rain"

    session = open_session(emulator)
    session.tool(name="weather")(asks)
    with session:
        assert session.ask(text="Rome?").text == "It says: rain"
    assert "in a tool" in str(raised.get())


def test_a_turn_that_runs_out_of_time_says_which_tool_has_not_returned(emulator: Emulator) -> None:
    go = threading.Event()

    def slow(city: str) -> str:
        go.wait(SOON)
        return "x"

    session = open_session(emulator)
    session.tool(name="weather")(slow)
    with session:
        with pytest.raises(DeadlineExceeded, match="the tool weather has not returned"):
            session.ask(text="Rome?", timeout=0.3)
        go.set()


def test_a_tool_may_send_and_close(emulator: Emulator) -> None:
    def leave(city: str) -> str:
        session.close()
        return "gone"

    session = open_session(emulator)
    session.tool(name="weather")(leave)
    with session:
        session.send_text("Rome?")
        session.create_response()
        assert session.wait_closed(SOON).who == "client"


def test_a_model_that_never_stops_calling_ends_the_turn() -> None:
    with Emulator(answer=lambda _: Answer(function_calls=[CALL])) as emulator:
        with open_session(emulator, tools=[weather], tool_policy=ToolPolicy(max_calls=3)) as session:
            turn = session.ask(text="Rome?")
        emulator.check()
    assert turn.status == "completed"
    assert len(turn.function_calls) == 5
    assert [call.answered for call in turn.function_calls] == [True] * 4 + [False]


def test_a_tool_that_never_returns_keeps_the_interpreter_from_nothing(emulator: Emulator) -> None:
    code = f"""
        import threading
        import dashscope_rt as rt
        inside = threading.Event()
        def weather(city: str) -> str:
            inside.set()
            threading.Event().wait()
        session = rt.RealtimeClient("sk-test", url={emulator.url!r}, proxy="").session(tools=[weather], turn_detection=None)
        session.connect()
        session.send_text("Rome?")
        session.create_response()
        assert inside.wait(5)
        print("done")
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=20, cwd=ROOT
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
