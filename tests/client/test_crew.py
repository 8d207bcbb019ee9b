"""Sessions that are served together: any of them may end, stall or compute, and the others go on."""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import threading
import time
import types

import pytest

from dashscope_rt import CloseInfo, ConnectionFailed, Keepalive, Limits, Timeouts
from dashscope_rt._network import crew, poller
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
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(manual()) for _ in range(5)]
        assert [len(each.posts) for each in crew._crews] == [2, 2, 1]
        for at in sessions:
            both_ways(at)
        sessions[0].session.close()
        sessions.append(stack.enter_context(manual()))
        assert [len(each.posts) for each in crew._crews] == [2, 2, 1]
        for at in sessions[1:]:
            both_ways(at)
    assert crew._crews == []


@pytest.mark.parametrize("make", [poller.Selector, poller.make])
def test_any_way_of_waiting_for_the_sockets_will_do(monkeypatch: pytest.MonkeyPatch, make: object) -> None:
    """That of the other systems, too, with a peer that reads late, so that the client has to wait for room."""
    monkeypatch.setattr(poller, "make", make)
    with manual(timeouts=Timeouts(close=0.2)) as first, manual() as second:
        both_ways(first)
        sent = [first.session.append_audio(bytes(300_000)) for _ in range(20)]
        both_ways(second)
        assert [first.line.read_event("input_audio_buffer.append")["event_id"] for _ in sent] == sent
        both_ways(first)
        first.session.close()
        both_ways(second)


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="only epoll tells of a socket that is closed here")
def test_a_socket_that_a_forked_process_keeps_open_is_passed_over() -> None:
    ours, theirs = socket.socketpair()
    waiting = poller.make()
    with theirs, ours.dup():  # as the child has it
        waiting.watch(ours.fileno(), crew.READ, 0, "ours")
        theirs.send(b"x")
        assert waiting.wait(SOON) == [("ours", crew.READ)]
        waiting._whose.clear()  # forgotten, where the system could not be told
        ours.close()
        assert waiting.wait(SOON) == []
    waiting.close()


def network_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("dashscope_rt-network-")]


def test_one_thread_serves_all_sessions_and_ends_with_the_last() -> None:
    assert network_threads() == []
    with manual() as first:
        (thread,) = network_threads()
        assert thread.daemon
        with manual() as second:
            assert network_threads() == [thread]
            first.session.close()
            both_ways(second)
            assert network_threads() == [thread]
        assert network_threads() == []
        assert not thread.is_alive()
    with manual() as at:
        both_ways(at)
        assert thread not in network_threads()


def test_a_fault_of_ours_in_one_session_is_told_and_the_thread_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = Heard()
    with manual(on_close=closed) as at, manual() as other:
        link = at.session._connection.network  # type: ignore[union-attr]
        monkeypatch.setattr(link, "_read", lambda transport: 1 / 0)
        at.line.send({"type": "x"})
        info = closed.get()
        assert (info.who, info.code) == ("network", 1006)
        assert "ZeroDivisionError" in str(info.error)
        both_ways(other)


def test_a_fault_of_ours_that_ends_the_thread_ends_its_sessions_and_not_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = [Heard(), Heard()]
    with manual(on_close=closed[0]) as at, manual(on_close=closed[1]):
        monkeypatch.setattr(crew.Crew, "_look", lambda *_: 1 / 0)
        at.line.send({"type": "x"})
        for heard in closed:
            info = heard.get()
            assert (info.who, info.code) == ("network", 1006)
            assert "division by zero" in str(info.error)
        monkeypatch.undo()
        with manual() as later:
            both_ways(later)


def reserved() -> crew.Post:
    posts: list[crew.Post] = []
    crew.reserve(posts)
    return posts[0]


class OnAPipe:
    """What two kinds of line share: a socket of their own, and an end that can be waited for."""

    def __init__(self) -> None:
        self.pipe = socket.socketpair()
        self.unheard: list[object] = []
        self.gone = threading.Event()

    def fileno(self) -> int:
        return self.pipe[0].fileno()

    def fail(self, error: Exception) -> None:
        raise error

    def over(self) -> None:
        for end in self.pipe:
            end.close()
        self.gone.set()


class Talkative(OnAPipe):
    """A line that has heard something whenever it is looked at, and ends when it is asked to."""

    def __init__(self, log: list[str], busy: threading.Event | None = None) -> None:
        super().__init__()
        self.log = log
        self.busy = busy  # the first look takes until this is set
        self.looking = threading.Event()
        self.over_now = False
        self.post = reserved()

    def turn(self, ready: int) -> tuple[int, float] | None:
        if self.over_now:
            return None
        if self.busy is not None:
            self.looking.set()
            assert self.busy.wait(SOON)
        else:
            self.log.append("looked at")
            self.unheard.append(1)
            self.looking.set()
        return crew.READ, time.monotonic() + 60

    def hand_over(self, *, alone: bool) -> None:
        if self.unheard:
            assert not alone
            self.log.append("handed over")
            self.unheard.clear()


