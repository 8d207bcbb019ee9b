"""What waits for the browser, and what it has heard; with a clock that the test turns."""

from __future__ import annotations

import json
import threading

import pytest

from dashscope_rt.web.ear import Ear
from dashscope_rt.web.outgoing import End, Outgoing

MS = 48  # bytes of PCM at 24,000 Hz


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now

    def advance(self, ms: float) -> None:
        self.now += ms / 1000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outgoing() -> Outgoing:
    return Outgoing(10_000, 1_000_000)


@pytest.fixture
def ear(outgoing: Outgoing, clock: Clock) -> Ear:
    return Ear(outgoing, lambda: pytest.fail("too slow"), clock)


def taken(outgoing: Outgoing, count: int) -> list[object]:
    items = [outgoing.take() for _ in range(count)]
    return [json.loads(item) if isinstance(item, str) else item for item in items]


def test_turns_are_numbered_and_begin_with_their_announcement(ear: Ear, outgoing: Outgoing) -> None:
    assert ear.write(bytes(MS * 10), "resp_b", 24_000)
    assert ear.turn("resp_b") == 1
    assert ear.turn("resp_a") == 2
    assert taken(outgoing, 3) == [
        {"type": "response_started", "turn": 1},
        b"\x01\x00\x01\x00" + bytes(MS * 10),
        {"type": "response_started", "turn": 2},
    ]


def test_a_flush_overtakes_and_drops_what_has_not_left(ear: Ear, outgoing: Outgoing) -> None:
    for name in ("one", "two"):
        ear.write(bytes(MS), name, 24_000)
    outgoing.put('{"type":"transcript"}')
    assert ear.stop("two") == ["two"]
    ear.stop("two")
    assert not ear.write(bytes(MS), "two", 24_000), "nothing that still comes of it"
    kinds = [item["type"] for item in taken(outgoing, 4)]
    assert kinds == ["flush", "response_started", "response_started", "transcript"]
    assert outgoing.audio_ms == 0


def test_between_two_reports_a_quarter_of_a_second_counts(ear: Ear, clock: Clock) -> None:
    ear.write(bytes(MS * 5000), "one", 24_000)
    ear.played(1, 1000)
    assert ear.heard_ms("one") == 1000
    clock.advance(200)
    assert ear.heard_ms("one") == pytest.approx(1200)
    clock.advance(2000)
    assert ear.heard_ms("one") == pytest.approx(1250)
    ear.stop("one")
    clock.advance(50)
    assert ear.given_ms("one") == pytest.approx(1250)
    ear.played(1, 1233)  # exactly, after the flush
    assert ear.heard_ms("one") == pytest.approx(1233)


def test_reports_never_go_back_nor_beyond_what_was_sent(ear: Ear) -> None:
    ear.write(bytes(MS * 100), "one", 24_000)
    ear.played(1, 60)
    ear.played(1, 40)
    assert ear.heard_ms("one") == 60
    ear.played(1, 1e9)
    assert ear.heard_ms("one") == 100
    ear.played(7, 50)  # of no turn
    assert ear.unheard() == []


def test_a_browser_that_never_reports_plays_in_real_time(ear: Ear, clock: Clock) -> None:
    ear.write(bytes(MS * 300), "one", 24_000)
    clock.advance(100)
    assert ear.unheard() == ["one"]
    assert ear.heard_ms("one") == pytest.approx(100)
    clock.advance(1000)
    assert ear.unheard() == []


def test_what_is_still_to_sound(ear: Ear) -> None:
    ear.write(bytes(MS * 100), "one", 24_000)
    ear.write(bytes(MS * 100), "two", 24_000)
    ear.end("one")
    ear.played(1, 100)
    assert ear.unheard() == ["two"]
    assert ear.stop() == ["one", "two"]
    assert ear.unheard() == []
    assert ear.heard_ms("nobody's") == 0


def test_too_much_audio_is_told_and_not_queued(outgoing: Outgoing, clock: Clock) -> None:
    slow = threading.Event()
    ear = Ear(outgoing, slow.set, clock)
    assert ear.write(bytes(MS * 9_990), "one", 24_000)
    assert not slow.is_set()
    assert not ear.write(bytes(MS * 20), "one", 24_000)
    assert slow.is_set()


def test_what_was_sent_and_has_not_sounded_is_bounded_whatever_the_server_takes(outgoing: Outgoing, clock: Clock) -> None:
    slow = threading.Event()
    ear = Ear(outgoing, slow.set, clock, ahead_ms=1000)
    for turn in range(1, 4):
        assert ear.write(bytes(MS * 900), f"resp_{turn}", 24_000)
        taken(outgoing, 2)
        ear.played(turn, 900)
    assert ear.write(bytes(MS * 900), "resp_4", 24_000)
    taken(outgoing, 2)
    assert not ear.write(bytes(MS * 200), "resp_4", 24_000)
    assert slow.is_set()
    ear.stop("resp_4")
    assert ear.write(bytes(MS * 900), "resp_5", 24_000), "what was flushed does not count"


def test_too_many_bytes_are_too_much() -> None:
    outgoing = Outgoing(1e9, 1000)
    assert outgoing.put("x" * 900)
    assert not outgoing.put("y" * 200)
    assert outgoing.take() == "x" * 900
    assert outgoing.put("y" * 200)


def test_a_message_with_a_key_replaces_the_one_before_where_it_stands(outgoing: Outgoing) -> None:
    outgoing.put("T", "transcript")
    outgoing.put("other")
    outgoing.put("Text", "transcript")
    assert [outgoing.take(), outgoing.take()] == ["Text", "other"]
    outgoing.put("Text!", "transcript")
    assert outgoing.take() == "Text!"


def test_the_end_leaves_audio_out_and_comes_once(outgoing: Outgoing) -> None:
    outgoing.put("error")
    outgoing.put_audio(1, bytes(MS), 1.0)
    assert outgoing.end("closed", End(1000, "bye"))
    assert not outgoing.end("closed again", End(1011, ""))
    outgoing.put("too late")
    outgoing.flush(1)
    assert [outgoing.take() for _ in range(4)] == ["error", "closed", End(1000, "bye"), End(1000, "bye")]


def test_a_session_that_speaks_for_hours_keeps_little(ear: Ear, outgoing: Outgoing) -> None:
    for number in range(2000):
        ear.write(bytes(MS), f"resp_{number}", 24_000)
        taken(outgoing, 2)
    assert len(ear._by_id) <= 64
