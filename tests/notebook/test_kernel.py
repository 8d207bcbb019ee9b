"""In a kernel: stop means stop, and the session is as good as new; ends and repetitions leave nothing behind."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from dashscope_rt.testing import Answer, Emulator, Heard
from tests.notebook.kernel import Kernel
from tests.peer import SOON

LONG = " ".join(str(number) for number in range(400))  # 20 s of text


class Model:
    """What the emulator says: something long to what is long, else what it heard; thinks as long as it is told to."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.think = threading.Event()
        self.think.set()

    def __call__(self, heard: Heard) -> Answer:
        self.heard.append(heard)
        self.think.wait(SOON)
        return Answer(text=LONG if "long" in heard.text else f"{heard.seconds:.1f} s, {heard.text}")


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def emulator(model: Model) -> Iterator[Emulator]:
    with Emulator(answer=model, pace=1.0, cancel_sends_done=True) as emulator:
        yield emulator
        emulator.check()


def opening(emulator: Emulator, **options: object) -> str:
    """A cell that opens a session, as the notebook has it."""
    options = {"turn_detection": None, "modalities": ["text"], **options}
    return f"""
import time, threading
import dashscope_rt as rt
if "session" in globals():
    session.close()
client = rt.RealtimeClient("any-key", url={emulator.url!r})
session = client.session({", ".join(f"{name}={value!r}" for name, value in options.items())})
session.connect()
"""


def deltas(emulator: Emulator, count: int = 3) -> Callable[[], object]:
    return lambda: emulator.wait_for_sent("response.text.delta", timeout=SOON, count=count)


CELLS = {
    "ask": "session.ask(text='A long one')",
    "a loop over a stream": "for piece in session.ask(text='A long one', stream=True): print(piece.text, end='')",
    "the body of such a loop": "for piece in session.ask(text='A long one', stream=True): threading.Event().wait()",
    "wait on a stream": "turn = session.ask(text='A long one', stream=True); turn.wait()",
    "wait_for": "session.send_text('A long one'); session.create_response(); session.wait_for('response.done')",
    "wait_closed": "session.send_text('A long one'); session.create_response(); session.wait_closed()",
}


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_stop_ends_the_cell_and_the_next_question_gets_its_own_answer(
    kernel: Kernel, emulator: Emulator, cell: str
) -> None:
    kernel.good(opening(emulator))
    kernel.stopped(cell, deltas(emulator))
    began = time.monotonic()
    after = "session.cancel_response();" if "create_response" in cell else ""  # what one did by hand one ends by hand
    again = kernel.good(f"{after} session.ask(text='And now?').text")
    assert again.result["text/plain"] == "'0.0 s, And now?'"
    assert time.monotonic() - began < 8, "the rest of the long answer was waited for"
    assert kernel.good("session.is_open, session.stats.reconnects").result["text/plain"] == "(True, 0)"
    kernel.good("session.close()")


def test_stop_while_the_model_thinks(kernel: Kernel, emulator: Emulator, model: Model) -> None:
    kernel.good(opening(emulator))
    model.think.clear()
    kernel.stopped("session.ask(text='A long one')", lambda: emulator.wait_for("response.create", timeout=SOON))
    model.think.set()
    again = kernel.good("session.ask(text='And now?').text")
    assert again.result["text/plain"] == "'0.0 s, And now?'"
    kernel.good("session.close()")


def test_stop_while_the_question_is_spoken_takes_it_back(kernel: Kernel, emulator: Emulator, model: Model) -> None:
    kernel.good(opening(emulator))
    speaking = """
def spoken():
    for _ in range(5):
        yield bytes(3200)
    threading.Event().wait()
session.ask(spoken())
"""
    kernel.stopped(speaking, lambda: emulator.wait_for("input_audio_buffer.append", timeout=SOON, count=5))
    kernel.good("turn = session.ask(bytes(32000))")
    assert [heard.seconds for heard in model.heard] == [1.0], "half a question was heard with the next"
    kernel.good("session.close()")


def test_stop_where_the_service_never_says_that_the_answer_is_over(kernel: Kernel, model: Model) -> None:
    with Emulator(answer=model, pace=1.0, cancel_sends_done=False) as emulator:
        kernel.good(opening(emulator))
        kernel.stopped("session.ask(text='A long one')", deltas(emulator))
        again = kernel.good("session.ask(text='And now?').text")
        assert again.result["text/plain"] == "'0.0 s, And now?'"
        kernel.good("session.close()")


def test_stop_in_a_question_of_its_own_closes_its_session(kernel: Kernel, emulator: Emulator) -> None:
    kernel.good(opening(emulator))
    kernel.good("session.close()")
    kernel.stopped("client.ask(text='A long one', modalities=['text'])", deltas(emulator))
    emulator.wait_closed(timeout=SOON, connection=2)
    assert "dashscope_rt-" not in kernel.good("print([t.name for t in threading.enumerate()])").text()


def test_what_callbacks_print_is_in_the_cell_that_asks(kernel: Kernel, emulator: Emulator) -> None:
    kernel.good(opening(emulator))
    kernel.good("""
@session.on_done
def done(response):
    print(f"{threading.current_thread().name}: {response.text}", flush=True)
    told.set()
""")
    outcome = kernel.good("told = threading.Event(); turn = session.ask(text='Hello?'); told.wait(10)")
    assert "dashscope_rt-reader-" in outcome.text()
    assert ": 0.0 s, Hello?\n" in outcome.text()
    kernel.good("session.close()")


def test_a_stream_is_shown_as_it_comes(kernel: Kernel, emulator: Emulator) -> None:
    kernel.good(opening(emulator))
    outcome = kernel.good(
        "for piece in session.ask(text='one two three four five six', stream=True): print(piece.text, end='', flush=True)"
    )
    assert outcome.text() == "0.0 s, one two three four five six"
    assert len(outcome.of("stream")) > 2
    kernel.good("session.close()")


def test_the_cell_that_opens_a_session_may_be_run_again(kernel: Kernel, emulator: Emulator) -> None:
    for _ in range(3):
        kernel.good(opening(emulator))
    emulator.wait_closed(timeout=SOON, count=2)
    names = kernel.good("print([t.name for t in threading.enumerate() if t.name.startswith('dashscope_rt-')])").text()
    assert names.count("dashscope_rt-network") == 1
    assert kernel.good("session.ask(text='Hello?').text").result["text/plain"] == "'0.0 s, Hello?'"
    kernel.good("session.close()")


@pytest.mark.parametrize("end", ["shut_down", "restart"])
def test_the_end_of_a_kernel_with_an_open_session_is_quick_and_leaves_nothing(
    environment: dict[str, str], emulator: Emulator, tmp_path: object, end: str
) -> None:
    kernel = Kernel(tmp_path, environment)  # type: ignore[arg-type]
    try:
        kernel.good(opening(emulator))
        kernel.good("turn = session.ask(text='A long one', stream=True)", deltas(emulator))
        pid, began = kernel.pid, time.monotonic()
        getattr(kernel, end)()
        closed = emulator.wait_closed(timeout=SOON)
        assert time.monotonic() - began < 5
        assert closed.close_code == 1001, "it says goodbye"
        assert not os.path.exists(f"/proc/{pid}")
    finally:
        kernel.close()
