"""What is typed while something else is shown: lines from a thread, and a terminal that does not echo meanwhile."""

from __future__ import annotations

import codecs
import contextlib
import os
import queue
import re
import sys
import threading
from collections.abc import Callable, Iterator
from typing import IO, Any

from ._output import is_terminal

try:
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]

_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|O.|[^\[O])")  # arrows and the like: nothing here for them to do
_BEGUN_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*|O)?\Z")


@contextlib.contextmanager
def no_echo(stdin: IO[Any] | None, *, by_key: bool = False) -> Iterator[None]:
    """Have the terminal not show what is typed; afterwards it is as it was, and nothing that was typed is lost.

    Args:
        stdin: The terminal; anything else is left alone.
        by_key: Get every key at once instead of lines.
    """
    if termios is None or stdin is None or not is_terminal(stdin):
        yield
        return
    try:
        handle = stdin.fileno()
        before = termios.tcgetattr(handle)
    except (termios.error, OSError, ValueError):  # it says it is a terminal, and is none
        yield
        return
    quiet = termios.tcgetattr(handle)
    quiet[3] &= ~(termios.ECHO | (termios.ICANON if by_key else 0))
    try:
        termios.tcsetattr(handle, termios.TCSADRAIN, quiet)
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal has gone
            termios.tcsetattr(handle, termios.TCSADRAIN, before)


class Line:
    """A line that is being typed, key by key: Backspace, Ctrl-U, Ctrl-W; other keys that make no letter do nothing."""

    def __init__(self) -> None:
        self.text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""

    def feed(self, data: bytes) -> Iterator[str | None]:
        """Take what was typed; yields lines that are whole, and None for Ctrl-D on an empty one."""
        text = _SEQUENCE.sub("", self._pending + self._decoder.decode(data))
        begun = _BEGUN_SEQUENCE.search(text)
        self._pending = begun.group() if begun else ""
        for key in text[: len(text) - len(self._pending)]:
            if key in "\r\n":
                whole, self.text = self.text, ""
                yield whole
            elif key == "\x04":
                if not self.text:
                    yield None
            elif key in "\x7f\b":
                self.text = self.text[:-1]
            elif key == "\x15":
                self.text = ""
            elif key == "\x17":
                self.text = self.text.rstrip().rpartition(" ")[0]
            elif key.isprintable():
                self.text += key


class Keyboard:
    """Lines that are typed, read past Python's own buffer, which a thread may not hold when the program ends.

    Args:
        show: Gets what was typed so far, where the terminal gives every key (see `no_echo`); on the keyboard's thread.
    """

    def __init__(self, show: Callable[[str], None] | None = None) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._show = show
        threading.Thread(target=self._read, name="dashscope-rt-keyboard", daemon=True).start()

    def _read(self) -> None:
        line = Line()
        with contextlib.suppress(OSError, ValueError):
            while data := os.read(sys.stdin.fileno(), 4096):
                for whole in line.feed(data):
                    self._lines.put(whole if whole is None else whole.strip())
                if self._show is not None:
                    self._show(line.text)
        self._lines.put(None)

    def line(self, timeout: float) -> str | None:
        """A line that was typed, None when there is none yet.

        Raises:
            EOFError: Nothing comes any more.
        """
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            return None
        if line is None:
            raise EOFError
        return line
