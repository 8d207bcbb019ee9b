"""``close()`` returns within its deadline against every fault there is, and leaves no thread and no descriptor."""

from __future__ import annotations

import time

import pytest

import dashscope_rt as rt
from dashscope_rt.testing._fault_actions import ACTIONS

from .table import Table
from .watch import HEARD, SOON, SPARE, Gate, service, told, watched

DEADLINE = 0.4
# Each fault once it has struck and the session still stands; those that end the session, or refuse it, are met too.
STRUCK = {
    "close": "close=1011@input_audio_buffer.clear",
    "free-tier": "free-tier@input_audio_buffer.clear",
    "reset": "reset@input_audio_buffer.clear",
    "half-close": "half-close@input_audio_buffer.clear",
    "no-close-answer": "no-close-answer",
    "idle": "idle=1000",
    "limit": "limit=1000",
    "silence": "silence@input_audio_buffer.clear",
    "stop-reading": "stop-reading@input_audio_buffer.clear",
    "drip": "drip=1,50@input_audio_buffer.clear",
    "split": "split@input_audio_buffer.clear",
    "fragment": "fragment@input_audio_buffer.clear",
    "bad-utf8": "bad-utf8@input_audio_buffer.clear",
    "bad-json": "bad-json@input_audio_buffer.clear",
    "binary": "binary@input_audio_buffer.clear",
    "huge": "huge@input_audio_buffer.clear",
    "raw": "raw=817e@input_audio_buffer.clear",  # the beginning of a frame, and nothing more
    "unknown-event": "unknown-event@input_audio_buffer.clear",
    "unknown-ids": "unknown-ids@input_audio_buffer.clear",
    "duplicate": "duplicate",
    "reorder": "reorder@input_audio_buffer.cleared",
    "lose": "lose@input_audio_buffer.clear",
    "no-done-after-cancel": "no-done-after-cancel",
    "error": "error=internal@input_audio_buffer.clear",
}
BEFORE_IT_OPENS = {
    "refuse": "refuse=503",
    "redirect": "redirect",
    "stall": "stall",
    "never-created": "never-created",
}
OFF = rt.Keepalive(ping_interval=None)  # nothing but close() itself ends it


@pytest.mark.parametrize("name", STRUCK)
def test_close_returns_in_its_time(table: Table, name: str) -> None:
    fault = STRUCK[name]
    with service(fault) as emulator, watched(emulator, keepalive=OFF, timeouts={"close": DEADLINE}) as watch:
        with watch.session.expect("input_audio_buffer.cleared") as cleared:
            watch.session.append_audio(HEARD)
            watch.session.clear_audio()
            # So that it has struck: a close frame in the same read would be answered before.
            emulator.wait_for("input_audio_buffer.append" if name in ("lose", "error") else "input_audio_buffer.clear")
            if name in ("no-close-answer", "idle", "limit", "duplicate", "reorder", "no-done-after-cancel"):
                cleared.wait(SOON)
        took = watch.close()
        info = watch.session.wait_closed(SOON)
        assert watch.get("on_close") is info
        assert watch.close() < 0.2  # a second close has nothing to wait for
        assert not watch.session.is_open
    expected = f"close() returns, {told(info)}" if info.who == "client" else "close() returns"
    if name in ("close", "free-tier", "reset", "half-close", "bad-utf8", "huge", "error"):
        expected = "close() returns, whoever of the two was first"  # the fault and the close race
    table.add("Closing", f"close() against {fault}", expected, took)


@pytest.mark.parametrize("name", BEFORE_IT_OPENS)
def test_close_ends_a_connect_that_is_under_way(table: Table, name: str) -> None:
    import threading

    with (
        service(BEFORE_IT_OPENS[name]) as emulator,
        watched(emulator, connect=False, keepalive=OFF, timeouts={"close": DEADLINE, "connect": 60}) as watch,
    ):
        raised: list[BaseException] = []

        def connect() -> None:
            try:
                watch.session.connect()
            except rt.RealtimeError as error:
                raised.append(error)

        thread = threading.Thread(target=connect)
        thread.start()
        emulator.records.wait(lambda: emulator.connections or None, SOON)
        took = watch.close()
        thread.join(DEADLINE + SPARE)
        assert not thread.is_alive()
        assert len(raised) == 1
    table.add(
        "Closing",
        f"close() while connecting against {BEFORE_IT_OPENS[name]}",
        "close() returns, connect() raises",
        took,
    )


def test_every_fault_is_met_by_close() -> None:
    assert {*STRUCK, *BEFORE_IT_OPENS} == set(ACTIONS)


def test_close_while_a_callback_is_stuck(table: Table) -> None:
    gate = Gate()
    with service() as emulator, watched(emulator, timeouts={"close": DEADLINE}, on_error=gate) as watch:
        watch.session.send_raw({"type": "no.such.event"})
        assert gate.entered.wait(SOON)
        start = time.monotonic()
        took = watch.close()
        assert time.monotonic() - start < DEADLINE + SPARE
        gate.leave.set()
        watch.get("on_close")
    table.add(
        "Closing", "close() while a callback is stuck", "close() returns; on_close when the callback has ended", took
    )