def test_callbacks_of_the_first_do_not_wait_for_the_sockets_of_all() -> None:
    log: list[str] = []
    go = threading.Event()
    first, *others = lines = [Talkative(log, go), *(Talkative(log) for _ in range(13))]
    first.post.take(first)
    assert first.looking.wait(SOON)  # from now on the thread is busy, and finds all the others at once
    for line in others:
        line.post.take(line)
    go.set()
    for line in others:
        assert line.looking.wait(SOON)
    for line in lines:
        line.over_now = True
        line.post.ring()
    for line in lines:
        assert line.gone.wait(SOON)
    assert crew._TOGETHER == 6
    together = ["looked at"] * 6 + ["handed over"] * 6
    assert log == [*together, *together, "looked at", "handed over"]


class Restless(OnAPipe):
    """A line that is always due."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.enough = 1_000_000

    def turn(self, ready: int) -> tuple[int, float] | None:
        self.looks += 1
        self.post.ring()
        return (crew.READ, time.monotonic() + 60) if self.looks < self.enough else None

    def hand_over(self, *, alone: bool) -> None:
        """There is nothing."""

    def serve(self) -> None:
        self.post = reserved()
        self.post.take(self)


def test_a_thread_with_too_much_to_do_gathers_it_and_one_with_little_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    gathering = threading.Event()
    sleep = time.sleep

    def noting(seconds: float) -> None:
        if threading.current_thread().name.startswith("dashscope_rt-network-"):
            slept.append(seconds)
            gathering.set()
        sleep(seconds)

    monkeypatch.setattr(crew.time, "sleep", noting)
    with manual() as at:
        for _ in range(20):
            both_ways(at)
        assert slept == []
        line = Restless()
        line.serve()
        assert gathering.wait(SOON)
        assert max(slept) <= crew._GATHER
        for number in range(20):  # while it gathers it sends, receives and hands over
            both_ways(at)
            at.line.send_frame(9, b"%d" % number)
            assert at.line.read_frame() == (10, b"%d" % number)
        line.enough = 0
        assert line.gone.wait(SOON)


def test_what_is_appended_while_it_gathers_needs_no_bell(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is sent all the same: the thread looks when it wakes up."""
    monkeypatch.setattr(crew, "_BUSY", -1.0)
    rings: list[object] = []
    ring = crew.Bell.ring
    monkeypatch.setattr(crew.Bell, "ring", lambda bell: (rings.append(bell), ring(bell)))
    with manual() as at:
        for _ in range(30):  # whichever moment of its sleep it is
            assert at.sees_nothing() == []
        (each,) = crew._crews
        each.gathering = True
        before = len(rings)
        (post,) = each.posts
        post.ring()
        assert len(rings) == before
        each.gathering = post.rung = False  # it did not sleep
        both_ways(at)


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
    """The end of the last one races with the next beginning; nobody is forgotten."""
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
    def none_left(number: int) -> object:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(crew, "Crew", none_left)
    with pytest.raises(ConnectionFailed, match="Too many open files"), manual():
        pass


def test_without_threads_connecting_fails_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def none_left(thread: threading.Thread) -> None:
        if thread.name.startswith("dashscope_rt-network-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", none_left)
    with pytest.raises(ConnectionFailed, match="can't start new thread"), manual():
        pass
    assert crew._crews == []


def test_without_a_thread_for_callbacks_the_session_ends_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start = threading.Thread.start

    def none_left(thread: threading.Thread) -> None:
        if thread.name.startswith("dashscope_rt-reader-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    with manual() as at:
        at.session.on("x")(lambda event: None)
        monkeypatch.setattr(threading.Thread, "start", none_left)
        at.line.send({"type": "x"})
        info = at.session.wait_closed(SOON)
        assert "can't start new thread" in str(info.error)
        assert at.session.stats.events_received >= 1


@pytest.mark.parametrize("where", ["crew", "bell"])
def test_an_interrupted_sender_does_not_leave_the_thread_deaf(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Ctrl-C between the decision to wake the network thread and the waking: the next sender wakes it."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with manual() as at:
        both_ways(at)
        (each,) = crew._crews
        (post,) = each.posts
        deadline = time.monotonic() + SOON
        while (post.rung or each.bell._rings) and time.monotonic() < deadline:  # until it has nothing to do
            threading.Event().wait(0.01)
        with monkeypatch.context() as patch:
            if where == "crew":
                patch.setattr(each, "rung", types.SimpleNamespace(append=interrupted))
            else:
                patch.setattr(crew.os, "eventfd_write", interrupted)
            with pytest.raises(KeyboardInterrupt):
                at.session.send_raw({"type": "first"})
        at.line.sock.settimeout(2.0)  # sooner than any of the session's own timers
        at.session.send_raw({"type": "second"})
        assert [at.line.read_event()["type"] for _ in range(2)] == ["first", "second"]


class Unwatchable:
    """A line whose socket the system does not watch."""

    def __init__(self) -> None:
        self.unheard: list[object] = []
        self.error: Exception | None = None
        self.gone = threading.Event()

    def fileno(self) -> int:
        return -1

    def turn(self, ready: int) -> tuple[int, float]:
        return crew.READ, time.monotonic() + 60

    def hand_over(self, *, alone: bool) -> None:
        """There is nothing."""

    def fail(self, error: Exception) -> None:
        self.error = error

    def over(self) -> None:
        self.gone.set()


def test_a_socket_that_cannot_be_watched_ends_its_own_session_only() -> None:
    line = Unwatchable()
    with manual() as at:
        reserved().take(line)
        assert line.gone.wait(SOON)
        assert isinstance(line.error, ValueError)
        both_ways(at)
