"""Through a proxy: a tunnel first, then TLS and the key; nothing of the key for the proxy, clear words when it refuses."""

from __future__ import annotations

import base64
import contextlib
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator

import attrs
import pytest

from dashscope_rt import ConnectionFailed, DeadlineExceeded, RealtimeClient, Timeouts
from tests.client.wire import KEY, MODEL, client_for
from tests.peer import SOON, Line, Peer


@attrs.define
class Tunnel:
    """A tiny CONNECT proxy: what it was asked, and where it listens."""

    port: int
    requests: list[str] = attrs.field(factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def tunnel(answer: Callable[[str], bytes | None] | None = None) -> Iterator[Tunnel]:
    """``answer`` may refuse: it gets the request and gives what is answered instead of connecting."""

    def script(line: Line) -> None:
        request = line.read_request()
        proxy.requests.append(request)
        refusal = answer(request) if answer is not None else None
        if refusal is not None:
            line.sock.sendall(refusal)
            line.swallow()
            return
        host, port = request.split(" ")[1].rsplit(":", 1)
        with socket.create_connection((host.strip("[]"), int(port))) as onward:
            line.sock.sendall(b"HTTP/1.1 200 Connection established\r\nVia: tiny\r\n\r\n")
            back = threading.Thread(target=pump, args=(onward, line.sock), daemon=True)
            back.start()
            pump(line.sock, onward)
            back.join(SOON)

    with Peer(script) as peer:
        proxy = Tunnel(int(peer.url.split(":")[2].split("/")[0]))
        yield proxy


def service(line: Line) -> None:
    line.open()
    line.drain()


def port_of(url: str) -> int:
    return int(url.split(":")[2].split("/", maxsplit=1)[0])


def test_a_session_goes_through_the_proxy_that_is_given() -> None:
    with Peer(service) as peer, tunnel() as proxy:
        with client_for(peer.url, proxy=proxy.url).session(MODEL) as session:
            assert session.is_open
        assert proxy.requests[0].startswith(f"CONNECT 127.0.0.1:{port_of(peer.url)} HTTP/1.1\r\n")
        assert KEY not in proxy.requests[0]
        assert "Proxy-Authorization" not in proxy.requests[0]
        assert peer.lines[0].request.startswith("GET /api-ws/v1/realtime?model=")


def test_user_and_password_go_to_the_proxy_only() -> None:
    with Peer(service) as peer, tunnel() as proxy:
        url = f"http://me%40home:open%3Asesame@127.0.0.1:{proxy.port}"
        with client_for(peer.url, proxy=url).session(MODEL):
            pass
        token = base64.b64encode(b"me@home:open:sesame").decode()
        assert f"Proxy-Authorization: Basic {token}" in proxy.requests[0]
        assert token not in peer.lines[0].request


def test_an_ipv6_address_is_put_into_brackets_for_the_proxy() -> None:
    with tunnel(lambda _: b"HTTP/1.1 502 Bad Gateway\r\n\r\n") as proxy:
        with pytest.raises(ConnectionFailed):
            client_for("ws://[::1]:8765/x", proxy=proxy.url).session(MODEL).connect()
        assert proxy.requests[0].startswith("CONNECT [::1]:8765 HTTP/1.1\r\nHost: [::1]:8765")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
            "407 Proxy Authentication Required",
        ),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "403 Forbidden"),
        (b"HTTP/1.0 502 Bad Gateway\r\n\r\n", "502 Bad Gateway"),
        (b"nonsense\r\n\r\n", "nonsense"),
    ],
    ids=["407", "403", "502", "nonsense"],
)
def test_a_proxy_that_refuses_is_quoted(answer: bytes, says: str) -> None:
    with Peer(service) as peer, tunnel(lambda _: answer) as proxy:
        session = client_for(peer.url, proxy=f"http://me:open-sesame@127.0.0.1:{proxy.port}").session(MODEL)
        with pytest.raises(ConnectionFailed, match=says) as caught:
            session.connect()
        assert f"127.0.0.1:{proxy.port}" in str(caught.value)
        assert "open-sesame" not in str(caught.value)
        assert peer.lines == []


