"""The connection ends or goes bad in the middle of an answer: without a policy the session ends and says how, with one
it goes on, says what is lost, and answers again."""

from __future__ import annotations

import time
from typing import Any

import attrs
import pytest

import dashscope_rt as rt
from dashscope_rt.testing._error_rows import FREE_TIER

from .table import Table
from .watch import FAST, HEARD, SOON, SPARE, TEXT, Asked, Watch, ask, check_answer, lost_in, service, told, watched

MIDDLE = "@response.audio.delta:2"  # some of the answer is there, some is not


@attrs.frozen
class End:
    """A fault in the middle of an answer, and how it must end.

    Attributes:
        fault: As in the script, without its trigger.
        what: For people.
        who: `CloseInfo.who`.
        code: `CloseInfo.code`.
        error: Class of `CloseInfo.error`.
        reason: `CloseInfo.reason`, if it is to be checked.
        goes_on: Whether a session with a policy goes on.
    """

    fault: str
    what: str
    who: str
    code: int
    error: type[Exception] | None
    reason: str | None = None
    goes_on: bool = True
    section: str = "The connection ends"


QUOTA = "Allocated quota exceeded, please increase your quota limit."
LONG = "a reason of the service that is much longer than any close frame may carry, " * 12
ENDS = (
    End("reset", "TCP reset", "network", 1006, rt.ConnectionFailed),
    End("half-close", "half-close", "network", 1006, rt.ConnectionFailed),
    End("close=1006", "hung up without a close frame", "network", 1006, rt.ConnectionFailed),
    End("close=none", "close frame without a code", "server", 1005, None, ""),
    End("close=1000", "close 1000", "server", 1000, None, ""),
    End("close=1000,The session has reached its maximum duration.", "close 1000 with a reason", "server", 1000, None),
    End("close=1001,The emulator is closed.", "close 1001, going away", "server", 1001, rt.ServiceBusyError),
    End("close=1008,Policy violation", "close 1008", "server", 1008, rt.APIError, "Policy violation", goes_on=False),
    End(
        "close=1011,Internal service error: null", "close 1011", "server", 1011, rt.ServiceBusyError,
        "Internal service error: null",
    ),
    End("close=1011,model repeat output happened", "close 1011, repeat output", "server", 1011, rt.ServiceBusyError),
    End("close=1012", "close 1012, restart", "server", 1012, rt.ServiceBusyError, ""),
    End("close=1013", "close 1013, try again later", "server", 1013, rt.ServiceBusyError, ""),
    End(f"close=1007,{QUOTA}", "close 1007, allocated quota", "server", 1007, rt.QuotaExceededError, QUOTA, False),
    End("free-tier", "close 1007, free tier, 130 bytes", "server", 1007, rt.QuotaExceededError, FREE_TIER, False),
    End(f"close=4000,{LONG}", "close 4000 with a reason of 900 bytes", "server", 4000, rt.APIError, LONG, False),
    End("close=999,why", "close 999, a code nobody may send", "server", 999, rt.APIError, "why", goes_on=False),
    End("close=1011,关闭了", "close with a reason in Chinese", "server", 1011, rt.ServiceBusyError, "关闭了"),
    End(
        "bad-utf8", "text that is no UTF-8", "client", 1007, rt.ProtocolError, section="Messages"
    ),
    End("huge", "a frame announcing 2^40 bytes", "client", 1009, rt.MessageTooLarge, goes_on=False, section="Messages"),
    End("raw=f100", "a frame with reserved bits", "client", 1002, rt.ProtocolError, section="Messages"),
    End("raw=818100000000ff", "a masked frame", "client", 1002, rt.ProtocolError, section="Messages"),
    End("raw=0900", "a ping in fragments", "client", 1002, rt.ProtocolError, section="Messages"),
    End("raw=8001ff", "a continuation of nothing", "client", 1002, rt.ProtocolError, section="Messages"),
)  # fmt: skip


def interrupted(watch: Watch) -> Asked:
    """Ask, with some audio that the service has heard and nobody has committed."""
    watch.session.append_audio(HEARD)
    asked = ask(watch)
    assert isinstance(asked.error, rt.ConnectionClosed)
    assert asked.turn is not None
    assert asked.turn.status == "failed"
    assert TEXT.startswith(asked.turn.text)
    assert asked.turn.text != TEXT
    return asked


