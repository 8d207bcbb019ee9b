"""Time limits of the service compressed to milliseconds, keepalive, and TLS with both directions busy."""

from __future__ import annotations

import base64
import threading
import time

import pytest

import dashscope_rt as rt
from dashscope_rt.testing import Answer

from .table import Table
from .watch import FAST, HEARD, SOON, SPARE, ask, check_answer, lost_in, service, watched

LONG = [Answer(text="A long answer.", audio=bytes(48_000 * 20))] * 400


def test_the_idle_timeout(table: Table) -> None:
    """300 s without a response, here 200 ms: an error event, then close 1011."""
    with service("idle=200") as emulator, watched(emulator) as watch:
        start = time.monotonic()
        info = watch.get("on_close")
        took = time.monotonic() - start
        assert (info.who, info.code, type(info.error)) == ("server", 1011, rt.ServiceBusyError)
        assert "no response was generated" in str(info.error)
        assert [error.code for error in watch.got("on_error")] == ["response_idle_timeout"]
        alone = watch.story
    with service("idle=200#1") as emulator, watched(emulator, reconnect=FAST) as watch:
        lost = watch.get("on_reconnected")
        check_answer(ask(watch).turn)
        sees = f"{alone}; with Reconnect: {watch.story}, the next ask() is answered"
    table.add("Time limits", "idle timeout (300 s without a response)", sees, took, f"with Reconnect: {lost_in(lost)}")


def test_the_session_limit(table: Table) -> None:
    """120 minutes, here 200 ms: close 1000 with a reason."""
    with service("limit=200") as emulator, watched(emulator) as watch:
        start = time.monotonic()
        info = watch.get("on_close")
        took = time.monotonic() - start
        assert (info.who, info.code) == ("server", 1000)
        assert "maximum duration" in info.reason
        alone = watch.story
    with service("limit=200#1") as emulator, watched(emulator, reconnect=FAST) as watch:
        lost = watch.get("on_reconnected")
        check_answer(ask(watch).turn)
        sees = f"{alone}; with Reconnect: {watch.story}, the next ask() is answered"
    table.add("Time limits", "session limit (120 minutes)", sees, took, f"with Reconnect: {lost_in(lost)}")


def test_a_planned_rotation_keeps_the_session_from_its_limit(table: Table) -> None:
    """The connection is changed between two turns, before the service ends it in mid-sentence."""
    policy = rt.Reconnect(first_delay=0.0, max_delay=0.0, rotate_after=0.2)
    with service("limit=2000#1") as emulator, watched(emulator, reconnect=policy) as watch:
        start = time.monotonic()
        about = watch.get("on_reconnecting")
        lost = watch.get("on_reconnected")
        took = time.monotonic() - start
        assert about.planned
        assert about.error is None
        assert (lost.audio_ms, lost.responses, lost.events) == (0, (), ())
        check_answer(ask(watch).turn)
        assert watch.session.is_open
    table.add("Time limits", "rotate_after before the session limit", "on_reconnecting(planned), on_reconnected", took)


def test_pings_are_on_by_default_and_can_be_turned_off() -> None:
    keepalive = rt.Keepalive()
    assert (keepalive.ping_interval, keepalive.ping_timeout, keepalive.silence_interval) == (20.0, 20.0, None)
    assert rt.Keepalive(ping_interval=None).ping_interval is None


@pytest.mark.parametrize("interval", [0.1, 0.4])
def test_a_dead_peer_is_noticed_within_interval_and_timeout(table: Table, interval: float) -> None:
    keepalive = rt.Keepalive(ping_interval=interval, ping_timeout=0.2)
    with service("silence@session.updated") as emulator, watched(emulator, keepalive=keepalive) as watch:
        start = time.monotonic()
        info = watch.get("on_close")
        took = time.monotonic() - start
        assert (info.who, info.code, type(info.error)) == ("network", 1006, rt.DeadlineExceeded)
        assert interval + 0.2 - 0.1 <= took < interval + 0.2 + SPARE
        sees = watch.story
    table.add("Keepalive and TLS", f"a dead peer; ping_interval {interval:g} s, ping_timeout 0.2 s", sees, took)


