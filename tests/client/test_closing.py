"""close() works from any thread, from a callback, twice, against every kind of peer, within its deadline; on_close
comes exactly once."""

from __future__ import annotations

import threading
import time

import pytest

from dashscope_rt import (
    CloseInfo,
    ConnectionClosed,
    DeadlineExceeded,
    Limits,
    RealtimeSession,
    Timeouts,
)
from dashscope_rt.config import Keepalive
from tests.client.wire import (
    MODEL,
    PCM,
    TRANSLATE,
    Background,
    Heard,
    audio_delta,
    client_for,
    created,
    manual,
    response_created,
)
from tests.peer import SOON, Line, Peer

MEGABYTE = b"\x01\x02" * 512 * 1024


def polite(line: Line) -> None:
    line.open()
    line.drain()


def in_time(session: RealtimeSession, timeout: float | None = None, slack: float = 0.6) -> float:
    """Close, and see that it took no longer than it may."""
    start = time.monotonic()
    session.close(timeout)
    took = time.monotonic() - start
    assert took < (session.timeouts.close if timeout is None else timeout) + slack
    return took


# ---- who closes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["main thread", "other thread", "callback", "on_close", "with statement", "twice"])
def test_close_works_from_everywhere(where: str) -> None:
    closed, asked = Heard(), Heard()
    with Peer(polite) as peer:
        session = client_for(peer.url).session(MODEL, on_close=closed)
        if where == "with statement":
            with session:
                assert session.is_open
        else:
            session.connect()
        if where == "main thread":
            session.close()
        elif where == "other thread":
            Background(session.close).result()
        elif where == "callback":

            def stop(_: object) -> None:
                start = time.monotonic()
                session.close()
                asked(time.monotonic() - start)

            session.on("enough")(stop)
            peer.lines[0].send({"type": "enough"})
            assert asked.get() < 1
        elif where == "on_close":
            session.on_close(lambda _: session.close())
            session.close()
        elif where == "twice":
            session.close()
            session.close()
            Background(session.close).result()
        info = closed.get()
        assert (info.who, info.code, info.reason, info.error) == ("client", 1000, "", None)
        assert session.wait_closed(SOON) == info
        assert session.close_info == info
        assert (info.unsent_events, info.unsent_audio_bytes) == (0, 0)
        assert closed.all == [info]
        assert not session.is_open


def test_many_threads_may_close_at_once() -> None:
    closed = Heard()
    with Peer(polite) as peer:
        session = client_for(peer.url).session(MODEL, on_close=closed).connect()
        calls = [Background(session.close) for _ in range(8)]
        for call in calls:
            call.result()
        closed.get()
        assert len(closed.all) == 1


def test_close_before_connect_does_nothing_and_leaves_the_session_usable() -> None:
    closed = Heard()
    with Peer(polite) as peer:
        session = client_for(peer.url).session(MODEL, on_close=closed)
        session.close()
        session.close()
        assert closed.all == []
        with session:
            assert session.is_open


def test_the_close_frame_carries_code_and_reason() -> None:
    got = Heard()

    def script(line: Line) -> None:
        line.open()
        got(*line.read_close())
        line.send_frame(8, b"\x03\xe8")

    closed = Heard()
    with Peer(script) as peer:
        session = client_for(peer.url).session(MODEL, on_close=closed).connect()
        session.close(code=4001, reason="genug für heute")
        assert got.get() == (4001, "genug für heute")
        assert (closed.get().code, closed.all[0].reason) == (4001, "genug für heute")


@pytest.mark.parametrize(
    ("code", "reason"),
    [(1005, ""), (1006, ""), (999, ""), (5000, ""), (0, ""), (1000, "x" * 124), (1000, "ü" * 62)],
    ids=["1005", "1006", "999", "5000", "0", "124 bytes", "62 letters of two bytes"],
)
def test_a_code_or_reason_no_close_frame_may_carry_is_refused(code: int, reason: str) -> None:
    with manual(timeouts=Timeouts(close=0.2)) as at:
        with pytest.raises(ValueError, match=r"code|reason"):
            at.session.close(code=code, reason=reason)
        assert at.session.is_open


