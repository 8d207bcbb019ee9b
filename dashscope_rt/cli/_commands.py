"""What can be typed in `chat`: questions, and commands that begin with a slash."""

from __future__ import annotations

import contextlib
import json
import shlex
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

import dashscope_rt as rt

from . import _files, _request
from ._contexts import nearest
from ._display import Display
from ._files import Answers
from ._output import summary
from ._prompt import Prompt
from ._tools import Desk, Question, as_call

_HELP = {
    "/audio FILE": "ask with a sound file (WAV, .pcm)",
    "/image FILE": "a JPEG that goes with the next question",
    "/text …": "ask in words, also when they begin with a slash",
    "/voice [NAME]": "change the voice; without a name: list them",
    "/instructions …": "change the system message",
    "/cancel": "stop the answer that runs",
    "/clear": "throw away what was not asked yet: pictures, sound",
    "/tools": "the functions the model may call",
    "/result TEXT": "answer the function that the model calls (by microphone; the prompt asks for it)",
    "/save FILE": "save the last answer's sound",
    "/help": "this",
    "/exit": "leave (also /quit, Ctrl-D)",
}
_HELP_WIDTH = 18
_INDENT = " " * 7
_PERSON_S = 600.0  # a turn in which a person answers function calls may take that long


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
        desk: Where function calls wait for a person, or None.
        prompt: Where the person answers them.
        speaker: Where answers sound, or None.
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
        desk: Desk | None = None,
        prompt: Prompt | None = None,
        speaker: Any = None,
    ) -> None:
        self._session = session
        self._display = display
        self._answers = answers
        self._timeout = timeout
        self._images = list(images or request.images)
        self._turn: rt.Turn | None = None
        self._last: tuple[bytes, int] = (b"", 0)
        self._desk = desk
        self._prompt = prompt
        self._speaker = speaker
        if speaker is not None:
            session.play_on(speaker)
        self._run: dict[str, Callable[[str], None]] = {
            "audio": self._audio, "image": self._image, "text": lambda rest: self.ask(text=rest),
            "voice": self._voice, "instructions": self._instructions, "cancel": self._cancel, "clear": self._clear,
            "tools": self._tools, "result": self._result, "save": self._save, "help": self._help,
            "exit": self._exit, "quit": self._exit,
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
            commands = [f"/{known}" for known in self._run]
            raise click.UsageError(f"there is no command /{name}; {nearest(f'/{name}', commands)}")
        self._run[name](rest.strip())

    def ask(self, *, audio: bytes | None = None, text: str | None = None) -> None:
        """Put one question, show the answer while it comes, keep it."""
        if text is not None and not text:
            raise click.UsageError("/text wants some words")
        images, self._images = self._images, []
        display = self._display
        display.state("thinking")
        timeout = self._timeout if self._desk is None else max(self._timeout, _PERSON_S)
        try:
            with display:
                turn = self._turn = self._session.ask(audio, text=text, images=images, stream=True, timeout=timeout)
                for piece in turn if self._desk is None else self._with_person(turn, self._desk):
                    if piece.input_transcript is not None:
                        display.heard(piece.input_transcript.text, final=piece.input_transcript.final)
                    elif piece.kind == "text":
                        display.said(piece.text)
                self._done(turn)
                self._let_it_sound()
        except KeyboardInterrupt:
            if self._turn is not None:  # a wait that is interrupted cancels by itself, but this may have come between
                with contextlib.suppress(rt.RealtimeError):
                    self._turn.cancel()
            if self._speaker is not None:
                self._speaker.stop()
            raise
        except (ValueError, OSError):
            self._images = images + self._images  # nothing was asked: they are still to go
            raise
        finally:
            self._turn = None
            display.over()

    def _with_person(self, turn: rt.Turn, desk: Desk) -> Iterator[rt.Piece]:
        """The turn's pieces; function calls that come in between are put before the person.

        Only this thread, which is the main one, may read what is typed: so the turn is awaited on another.
        """

        def wait() -> None:
            try:
                for piece in turn:
                    desk.inbox.put(piece)
                desk.inbox.put(None)
            except BaseException as error:  # noqa: BLE001 — raised again where somebody can see it
                desk.inbox.put(error)

        while not desk.inbox.empty():  # of a turn that was interrupted
            if isinstance(left := desk.inbox.get(), Question):
                left.answers.put(None)
        threading.Thread(target=wait, name="dashscope-rt-turn", daemon=True).start()
        while (item := desk.inbox.get()) is not None:
            if isinstance(item, Question):
                item.answers.put(self._answer(item))
            elif isinstance(item, BaseException):
                raise item
            else:
                yield item

    def _answer(self, question: Question) -> str | None:
        """What the person types as the result of a call; None for nothing, which Ctrl-C is too."""
        if self._prompt is None:
            return None
        arguments = json.dumps(question.arguments, ensure_ascii=False)
        self._display.line(_INDENT + as_call(question.name, arguments), "magenta")
        with self._display.aside():
            try:
                line = self._prompt.line(f"{_INDENT}{question.name}() = ")
            except (EOFError, KeyboardInterrupt):
                click.echo(err=self._prompt.to_stderr)
                return None
        return line.removeprefix("/result ").strip() or None

    def _let_it_sound(self) -> None:
        if self._speaker is not None:
            self._display.state("sounding")
            self._speaker.wait_silent(self._timeout)

    def _done(self, turn: rt.Turn) -> None:
        self._display.over(summary(turn))
        self._unanswered(turn)
        if turn.audio:
            self._last = (turn.audio, turn.audio_rate)
        kept = self._answers.save(turn.audio, turn.audio_rate)
        if kept is not None:
            self._say(f"{kept}")

    def _unanswered(self, turn: rt.Turn) -> None:
        names = sorted({call.name for call in turn.function_calls if not call.answered})
        if names and turn.status == "completed":
            self._display.line(_INDENT + f"nobody answers {', '.join(names)}", "magenta")

    def remember(self, pcm: bytes, rate: int) -> None:
        """Have this as the last answer, for ``/save``."""
        self._last = (pcm, rate)

    def interrupted(self) -> bool:
        """Ctrl-C came: whether it stopped an answer (which the wait has cancelled by itself)."""
        self._say("stopped")
        return self._session.is_open

    def _say(self, text: str) -> None:
        self._display.line(_INDENT + text, "dim")

    # ---- commands ---------------------------------------------------------------------------------------------

    def _audio(self, rest: str) -> None:
        self.ask(audio=_files.load_audio(path_of(rest, "/audio"), self.rate))

    def _image(self, rest: str) -> None:
        path = path_of(rest, "/image")
        self._images.append(path)
        self._say(f"{path.name} goes with the next question")

    def _voice(self, rest: str) -> None:
        if not rest:
            self._say(", ".join(self._session.model.voices))
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
            if (better := explained(error)) is not None:
                raise click.UsageError(better) from error
            raise
        self._say(f"{', '.join(fields)} changed")

    def _cancel(self, _rest: str) -> None:
        stopped = self._session.cancel_response()
        self._say("stopped" if stopped else "no answer runs")

    def _clear(self, _rest: str) -> None:
        self._images.clear()
        self._session.wait_ack(self._session.clear_audio())
        self._say("cleared")

    def _tools(self, _rest: str) -> None:
        tools = self._session.config.tools
        if not isinstance(tools, tuple) or not tools:
            self._say("the model has no functions; a request file (-f) can give it some: tools")
            return
        for tool in tools:
            if isinstance(tool, rt.FunctionTool):
                described = tool.description if isinstance(tool.description, str) else ""
                self._say(f"{tool.name}: {described}")
            elif isinstance(tool, rt.McpTool):
                self._say(f"{tool.server_label} (MCP)")

    def _result(self, _rest: str) -> None:
        raise click.UsageError("the model waits for no result")

    def _save(self, rest: str) -> None:
        if not rest:
            raise click.UsageError("/save wants a file name")
        pcm, rate = self._last
        if not pcm:
            raise click.UsageError("there is no spoken answer yet")
        path = _plain_path(rest)
        with contextlib.suppress(FileExistsError):
            _files.write_new(path, pcm, rate)
            self._say(f"{path}")
            return
        raise click.UsageError(f"{path} is there already; nothing is written over")

    def _help(self, _rest: str) -> None:
        for usage, what in _HELP.items():
            self._display.line(f"{_INDENT}{usage:<{_HELP_WIDTH}} {what}", "dim", hang=len(_INDENT) + _HELP_WIDTH + 1)

    def _exit(self, _rest: str) -> None:
        raise Left


def explained(error: rt.APIError) -> str | None:
    """A better sentence for a refusal that comes from something typed here; None when the service's own is best."""
    if "update_voice" in error.code:
        return "the voice is fixed once the model has spoken: leave, and begin again with --voice"
    return None


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
