"""A raw WebSocket peer for tests: it does exactly what a test tells it, byte by byte if need be.

It judges the client where the emulator would be too well-behaved; framing comes from the standard library only.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

SOON = 5.0  # seconds that a good run never reaches
CREATED = {"type": "session.created", "event_id": "event_1", "session": {"id": "sess_1", "model": "m"}}


class Line:
    """One accepted connection, as the peer sees it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.request = ""
        self.received: list[dict[str, Any]] = []
        self._buffer = b""

    def read_request(self) -> str:
        while b"\r\n\r\n" not in self._buffer:
            piece = self.sock.recv(4096)
            if not piece:
                raise ConnectionError("the client went away before its request was whole")
            self._buffer += piece
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        self.request = head.decode()
        return self.request

    def accept(self, *headers: str, then: bytes = b"") -> None:
        """Upgrade the connection; ``then`` goes out in the same write."""
        request = self.read_request()
        key = next(
            line.split(":", 1)[1].strip()
            for line in request.split("\r\n")
            if line.lower().startswith("sec-websocket-key")
        )
        token = base64.b64encode(
            hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        ).decode()
        answer = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        self.sock.sendall("\r\n".join([*answer, f"Sec-WebSocket-Accept: {token}", *headers, "", ""]).encode() + then)

    def refuse(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.read_request()
        lines = [
            f"HTTP/1.1 {status} No",
            f"Content-Length: {len(body)}",
            *(f"{k}: {v}" for k, v in (headers or {}).items()),
        ]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def send_frame(self, opcode: int, payload: bytes, fin: bool = True) -> None:
        self.sock.sendall(server_frame(opcode, payload, fin))

    def send(self, event: dict[str, Any]) -> None:
        self.send_frame(1, json.dumps(event).encode())

    def open(self) -> None:
        self.accept()
        self.send(CREATED)

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            piece = self.sock.recv(65536)
            if not piece:
                raise ConnectionError("the client ended the stream")
            self._buffer += piece
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def read_frame(self) -> tuple[int, bytes]:
        first, second = self._take(2)
        size = second & 0x7F
        if size == 126:
            size = struct.unpack("!H", self._take(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", self._take(8))[0]
        assert second & 0x80, "a client must mask its frames"
        mask = self._take(4)
        data = self._take(size)
        pattern = (mask * (size // 4 + 1))[:size]
        plain = int.from_bytes(data, "big") ^ int.from_bytes(pattern, "big")
        return first & 0x0F, plain.to_bytes(size, "big")

    def read_event(self, wanted: str | None = None) -> dict[str, Any]:
        """Read until a client event (of the wanted type) comes; pings are answered."""
        while True:
            opcode, payload = self.read_frame()
            if opcode == 9:
                self.send_frame(10, payload)
            elif opcode == 8:
                raise ConnectionError("the client closed")
            elif opcode == 1:
                event = json.loads(payload)
                self.received.append(event)
                if wanted in (None, event["type"]):
                    return event

    def send_at_once(self, *events: dict[str, Any], then: bytes = b"") -> None:
        """Send several events, and raw bytes after them, in one write."""
        self.sock.sendall(b"".join(server_frame(1, json.dumps(event).encode()) for event in events) + then)

    def read_close(self) -> tuple[int, str]:
        """Read until the client's close frame comes; gives its code and reason."""
        while True:
            opcode, payload = self.read_frame()
            if opcode == 8:
                return struct.unpack_from("!H", payload)[0], payload[2:].decode()

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def swallow(self) -> None:
        """Take bytes, whatever they are, until the client ends the stream."""
        with contextlib.suppress(OSError):
            while self.sock.recv(65536):
                pass

    def drain(self) -> None:
        """Read until the client is gone; answers its close frame."""
        with contextlib.suppress(ConnectionError, OSError):
            while True:
                opcode, payload = self.read_frame()
                if opcode == 8:
                    self.send_frame(8, payload)
                    return


def close_payload(code: int, reason: str = "") -> bytes:
    """A close frame's payload; the reason may be longer than the protocol allows, as DashScope's are."""
    return struct.pack("!H", code) + reason.encode()


def server_frame(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    first = (0x80 if fin else 0) | opcode
    if len(payload) < 126:
        return struct.pack("!BB", first, len(payload)) + payload
    if len(payload) < 65536:
        return struct.pack("!BBH", first, 126, len(payload)) + payload
    return struct.pack("!BBQ", first, 127, len(payload)) + payload


class Peer:
    """Listens on 127.0.0.1; every connection is handled by ``script(line)`` on a thread of its own."""

    def __init__(self, script: Callable[[Line], None]) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}/api-ws/v1/realtime"
        self.lines: list[Line] = []
        self.error: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line = Line(sock)
            self.lines.append(line)
            thread = threading.Thread(target=self._run, args=(line,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, line: Line) -> None:
        try:
            self._script(line)
        except (ConnectionError, OSError):
            pass  # the client went away, which is what many tests are about
        except BaseException as error:
            self.error = error
        finally:
            line.sock.close()

    def __enter__(self) -> Peer:
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for line in self.lines:
            with contextlib.suppress(OSError):
                line.sock.shutdown(socket.SHUT_RDWR)
        for thread in [self._accepting, *self._threads]:
            thread.join(SOON)
        if kind is None and self.error is not None:
            raise self.error
