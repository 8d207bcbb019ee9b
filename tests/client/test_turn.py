"""What a Turn tells: times in order, tokens, and a look at it that hides what was said unless it is asked for."""

from __future__ import annotations

import base64
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from dashscope_rt import Response, Timing, Turn
from dashscope_rt._session import asking as _asking
from dashscope_rt.audio import read_wav, wav_bytes
from tests.client.test_asking import QUESTION, play, speech, take_audio
from tests.client.wire import (
    PCM,
    Background,
    Dialled,
    audio_delta,
    call_item,
    calling,
    committed,
    dialled,
    manual,
    message,
    output_item,
    response_created,
    response_done,
    speech_started,
    speech_stopped,
    speech_text_delta,
    spoken,
    text_delta,
    transcribed,
    written,
)
from tests.peer import SOON

SECRET = "<b>geheim</b> & mehr"


def asked(at: Dialled, events: list[dict[str, Any]], **options: Any) -> Turn:
    asking = Background(at.session.ask, **options)
    at.line.read_event("response.create")
    play(at, events)
    turn = asking.result()
    assert isinstance(turn, Turn)
    return turn


def in_order(timing: Timing) -> None:
    values = [value for value in attrs.astuple(timing) if value is not None]
    assert values == sorted(values)
    assert all(value >= 0 for value in values)


# ---- times --------------------------------------------------------------------------------------------------------


def test_the_times_of_a_manual_turn_are_in_order() -> None:
    with manual() as at:
        asking = Background(at.session.ask, QUESTION)
        take_audio(at)
        at.line.send(committed())
        at.line.read_event("response.create")
        play(at, spoken())
        timing = asking.result().timing
    values = attrs.asdict(timing)
    assert values.pop("speech_stopped_ms") is None
    assert None not in values.values()
    assert timing.sent_ms <= timing.response_created_ms <= timing.first_text_ms <= timing.first_audio_ms <= timing.done_ms
    assert 0 <= timing.latency_ms < 5000


def test_the_times_of_a_vad_turn_are_in_order() -> None:
    with dialled() as at:
        asking = Background(at.session.ask, QUESTION)
        speech(at, len(QUESTION) + 32 * 1300)
        play(at, [speech_started(), speech_stopped(), committed(), *spoken()])
        timing = asking.result().timing
    in_order(timing)
    assert timing.sent_ms <= timing.speech_stopped_ms <= timing.response_created_ms
    assert timing.latency_ms == pytest.approx(timing.first_text_ms - timing.speech_stopped_ms)