def test_what_is_queued_goes_out_before_the_close_frame() -> None:
    got = Heard()

    def script(line: Line) -> None:
        line.open()
        go.wait(SOON)
        while True:
            opcode, payload = line.read_frame()
            got(opcode, len(payload))
            if opcode == 8:
                line.send_frame(8, payload)
                return

    go = threading.Event()
    with Peer(script) as peer:
        session = client_for(peer.url, timeouts=Timeouts(close=SOON)).session(MODEL).connect()
        for _ in range(8):
            session.append_audio(MEGABYTE)  # more than the operating system's buffers hold
        closing = Background(session.close)
        go.set()
        closing.result()
        assert [opcode for opcode, _ in got.all] == [1] * 8 + [8]
        info = session.close_info
        assert info is not None
        assert (info.unsent_events, info.unsent_audio_bytes) == (0, 0)


def test_callbacks_for_what_came_before_the_end_still_run_and_on_close_is_last() -> None:
    order: list[str] = []
    with manual(on_audio_delta=lambda _: order.append("audio"), on_close=lambda _: order.append("close")) as at:
        at.line.send(response_created())
        for _ in range(50):
            at.line.send(audio_delta())
        Background(at.line.drain)
        at.settle()
        at.session.on_callback_error(lambda *_: order.append("error"))
        in_time(at.session)
    assert order == ["audio"] * 50 + ["close"]


# ---- against whom -------------------------------------------------------------------------------------------------


def test_a_peer_that_reads_nothing_cannot_hold_close_and_every_unsent_event_is_counted() -> None:
    """What was not counted as unsent is what the peer finds when it reads at last."""
    received, go = Heard(), threading.Event()

    def script(line: Line) -> None:
        line.open()
        go.wait(SOON)
        count = 0
        try:
            while True:
                opcode, _ = line.read_frame()
                count += opcode == 1
        except ConnectionError:
            received(count)

    closed = Heard()
    with Peer(script) as peer:
        session = client_for(peer.url, limits=Limits(outbox_bytes=64 * 1024 * 1024)).session(MODEL, on_close=closed)
        session.connect()
        for _ in range(300):
            session.append_audio(PCM * 100)  # 80,000 bytes each
        took = in_time(session, 0.3)
        assert took > 0.25
        info = closed.get()
        go.set()
        assert info.who == "client"
        assert info.unsent_events > 0
        assert info.unsent_audio_bytes == info.unsent_events * 80_000
        assert received.get() + info.unsent_events == 300


def test_many_small_events_are_counted_one_by_one_where_a_piece_of_them_left() -> None:
    """They go out many at once; those that left with the last piece are not counted as unsent."""
    received, go, queued = Heard(), threading.Event(), 15_000

    def script(line: Line) -> None:
        line.open()
        go.wait(SOON)
        count = 0
        try:
            while True:
                opcode, _ = line.read_frame()
                count += opcode == 1
        except ConnectionError:
            received(count)

    with Peer(script) as peer:
        session = client_for(peer.url, limits=Limits(outbox_bytes=64 * 1024 * 1024)).session(MODEL).connect()
        for _ in range(queued):
            session.append_audio(PCM)
        session.close(0.2)
        info = session.close_info
        go.set()
        assert info is not None
        assert 0 < info.unsent_events < queued
        assert received.get() + info.unsent_events == queued
        assert info.unsent_audio_bytes == info.unsent_events * len(PCM)


def test_a_peer_that_never_answers_the_close_frame_is_given_up_at_the_deadline() -> None:
    done = threading.Event()

    def script(line: Line) -> None:
        line.open()
        line.read_close()
        done.wait(SOON)

    closed = Heard()
    with Peer(script) as peer:
        session = client_for(peer.url, timeouts=Timeouts(close=0.3)).session(MODEL, on_close=closed).connect()
        took = in_time(session)
        done.set()
        assert took > 0.25
        assert (closed.get().who, closed.all[0].code, closed.all[0].error) == ("client", 1000, None)