def test_a_peer_that_is_only_quiet_is_not_taken_for_dead(table: Table) -> None:
    """Its pongs are enough: twenty intervals without a single event, and many times the timeout."""
    keepalive = rt.Keepalive(ping_interval=0.02, ping_timeout=2.0)
    pongs = threading.Event()
    with service(ping_interval_s=None) as emulator, watched(emulator, keepalive=keepalive) as watch:
        count = 0
        thread = watch.session._connection.network  # type: ignore[union-attr]
        original = thread._keepalive

        def counting(now: float) -> None:
            nonlocal count
            before = thread._next_ping
            original(now)
            count += thread._next_ping != before
            if count >= 20:
                pongs.set()

        thread._keepalive = counting  # type: ignore[method-assign]
        start = time.monotonic()
        thread.wake()
        assert pongs.wait(SOON)
        took = time.monotonic() - start
        check_answer(ask(watch).turn)
        assert watch.story == ""
    table.add("Keepalive and TLS", "a peer that only answers pings", "nothing: the session stays open", took)


def test_a_muted_microphone_is_kept_alive_with_silence(table: Table) -> None:
    """Zero audio, one second of it, appended by the package itself, and only while nobody appends any."""
    keepalive = rt.Keepalive(silence_interval=0.2)
    with service() as emulator, watched(emulator, keepalive=keepalive) as watch:
        start = time.monotonic()
        first = emulator.wait_for("input_audio_buffer.append")
        took = time.monotonic() - start
        assert base64.b64decode(first.event["audio"]) == bytes(32_000)
        second = emulator.wait_for("input_audio_buffer.append", count=2)
        assert 0.1 < second.at - first.at < 0.2 + SPARE
        assert watch.session.stats.audio_sent_ms >= 1000
        assert emulator.received[-1].type == "input_audio_buffer.append"  # and no commit
    with service() as emulator, watched(emulator) as watch:
        watch.session.clear_audio()
        emulator.wait_for("input_audio_buffer.clear")
        assert "input_audio_buffer.append" not in {record.type for record in emulator.received}
    table.add(
        "Keepalive and TLS",
        "a muted microphone, silence_interval set",
        "a second of zero audio goes out each time nothing was appended for so long; off by default",
        took,
    )


def both_ways(seconds: float) -> tuple[float, int, int]:
    """Speak all the time and be spoken to all the time over TLS; gives seconds, audio in and audio out in ms."""
    heard = 0
    full = threading.Event()

    def count(event: rt.events.ResponseAudioDelta) -> None:
        nonlocal heard
        heard += len(event.audio)

    with (
        service(answer=LONG, tls=True, ping_interval_s=0.1, record_limit=1000) as emulator,
        watched(
            emulator,
            keepalive=rt.Keepalive(ping_interval=0.05, ping_timeout=SOON),
            on_audio_delta=count,
            timeouts={"close": SOON},
        ) as watch,
    ):
        start = time.monotonic()
        stop = start + seconds

        def speak() -> None:
            while time.monotonic() < stop and not full.is_set():
                watch.session.append_audio(HEARD * 4)

        speakers = [threading.Thread(target=speak) for _ in range(2)]
        for speaker in speakers:
            speaker.start()
        try:
            while time.monotonic() < stop:
                turn = watch.session.ask(text="Go on.", timeout=30)
                assert turn.status == "completed"
                assert len(turn.audio) == 48_000 * 20
                watch.session.clear_audio()
        finally:
            full.set()
            for speaker in speakers:
                speaker.join(60)
        took = time.monotonic() - start
        assert watch.story == ""  # no false disconnect, no error
        assert watch.session.is_open
        assert len(emulator.connections) == 1
        sent = watch.session.stats.audio_sent_ms
    assert heard > 0
    return took, int(sent), heard // 48


def test_tls_with_both_directions_busy_has_no_false_disconnect(table: Table) -> None:
    took, sent, heard = both_ways(4.0)
    assert sent > 10_000
    assert heard > 10_000
    table.add(
        "Keepalive and TLS",
        "wss, both directions busy for seconds (minutes with -m soak), pings both ways",
        "nothing: no false disconnect, every answer whole",
        took,
    )


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_tls_with_both_directions_busy_for_minutes() -> None:
    took, sent, heard = both_ways(180.0)
    assert took >= 180.0
    assert sent > 60_000
    assert heard > 60_000