def test_the_question_was_sent_before_its_answer_began_however_fast_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer may begin before the asking thread runs again."""
    create = _asking.TurnTaking._create

    def slow(taking: _asking.TurnTaking, turn: Turn, instructions: str | None) -> Any:
        made = create(taking, turn, instructions)
        turn._connection.wait_until(lambda: turn.responses, time.monotonic() + SOON, "the answer")
        return made

    monkeypatch.setattr(_asking.TurnTaking, "_create", slow)
    with manual() as at:
        timing = asked(at, written()).timing
    in_order(timing)
    assert timing.sent_ms is not None


def test_the_times_of_a_turn_with_functions_are_those_of_what_came_first() -> None:
    with manual(on_function_call=lambda call: call.respond("x")) as at:
        asking = Background(at.session.ask)
        at.line.read_event("response.create")
        first = calling(call_item("call_1"))
        play(at, [first[0], text_delta("Let me see."), *first[1:]])
        at.line.read_event("conversation.item.create")
        at.line.send(output_item("call_1"))
        at.line.read_event("response.create")
        play(at, spoken("22.", "resp_2"))
        timing = asking.result().timing
    assert timing.sent_ms <= timing.response_created_ms <= timing.first_text_ms <= timing.first_audio_ms <= timing.done_ms


def test_what_did_not_happen_has_no_time() -> None:
    with manual() as at:
        timing = asked(at, [response_created(), response_done()]).timing
    assert (timing.first_text_ms, timing.first_audio_ms, timing.latency_ms) == (None, None, None)
    assert timing.done_ms is not None


def test_the_latency_is_from_the_end_of_the_question_to_the_first_piece() -> None:
    assert Timing(sent_ms=100, first_text_ms=350, first_audio_ms=300).latency_ms == 200
    assert Timing(sent_ms=100, speech_stopped_ms=250, first_audio_ms=300).latency_ms == 50
    assert Timing(sent_ms=100).latency_ms is None
    assert Timing(first_text_ms=100).latency_ms is None


# ---- tokens -------------------------------------------------------------------------------------------------------


def test_a_turn_without_usage_has_none() -> None:
    with manual() as at:
        assert asked(at, [response_created(), response_done(usage=None)]).usage is None


def test_usage_is_summed_over_the_responses_that_tell_it() -> None:
    one = {"total_tokens": 5, "input_tokens": 3, "output_tokens": 2, "output_tokens_details": {"text_tokens": 2}}
    two = {"total_tokens": 7, "input_tokens": 3, "output_tokens": 4, "output_tokens_details": {"audio_tokens": 4}}
    with manual(on_function_call=lambda call: call.respond("x")) as at:
        asking = Background(at.session.ask)
        at.line.read_event("response.create")
        play(at, [*calling(call_item("call_1"))[:-1], response_done("resp_1", call_item("call_1"), usage=one)])
        at.line.read_event("conversation.item.create")
        at.line.send(output_item("call_1"))
        at.line.read_event("response.create")
        play(at, [response_created("resp_2"), response_done("resp_2", usage=two)])
        usage = asking.result().usage
    assert (usage.total_tokens, usage.input_tokens, usage.output_tokens) == (12, 6, 6)
    assert (usage.output_tokens_details.text_tokens, usage.output_tokens_details.audio_tokens) == (2, 4)
    assert usage.input_tokens_details is None


# ---- what is heard ------------------------------------------------------------------------------------------------


def test_save_writes_what_every_player_opens(tmp_path: Path) -> None:
    with manual() as at:
        turn = asked(at, spoken(pcm=(PCM, PCM, PCM)))
    turn.save(tmp_path / "answer ü.wav")
    wav = read_wav(tmp_path / "answer ü.wav")
    assert (wav.pcm, wav.rate, wav.channels) == (PCM * 3, 24000, 1)


def test_a_written_answer_has_nothing_to_save(tmp_path: Path) -> None:
    with manual() as at:
        turn = asked(at, written())
    with pytest.raises(ValueError, match="no audio"):
        turn.save(tmp_path / "answer.wav")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", ["one file", "a file for each", "a header of its own"])
def test_the_headers_of_wav_answers_are_taken_off(cut: str) -> None:
    """How the service cuts a WAV into deltas is not documented."""
    pieces = {
        "one file": (wav_bytes(PCM + PCM, 24000)[: 44 + len(PCM)], PCM),
        "a file for each": (wav_bytes(PCM, 24000), wav_bytes(PCM, 24000)),
        "a header of its own": (wav_bytes(PCM + PCM, 24000)[:44], PCM, PCM),
    }[cut]
    with manual() as at:
        assert asked(at, spoken(pcm=pieces)).audio == PCM + PCM


def test_audio_that_cannot_be_decoded_does_not_hide_the_rest_of_the_turn() -> None:
    bad = {**audio_delta(), "delta": "%%%"}
    with manual() as at:
        turn = asked(at, [response_created(), speech_text_delta("Sunny."), bad, audio_delta(), response_done()])
    assert turn.text == "Sunny."
    assert turn.status == "completed"
    assert "Sunny" not in repr(turn)
    assert "Sunny." in turn._repr_mimebundle_()["text/plain"]
    assert [piece.audio for piece in list(turn)[2:]] == [PCM]


# ---- how it looks -------------------------------------------------------------------------------------------------


def test_repr_hides_what_was_said_and_str_gives_it() -> None:
    with manual() as at:
        turn = asked(at, [transcribed(SECRET), *spoken(SECRET)])
        pieces = repr(list(turn))
    assert "geheim" not in repr(turn)
    assert "geheim" not in pieces
    assert f"<{len(SECRET)} chars>" in repr(turn)
    assert f"<{2 * len(PCM)} bytes at 24000 Hz>" in repr(turn)
    assert "completed" in repr(turn)
    assert str(turn) == SECRET


def test_repr_of_a_turn_that_runs() -> None:
    with manual() as at:
        turn = at.session.ask(stream=True)
        assert "in_progress" in repr(turn)
        at.line.read_event("response.create")
        play(at, [response_created(), audio_delta()])
        at.settle()
        assert "in_progress" in repr(turn)
        play(at, [response_done()])
        turn.wait()


def test_a_notebook_shows_player_transcript_and_times_with_everything_escaped() -> None:
    with manual() as at:
        turn = asked(at, [transcribed("Und <du>?"), *spoken(SECRET)])
    bundle = turn._repr_mimebundle_(include=None, exclude=None)
    page, plain = bundle["text/html"], bundle["text/plain"]
    assert "&lt;b&gt;geheim&lt;/b&gt; &amp; mehr" in page
    assert "<b>geheim" not in page
    assert "Und &lt;du&gt;?" in page
    player = re.search(r'<audio controls[^>]*src="data:audio/wav;base64,([^"]+)"', page)
    assert player is not None
    assert base64.b64decode(player.group(1)) == wav_bytes(PCM + PCM, 24000)
    assert "<script" not in page
    assert re.search(r"[\d.]+ m?s</b>", page)
    assert ">30</b>" in page  # tokens
    assert "Und <du>?" in plain
    assert SECRET in plain
    assert re.search(r"first audio [\d.]+ m?s", plain)
    assert "tokens 30" in plain


def test_a_notebook_shows_a_written_answer_and_calls_without_a_player() -> None:
    with manual() as at:
        turn = asked(at, calling(call_item("call_1", "f<g>", '{"x": "<&>"}')))
    bundle = turn._repr_mimebundle_()
    assert "<audio" not in bundle["text/html"]
    assert "f&lt;g&gt;({&quot;x&quot;: &quot;&lt;&amp;&gt;&quot;})" in bundle["text/html"]
    assert 'f<g>({"x": "<&>"})' in bundle["text/plain"]


def test_a_notebook_can_show_a_turn_that_failed_or_still_runs() -> None:
    with manual() as at:
        turn = at.session.ask(stream=True)
        assert "in_progress" in turn._repr_mimebundle_()["text/plain"]
        at.line.read_event("response.create")
        play(at, [response_created(), response_done(status="failed")])
        with pytest.raises(Exception, match="failed"):
            turn.wait()
        assert "failed" in turn._repr_mimebundle_()["text/plain"]
        assert "failed" in turn._repr_mimebundle_()["text/html"]


def test_the_text_of_several_answers_is_joined_by_lines() -> None:
    with manual(on_function_call=lambda call: call.respond("x")) as at:
        asking = Background(at.session.ask)
        at.line.read_event("response.create")
        first = calling(call_item("call_1"))
        play(at, [first[0], text_delta("Let me see."), *first[1:]])
        at.line.read_event("conversation.item.create")
        at.line.send(output_item("call_1"))
        at.line.read_event("response.create")
        play(at, written("22.", "resp_2"))
        assert asking.result().text == "Let me see.\n22."


def test_the_final_text_wins_over_its_pieces() -> None:
    with manual() as at:
        events = written("Sunny.")
        events[6]["text"] = "Sunny and warm."
        assert asked(at, events).text == "Sunny and warm."


def test_an_answer_known_only_from_response_done_has_its_text() -> None:
    with manual() as at:
        turn = asked(at, [response_created(), response_done("resp_1", message("Whole.", kind="audio"))])
    assert turn.text == "Whole."


def test_a_text_in_several_parts_is_put_together_part_by_part() -> None:
    def part(text: str, index: int, item: str) -> dict[str, Any]:
        return {**text_delta(text, item=item), "content_index": index}

    with manual() as at:
        pieces = [part("One ", 0, "a"), part("three ", 1, "a"), part("two ", 0, "a"), part("five.", 0, "b"), part("four ", 1, "a")]
        assert asked(at, [response_created(), *pieces, response_done()]).text == "One two three four five."


# ---- while it grows -----------------------------------------------------------------------------------------------


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns after every few bytecodes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def read_all_the_time(look: Callable[[], object], grow: Callable[[], object]) -> None:
    """Look at something on two threads while it grows on this one."""
    over, ready = threading.Event(), threading.Barrier(3, timeout=SOON)

    def reading() -> None:
        look()
        ready.wait()
        while not over.is_set():
            look()

    readers = [Background(reading) for _ in range(2)]
    try:
        ready.wait()
        grow()
    finally:
        over.set()
    for reader in readers:
        reader.result()


@pytest.mark.usefixtures("restless")
def test_a_response_can_be_read_while_it_grows() -> None:
    responses = [Response("resp_1", 0.0, 24000)]

    def grow() -> None:
        for _ in range(40):
            response = Response("resp_1", 0.0, 24000)
            responses.append(response)
            for number in range(500):
                response._add_text(f"item_{number}", 0, "x", 1.0)
                response._set_text(f"item_{number}", 1, "y", 1.0)

    read_all_the_time(lambda: (responses[-1].text, responses[-1].audio, repr(responses[-1])), grow)
    assert responses[-1].text.count("x") == 500


@pytest.mark.usefixtures("restless")
def test_a_turn_can_be_read_while_it_grows() -> None:
    with manual() as at:
        turn = at.session.ask(stream=True)
        at.line.read_event("response.create")

        def grow() -> None:
            play(at, [response_created()])
            for number in range(300):
                at.line.send_at_once(transcribed("a", f"item_{number}"), text_delta("x", item=f"item_{number}"))
            play(at, [response_done()])
            turn.wait()

        read_all_the_time(lambda: (turn.text, turn.input_transcript, repr(turn), turn.usage), grow)
        assert turn.input_transcript == " ".join("a" * 300)