def test_a_peer_that_goes_on_talking_cannot_hold_close() -> None:
    over = threading.Event()

    def script(line: Line) -> None:
        line.open()
        line.send(response_created())
        while not over.is_set():
            line.send(audio_delta(PCM * 20))

    closed = Heard()
    with Peer(script) as peer:
        session = client_for(peer.url).session(MODEL, on_close=closed).connect()
        in_time(session, 0.3)
        over.set()
        assert closed.get().who == "client"


def test_close_in_a_callback_does_not_wait_for_itself() -> None:
    """The peer never answers, the inbox is full of events, and the callback that closes is the one that blocks."""
    took, closed, over = Heard(), Heard(), threading.Event()

    def script(line: Line) -> None:
        line.open()
        line.send(response_created())
        for _ in range(100):
            line.send(audio_delta())
        over.wait(SOON)

    def stop(_: object) -> None:
        session.off(stop)
        start = time.monotonic()
        session.close(0.3)
        took(time.monotonic() - start)

    with Peer(script) as peer:
        session = client_for(peer.url, limits=Limits(inbox_bytes=1024)).session(MODEL, on_close=closed)
        session.on_audio_delta(stop)
        session.connect()
        assert took.get() < 1
        assert closed.get().who == "client"
        over.set()
        session.wait_closed(SOON)


def test_a_callback_that_never_returns_cannot_hold_close() -> None:
    stuck, go, closed = threading.Event(), threading.Event(), Heard()

    def hang(_: object) -> None:
        stuck.set()
        go.wait(SOON)

    with manual(on_close=closed, timeouts=Timeouts(close=0.3)) as at:
        at.session.on("hang")(hang)
        at.line.send({"type": "hang"})
        assert stuck.wait(SOON)
        Background(at.line.drain)
        in_time(at.session)
        assert closed.all == []  # it comes when its turn comes
        go.set()
        assert closed.get().who == "client"


def test_waiting_calls_end_when_the_session_is_closed() -> None:
    with manual(timeouts=Timeouts(turn=60)) as at:
        calls = [
            Background(at.session.wait_for, "never"),
            Background(at.session.wait_closed),
            Background(at.session.ask, text="Hello?"),
        ]
        ack = at.session.update(instructions="x")
        calls.append(Background(at.session.wait_ack, ack))
        at.line.read_event("session.update")
        Background(at.line.drain)
        at.session.close()
        assert isinstance(calls[0].error(), ConnectionClosed)
        assert isinstance(calls[1].result(), CloseInfo)
        assert isinstance(calls[2].error(), ConnectionClosed)
        assert isinstance(calls[3].error(), ConnectionClosed)


# ---- families that say goodbye first ------------------------------------------------------------------------------


def test_a_family_with_session_finish_is_finished_before_it_is_closed() -> None:
    got = Heard()

    def script(line: Line) -> None:
        line.open()
        line.read_event("session.finish")
        line.send({"type": "response.text.text", "text": "last", "stash": ""})
        line.send({"type": "session.finished", "event_id": "event_f"})
        got(line.read_close())
        line.send_frame(8, b"\x03\xe8")

    last = Heard()
    with Peer(script) as peer:
        session = client_for(peer.url).session(TRANSLATE)
        session.on("session.finished")(last)
        session.connect()
        took = in_time(session)
        assert took < 1
        assert got.get()[0] == 1000
        assert last.get().type == "session.finished"


def test_omni_is_just_closed() -> None:
    types = Heard()

    def script(line: Line) -> None:
        line.open()
        while True:
            opcode, _ = line.read_frame()
            types(opcode)
            if opcode == 8:
                line.send_frame(8, b"\x03\xe8")
                return

    with Peer(script) as peer:
        session = client_for(peer.url).session(MODEL).connect()
        session.close()
        assert types.get() == 8


@pytest.mark.parametrize("reads", [True, False])
def test_a_session_that_is_never_finished_cannot_hold_close(reads: bool) -> None:
    over = threading.Event()

    def script(line: Line) -> None:
        line.open()
        if reads:
            line.swallow()
        over.wait(SOON)

    with Peer(script) as peer:
        session = client_for(peer.url, timeouts=Timeouts(close=0.4)).session(TRANSLATE).connect()
        if not reads:
            for _ in range(8):
                session.append_audio(MEGABYTE)
        in_time(session)
        over.set()


