"""Where lines are typed: an editor on a terminal, plain lines from a pipe."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import click

from ._output import is_terminal

_MARK = "› "


class Prompt:
    """Reads lines on the main thread.

    Args:
        to_stderr: stdout is for events: a prompt goes to stderr.

    Attributes:
        interactive: Whether a person types.
        to_stderr: As given.
    """

    def __init__(self, *, to_stderr: bool = False) -> None:
        self.interactive = is_terminal(sys.stdin)
        self.to_stderr = to_stderr
        if self.interactive:
            with contextlib.suppress(ImportError):
                import readline

                readline.set_history_length(500)  # importing it is what makes input() an editor

    def line(self, mark: str = _MARK) -> str:
        """One line, without blanks around it.

        Raises:
            EOFError: There is none any more.
            KeyboardInterrupt: Ctrl-C.
        """
        if not self.interactive:
            raw = sys.stdin.buffer.readline()
            if not raw:
                raise EOFError
            return raw.decode("utf-8-sig", "replace").strip()
        if not self.to_stderr and is_terminal(sys.stdout):
            return input(mark).strip()
        sys.stderr.write(mark)
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.strip()

    def lines(self) -> Iterator[str]:
        """All lines until the end."""
        while True:
            try:
                line = self.line()
            except EOFError:
                if self.interactive:
                    click.echo(err=self.to_stderr)  # what follows begins a line of its own
                return
            yield line
