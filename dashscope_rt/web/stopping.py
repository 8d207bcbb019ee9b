"""The end of a server process: sessions are closed first, then whatever the server does on a signal happens.

A handler is put before the server's own, in the main thread. It only starts a thread, because the main thread may be an
event loop that the closing needs; when that is done, the signal is raised again and goes to the server. A second signal
does not wait.

Servers set their handlers at different times: gunicorn before it loads the application, but after it when preloading;
uvicorn and daphne after it. So whether the handler is still there is looked at again when the first session opens.
That happens on some other thread, where handlers cannot be set; a signal of our own, free until then, brings it to the
main one.
"""

from __future__ import annotations

import _thread
import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["ensure", "watch"]

_log = logging.getLogger("dashscope_rt.web")
_closings: list[Callable[[], None]] = []
_ensured_in = 0  # the process in which handlers were looked at
_OURS: int | None = getattr(signal, "SIGRTMAX", None)
_MARK = "_dashscope_rt"


def watch(close: Callable[[], None]) -> None:
    """Call this before the process ends on a signal. In the main thread it takes effect now, else with `ensure`."""
    _closings.append(close)
    prepare()


def prepare() -> None:
    """Put the handlers before those there are; does nothing on other threads than the main one."""
    if threading.current_thread() is threading.main_thread():
        _install()
        if _OURS is not None and signal.getsignal(_OURS) == signal.SIG_DFL:
            signal.signal(_OURS, lambda _number, _frame: _install())


def ensure() -> None:
    """See that the handlers are there, once in each process; any thread."""
    global _ensured_in  # noqa: PLW0603 — one process has one set of handlers
    if _ensured_in == os.getpid():
        return
    _ensured_in = os.getpid()
    if _is_ours(signal.SIGTERM):
        return
    if threading.current_thread() is threading.main_thread():
        _install()
    elif _OURS is not None and callable(signal.getsignal(_OURS)):
        os.kill(os.getpid(), _OURS)  # handlers run in the main thread, whichever thread the kernel chooses
    else:
        _log.warning(
            "sessions will not be closed on SIGTERM: make the application in the main thread, or add"
            " dashscope_rt.web.django to INSTALLED_APPS"
        )


def _is_ours(number: int) -> bool:
    return hasattr(signal.getsignal(number), _MARK)


def _install() -> None:
    """Put the handlers before those there are; main thread."""
    for name in ("SIGTERM", "SIGINT", "SIGQUIT"):
        number = getattr(signal, name, None)
        if number is None or _is_ours(number):
            continue
        before = signal.getsignal(number)
        # Ctrl-C and the like end the interpreter in the ordinary way, atexit included, unless a server says otherwise.
        if name != "SIGTERM" and (not callable(before) or before is signal.default_int_handler):
            continue
        if before is None:  # set by something that is not Python
            continue
        try:
            signal.signal(number, _Handler(before))
        except ValueError:  # not the main thread after all: gevent's main greenlet is, others are not
            return


class _Handler:
    """A signal handler that closes first and then lets ``before`` have the signal."""

    def __init__(self, before: Any) -> None:
        self._before = before
        self._process = os.getpid()
        self._seen = False
        setattr(self, _MARK, True)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._seen or not _closings or self._process != os.getpid():
            self._pass_on(number, frame)
            return
        self._seen = True
        # Not a Thread, whose start() waits: gevent runs handlers where nothing may wait.
        _thread.start_new_thread(self._close, (number,))

    def _close(self, number: int) -> None:
        try:
            for close in _closings:
                close()
        except Exception:  # noqa: BLE001 — whatever fails here, the signal must reach the server
            _log.exception("closing the sessions failed")
        finally:
            os.kill(os.getpid(), number)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        if callable(self._before):
            self._before(number, frame)
        elif self._before == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
