"""How a session ends when it is not this side that ends it: on_close tells once who, with which code, reason and error."""

from __future__ import annotations

import gc
import os
import struct
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from dashscope_rt import (
    APIError,
    CloseInfo,
    ConnectionClosed,
    ConnectionFailed,
    DeadlineExceeded,
    ForkedSessionError,
    Keepalive,
    Limits,
    MessageTooLarge,
    ProtocolError,
    QuotaExceededError,
    RealtimeError,
    ServiceBusyError,
)
from tests.client.conftest import open_sockets
from tests.client.wire import (
    FREE_TIER,
    MODEL,
    PCM,
    Background,
    Heard,
    audio_delta,
    client_for,
    dialled,
    error_event,
    manual,
    response_created,
    spoken,
)
from tests.peer import SOON, Line, Peer, close_payload, server_frame


def end(act: Callable[[Line], None], **options: Any) -> tuple[CloseInfo, Heard]:
    """The CloseInfo of an open session on whose line this happens."""
    closed = Heard()
    with manual(on_close=closed, **options) as at:
        act(at.line)
        info = closed.get()
        assert at.session.wait_closed(SOON) is info
        assert at.session.close_info is info
        assert not at.session.is_open
        with pytest.raises(ConnectionClosed) as caught:
            at.session.append_audio(PCM)
        assert caught.value.info is info
        at.session.close()
        assert closed.all == [info]
    return info, closed


@pytest.mark.parametrize(
    ("code", "reason", "error", "retryable"),
    [
        (1000, "", None, True),
        (1000, "bye", None, True),
        (1001, "", ServiceBusyError, True),
        (1011, "", ServiceBusyError, True),
        (1011, "Internal service error: null", ServiceBusyError, True),
        (1011, "model repeat output happened", ServiceBusyError, True),
        (1012, "", ServiceBusyError, True),
        (1007, FREE_TIER, QuotaExceededError, False),
        (1007, "Allocated quota exceeded, please increase your quota limit.", QuotaExceededError, False),
        (1008, "policy", APIError, False),
        (4321, "odd", APIError, False),
    ],
)
def test_a_close_frame_of_the_server_is_told_with_code_reason_and_error(
    code: int, reason: str, error: type[RealtimeError] | None, retryable: bool
) -> None:
    info, _ = end(lambda line: line.send_frame(8, close_payload(code, reason)))
    assert (info.who, info.code, info.reason) == ("server", code, reason)
    assert type(info.error) is (error or type(None))
    assert ConnectionClosed("x", info).retryable is retryable


def test_a_close_frame_without_a_code_is_1005() -> None:
    info, _ = end(lambda line: line.send_frame(8, b""))
    assert (info.who, info.code, info.reason, info.error) == ("server", 1005, "", None)


@pytest.mark.parametrize("code", [1000, 1011, 1007])
def test_the_servers_close_frame_is_answered(code: int) -> None:
    answered = Heard()

    def act(line: Line) -> None:
        line.send_frame(8, close_payload(code, "x"))
        answered(line.read_close())

    end(act)
    assert answered.get()[0] == code


def test_a_reset_is_the_network_and_1006() -> None:
    info, _ = end(lambda line: line.reset())
    assert (info.who, info.code, info.reason) == ("network", 1006, "")
    assert isinstance(info.error, ConnectionFailed)
    assert ConnectionClosed("x", info).retryable


def test_an_end_without_close_frame_is_the_network_and_1006() -> None:
    info, _ = end(lambda line: line.sock.shutdown(1))
    assert (info.who, info.code) == ("network", 1006)
    assert isinstance(info.error, ConnectionFailed)
    assert "without a close frame" in str(info.error)


def test_the_last_error_event_is_why_the_server_closed() -> None:
    """The service says what is wrong in an event, and closes with a code that says nothing."""

    def act(line: Line) -> None:
        text = "Your session was closed because no response was generated for 300 seconds."
        idle = error_event(text, type="", code="response_idle_timeout")
        line.send_at_once(idle, then=server_frame(8, close_payload(1011)))

    info, _ = end(act)
    assert (info.who, info.code) == ("server", 1011)
    assert isinstance(info.error, ServiceBusyError)
    assert info.error.code == "response_idle_timeout"


