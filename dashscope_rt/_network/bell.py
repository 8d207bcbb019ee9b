"""What wakes the network thread."""

from __future__ import annotations

import os
import socket
import threading


class Bell:
    """What wakes the crew's thread: a descriptor that becomes readable."""

    def __init__(self) -> None:
        self._sockets: tuple[socket.socket, ...] = ()
        if hasattr(os, "eventfd"):  # Linux: one descriptor instead of two, at a third of the price
            self.fileno = self._cord = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self._sockets = socket.socketpair()
            for end in self._sockets:
                end.setblocking(False)
            self.fileno, self._cord = (end.fileno() for end in self._sockets)
        self._rings = False  # benign race: a ring too many
        self._closed = False
        self._lock = threading.Lock()  # held while ringing and closing: a number of a descriptor is soon used again

    def ring(self) -> None:
        """Wake the thread; any thread."""
        if self._rings:
            return
        try:
            self._rings = True
            with self._lock:
                if self._sockets:
                    self._sockets[1].send(b"\0")
                elif not self._closed:
                    os.eventfd_write(self._cord, 1)
        except OSError:  # full: it rings anyway; closed: nobody is served any more
            pass
        except BaseException:  # Ctrl-C: who believes that it rings never rings again
            self._rings = False
            raise

    def hush(self, *, read: bool) -> None:
        """Be ready for the next ring; the crew's thread, before looking at what was rung for.

        Args:
            read: The descriptor is ready until it is read.
        """
        try:
            if self._sockets:  # which take only so much
                self._sockets[0].recv(4096)
            elif read:
                os.eventfd_read(self.fileno)
        except BlockingIOError:
            pass
        self._rings = False

    def close(self) -> None:
        """Give the descriptors back."""
        with self._lock:
            self.close_copies()

    def close_copies(self) -> None:
        """Close what a forked child has inherited, where no lock can be trusted."""
        closed, self._closed = self._closed, True
        for end in self._sockets:
            end.close()
        if not self._sockets and not closed:
            os.close(self.fileno)
