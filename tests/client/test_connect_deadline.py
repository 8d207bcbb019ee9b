"""connect() raises within one deadline over everything, and nothing of the attempt is left: no thread, no socket, no
late connection."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from dashscope_rt import ConnectionClosed, ConnectionFailed, DeadlineExceeded, Timeouts
from dashscope_rt._network import crew as _crew
from dashscope_rt._network import link as _network
from dashscope_rt._network import transport as _transport
from dashscope_rt._network.secret import Secret
from dashscope_rt._session import connection as _connection
from tests.client.wire import MODEL, Background, Heard, client_for, created
from tests.peer import SOON, Line, Peer

CONNECT = 0.3  # s
LATE = 2.0  # s: far more than CONNECT, far less than what a second deadline would take


def silent(line: Line) -> None:
    """Takes the TCP connection and says nothing."""
    line.swallow()


def drips(line: Line) -> None:
    """Gives one byte of an endless handshake for every moment that passes."""
    line.read_request()
    over = threading.Event()
    line.sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nX-Drip: ")
    while not over.wait(0.01):  # the pace of the drip; nothing is waited for
        line.sock.sendall(b"x")


def drips_a_frame(line: Line) -> None:
    """Upgrades, and then gives a message byte by byte that never ends."""
    line.accept()
    over = threading.Event()
    line.sock.sendall(b"\x81\x7e\xff\xff")
    while not over.wait(0.01):
        line.sock.sendall(b" ")


def never_created(line: Line) -> None:
    line.accept()
    line.drain()


def never_updated(line: Line) -> None:
    line.accept()
    line.send(created())
    line.drain()


def chatters(line: Line) -> None:
    """Says a lot, but never that the session is ready."""
    line.accept()
    over = threading.Event()
    while not over.wait(0.001):
        line.send({"type": "something.else"})


@contextlib.contextmanager
def on_time() -> Iterator[None]:
    start = time.monotonic()
    yield
    assert CONNECT * 0.9 < time.monotonic() - start < LATE


@pytest.mark.parametrize(
    ("behaviour", "scheme"),
    [(each, "ws") for each in (silent, drips, drips_a_frame, never_created, never_updated, chatters)]
    + [(silent, "wss")],
)
def test_connect_raises_within_one_deadline(behaviour: object, scheme: str) -> None:
    """The fixture nothing_left_behind sees that neither thread nor socket is left."""
    closed = Heard()
    with Peer(behaviour) as peer:  # type: ignore[arg-type]
        client = client_for(peer.url.replace("ws:", f"{scheme}:"), timeouts=Timeouts(connect=CONNECT))
        session = client.session(MODEL, voice="Tina", on_close=closed)
        with on_time(), pytest.raises(DeadlineExceeded, match=r"Timeouts.connect") as caught:
            session.connect()
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.retryable
        assert not session.is_open
        with pytest.raises(ConnectionClosed):
            session.append_audio(b"\0\0")
        session.close()
        assert closed.all == []
        assert len(peer.lines) <= 1  # one attempt; on a busy machine time may be up before it


@pytest.mark.parametrize(
    ("behaviour", "names"), [(never_created, "session.created"), (never_updated, "session.updated"), (silent, "upgrade")]
)
def test_the_message_tells_what_did_not_come(behaviour: object, names: str) -> None:
    with Peer(behaviour) as peer:  # type: ignore[arg-type]
        session = client_for(peer.url, timeouts=Timeouts(connect=0.1)).session(MODEL, voice="Tina")
        with pytest.raises(DeadlineExceeded, match=names):
            session.connect()


def test_a_host_that_does_not_answer_at_all_is_given_up_at_the_deadline() -> None:
    """Its queue of connections is full, so the system sends and sends again, for minutes."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        port = listener.getsockname()[1]
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        session = client_for(f"ws://127.0.0.1:{port}", timeouts=Timeouts(connect=CONNECT)).session(MODEL)
        with on_time(), pytest.raises(DeadlineExceeded):
            session.connect()