def test_on_close_comes_after_everything_that_came_before_the_end() -> None:
    order: list[str] = []
    options: dict[str, Any] = {
        f"on_{name}": (lambda _, name=name: order.append(name)) for name in ("audio_delta", "done")
    }

    def act(line: Line) -> None:
        line.send_at_once(*spoken(pcm=(PCM,) * 20), then=server_frame(8, close_payload(1000)))

    closed = Heard()
    with manual(on_close=lambda info: (order.append("close"), closed(info)), **options) as at:
        act(at.line)
        closed.get()
    assert order == ["audio_delta"] * 20 + ["done", "close"]


def test_a_response_that_runs_when_the_session_ends_is_over_too() -> None:
    """on_done: once for each response, also when the service never says so."""
    done, closed = Heard(), Heard()
    with manual(on_done=done, on_close=closed) as at:
        at.line.send_at_once(response_created(), audio_delta())
        at.settle()
        at.line.reset()
        closed.get()
        response = done.get()
    assert response.id == "resp_1"
    assert response.audio == PCM
    assert response.status not in ("in_progress", "completed")


# ---- breaches of the protocol -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "kind", "code"),
    [
        (server_frame(1, b'{"type": "\xff"}'), ProtocolError, 1007),
        (b"\xc1\x01a", ProtocolError, 1002),
        (b"\x81\x81\0\0\0\0a", ProtocolError, 1002),
        (server_frame(0, b"never began"), ProtocolError, 1002),
        (struct.pack("!BBQ", 0x81, 127, 1 << 40), MessageTooLarge, 1009),
    ],
    ids=["not UTF-8", "reserved bits", "masked", "stray continuation", "too large"],
)
def test_a_breach_of_the_websocket_protocol_ends_the_session_and_tells_the_server(
    data: bytes, kind: type[ProtocolError], code: int
) -> None:
    said = Heard()

    def act(line: Line) -> None:
        line.sock.sendall(data)
        said(line.read_close()[0])

    info, _ = end(act)
    assert (info.who, info.code) == ("client", code)
    assert type(info.error) is kind
    assert said.get() == code


def test_whole_messages_before_a_breach_are_not_lost() -> None:
    came = Heard()
    with manual() as at:
        at.session.on("before")(came)
        at.line.send_at_once({"type": "before"}, then=b"\xc1\x01a")
        assert came.get().type == "before"
        assert isinstance(at.session.wait_closed(SOON).error, ProtocolError)


def test_a_message_over_the_limit_is_refused_before_it_is_read() -> None:
    closed = Heard()
    with manual(limits=Limits(max_message_bytes=10_000), on_close=closed) as at:
        at.line.sock.sendall(struct.pack("!BBH", 0x81, 126, 10_001))
        info = closed.get()
    assert isinstance(info.error, MessageTooLarge)
    assert "10,001 bytes" in str(info.error)


def test_the_advice_in_the_message_of_a_too_large_message_is_an_option_that_exists() -> None:
    info, _ = end(lambda line: line.sock.sendall(struct.pack("!BBQ", 0x81, 127, 1 << 40)))
    text = str(info.error)
    assert "max_message_bytes" in text
    assert Limits(max_message_bytes=1 << 41)
    assert "Limits" in text  # RealtimeClient itself has no such argument


# ---- the server hangs up on us while we talk ----------------------------------------------------------------------


class Gate:
    """A session whose network thread reads nothing until `open`: its inbox is full, its reader is in a callback."""

    def __init__(self) -> None:
        self.stuck = threading.Event()
        self.go = threading.Event()

    def __call__(self, _: object) -> None:
        self.stuck.set()
        self.go.wait(SOON)


