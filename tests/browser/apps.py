"""The two sample applications as processes of their own, in front of an emulator that says what a test wants."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from dashscope_rt.testing import Answer, Emulator, Heard

ROOT = Path(__file__).parent.parent.parent
SOON_S = 20.0  # an interpreter with Django in it starts within one second, when nothing else runs
COMMANDS = {
    "flask": ["samples/flask_app/app.py", "--port", "{port}"],
    "django": ["samples/django_app/manage.py", "runserver", "--noreload", "127.0.0.1:{port}"],
}
_ADDRESS = re.compile(r"127\.0\.0\.1:[1-9]\d*")  # Django first says the port that it was given: 0


class App:
    """A sample application that runs.

    Args:
        framework: ``flask`` or ``django``.
        key: Whether it has a key; without, it starts an emulator of its own.
        script: What its emulator answers, one after the other, to speech with a known transcript; else `reply` does.

    Attributes:
        emulator: What it talks with, if it has a key.
        reply: What that answers.
        output: Its lines.
    """

    def __init__(self, framework: str, *, key: bool = True, script: Sequence[Answer] | None = None) -> None:
        self.framework = framework
        self.reply: Callable[[Heard], Answer | str] = lambda heard: f"You wrote: {heard.text}"
        self.emulator: Emulator | None = None
        if key:
            self.emulator = Emulator(answer=script or (lambda heard: self.reply(heard))).start()
        self.output: list[str] = []
        self.url = ""
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self, port: int = 0) -> App:
        """Start the process and wait until it listens."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DASHSCOPE_")}
        environment |= {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
        if self.emulator is not None:
            environment |= {"DASHSCOPE_API_KEY": "sk-of-a-test", "DASHSCOPE_REALTIME_URL": self.emulator.url}
        self._process = subprocess.Popen(
            [sys.executable, *(part.format(port=port) for part in COMMANDS[self.framework])],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        found: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(self._process, found), daemon=True)
        self._reader.start()
        self.url = found.get(timeout=SOON_S)
        assert self.url, "\n".join(["it did not start:", *self.output[-20:]])
        return self

    def _read(self, process: subprocess.Popen[str], found: queue.Queue[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self.output.append(line.rstrip())
                match = _ADDRESS.search(line)
                if match is not None:
                    found.put(f"http://{match.group()}")
        found.put("")

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        """End the process at once, as a crash or a pulled plug does."""
        assert self._process is not None
        assert self._reader is not None
        self._process.kill()
        self._process.wait(SOON_S)
        self._reader.join(SOON_S)

    def close(self) -> None:
        """End process and emulator."""
        self.kill()
        if self.emulator is not None:
            self.emulator.close()
