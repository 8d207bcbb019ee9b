"""`chat` by ear: the microphone goes in, the answer sounds, and what is typed (then Enter) is a command."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Iterator
from typing import Any

import click

import dashscope_rt as rt

from . import _files
from ._commands import Commands, Left, path_of
from ._display import Display
from ._files import Answers
from ._output import is_terminal
from ._stream import Stream


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
    display.line(f"{microphone.device.name}: just speak. Enter, then a command: /help, /exit. Ctrl-C leaves.", "dim")
    with _no_echo():
        display.state("listening")
        keyboard = _Keyboard()
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

    def run(self, line: str) -> None:
        name, _, rest = line.partition(" ")
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
            elif name == "/text" or not name.startswith("/"):
                self._session.send_text(rest if name == "/text" else line)
                self._session.create_response()
            else:
                self._commands.run(line)
        except (rt.ConnectionClosed, Left):
            raise
        except (rt.RealtimeError, click.UsageError, ValueError, OSError) as error:
            text = error.format_message() if isinstance(error, click.ClickException) else str(error)
            self._display.line(f"error: {text}", "red")


class _Keyboard:
    """Lines that are typed, read past Python's own buffer, which a thread may not hold when the program ends."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="dashscope-rt-keyboard", daemon=True).start()

    def _read(self) -> None:
        rest = b""
        with contextlib.suppress(OSError, ValueError):
            while data := os.read(sys.stdin.fileno(), 4096):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._lines.put(line.decode("utf-8", "replace").strip())
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


@contextlib.contextmanager
def _no_echo() -> Iterator[None]:
    """What is typed does not run into what is shown; the terminal is afterwards as it was."""
    if sys.platform == "win32" or not is_terminal(sys.stdin):
        yield
        return
    import termios

    before = termios.tcgetattr(sys.stdin)
    quiet = termios.tcgetattr(sys.stdin)
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
