"""What can be typed in `chat`: questions, and commands that begin with a slash."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import dashscope_rt as rt

from . import _files, _request
from ._contexts import nearest
from ._display import Display
from ._files import Answers
from ._output import summary

_HELP = {
    "/audio FILE": "ask with a sound file (WAV, .pcm)",
    "/image FILE": "a JPEG that goes with the next question",
    "/text …": "ask in words, also when they begin with a slash",
    "/voice [NAME]": "change the voice; without a name: list them",
    "/instructions …": "change the system message",
    "/cancel": "stop the answer that runs",
    "/clear": "throw away what was not asked yet: pictures, sound",
    "/tools": "the functions the model may call",
    "/save FILE": "save the last answer's sound",
    "/help": "this",
    "/exit": "leave (also /quit, Ctrl-D)",
}


class Left(Exception):
    """The person wants to leave."""


class Commands:
    """Runs lines in a session; the answer to each question is awaited, never slept for.

    Args:
        session: Open.
        display: Where it is shown.
        answers: Where it is kept.
        request: Its pictures go with the first question.
        timeout: Seconds a turn.
        images: Instead of the request's.
    """

    def __init__(
        self,
        session: rt.RealtimeSession,
        display: Display,
        answers: Answers,
        request: _request.Request,
        timeout: float,
        *,
        images: tuple[Path, ...] = (),
    ) -> None:
        self._session = session
        self._display = display
        self._answers = answers
        self._timeout = timeout
        self._images = list(images or request.images)
        self._turn: rt.Turn | None = None
        self._last: tuple[bytes, int] = (b"", 0)
        self._tokens = 0
        self._run: dict[str, Callable[[str], None]] = {
            "audio": self._audio, "image": self._image, "text": lambda rest: self.ask(text=rest),
            "voice": self._voice, "instructions": self._instructions, "cancel": self._cancel, "clear": self._clear,
            "tools": self._tools, "save": self._save, "help": self._help, "exit": self._exit, "quit": self._exit,
        }  # fmt: skip

    @property
    def rate(self) -> int:
        """Hz of the sound that goes in."""
        return self._session.input_rate

    def run(self, line: str) -> None:
        """Run one line.

        Raises:
            Left: It says so.
            click.UsageError: There is no such command, or it lacks something.
            RealtimeError: The question was refused, or not answered in time.
        """
        if not line:
            return
        if not line.startswith("/"):
            self.ask(text=line)
            return
        name, _, rest = line[1:].partition(" ")
        if name not in self._run:
            raise click.UsageError(f"there is no command /{name}; {nearest(name, self._run)}")
        self._run[name](rest.strip())

    def ask(self, *, audio: bytes | None = None, text: str | None = None) -> None:
        """Put one question, show the answer while it comes, keep it."""
        if text is not None and not text:
            raise click.UsageError("/text wants some words")
        images, self._images = self._images, []
        session, display = self._session, self._display
        display.state("thinking")
        try:
            with display:
                turn = self._turn = session.ask(audio, text=text, images=images, stream=True, timeout=self._timeout)
                for piece in turn:
                    if piece.input_transcript is not None:
                        display.heard(piece.input_transcript.text, final=piece.input_transcript.final)
                    elif piece.text:
                        display.said(piece.text)
                self._done(turn)
        except KeyboardInterrupt:
            if self._turn is not None:  # a wait that is interrupted cancels by itself, but this may have come between
                with contextlib.suppress(rt.RealtimeError):
                    self._turn.cancel()
            raise
        except (ValueError, OSError):
            self._images = images + self._images  # nothing was asked: they are still to go
            raise
        finally:
            self._turn = None
            display.over()

    def _done(self, turn: rt.Turn) -> None:
        usage = turn.usage
        self._tokens += (usage.total_tokens or 0) if usage is not None else 0
        self._display.over(summary(turn))
        for call in turn.function_calls:
            self._display.line(f"       the model calls {call.name}({call.arguments_json})", "magenta")
        if turn.audio:
            self._last = (turn.audio, turn.audio_rate)
        kept = self._answers.save(turn.audio, turn.audio_rate)
        if kept is not None:
            self._display.line(f"       {kept}", "dim")

    def remember(self, pcm: bytes, rate: int) -> None:
        """Have this as the last answer, for ``/save``."""
        self._last = (pcm, rate)

    def interrupted(self) -> bool:
        """Ctrl-C came: whether it stopped an answer (which the wait has cancelled by itself)."""
        self._display.line("       stopped", "dim")
        return self._session.is_open

    # ---- commands ---------------------------------------------------------------------------------------------

    def _audio(self, rest: str) -> None:
        self.ask(audio=_files.load_audio(path_of(rest, "/audio"), self.rate))

    def _image(self, rest: str) -> None:
        path = path_of(rest, "/image")
        self._images.append(path)
        self._display.line(f"       {path.name} goes with the next question", "dim")

    def _voice(self, rest: str) -> None:
        if not rest:
            self._display.line("       " + ", ".join(self._session.model.voices), "dim")
            return
        self._change(voice=rest)

    def _instructions(self, rest: str) -> None:
        if not rest:
            raise click.UsageError("/instructions wants some words")
        self._change(instructions=rest)

    def _change(self, **fields: Any) -> None:
        try:
            self._session.wait_ack(self._session.update(**fields))
        except rt.BadRequestError as error:
            if "voice" in fields and "voice" in error.code:
                message = "the voice is fixed once the model has spoken: leave, and begin again with --voice"
                raise click.UsageError(message) from error
            raise
        self._display.line(f"       {', '.join(fields)} changed", "dim")

    def _cancel(self, _rest: str) -> None:
        stopped = self._session.cancel_response()
        self._display.line("       stopped" if stopped else "       no answer runs", "dim")

    def _clear(self, _rest: str) -> None:
        self._images.clear()
        self._session.wait_ack(self._session.clear_audio())
        self._display.line("       cleared", "dim")

    def _tools(self, _rest: str) -> None:
        tools = self._session.config.tools
        if not isinstance(tools, tuple) or not tools:
            self._display.line("       the model has no functions; a request file (-f) can give it some: tools", "dim")
            return
        for tool in tools:
            if isinstance(tool, rt.FunctionTool):
                described = tool.description if isinstance(tool.description, str) else ""
                self._display.line(f"       {tool.name}: {described}", "dim")
            elif isinstance(tool, rt.McpTool):
                self._display.line(f"       {tool.server_label} (MCP)", "dim")

    def _save(self, rest: str) -> None:
        if not rest:
            raise click.UsageError("/save wants a file name")
        pcm, rate = self._last
        if not pcm:
            raise click.UsageError("there is no spoken answer yet")
        path = _plain_path(rest)
        with contextlib.suppress(FileExistsError):
            _files.write_new(path, pcm, rate)
            self._display.line(f"       {path}", "dim")
            return
        raise click.UsageError(f"{path} is there already; nothing is written over")

    def _help(self, _rest: str) -> None:
        for usage, what in _HELP.items():
            self._display.line(f"       {usage:<18} {what}", "dim")

    def _exit(self, _rest: str) -> None:
        raise Left


def path_of(rest: str, command: str) -> Path:
    """The file that a command names.

    Raises:
        click.UsageError: It names none, or there is none.
    """
    if not rest:
        raise click.UsageError(f"{command} wants a file")
    path = _plain_path(rest)
    if not path.is_file():
        raise click.UsageError(f"there is no file {path}")
    return path


def _plain_path(rest: str) -> Path:
    """The whole rest of the line is the path, blanks and all; quotes around it, or backslashes before blanks, go."""
    path = Path(rest).expanduser()
    if not path.exists():
        with contextlib.suppress(ValueError):
            words = shlex.split(rest)
            if len(words) == 1:
                return Path(words[0]).expanduser()
    return path
