"""Everything that takes time, with a clock that stands still until told."""

from __future__ import annotations

from typing import Any

import pytest

from dashscope_rt.testing import Answer
from dashscope_rt.testing._session import Ending

from .talk import MANUAL, TEXT_ONLY, Event, Machine, read, silence

VOICE = Answer("One two three four five six seven eight nine ten.", audio=silence(2000, 24000))


def create(machine: Machine) -> None:
    machine.append(silence(200))
    machine.send("input_audio_buffer.commit")
    machine.send("response.create")
    machine.events()


def deltas(events: list[Event]) -> int:
    return sum(event["type"] == "response.audio.delta" for event in events)


@pytest.mark.parametrize(("pace", "seconds"), [(1.0, 2.0), (0.5, 1.0), (3.0, 6.0)])
def test_the_pace_makes_an_answer_last(pace: float, seconds: float) -> None:
    machine = Machine([VOICE], pace=pace)
    machine.update(**MANUAL)
    create(machine)
    assert deltas(machine.wait()) == 1
    assert deltas(machine.wait(seconds / 2 + 0.01)) == 10
    assert machine.wait(seconds / 2 - 0.02)[-1]["type"] == "response.audio.delta"
    assert machine.wait(0.02)[-1]["type"] == "response.done"


def test_without_pace_an_answer_is_there_at_once() -> None:
    machine = Machine([VOICE])
    machine.update(**MANUAL)
    create(machine)
    assert machine.wait()[-1]["type"] == "response.done"


def test_text_is_paced_too() -> None:
    machine = Machine(["one two three four five six seven eight nine ten"], pace=1.0)
    machine.update(**MANUAL, **TEXT_ONLY)
    create(machine)
    events = [*machine.wait(), *machine.wait(0.26)]
    assert sum(event["type"] == "response.text.delta" for event in events) == 6
    assert machine.wait(0.3)[-1]["type"] == "response.done"


def test_a_paced_answer_is_cut_at_once() -> None:
    machine = Machine([VOICE], pace=1.0, cancel_sends_done=True)
    machine.update(**MANUAL)
    create(machine)
    machine.wait(0.45)
    machine.send("response.cancel")
    response = machine.events()[-1]["response"]
    assert response["status"] == "cancelled"
    assert response["usage"]["output_tokens_details"]["audio_tokens"] == 13
    assert machine.wait(5) == []


def test_an_answer_that_holds_goes_on_when_released() -> None:
    machine = Machine([Answer("One two.", audio=silence(500, 24000), hold_after_ms=200)])
    machine.update(**MANUAL)
    create(machine)
    assert deltas(machine.wait(100)) == 2
    assert machine.session.due is not None
    machine.session.release(machine.now)
    events = machine.wait()
    assert deltas(events) == 3
    assert events[-1]["response"]["status"] == "completed"


def prompted(**variants: Any) -> Machine:
    machine = Machine(**variants)
    machine.update(turn_detection={"idle_timeout_ms": 5000})
    machine.events()
    return machine


def test_after_the_idle_timeout_the_server_speaks_first() -> None:
    machine = prompted()
    assert machine.wait(4.9) == []
    events = machine.wait(0.2)
    assert events[0]["type"] == "response.created"
    assert "silent" in events[-1]["response"]["output"][0]["content"][0]["transcript"]
    assert machine.wait(20) == []


def test_the_idle_timeout_can_be_made_short() -> None:
    assert prompted(idle_timeout_scale=0.01).wait(0.06)[0]["type"] == "response.created"


def test_speech_starts_the_idle_timeout_again() -> None:
    machine = prompted()
    machine.wait(4)
    machine.append(read("weather_en")[0] + silence(200))
    assert machine.wait(0.1)[-1]["type"] == "response.done"
    assert machine.wait(4) == []
    assert machine.wait(1.1)[0]["type"] == "response.created"


def test_no_prompt_while_the_user_speaks() -> None:
    machine = prompted()
    pcm, _ = read("weather_en")
    machine.append(pcm[: len(pcm) // 2])
    machine.events()
    assert machine.wait(20) == []


def test_a_session_without_responses_is_closed() -> None:
    machine = Machine()
    machine.events()
    assert machine.wait(299) == []
    machine.session.advance(machine.now)
    machine.now += 1
    machine.session.advance(machine.now)
    error, ending = machine.take()
    text = "Your session was closed because no response was generated for 300 seconds."
    assert isinstance(error, dict)
    assert error["error"] == {"code": "response_idle_timeout", "message": text}
    assert ending == Ending(1011, text)
    assert machine.session.due is None


def test_audio_does_not_keep_it_open_but_a_response_does() -> None:
    machine = Machine(["Yes."], response_idle_s=10)
    machine.update(**MANUAL)
    machine.wait(9)
    create(machine)
    machine.wait(0)
    machine.append(silence(100))
    assert machine.wait(9) == []
    machine.now += 2
    machine.session.advance(machine.now)
    assert [item["error"]["code"] for item in machine.take() if isinstance(item, dict)] == ["response_idle_timeout"]


@pytest.mark.parametrize(("limit", "seconds"), [(None, 7200), (0.5, 0.5)])
def test_a_session_has_a_longest_time(limit: float | None, seconds: float) -> None:
    machine = Machine(session_limit_s=limit, response_idle_s=1e9)
    machine.events()
    assert machine.session.due == 1000 + seconds
    machine.session.advance(1000 + seconds)
    assert machine.take() == [Ending(1000, "The session has reached its maximum duration.")]


def test_nothing_is_taken_after_the_end() -> None:
    machine = Machine(session_limit_s=1)
    machine.session.advance(1001)
    machine.take()
    machine.send("session.update", session={})
    machine.session.advance(2000)
    assert machine.take() == []


def test_an_answer_that_comes_too_late_is_forgotten() -> None:
    machine = Machine(lambda heard: "Yes.")
    machine.update(**MANUAL)
    create(machine)
    question = machine.session.question
    assert question is not None
    machine.send("response.cancel")
    machine.events()
    machine.session.answered(question, Answer("Late."), machine.now)
    assert machine.wait() == []
