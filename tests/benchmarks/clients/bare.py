"""The measure of all things here: a socket, frames parsed by hand, ``json.loads``, ``b64decode``; a thread per session.

What a good engineer writes in an afternoon for this one service: no checks, no state, no second thread. It reads large
pieces, copies each frame once, and masks with one XOR of two long numbers.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import socket
import ssl
import struct
import threading
from typing import Any
from urllib.parse import urlsplit

from tests.benchmarks.clients.measure import Listener, run

_CONTEXT = None


def _context() -> ssl.SSLContext:
    global _CONTEXT
    _CONTEXT = _CONTEXT or ssl.create_default_context()
    return _CONTEXT


class Bare:
    """One session."""

    def __init__(self, url: str, listener: Listener) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        sock = socket.create_connection((parts.hostname, parts.port or 443))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if parts.scheme == "wss":
            sock = _context().wrap_socket(sock, server_hostname=parts.hostname)
        key = base64.b64encode(os.urandom(16)).decode()
        sock.sendall(
            f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer sk-benchmark\r\n\r\n".encode()
        )
        self._sock = sock
        self._listener = listener
        self._numbers = itertools.count(1)
        answer = b""
        while not answer.endswith(b"}"):  # of session.created, which says all that is needed
            answer += sock.recv(4096)
        self._buffer = bytearray()

    def listen(self) -> None:
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        buffer, sock = self._buffer, self._sock
        room = memoryview(bytearray(65536))
        try:
            while True:
                at, end = 0, len(buffer)
                while end - at >= 2:
                    size, start = buffer[at + 1], at + 2
                    if size == 126:
                        start = at + 4
                        if end < start:
                            break
                        size = (buffer[at + 2] << 8) | buffer[at + 3]
                    elif size == 127:
                        start = at + 10
                        if end < start:
                            break
                        size = struct.unpack_from("!Q", buffer, at + 2)[0]
                    if end < start + size:
                        break
                    self._take(buffer[at] & 0x0F, buffer[start : start + size])
                    at = start + size
                del buffer[:at]
                size = sock.recv_into(room)
                if not size:
                    return
                buffer += room[:size]
        except OSError:
            return

    def _take(self, opcode: int, payload: bytearray) -> None:
        if opcode == 9:
            self._send(payload, 10)
        if opcode != 1:
            return
        event: dict[str, Any] = json.loads(payload)
        kind = event["type"]
        if kind == "response.audio.delta":
            self._listener.audio(event["event_id"], base64.b64decode(event["delta"]))
        elif kind == "response.audio_transcript.delta":
            self._listener.text(event["delta"])
        elif kind == "response.done":
            self._listener.done(event["response"]["id"])
        elif kind == "input_audio_buffer.committed":
            self._listener.committed()

    def _send(self, payload: bytes | bytearray, opcode: int = 1) -> None:
        size = len(payload)
        mask = os.urandom(4)
        keys = mask * (size // 4) + mask[: size % 4]
        masked = (int.from_bytes(keys, "little") ^ int.from_bytes(payload, "little")).to_bytes(size, "little")
        if size < 126:
            head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
        elif size < 65536:
            head = struct.pack("!BBH", 0x80 | opcode, 0xFE, size)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 0xFF, size)
        self._sock.sendall(head + mask + masked)

    def _event(self, **fields: Any) -> None:
        self._send(json.dumps({"event_id": f"event_{next(self._numbers)}", **fields}).encode())

    def create_response(self) -> None:
        self._event(type="response.create")

    def append(self, pcm: bytes) -> None:
        self._event(type="input_audio_buffer.append", audio=base64.b64encode(pcm).decode())

    def close(self) -> None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)  # the reading thread may still be in recv
        self._sock.close()


if __name__ == "__main__":
    run(Bare)
