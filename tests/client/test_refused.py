"""A refused connection is reported at once, as the class that says why, with everything the service told."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any

import pytest

from dashscope_rt import (
    APIError,
    AuthenticationError,
    BadRequestError,
    CloseInfo,
    ConnectionClosed,
    ConnectionFailed,
    DeadlineExceeded,
    ModelNotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    ServiceBusyError,
    Timeouts,
)
from dashscope_rt._network import upgrade
from dashscope_rt._session import connection as _connection
from tests.client.wire import FREE_TIER, MODEL, Event, Heard, client_for, created, error_event
from tests.peer import SOON, Line, Peer, close_payload, server_frame

FLAT = {"code": "InvalidApiKey", "message": "Invalid API-key provided.", "request_id": "req-1"}
NESTED = {"error": {"code": "invalid_api_key", "message": "Incorrect API key.", "type": "invalid_request_error"}}


def refusal(status: int, body: bytes = b"", headers: dict[str, str] | None = None, **options: Any) -> Exception:
    """What connect() raises when the service answers so, and keeps the connection open."""
    over = threading.Event()

    def script(line: Line) -> None:
        line.refuse(status, body, headers)
        over.wait(SOON)

    with Peer(script) as peer:
        session = client_for(peer.url, **options).session(MODEL)
        try:
            with pytest.raises(Exception) as caught:
                session.connect()
        finally:
            over.set()
    return caught.value


@pytest.mark.parametrize(
    ("status", "body", "says", "code", "request_id"),
    [
        (401, json.dumps(FLAT).encode(), "Invalid API-key provided.", "InvalidApiKey", "req-1"),
        (401, json.dumps(NESTED).encode(), "Incorrect API key.", "invalid_api_key", None),
        (401, b"{}", "HTTP 401", "", None),
        (401, b"", "HTTP 401", "", None),
        (401, b"<html><body>401 Unauthorized</body></html>", "HTTP 401", "", None),
        (401, b"no such key", "no such key", "", None),
        (401, b'{"error": "no such key"}', "HTTP 401", "", None),
        (401, b"[1, 2]", "", "", None),
        (401, b"\xff\xfe", "", "", None),
        (403, json.dumps(FLAT).encode(), "Invalid API-key provided.", "InvalidApiKey", "req-1"),
        (403, json.dumps(NESTED).encode(), "Incorrect API key.", "invalid_api_key", None),
    ],
    ids=["flat", "nested", "{}", "none", "html", "plain", "odd", "list", "binary", "403 flat", "403 nested"],
)
def test_a_wrong_key_is_an_authentication_error_whatever_the_body(
    status: int, body: bytes, says: str, code: str, request_id: str | None
) -> None:
    error = refusal(status, body)
    assert type(error) is AuthenticationError
    assert says in error.message
    assert (error.status, error.code, error.request_id) == (status, code, request_id)
    assert error.body == (body.decode("utf-8", "replace") or None)
    assert not error.retryable


def test_a_wrong_key_is_reported_in_under_100_ms() -> None:
    """Also when the service leaves the connection open after its refusal."""

    def took() -> float:
        start = time.perf_counter()
        assert isinstance(refusal(401, json.dumps(FLAT).encode()), AuthenticationError)
        return time.perf_counter() - start

    assert min(took() for _ in range(5)) < 0.1


@pytest.mark.parametrize("name", ["X-Request-Id", "X-DashScope-Request-Id", "x-acs-request-id"])
@pytest.mark.parametrize("body", [b"{}", b""], ids=["{}", "none"])
def test_the_request_id_is_taken_from_the_headers(name: str, body: bytes) -> None:
    error = refusal(401, body, {name: "req-77"})
    assert isinstance(error, AuthenticationError)
    assert error.request_id == "req-77"
    assert "req-77" in str(error)


@pytest.mark.parametrize(
    ("status", "code", "kind", "retryable"),
    [
        (400, "", BadRequestError, False),
        (403, "", PermissionDeniedError, False),
        (403, "Model.AccessDenied", PermissionDeniedError, False),
        (403, "AllocationQuota.FreeTierOnly", QuotaExceededError, False),
        (403, "Arrearage", QuotaExceededError, False),
        (404, "", ModelNotFoundError, False),
        (404, "ModelNotFound", ModelNotFoundError, False),
        (429, "", RateLimitError, True),
        (429, "Throttling.RateQuota", RateLimitError, True),
        (429, "Throttling.AllocationQuota", RateLimitError, True),
        (429, "insufficient_quota", QuotaExceededError, False),
        (500, "", ServiceBusyError, True),
        (500, "InternalError", ServiceBusyError, True),
        (502, "", ServiceBusyError, True),
        (503, "", ServiceBusyError, True),
    ],
)
def test_a_refusal_is_the_class_that_says_why(status: int, code: str, kind: type[APIError], retryable: bool) -> None:
    error = refusal(status, json.dumps({"code": code, "message": "said so"} if code else {}).encode())
    assert type(error) is kind
    assert error.status == status
    assert error.code == code
    assert error.retryable is retryable


def test_a_body_that_comes_in_pieces_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade, "_READ_SIZE", 7)
    error = refusal(401, json.dumps(FLAT).encode())
    assert isinstance(error, AuthenticationError)
    assert error.request_id == "req-1"


def raw_refusal(answer: bytes, **options: Any) -> Exception:
    """What connect() raises when the service writes these bytes and ends the stream."""

    def script(line: Line) -> None:
        line.read_request()
        line.sock.sendall(answer)
        line.sock.shutdown(socket.SHUT_WR)
        line.sock.settimeout(SOON)
        line.sock.recv(1)

    with Peer(script) as peer, pytest.raises(Exception) as caught:
        client_for(peer.url, **options).session(MODEL).connect()
    return caught.value


def test_a_body_without_a_length_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade, "_READ_SIZE", 7)
    error = raw_refusal(b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\n" + json.dumps(FLAT).encode())
    assert isinstance(error, AuthenticationError)
    assert (error.code, error.request_id) == ("InvalidApiKey", "req-1")


def test_a_chunked_body_is_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade, "_READ_SIZE", 7)
    body = json.dumps(FLAT).encode()
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (body[:10], body[10:])) + b"0\r\n\r\n"
    error = raw_refusal(b"HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked)
    assert isinstance(error, AuthenticationError)
    assert (error.message[:25], error.code, error.request_id) == ("Invalid API-key provided.", "InvalidApiKey", "req-1")


def test_a_body_shorter_than_announced_is_still_a_refused_key() -> None:
    error = raw_refusal(b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 999\r\n\r\n{"code":')
    assert isinstance(error, AuthenticationError)


def test_a_refusal_whose_body_never_ends_is_still_a_refused_key() -> None:
    over = threading.Event()

    def script(line: Line) -> None:
        line.read_request()
        line.sock.sendall(b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 999\r\n\r\n{"code":')
        over.wait(SOON)

    with Peer(script) as peer, pytest.raises(AuthenticationError):
        try:
            client_for(peer.url, timeouts=Timeouts(connect=0.3)).session(MODEL).connect()
        finally:
            over.set()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_the_key_does_not_go_there(status: int) -> None:
    with Peer(lambda line: line.open()) as other:
        error = refusal(status, b"", {"Location": other.url})
        assert isinstance(error, ConnectionFailed)
        assert "redirect" in str(error)
        assert "127.0.0.1" in str(error)
        assert not error.retryable
        assert other.lines == []


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: bm8=\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 abc No\r\n\r\n",
        b"\xff\xfe\xfd\r\n\r\n",
        b"\r\n\r\n",
        b"",
    ],
    ids=["200", "no upgrade", "wrong accept", "ssh", "bad status", "binary", "empty lines", "nothing"],
)
def test_an_answer_that_is_no_websocket_is_a_failed_connection(answer: bytes) -> None:
    assert isinstance(raw_refusal(answer), ConnectionFailed)


def test_an_endless_answer_is_given_up() -> None:
    def script(line: Line) -> None:
        line.read_request()
        line.sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\n")
        while True:
            line.sock.sendall(b"X-Padding: " + b"x" * 60000 + b"\r\n")

    with Peer(script) as peer, pytest.raises(Exception, match="does not end"):
        client_for(peer.url).session(MODEL).connect()


def test_a_refused_port_is_a_failed_connection_that_may_be_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionFailed, match=f"127.0.0.1:{port} refused the connection") as caught:
        client_for(f"ws://127.0.0.1:{port}").session(MODEL).connect()
    assert caught.value.retryable
    assert isinstance(caught.value, ConnectionError)


def test_an_unknown_host_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    with pytest.raises(ConnectionFailed, match="the host nowhere.invalid was not found") as caught:
        client_for("wss://nowhere.invalid").session(MODEL).connect()
    assert caught.value.retryable


# ---- after the upgrade --------------------------------------------------------------------------------------------


def refusal_after(answer: Event | bytes, *, early: bool = False, **options: Any) -> tuple[Exception, Heard]:
    """What connect() raises when the service answers the upgrade, and then with this instead of going on."""
    closed = Heard()

    def script(line: Line) -> None:
        line.sock.settimeout(SOON)
        line.accept()
        if not early:
            line.send(created())
            line.read_event("session.update")
        if isinstance(answer, bytes):
            line.send_frame(8, answer)
        else:
            line.send(answer)
        line.drain()

    with Peer(script) as peer:
        session = client_for(peer.url).session(MODEL, voice="Tina", on_close=closed, **options)
        with pytest.raises(Exception) as caught:
            session.connect()
        assert not session.is_open
        with pytest.raises(ConnectionClosed):
            session.commit()
    return caught.value, closed


@pytest.mark.parametrize("early", [True, False], ids=["before session.created", "before session.updated"])
def test_an_over_long_close_reason_about_the_quota_is_kept_whole(early: bool) -> None:
    assert len(FREE_TIER) > 130
    error, closed = refusal_after(close_payload(1007, FREE_TIER), early=early)
    assert type(error) is QuotaExceededError
    assert error.message == FREE_TIER
    assert not error.retryable
    assert closed.all == []  # what never opened does not close


def test_a_quota_close_right_after_session_created_is_raised_by_connect_or_told_to_on_close(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However slow the connecting thread is to wake up, connect() tells the quota and not just that it is over."""
    wait = _connection.Connection._wait

    def slow(connection: _connection.Connection, ready: Any, deadline: float) -> bool:
        done = wait(connection, ready, deadline)
        connection.changed.wait_for(lambda: connection.info is not None, SOON)
        return done

    monkeypatch.setattr(_connection.Connection, "_wait", slow)

    def script(line: Line) -> None:
        line.accept()
        line.send_at_once(created(), then=server_frame(8, close_payload(1007, FREE_TIER)))
        line.drain()

    with Peer(script) as peer, pytest.raises(QuotaExceededError) as caught:
        client_for(peer.url).session(MODEL).connect()
    assert caught.value.message == FREE_TIER


