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
from ._session import opened
from ._stream import Stream


@click.command()
@click.option("-a", "--audio", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
              help="Begin with this question; - is stdin.")  # fmt: skip
@click.option("-i", "--image", "images", type=click.Path(exists=True, dir_okay=False, path_type=Path), multiple=True,
              help="A JPEG to go with the first question.")  # fmt: skip
@click.option("-o", "--output", help="Keep every answer: a folder, or a WAV file that is numbered on.")
@click.option("--json", "as_json", is_flag=True, help="One event per line on stdout; all else on stderr.")
@click.option("--text", "prompt", is_flag=True, help="The prompt, even where there is a microphone.")
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
              /cancel  /clear  /tools  /save FILE  /help  /exit
    Ctrl-C stops the answer, and at the prompt the program.
    \b
    Examples:
      dashscope-rt chat
      dashscope-rt chat -f request.yaml -o answers/
      arecord -f S16_LE -r 16000 -t raw | dashscope-rt chat --json
      printf '%s\\n' "Hello!" "/voice Ethan" "And now?" | dashscope-rt chat
    """
    chosen = settings(**options)
    sound = audio is not None and str(audio) == "-"
    audio = None if sound else audio
    if not sound and audio is None and not prompt and not is_terminal(sys.stdin):
        sound = _files.looks_like_audio(_files.peek(sys.stdin.buffer))
    devices = None
    if is_terminal(sys.stdin) and not prompt and audio is None:
        devices = _devices(microphone, speaker, required=bool(microphone or speaker))
    with contextlib.ExitStack() as stack:
        for device in devices or ():
            stack.callback(device.close)
        defaults = rt.SessionConfig() if sound or devices else rt.SessionConfig(turn_detection=None)
        request = request_of(chosen, defaults=defaults, **options)
        display = Display(people() if as_json else console())
        answers = Answers(output)
        watch = _Watch(display)
        session = stack.enter_context(
            opened(
                chosen,
                request,
                timeout=options["timeout"],
                allow_unsupported=options["allow_unsupported"],
                record=options["record"],
                json_events=as_json,
                reconnect=True,
                **watch.callbacks(),
            )
        )
        stack.enter_context(watch.running())
        commands = Commands(session, display, answers, request, options["timeout"], images=images)
        if devices is not None and session.uses_vad:
            from ._microphone import talk

            return talk(session, display, answers, devices, echo=echo, commands=commands)
        if sound and session.uses_vad:
            return _piped(session, display, answers, options["timeout"])
        if sound:
            pcm = b"".join(_files.pieces(sys.stdin.buffer, session.input_rate))
            if not pcm:
                raise click.UsageError("no audio came on stdin")
            commands.ask(audio=pcm)
            return 0
        return _typed(commands, display, audio or request.audio, request, as_json=as_json)


def _piped(session: rt.RealtimeSession, display: Display, answers: Answers, timeout: float) -> int:
    """Sound on stdin, as long as it comes; the service finds the turns."""
    stream = Stream(session, display, answers)
    with display:
        display.state("listening")
        stream.feed(_files.pieces(sys.stdin.buffer, session.input_rate))
        stream.finish(timeout)
    if stream.failure is not None:
        raise stream.failure
    return 0


def _devices(microphone: str | None, speaker: str | None, *, required: bool) -> tuple[Any, Any] | None:
    """An open microphone and speaker; None, with a word about why, when there are none."""
    from dashscope_rt.audio import Microphone, Speaker

    ear = Microphone(_device(microphone))
    mouth = Speaker(_device(speaker))
    try:
        ear.open()
        try:
            mouth.open()
        except BaseException:
            ear.close()
            raise
    except (ImportError, LookupError, OSError) as error:
        if required:
            raise click.UsageError(str(error)) from None
        note(f"no microphone: {error}")
        return None
    return ear, mouth


def _device(name: str | None) -> str | int | None:
    return int(name) if name is not None and name.isdigit() else name


def _typed(
    commands: Commands, display: Display, audio: Path | None, request: _request.Request, *, as_json: bool
) -> int:
    """Questions and commands, line by line; returns the exit code."""
    interactive = is_terminal(sys.stdin)
    if audio is not None or request.text:
        commands.ask(audio=_files.load_audio(audio, commands.rate) if audio is not None else None,
                     text=request.text or None)  # fmt: skip
        if not interactive:
            return 0
    if interactive:
        display.line(f"{request.model}: type a question, /help for commands, Ctrl-D to leave.", "dim")
    for line in _lines(to_stderr=as_json):
        try:
            commands.run(line)
        except Left:
            return 0
        except rt.ConnectionClosed:
            raise
        except (rt.RealtimeError, click.UsageError, ValueError, OSError) as error:
            if not interactive:
                raise
            error_line(error.format_message() if isinstance(error, click.ClickException) else str(error))
        except KeyboardInterrupt:
            if not interactive or not commands.interrupted():
                raise
    return 0


def _lines(*, to_stderr: bool) -> Iterator[str]:
    """Lines from stdin, at a prompt where a person types them."""
    if not is_terminal(sys.stdin):
        for raw in sys.stdin.buffer:
            yield raw.decode("utf-8", "replace").strip()
        return
    with contextlib.suppress(ImportError):
        import readline

        readline.set_history_length(500)  # importing it is what makes input() an editor
    while True:
        try:
            if to_stderr or not is_terminal(sys.stdout):
                sys.stderr.write("› ")
                sys.stderr.flush()
                line = sys.stdin.readline()
                if not line:
                    raise EOFError
            else:
                line = input("› ")
        except EOFError:
            click.echo(err=to_stderr)
            return
        yield line.strip()


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
