"""Slow callbacks and slow peers: every queue is bounded, every wait has a deadline, and everything is counted."""

from __future__ import annotations

import logging
import threading
import time

import pytest

import dashscope_rt as rt
from dashscope_rt._session import callbacks
from dashscope_rt.testing import Answer
from tests.client.wire import dialled
from tests.peer import SOON

from .table import Table
from .watch import AUDIO, HEARD, SPARE, TEXT, Gate, ask, check_answer, service, watched

SECTION = "Backpressure and statistics"
JPEG = b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x10\x00\x10\x01\x01\x11\x00\xff\xd9"


class Warned(logging.Handler):
    """Warnings of the package; `came` is set at the first."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []
        self.came = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
        self.came.set()


def test_a_stuck_callback_costs_nothing_but_its_own_lateness(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server streams and pings, answers come whole, waits return; one warning names the callback, with its stack."""
    monkeypatch.setattr(callbacks, "_SLOW", 0.2)
    warned, gate = Warned(), Gate()
    logging.getLogger("dashscope_rt").addHandler(warned)
    keepalive = rt.Keepalive(ping_interval=0.05, ping_timeout=SOON)

    def stuck_in_here(event: object) -> None:
        gate(event)

    try:
        with (
            service(ping_interval_s=0.05) as emulator,
            watched(emulator, keepalive=keepalive, on_audio_delta=stuck_in_here) as watch,
        ):
            start = time.monotonic()
            check_answer(ask(watch).turn)
            assert gate.entered.wait(SOON)
            assert warned.came.wait(SOON)
            took = time.monotonic() - start
            check_answer(ask(watch).turn)  # a second answer, while the callback of the first is still stuck
            with watch.session.expect("input_audio_buffer.cleared") as cleared:
                watch.session.clear_audio()
                cleared.wait()
            assert gate.calls.qsize() == 1
            assert watch.story == ""
            gate.leave.set()
            assert watch.get("on_done", 2).status == "completed"
            assert gate.calls.qsize() > 2
            stats = watch.session.stats
            assert stats.callback_lag_max_ms >= 150
            assert stats.callback_errors == 0
    finally:
        logging.getLogger("dashscope_rt").removeHandler(warned)
    slow = [text for text in warned.texts if "stuck_in_here" in text.split("\n")[0]]
    assert len(slow) == 1
    assert "on_audio_delta" in slow[0]
    assert "self.leave.wait(60)" in slow[0]  # the stack, down to where it is stuck
    assert took < 0.2 + SPARE + 1.0
    table.add(
        SECTION,
        "a callback that runs for seconds while the server streams and pings",
        "answers and waits are not delayed; one warning names the callback with its stack; stats.callback_lag_max_ms",
        took,
        "nothing: later callbacks come later",
    )


def test_pings_are_answered_while_a_callback_is_stuck(table: Table) -> None:
    gate = Gate()
    with dialled(on_audio_delta=gate) as both:
        both.line.send({"type": "response.created", "response": {"id": "resp_1"}})
        both.line.send({"type": "response.audio.delta", "response_id": "resp_1", "delta": "AAAA"})
        assert gate.entered.wait(SOON)
        start = time.monotonic()
        for number in range(20):
            both.line.send_frame(9, b"%d" % number)
            while True:
                opcode, payload = both.line.read_frame()
                if opcode == 10:
                    assert payload == b"%d" % number
                    break
        took = time.monotonic() - start
        gate.leave.set()
    assert took < SOON
    table.add(SECTION, "twenty pings of the server while a callback is stuck", "each is answered at once", took)


def test_a_full_inbox_makes_the_server_wait_and_loses_nothing(table: Table) -> None:
    limit = 256 * 1024
    gate = Gate()
    big = [Answer(text=TEXT, audio=AUDIO * 2000)]  # 56 MB, 75 MB on the wire
    heard = 0

    def count(event: rt.events.ResponseAudioDelta) -> None:
        nonlocal heard
        if not heard:
            gate(event)
        heard += len(event.audio)

    with (
        service(answer=big) as emulator,
        watched(emulator, limits=rt.Limits(inbox_bytes=limit), on_audio_delta=count) as watch,
    ):
        start = time.monotonic()
        turn = watch.session.ask(text="Go on.", stream=True, timeout=60)
        assert gate.entered.wait(SOON)
        inbox = watch.session._connection.inbox  # type: ignore[union-attr]
        deadline = time.monotonic() + SOON
        full = threading.Event()
        while not inbox.full and time.monotonic() < deadline:
            full.wait(0.01)  # nobody sets it: the inbox tells nobody that it is full
        assert inbox.full
        assert watch.session.stats.bytes_received < limit + 8 * 1024 * 1024  # and what one round of reads brings
        gate.leave.set()
        assert turn.wait(60).status == "completed"
        assert watch.get("on_done", timeout=60).status == "completed"
        took = time.monotonic() - start
        assert heard == len(AUDIO) * 2000
    table.add(
        SECTION,
        "callbacks slower than the server: Limits.inbox_bytes reached",
        "the socket is left alone until half is consumed; the server waits",
        took,
    )