def goes_on_after(watch: Watch) -> rt.Lost:
    """The session goes on by itself, and answers."""
    lost: rt.Lost = watch.get("on_reconnected")
    assert watch.session.is_open
    assert watch.session.close_info is None
    assert [response.status for response in lost.responses] == ["cancelled"]
    assert lost.responses[0] in watch.got("on_done")
    assert lost.audio_ms == 100  # heard, and not sent again
    assert lost.restored_chars > 0
    check_answer(ask(watch).turn)
    assert watch.session.stats.reconnects == 1
    assert watch.got("on_close") == []
    return lost


@pytest.mark.parametrize("end", ENDS, ids=[end.what for end in ENDS])
def test_the_end_in_the_middle_of_an_answer(table: Table, end: End) -> None:
    start = time.monotonic()
    with service(end.fault + MIDDLE) as emulator, watched(emulator) as watch:
        asked = interrupted(watch)
        took = time.monotonic() - start
        info = watch.get("on_close")
        check_end(info, end)
        assert isinstance(asked.error, rt.ConnectionClosed)
        assert asked.error.info is info
        with pytest.raises(rt.ConnectionClosed) as caught:
            watch.session.append_audio(HEARD)
        assert caught.value.info is info
        assert watch.session.wait_closed(SOON) is info
        assert len(emulator.connections) == 1
        alone = f"{asked.name}, {watch.story}"
        assert "on_reconn" not in alone
    assert took < SOON
    with service(f"{end.fault}{MIDDLE}#1") as emulator, watched(emulator, reconnect=FAST) as watch:
        again = interrupted(watch)
        assert ("the session goes on: ask again" in str(again.error)) is end.goes_on
        if end.goes_on:
            gone = lost_in(goes_on_after(watch))
            assert len(emulator.connections) == 2
            # What was heard on the first connection is not heard on the second.
            heard = [record.connection for record in emulator.received if record.type == "input_audio_buffer.append"]
            assert heard == [1]
        else:
            check_end(watch.get("on_close"), end)
            assert len(emulator.connections) == 1
            gone = "the session too"
        sees = f"{alone}; with Reconnect: {again.name}, {watch.story}"
        sees += ", the next ask() is answered" if end.goes_on else ""
    table.add(end.section, end.what, sees, took, f"the rest of the answer; with Reconnect: {gone}")


def check_end(info: rt.CloseInfo, end: End) -> None:
    assert (info.who, info.code) == (end.who, end.code), told(info)
    assert type(info.error) is (end.error or type(None)), told(info)
    if end.reason is not None:
        assert info.reason == end.reason


def test_silence_is_noticed_within_interval_and_timeout(table: Table) -> None:
    """No pong, no event, no close frame; the socket stays open."""
    keepalive = rt.Keepalive(ping_interval=0.1, ping_timeout=0.2)
    fault = "silence@response.audio.delta:2"
    with service(fault) as emulator, watched(emulator, keepalive=keepalive) as watch:
        start = time.monotonic()
        interrupted(watch)
        took = time.monotonic() - start
        info = watch.get("on_close")
        assert (info.who, info.code) == ("network", 1006)
        assert isinstance(info.error, rt.DeadlineExceeded)
        assert 0.2 <= took < 0.3 + SPARE
        alone = watch.story
    with service(f"{fault}#1") as emulator, watched(emulator, keepalive=keepalive, reconnect=FAST) as watch:
        interrupted(watch)
        gone = lost_in(goes_on_after(watch))
        sees = f"ask() raises ConnectionClosed, {alone}; with Reconnect: {watch.story}, the next ask() is answered"
    table.add(
        "The line is bad",
        "silence: no pongs, no events (noticed within ping_interval + ping_timeout)",
        sees,
        took,
        f"the rest of the answer; with Reconnect: {gone}",
    )


def test_silence_without_pings_ends_the_turn_at_its_deadline_and_close_in_its_own(table: Table) -> None:
    off = rt.Keepalive(ping_interval=None)
    with (
        service("silence@response.audio.delta:2") as emulator,
        watched(emulator, keepalive=off, timeouts={"close": 0.3}) as watch,
    ):
        asked = ask(watch, timeout=0.3)
        assert isinstance(asked.error, rt.DeadlineExceeded)
        assert asked.took < 0.3 + SPARE
        assert asked.turn is not None
        assert asked.turn.text
        assert watch.session.is_open
        watch.close()
        assert watch.get("on_close").who == "client"
    table.add(
        "The line is bad",
        "silence with pings off",
        f"{asked.name} at its own deadline, with what came; close() in its time",
        asked.took,
        "the rest of the answer",
    )