def test_a_sender_that_waits_for_room_cannot_hold_close() -> None:
    """Somebody waits up to Timeouts.send for a peer that reads nothing; close() has a deadline of its own."""
    over = threading.Event()

    def script(line: Line) -> None:
        line.open()
        over.wait(SOON)

    with Peer(script) as peer:
        client = client_for(peer.url, timeouts=Timeouts(send=30, close=0.4), limits=Limits(outbox_bytes=1024 * 1024))
        session = client.session(TRANSLATE).connect()
        sending = Background(fill, session)
        clearing = [Background(session.clear_audio) for _ in range(3)]
        with pytest.raises(AssertionError):
            sending.result(0.2)  # it waits for room
        in_time(session)
        assert isinstance(sending.error(), ConnectionClosed)
        for call in clearing:
            call.error() if call.running else None
        over.set()


def fill(session: RealtimeSession) -> None:
    while True:
        session.clear_audio()
        session.append_audio(MEGABYTE)


# ---- after the end, and again -------------------------------------------------------------------------------------


def test_everything_that_sends_raises_with_why_after_the_end() -> None:
    with manual() as at:
        Background(at.line.drain)
        at.session.close(reason="done")
        session = at.session
        info = session.close_info
        calls = {
            "append_audio": lambda: session.append_audio(PCM),
            "commit": session.commit,
            "clear_audio": session.clear_audio,
            "create_response": session.create_response,
            "cancel_response": session.cancel_response,
            "send_text": lambda: session.send_text("hello"),
            "create_item": lambda: session.create_item({"type": "message"}),
            "update": lambda: session.update(instructions="x"),
            "send_raw": lambda: session.send_raw({"type": "x"}),
            "append_image": lambda: session.append_image(b"\xff\xd8\xff"),
            "wait_for": lambda: session.wait_for("x"),
            "expect": lambda: session.expect("x"),
            "wait_ack": lambda: session.wait_ack("event_1"),
            "ask": lambda: session.ask(text="hello"),
        }
        for name, call in calls.items():
            with pytest.raises(ConnectionClosed, match="closed by the client") as caught:
                call()
            assert caught.value.info == info, name
            assert isinstance(caught.value, ConnectionError)


def test_everything_that_sends_raises_before_the_beginning() -> None:
    session = client_for("ws://127.0.0.1:9").session(MODEL)
    for call in (
        session.commit,
        session.create_response,
        session.cancel_response,
        session.wait_closed,
        lambda: session.append_audio(PCM),
        lambda: session.send_text("x"),
        lambda: session.update(instructions="x"),
        lambda: session.wait_for("x"),
        lambda: session.ask(text="x"),
        lambda: session.ask(text="x", stream=True),
    ):
        with pytest.raises(ConnectionClosed, match=r"connect\(\)"):
            call()
    assert session.close_info is None
    assert session.id == ""
    assert not session.is_open


def test_a_session_can_be_opened_again_with_clean_state() -> None:
    """Configuration and callbacks stay; ids, responses, errors and counters do not."""
    seen: list[str] = []
    updates = []

    def script(line: Line) -> None:
        line.accept()
        number = len(updates) + 1
        line.send(created(f"sess_{number}"))
        update = line.read_event("session.update")
        updates.append(update["session"])
        line.send({"type": "session.updated", "session": {**update["session"], "id": f"sess_{number}"}})
        if number == 1:
            line.send(response_created())  # it runs when the session ends
        else:
            line.read_event("response.create")
            seen.append("created at once")
            line.send(response_created("resp_2"))
        line.drain()

    opened, closed, boom = Heard(), Heard(), Heard()
    with Peer(script) as peer:
        session = client_for(peer.url).session(MODEL, turn_detection=None, on_open=opened, on_close=closed)
        session.on("response.created")(lambda _: 1 / 0)
        session.on_callback_error(boom)
        with session:
            opened.get()
            boom.get()
            session.update(instructions="Be brief.")
            assert session.id == "sess_1"
            assert session.stats.callback_errors == 1
        first = closed.get()
        with session:
            opened.get()
            assert session.id == "sess_2"
            assert session.is_open
            assert session.stats.callback_errors == 0
            assert session.close_info is None
            with session.expect("response.created") as expected:
                session.create_response()
                expected.wait(SOON)
        assert closed.get() is not first
        assert updates[1] == {**updates[0], "instructions": "Be brief."}
        assert len(closed.all) == 2


