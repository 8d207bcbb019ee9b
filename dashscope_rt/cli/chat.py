"""``chat``: a conversation, by microphone where there is one, else by a prompt, or with what comes on stdin."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

import dashscope_rt as rt

from . import _files, _request
from ._commands import Commands, Left
from ._display import Display
from ._files import Answers
from ._options import connection_options, request_of, session_options, settings
from ._output import console, error_line, is_terminal, note, people
from ._prompt import Prompt
from ._session import opened
from ._stream import Stream
from ._tools import Desk, tools_of


@click.command()
@click.option("-a", "--audio", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
              help="Begin with this question; - is stdin.")  # fmt: skip
@click.option("-i", "--image", "images", type=click.Path(exists=True, dir_okay=False, path_type=Path), multiple=True,
              help="A JPEG to go with the first question.")  # fmt: skip
@click.option("-o", "--output", metavar="PATH", help="Keep every answer: a folder, or a WAV file that is numbered on.")
@click.option("--json", "as_json", is_flag=True, help="One event per line on stdout; all else on stderr.")
@click.option("--text", "prompt", is_flag=True, help="Type, even where there is a microphone.")
@click.option("--microphone", help="Part of the microphone's name, or its number.")
@click.option("--speaker", help="Part of the loudspeaker's name, or its number.")
@click.option("--echo", type=click.Choice(["mute", "duck", "headset"]), default="mute", show_default=True,
              help="What the microphone does while the loudspeaker sounds.")  # fmt: skip
@session_options
@connection_options
def chat(
    audio: Path | None,
    images: tuple[Path, ...],
    output: str | None,
    as_json: bool,
    prompt: bool,
    microphone: str | None,
    speaker: str | None,
    echo: str,
    **options: Any,
) -> int | None:
    """Talk with a model. With a microphone you just speak; without, type a question or a command.

    \b
    Commands: /audio FILE  /image FILE  /text …  /voice NAME  /instructions …
              /cancel  /clear  /tools  /result TEXT  /save FILE  /help  /exit
    Ctrl-C stops the answer, and at the prompt the program.

    Functions that the model may call are declared in the request file, under tools. --tool names a program for one,
    --tools a Python file with more; at the prompt you are asked for the result of the others.

    \b
    Examples:
      dashscope-rt chat
      dashscope-rt chat -f request.yaml -o answers/
      arecord -f S16_LE -r 16000 -t raw | dashscope-rt chat --json
      printf '%s\\n' "/voice Ethan" "Hello!" "And now?" | dashscope-rt chat
      dashscope-rt chat -f request.yaml --tool weather="python weather.py"
    """
    chosen = settings(**options)
    sound = audio is not None and str(audio) == "-"
    audio = None if sound else audio
    if not sound and audio is None and not prompt and not is_terminal(sys.stdin):
        sound = _files.looks_like_audio(_files.peek(sys.stdin.buffer))
    ear = mouth = None
    if is_terminal(sys.stdin) and audio is None:
        ear, mouth = _devices(microphone, speaker, prompt=prompt)
    by_ear = ear is not None
    with contextlib.ExitStack() as stack:
        for device in (ear, mouth):
            if device is not None:
                stack.callback(device.close)
        defaults = rt.SessionConfig() if sound or by_ear else rt.SessionConfig(turn_detection=None)
        request = request_of(chosen, defaults=defaults, **options)
        hands_free = (sound or by_ear) and request.config.turn_detection is not None
        desk = None if hands_free or sound else Desk()
        tools = tools_of(request.config, options["programs"], options["tool_files"], desk)
        display = Display(people() if as_json else console())
        answers = Answers(output)
        watch = _Watch(display)
        with display:
            display.state("connecting")
            session = stack.enter_context(
                opened(
                    chosen,
                    request,
                    timeout=options["timeout"],
                    allow_unsupported=options["allow_unsupported"],
                    record=options["record"],
                    left_out=options["left_out"],
                    json_events=as_json,
                    reconnect=True,
                    tools=tools,
                    by_hand=desk.names if desk is not None else (),
                    say=lambda line: display.line(f"       {line}", "magenta"),
                    **watch.callbacks(),
                )
            )
            display.state("")
        stack.enter_context(watch.running())
        lines = Prompt(to_stderr=as_json)
        commands = Commands(
            session, display, answers, request, options["timeout"], images=images, prompt=lines,
            desk=desk if tools else None, speaker=None if hands_free else mouth,
        )  # fmt: skip
        if by_ear and hands_free:
            from ._microphone import talk

            return talk(session, display, answers, (ear, mouth), echo=echo, commands=commands)
        if sound and hands_free:
            return _piped(session, display, answers, options["timeout"])
        if sound:
            pcm = b"".join(_files.pieces(sys.stdin.buffer, session.input_rate))
            if not pcm:
                raise click.UsageError("no audio came on stdin")
            commands.ask(audio=pcm)
            return 0
        return _typed(commands, display, audio or request.audio, request, lines)


def _piped(session: rt.RealtimeSession, display: Display, answers: Answers, timeout: float) -> int:
    """Sound on stdin, as long as it comes; the service finds the turns.

    No faster than it would be spoken: in a file the next question would cut off the answer to the one before.
    """
    stream = Stream(session, display, answers)
    with display:
        display.state("listening")
        stream.feed(rt.audio.paced(_files.pieces(sys.stdin.buffer, session.input_rate), session.input_rate))
        stream.finish(timeout)
    if stream.failure is not None:
        raise stream.failure
    return 0


def _devices(microphone: str | None, speaker: str | None, *, prompt: bool) -> tuple[Any, Any]:
    """An open microphone and speaker; None, with a word about why, for what is not there and was not asked for.

    Where somebody types, a speaker that was not asked for stays silent, unless a microphone was looked for in vain.

    Raises:
        click.UsageError: What was asked for by name is not there.
    """
    from dashscope_rt.audio import Microphone, Speaker

    if prompt and microphone is not None:
        raise click.UsageError("--text is without a microphone; leave one of --text and --microphone out")
    ear = None if prompt else _open(Microphone(_device(microphone)), "microphone", required=microphone is not None)
    if prompt and speaker is None:
        return None, None
    try:
        mouth = _open(Speaker(_device(speaker)), "loudspeaker", required=speaker is not None, quiet=ear is None)
    except BaseException:
        if ear is not None:
            ear.close()
        raise
    if ear is not None and mouth is None:
        ear.close()
        ear = None
    return ear, mouth


def _open(device: Any, what: str, *, required: bool, quiet: bool = False) -> Any:
    try:
        return device.open()
    except (ImportError, LookupError, OSError) as error:
        if required:
            raise click.UsageError(str(error)) from None
        if not quiet:
            note(f"no {what}: {error}")
        return None


def _device(name: str | None) -> str | int | None:
    return int(name) if name is not None and name.isdigit() else name


def _typed(commands: Commands, display: Display, audio: Path | None, request: _request.Request, prompt: Prompt) -> int:
    """Questions and commands, line by line; returns the exit code."""
    if audio is not None or request.text:
        commands.ask(audio=_files.load_audio(audio, commands.rate) if audio is not None else None,
                     text=request.text or None)  # fmt: skip
        if not prompt.interactive:
            return 0
    if prompt.interactive:
        display.line(f"{request.model}: type a question, /help for commands, Ctrl-D to leave.", "dim")
    for line in prompt.lines():
        try:
            commands.run(line)
        except Left:
            return 0
        except rt.ConnectionClosed:
            raise
        except (rt.RealtimeError, click.UsageError, ValueError, OSError) as error:
            if not prompt.interactive:
                raise
            error_line(error.format_message() if isinstance(error, click.ClickException) else str(error))
        except KeyboardInterrupt:
            if not prompt.interactive or not commands.interrupted():
                raise
    return 0


class _Watch:
    """Says what happens to the connection, and wakes whoever waits at a prompt when it has ended."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._running = False
        self.info: rt.CloseInfo | None = None

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_reconnecting": lambda about: self._display.line(
                f"the connection was lost; try {about.attempt} …", "yellow"
            ),
            "on_reconnected": lambda _lost: self._display.line("connected again", "yellow"),
            "on_close": self._closed,
        }

    def _closed(self, info: rt.CloseInfo) -> None:  # reader thread
        self.info = info
        if self._running and info.who != "client" and os.name == "posix":
            os.kill(os.getpid(), signal.SIGINT)  # the main thread may sit in input()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Turn the wake-up back into what it was: the session has ended."""
        self._running = True
        try:
            yield
        except KeyboardInterrupt:
            self._running = False
            if self.info is None or self.info.who == "client":
                raise
            raise self.info.error or rt.ConnectionClosed(f"the session is over: {self.info}", self.info) from None
        finally:
            self._running = False