def test_a_peer_that_stops_reading_holds_no_call_beyond_its_deadline(table: Table) -> None:
    room = 1 << 20  # more than what the operating system takes at last, when close() tries once more
    off = rt.Keepalive(ping_interval=None)
    with (
        service("stop-reading@session.updated") as emulator,
        watched(
            emulator, keepalive=off, limits=rt.Limits(outbox_bytes=room), timeouts={"send": 0.2, "close": 0.5}
        ) as watch,
    ):
        piece = bytes(64 * 1024)
        sent = 0
        start = time.monotonic()
        with pytest.raises(rt.DeadlineExceeded):
            while sent < 1000:  # what the operating system takes for the other side is a few MB
                start = time.monotonic()
                watch.session.append_audio(piece)
                sent += 1
        took = time.monotonic() - start
        assert 0.1 < took < 0.2 + SPARE
        assert watch.session.is_open
        queued = watch.session.stats.audio_queued_ms
        assert 0 < queued <= room / 32
        watch.close()
        info = watch.get("on_close")
        assert info.who == "client"
        assert info.unsent_events > 0
        assert info.unsent_audio_bytes == info.unsent_events * len(piece)
        ended = watch.session.stats
        assert ended.audio_dropped_ms == info.unsent_audio_bytes / 32
        assert ended.audio_sent_ms + ended.audio_dropped_ms == sent * len(piece) / 32
    table.add(
        "The line is bad",
        "the peer stops reading, pings off",
        "append_audio raises DeadlineExceeded at Timeouts.send; close() in its time, on_close(client)",
        took,
        "what was queued, counted in on_close (unsent_events, unsent_audio_bytes)",
    )


def test_a_peer_that_stops_reading_is_noticed_by_the_keepalive(table: Table) -> None:
    """Its operating system still takes our bytes, so only the missing pong tells."""
    keepalive = rt.Keepalive(ping_interval=0.1, ping_timeout=0.2)
    fault = "stop-reading@session.updated"
    with service(fault) as emulator, watched(emulator, keepalive=keepalive) as watch:
        start = time.monotonic()
        info = watch.get("on_close")
        took = time.monotonic() - start
        assert (info.who, type(info.error)) == ("network", rt.DeadlineExceeded)
        alone = watch.story
    with service(f"{fault}#1") as emulator, watched(emulator, keepalive=keepalive, reconnect=FAST) as watch:
        lost = watch.get("on_reconnected")
        check_answer(ask(watch).turn)
        sees = f"{alone}; with Reconnect: {watch.story}, the next ask() is answered"
    table.add("The line is bad", "the peer stops reading, pings on", sees, took, f"with Reconnect: {lost_in(lost)}")


def test_a_message_over_the_limit_ends_the_session_before_it_is_read(table: Table) -> None:
    """16 MiB unless told otherwise; here less than the first delta of audio."""
    assert rt.Limits().max_message_bytes == 16 * 1024 * 1024
    with service() as emulator, watched(emulator, limits=rt.Limits(max_message_bytes=4000)) as watch:
        asked = ask(watch)
        info = watch.get("on_close")
        assert (info.who, info.code, type(info.error)) == ("client", 1009, rt.MessageTooLarge)
        assert "max_message_bytes" in str(info.error)
        sees = f"{asked.name}, {watch.story}"
    table.add("Secrets", "a message over max_message_bytes (16 MiB by default)", sees, asked.took, "the session")


def plain_turn(*faults: str, **options: Any) -> tuple[Asked, Watch, float]:
    with service(*faults, **options) as emulator, watched(emulator, on_audio_delta=lambda event: None) as watch:
        asked = ask(watch)
        if asked.error is not None:
            raise asked.error
        second = ask(watch)
        check_answer(second.turn)
        watch.close()
        return asked, watch, asked.took


