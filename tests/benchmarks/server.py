"""The load server: a process of its own that is never the bottleneck.

It accepts every key, says ``session.created``, answers ``session.update``, and then does what the path asks for:

    /audio/WARM/COUNT/DIALECT        each response.create brings the next number of deltas, as fast as the client reads
    /transcript/WARM/COUNT/DIALECT   the same with transcript deltas
    /append/WARM/COUNT               counts client frames; says input_audio_buffer.committed after WARM and after COUNT more
    /paced/WARM/COUNT/DIALECT        WARM deltas at once, then COUNT deltas 100 ms apart, each with the time it was sent
    /idle                            nothing
    /stats                           plain HTTP: its own CPU seconds and what it counted

Handshakes and floods run on a thread each; paced and idle connections all share one selector. It ends with its stdin.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import heapq
import json
import queue
import select
import selectors
import socket
import ssl
import sys
import threading
import time
from typing import Any

from tests.benchmarks.frames import CLOSE, DIALECTS, PING, PONG, Headers, Stream, frame
from tests.benchmarks.pieces import INTERVAL_S, STAMP_DIGITS

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_READ = 256 * 1024
_HANDSHAKE_S = 10.0
_PING_S = 1.0  # between the pings of a paced connection
_STREAMS = {name: Stream(dialect) for name, dialect in DIALECTS.items()}


class Totals:
    """What the server did since it started; the runner looks at differences."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connections = 0
        self.frames = 0
        self.bytes = 0
        self.pongs: list[float] = []  # ms from ping to pong

    def count(self, headers: Headers) -> None:
        with self.lock:
            self.frames += headers.frames
            self.bytes += headers.bytes
        headers.frames = headers.bytes = 0

    def report(self) -> bytes:
        with self.lock:
            pongs, self.pongs = sorted(self.pongs), []
            said: dict[str, Any] = {
                "cpu_s": time.process_time(),
                "connections": self.connections,
                "frames": self.frames,
                "bytes": self.bytes,
                "pongs": len(pongs),
                "pong_max_ms": pongs[-1] if pongs else None,
            }
        body = json.dumps(said).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