def test_a_proxy_that_hangs_up_is_a_failed_connection() -> None:
    def script(line: Line) -> None:
        line.read_request()

    with Peer(script) as proxy, pytest.raises(ConnectionFailed, match="proxy"):
        client_for("ws://127.0.0.1:9", proxy=f"http://127.0.0.1:{port_of(proxy.url)}").session(MODEL).connect()


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 200"], ids=["nothing", "half a line"])
def test_a_proxy_that_does_not_answer_is_given_up_at_the_deadline(says: bytes) -> None:
    with tunnel(lambda _: says) as proxy:
        session = client_for("ws://127.0.0.1:9", proxy=proxy.url, timeouts=Timeouts(connect=0.2)).session(MODEL)
        start = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            session.connect()
        assert time.monotonic() - start < 2


def test_a_proxy_nobody_listens_at_is_named_and_not_the_service() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionFailed, match=f"proxy.*127.0.0.1:{port}|127.0.0.1:{port}.*proxy"):
        client_for("ws://service.invalid:80", proxy=f"http://127.0.0.1:{port}").session(MODEL).connect()


# ---- the environment ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["http_proxy", "all_proxy", "ALL_PROXY"])
def test_the_proxy_of_the_environment_is_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Peer(service) as peer, tunnel() as proxy:
        monkeypatch.setenv(name, proxy.url)
        with RealtimeClient(KEY, url=peer.url).session(MODEL):
            pass
        assert len(proxy.requests) == 1


def test_a_proxy_without_a_scheme_is_an_http_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with Peer(service) as peer, tunnel() as proxy:
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{proxy.port}")
        with RealtimeClient(KEY, url=peer.url).session(MODEL):
            pass
        assert len(proxy.requests) == 1


@pytest.mark.parametrize("where", ["argument", "no_proxy"])
def test_no_proxy_is_taken_where_none_is_wanted(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Peer(service) as peer, tunnel() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        if where == "no_proxy":
            monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
        client = RealtimeClient(KEY, url=peer.url, proxy="" if where == "argument" else None)
        with client.session(MODEL):
            pass
        assert proxy.requests == []


def test_the_environment_is_looked_at_for_every_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with Peer(service) as peer, tunnel() as proxy:
        session = RealtimeClient(KEY, url=peer.url).session(MODEL)
        with session:
            pass
        monkeypatch.setenv("http_proxy", proxy.url)
        with session:
            pass
        assert len(proxy.requests) == 1
        assert len(peer.lines) == 2


@pytest.mark.parametrize("proxy", ["ftp://host:1", "https://host:1", "http://", "socks6://host:1"])
def test_a_proxy_that_cannot_be_used_is_refused_when_the_client_is_made(proxy: str) -> None:
    with pytest.raises(ValueError, match="proxy must be"):
        client_for("ws://127.0.0.1:9", proxy=proxy)


# ---- SOCKS --------------------------------------------------------------------------------------------------------


def test_without_python_socks_a_socks_proxy_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_socks.sync", None)
    monkeypatch.setitem(sys.modules, "python_socks", None)
    with pytest.raises(ConnectionFailed, match=r"pip install .*\[socks\]") as caught:
        client_for("ws://127.0.0.1:9", proxy="socks5://127.0.0.1:9").session(MODEL).connect()
    assert not caught.value.retryable


def test_a_socks5_proxy_is_gone_through() -> None:
    pytest.importorskip("python_socks")
    asked: list[bytes] = []

    def script(line: Line) -> None:
        count = line._take(2)[1]
        line._take(count)
        line.sock.sendall(b"\x05\x00")
        _, _, _, kind = line._take(4)
        assert kind in (1, 3)
        host = line._take(4) if kind == 1 else line._take(line._take(1)[0])
        (port,) = struct.unpack("!H", line._take(2))
        asked.append(host)
        with socket.create_connection(("127.0.0.1", port)) as onward:
            line.sock.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
            back = threading.Thread(target=pump, args=(onward, line.sock), daemon=True)
            back.start()
            pump(line.sock, onward)
            back.join(SOON)

    with Peer(service) as peer, Peer(script) as proxy:
        with client_for(peer.url, proxy=f"socks5://127.0.0.1:{port_of(proxy.url)}").session(MODEL) as session:
            assert session.is_open
        assert asked
