"""What happens to open sessions when their process forks or ends.

After a fork the child has copies of the sockets but none of the threads: the copies are closed, so that the service
sees the end when the parent closes, and every call on such a session raises `ForkedSessionError`. At the interpreter's
end open sessions get a moment to say goodbye, before the threads are frozen in whatever they hold.
"""

from __future__ import annotations

import atexit
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .connection import Connection

_FAREWELL = 1.0  # s for all sessions together, at the end of the process

_open: set[Connection] = set()  # one step each to add, to discard and to copy: any thread


def remember(connection: Connection) -> None:
    """Note a connection that is being opened; `forget` must follow."""
    _open.add(connection)


def forget(connection: Connection) -> None:
    """It is over."""
    _open.discard(connection)


def _after_fork_in_child() -> None:
    # One thread lives here and no lock can be trusted, so this touches file descriptors and nothing else.
    for connection in _open.copy():
        connection.network.close_copies()
    _open.clear()


def _at_exit() -> None:
    deadline = time.monotonic() + _FAREWELL
    living = [connection for connection in _open.copy() if connection.info is None]
    for connection in living:
        connection.network.close(1001, "the client's process ends", deadline - _FAREWELL / 2)
    for connection in living:
        if not connection.network.join(deadline - time.monotonic()):
            connection.network.abort()
        connection.reader.join(deadline - time.monotonic())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
