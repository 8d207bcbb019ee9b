"""Sessions that are served together: any of them may end, stall or compute, and the others go on."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time

import pytest

from dashscope_rt import CloseInfo, Keepalive, Limits, Timeouts
from dashscope_rt._network import crew
from tests.client.wire import Dialled, Heard, dialled, manual
from tests.peer import SOON


def both_ways(at: Dialled) -> None:
    """Something goes out, something comes in."""
    assert at.sees_nothing() == []
    at.settle()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_whoever_ends_first_the_others_go_on(order: tuple[int, ...]) -> None:
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(manual(timeouts=Timeouts(close=0.2))) for _ in range(3)]
        for number in order:
            sessions[number].session.close()
            for at in sessions:
                if at.session.is_open:
                    both_ways(at)
        assert not any(at.session.is_open for at in sessions)


def test_a_lost_connection_ends_one_session_only() -> None:
    closed = Heard()
    with manual() as first, manual(on_close=closed) as second, manual() as third:
        second.line.sock.shutdown(2)
        info = closed.get()
        assert isinstance(info, CloseInfo)
        assert info.who == "network"
        both_ways(first)
        both_ways(third)


def test_more_sessions_than_one_crew_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "_MOST", 2)
    monkeypatch.setattr(crew, "_crews", [crew.Crew()])
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(manual()) for _ in range(5)]
        assert [len(each._posts) for each in crew._crews] == [2, 2, 1]
        for at in sessions:
            both_ways(at)
        sessions[0].session.close()
        sessions.append(stack.enter_context(manual()))
        assert [len(each._posts) for each in crew._crews] == [2, 2, 1]
        for at in sessions[1:]:
            both_ways(at)
    assert [len(each._posts) for each in crew._crews] == [0, 0, 0]
    assert [each._watch for each in crew._crews] == [None, None, None]


def test_one_thread_has_the_watch_and_it_is_passed_on() -> None:
    def leader() -> object:
        (used,) = [each for each in crew._crews if each._posts]
        return used._leader

    with manual() as first:
        chosen = leader()
        with manual() as second:
            assert leader() is chosen  # newcomers do not take it
            first.session.close()
            both_ways(second)
            assert leader() not in (chosen, None)


def test_a_session_whose_callbacks_stand_still_delays_nobody() -> None:
    """Neither while its inbox fills nor when it is full."""
    stuck, go = threading.Event(), threading.Event()

    def slow(_: object) -> None:
        stuck.set()
        go.wait(SOON)

    with manual(limits=Limits(inbox_bytes=2_000_000)) as one, manual() as other:
        one.session.on("big")(slow)
        text = "x" * 500_000
        sender = threading.Thread(target=lambda: [one.line.send({"type": "big", "padding": text}) for _ in range(20)])
        sender.start()
        assert stuck.wait(SOON)
        for _ in range(50):
            both_ways(other)
        go.set()
        sender.join(SOON)
        assert not sender.is_alive()
        one.settle()
        assert one.session.stats.events_received >= 21


def test_a_callback_that_computes_without_end_stops_no_pings_and_no_deadlines() -> None:
    """It keeps the interpreter busy; the sessions beside it answer pings, send their own, and notice a dead peer."""
    begun, enough, closed = threading.Event(), threading.Event(), Heard()

    def hog(_: object) -> None:
        begun.set()
        while not enough.is_set():
            pass

    quick = Keepalive(ping_interval=0.1, ping_timeout=0.5)
    try:
        with manual() as busy, dialled() as beside, dialled(keepalive=quick, on_close=closed):
            busy.session.on("x")(hog)
            busy.line.send({"type": "x"})
            assert begun.wait(SOON)
            start = time.monotonic()
            for number in range(5):
                beside.line.send_frame(9, b"%d" % number)
                assert beside.line.read_frame() == (10, b"%d" % number)
            both_ways(beside)
            info = closed.get()  # of the peer that never answers a ping
            assert time.monotonic() - start < SOON
            assert info.who == "network"
            assert "sent nothing" in str(info.error)
            assert not enough.is_set()
            enough.set()
            busy.settle()
    finally:
        enough.set()


def test_sessions_that_come_and_go_at_the_same_time() -> None:
    """Passing the watch on races with ends and beginnings; nobody is forgotten."""
    failures: list[BaseException] = []

    def come_and_go() -> None:
        try:
            for _ in range(5):
                with manual() as at:
                    both_ways(at)
        except BaseException as error:  # reported below, with its traceback
            failures.append(error)

    threads = [threading.Thread(target=come_and_go) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert not any(thread.is_alive() for thread in threads)


def test_without_descriptors_connecting_fails_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> object:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(crew, "_crews", [crew.Crew()])
    monkeypatch.setattr(crew, "_Watch", none_left)
    with pytest.raises(Exception, match="Too many open files"), manual():
        pass


class Unwatchable:
    """A line whose socket the system does not watch."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def fileno(self) -> int:
        return -1

    def turn(self, ready: int) -> tuple[int, float]:
        return crew.READ, time.monotonic() + 60

    def hand_over(self) -> None:
        """There is nothing."""

    def fail(self, error: Exception) -> None:
        self.error = error


def test_a_socket_that_cannot_be_watched_ends_its_own_session_only() -> None:
    line = Unwatchable()
    with manual() as at:
        thread = threading.Thread(target=crew.join(line).serve, daemon=True)
        thread.start()
        thread.join(SOON)
        assert not thread.is_alive()
        assert isinstance(line.error, ValueError)
        both_ways(at)