def test_a_quota_close_of_an_open_session_is_told_to_on_close() -> None:
    closed = Heard()

    def script(line: Line) -> None:
        line.open()
        line.send_frame(8, close_payload(1007, FREE_TIER))
        line.drain()

    with Peer(script) as peer:
        session = client_for(peer.url).session(MODEL, on_close=closed)
        try:
            session.connect()
        except (QuotaExceededError, ConnectionClosed):
            pass  # the close came before connect() returned
        else:
            info = closed.get()
            assert isinstance(info, CloseInfo)
            assert (info.who, info.code, info.reason) == ("server", 1007, FREE_TIER)
            assert isinstance(info.error, QuotaExceededError)
            assert session.close_info is info


def test_a_refused_configuration_is_raised_by_connect() -> None:
    text = "Invalid modalities: ['audio']. Supported combinations are: ['text'] and ['audio', 'text']."
    answer = error_event(text, code="invalid_value", param="session.modalities")
    error, closed = refusal_after(answer)
    assert type(error) is BadRequestError
    assert error.message == text
    assert (error.code, error.param, error.error_type) == (
        "invalid_value",
        "session.modalities",
        "invalid_request_error",
    )
    assert error.event is not None
    assert closed.all == []


def test_an_error_in_place_of_session_created_is_raised_by_connect() -> None:
    error, _ = refusal_after(error_event("Access denied.", code="AccessDenied"), early=True)
    assert type(error) is PermissionDeniedError