def test_two_sessions_see_their_own_events_only() -> None:
    def script(line: Line) -> None:
        line.open()
        name = line.read_event("hello")["name"]
        for number in range(100):
            line.send({"type": "numbered", "name": name, "number": number})
        line.send({"type": "done"})
        line.drain()

    with Peer(script) as peer:
        client = client_for(peer.url)
        sessions, heard, done = [], [], []
        for name in "ab":
            mine, end = Heard(), Heard()
            session = client.session(MODEL)
            session.on("numbered")(mine)
            session.on("done")(end)
            session.connect()
            session.send_raw({"type": "hello", "name": name})
            sessions.append(session)
            heard.append(mine)
            done.append(end)
        for end in done:
            end.get()
        sessions[0].close()
        assert sessions[1].is_open
        sessions[1].close()
    for name, mine in zip("ab", heard, strict=True):
        assert [(each.raw["name"], each.raw["number"]) for each in mine.all] == [(name, at) for at in range(100)]
    assert heard[0].thread is not heard[1].thread


def mine() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("dashscope_rt-")]


def test_the_two_threads_have_names_are_daemons_and_end_with_the_session() -> None:
    assert mine() == []
    opened = Heard()
    with Peer(polite) as peer, client_for(peer.url).session(MODEL, on_open=opened) as session:
        opened.get()
        threads = mine()
        assert sorted(each.name.rsplit("-", 1)[0] for each in threads) == [
            "dashscope_rt-network",
            "dashscope_rt-reader",
        ]
        assert all(each.daemon for each in threads)
        session.close()
        assert mine() == []


def test_the_thread_for_callbacks_begins_when_there_is_something_for_one() -> None:
    heard, closed = Heard(), Heard()
    with manual() as at:
        at.line.send({"type": "nobody.wants.it"})
        assert at.sees_nothing() == []
        assert [each.name.rsplit("-", 1)[0] for each in mine()] == ["dashscope_rt-network"]
        at.session.on("somebody.wants.it")(heard)
        at.line.send({"type": "nobody.wants.it"})
        at.line.send({"type": "somebody.wants.it"})
        assert heard.get().type == "somebody.wants.it"
        assert heard.thread is not None
        assert heard.thread.name.startswith("dashscope_rt-reader-")
    with Peer(polite) as peer, client_for(peer.url).session(MODEL, on_close=closed) as session:
        assert [each.name.rsplit("-", 1)[0] for each in mine()] == ["dashscope_rt-network"]
        session.close()
        assert closed.get().who == "client"


def test_wait_closed_with_a_timeout_says_that_the_session_lives() -> None:
    with manual() as at, pytest.raises(DeadlineExceeded, match="still open"):
        at.session.wait_closed(0.05)


def test_wait_closed_in_a_callback_returns_when_the_session_ends() -> None:
    got, waiting = Heard(), threading.Event()
    with manual() as at:

        def wait(_: object) -> None:
            waiting.set()
            got(at.session.wait_closed(SOON))

        at.session.on("wait")(wait)
        at.line.send({"type": "wait"})
        assert waiting.wait(SOON)
        Background(at.line.drain)
        Background(at.session.close)
        assert got.get().who == "client"


def test_a_failing_body_of_the_with_statement_still_closes() -> None:
    closed = Heard()
    with Peer(polite) as peer:
        with pytest.raises(KeyError), client_for(peer.url, keepalive=Keepalive()).session(MODEL, on_close=closed):
            raise KeyError("mine")
        assert closed.get().who == "client"