def test_what_is_queued_sent_dropped_and_replaced_is_counted(table: Table) -> None:
    """The peer reads nothing: video frames make room for newer ones, audio never does, and the end counts it all."""
    off = rt.Keepalive(ping_interval=None)
    with (
        service("stop-reading@input_audio_buffer.clear") as emulator,
        watched(
            emulator, keepalive=off, limits=rt.Limits(outbox_bytes=1 << 20), timeouts={"send": 0.2, "close": 0.3}
        ) as watch,
    ):
        with watch.session.expect("input_audio_buffer.cleared") as cleared:
            watch.session.append_audio(HEARD)
            watch.session.clear_audio()
            cleared.wait()
        emulator.wait_for("input_audio_buffer.clear")
        before = watch.session.stats
        assert before.audio_sent_ms == 100
        assert before.audio_queued_ms == 0
        start = time.monotonic()
        accepted, piece = len(HEARD), bytes(128 * 1024)
        with pytest.raises(rt.DeadlineExceeded):
            for _ in range(200):
                watch.session.append_audio(piece)
                accepted += len(piece)
        stats = watch.session.stats
        assert stats.audio_queued_ms > 0
        assert stats.audio_dropped_ms == 0
        with pytest.raises(rt.DeadlineExceeded):
            for _ in range(200):  # the operating system may have taken one more piece, and there is room for a picture
                watch.session.append_image(JPEG + bytes(190_000))
        assert watch.session.stats.audio_dropped_ms == 0
        assert watch.session.stats.frames_replaced == 0
        watch.close()
        took = time.monotonic() - start
        info = watch.get("on_close")  # it says, and by then the statistics say, too, what had not left
        ended = watch.session.stats
        assert ended.audio_dropped_ms > 0
        assert ended.audio_dropped_ms == info.unsent_audio_bytes / 32
        assert ended.audio_sent_ms + ended.audio_dropped_ms == accepted / 32
        assert ended.audio_queued_ms == 0
    table.add(
        SECTION,
        "the outbox is full",
        "sending raises DeadlineExceeded at Timeouts.send; stats: ms of audio queued, sent, dropped",
        took,
        "what had not left at the end, counted in stats.audio_dropped_ms and on_close",
    )


def test_an_unsent_video_frame_makes_room_for_a_newer_one(table: Table) -> None:
    off = rt.Keepalive(ping_interval=None)
    with (
        service("stop-reading@input_audio_buffer.clear") as emulator,
        watched(emulator, keepalive=off, timeouts={"send": 2.0, "close": 0.3}) as watch,
    ):
        watch.session.append_audio(HEARD)
        watch.session.clear_audio()
        emulator.wait_for("input_audio_buffer.clear")
        start = time.monotonic()
        frames = 0
        while not watch.session.stats.frames_replaced and frames < 1000:
            watch.session.append_image(JPEG + bytes(150_000), newest_only=True)
            frames += 1
        took = time.monotonic() - start
        assert watch.session.stats.frames_replaced >= 1
    table.add(
        SECTION,
        "video frames faster than the network, newest_only",
        "no call waits; stats.frames_replaced",
        took,
        "frames that were older than the newest",
    )


def test_every_wait_has_a_deadline(table: Table) -> None:
    """Against a service that has fallen silent."""
    off = rt.Keepalive(ping_interval=None)
    deadline = 0.2
    with (
        service("silence@session.updated") as emulator,
        watched(emulator, keepalive=off, timeouts={"close": 0.3}) as watch,
    ):
        session = watch.session
        committed = session.commit()
        waits = {
            "wait_for": lambda: session.wait_for("response.done", deadline),
            "expect().wait": lambda: session.expect("response.done").wait(deadline),
            "wait_ack": lambda: session.wait_ack(committed, deadline),
            "wait_closed": lambda: session.wait_closed(deadline),
            "ask": lambda: session.ask(text="Well?", timeout=deadline),
            "ask(stream=True)": lambda: list(session.ask(text="Well?", timeout=deadline, stream=True)),
        }
        longest = 0.0
        for name, wait in waits.items():
            start = time.monotonic()
            with pytest.raises(rt.DeadlineExceeded):
                wait()
            took = time.monotonic() - start
            assert took < deadline + SPARE, name
            longest = max(longest, took)
        start = time.monotonic()
        assert session.cancel_response(deadline) in (True, False)
        assert time.monotonic() - start < deadline + SPARE
    table.add(SECTION, f"silence, and {', '.join(waits)}", "each raises DeadlineExceeded at its own deadline", longest)


def test_a_callback_that_raises_ends_nothing(table: Table) -> None:
    def broken(event: object) -> None:
        raise RuntimeError("the user's own mistake")

    with service() as emulator, watched(emulator, on_audio_delta=broken) as watch:
        asked = ask(watch)
        check_answer(asked.turn)
        watch.get("on_done")
        assert watch.session.stats.callback_errors > 0
    table.add(SECTION, "a callback that raises", "a log entry and on_callback_error; stats.callback_errors", asked.took)
