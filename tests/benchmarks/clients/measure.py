"""The measuring, the same for every client: a client only opens sessions and hands on what they hear.

A session is an object with

    listen()            begins to hear, where connecting alone does not
    create_response()   asks for the next part of the stream
    append(pcm)         sends 100 ms of audio
    close()

and ``connect(url, listener)`` makes one and returns when ``session.created`` has come. From then on it calls, on
whatever thread it likes, ``listener.audio(event_id, pcm)``, ``listener.text(delta)``, ``listener.committed()`` and
``listener.done(response_id)``.
"""

from __future__ import annotations

import contextlib
import gc
import json
import resource
import select
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from tests.benchmarks.pieces import APPEND, INTERVAL_S, sent_at

_LAST = "resp_last_"


class Session(Protocol):
    """What a client's program opens."""

    def listen(self) -> object: ...

    def create_response(self) -> object: ...

    def append(self, pcm: bytes) -> object: ...

    def close(self) -> object: ...


class Listener:
    """Counts what one session hears."""

    def __init__(self) -> None:
        self.events = 0
        self.size = 0
        self.over = threading.Event()

    def audio(self, event_id: str, pcm: bytes) -> None:
        self.events += 1
        self.size += len(pcm)

    def text(self, delta: str) -> None:
        self.events += 1
        self.size += len(delta)

    def committed(self) -> None:
        self.over.set()

    def done(self, response_id: str) -> None:
        if response_id.startswith(_LAST):
            self.over.set()


class Latencies(Listener):
    """Also notes how long each piece took from the server's send to here, in ns."""

    def __init__(self) -> None:
        super().__init__()
        self.took: list[int] = []

    def audio(self, event_id: str, pcm: bytes) -> None:
        self.took.append(time.monotonic_ns() - sent_at(event_id))
        self.events += 1
        self.size += len(pcm)


class Hog(Listener):
    """Once ``until`` (``time.perf_counter()``) is set, its first piece of audio keeps the interpreter busy till then."""

    until = 0.0

    def audio(self, event_id: str, pcm: bytes) -> None:
        while time.perf_counter() < self.until:
            self.events += 1


Connect = Callable[[str, Listener], Session]


class Clock:
    """CPU and wall seconds, and what the system did for the process, since it was made."""

    def __init__(self) -> None:
        self._usage = resource.getrusage(resource.RUSAGE_SELF)
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def read(self) -> dict[str, float]:
        cpu, wall = time.process_time() - self._cpu, time.perf_counter() - self._wall
        now, then = resource.getrusage(resource.RUSAGE_SELF), self._usage
        return {
            "cpu_s": cpu,
            "wall_s": wall,
            "system_s": now.ru_stime - then.ru_stime,
            "switches": now.ru_nvcsw + now.ru_nivcsw - then.ru_nvcsw - then.ru_nivcsw,
            "page_faults": now.ru_minflt - then.ru_minflt,
        }


def flood(connect: Connect, url: str, count: int, limit_s: float, each: int, **_: Any) -> dict[str, Any]:
    """As many deltas as one session can take; each must bring ``each`` bytes, where that is known."""
    listener = Listener()
    session = _open(connect, url, listener)
    session.create_response()
    _wait(listener, limit_s)
    listener.events = listener.size = 0
    clock = Clock()
    session.create_response()
    finished = _wait(listener, limit_s)
    figures = clock.read()
    session.close()
    return _per_event(figures, listener.events) | {
        "finished": finished and listener.events == count,
        "bytes": listener.size,
    }


def append(connect: Connect, url: str, count: int, warm: int, limit_s: float, **_: Any) -> dict[str, Any]:
    """As many appends as one session can send, until the server has them all."""
    listener = Listener()
    session = _open(connect, url, listener)
    for _ in range(warm):
        session.append(APPEND)
    _wait(listener, limit_s)
    clock = Clock()
    for _ in range(count):
        session.append(APPEND)
    finished = _wait(listener, limit_s)
    figures = clock.read()
    session.close()
    return _per_event(figures, count) | {"finished": finished}


