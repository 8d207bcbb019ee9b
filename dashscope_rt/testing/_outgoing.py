"""What is on its way to a client: everything that was said and not yet taken, written without ever waiting."""

from __future__ import annotations

import contextlib
import socket
import time

from ._layers import Plain

_PIECE = 65536


class Outgoing:
    """The sending half of one connection. Used on the connection's own thread only.

    Args:
        sock: Non-blocking.
        layer: TLS or nothing.

    Attributes:
        drip: At most so many bytes at a time, with so many seconds between; None: as fast as the client takes them.
        finishing: The sending half is to be closed once everything is written.
    """

    def __init__(self, sock: socket.socket, layer: Plain) -> None:
        self.drip: tuple[int, float] | None = None
        self.finishing = False
        self._socket = sock
        self._layer = layer
        self._waiting = bytearray()
        self._next = 0.0
        self._finished = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def due(self) -> float | None:
        """When to write again, if that is not whenever the socket takes something."""
        return self._next if self._waiting and self.drip is not None else None

    def add(self, data: bytes) -> None:
        """Bytes behind those that are waiting, inside TLS if there is TLS."""
        self._waiting += self._layer.seal(data)

    def drop(self) -> None:
        """Forget what is waiting."""
        self._waiting.clear()

    def flush(self) -> None:
        """Write what the socket takes.

        Raises:
            OSError: The connection is lost.
        """
        self._waiting += self._layer.pending()
        with contextlib.suppress(BlockingIOError):
            while self._waiting:
                size = _PIECE
                if self.drip is not None:
                    now = time.monotonic()
                    if now < self._next:
                        return
                    size = self.drip[0]
                    self._next = now + self.drip[1]
                with memoryview(self._waiting) as view, view[:size] as piece:
                    count = self._socket.send(piece)
                del self._waiting[:count]
            if self.finishing and not self._finished:
                self._finished = True
                self._layer.finish()
                with contextlib.suppress(OSError):
                    self._socket.send(self._layer.pending())
                    self._socket.shutdown(socket.SHUT_WR)
