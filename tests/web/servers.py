"""Real web servers as programs, each on a port that it chose itself."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from .browser import SOON, Browser

ROOT = Path(__file__).parents[2]
START = 30.0  # s: programs take their time on a busy machine
_GUNICORN = ["-m", "gunicorn", "--bind", "127.0.0.1:0", "--no-control-socket", "--worker-class"]
_DJANGO = {"DJANGO_SETTINGS_MODULE": "tests.web.site.settings"}

# name -> (arguments of Python, environment)
FLASK: dict[str, tuple[list[str], dict[str, str]]] = {
    "flask run": (["-m", "flask", "--app", "tests.web.flask_app", "run", "--port", "0"], {}),
    "flask gthread": ([*_GUNICORN, "gthread", "--threads", "20", "tests.web.flask_app:app"], {}),
    "flask preload": ([*_GUNICORN, "gthread", "--threads", "20", "--preload", "tests.web.flask_app:app"], {}),
    "flask gevent": ([*_GUNICORN, "gevent", "tests.web.flask_app:app"], {}),
    "flask gevent preload": ([*_GUNICORN, "gevent", "--preload", "tests.web.flask_app:app"], {}),
}
DJANGO: dict[str, tuple[list[str], dict[str, str]]] = {
    "django gthread": ([*_GUNICORN, "gthread", "--threads", "20", "tests.web.site.wsgi:application"], _DJANGO),
    "django daphne": (["-m", "daphne", "--port", "0", "tests.web.site.asgi:application"], _DJANGO),
    "django uvicorn": (["-m", "uvicorn", "--port", "0", "tests.web.site.asgi:application"], _DJANGO),
    "django runserver": (["-m", "django", "runserver", "--noreload", "127.0.0.1:0"], {**_DJANGO, "WITH_DAPHNE": "1"}),
}
NO_SOCKETS: dict[str, tuple[list[str], dict[str, str]]] = {
    "flask waitress": (["-m", "waitress", "--listen=127.0.0.1:0", "tests.web.flask_app:app"], {}),
    "django waitress": (["-m", "waitress", "--listen=127.0.0.1:0", "tests.web.site.wsgi:application"], _DJANGO),
    "django runserver, WSGI": (["-m", "django", "runserver", "--noreload", "127.0.0.1:0"], _DJANGO),
    "flask sync": ([*_GUNICORN, "sync", "tests.web.flask_app:app"], {}),
}
ALL = {**FLASK, **DJANGO, **NO_SOCKETS}
_LISTENS = re.compile(r"(?:Listening at:|Running on|running on|Serving on|Listening on TCP address) (?:http://)?([\d.]+:\d+)")


class Server:
    """A server that runs until the end of the with block.

    Args:
        name: One of `ALL`, or
        arguments: of Python.
        service: The emulator's URL.
        options: Of the gateway.
        environment: Further variables.
    """

    def __init__(
        self,
        name: str,
        service: str,
        options: dict[str, Any] | None = None,
        *,
        arguments: list[str] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        found, variables = ALL.get(name, ([], {}))
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("DASHSCOPE_", "DJANGO_"))}
        self._output: list[str] = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, *(arguments or found)],
            cwd=ROOT,
            env={
                **clean,
                "PYTHONPATH": str(ROOT),
                "PYTHONUNBUFFERED": "1",
                "PYTHONWARNINGS": "ignore",
                "DASHSCOPE_REALTIME_URL": service,
                "VOICE_OPTIONS": json.dumps(options or {}),
                **variables,
                **(environment or {}),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._thread = threading.Thread(target=self._read, name="test-server-output", daemon=True)
        self._thread.start()
        self.address = self.wait_for_output(_LISTENS.pattern, START).group(1)
        self.url = f"http://{self.address}"
        self.ws = f"ws://{self.address}/voice/ws"

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self._output.append(line)
                self._changed.notify_all()
        with self._changed:
            self._output.append("(the end)\n")
            self._changed.notify_all()

    @property
    def output(self) -> str:
        return "".join(self._output)

    def wait_for_output(self, pattern: str, timeout: float = SOON, *, count: int = 1) -> re.Match[str]:
        def found() -> list[re.Match[str]]:
            return list(re.finditer(pattern, self.output))

        with self._changed:
            self._changed.wait_for(lambda: len(found()) >= count or "(the end)" in self.output, timeout)
            matches = found()
            assert len(matches) >= count, f"{self.name} did not say {pattern!r}:\n{self.output}"
            return matches[count - 1]

    def browser(self, **options: Any) -> Browser:
        return Browser(self.ws, **options)

    def get(self, path: str, *, headers: dict[str, str] | None = None, data: bytes | None = None) -> tuple[int, bytes, Any]:
        """Status, body, headers."""
        request = urllib.request.Request(self.url + path, data=data, headers=headers or {})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=SOON) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), error.headers

    def terminate(self, number: int = signal.SIGTERM, timeout: float = 15.0) -> float:
        """Send a signal and wait for the end; returns how long it took, s."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout)
        return time.monotonic() - began

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        try:  # its workers too, whatever became of it
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(10)
        self._thread.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