@pytest.mark.parametrize("writes", [False, True])
def test_what_the_server_said_before_it_reset_the_connection_is_heard(writes: bool) -> None:
    """A server that closes with our audio unread resets the connection: its reason lies in the buffer all the same."""
    gate, closed, last = Gate(), Heard(), Heard()
    with manual(limits=Limits(inbox_bytes=1024), on_close=closed) as at:
        at.session.on("gate")(gate)
        at.session.on("last")(last)
        at.line.send({"type": "gate", "padding": "x" * 2000})
        assert gate.stuck.wait(SOON)
        at.line.send_at_once({"type": "last"}, then=server_frame(8, close_payload(1007, FREE_TIER)))
        at.line.reset()
        if writes:
            at.session.append_audio(PCM)
            assert at.session._connection is not None
            at.session._connection.wait_ended(time.monotonic() + SOON)  # the write has failed
        gate.go.set()
        info = closed.get()
        assert last.get().type == "last"
    assert (info.who, info.code, info.reason) == ("server", 1007, FREE_TIER)
    assert isinstance(info.error, QuotaExceededError)


# ---- keep-alive ---------------------------------------------------------------------------------------------------


def test_pings_are_sent_at_the_interval() -> None:
    with manual(keepalive=Keepalive(ping_interval=0.05, ping_timeout=None)) as at:
        start = time.monotonic()
        opcodes = [at.line.read_frame()[0] for _ in range(3)]
        took = time.monotonic() - start
    assert opcodes == [9, 9, 9]
    assert took > 0.08


def test_no_pings_where_none_are_wanted() -> None:
    with manual(keepalive=Keepalive(ping_interval=None)) as at:
        assert at.sees_nothing() == []


def test_a_dead_peer_is_noticed_within_interval_and_timeout() -> None:
    closed = Heard()
    with manual(keepalive=Keepalive(ping_interval=0.1, ping_timeout=0.2), on_close=closed) as at:
        start = time.monotonic()
        info = closed.get()
        assert 0.25 < time.monotonic() - start < 2
        assert (info.who, info.code) == ("network", 1006)
        assert isinstance(info.error, DeadlineExceeded)
        assert at.line.read_frame()[0] == 9


def test_a_peer_that_answers_pings_lives() -> None:
    with manual(keepalive=Keepalive(ping_interval=0.03, ping_timeout=0.25)) as at:
        for _ in range(20):  # more than twice the timeout
            opcode, payload = at.line.read_frame()
            assert opcode == 9
            at.line.send_frame(10, payload)
        assert at.session.is_open


@pytest.mark.parametrize("word", ["event", "ping"])
def test_any_word_from_the_peer_shows_that_it_lives(word: str) -> None:
    with manual(keepalive=Keepalive(ping_interval=0.03, ping_timeout=0.25)) as at:
        for _ in range(20):
            while at.line.read_frame()[0] != 9:
                pass
            at.line.send({"type": "word"}) if word == "event" else at.line.send_frame(9, b"")
        assert at.session.is_open


def test_a_large_message_that_comes_slowly_shows_that_the_peer_lives() -> None:
    """Every byte is a sign of life, not only the last one of a message."""
    came = Heard()
    with manual(keepalive=Keepalive(ping_interval=0.03, ping_timeout=0.25)) as at:
        at.session.on("large")(came)
        data = server_frame(1, b'{"type": "large", "text": "' + b"x" * 300 + b'"}')
        pieces = [data[start : start + 10] for start in range(0, len(data), 10)]
        assert len(pieces) > 30
        for piece in pieces:  # one for every ping, which nobody answers
            assert at.line.read_frame()[0] == 9
            at.line.sock.sendall(piece)
        assert came.get().type == "large"
        assert at.session.is_open


def test_pings_are_answered_while_a_callback_blocks() -> None:
    gate = Gate()
    with manual() as at:
        at.session.on("gate")(gate)
        at.line.send({"type": "gate"})
        assert gate.stuck.wait(SOON)
        for number in range(3):
            at.line.send_frame(9, b"are you there? %d" % number)
            assert at.line.read_frame() == (10, b"are you there? %d" % number)
        gate.go.set()


def test_pings_are_answered_before_what_still_waits_in_the_outbox() -> None:
    with manual(limits=Limits(outbox_bytes=64 * 1024 * 1024)) as at:
        for _ in range(24):
            at.session.append_audio(b"\0\0" * 512 * 1024)  # together more than the operating system's buffers hold
        at.line.send_frame(9, b"x")
        opcodes = []
        while len(opcodes) < 25:
            opcodes.append(at.line.read_frame()[0])
        assert opcodes.count(10) == 1
        assert opcodes[-1] == 1


