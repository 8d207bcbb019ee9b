"""Both transcripts while they are spoken, and a status line below; on anything but a terminal, the finished lines.

    You:   What will the weather be like …      a preview is revised in place until it is final
    Model: Sunny, with a light …                whole lines stay, the last one grows
    ● answering  ▂▅▃  first word after 0.42 s · 310 tokens

All methods may be called from any thread.
"""

from __future__ import annotations

import contextlib
import re
import sys
import threading
import time
from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ._keyboard import no_echo
from ._output import is_terminal

_INDENT = 7
_EVERY_S = 0.1  # between drawings of a level
_PATIENCE_LINES = 6  # of an answer that wait for the final transcript of the question
# Whatever a terminal would take for a command; what people and models say has none of it.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BARS = "▁▂▃▄▅▆▇█"
_MOST_ROWS = 8  # of an answer that are not for good yet
_STATES = {
    "connecting": ("○", "yellow"), "listening": ("●", "green"), "you speak": ("●", "bright_green"),
    "thinking": ("●", "yellow"), "answering": ("●", "cyan"), "sounding": ("●", "cyan"), "muted": ("○", "red"),
    "": ("○", "dim"),
}  # fmt: skip


def harmless(text: str) -> str:
    """The text without anything that would make a terminal do more than show it."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


class Display:
    """Shows a conversation on one console.

    Args:
        console: Where.
        model_only: Show the model's words alone, without names and without the user's; for `ask`.
    """

    def __init__(self, console: Console, *, model_only: bool = False) -> None:
        self.console = Console(file=console.file, highlight=False)
        self.live = is_terminal(console.file) and not self.console.is_dumb_terminal
        self._model_only = model_only
        self._lock = threading.RLock()  # guards everything below
        self._view: Live | None = None
        self._quiet = contextlib.ExitStack()
        self._later: list[Text] | None = None
        self._state = ""
        self._level: float | None = None
        self._facts = ""
        self._typed = ""
        self._drawn = 0.0
        self._reset()

    def _reset(self) -> None:
        self._user, self._user_final, self._user_shown = "", False, False
        self._model, self._model_begun = "", False  # what is not shown for good yet, and whether anything is

    # ---- life -------------------------------------------------------------------------------------------------

    def __enter__(self) -> Display:
        with self._lock:
            if self.live and self._view is None:
                # What is typed meanwhile would be written into the picture; it is kept for the prompt.
                self._quiet.enter_context(no_echo(sys.stdin))
                # No thread of its own: it would take its lock and ours in the other order than everybody here.
                # And stdout may be a pipe, and is not ours.
                self._view = Live(
                    get_renderable=self._region,
                    console=self.console,
                    transient=True,
                    auto_refresh=False,
                    redirect_stdout=False,
                    redirect_stderr=False,
                )
                self._view.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            view, self._view = self._view, None
            try:
                if view is not None:
                    view.stop()
            finally:
                self._quiet.close()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Take the picture away while somebody is asked something; lines that come meanwhile are shown afterwards."""
        with self._lock:
            shown = self._view is not None
            self.__exit__()
            self._later = []
        try:
            yield
        finally:
            with self._lock:
                later, self._later = self._later, None
                for text in later or ():
                    self._print(text)
                if shown:
                    self.__enter__()

    def _draw(self) -> None:
        # Under the lock.
        if self._view is not None:
            self._drawn = time.monotonic()
            self._view.refresh()

    # ---- what happens -----------------------------------------------------------------------------------------

    def state(self, state: str) -> None:
        """Who speaks now: one of the names above, or "" for nobody."""
        with self._lock:
            self._state = state
            self._draw()

    def level(self, decibels: float) -> None:
        """How loud the microphone is, dB below full scale."""
        with self._lock:
            self._level = decibels
            if time.monotonic() > self._drawn + _EVERY_S:
                self._draw()

    def heard(self, text: str, *, final: bool) -> None:
        """What the service understood of the user so far."""
        with self._lock:
            if self._user_shown:
                return
            text = _one_line(text)
            self._user, self._user_final = text, final or self._user_final
            if final and self.live:
                self._show_user()
                self._flush_lines(whole=False)
            self._draw()

    def said(self, delta: str) -> None:
        """A piece of the model's words."""
        with self._lock:
            self._state = "answering"
            self._model += harmless(delta).replace("\t", " ")
            if self.live:
                self._flush_lines(whole=False)
            self._draw()

    def over(self, facts: str = "") -> None:
        """The turn is over: everything of it is shown for good."""
        with self._lock:
            self._show_user()
            self._flush_lines(whole=True)
            self._reset()
            self._state = ""
            if facts:
                self._facts = facts
                if not self._model_only:
                    self.line(" " * _INDENT + facts, "dim")

    def line(self, text: str, style: str = "", *, hang: int | None = None) -> None:
        """One line for good, above what is still growing.

        Args:
            text: The line.
            style: How it looks.
            hang: Cells before the rows that follow when it is too long for one; None takes the blanks it begins with.
        """
        with self._lock:
            text = harmless(text)
            self._hanging(Text(text, style=style), len(text) - len(text.lstrip(" ")) if hang is None else hang)

    def typed(self, text: str) -> None:
        """What was typed so far, where the terminal does not show it itself."""
        with self._lock:
            self._typed = text
            self._draw()

    # ---- drawing, under the lock ------------------------------------------------------------------------------

    def _print(self, text: Text) -> None:
        if self._later is not None:
            self._later.append(text)
            return
        self._draw()  # what is printed above is no longer below
        self.console.print(text, soft_wrap=not self.live)

    def _hanging(self, text: Text, hang: int) -> None:
        if not self.live or hang > self.console.width // 2:
            self._print(text)
            return
        # Its beginning, then the rest beside the blanks.
        head, rest = (text[:hang], text[hang:]) if hang else (Text(), text)
        rows = rest.wrap(self.console, self._room(hang))
        for number, row in enumerate(rows or [rest]):
            self._print(Text.assemble(head if number == 0 else " " * hang, row))

    def _room(self, indent: int) -> int:
        return max(10, self.console.width - indent)

    def _show_user(self) -> None:
        if self._user_shown or self._model_only or not self._user.strip():
            return
        self._user_shown = True
        self._hanging(Text.assemble(("You:   ", "bold green"), self._user), _INDENT)

    def _flush_lines(self, *, whole: bool) -> None:
        if not self._model:
            return
        if not self.live:
            if whole:
                name = "" if self._model_only else "Model: "
                self._print(Text.assemble((name, "bold cyan"), self._model))
            return
        lines = self._wrapped()
        ready = len(lines) if whole else len(lines) - 1
        waiting = bool(self._user) and not self._user_final and not whole and not self._user_shown
        if waiting and ready < _PATIENCE_LINES:
            return  # the final transcript of the question is likely to come, and belongs above
        if ready > 0:
            self._show_user()
        for line in lines[:ready]:
            # By what was shown and not by how many rows it took: the terminal may change its width at any time.
            self._model = self._model[len(line.plain) :].lstrip(" ").removeprefix("\n")
            begun, self._model_begun = self._model_begun, True
            self._print(self._prefixed(line, first=not begun))

    def _wrapped(self) -> list[Text]:
        return list(Text(self._model).wrap(self.console, self._room(0 if self._model_only else _INDENT)))

    def _prefixed(self, line: Text, *, first: bool) -> Text:
        if self._model_only:
            return line
        return Text.assemble(("Model: ", "bold cyan") if first else " " * _INDENT, line)

    def _region(self) -> Group:
        with self._lock:  # `_draw` holds it
            rows: list[Text] = []
            if self._user and not self._user_shown and not self._model_only:
                rows.append(Text.assemble(("You:   ", "bold green"), (self._tail(self._user), "italic")))
            if self._model:
                most = max(1, min(_MOST_ROWS, self.console.height - 4))
                lines = self._wrapped()
                rows += [
                    self._prefixed(line, first=at == 0 and not self._model_begun) for at, line in enumerate(lines)
                ][-most:]
            rows.append(self._status())
            if self._typed:
                rows.append(Text.assemble(("› ", "bold"), self._tail(harmless(self._typed))))
            for row in rows:
                row.no_wrap, row.overflow = True, "ellipsis"
            return Group(*rows)

    def _tail(self, text: str) -> str:
        room = self._room(_INDENT + 2)
        return text if cell_len(text) <= room else "…" + _last_cells(text, room)

    def _status(self) -> Text:
        mark, style = _STATES.get(self._state, _STATES[""])
        parts = Text.assemble((f"{mark} ", style), (self._state or "ready", "dim"))
        if self._level is not None:
            height = round((max(-60.0, min(0.0, self._level)) + 60) / 60 * (len(_BARS) - 1))  # -60 … 0 dB
            parts.append(f"  {_BARS[height]}", style="green")
        if self._facts:
            parts.append(f"  last: {self._facts}", style="dim")
        return parts


def _one_line(text: str) -> str:
    return " ".join(harmless(text).split())


def _last_cells(text: str, room: int) -> str:
    while cell_len(text) > room:
        text = text[max(1, (cell_len(text) - room) // 2) :]
    return text
