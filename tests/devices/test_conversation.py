"""Conversation: hands-free and push-to-talk, echo, recording, its end."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import pytest

import dashscope_rt as rt
from dashscope_rt.audio import FakeDevice, level_db, read_wav
from dashscope_rt.audio.pcm import samples
from dashscope_rt.testing import Answer
from tests.peer import SOON

from .talk import BLOCK, LONG, Talk, speech, spoken, talking


def appended(at: Talk) -> bytes:
    """All the audio that the emulator got."""
    import base64

    return b"".join(
        base64.b64decode(record.event["audio"])
        for record in at.emulator.received
        if record.type == "input_audio_buffer.append"
    )


def manual(answer: object = None, **options: object) -> object:
    return talking(answer, turn_detection=None, timeouts=rt.Timeouts(cancel=0.2), **options)  # type: ignore[arg-type]


def test_hands_free_everything_the_microphone_hears_is_sent_in_its_order() -> None:
    voice = speech(400)
    with talking(device=FakeDevice(voice)) as at:
        at.device.advance(1000)
        at.settle()
        assert appended(at) == voice.pcm + bytes(1000 * 32 - len(voice.pcm))


def test_pressed_and_released_is_one_question_with_exactly_what_was_said_in_between() -> None:
    with manual() as at:  # type: ignore[attr-defined]
        at.device.say(speech(200))
        at.device.advance(300)  # said before: not sent
        voice = speech(500)
        at.device.say(voice)
        at.talk.press()
        at.device.advance(500)
        turn = at.talk.release()
        assert turn is not None
        assert turn.wait().text == LONG
        assert appended(at) == voice.pcm
        kinds = [kind for kind in at.received_types() if kind != "input_audio_buffer.append"]
        assert kinds == ["session.update", "input_audio_buffer.commit", "response.create"]
        at.device.advance(100)
        assert at.talk.speaker.sounding


def test_pressing_interrupts_and_the_next_question_is_answered_even_without_an_end_of_the_last() -> None:
    answers = [spoken(hold_after_ms=1000), Answer("Good.")]
    with manual(answers, emulator={"cancel_sends_done": False}) as at:  # type: ignore[attr-defined]
        at.device.say(speech(1500))
        at.talk.press()
        at.device.advance(500)
        first = at.talk.release()
        at.emulator.wait_for_sent("response.audio.delta", count=10)
        at.settle()
        at.device.advance(300)
        assert at.talk.speaker.sounding
        at.talk.press()
        pressed = at.device.now_ms
        at.device.advance(500)
        assert at.device.sounds[-1].end_ms <= pressed + BLOCK
        second = at.talk.release()
        assert second is not None
        assert second.wait().text == "Good."
        assert first is not None
        assert first.wait().status == "cancelled"
        assert first.heard_ms == pytest.approx(300, abs=BLOCK)
        assert at.received_types().count("response.cancel") == 1


def test_pressing_before_the_answer_has_begun_cancels_it_as_soon_as_it_does() -> None:
    go = threading.Event()

    def answer(heard: object) -> Answer:
        go.wait(SOON)
        return spoken()

    with manual(answer) as at:  # type: ignore[attr-defined]
        at.device.say(speech(2000))
        at.talk.press()
        at.device.advance(500)
        turn = at.talk.release()
        at.emulator.wait_for("response.create")
        at.talk.press()
        go.set()
        at.emulator.wait_for("response.cancel")
        at.device.advance(500)
        assert at.device.sounds == []
        assert at.talk.release() is not None
        assert turn is not None
        assert turn.wait().status in ("cancelled", "completed")


def test_a_slip_of_the_finger_asks_nothing() -> None:
    with manual() as at:  # type: ignore[attr-defined]
        at.device.say(speech(200))
        at.talk.press()
        at.device.advance(100)
        assert at.talk.release() is None
        assert at.received_types() == ["session.update"]


def test_the_button_is_refused_where_it_makes_no_sense() -> None:
    with talking() as at, pytest.raises(RuntimeError, match="turn_detection=None"):
        at.talk.press()
    with manual() as at:  # type: ignore[attr-defined]
        with pytest.raises(RuntimeError, match="not pressed"):
            at.talk.release()
        at.talk.press()
        with pytest.raises(RuntimeError, match="pressed already"):
            at.talk.press()


@pytest.mark.parametrize(("echo", "expected"), [("mute", -math.inf), ("duck", -24.0), ("headset", 0.0)])
def test_echo_the_microphone_is_muted_ducked_or_left_while_the_speaker_sounds(echo: str, expected: float) -> None:
    with talking(echo=echo) as at:
        at.ask_aloud()
        at.device.advance(500)  # the answer sounds
        at.settle()
        before = len(appended(at))
        at.device.say(speech(400))
        at.device.advance(200)
        at.settle()
        during = appended(at)[before:]
        loud = level_db(speech(400).pcm)
        assert level_db(during) == pytest.approx(loud + expected, abs=1.0)


def test_muted_the_microphone_is_heard_again_after_the_speaker_and_its_echo() -> None:
    with talking(lambda heard: spoken(), echo="mute") as at:
        at.ask_aloud()
        at.device.advance(20)
        at.session.interrupt()
        at.device.advance(100)
        at.settle()
        assert not any(appended(at)[-100 * 32 :])
        at.device.advance(200)
        at.device.say(speech(200))
        at.device.advance(200)
        at.settle()
        assert any(appended(at)[-100 * 32 :])


def test_a_muted_microphone_sends_silence_and_its_level_goes_on() -> None:
    with talking() as at:
        at.talk.microphone.muted = True
        at.device.say(speech(200))
        at.device.advance(200)
        at.settle()
        assert appended(at) == bytes(200 * 32)
        assert at.talk.microphone.level_db > -20


def test_the_recording_has_you_on_the_left_and_the_model_on_the_right_as_they_met_in_time(tmp_path: Path) -> None:
    pytest.importorskip("soxr")
    path = tmp_path / "talk.wav"
    with talking(record=path) as at:
        at.ask_aloud(600)
        begin = at.device.now_ms
        at.device.advance(1000)
        sounds = at.device.sounds
    wav = read_wav(path)
    assert (wav.channels, wav.rate) == (2, 24_000)
    assert wav.duration_ms == pytest.approx(begin + 1000, abs=BLOCK)
    both = samples(wav.pcm)
    left, right = both[0::2], both[1::2]

    def loud(side: object, start_ms: float, end_ms: float) -> bool:
        return max(map(abs, side[int(start_ms * 24) : int(end_ms * 24)])) > 3000  # type: ignore[index]

    assert loud(left, 0, 100)
    assert loud(left, 500, 590)
    assert not loud(left, 650, begin + 900)
    assert not loud(right, 0, sounds[0].start_ms - 1)
    assert loud(right, sounds[0].start_ms, sounds[0].start_ms + 50)


def test_it_ends_when_the_session_does_and_says_why() -> None:
    with talking() as at:
        at.emulator.drop(1011, "gone")
        assert at.session.wait_closed(SOON).code == 1011
        at.device.advance(200)
        assert at.talk.wait(SOON)
        assert isinstance(at.talk.error, rt.ConnectionClosed)


def test_it_closes_what_it_opened_and_nothing_else() -> None:
    device = FakeDevice()
    with talking(device=device) as at:
        speaker, session = at.talk.speaker, at.session
        assert session.is_open
        at.talk.close()
        assert not session.is_open
        assert not speaker.is_open
        with speaker, rt.Conversation(session, microphone=at.talk.microphone, speaker=speaker) as talk:
            talk.close()
            talk.close()
            assert speaker.is_open


def test_an_echo_that_is_none_of_the_three_is_refused() -> None:
    session = rt.RealtimeClient("sk-test", url="ws://127.0.0.1:9").session()
    with pytest.raises(ValueError, match="mute, duck, headset"):
        rt.Conversation(session, echo="none")  # type: ignore[arg-type]


def test_hardware_that_insists_on_another_rate_is_resampled_both_ways() -> None:
    pytest.importorskip("soxr")
    with talking(device=FakeDevice(rate=48_000)) as at:
        at.ask_aloud()
        at.device.advance(1000)
        at.settle()
        assert at.done[0].heard_ms == pytest.approx(1000, abs=BLOCK)
        sent = len(appended(at)) / 32
        assert sent == pytest.approx(at.device.now_ms, abs=3 * BLOCK)
        at.device.advance(8000)
        assert at.done[0].heard_ms == pytest.approx(6000, abs=BLOCK)
        assert at.done[0].heard_text == LONG
