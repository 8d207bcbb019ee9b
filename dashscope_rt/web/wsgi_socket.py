"""A browser's WebSocket on the socket of a WSGI server: the server hands over its socket, and this speaks on it.

The protocol is that of ``websockets`` without its I/O (extra ``flask`` or ``django``). Compression is never agreed on:
it costs more than it saves with speech. The usual library for this, simple-websocket under flask-sock, does not serve
here: it writes with one unchecked ``send``, from two threads without a lock, and reads without a bound, so a browser
that reads slowly gets broken frames, and one that writes fast fills the memory.

    relay's thread    receive ─► poll ─► socket.recv ─► frames;  pings, pongs
    writer thread     send ─► socket.send ─► poll

The socket never blocks, and the lock is held for each call on it: two threads in one TLS connection is a data race, and
gunicorn may have made it one.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import messages
from .sockets import Gone

if TYPE_CHECKING:
    from websockets.server import ServerProtocol

__all__ = ["NoSocketError", "WsgiSocket", "find_socket", "is_upgrade"]

_log = logging.getLogger("dashscope_rt.web")
_quiet = logging.getLogger("dashscope_rt.web.websocket")  # what the protocol itself says of each frame
_quiet.setLevel(logging.WARNING)
_PING_S = 20.0
_STALLED_S = 20.0  # a browser that takes not one byte for so long is gone
_LINGER_S = 2.0  # for a browser that has broken the rules to read why
_READ = 64 * 1024
_UNSENT = 16 * 1024 * 1024  # bytes that nobody has read yet: pongs, if it is ever so much
_BLOCKS = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class NoSocketError(RuntimeError):
    """The WSGI server does not hand over its socket, or cannot serve anybody else meanwhile; the text names others."""


def is_upgrade(environ: Mapping[str, Any]) -> bool:
    """Whether the request asks for a WebSocket."""
    wants = [part.strip().lower() for part in environ.get("HTTP_CONNECTION", "").split(",")]
    return "upgrade" in wants and environ.get("HTTP_UPGRADE", "").strip().lower() == "websocket"


def find_socket(environ: Mapping[str, Any]) -> socket.socket:
    """Return the request's socket.

    Raises:
        NoSocketError: This server cannot do it.
    """
    found = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
    if found is None and str(environ.get("SERVER_SOFTWARE", "")).startswith("gevent"):
        found = getattr(getattr(environ["wsgi.input"], "rfile", None), "raw", None)
        found = getattr(found, "_sock", None)
    if not isinstance(found, socket.socket) and not hasattr(found, "recv"):
        name = environ.get("SERVER_SOFTWARE") or "this server"
        raise NoSocketError(
            f"{name} gives WSGI applications no WebSocket: use gunicorn (--worker-class gthread --threads 100, or"
            " gevent), Flask's own server, or an ASGI server for Django; server-sent events work here"
        )
    if not environ.get("wsgi.multithread", True):
        raise NoSocketError(
            "this worker serves one request at a time, and a WebSocket is one request: run gunicorn with"
            " --worker-class gthread --threads 100, or gevent"
        )
    made: socket.socket = found  # type: ignore[assignment]
    return made


class WsgiSocket:
    """A `BrowserSocket`; answers the handshake of a WSGI request.

    Args:
        environ: The request's.
        max_message: Bytes of one message; more ends the connection with 1009.
        stalled_s: Seconds after which a browser that takes nothing is given up.
        ping_s: Seconds between pings; a browser that answers none of two is given up.

    Raises:
        NoSocketError: See `find_socket`.
        Gone: The request was no proper handshake; it was answered with the reason.
    """

    def __init__(
        self,
        environ: Mapping[str, Any],
        *,
        max_message: int,
        stalled_s: float = _STALLED_S,
        ping_s: float = _PING_S,
    ) -> None:
        self._sock = find_socket(environ)
        self._fd = self._sock.fileno()
        self._stalled_s, self._ping_s = stalled_s, ping_s
        # Guards everything below, the protocol and the socket; held for calls that do not wait.
        self._lock = threading.Lock()
        self._out: deque[memoryview] = deque()
        self._in: deque[str | bytes] = deque()
        self._parts: list[bytes] = []
        self._text = False
        self._dead = False
        self._until: float | None = None  # when a socket that lingers is closed
        self._heard_at = time.monotonic()
        self._ping_at = self._heard_at + ping_s
        self._pinged = False
        self._sock.setblocking(False)
        self._protocol = self._handshake(environ, max_message)

    def _handshake(self, environ: Mapping[str, Any], max_message: int) -> ServerProtocol:
        from websockets.http11 import Request
        from websockets.server import ServerProtocol

        headers = {name[5:].replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")}
        lines = [f"{name.title()}: {value}" for name, value in headers.items()]
        protocol = ServerProtocol(max_size=max_message, logger=_quiet)
        protocol.receive_data("\r\n".join(["GET / HTTP/1.1", *lines, "", ""]).encode("latin-1", "replace"))
        for event in protocol.events_received():
            if isinstance(event, Request):
                protocol.send_response(protocol.accept(event))
        self._protocol = protocol
        with self._lock:
            self._collect()
        self._flush(time.monotonic() + self._stalled_s)
        if protocol.handshake_exc is not None:
            self.abort()
            raise Gone(1002, f"no handshake: {protocol.handshake_exc}")
        return protocol

    # ---- BrowserSocket ----------------------------------------------------------------------------------------

    def receive(self, timeout: float | None = None) -> str | bytes | None:
        """See `BrowserSocket.receive`; one thread. Sends and answers pings meanwhile."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._lock:
                self._read()
                if self._in:
                    return self._in.popleft()
                if self._dead:
                    raise self._gone()
                self._write()
                blocked = bool(self._out)
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                return None
            due = min(filter(None, (self._keep_alive(now), deadline, self._until)))
            self._poll(reading=True, writing=blocked, seconds=due - now)

    def send(self, message: str | bytes) -> None:
        """See `BrowserSocket.send`; one thread."""
        with self._lock:
            if self._dead or self._protocol.state.name != "OPEN":
                raise self._gone()
            if isinstance(message, bytes):
                self._protocol.send_binary(message)
            else:
                self._protocol.send_text(message.encode("utf-8", "replace"))
            self._collect()
        self._flush(time.monotonic() + self._stalled_s)

    def close(self, code: int, reason: str = "") -> None:
        """See `BrowserSocket.close`."""
        with self._lock:
            if self._dead or self._protocol.state.name != "OPEN":
                return
            self._protocol.send_close(code, reason.encode("utf-8", "replace")[:120].decode("utf-8", "ignore"))
            self._collect()
        self._flush(time.monotonic() + 1.0)

    def abort(self) -> None:
        """See `BrowserSocket.abort`; any thread."""
        with self._lock:
            self._die()

    # ---- under the lock ---------------------------------------------------------------------------------------

    def _read(self) -> None:
        if self._dead:
            return
        try:
            data = self._sock.recv(_READ)
        except _BLOCKS:
            return
        except OSError as error:
            _log.debug("a browser's socket failed: %s", error)
            data = b""
        if not data:
            self._protocol.receive_eof()
            self._die()
            return
        self._heard_at, self._pinged = time.monotonic(), False
        self._protocol.receive_data(data)
        for frame in self._protocol.events_received():
            self._take(frame)
        self._collect()

    def _take(self, frame: Any) -> None:
        from websockets.frames import Opcode

        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        if frame.opcode is not Opcode.CONT:
            self._text = frame.opcode is Opcode.TEXT
        self._parts.append(bytes(frame.data))
        if frame.fin:
            whole, self._parts = b"".join(self._parts), []
            try:
                self._in.append(whole.decode() if self._text else whole)
            except UnicodeDecodeError:
                self._protocol.fail(1007, "text frames are UTF-8")

    def _collect(self) -> None:
        for piece in self._protocol.data_to_send():
            if piece:
                self._out.append(memoryview(piece))
        if sum(map(len, self._out)) > _UNSENT:
            _log.debug("a browser asks and does not read")
            self._die()

    def _write(self) -> bool:
        """Send what the host takes now; returns whether it took anything."""
        took = False
        while self._out and not self._dead:
            try:
                count = self._sock.send(self._out[0])
            except _BLOCKS:
                return took
            except OSError as error:
                _log.debug("a browser's socket failed: %s", error)
                self._die()
                return took
            took = True
            if count == len(self._out[0]):
                self._out.popleft()
            else:
                self._out[0] = self._out[0][count:]
        if not self._out and self._protocol.eof_sent:
            self._part()
        return took

    def _part(self) -> None:
        """The last frame is out: the server ends the TCP connection, at once when the browser has said goodbye too.

        One that has not may still be sending, and a socket that is closed with something unread in it takes back what
        was sent last.
        """
        if self._protocol.close_rcvd is not None:
            self._die()
        elif self._until is None:
            self._until = time.monotonic() + _LINGER_S
            if not isinstance(self._sock, ssl.SSLSocket):
                with contextlib.suppress(OSError):
                    self._sock.shutdown(socket.SHUT_WR)
        elif time.monotonic() >= self._until:
            self._die()

    def _gone(self) -> Gone:
        said = self._protocol.close_rcvd or self._protocol.close_sent
        return Gone(said.code, said.reason) if said is not None else Gone()

    def _die(self) -> None:
        if not self._dead:
            self._dead = True
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    # ---- waiting ----------------------------------------------------------------------------------------------

    def _flush(self, deadline: float) -> None:
        stalled = deadline - time.monotonic()
        while True:
            with self._lock:
                if self._write():
                    deadline = time.monotonic() + stalled
                if self._dead and self._out:
                    raise Gone(1006, "the connection was lost")
                if not self._out:
                    return
            left = deadline - time.monotonic()
            if left <= 0:
                self.abort()
                raise Gone(messages.POLICY, "client too slow")
            self._poll(reading=False, writing=True, seconds=left)

    def _keep_alive(self, now: float) -> float:
        """Ping when it is time, give up when nothing came back; returns when to look again."""
        if now < self._ping_at:
            return self._ping_at
        with self._lock:
            if self._pinged and now - self._heard_at >= 2 * self._ping_s:
                self._die()
            elif not self._dead and self._protocol.state.name == "OPEN":
                self._protocol.send_ping(b"")
                self._collect()
                self._write()
                self._pinged = True
        self._ping_at = now + self._ping_s
        return now if self._dead else self._ping_at

    def _poll(self, *, reading: bool, writing: bool, seconds: float) -> None:
        """Wait until the socket may be ready; it may also be over, and then the next call on it says so."""
        seconds = max(0.0, seconds)
        poll = getattr(select, "poll", None)
        if poll is None:  # Windows
            select.select([self._sock] if reading else [], [self._sock] if writing else [], [], seconds)
            return
        waiter = poll()
        waiter.register(self._fd, (select.POLLIN if reading else 0) | (select.POLLOUT if writing else 0))
        waiter.poll(seconds * 1000)