def test_a_slow_name_server_cannot_hold_connect_and_no_connection_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, asked = threading.Event(), threading.Event()
    real = socket.getaddrinfo

    def slow(*args: object, **options: object) -> object:
        if threading.current_thread().name.startswith("dashscope_rt-"):
            asked.set()
            answer.wait(SOON)
        return real(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with Peer(lambda line: line.open()) as peer:
        url = peer.url.replace("127.0.0.1", "localhost")  # an address asks no name server
        session = client_for(url, timeouts=Timeouts(connect=CONNECT)).session(MODEL)
        with on_time(), pytest.raises(DeadlineExceeded, match="DNS"):
            session.connect()
        assert asked.is_set()
        (thread,) = [each for each in threading.enumerate() if each.name.startswith("dashscope_rt-network")]
        answer.set()
        thread.join(SOON)
        assert not thread.is_alive()
        assert not session.is_open
        assert peer.lines == []


def test_close_ends_a_connect_that_waits_for_a_slow_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    answer, asked = threading.Event(), threading.Event()

    def slow(*args: object, **options: object) -> object:
        asked.set()
        answer.wait(SOON)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    session = client_for("ws://localhost:9", timeouts=Timeouts(connect=SOON)).session(MODEL)
    call = Background(session.connect)
    assert asked.wait(SOON)
    session.close()
    assert isinstance(call.error(CONNECT), ConnectionClosed)
    answer.set()


def test_what_comes_too_late_from_a_step_without_deadline_is_given_back() -> None:
    """A SOCKS proxy that answers after the deadline: its socket is closed, not forgotten."""
    go, late = threading.Event(), Heard()
    dialing = _transport.Dialing(_transport.Endpoint(url="", api_key=Secret("")), time.monotonic() + CONNECT, 0)
    with pytest.raises(TimeoutError):
        dialing._elsewhere(lambda: go.wait(SOON) and "late", late=late)
    go.set()
    assert late.get() == "late"


def test_what_comes_although_it_was_given_up_is_given_back() -> None:
    late = Heard()
    dialing = _transport.Dialing(_transport.Endpoint(url="", api_key=Secret("")), time.monotonic() + SOON, 0)
    with pytest.raises(ConnectionFailed):
        dialing._elsewhere(lambda: dialing.abort() or "late", late=late)
    assert late.get() == "late"


def test_an_interrupt_after_the_end_does_not_tell_of_it_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in connect() when the service has opened and closed the session already."""
    closed = Heard()
    take = _crew.Post.take

    def interrupted(post: _crew.Post, line: Any) -> None:
        take(post, line)
        assert line.join(SOON)
        raise KeyboardInterrupt

    with Peer(lambda line: line.open()) as peer:
        session = client_for(peer.url, timeouts=Timeouts(connect=SOON)).session(MODEL, on_close=closed)
        with monkeypatch.context() as patch:
            patch.setattr(_crew.Post, "take", interrupted)
            with pytest.raises(KeyboardInterrupt):
                session.connect()
        closed.get()
        session.close()
    assert len(closed.all) == 1


def test_a_connection_that_comes_about_at_the_very_deadline_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dialling succeeds when there is no time left: the connection is closed again."""
    dialled = threading.Event()
    upgrade = _network.Dialing._upgrade

    def late(dialing: _network.Dialing, *args: Any) -> bytes:
        leftover = upgrade(dialing, *args)
        dialled.set()
        while time.monotonic() < dialing._deadline:
            threading.Event().wait(0.01)
        return leftover

    monkeypatch.setattr(_network.Dialing, "_upgrade", late)
    gone = threading.Event()

    def script(line: Line) -> None:
        line.open()
        line.drain()
        gone.set()

    with Peer(script) as peer:
        session = client_for(peer.url, timeouts=Timeouts(connect=CONNECT)).session(MODEL)
        with pytest.raises(DeadlineExceeded):
            session.connect()
        assert dialled.is_set()
        assert gone.wait(SOON)
        assert [each for each in threading.enumerate() if each.name.startswith("dashscope_rt-")] == []
        assert not session.is_open


def test_connecting_after_a_failed_attempt_starts_afresh() -> None:
    behaviours = iter([silent, lambda line: (line.open(), line.drain())])
    with Peer(lambda line: next(behaviours)(line)) as peer:  # type: ignore[no-untyped-call]
        client = client_for(peer.url, timeouts=Timeouts(connect=CONNECT))
        session = client.session(MODEL)
        with pytest.raises(DeadlineExceeded):
            session.connect()
        session.timeouts = Timeouts(connect=SOON)
        with session:
            assert session.is_open


# ---- close() while connect() runs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_close_during_connect_ends_both_at_once(scheme: str) -> None:
    accepted, closed = threading.Event(), Heard()

    def script(line: Line) -> None:
        line.sock.recv(1)  # the client is in the middle of the TLS or the WebSocket handshake
        accepted.set()
        line.swallow()

    with Peer(script) as peer:
        client = client_for(peer.url.replace("ws:", f"{scheme}:"), timeouts=Timeouts(connect=60, close=1))
        session = client.session(MODEL, on_close=closed)
        connecting = Background(session.connect)
        assert accepted.wait(SOON)
        start = time.monotonic()
        session.close()
        assert time.monotonic() - start < 2
        assert isinstance(connecting.error(), (ConnectionFailed, ConnectionClosed))
        assert not session.is_open
        assert closed.all == []


def test_close_between_session_created_and_session_updated_ends_connect() -> None:
    asked = threading.Event()

    def script(line: Line) -> None:
        line.open()
        line.read_event("session.update")
        asked.set()
        line.drain()

    with Peer(script) as peer:
        session = client_for(peer.url, timeouts=Timeouts(connect=60)).session(MODEL, voice="Tina")
        connecting = Background(session.connect)
        assert asked.wait(SOON)
        session.close()
        assert isinstance(connecting.error(), (ConnectionFailed, ConnectionClosed))


def test_a_second_connect_is_refused_while_the_first_still_asks_for_its_key() -> None:
    """Otherwise one of the two connections would belong to nobody."""
    asked, go = threading.Event(), threading.Event()

    def key() -> str:
        asked.set()
        go.wait(SOON)
        return "sk-1"

    def script(line: Line) -> None:
        line.open()
        line.drain()

    with Peer(script) as peer:
        session = client_for(peer.url, key).session(MODEL)
        first = Background(session.connect)
        assert asked.wait(SOON)
        second = Background(session.connect)
        go.set()
        outcomes = []
        for call in (first, second):
            try:
                outcomes.append(call.result())
            except RuntimeError as error:
                outcomes.append(error)
        session.close()
        assert sum(outcome is session for outcome in outcomes) == 1
        assert len(peer.lines) == 1


def test_a_session_that_is_open_cannot_be_opened_again() -> None:
    with Peer(lambda line: (line.open(), line.drain())) as peer, client_for(peer.url).session(MODEL) as session:  # type: ignore[arg-type, func-returns-value]
        with pytest.raises(RuntimeError, match="open already"):
            session.connect()
        assert session.is_open


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (_transport.Dialing, "_tcp"),
        (_crew, "reserve"),
        (_transport.Dialing, "_left"),
        (_transport.Transport, "wait"),
        (_crew.Post, "take"),
        (_connection.Connection, "received"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__.rpartition(".")[2],
)
def test_an_interrupted_connect_leaves_nothing(monkeypatch: pytest.MonkeyPatch, where: Any, name: str) -> None:
    """Ctrl-C wherever connect() is: the fixture sees that no thread and no socket is left."""

    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    def script(line: Line) -> None:
        line.open()
        line.drain()

    with Peer(never_created if name == "wait" else script) as peer:
        session = client_for(peer.url, timeouts=Timeouts(connect=60)).session(MODEL)
        with monkeypatch.context() as patch:
            patch.setattr(where, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                session.connect()
        assert not session.is_open
        assert session.wait_closed(SOON) is session.close_info
