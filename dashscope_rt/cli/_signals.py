"""Ctrl-C and SIGTERM end the program in order, and neither is ever lost."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

INTERRUPTED, TERMINATED = 130, 143
_MOMENT_S = 0.1
_TRIES = 100
_RECENT_S = 1.0
_last = (float("-inf"), 0)  # when a signal was heard, and which exit code it means


def just_heard() -> int:
    """The exit code of a signal that was heard a moment ago; 0 if there was none.

    For errors that may be one in disguise: a C extension that is interrupted while it is imported raises ImportError.
    """
    when, code = _last
    return code if time.monotonic() - when < _RECENT_S else 0


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Have SIGINT raise KeyboardInterrupt and SIGTERM raise SystemExit, in the main thread, wherever it waits.

    A signal that comes after Python has looked for one and before it begins to wait, for a key, a lock or a thread, is
    noticed when that wait is over only, and that may be never. Python tells at once that one has come, though: so if
    nobody has heard of it a moment later, it is sent again. And so it is when it was heard where exceptions end, as in
    the callback of a weak reference.
    """
    usual: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    ours = threading.current_thread() is threading.main_thread()
    if not ours or any(signal.getsignal(number) is not before for number, before in usual.items()):
        yield  # somebody else's program, with handlers of its own
        return
    main = threading.get_ident()
    count = 0  # of signals that were heard; written by the main thread alone

    def handle(number: int, frame: FrameType | None) -> None:  # between any two instructions of the main thread
        nonlocal count
        global _last  # noqa: PLW0603 — as signals themselves, it belongs to the process
        count += 1
        _last = (time.monotonic(), INTERRUPTED if number == signal.SIGINT else TERMINATED)
        if number == signal.SIGTERM:
            raise SystemExit(TERMINATED)
        signal.default_int_handler(number, frame)

    def watch() -> None:  # a thread of its own
        settled = 0
        while came := os.read(reading, 1):
            for _ in range(_TRIES):
                if count != settled or came[0] not in usual or signal.getsignal(came[0]) is not handle:
                    break
                if over.wait(_MOMENT_S):
                    return
                if count == settled:
                    signal.pthread_kill(main, came[0])
            settled = count  # and then: one that comes in between must not be sent twice
            _empty(reading)

    hook = sys.unraisablehook

    def unraisable(about: Any) -> None:
        lost = {KeyboardInterrupt: signal.SIGINT, SystemExit: signal.SIGTERM}.get(about.exc_type)
        if lost is None or os.name != "posix":
            hook(about)
            return
        again = threading.Timer(_MOMENT_S, signal.pthread_kill, (main, lost))  # not here: this ends exceptions too
        again.daemon = True
        again.start()

    for number in usual:
        signal.signal(number, handle)
    sys.unraisablehook = unraisable
    if os.name != "posix":
        try:
            yield
        finally:
            sys.unraisablehook = hook
            _restore(usual, handle)
        return
    over = threading.Event()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)  # as set_wakeup_fd() wants it
    previous = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    thread = threading.Thread(target=watch, name="dashscope-rt-signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        sys.unraisablehook = hook
        _restore(usual, handle)
        over.set()
        os.close(writing)
        thread.join(1.0)
        if not thread.is_alive():
            os.close(reading)


def _restore(usual: dict[signal.Signals, Any], handle: object) -> None:
    for number, before in usual.items():
        if signal.getsignal(number) is handle:
            signal.signal(number, before)


def _empty(reading: int) -> None:
    while select.select([reading], [], [], 0)[0] and os.read(reading, 64):
        pass
