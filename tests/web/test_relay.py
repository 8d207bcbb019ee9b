"""One browser, one session, and the emulator: what is promised in `dashscope_rt.web.relay`."""

from __future__ import annotations

import itertools
import json
import logging
import sys
import threading
import time
from typing import Any

import pytest

from dashscope_rt import Interruption, Response
from dashscope_rt.audio import chunks
from dashscope_rt.testing import Answer, Emulator
from dashscope_rt.web.microphone import Line
from dashscope_rt.web.relay import Bounds

from ..peer import Peer
from .browser import SOON
from .conftest import sent_audio, spoken
from .servers import ROOT
from .tab import Running


def test_the_order_and_the_contents_of_a_spoken_turn(emulator: Emulator) -> None:
    with Running(emulator.url, rate=48_000) as tab:
        for piece in chunks(spoken(48_000), 40, 48_000):
            tab.binary(1, piece)
        done = tab.wait(type="response_done")
        assert tab.audio[1] == sent_audio(emulator, 1)
        kinds = list(dict.fromkeys(tab.types()))
        assert [kinds[0], kinds[1], kinds[-1]] == ["ready", "speech_started", "response_done"]
        for earlier, later in [("speech_stopped", "response_started"), ("response_started", "transcript"), ("response_started", "(audio)")]:
            assert kinds.index(earlier) < kinds.index(later)
        previews = [message for message in tab.messages if message["type"] == "input_transcript"]
        assert previews[-1] == {
            "type": "input_transcript", "item": previews[0]["item"], "text": "(emulator) 2.8 seconds of speech",
            "stash": "", "final": True,
        }  # fmt: skip
        assert all(not preview["final"] and preview["stash"] for preview in previews[:-1])
        texts = [message["text"] for message in tab.messages if message["type"] == "transcript"]
        assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
        assert texts[-1] == done["text"]


def test_a_slow_callback_of_the_application_delays_nothing_that_is_heard(emulator: Emulator) -> None:
    held = threading.Event()
    with Running(emulator.url, on_audio_delta=lambda event: held.wait(SOON)) as tab:
        tab.say("text", text="Hello")
        emulator.wait_for_sent("response.done")
        with tab.changed:
            assert tab.changed.wait_for(lambda: tab.audio.get(1) == sent_audio(emulator, 1), SOON)
        assert "response_done" not in tab.types(), "this one waits behind the callback"
        held.set()
        tab.wait(type="response_done")


def test_what_the_browser_has_played_is_what_was_heard(emulator: Emulator) -> None:
    cuts: list[Interruption] = []
    done: list[Response] = []
    heard = threading.Event()
    frozen = time.monotonic()
    with Running(
        emulator.url, clock=lambda: frozen, on_interrupted=lambda cut: (cuts.append(cut), heard.set()), on_done=done.append
    ) as tab:
        tab.say("text", text="wait for me")
        tab.wait(type="(audio)", turn=1)
        with tab.changed:
            assert tab.changed.wait_for(lambda: len(tab.audio.get(1, b"")) >= 400 * 48, SOON)
        tab.say("played", turn=1, ms=250)
        tab.say("interrupt")
        tab.wait(type="flush", turn=1)
        assert heard.wait(SOON)
        assert cuts[0].heard_ms == 250
        assert cuts[0].by == "client"
        tab.wait(type="response_done", status="cancelled")
        tab.say("played", turn=1, ms=310)  # what had sounded until the flush arrived
        tab.say("text", text="Next")
        tab.wait(type="response_done", turn=2)
        assert done[0].heard_ms == 310
        tab.say("played", turn=2, ms=10**9)
        tab.say("nonsense")
        tab.wait(type="error", code="unknown_type")
        assert done[1].heard_ms == pytest.approx(len(tab.audio[2]) / 48), "nobody hears more than there is"