class Server:
    """Two listeners, one for ws and one for wss."""

    def __init__(self, certificate: str | None) -> None:
        self.totals = Totals()
        self.paced = Paced(self.totals)
        self.ports = {"ws": self._listen(None)}
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            context.num_tickets = 0
            self.ports["wss"] = self._listen(context)

    def _listen(self, context: ssl.SSLContext | None) -> int:
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        threading.Thread(target=self._accept, args=(listener, context), daemon=True).start()
        return int(listener.getsockname()[1])

    def _accept(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        while True:
            sock, _ = listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(_HANDSHAKE_S)
            threading.Thread(target=self._serve, args=(sock, context), daemon=True).start()

    def _serve(self, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        kept = False
        try:
            if context is not None:
                sock = context.wrap_socket(sock, server_side=True)
            path, rest = self._handshake(sock)
            if path is None:
                return
            with self.totals.lock:
                self.totals.connections += 1
            kind, *numbers = path.split("/")
            stream = _STREAMS[next((part for part in numbers if part in _STREAMS), "dashscope")]
            counts = [int(part) for part in numbers if part.isdecimal()]
            sock.sendall(stream.created)
            if kind in ("paced", "idle"):
                self.paced.add(sock, stream, counts, rest)
                kept = True
            else:
                sock.settimeout(None)
                self._flood(sock, stream, kind, counts, rest)
        except (OSError, ValueError):
            pass  # the client went away; its own figures say whether it got everything
        finally:
            if not kept:
                sock.close()

    def _handshake(self, sock: socket.socket) -> tuple[str | None, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = sock.recv(65536)
            if not piece:
                raise ConnectionError("no request")
            data += piece
        head, rest = data.split(b"\r\n\r\n", 1)
        request, *lines = head.split(b"\r\n")
        path = request.split(b" ")[1].split(b"?")[0].decode().strip("/")
        if path == "stats":
            sock.sendall(self.totals.report())
            return None, b""
        key = next(line.split(b":", 1)[1].strip() for line in lines if line.lower().startswith(b"sec-websocket-key"))
        token = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + token + b"\r\n\r\n"
        )
        return path, rest

    def _flood(self, sock: socket.socket, stream: Stream, kind: str, counts: list[int], rest: bytes) -> None:
        headers = Headers()
        room = memoryview(bytearray(_READ))
        seen = headers.feed(memoryview(rest)) if rest else []
        due = counts.copy()
        appended = 0
        while True:
            for opcode, payload in seen:
                if payload is None:
                    appended += 1
                    if kind == "append" and due and appended == due[0]:
                        appended -= due.pop(0)
                        sock.sendall(stream.committed)
                elif b'"response.create"' in payload and kind != "append" and due:
                    for blob in stream.backlog(kind, due.pop(0)):
                        sock.sendall(blob)
                elif _answer(sock, stream, opcode, payload):
                    self.totals.count(headers)
                    return
            size = sock.recv_into(room)
            if not size:
                self.totals.count(headers)
                return
            seen = headers.feed(room[:size])


def _answer(sock: socket.socket, stream: Stream, opcode: int, payload: bytes) -> bool:
    """Answer what every connection may say; returns whether it was the end."""
    if opcode == CLOSE:
        sock.sendall(frame(payload, CLOSE))
        return True
    if opcode == PING:
        sock.sendall(frame(payload, PONG))
    elif b'"session.update"' in payload:
        sock.sendall(stream.updated)
    return False


class _Connection:
    def __init__(self, sock: socket.socket, stream: Stream, counts: list[int]) -> None:
        self.sock = sock
        self.stream = stream
        self.headers = Headers()
        self.counts = counts or [0, 0]
        self.warm = True
        self.left = 0
        self.name = stream.name()
        self.stamped = stream.stamped(self.name)
        self.pending = b""  # what the client was too slow to take
        self.pinged = 0.0


class Paced:
    """All paced and idle connections, on one thread."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._new: queue.SimpleQueue[tuple[_Connection, bytes]] = queue.SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._bell, self._ring = socket.socketpair()
        self._due: list[tuple[float, int, _Connection]] = []
        self._number = 0
        self._room = memoryview(bytearray(_READ))
        self._selector.register(self._bell, selectors.EVENT_READ, None)
        threading.Thread(target=self._run, daemon=True).start()

    def add(self, sock: socket.socket, stream: Stream, counts: list[int], rest: bytes) -> None:
        sock.setblocking(False)
        self._new.put((_Connection(sock, stream, counts), rest))
        self._ring.send(b"\0")

    def _run(self) -> None:
        while True:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            for key, events in self._select(wait):
                if key.data is None:
                    self._bell.recv(4096)
                    while not self._new.empty():
                        connection, rest = self._new.get()
                        self._selector.register(connection.sock, selectors.EVENT_READ, connection)
                        self._guarded(connection, rest)
                else:
                    if events & selectors.EVENT_WRITE:
                        with contextlib.suppress(OSError):  # the next read finds the same
                            self._send(key.data, b"")
                    if events & selectors.EVENT_READ:
                        self._guarded(key.data, None)
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                due, number, connection = heapq.heappop(self._due)
                if self._delta(connection):
                    heapq.heappush(self._due, (due + INTERVAL_S, number, connection))

    def _select(self, wait: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        # epoll counts in whole milliseconds, which would send the deltas of several sessions together.
        if wait and hasattr(self._selector, "fileno"):
            select.select((self._selector.fileno(),), (), (), wait)
            wait = 0.0
        return self._selector.select(wait)

    def _guarded(self, connection: _Connection, rest: bytes | None) -> None:
        try:
            alive = self._read(connection, rest)
        except OSError:
            alive = False
        if not alive:
            self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        connection.left = 0
        self._totals.count(connection.headers)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.sock)
        connection.sock.close()

    def _read(self, connection: _Connection, rest: bytes | None) -> bool:
        if rest:
            return self._look(connection, memoryview(rest))
        while True:
            try:
                size = connection.sock.recv_into(self._room)
            except (BlockingIOError, ssl.SSLWantReadError):
                return True
            if not size:
                return False
            if not self._look(connection, self._room[:size]):
                return False
            if not isinstance(connection.sock, ssl.SSLSocket):
                return True

    def _look(self, connection: _Connection, data: memoryview) -> bool:
        for opcode, payload in connection.headers.feed(data):
            if payload is None:
                continue
            if opcode == PONG:
                with self._totals.lock:
                    self._totals.pongs.append((time.monotonic() - connection.pinged) * 1000)
            elif b'"response.create"' in payload:
                self._begin(connection)
            elif _answer(connection.sock, connection.stream, opcode, payload):
                return False
        return True

    def _begin(self, connection: _Connection) -> None:
        stream = connection.stream
        if connection.warm:
            connection.warm = False
            connection.sock.sendall(stream.response("audio", max(1, connection.counts[0]), last=True))
            return
        connection.left = connection.counts[1]
        self._send(connection, stream.began(connection.name))
        self._number += 1
        heapq.heappush(self._due, (time.monotonic(), self._number, connection))

    def _delta(self, connection: _Connection) -> bool:
        """Send the next delta; returns whether there is another one to come."""
        if not connection.left or connection.sock.fileno() < 0:
            return False
        stream = connection.stream
        connection.left -= 1
        made, at = connection.stamped
        now = time.monotonic_ns()
        made[at : at + STAMP_DIGITS] = b"%0*d" % (STAMP_DIGITS, now)
        data = bytes(made)
        if not connection.left:
            data += stream.ended(connection.name)
        if now / 1e9 >= connection.pinged + _PING_S:
            connection.pinged = now / 1e9
            data += frame(b"benchmark", PING)
        try:
            self._send(connection, data)
        except OSError:
            self._drop(connection)
            return False
        return connection.left > 0

    def _send(self, connection: _Connection, data: bytes) -> None:
        stalled = bool(connection.pending)
        connection.pending += data
        with contextlib.suppress(BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            connection.pending = connection.pending[connection.sock.send(connection.pending) :]
        if stalled != bool(connection.pending):
            write = selectors.EVENT_WRITE if connection.pending else 0
            self._selector.modify(connection.sock, selectors.EVENT_READ | write, connection)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--certificate", help="PEM file with certificate and key, for wss")
    server = Server(parser.parse_args().certificate)
    print(json.dumps(server.ports), flush=True)
    sys.stdin.read()  # the runner holds the other end: when it is gone, so is the server


if __name__ == "__main__":
    main()
