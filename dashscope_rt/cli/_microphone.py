"""`chat` by ear: the microphone goes in, the answer sounds, and what is typed (then Enter) is a command."""

from __future__ import annotations

import sys
import threading
from collections import deque
from typing import Any

import click

import dashscope_rt as rt

from . import _files
from ._commands import Commands, Left, path_of
from ._display import Display
from ._files import Answers
from ._keyboard import Keyboard, no_echo
from ._output import is_terminal
from ._stream import Stream
from ._tools import NO_RESULT


def talk(
    session: rt.RealtimeSession,
    display: Display,
    answers: Answers,
    devices: tuple[Any, Any],
    *,
    echo: str,
    commands: Commands,
) -> int:
    """Let a person and the model talk until the person leaves; returns the exit code.

    Args:
        session: Open, with turn detection.
        display: Where it is shown.
        answers: Where it is kept.
        devices: An open microphone and speaker.
        echo: See `Microphone.guard`.
        commands: For what is typed.

    Raises:
        ConnectionClosed: The session ended by itself.
    """
    microphone, speaker = devices
    microphone.guard(speaker, echo)
    stream = Stream(session, display, answers, speaker)
    by_ear = _ByEar(commands, session, display, microphone, stream)
    failures: list[BaseException] = []

    def listen() -> None:
        try:
            stream.feed(microphone, lambda: microphone.level_db)
        except Exception as error:  # noqa: BLE001 — the main thread raises it
            failures.append(error)

    thread = threading.Thread(target=listen, name="dashscope-rt-microphone", daemon=True)
    display.line(
        f"{session.model.name} hears {microphone.device.name}: just speak, or type."
        " Enter mutes, /help lists the commands, Ctrl-C leaves.",
        "dim",
    )
    with no_echo(sys.stdin, by_key=display.live):
        display.state("listening")
        keyboard = Keyboard(display.typed if display.live and is_terminal(sys.stdin) else None)
        try:
            with display:
                thread.start()
                while not failures:
                    line = keyboard.line(0.2)
                    if line is None:
                        continue
                    by_ear.run(line)
        except (Left, EOFError):
            return 0
        finally:
            microphone.close()
            speaker.close()
            thread.join(2.0)
            display.over()  # what was being said when it ended stays on the screen
    raise failures[0]


class _ByEar:
    """The commands, where questions are not waited for: answers come when they come."""

    def __init__(
        self, commands: Commands, session: rt.RealtimeSession, display: Display, microphone: Any, stream: Stream
    ) -> None:
        self._commands = commands
        self._session = session
        self._display = display
        self._microphone = microphone
        self._stream = stream
        self._calls: deque[rt.FunctionCall] = deque()  # that wait for the person; filled on the reader thread
        session.on_function_call(self._called)

    def _called(self, call: rt.FunctionCall) -> None:  # reader thread
        self._calls.append(call)
        self._display.line(f"       /result TEXT is the answer to {call.name}", "magenta")

    def run(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        if line and self._display.live:  # elsewhere the terminal has shown it
            self._display.line(f"› {line}", "bold")
        try:
            if not name:
                self._microphone.muted = not self._microphone.muted
                self._display.state("muted" if self._microphone.muted else "listening")
            elif name == "/audio":
                for pcm in rt.audio.chunks(
                    _files.load_audio(path_of(rest.strip(), "/audio"), self._session.input_rate),
                    100, self._session.input_rate,
                ):  # fmt: skip
                    self._session.append_audio(pcm)
            elif name == "/image":
                self._session.append_image(path_of(rest.strip(), "/image"))
            elif name == "/save" and self._stream.last is not None:
                self._commands.remember(self._stream.last.audio, self._stream.last.audio_rate)
                self._commands.run(line)
            elif name == "/result" and self._calls:
                self._calls.popleft().respond(rest.strip() or NO_RESULT)
                self._stream.asked()
            elif name == "/text" or not name.startswith("/"):
                self._session.send_text(rest if name == "/text" else line)
                self._session.create_response()
                self._stream.asked()
                self._display.state("thinking")
            else:
                self._commands.run(line)
        except (rt.ConnectionClosed, Left):
            raise
        except (rt.RealtimeError, click.UsageError, ValueError, OSError) as error:
            if isinstance(error, rt.APIError) or isinstance(error.__cause__, rt.APIError):
                return  # the stream hears of it too, and says it
            text = error.format_message() if isinstance(error, click.ClickException) else str(error)
            self._display.line(f"error: {text}", "red")
