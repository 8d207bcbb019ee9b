"""Many users on one server process, on loopback: ``python -m tests.web.load --users 50 --seconds 20``.

Every user speaks the question in real time, at 48,000 Hz, hears the answer, which comes in real time, and asks again;
the microphone never stops. Three processes: the emulator, the server, and the users. What is measured: CPU and memory of
the server's worker, and how long a piece of speech takes from the emulator's ``send`` to the browser (`time.monotonic`
is the same clock in all processes here). Loopback only, and bounded in users and time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import websocket

from dashscope_rt.audio import chunks, read_wav, silence
from dashscope_rt.audio.resampling import resample
from dashscope_rt.testing import Emulator

from .servers import ROOT, Server

RATE = 48_000
FRAME_MS = 60.0
ROUND_S = 7.0  # that a question and its answer take; the users begin spread over it, people do not speak in chorus
MOST_USERS, MOST_SECONDS = 200, 120.0
SERVERS = {
    "gthread": ["-m", "gunicorn", "--bind", "127.0.0.1:0", "--no-control-socket", "--worker-class", "gthread", "--threads", "{}", "tests.web.flask_app:app"],
    "gevent": ["-m", "gunicorn", "--bind", "127.0.0.1:0", "--no-control-socket", "--worker-class", "gevent", "tests.web.flask_app:app"],
    "uvicorn": ["-m", "uvicorn", "--port", "0", "--ws-per-message-deflate", "false", "tests.web.site.asgi:application"],
}  # fmt: skip


class User:
    """One browser: a thread that reads; `tick` is called when the next piece of its microphone is due."""

    def __init__(self, url: str, question: list[bytes]) -> None:
        self._question = question
        self._quiet = bytes(round(RATE * FRAME_MS / 1000) * 2)
        self._at = len(question)  # quiet
        self._turn = 0
        self._ticks = 0
        self.asking = False
        self.arrived: list[float] = []  # of pieces of speech
        self.bytes = 0
        self.answers = 0
        self.latencies: list[float] = []
        self.errors: list[Any] = []
        self.ready = threading.Event()
        self.socket = websocket.create_connection(url, timeout=20, http_no_proxy=["*"], enable_multithread=True)
        self.socket.settimeout(None)
        self.socket.send(json.dumps({"type": "start", "version": 1, "rate": RATE}))
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, websocket.WebSocketException):
            while True:
                opcode, data = self.socket.recv_data()
                if opcode == websocket.ABNF.OPCODE_BINARY:
                    self.arrived.append(time.monotonic())
                    self.bytes += len(data) - 4
                    self._turn = struct.unpack_from("<BBH", data)[2]
                elif opcode == websocket.ABNF.OPCODE_TEXT:
                    self._take(json.loads(data))
                elif opcode == websocket.ABNF.OPCODE_CLOSE:
                    return

    def _take(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "ready":
            self.ready.set()
        elif kind == "response_done":
            self.answers += 1
            self.latencies.append(message["latency_ms"]["first_audio"])
            self.asking = False
        elif kind in ("error", "flush", "closed"):
            self.errors.append(message)

    def tick(self, again: bool) -> None:
        if again and not self.asking:
            self.asking, self._at = True, 0
        pcm = self._quiet
        if self._at < len(self._question):
            pcm = self._question[self._at]
            self._at += 1
        self.socket.send_binary(struct.pack("<BBH", 1, 0, 0) + pcm)
        self._ticks += 1
        if self._turn and self._ticks % 3 == 0:  # as pages do, about five times a second
            self.socket.send(json.dumps({"type": "played", "turn": self._turn, "ms": self.bytes / 48}))

    def close(self) -> None:
        with contextlib.suppress(OSError, websocket.WebSocketException):
            self.socket.send_close()
        self.thread.join(10)
        self.socket.shutdown()


def usage(pid: int) -> tuple[float, float, int]:
    """CPU seconds so far, memory in MB, threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    memory = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(memory.split()[1]) / 1024, int(fields[17])


