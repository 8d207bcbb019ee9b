"""Both transcripts while they are spoken, and a status line below; on anything but a terminal, the finished lines.

    You:   What will the weather be like …      a preview is revised in place until it is final
    Model: Sunny, with a light …                whole lines stay, the last one grows
    ● answering  ▂▅▃  first word after 0.42 s · 310 tokens

All methods may be called from any thread.
"""

from __future__ import annotations

import re
import threading
import time

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ._output import is_terminal

_INDENT = 7
_EVERY_S = 0.1  # between drawings of a level
_PATIENCE_LINES = 6  # of an answer that wait for the final transcript of the question
# Whatever a terminal would take for a command; what people and models say has none of it.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BARS = " ▁▂▃▄▅▆▇█"
_STATES = {
    "listening": ("●", "green"), "you speak": ("●", "bright_green"), "thinking": ("●", "yellow"),
    "answering": ("●", "cyan"), "muted": ("○", "red"), "": ("○", "dim"),
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
        self._state = ""
        self._level: float | None = None
        self._facts = ""
        self._drawn = 0.0
        self._reset()

    def _reset(self) -> None:
        self._user, self._user_final, self._user_shown = "", False, False
        self._model, self._lines_shown = "", 0

    # ---- life -------------------------------------------------------------------------------------------------

    def __enter__(self) -> Display:
        with self._lock:
            if self.live and self._view is None:
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
            if view is not None:
                view.stop()

    def _draw(self) -> None:
        # Under the lock.
        if self._view is not None:
            self._drawn = time.monotonic()
            self._view.refresh()

    # ---- what happens -----------------------------------------------------------------------------------------

    def state(self, state: str) -> None:
        """Who speaks now: ``listening``, ``you speak``, ``thinking``, ``answering``, ``muted`` or ""."""
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
            self._user, self._user_final = text, final or self._user_final
            if final and self.live:
                self._show_user()
                self._flush_lines(whole=False)
            self._draw()

    def said(self, delta: str) -> None:
        """A piece of the model's words."""
        with self._lock:
            self._state = "answering"
            self._model += delta
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
                    self._print(Text(" " * _INDENT + facts, style="dim"))

    def line(self, text: str, style: str = "") -> None:
        """One line for good, above what is still growing."""
        with self._lock:
            self._print(Text(harmless(text), style=style))

    # ---- drawing, under the lock ------------------------------------------------------------------------------

    def _print(self, text: Text) -> None:
        self._draw()  # what is printed above is no longer below
        self.console.print(text, soft_wrap=not self.live)

    def _show_user(self) -> None:
        if self._user_shown or self._model_only or not self._user.strip():
            return
        self._user_shown = True
        self._print(Text.assemble(("You:   ", "bold green"), harmless(self._user)))

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
        if ready > self._lines_shown:
            self._show_user()
        for number in range(self._lines_shown, ready):
            self._lines_shown = number + 1
            self._print(self._prefixed(number, lines[number]))

    def _wrapped(self) -> list[Text]:
        width = max(10, self.console.width - (0 if self._model_only else _INDENT))
        return list(Text(harmless(self._model)).wrap(self.console, width))

    def _prefixed(self, number: int, line: Text) -> Text:
        if self._model_only:
            return line
        return Text.assemble(("Model: ", "bold cyan") if number == 0 else " " * _INDENT, line)

    def _region(self) -> Group:
        with self._lock:  # `_draw` holds it
            rows: list[Text] = []
            if self._user and not self._user_shown and not self._model_only:
                rows.append(Text.assemble(("You:   ", "bold green"), (self._tail(self._user), "italic")))
            if self._model:
                lines = self._wrapped()
                rows += [self._prefixed(at, lines[at]) for at in range(self._lines_shown, len(lines))][-8:]
            rows.append(self._status())
            for row in rows:
                row.no_wrap, row.overflow = True, "ellipsis"
            return Group(*rows)

    def _tail(self, text: str) -> str:
        text = harmless(text).replace("\n", " ")
        room = max(10, self.console.width - _INDENT - 2)
        return text if len(text) <= room // 2 else "…" + _last_cells(text, room)

    def _status(self) -> Text:
        mark, style = _STATES.get(self._state, _STATES[""])
        parts = Text.assemble((f"{mark} ", style), (self._state or "ready", "dim"))
        if self._level is not None:
            height = round((max(-60.0, min(0.0, self._level)) + 60) / 60 * (len(_BARS) - 1))
            parts.append(f"  {_BARS[height]}", style="green")
        if self._facts:
            parts.append(f"  last: {self._facts}", style="dim")
        return parts


def _last_cells(text: str, room: int) -> str:
    from rich.cells import cell_len

    while cell_len(text) > room:
        text = text[max(1, (cell_len(text) - room) // 2) :]
    return text
