"""Between the socket's bytes and WebSocket frames: TLS or nothing, and the protocol with one door for every frame."""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import Callable

from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

_READ = 65536
_CONTROL_LIMIT = 125
# websockets prints request headers, and so API keys, when this is at DEBUG.
_silent = logging.getLogger("dashscope_rt.testing.websockets")
_silent.setLevel(logging.WARNING)


class Plain:
    """No TLS."""

    def feed(self, data: bytes) -> bytes:
        """Bytes of the socket in, the client's bytes out."""
        return data

    def seal(self, data: bytes) -> bytes:
        """The server's bytes in, bytes for the socket out."""
        return data

    def pending(self) -> bytes:
        """Bytes for the socket that the layer itself has to say."""
        return b""

    def finish(self) -> None:
        """Say goodbye; then take `pending`."""


class Tls(Plain):
    """TLS between memory buffers, so that the socket stays with its connection.

    Args:
        context: The server's.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._into, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._into, self._out, server_side=True)
        self._ready = False

    def feed(self, data: bytes) -> bytes:
        """See `Plain.feed`.

        Raises:
            ssl.SSLError: The client does not trust us, or speaks no TLS.
        """
        self._into.write(data)
        found = bytearray()
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            if not self._ready:
                self._object.do_handshake()
                self._ready = True
            while piece := self._object.read(_READ):
                found += piece
        return bytes(found)

    def seal(self, data: bytes) -> bytes:
        """See `Plain.seal`."""
        self._object.write(data)
        return self.pending()

    def pending(self) -> bytes:
        """See `Plain.pending`."""
        return self._out.read()

    def finish(self) -> None:
        """See `Plain.finish`."""
        if self._ready:
            with contextlib.suppress(ssl.SSLError):
                self._object.unwrap()


class Protocol(ServerProtocol):
    """The server's side of RFC 6455. Every frame passes `send_frame`: events, pings, pongs, both kinds of close frame.

    Args:
        max_size: Bytes of the largest message taken.
        passes: Asked about each frame; False: it is not sent.
    """

    def __init__(self, max_size: int, passes: Callable[[Frame], bool]) -> None:
        super().__init__(max_size=max_size, logger=_silent)
        self._passes = passes

    def send_any_close(self, code: int | None, reason: str) -> None:
        """Send a close frame no library would: any code, and over 125 bytes as the service does. No code: empty."""
        data = b"" if code is None else code.to_bytes(2, "big") + reason.encode()
        if len(data) <= _CONTROL_LIMIT:
            self.send_frame(Frame(Opcode.CLOSE, data))
        elif self._passes(Frame(Opcode.CLOSE, data)):
            self.writes.append(b"\x88\x7e" + len(data).to_bytes(2, "big") + data)
        self.close_sent = Close(CloseCode.NO_STATUS_RCVD if code is None else code, reason)
        self.state = State.CLOSING

    def send_frame(self, frame: Frame) -> None:
        """Send a frame, or not."""
        if self._passes(frame):
            super().send_frame(frame)
