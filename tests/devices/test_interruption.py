"""Interruption: silent within one block, late audio never sounds, what was heard is told, the next answer plays."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import dashscope_rt as rt
from dashscope_rt.audio import FakeDevice
from dashscope_rt.testing import Answer
from tests.peer import SOON

from .talk import BLOCK, LONG, START, speech, spoken, talking


def test_the_first_sound_comes_within_the_start_threshold_and_one_block_of_the_first_audio() -> None:
    with talking() as at:
        at.ask_aloud()  # the answer is complete, and time stands still
        arrived = at.device.now_ms
        at.device.advance(500)
        assert at.device.sounds[0].start_ms - arrived <= START + BLOCK


def test_the_user_silences_the_speaker_within_one_block() -> None:
    with talking() as at:
        at.ask_aloud()
        at.device.advance(500)
        assert at.talk.speaker.sounding
        noticed = at.speak_until_interrupted()
        at.device.advance(1000)
        assert at.device.sounds[-1].end_ms <= noticed + BLOCK
        assert at.talk.speaker.playhead.buffered_ms == 0
        assert "response.cancel" not in at.received_types(), "in VAD mode the server does that"


@pytest.mark.parametrize("done", ["cancelled", "completed", "incomplete", None])
def test_late_audio_of_an_interrupted_answer_never_sounds_and_the_next_answer_does(done: Any) -> None:
    answers = [spoken(hold_after_ms=1500), Answer("And now something else.")]
    heard: list[str] = []
    with talking(answers, emulator={"late_deltas": 5, "barge_in_done": done}) as at:
        at.session.on_audio_delta(lambda event: heard.append(event.response_id))
        at.device.say(speech(600))
        at.step_until(lambda: "response.created" in at.sent_types())
        at.emulator.wait_for_sent("response.audio.delta", count=15)
        at.settle()
        at.device.advance(300)
        noticed = at.speak_until_interrupted(600)
        late = at.sent_types().count("response.audio.delta")
        assert late > 15, "the emulator did send late audio"
        at.device.advance(1500)
        at.until(lambda: len(at.done) == 2)
        old, new = at.done
        assert heard.count(old.id) == 15, "callbacks that play are spared late audio as well"
        begin = at.device.now_ms
        at.device.advance(600)
        first = [sound for sound in at.device.sounds if sound.end_ms > noticed + BLOCK]
        assert first[0].start_ms >= noticed + BLOCK
        assert first[0].start_ms <= begin + START + BLOCK
        assert at.talk.speaker.playhead.source == new.id
        assert old.heard_ms is not None
        assert new.text == "And now something else."


def test_a_callback_that_takes_its_time_does_not_delay_the_silence() -> None:
    stuck, go_on = threading.Event(), threading.Event()
    with talking() as at:
        at.ask_aloud()
        at.device.advance(300)

        @at.session.on("session.updated")
        def slow(event: object) -> None:
            stuck.set()
            go_on.wait(SOON)

        at.session.update(instructions="Be brief.")
        assert stuck.wait(SOON)
        at.device.say(speech(400))
        for _ in range(20):
            at.device.advance(BLOCK)
            at.session.wait_ack(at.session.update(instructions="Be brief."))  # state runs ahead of callbacks
        silent_since = at.device.sounds[-1].end_ms
        assert at.talk.speaker.playhead.buffered_ms == 0
        assert silent_since < at.device.now_ms - 100
        assert at.interruptions == [], "the callbacks still wait"
        go_on.set()
        at.until(lambda: at.interruptions)
        assert at.interruptions[0].response is at.done[0]


def test_what_was_heard_is_what_came_out_of_the_speaker() -> None:
    with talking(device=FakeDevice(latency_ms=40)) as at:
        at.ask_aloud()
        at.device.advance(1000)
        at.speak_until_interrupted()
        at.device.advance(500)
        interruption = at.interruptions[0]
        response = at.done[0]
        sounded = sum(sound.end_ms - sound.start_ms for sound in at.device.sounds)
        assert interruption.by == "speech"
        assert interruption.response is response
        assert interruption.heard_ms == pytest.approx(sounded, abs=BLOCK)
        assert response.heard_ms == pytest.approx(interruption.heard_ms, abs=0.1)
        assert response.heard_text == interruption.heard_text
        assert interruption.heard_text
        assert LONG.startswith(interruption.heard_text)
        share = len(interruption.heard_text) / len(LONG)
        assert share == pytest.approx(interruption.heard_ms / (len(response.audio) / 48), abs=0.1)
        assert len(at.interruptions) == 1


def test_while_it_sounds_the_playhead_tells_what_was_heard_so_far() -> None:
    with talking(device=FakeDevice(latency_ms=40)) as at:
        at.ask_aloud()
        at.device.advance(100)
        before = at.done[0].heard_ms or 0.0
        at.device.advance(300)
        assert (at.done[0].heard_ms or 0.0) - before == pytest.approx(300)
        playhead = at.talk.speaker.playhead
        assert playhead.sounding
        assert playhead.source == at.done[0].id
        assert playhead.heard_ms == at.done[0].heard_ms
        at.device.advance(20_000)
        assert at.done[0].heard_text == LONG
        assert at.interruptions == []


def test_an_answer_that_was_heard_to_its_end_cannot_be_interrupted() -> None:
    with talking(lambda heard: Answer("Yes.")) as at:
        at.ask_aloud()
        at.device.advance(3000)
        assert not at.talk.speaker.sounding
        at.ask_aloud()
        assert at.interruptions == []


def test_a_server_that_is_told_not_to_interrupt_keeps_its_answer_sounding() -> None:
    vad = rt.ServerVad(silence_duration_ms=500, interrupt_response=False)
    with talking(turn_detection=vad) as at:
        at.ask_aloud()
        at.device.advance(300)
        at.device.say(speech(300))
        at.device.advance(300)
        at.settle()
        assert at.interruptions == []
        assert at.talk.speaker.sounding


def test_interrupt_cancels_in_manual_mode_and_leaves_it_to_the_server_in_vad_mode() -> None:
    with talking(lambda heard: spoken(hold_after_ms=1000)) as at:
        at.device.say(speech(600))
        at.step_until(lambda: "response.created" in at.sent_types())
        at.emulator.wait_for_sent("response.audio.delta", count=10)
        at.settle()
        at.device.advance(200)
        assert at.session.interrupt()
        at.until(lambda: at.interruptions)
        at.settle()
        assert "response.cancel" not in at.received_types()
        ended = at.device.now_ms
        at.device.advance(500)
        assert at.device.sounds[-1].end_ms <= ended + BLOCK
        assert at.interruptions[0].by == "client"
        assert at.session.interrupt() is False, "it was interrupted before"


def test_a_cancelled_answer_is_silent_at_once_even_if_its_end_never_comes() -> None:
    limits = rt.Timeouts(cancel=0.2)
    answers = [spoken(hold_after_ms=1000), Answer("Good.")]
    with talking(answers, turn_detection=None, timeouts=limits, emulator={"cancel_sends_done": False}) as at:
        turn = at.session.ask(speech(500), stream=True)
        at.emulator.wait_for_sent("response.audio.delta", count=10)
        at.settle()
        at.device.advance(400)
        assert at.session.interrupt()
        ended = at.device.now_ms
        at.device.advance(400)
        assert at.device.sounds[-1].end_ms <= ended + BLOCK
        at.emulator.wait_for("response.cancel")
        assert turn.wait().status == "cancelled"
        assert turn.heard_ms == pytest.approx(400, abs=BLOCK)
        assert turn.heard_text
        assert LONG.startswith(turn.heard_text)
        assert at.session.ask(speech(500)).text == "Good."


def test_a_turn_that_nobody_plays_does_not_claim_to_have_been_heard() -> None:
    with talking(turn_detection=None) as at:
        at.session.play_on(None)
        turn = at.session.ask(speech(500))
        assert turn.audio
        assert (turn.heard_ms, turn.heard_text) == (None, None)