def test_speaking_into_an_answer_flushes_it(emulator: Emulator) -> None:
    with Running(emulator.url) as tab:
        tab.say("text", text="wait for me")
        tab.wait(type="(audio)", turn=1)
        for piece in chunks(spoken(16_000), 40, 16_000):
            tab.binary(1, piece)
        tab.wait(type="flush", turn=1)
        tab.wait(type="response_done", turn=2)
        flushed = tab.types().index("flush")
        assert {"type": "(audio)", "turn": 1} not in tab.messages[flushed:], "nothing of it after the flush"


def test_speaking_after_an_answer_flushes_what_the_browser_has_not_played_yet(emulator: Emulator) -> None:
    with Running(emulator.url) as tab:
        tab.say("text", text="Tell me something that takes a few seconds to say, please.")
        tab.wait(type="response_done", turn=1)
        tab.say("played", turn=1, ms=100)
        for piece in chunks(spoken(16_000), 40, 16_000):
            tab.binary(1, piece)
        tab.wait(type="flush", turn=1)


def test_pictures_are_seen_and_what_is_none_is_told(emulator: Emulator) -> None:
    picture = (ROOT / "samples" / "data" / "picture.jpg").read_bytes()
    with Running(emulator.url, turn_detection=None) as tab:
        assert tab.wait(type="ready")["images"] is True
        tab.binary(1, spoken(16_000))
        tab.binary(2, picture)
        emulator.wait_for("input_image_buffer.append")
        tab.binary(2, b"this is no picture")
        assert "picture" in tab.wait(type="error", code="not_possible", fatal=False)["message"]
        tab.say("commit")
        assert "1 image" in tab.wait(type="response_done")["text"]


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        ("no json", "JSON object"),
        ("[1]", "JSON object"),
        ('{"no": "type"}', '"type"'),
        ("[" * 100_000, "JSON object"),
        (b"\x01\x00\x00\x00", "4 bytes of head"),
        (b"\x01\x00\x00\x00\x01", "middle of one"),
        (b"\x07\x00\x00\x00\x01\x01", "not 7"),
        ('{"type": "played", "turn": 1}', '"ms"'),
        ('{"type": "played", "turn": 1, "ms": NaN}', '"ms"'),
    ],
)
def test_what_cannot_be_read_ends_the_connection(emulator: Emulator, frame: str | bytes, says: str) -> None:
    running = Running(emulator.url)
    with running as tab:
        tab.wait(type="ready")
        tab.put(frame)
        error = tab.wait(type="error", code="bad_message", fatal=True)
        assert says in error["message"]
        running.wait()
        assert tab.closed == (1008, error["message"])
        assert tab.messages[-1]["type"] == "closed"
    emulator.wait_closed()


@pytest.mark.parametrize(
    "start",
    [
        '{"type": "text", "text": "hello"}',
        '{"type": "start", "rate": 16000}',
        '{"type": "start", "version": 2, "rate": 16000}',
        '{"type": "start", "version": 1}',
        '{"type": "start", "version": 1, "rate": 7999}',
        '{"type": "start", "version": 1, "rate": 192001}',
        '{"type": "start", "version": 1, "rate": true}',
        '{"type": "start", "version": 1, "rate": 16000, "options": 7}',
        b"\x01\x00\x00\x00\x00\x00",
        None,
    ],
)
def test_a_beginning_that_is_none_costs_no_session(emulator: Emulator, start: str | bytes | None) -> None:
    running = Running(emulator.url, start=False, bounds=Bounds(start_s=0.1, close_s=0.5))
    with running as tab:
        if start is not None:
            tab.put(start)
        running.wait()
        assert tab.closed is not None
        assert tab.closed[0] == 1008
    assert emulator.connections == []


def test_what_cannot_be_done_is_told_and_the_session_goes_on(emulator: Emulator) -> None:
    with Running(emulator.url) as tab:
        tab.say("commit")
        tab.wait(type="error", code="vad_mode", fatal=False)
        tab.say("text", text="  ")
        tab.wait(type="error", code="bad_text", fatal=False)
        tab.say("something_newer")
        tab.wait(type="error", code="unknown_type", fatal=False)
        tab.say("interrupt")
        tab.say("text", text="Still there?")
        tab.wait(type="response_done")