REORDERED = (
    "response.created", "response.output_item.added", "response.content_part.added", "response.audio.done",
    "response.audio_transcript.done", "response.content_part.done", "response.output_item.done", "response.done",
    "conversation.item.created",
)  # fmt: skip
BENIGN = {
    "drip": ("The line is bad", "slow drip: one byte at a time, handshake included"),
    "split=400": ("The line is bad", "frames cut anywhere, 400 bytes at a time"),
    "fragment": ("The line is bad", "every message in fragments of 100 bytes, with pings between"),
    "fragment=1": ("The line is bad", "every message in fragments of one byte"),
    "bad-json@sent:*": ("Messages", "bad JSON before every event"),
    "bad-json=[1, 2]@sent:*": ("Messages", "JSON that is no event, before every event"),
    'bad-json={"type": 7}@sent:*': ("Messages", "an event whose type is a number"),
    'bad-json={"type":"response.done","response":5}@sent:*': ("Messages", "known events with fields of the wrong kind"),
    "binary@sent:*": ("Messages", "a binary message before every event"),
    "unknown-event": ("Messages", "unknown events before every event"),
    "unknown-ids": ("Messages", "events for unknown ids before every event"),
    "duplicate@response.created:*": ("Messages", "response.created twice"),
    "duplicate@response.done:*": ("Messages", "response.done twice"),
    **{f"reorder@{kind}": ("Messages", f"{kind} after the event that follows it") for kind in REORDERED},
}


@pytest.mark.parametrize("fault", BENIGN)
def test_what_is_harmless_changes_nothing_in_a_turn(table: Table, fault: str) -> None:
    asked, watch, took = plain_turn(fault)
    check_answer(asked.turn)
    assert len(asked.turn.responses) == 1  # type: ignore[union-attr]
    assert watch.story == "on_close(client, 1000)"
    assert len(watch.got("on_done")) == 2
    assert len(watch.got("on_open")) == 1
    stats = watch.session.stats
    assert (stats.unreadable > 0) == (fault.startswith(("bad-json", "binary")))
    assert (stats.unknown > 0) == (fault == "unknown-event")
    section, what = BENIGN[fault]
    counted = "stats.unreadable" if stats.unreadable else "stats.unknown" if stats.unknown else ""
    table.add(section, what, f"the whole answer{f'; counted in {counted}' if counted else ''}", took)


def test_every_event_twice_changes_nothing_but_that_each_piece_of_audio_sounds_twice(table: Table) -> None:
    """Event ids are opaque, and nothing says that they are unique: dropping a repeated piece could drop real audio."""
    with service("duplicate") as emulator, watched(emulator, on_audio_delta=lambda event: None) as watch:
        asked = ask(watch)
        watch.close()
    assert asked.turn is not None
    assert asked.turn.text == TEXT
    assert asked.turn.status == "completed"
    assert len(asked.turn.responses) == 1
    pieces = [piece.audio for piece in asked.turn if piece.kind == "audio"]
    assert pieces
    assert pieces[0::2] == pieces[1::2]
    assert len(watch.got("on_done")) == 1
    assert len(watch.got("on_open")) == 1
    what = "the whole text; each piece of audio sounds twice"
    table.add("Messages", "every event twice, with the same id", what, asked.took)


def test_a_response_done_that_never_comes_ends_the_turn_at_its_deadline(table: Table) -> None:
    with service("lose@response.done") as emulator, watched(emulator) as watch:
        asked = ask(watch, timeout=0.4)
        assert isinstance(asked.error, rt.DeadlineExceeded)
        assert asked.turn is not None
        assert asked.turn.text == TEXT
        assert watch.session.is_open
        assert asked.took < 0.4 + SPARE
        watch.session.cancel_response()
        check_answer(ask(watch).turn)
    table.add(
        "Messages",
        "response.done never comes",
        "ask() raises DeadlineExceeded with the whole text; after cancel_response() the session answers again",
        asked.took,
        "the end of that response (its usage)",
    )


def test_a_cancel_without_a_response_done_is_over_after_its_own_deadline(table: Table) -> None:
    answer = rt_answer_that_holds()
    with service("no-done-after-cancel", answer=answer, cancel_sends_done=True) as emulator, watched(emulator) as watch:
        turn = watch.session.ask(text="Well?", stream=True)
        emulator.wait_for_sent("response.audio.delta")
        start = time.monotonic()
        assert watch.session.cancel_response()
        response = watch.get("on_done")
        took = time.monotonic() - start
        assert response.status == "cancelled"
        assert took < watch.session.timeouts.cancel + SPARE
        assert turn.wait(SOON).status == "cancelled"
        check_answer(ask(watch).turn)
        assert watch.got("on_error") == []
    table.add(
        "Messages",
        "response.done never comes after a cancel",
        "cancel_response() returns, on_done(cancelled) after Timeouts.cancel, the next ask() is answered",
        took,
        "the rest of the answer",
    )


def rt_answer_that_holds() -> list[Any]:
    from dashscope_rt.testing import Answer

    from .watch import ANSWER, AUDIO

    return [Answer(text=TEXT, audio=AUDIO, hold_after_ms=200), ANSWER, ANSWER]