def worker_of(pid: int) -> int:
    """gunicorn's one worker; a server without workers is its own."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else pid


@contextlib.contextmanager
def emulator_process() -> Iterator[tuple[str, Any]]:
    """An emulator in a process of its own: its URL, and a function that asks when it sent what."""
    command = [sys.executable, "-m", "tests.web.load", "--emulator"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        url = process.stdout.readline().strip()

        def sent() -> dict[int, list[tuple[float, int]]]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("sent\n")
            process.stdin.flush()
            return {int(number): rows for number, rows in json.loads(process.stdout.readline()).items()}

        try:
            yield url, sent
        finally:
            process.stdin.close()
            process.wait(20)


def be_emulator() -> None:
    """The emulator's process: says its URL, and on each line of input when it sent how much speech to whom."""
    with Emulator(pace=1.0, record_limit=1_000_000) as emulator:
        print(emulator.url, flush=True)
        for _line in sys.stdin:
            rows: dict[int, list[tuple[float, int]]] = {}
            for each in emulator.sent:
                if each.type == "response.audio.delta":
                    delta = each.event["delta"]
                    rows.setdefault(each.connection, []).append((each.at, len(delta) * 3 // 4 - delta[-2:].count("=")))
            print(json.dumps(rows), flush=True)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def measure(users: int, seconds: float, server: str = "gthread") -> dict[str, Any]:
    """Run it; see the module.

    Raises:
        AssertionError: A piece of speech was lost, or somebody got an error.
    """
    assert 1 <= users <= MOST_USERS
    assert 0 < seconds <= MOST_SECONDS
    pcm = resample(read_wav(ROOT / "samples" / "data" / "question.wav").pcm + silence(1200, 16_000), 16_000, RATE)
    question = list(chunks(pcm, FRAME_MS, RATE))
    arguments = [part.format(users + 8) for part in SERVERS[server]]
    variables = {"DJANGO_SETTINGS_MODULE": "tests.web.site.settings"} if server == "uvicorn" else {}
    with (
        emulator_process() as (service, sent),
        Server("", service, {"limit": users}, arguments=arguments, environment=variables) as running,
    ):
        running.get("/")
        pid = worker_of(running.process.pid)
        memory_before = usage(pid)[1]
        people: list[User] = []
        try:
            for _ in range(users):  # one after the other, so that the emulator's connections are in this order
                people.append(User(running.ws, question))
                assert people[-1].ready.wait(20), "not ready"
            cpu_before = usage(pid)[0]
            began = time.monotonic()
            late = speak(people, seconds)
            took = time.monotonic() - began
            cpu, memory, threads = usage(pid)
            rows = sent()
        finally:
            for person in people:
                person.close()
    assert not any(person.errors for person in people), [person.errors[:1] for person in people if person.errors]
    delays: list[float] = []
    for number, person in enumerate(people, 1):
        pieces = rows.get(number, [])
        assert sum(size for _, size in pieces) == person.bytes, f"user {number} did not hear everything"
        assert len(pieces) == len(person.arrived)
        delays += [(arrived - at) * 1000 for arrived, (at, _) in zip(person.arrived, pieces, strict=True)]
    first = [value for person in people for value in person.latencies]
    return {
        "server": server, "users": users, "seconds": round(took, 1),
        "cpu_percent_of_a_core": round((cpu - cpu_before) / took * 100), "threads": threads,
        "memory_mb": round(memory), "memory_mb_a_user": round((memory - memory_before) / users, 2),
        "answers": sum(person.answers for person in people), "pieces": len(delays),
        "delay_ms_p50": round(percentile(delays, 0.5), 2), "delay_ms_p99": round(percentile(delays, 0.99), 2),
        "delay_ms_max": round(max(delays), 1), "first_audio_ms_p50": percentile(first, 0.5),
        "microphone_late_ms": round(late * 1000, 1),
    }  # fmt: skip


def speak(people: list[User], seconds: float) -> float:
    """All microphones, from one thread, spread over the length of a frame; returns how late the latest piece was, s."""
    began = time.monotonic()
    step = FRAME_MS / 1000
    waiting = threading.Event()
    late = 0.0
    for tick in range(int((seconds + 15) / step)):
        again = tick * step < seconds
        if not again and not any(person.asking for person in people):
            break  # what was under way has come to its end
        for number, person in enumerate(people):
            due = began + (tick + number / len(people)) * step
            left = due - time.monotonic()
            if left > 0:
                waiting.wait(left)
            late = max(late, -left)
            person.tick(again and tick * step >= min(ROUND_S, seconds) * number / len(people))
    return late


def main() -> None:
    parser = argparse.ArgumentParser(description="Many users on one server process, on loopback.")
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--server", choices=SERVERS, default="gthread")
    parser.add_argument("--emulator", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.emulator:
        be_emulator()
    else:
        print(json.dumps(measure(given.users, given.seconds, given.server), indent=2))


if __name__ == "__main__":
    main()
