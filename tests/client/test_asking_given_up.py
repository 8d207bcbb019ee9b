"""A question that is given up (Ctrl-C, a deadline, a broken source, a loop that is left) leaves nothing to the next one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dashscope_rt import BadRequestError, ConnectionClosed, DeadlineExceeded
from tests.client.test_asking import QUESTION, play, take_audio
from tests.client.wire import (
    PCM,
    Background,
    Dialled,
    Heard,
    audio_delta,
    committed,
    dialled,
    error_event,
    manual,
    response_created,
    response_done,
    text_delta,
    text_item,
    user_item,
    written,
)


def next_question(at: Dialled) -> Background:
    asking = Background(at.session.ask, text="Next?")
    at.line.read_event("conversation.item.create")
    at.line.send(text_item("Next?"))
    return asking


def broken_off(error: BaseException) -> Iterator[bytes]:
    yield QUESTION[:3200]
    raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("the microphone is gone")], ids=["ctrl-c", "source"])
@pytest.mark.parametrize("detection", ["manual", "vad"])
def test_half_a_question_does_not_become_a_part_of_the_next(error: BaseException, detection: str) -> None:
    with manual() if detection == "manual" else dialled() as at:
        assert Background(at.session.ask, broken_off(error)).error() is error
        assert [event["type"] for event in at.sees_nothing()] == ["input_audio_buffer.append", "input_audio_buffer.clear"]
        assert not at.session.has_audio


def test_a_question_that_was_committed_is_not_taken_back() -> None:
    with manual() as at:
        turn = at.session.ask(QUESTION, stream=True)
        take_audio(at)
        turn._abandon()
        at.line.send(committed())
        assert at.sees_nothing() == []


def test_a_question_whose_commit_was_refused_is_taken_back() -> None:
    with manual() as at:
        asking = Background(at.session.ask, bytes(3200))
        _, _, commit = take_audio(at)
        at.line.send(error_event("buffer too small", event_id=commit["event_id"]))
        assert isinstance(asking.error(), BadRequestError)
        assert [event["type"] for event in at.sees_nothing()] == ["input_audio_buffer.clear"]


def test_audio_that_was_there_before_a_written_question_stays() -> None:
    with manual() as at:
        at.session.append_audio(PCM)
        turn = at.session.ask(text="And in writing?", stream=True)
        at.line.read_event("conversation.item.create")
        turn._abandon()
        at.line.send(text_item("And in writing?"))
        assert at.sees_nothing() == []


def test_an_answer_that_had_not_begun_when_it_was_given_up_is_not_the_next_ones() -> None:
    interrupted = Heard()
    with manual(on_interrupted=interrupted) as at:
        turn = at.session.ask(stream=True)
        at.line.read_event("response.create")
        turn._abandon()  # Ctrl-C while the model thinks
        asking = next_question(at)
        play(at, [response_created("resp_old"), text_delta("The old", "resp_old")])
        assert at.line.read_event()["type"] == "response.cancel"
        play(at, [text_delta(" answer.", "resp_old"), response_done("resp_old", status="cancelled")])
        assert at.line.read_event()["type"] == "response.create"
        play(at, written("The new answer.", "resp_new"))
        answer = asking.result()
        assert interrupted.get().response.id == "resp_old"
    assert answer.text == "The new answer."
    assert [response.id for response in answer.responses] == ["resp_new"]
    with pytest.raises(ConnectionClosed, match="interrupted"):
        turn.wait()


def test_an_answer_that_began_after_the_deadline_is_not_the_next_ones() -> None:
    with manual() as at:
        asking = Background(at.session.ask, timeout=0.2)
        at.line.read_event("response.create")
        assert isinstance(asking.error(), DeadlineExceeded)
        asking = next_question(at)
        play(at, [response_created("resp_old"), text_delta("The old", "resp_old")])
        assert at.line.read_event()["type"] == "response.cancel"
        play(at, [response_done("resp_old", status="cancelled")])
        assert at.line.read_event()["type"] == "response.create"
        play(at, written("The new answer.", "resp_new"))
        assert asking.result().text == "The new answer."


def test_ctrl_c_silences_what_sounds() -> None:
    interrupted = Heard()
    with manual(on_interrupted=interrupted) as at:
        turn = at.session.ask(stream=True)
        at.line.read_event("response.create")
        play(at, [response_created(), audio_delta()])
        assert next(piece for piece in turn if piece.kind == "audio").audio == PCM
        turn._abandon()
        assert at.line.read_event()["type"] == "response.cancel"
        assert interrupted.get().by == "client"


def test_a_stream_that_was_left_is_stopped_by_the_next_question() -> None:
    with manual() as at:
        turn = at.session.ask(stream=True)
        at.line.read_event("response.create")
        play(at, [response_created("resp_old"), text_delta("The old", "resp_old")])
        for _ in turn:
            break
        assert at.sees_nothing() == []
        asking = Background(at.session.ask, QUESTION)
        assert at.line.read_event()["type"] == "response.cancel"
        play(at, [response_done("resp_old", status="cancelled")])
        take_audio(at)
        play(at, [committed(), user_item()])
        at.line.read_event("response.create")
        play(at, written("The new answer.", "resp_new"))
        assert asking.result().text == "The new answer."
        assert turn.status == "cancelled"


def test_a_stream_that_was_read_to_its_end_is_left_alone() -> None:
    """What runs by then was asked for by somebody else."""
    interrupted = Heard()
    with manual(on_interrupted=interrupted) as at:
        turn = at.session.ask(stream=True)
        at.line.read_event("response.create")
        play(at, written())
        assert "".join(piece.text for piece in turn) == turn.text
        at.session.create_response()
        at.line.read_event("response.create")
        at.line.send(response_created("resp_other"))
        at.settle()
        asking = Background(at.session.ask)
        play(at, written("Another.", "resp_other")[1:])
        assert at.line.read_event()["type"] == "response.create", "and no response.cancel before it"
        play(at, written("The next.", "resp_next"))
        assert asking.result().text == "The next."
        assert interrupted.all == []


def test_a_stream_that_was_left_and_is_waited_for_goes_on() -> None:
    with manual() as at:
        turn = at.session.ask(stream=True)
        at.line.read_event("response.create")
        play(at, [response_created(), text_delta("The")])
        for _ in turn:
            break
        waiting = Background(turn.wait)
        asking = Background(at.session.ask, timeout=0.2)
        assert isinstance(asking.error(), DeadlineExceeded)
        assert at.sees_nothing() == []
        play(at, written("The answer."))
        assert waiting.result().text.endswith("The answer.")