# ---- forks --------------------------------------------------------------------------------------------------------


def in_child(check: Callable[[], None]) -> int:
    """Run a check in a forked child; 0 means that it passed."""
    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is exactly what is tested
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            check()
            status = 0
        finally:
            os._exit(status)
    _, result = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(result)


def test_in_a_forked_child_the_session_refuses_everything_and_lives_on_in_the_parent() -> None:
    with manual() as at:
        session = at.session

        def check() -> None:
            assert not session.is_open
            assert "RealtimeSession" in repr(session)
            for call in (
                lambda: session.append_audio(PCM),
                session.commit,
                session.create_response,
                session.cancel_response,
                lambda: session.wait_for("x"),
                lambda: session.ask(text="x"),
                lambda: session.send_raw({"type": "x"}),
                session.wait_closed,
                session.close,
            ):
                try:
                    call()
                except ForkedSessionError as error:
                    assert str(os.getppid()) in str(error)
                else:
                    raise AssertionError("it pretended to send")

        assert in_child(check) == 0
        session.commit()
        assert at.line.read_event()["type"] == "input_audio_buffer.commit"


def test_a_forked_child_can_open_a_session_of_its_own() -> None:
    def script(line: Line) -> None:
        line.open()
        line.drain()

    with Peer(script) as peer:
        session = client_for(peer.url).session(MODEL).connect()

        def check() -> None:
            with session:
                assert session.is_open
            assert session.close_info is not None

        assert in_child(check) == 0
        assert session.is_open
        session.close()


def test_the_end_of_a_session_is_seen_by_the_server_though_a_forked_child_lives() -> None:
    """The child holds copies of the sockets; the parent's end must reach the server all the same."""
    reader, writer = os.pipe()
    gone = threading.Event()

    def script(line: Line) -> None:
        line.open()
        line.drain()
        gone.set()

    with Peer(script) as peer:
        session = client_for(peer.url).session(MODEL).connect()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            try:
                os.close(writer)
                os.read(reader, 1)  # until the parent closes its end
            finally:
                os._exit(0)
        os.close(reader)
        try:
            session.close()
            assert gone.wait(SOON)
        finally:
            os.close(writer)
            os.waitpid(pid, 0)


# ---- nothing is left ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "act",
    [
        lambda line: line.send_frame(8, close_payload(1011)),
        lambda line: line.reset(),
        lambda line: line.sock.shutdown(1),
        lambda line: line.sock.sendall(b"\xc1\x01a"),
    ],
    ids=["close frame", "reset", "end of stream", "breach"],
)
def test_threads_and_descriptors_end_with_the_session_without_close(act: Callable[[Line], None]) -> None:
    """Nobody calls close(): the end alone gives everything back."""
    with dialled() as at:
        mine = [each for each in threading.enumerate() if each.name.startswith("dashscope_rt-")]
        before = open_sockets()
        act(at.line)
        at.session.wait_closed(SOON)
        for thread in mine:
            thread.join(SOON)
        assert not any(thread.is_alive() for thread in mine)
        # The socket of the session, what wakes the thread, and its selector.
        assert len(before - open_sockets()) >= 3


def test_a_hundred_sessions_leave_nothing() -> None:
    def script(line: Line) -> None:
        line.open()
        line.drain()

    with Peer(script) as peer:
        client = client_for(peer.url)
        calls = [Background(visit, client) for _ in range(4)]
        for call in calls:
            call.result(30)
    names = [each.name for each in threading.enumerate() if each.name.startswith("dashscope_rt-")]
    assert names == []


def visit(client: Any) -> None:
    for _ in range(25):
        with client.session(MODEL):
            pass


@pytest.mark.parametrize(
    ("info", "text"),
    [
        (CloseInfo(who="client", code=1000), "closed by the client (code 1000)"),
        (CloseInfo(who="server", code=1011, reason="bye"), "closed by the server (code 1011, 'bye')"),
        (CloseInfo(who="network", code=1006, error=ConnectionFailed("reset")), "connection lost (code 1006): reset"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.who,
)
def test_the_end_in_words_names_who_code_reason_and_error(info: CloseInfo, text: str) -> None:
    assert str(info) == text
