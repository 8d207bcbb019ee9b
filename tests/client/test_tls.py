"""Over TLS: a CA of one's own is trusted where it is named, everything else is refused with clear words."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trustme

from dashscope_rt import ConnectionFailed, RealtimeClient, Timeouts
from tests.client.wire import KEY, MODEL, PCM, Heard, client_for, spoken
from tests.peer import SOON, Line, Peer


@attrs.define
class Authority:
    """A CA, its file, and contexts of servers it vouches for."""

    ca: trustme.CA
    file: Path

    def server(self, host: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(host).configure_cert(context)
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    ca = trustme.CA()
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    return Authority(ca, file)


@contextlib.contextmanager
def secure_peer(context: ssl.SSLContext, heard: Heard) -> Iterator[str]:
    """A peer behind TLS; ``heard`` gets the requests that came through."""

    def script(line: Line) -> None:
        line.sock = context.wrap_socket(line.sock, server_side=True)
        line.sock.settimeout(SOON)
        line.open()
        heard(line.request)
        line.read_event("input_audio_buffer.commit")
        for event in spoken(pcm=(PCM * 200,) * 3):
            line.send(event)
        line.drain()

    with Peer(script) as peer:
        yield peer.url.replace("ws://", "wss://")
        if isinstance(peer.error, AssertionError):
            raise peer.error


def test_a_session_over_tls_with_a_ca_of_ones_own(authority: Authority) -> None:
    requests, done = Heard(), Heard()
    with secure_peer(authority.server("127.0.0.1"), requests) as url:
        client = client_for(url, ca_file=authority.file)
        with client.session(MODEL, on_done=done) as session:
            for _ in range(20):
                session.append_audio(PCM * 100)
            session.send_raw({"type": "input_audio_buffer.commit"})
            response = done.get()
        assert response.audio == PCM * 600
        assert f"Authorization: Bearer {KEY}" in requests.get()


def test_both_directions_at_once_over_tls(authority: Authority) -> None:
    """Two threads on one TLS connection are a data race inside OpenSSL: here one thread does both, and nothing is lost."""
    context, echoed, count = authority.server("127.0.0.1"), Heard(), 400

    def script(line: Line) -> None:
        line.sock = context.wrap_socket(line.sock, server_side=True)
        line.sock.settimeout(SOON)
        line.open()
        for _ in range(count):
            event = line.read_event("numbered")
            line.send({"type": "echo", "number": event["number"], "padding": event["padding"]})
        line.drain()

    with Peer(script) as peer:
        session = client_for(peer.url.replace("ws:", "wss:"), ca_file=authority.file).session(MODEL)
        session.on("echo")(lambda event: echoed((event.raw["number"], len(event.raw["padding"]))))
        with session:
            for number in range(count):
                session.send_raw({"type": "numbered", "number": number, "padding": "x" * (number * 97 % 40_000)})
            got = [echoed.get() for _ in range(count)]
            assert session.is_open
    assert got == [(number, number * 97 % 40_000) for number in range(count)]


def test_a_context_of_ones_own_is_used_as_it_is(authority: Authority) -> None:
    context = ssl.create_default_context(cafile=str(authority.file))
    with (
        secure_peer(authority.server("127.0.0.1"), Heard()) as url,
        client_for(url, ssl_context=context).session(MODEL) as session,
    ):
        assert session.is_open


@pytest.mark.parametrize(
    ("host", "trusted", "says"),
    [
        ("127.0.0.1", False, r"not trusted.*(issuer|self.signed).*ca_file"),
        ("other.example", True, r"127\.0\.0\.1"),
    ],
    ids=["unknown CA", "wrong host name"],
)
def test_a_certificate_that_is_not_good_is_refused_before_the_key_goes_out(
    authority: Authority, host: str, trusted: bool, says: str
) -> None:
    requests = Heard()
    with secure_peer(authority.server(host), requests) as url:
        client = client_for(url, **({"ca_file": authority.file} if trusted else {}))
        with pytest.raises(ConnectionFailed, match=says) as caught:
            client.session(MODEL).connect()
    assert not caught.value.retryable
    assert requests.all == []


def test_a_wrong_host_name_is_not_explained_with_an_unknown_ca(authority: Authority) -> None:
    """ca_file would not help, so it is not what the message advises."""
    with (
        secure_peer(authority.server("other.example"), Heard()) as url,
        pytest.raises(ConnectionFailed, match=r"(?i)hostname mismatch|ip address mismatch") as caught,
    ):
        client_for(url, ca_file=authority.file).session(MODEL).connect()
    assert "ca_file" not in str(caught.value)


def test_a_service_without_tls_behind_wss_is_a_failed_connection() -> None:
    def script(line: Line) -> None:
        line.sock.settimeout(SOON)
        line.sock.recv(64)
        line.sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with Peer(script) as peer, pytest.raises(ConnectionFailed):
        client_for(peer.url.replace("ws:", "wss:")).session(MODEL).connect()


def test_ca_file_and_context_together_are_refused(authority: Authority) -> None:
    with pytest.raises(ValueError, match="not both"):
        RealtimeClient(KEY, ca_file=authority.file, ssl_context=ssl.create_default_context())


def test_a_ca_file_that_is_missing_is_told_when_it_is_needed(tmp_path: Path) -> None:
    session = client_for("wss://127.0.0.1:9", ca_file=tmp_path / "none.pem").session(MODEL)
    with pytest.raises((OSError, ValueError), match=r"none\.pem|No such file"):
        session.connect()


def test_an_end_without_goodbye_inside_tls_is_the_end_of_the_session(authority: Authority) -> None:
    """No close frame, no close_notify: the socket just ends."""
    context, closed = authority.server("127.0.0.1"), Heard()

    def script(line: Line) -> None:
        line.sock = context.wrap_socket(line.sock, server_side=True)
        line.open()
        line.read_event("input_audio_buffer.commit")
        socket.socket.shutdown(line.sock, socket.SHUT_RDWR)  # the socket's own, below TLS

    with Peer(script) as peer:
        client = client_for(peer.url.replace("ws:", "wss:"), ca_file=authority.file, timeouts=Timeouts(close=SOON))
        session = client.session(MODEL, on_close=closed).connect()
        session.send_raw({"type": "input_audio_buffer.commit"})
        info = closed.get()
        assert (info.who, info.code) == ("network", 1006)
        assert isinstance(info.error, ConnectionFailed)
        session.close()
