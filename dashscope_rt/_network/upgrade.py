"""The WebSocket upgrade: what websocket-client sees as its socket, and what a refusal says.

websocket-client does the upgrade; this stands between it and the real socket. It keeps one deadline over every read,
reads in large pieces, bounds the answer, and adds the ``Authorization`` header to the bytes themselves, so that no
trace, exception or local variable of websocket-client's ever holds the key.
"""

from __future__ import annotations

import io
import re
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from ..errors import ConnectionFailed, ProtocolError, RealtimeError, from_handshake
from .secret import Secret

_READ_SIZE = 64 * 1024  # bytes per recv
_ANSWER_LIMIT = 256 * 1024  # bytes of an upgrade's answer, headers and body
_BODY_LIMIT = 16 * 1024  # bytes of a refusal's body that are worth reading
_BODY_PATIENCE = 0.5  # s for a body that does not come: the status alone says enough
_REDIRECTS = frozenset((301, 302, 303, 307, 308))


class NotSwitched(Exception):
    """The answer is complete as far as it matters, and its status is not 101."""


class HandshakeSocket:
    """The real socket, for the time of the upgrade.

    Args:
        sock: Connected, TLS done.
        deadline: ``time.monotonic()`` value for the whole upgrade.
        api_key: For the ``Authorization`` header.
        headers: The request headers we gave; websocket-client adds cookies that it kept from other connections of this
            process, and those are taken out again.
        meanwhile: Called when the request is out.
    """

    def __init__(
        self,
        sock: socket.socket,
        deadline: float,
        api_key: Secret,
        headers: tuple[str, ...],
        meanwhile: Callable[[], object],
    ) -> None:
        self._meanwhile = meanwhile
        self._headers = frozenset(headers)
        self._sock = sock
        self._deadline = deadline
        self._api_key = api_key
        self._answer = b""  # everything that came
        self._passed = 0  # how much of it websocket-client has
        self._head_known = False

    def _arm(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)

    def send(self, data: bytes) -> int:
        """Send the request, with the key in it."""
        self._arm()
        head, end, body = data.partition(b"\r\n\r\n")
        line = b"\r\nAuthorization: Bearer "
        kept = [
            given
            for given in head.split(b"\r\n")
            if not given.lower().startswith(b"cookie:") or given.decode("latin-1") in self._headers
        ]
        head = b"\r\n".join(kept)
        self._sock.sendall(head + line + self._api_key.reveal().encode("latin-1") + end + body)
        self._meanwhile()
        return len(data)

    def recv(self, size: int) -> bytes:
        """Give websocket-client a piece of the answer; a refusal is taken out of its hands.

        It asks for single bytes until one is a line's end, and joins them: a line in one piece, and then its end, serve
        as well and take a tenth of the time.
        """
        start = self._passed
        if start == len(self._answer):
            self._arm()
            self._receive()
            if not self._head_known and b"\r\n\r\n" in self._answer:
                self._head_known = True
                if not re.match(rb"HTTP/1\.[01] 101\b", self._answer):
                    raise NotSwitched
        end = self._answer.find(b"\n", start)
        stop = len(self._answer) if end < 0 else max(end, start + 1)
        taken = self._answer[start : stop if size == 1 else start + size]
        self._passed = start + len(taken)
        return taken

    def _receive(self) -> bool:
        piece = self._sock.recv(_READ_SIZE)
        self._answer += piece
        if len(self._answer) > _ANSWER_LIMIT:
            raise ProtocolError("the answer to the WebSocket upgrade does not end")
        return bool(piece)

    def leftover(self) -> bytes:
        """Return what came after the answer: the first frames."""
        left, self._passed = self._answer[self._passed :], len(self._answer)
        return left

    def whole_answer(self) -> io.BufferedReader:
        """Return the answer as a stream from its first byte; it ends early when nothing more comes."""
        return io.BufferedReader(_Answer(self))

    def gettimeout(self) -> float | None:
        """For websocket-client, which asks before every byte, and with 0 takes the shortest way to `recv`."""
        return 0.0

    def settimeout(self, timeout: float | None) -> None:
        """For websocket-client, which must not undo the deadline."""

    def fileno(self) -> int:
        """For websocket-client."""
        return self._sock.fileno()

    def close(self) -> None:
        """For websocket-client; whoever dialled closes the socket."""


class _Answer(io.RawIOBase):
    def __init__(self, line: HandshakeSocket) -> None:
        self._line = line
        self._at = 0
        now = time.monotonic()
        self._until = now + min(_BODY_PATIENCE, (line._deadline - now) / 2)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        line = self._line
        if self._at == len(line._answer):
            left = self._until - time.monotonic()
            if left <= 0:
                return 0
            line._sock.settimeout(left)
            try:
                line._receive()
            except (OSError, ProtocolError):
                return 0
        piece = line._answer[self._at : self._at + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


class _Stream:
    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream

    def makefile(self, *_: object, **__: object) -> io.BufferedReader:
        return self._stream


def refusal(line: HandshakeSocket) -> RealtimeError:
    """Return what an answer without 101 means; its body is read as far as it comes."""
    import http.client  # costs several ms, and only refusals need it

    response = http.client.HTTPResponse(_Stream(line.whole_answer()))  # type: ignore[arg-type]
    try:
        response.begin()
    except (http.client.HTTPException, ValueError):
        return ConnectionFailed("the answer to the WebSocket upgrade is no HTTP; is the url right?", retryable=False)
    status = response.status
    if status in _REDIRECTS:
        target = urlsplit(response.headers.get("location", "")).hostname or "elsewhere"
        return ConnectionFailed(
            f"the server redirects to {target}; redirects are not followed, because the API key would go there too:"
            " give that URL to the client if you trust it",
            retryable=False,
        )
    if status < 400:
        return ConnectionFailed(
            f"the server answered HTTP {status} instead of opening a WebSocket; is the url right?", retryable=False
        )
    body = b""
    try:
        while len(body) < _BODY_LIMIT and (piece := response.read1(4096)):
            body += piece
    except (http.client.HTTPException, OSError, ValueError):
        pass  # a body cut short: the status says enough
    return from_handshake(status, dict(response.headers.items()), body)
