"""The WebSocket on a WSGI server's socket, with a real client at the other end of a real connection."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import websocket
from websockets.asyncio.client import connect

from dashscope_rt.web.sockets import Gone
from dashscope_rt.web.wsgi_socket import NoSocketError, WsgiSocket, find_socket, is_upgrade

from .browser import SOON


def environ_of(sock: socket.socket) -> dict[str, Any]:
    """What a server makes of the request that it reads."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(1)
    lines = head.decode().split("\r\n")[1:]
    headers = [line.split(": ", 1) for line in lines if ": " in line]
    return {
        "gunicorn.socket": sock,
        "wsgi.multithread": True,
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers},
    }


class Pair:
    """A server's end and a client's end; ``serve`` runs on the server's thread."""

    def __init__(self, tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._tls = tls
        self.port = self._listener.getsockname()[1]
        self.error: BaseException | None = None
        self.thread: threading.Thread | None = None
        self.accepted: socket.socket | None = None

    def serve(self, work: Callable[[WsgiSocket], object], **options: Any) -> None:
        def run() -> None:
            try:
                sock, _ = self._listener.accept()
                if self._tls is not None:
                    sock = self._tls[0].wrap_socket(sock, server_side=True)
                self.accepted = sock
                work(WsgiSocket(environ_of(sock), **{"max_message": 1024 * 1024, **options}))
            except BaseException as error:
                self.error = error

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def client(self, **options: Any) -> websocket.WebSocket:
        scheme = "ws" if self._tls is None else "wss"
        if self._tls is not None:
            options["sslopt"] = {"context": self._tls[1]}
        return websocket.create_connection(f"{scheme}://127.0.0.1:{self.port}/", timeout=SOON, http_no_proxy=["*"], **options)

    def over(self) -> BaseException | None:
        assert self.thread is not None
        self.thread.join(SOON)
        assert not self.thread.is_alive()
        return self.error

    def close(self) -> None:
        self._listener.close()
        if self.accepted is not None:
            self.accepted.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def echo(sock: WsgiSocket) -> None:
    while True:
        message = sock.receive()
        if message is not None:
            sock.send(message)


@pytest.mark.parametrize("kind", ["poll", "select"])  # Windows has no poll
def test_text_binary_fragments_and_pings(pair: Pair, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "select":
        monkeypatch.delattr(select, "poll", raising=False)
    pair.serve(echo)
    client = pair.client()
    client.send("Grüße")
    assert client.recv() == "Grüße"
    client.send_binary(b"\x00\xff" * 50_000)
    assert client.recv() == b"\x00\xff" * 50_000
    client.send_frame(websocket.ABNF.create_frame("Gr", websocket.ABNF.OPCODE_TEXT, fin=0))
    client.ping("in between")
    client.send_frame(websocket.ABNF.create_frame("üße".encode(), websocket.ABNF.OPCODE_CONT, fin=1))
    assert client.recv_data_frame(control_frame=True)[1].data == b"in between", "a pong at once"
    assert client.recv() == "Grüße"
    client.close(1000)
    gone = pair.over()
    assert isinstance(gone, Gone)
    assert gone.code == 1000
    client.shutdown()


def test_a_close_frame_with_its_reason(pair: Pair) -> None:
    pair.serve(lambda sock: (sock.close(1013, "später " * 40), sock.receive()))
    client = pair.client()
    opcode, data = client.recv_data()
    assert opcode == websocket.ABNF.OPCODE_CLOSE
    assert struct.unpack_from("!H", data)[0] == 1013
    assert data[2:].decode().startswith("später"), "cut at a whole character"
    assert len(data) <= 125
    client.shutdown()
    assert isinstance(pair.over(), Gone)


def test_a_large_message_ends_it_and_the_reason_arrives_though_more_is_being_sent(pair: Pair) -> None:
    pair.serve(echo, max_message=1000)
    client = pair.client()
    client.send_frame(websocket.ABNF.create_frame(b"x" * 600, websocket.ABNF.OPCODE_BINARY, fin=0))
    client.send_frame(websocket.ABNF.create_frame(b"x" * 600, websocket.ABNF.OPCODE_CONT, fin=1))
    for _ in range(20):
        client.send_binary(b"y" * 900)
    opcode, data = client.recv_data()
    assert (opcode, struct.unpack_from("!H", data)[0]) == (websocket.ABNF.OPCODE_CLOSE, 1009)
    client.shutdown()
    assert isinstance(pair.over(), Gone)


def test_text_that_is_no_text_ends_it(pair: Pair) -> None:
    pair.serve(echo)
    client = pair.client()
    client.send_frame(websocket.ABNF.create_frame(b"\xff\xfe", websocket.ABNF.OPCODE_BINARY))
    assert client.recv() == b"\xff\xfe"
    frame = websocket.ABNF(1, 0, 0, 0, websocket.ABNF.OPCODE_TEXT, 1, b"\xff\xfe")
    client.send_frame(frame)
    opcode, data = client.recv_data()
    assert (opcode, struct.unpack_from("!H", data)[0]) == (websocket.ABNF.OPCODE_CLOSE, 1007)
    client.shutdown()
    assert isinstance(pair.over(), Gone)


def test_a_client_that_reads_nothing_is_given_up_in_time(pair: Pair) -> None:
    sent: list[int] = []

    def flood(sock: WsgiSocket) -> None:
        while True:
            sock.send(bytes(100_000))
            sent.append(1)

    pair.serve(flood, stalled_s=0.3)
    client = pair.client()
    gone = pair.over()
    assert isinstance(gone, Gone)
    assert gone.reason == "client too slow"
    assert 0 < len(sent) < 200, "what the kernel takes, and no more"
    client.shutdown()


def test_a_client_that_answers_no_ping_is_given_up(pair: Pair) -> None:
    pair.serve(echo, ping_s=0.05)
    client = pair.client()
    began = time.monotonic()
    assert isinstance(pair.over(), Gone)
    assert time.monotonic() - began < SOON / 2
    client.shutdown()


def test_pings_keep_a_quiet_connection_alive(pair: Pair) -> None:
    pair.serve(echo, ping_s=0.05)
    client = pair.client()
    for _ in range(6):
        assert client.recv_data_frame(control_frame=True)[0] == websocket.ABNF.OPCODE_PING  # and answers
    client.send("still there?")
    while (frame := client.recv_data_frame(control_frame=True))[0] == websocket.ABNF.OPCODE_PING:
        pass
    assert frame[1].data == b"still there?"
    client.shutdown()
    assert isinstance(pair.over(), Gone)


def test_receive_keeps_its_time(pair: Pair) -> None:
    results: list[object] = []
    pair.serve(lambda sock: results.append(sock.receive(0.05)))
    client = pair.client()
    assert pair.over() is None
    assert results == [None]
    client.shutdown()


def test_abort_wakes_whoever_waits(pair: Pair) -> None:
    ready: list[WsgiSocket] = []
    began = threading.Event()

    def wait(sock: WsgiSocket) -> None:
        ready.append(sock)
        began.set()
        sock.receive()

    pair.serve(wait)
    client = pair.client()
    assert began.wait(SOON)
    ready[0].abort()
    ready[0].abort()
    assert isinstance(pair.over(), Gone)
    with pytest.raises(Gone):
        ready[0].send("too late")
    client.shutdown()


def test_a_handshake_that_is_none_is_answered_with_the_reason(pair: Pair) -> None:
    pair.serve(echo)
    with socket.create_connection(("127.0.0.1", pair.port), SOON) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 400")
    assert isinstance(pair.over(), Gone)


def test_two_threads_on_one_tls_connection() -> None:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    server, client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client_context)
    pair = Pair((server, client_context))
    got: list[int] = []

    def both(sock: WsgiSocket) -> None:
        sender = threading.Thread(target=lambda: [sock.send(bytes([n % 256]) * 20_000) for n in range(300)], daemon=True)
        sender.start()
        while sum(got) < 300 * 20_000:
            message = sock.receive()
            got.append(len(message or b""))
        sender.join()
        sock.close(1000)
        sock.receive()

    pair.serve(both)

    # On one thread: a client that talks and listens on two would bring the very race that WsgiSocket must not have.
    async def talk_and_listen() -> list[object]:
        line = socket.create_connection(("127.0.0.1", pair.port), SOON)
        async with connect(f"wss://127.0.0.1:{pair.port}/", sock=line, ssl=client_context) as client:

            async def talk() -> None:
                for number in range(300):
                    await client.send(bytes([number % 256]) * 20_000)

            talking = asyncio.create_task(talk())
            came: list[object] = [message async for message in client]
            await talking
            return came

    came = asyncio.run(asyncio.wait_for(talk_and_listen(), SOON))
    assert came == [bytes([number % 256]) * 20_000 for number in range(300)]
    assert isinstance(pair.over(), Gone)
    pair.close()


def test_servers_that_give_no_socket_are_named() -> None:
    with pytest.raises(NoSocketError, match="^waitress gives WSGI applications no WebSocket: use gunicorn"):
        find_socket({"SERVER_SOFTWARE": "waitress"})
    with socket.socket() as some, pytest.raises(NoSocketError, match="one request at a time"):
        find_socket({"gunicorn.socket": some, "wsgi.multithread": False})


@pytest.mark.parametrize(
    ("connection", "upgrade", "asks"),
    [("Upgrade", "websocket", True), ("keep-alive, Upgrade", "WebSocket", True), ("close", "websocket", False), ("Upgrade", "h2c", False)],
)
def test_what_asks_for_a_websocket(connection: str, upgrade: str, asks: bool) -> None:
    assert is_upgrade({"HTTP_CONNECTION": connection, "HTTP_UPGRADE": upgrade}) is asks