def test_a_slip_of_the_finger_asks_nothing(emulator: Emulator) -> None:
    with Running(emulator.url, turn_detection=None) as tab:
        tab.binary(1, bytes(2 * 16 * 200))
        tab.say("commit")
        tab.wait(type="error", code="too_short", fatal=False)
        emulator.wait_for("input_audio_buffer.clear")
        tab.binary(1, spoken(16_000))
        tab.say("commit")
        assert "5.1 seconds" in tab.wait(type="response_done")["text"]
    assert [each.type for each in emulator.received].count("response.create") == 1


def test_a_refused_key_is_the_servers_own_affair(caplog: pytest.LogCaptureFixture) -> None:
    with Emulator(api_keys=["sk-another-key"]) as emulator:
        running = Running(emulator.url)
        with running as tab:
            error = tab.wait(type="error", fatal=True)
            running.wait()
            assert error["code"] == "unavailable"
            assert "key" not in error["message"]
            assert tab.closed == (1011, error["message"])
            assert "sk-" not in tab.text
    assert "a browser's session failed" in caplog.text, "the log says why"
    assert "sk-a-very" not in caplog.text


def test_no_text_of_the_service_carries_a_key_to_the_browser() -> None:
    told = {"type": "invalid_request_error", "code": "invalid_value", "message": "wrong: sk-0123456789abcdef (that one)"}
    with Emulator(lambda heard: Answer(text="Oh", error=told)) as emulator, Running(emulator.url) as tab:
        tab.say("text", text="Hello")
        assert tab.wait(type="error", code="invalid_value")["message"] == "wrong: sk-… (that one)"


def test_the_end_of_the_service_is_the_end(emulator: Emulator) -> None:
    running = Running(emulator.url)
    with running as tab:
        tab.wait(type="ready")
        emulator.drop(1011, "InternalError")
        running.wait()
        assert tab.closed is not None
        assert tab.closed[0] == 1011
        assert tab.messages[-1]["type"] == "closed"


def test_a_lost_connection_to_the_service_is_shown_while_it_is_replaced(emulator: Emulator) -> None:
    with Running(emulator.url, reconnect=True) as tab:
        tab.wait(type="ready")
        tab.say("text", text="One")
        tab.wait(type="response_done", turn=1)
        emulator.drop(1006)
        assert tab.wait(type="reconnecting")["attempt"] == 1
        assert tab.wait(type="reconnected")["gap_ms"] >= 0
        tab.say("text", text="Two")
        tab.wait(type="response_done", turn=2)


def test_a_browser_that_takes_nothing_is_ended_and_costs_no_more_than_its_bound(emulator: Emulator) -> None:
    running = Running(emulator.url, bounds=Bounds(output_ms=3_000, close_s=0.2))
    with running as tab:
        tab.wait(type="ready")
        tab.unstuck.clear()
        tab.say("text", text="talk for two minutes")
        running.wait()
        assert running.relay._outgoing.audio_ms <= 3_000
    emulator.wait_closed()


def test_it_can_be_ended_from_outside_at_any_time(emulator: Emulator) -> None:
    running = Running(emulator.url)
    with running as tab:
        tab.wait(type="ready")
        running.relay.end(1013, "closing time")
        running.relay.end(1000, "too late")
        running.wait()
        assert tab.closed == (1013, "closing time")
        assert tab.messages[-1] == {"type": "closed", "code": 1013, "reason": "closing time"}
    assert emulator.wait_closed().close_code == 1000


def test_it_can_be_ended_while_the_service_does_not_answer() -> None:
    with Peer(lambda line: line.swallow()) as peer:
        running = Running(peer.url)
        with running as tab:
            while not peer.lines:
                threading.Event().wait(0.001)
            running.relay.end(1013, "closing time")
            with tab.changed:
                assert tab.changed.wait_for(lambda: tab.closed, SOON)
            assert tab.closed == (1013, "closing time")
            running.wait()