def paced(connect: Connect, url: str, count: int, sessions: int, limit_s: float, hog: bool, **_: Any) -> dict[str, Any]:
    """Many conversations at once, 100 ms of audio every 100 ms in both directions; one thread does all the talking.

    With ``hog`` there is one session more, whose callback computes for all that time.
    """
    glutton = Hog()
    beside = _open(connect, url, glutton) if hog else None
    if beside is not None:
        beside.create_response()
        _wait(glutton, limit_s)
    listeners = [Latencies() for _ in range(sessions)]
    opened = [_open(connect, url, listener) for listener in listeners]
    for session, listener in zip(opened, listeners, strict=True):
        session.create_response()
        _wait(listener, limit_s)
        listener.events = 0
        listener.took = []
    gc.collect()  # everybody begins with as little garbage as everybody else
    clock = Clock()
    began = time.perf_counter()
    if beside is not None:
        glutton.until = began + INTERVAL_S * count
        beside.create_response()
    sent = 0
    for turn in range(count):
        for index, session in enumerate(opened):
            _sleep_until(began + INTERVAL_S * (turn + index / sessions))
            if not turn:
                session.create_response()
            session.append(APPEND)
            sent += 1
    finished = True
    for listener in listeners:
        finished &= listener.over.wait(max(0.1, began + INTERVAL_S * count + limit_s / 3 - time.perf_counter()))
    figures = clock.read()
    heard = sum(listener.events for listener in listeners)
    took = sorted(ns for listener in listeners for ns in listener.took)
    for session in (*opened, *([beside] if beside is not None else [])):
        with contextlib.suppress(Exception):
            session.close()
    latency = {f"p{part}": took[min(len(took) - 1, len(took) * part // 100)] / 1e6 for part in (50, 99, 100) if took}
    return _per_event(figures, heard + sent) | {
        "finished": finished and heard == sessions * count,
        "latency_ms": latency,
        "behind_s": round(figures["wall_s"] - INTERVAL_S * count, 3),
    }


def connect_often(connect: Connect, url: str, count: int, warm: int, beside: bool, **_: Any) -> dict[str, Any]:
    """One session after another, or one ``beside`` another; only the connecting is measured, closing is not."""
    cpu = wall = 0.0
    other = _open(connect, url, Listener()) if beside else None
    for number in range(warm + count):
        clock = Clock()
        session = connect(url, Listener())
        figures = clock.read()
        if number >= warm:
            cpu += figures["cpu_s"]
            wall += figures["wall_s"]
        session.close()
    if other is not None:
        other.close()
    return {
        "cpu_s": cpu,
        "wall_s": wall,
        "events": count,
        "value": cpu / count * 1e3,
        "wall_ms": wall / count * 1e3,
        "finished": True,
    }


def memory(connect: Connect, url: str, sessions: int, limit_s: float, **_: Any) -> dict[str, Any]:
    """Resident memory that each further idle session takes; the first one has already heard something."""
    listener = Listener()
    opened = [_open(connect, url, listener)]
    opened[0].create_response()
    _wait(listener, limit_s)
    clock = Clock()
    before = _resident()
    opened += [_open(connect, url, Listener()) for _ in range(sessions)]
    after = _resident()
    figures = clock.read()
    threads = threading.active_count()
    for session in opened:
        with contextlib.suppress(Exception):
            session.close()
    return figures | {
        "events": sessions,
        "value": (after - before) / sessions / 1024,
        "threads": threads,
        "finished": True,
    }


_KINDS: dict[str, Callable[..., dict[str, Any]]] = {
    "flood": flood,
    "append": append,
    "paced": paced,
    "connect": connect_often,
    "memory": memory,
}


def run(connect: Connect) -> None:
    """Measure what the command line asks for and print the figures as one line of JSON."""
    asked = json.loads(sys.argv[1])
    figures = _KINDS[asked.pop("kind")](connect, **asked)
    figures["peak_kib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(figures), flush=True)


def _open(connect: Connect, url: str, listener: Listener) -> Session:
    session = connect(url, listener)
    session.listen()
    return session


def _per_event(figures: dict[str, float], events: int) -> dict[str, Any]:
    return {**figures, "events": events, "value": figures["cpu_s"] / max(1, events) * 1e6}


def _wait(listener: Listener, limit_s: float) -> bool:
    came = listener.over.wait(limit_s)
    listener.over.clear()
    return came


def _sleep_until(moment: float) -> None:
    left = moment - time.perf_counter()
    if left > 0:
        select.select((), (), (), left)  # finer and cheaper than any lock with a time-out


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
