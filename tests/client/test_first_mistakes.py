"""What a new user gets wrong first: told at once, in one sentence, with the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dashscope_rt import RealtimeClient
from tests.client.test_asking import JPEG, play, take_audio
from tests.client.wire import dialled, manual, spoken


def test_one_picture_needs_no_list() -> None:
    with manual() as at:
        turn = at.session.ask(images=JPEG, stream=True)
        assert take_audio(at)[1].count("input_image_buffer.append") == 1
        turn._abandon()


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda client: client.ask(), ValueError, "no question: give audio, text=… or images"),
        (lambda client: client.ask(text="?", stream=True), TypeError, r"session.ask\(…, stream=True\)"),
        (lambda client: client.ask("What is it?"), FileNotFoundError, "a written question goes into text"),
        (lambda client: client.session(vad=None), TypeError, r"'vad'; what you want is turn_detection \(ServerVad"),
        (lambda client: client.session(system="Be brief."), TypeError, "'system'; what you want is instructions"),
    ],
)
def test_a_first_mistake_is_told_before_anything_is_opened(call: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        call(RealtimeClient("sk-1", url="ws://127.0.0.1:9/x"))


def test_a_misspelt_event_is_warned_of_and_an_unknown_one_is_not() -> None:
    session = RealtimeClient("sk-1", url="ws://127.0.0.1:9/x").session()
    with pytest.warns(UserWarning, match=r"did you mean 'response\.audio\.delta'\?") as caught:
        session.on("response.audo.delta")(print)
    assert caught[0].filename == __file__
    session.on("something.new")(print)
    session.on("response.audio.delta")(print)


def test_the_state_and_the_rate_are_told_at_any_time() -> None:
    with manual() as at:
        session = at.session
        assert (session.state, session.output_rate) == ("open", 24000)
    assert (session.state, session.output_rate) == ("closed", 24000)
    fresh = RealtimeClient("sk-1", url="ws://127.0.0.1:9/x").session()
    assert (fresh.state, fresh.output_rate, fresh.input_rate) == ("new", 24000, 16000)


def test_commit_is_refused_where_the_service_ends_the_turns() -> None:
    with dialled() as at:
        with pytest.raises(ValueError, match="in VAD mode the service ends the turns itself"):
            at.session.commit()
        assert at.sees_nothing() == []


def test_a_file_is_not_saved_under_the_name_of_another_format(tmp_path: Path) -> None:
    with manual() as at:
        turn = at.session.ask(stream=True)
        at.line.read_event("response.create")
        play(at, spoken())
        turn.wait()
        with pytest.raises(ValueError, match=r"save\(\) writes WAV, and .*answer\.mp3 would be taken for \.mp3"):
            turn.save(tmp_path / "answer.mp3")
        turn.save(tmp_path / "answer.WAV")
    assert [path.name for path in tmp_path.iterdir()] == ["answer.WAV"]