def test_what_the_application_raises_stays_in_its_log(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    def prepare(options: Any) -> Any:
        raise LookupError("the database's password is swordfish")

    running = Running(emulator.url, prepare=prepare)
    with running as tab:
        running.wait()
        assert tab.wait(type="error", code="internal", fatal=True)
        assert "swordfish" not in tab.text
    assert "swordfish" in caplog.text


def test_without_soxr_another_rate_says_what_to_install(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)
    running = Running(emulator.url, rate=44_100)
    with running as tab:
        assert "pip install" in tab.wait(type="error", code="not_installed")["message"]
        running.wait()
    emulator.wait_closed()
    with Running(emulator.url, rate=16_000) as tab:
        tab.wait(type="ready")


def test_the_microphone_is_bounded_when_the_line_to_the_service_is_slow() -> None:
    class Stats:
        audio_queued_ms = 0.0

    class Session:
        input_rate = 16_000
        stats = Stats()
        got = b""

        def append_audio(self, pcm: bytes) -> None:
            self.got += pcm
            self.stats.audio_queued_ms += len(pcm) / 32

    session: Any = Session()
    line = Line(session, 16_000, max_ms=200)
    assert [line.put(bytes([number, 0] * 1600)) for number in range(3)] == [True, True, False]
    assert (line.dropped_ms, line.fed_ms) == (100, 200)
    session.stats.audio_queued_ms = 0.0
    assert line.put(b"\x07\x00" * 1600)
    assert session.got[-2:] == b"\x07\x00"


def test_dropping_is_told_when_it_begins_and_when_it_is_over(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter([True, False, False, True])
    monkeypatch.setattr(Line, "put", lambda line, pcm: next(taken))
    with Running(emulator.url) as tab:
        for _ in range(4):
            tab.binary(1, bytes(320))
        tab.say("interrupt")
        tab.say("newer")
        tab.wait(type="error", code="unknown_type")
        told = [message for message in tab.messages if message.get("code") == "audio_dropped"]
        assert len(told) == 2
        assert not any(message["fatal"] for message in told)


def test_listening_counts_as_something_that_happens(emulator: Emulator) -> None:
    now = [1000.0]
    running = Running(emulator.url, clock=lambda: now[0])
    with running as tab:
        tab.say("text", text="Hello")
        tab.wait(type="response_done")
        for kind, fields in (("played", {"turn": 1, "ms": 10}), ("text", {"text": "And now?"})):
            now[0] += 60
            tab.say(kind, **fields)
            tab.say("newer")
            with tab.changed:
                assert tab.changed.wait_for(lambda: running.relay.active_at == now[0], SOON)
        tab.wait(type="response_done", turn=2)
        now[0] += 60
        tab.binary(1, bytes(3200))
        tab.say("newest")
        with tab.changed:
            assert tab.changed.wait_for(lambda: tab.types().count("error") == 3, SOON)
        assert running.relay.active_at == now[0] - 60, "silence of a microphone is nothing"


def test_no_thread_is_left(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    before = {thread.ident for thread in threading.enumerate()}
    for _ in range(3):
        with Running(emulator.url) as tab:
            tab.wait(type="ready")
    ours = [
        thread.name
        for thread in threading.enumerate()
        if thread.ident not in before and thread.name.startswith("dashscope_rt")
    ]
    assert ours == []


def test_every_message_is_json_of_one_line(emulator: Emulator) -> None:
    with Running(emulator.url) as tab:
        tab.say("text", text="Grüße\nund \u2028 so")
        tab.wait(type="response_done")
        assert all("\n" not in frame for frame in tab.frames if isinstance(frame, str))
        assert all(json.loads(frame)["type"] for frame in tab.frames if isinstance(frame, str))