@pytest.mark.parametrize("early", [True, False], ids=["before session.created", "before session.updated"])
def test_a_close_before_the_session_is_ready_is_raised_with_its_code(early: bool) -> None:
    """So does the service with a model it does not know: it lets the client in and hangs up."""
    error, closed = refusal_after(close_payload(1000, "bye"), early=early)
    assert isinstance(error, ConnectionClosed)
    assert error.info is not None
    assert (error.info.who, error.info.code, error.info.reason) == ("server", 1000, "bye")
    assert closed.all == []


def test_an_end_of_stream_before_the_session_is_ready_is_raised() -> None:
    def script(line: Line) -> None:
        line.accept()

    with Peer(script) as peer, pytest.raises(ConnectionFailed, match="without a close frame"):
        client_for(peer.url).session(MODEL).connect()


def test_a_refused_session_can_be_opened_later() -> None:
    answers = iter([401, 101])

    def script(line: Line) -> None:
        if next(answers) == 401:
            line.refuse(401, b"{}")
        else:
            line.open()
            line.drain()

    with Peer(script) as peer:
        session = client_for(peer.url).session(MODEL)
        with pytest.raises(AuthenticationError):
            session.connect()
        with session:
            assert session.is_open


def test_an_answer_that_never_ends_does_not_outlast_the_deadline() -> None:
    """A refusal is no reason to wait longer than Timeouts.connect."""

    def script(line: Line) -> None:
        line.read_request()
        line.sock.sendall(b"HTTP/1.1 503 Busy\r\n\r\n")
        line.sock.settimeout(SOON)
        line.sock.recv(1)

    with Peer(script) as peer:
        start = time.monotonic()
        with pytest.raises((ServiceBusyError, DeadlineExceeded)):
            client_for(peer.url, timeouts=Timeouts(connect=0.3)).session(MODEL).connect()
        assert time.monotonic() - start < 2
