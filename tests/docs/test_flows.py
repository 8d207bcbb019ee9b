"""The sequence diagrams show what really happens: each is compared with a session that does what it says."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import dashscope_rt as rt
from dashscope_rt.audio import read_wav, silence
from dashscope_rt.testing import Answer, Emulator, FunctionCall, Heard

from ..blocks import blocks_of
from ..peer import SOON
from .conftest import PAGES, ROOT

sys.path.insert(0, str(ROOT / "docs"))
from flows import Step, drawn, parse

FLOWS = {block.section: block.text for block in blocks_of(PAGES / "about" / "flows.md") if block.language == "flow"}
QUESTION = read_wav(ROOT / "samples" / "data" / "question.wav").pcm[9600 : 9600 + 32000]
NAMES = (
    "on_open", "on_audio_delta", "on_text_delta", "on_input_transcript", "on_speech_started", "on_speech_stopped",
    "on_interrupted", "on_function_call", "on_done", "on_error",
)  # fmt: skip
Row = tuple[bool, str, list[str]]


class Witness:
    """Writes down what goes over the wire and which callbacks run."""

    def __init__(self, session: rt.RealtimeSession, wanted: tuple[str, ...] = NAMES) -> None:
        self.rows: list[Row] = []
        self.done = threading.Semaphore(0)
        session.on(rt.AnyEvent)(lambda event: self.rows.append((False, event.type, [])))
        session.on_sent(lambda sent: self.rows.append((True, sent.type, [])))
        for name in wanted:
            getattr(session, name)(self._noting(name))
        session.on_done(lambda response: self.done.release())

    def _noting(self, name: str) -> Callable[[object], None]:
        return lambda _: self.rows[-1][2].append(name) if self.rows else None

    def until(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.done.acquire(timeout=SOON)


def compare(steps: list[Step], rows: list[Row]) -> None:
    """See that the rows came in the order of the steps, with the callbacks named there.

    Each direction is looked at by itself: which of two events that cross on the wire is first is nobody's promise.
    """
    for sent in (True, False):
        _compare([step for step in steps if step.type and step.sent is sent], [row for row in rows if row[0] is sent])


def _compare(steps: list[Step], rows: list[Row]) -> None:
    at, seen = 0, set()
    for sent, kind, called in rows:
        ahead = [index for index in range(at, len(steps)) if steps[index].type == kind]
        if ahead and all(map(_may_wait, steps[at : ahead[0]])):
            here = ahead[0]
            at = here + 1
        else:
            earlier = [
                index for index in range(at) if steps[index].type == kind and set(steps[index].marks) & set("…~")
            ]
            expected = [f"{step.type}{step.marks}" for step in steps[at : at + 3]]
            assert earlier, f"{'->' if sent else '<-'} {kind} came, the flow has {expected} next"
            here = earlier[-1]
        seen.add(here)
        if not sent and not (steps[here].marks and not called):
            assert steps[here].left == ", ".join(called), f"at {kind} the callbacks were {called}"
    missing = [step.type for index, step in enumerate(steps) if index not in seen and "?" not in step.marks]
    assert not missing, f"did not happen: {missing}"


def _may_wait(step: Step) -> bool:
    return bool(set(step.marks) & set("?~"))


def _session(emulator: Emulator, **options: Any) -> rt.RealtimeSession:
    options.setdefault("turn_detection", rt.ServerVad(silence_duration_ms=600))
    return rt.RealtimeClient("sk-any", url=emulator.url).session("qwen3.5-omni-flash-realtime", **options)


def _say(session: rt.RealtimeSession) -> None:
    for at in range(0, len(QUESTION), 3200):
        session.append_audio(QUESTION[at : at + 3200])


def _hush(session: rt.RealtimeSession) -> None:
    for _ in range(12):
        session.append_audio(silence(100, 16_000))


def _rows(
    emulator: Emulator, act: Callable[[rt.RealtimeSession, Witness], None], start: str, nth: int = 1, **options: Any
) -> list[Row]:
    """Play a session; the rows from the nth event of a type on, up to the end."""
    session = _session(emulator, **options)
    witness = Witness(session)
    with session:
        act(session, witness)
    session.wait_closed(SOON)
    first = [index for index, row in enumerate(witness.rows) if row[1] == start][nth - 1]
    return witness.rows[first:]


def opening(emulator: Emulator) -> list[Row]:
    return _rows(emulator, lambda session, witness: None, "session.created", turn_detection=None)


def manual(emulator: Emulator) -> list[Row]:
    def act(session: rt.RealtimeSession, witness: Witness) -> None:
        _say(session)
        session.commit()
        session.create_response()
        witness.until()

    return _rows(emulator, act, "input_audio_buffer.append", turn_detection=None)


def vad(emulator: Emulator) -> list[Row]:
    def act(session: rt.RealtimeSession, witness: Witness) -> None:
        _say(session)
        _hush(session)
        witness.until()

    return _rows(emulator, act, "input_audio_buffer.append")


def text(emulator: Emulator) -> list[Row]:
    def act(session: rt.RealtimeSession, witness: Witness) -> None:
        session.send_text("Good morning!")
        session.create_response()
        witness.until()

    return _rows(emulator, act, "conversation.item.create", turn_detection=None, modalities=["text"])


def interruption(emulator: Emulator) -> list[Row]:
    def act(session: rt.RealtimeSession, witness: Witness) -> None:
        _say(session)
        with session.expect("response.audio.delta") as sounding:
            _hush(session)
            sounding.wait(SOON)
        _say(session)
        _hush(session)
        witness.until(2)

    return _rows(emulator, act, "input_audio_buffer.speech_started", nth=2)


def cancelling(emulator: Emulator) -> list[Row]:
    def act(session: rt.RealtimeSession, witness: Witness) -> None:
        session.send_text("Tell a story.")
        with session.expect("response.audio.delta") as sounding:
            session.create_response()
            sounding.wait(SOON)
        session.cancel_response()
        witness.until()

    return _rows(emulator, act, "response.cancel", turn_detection=None)


def functions(emulator: Emulator) -> list[Row]:
    def act(session: rt.RealtimeSession, witness: Witness) -> None:
        session.on_function_call(lambda call: call.respond({"sky": "sunny"}))
        session.send_text("How is the weather?")
        session.create_response()
        witness.until(2)

    weather = rt.FunctionTool(name="weather", parameters={"type": "object", "properties": {}})
    return _rows(emulator, act, "conversation.item.create", turn_detection=None, tools=[weather])


def refusal(emulator: Emulator) -> list[Row]:
    def act(session: rt.RealtimeSession, witness: Witness) -> None:
        with session.expect("error") as refused:
            session.commit()
            refused.wait(SOON)

    return _rows(emulator, act, "input_audio_buffer.commit", turn_detection=None)


def _calls(heard: Heard) -> Answer:
    return Answer(text="Sunny.") if heard.function_outputs else Answer(function_calls=[FunctionCall("weather", {})])


def _long(heard: Heard) -> Answer:
    return (
        Answer(text="A story that takes its time. " * 10, hold_after_ms=400) if heard.turn == 1 else Answer(text="Yes?")
    )


ACTS: dict[str, tuple[Callable[[Emulator], list[Row]], dict[str, Any]]] = {
    "Opening": (opening, {}),
    "Manual mode": (manual, {}),
    "VAD mode": (vad, {}),
    "Text only": (text, {}),
    "Interruption by speech": (interruption, {"answer": _long}),
    "Cancelling": (cancelling, {"answer": _long, "cancel_sends_done": True}),
    "A function call": (functions, {"answer": _calls}),
    "A refusal": (refusal, {}),
}


@pytest.mark.parametrize("name", ACTS)
def test_a_flow_happens_as_it_is_drawn(name: str) -> None:
    act, options = ACTS[name]
    with Emulator(**options) as emulator:
        rows = act(emulator)
        emulator.check()
    compare(parse(FLOWS[name]), rows)


def test_every_flow_is_played() -> None:
    assert set(FLOWS) == set(ACTS)


def test_flows_name_methods_that_exist() -> None:
    for text_ in FLOWS.values():
        for step in parse(text_):
            for part in filter(None, step.left.split(", ")):
                name = part.removeprefix("session.").removeprefix("call.").partition("(")[0]
                owner = rt.FunctionCall if part.startswith("call.") else rt.RealtimeSession
                assert hasattr(owner, name), part


def test_a_wrong_flow_is_noticed() -> None:
    steps = parse("session.commit() -> input_audio_buffer.commit\n<- input_audio_buffer.committed")
    good: list[Row] = [(True, "input_audio_buffer.commit", []), (False, "input_audio_buffer.committed", [])]
    compare(steps, good)
    called: Row = (False, "input_audio_buffer.committed", ["on_done"])
    for bad in (good[:1], good[1:], [*good, (False, "error", ["on_error"])], [good[0], called], [*good, good[1]]):
        with pytest.raises(AssertionError):
            compare(steps, bad)
    with pytest.raises(ValueError, match="no row"):
        parse("what is this")


def test_a_drawing_holds_every_event_and_no_script() -> None:
    page = "".join(map(drawn, FLOWS.values()))
    assert "<script" not in page
    assert page.replace("<wbr>", "").count("input_audio_buffer.committed") >= 2
