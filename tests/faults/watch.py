"""A real session in front of the emulator's faults, with every friendly callback watched."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import attrs

import dashscope_rt as rt
from dashscope_rt.testing import Answer, Emulator, Heard
from tests.peer import SOON

KEY = "sk-faults-0123456789"
MODEL = "qwen3.5-omni-flash-realtime"
TEXT = "It is sunny in Hangzhou, with a little wind."
AUDIO = bytes(range(256)) * 110  # 0.6 s at 24 kHz: a few deltas
ANSWER = Answer(text=TEXT, audio=AUDIO)
FAST = rt.Reconnect(attempts=3, first_delay=0.0, max_delay=0.0)
CLOSE = 1.0  # seconds for close()
SPARE = 1.5  # seconds on top of a deadline that a busy machine may take
HEARD = bytes(3200)  # 100 ms that the service hears and nobody commits
NAMES = ("on_open", "on_error", "on_reconnecting", "on_reconnected", "on_close", "on_done", "on_input_transcript")


class Watch:
    """A session and what its callbacks got, in order."""

    def __init__(self, session: rt.RealtimeSession) -> None:
        self.session = session
        self.took = 0.0  # seconds of `close`
        self._all: list[tuple[str, Any]] = []
        self._changed = threading.Condition()
        for name in NAMES:
            getattr(session, name)(lambda what, name=name: self._note(name, what))

    def _note(self, name: str, what: Any) -> None:
        with self._changed:
            self._all.append((name, what))
            self._changed.notify_all()

    def got(self, name: str) -> list[Any]:
        with self._changed:
            return [what for found, what in self._all if found == name]

    def get(self, name: str, count: int = 1, timeout: float = SOON) -> Any:
        """Wait until a callback was called so often; gives what it got then."""
        with self._changed:
            came = self._changed.wait_for(lambda: sum(found == name for found, _ in self._all) >= count, timeout)
            assert came, f"{name} did not come {count} time(s); there are {[found for found, _ in self._all]}"
        return self.got(name)[count - 1]

    def close(self) -> float:
        """Close the session and see that it kept its deadline; gives the seconds it took."""
        start = time.monotonic()
        self.session.close()
        self.took = time.monotonic() - start
        assert self.took < self.session.timeouts.close + SPARE
        return self.took

    @property
    def story(self) -> str:
        """What the callbacks were told about the connection, in words."""
        parts = []
        for name, what in self._all:
            if name == "on_error":
                parts.append(f"on_error({type(what).__name__})")
            elif name == "on_reconnecting":
                reason = "planned" if what.planned else type(what.error).__name__
                parts.append(f"on_reconnecting({reason})")
            elif name == "on_reconnected":
                parts.append("on_reconnected")
            elif name == "on_close":
                parts.append(f"on_close({told(what)})")
        return ", ".join(parts)


def told(info: rt.CloseInfo) -> str:
    error = f", {type(info.error).__name__}" if info.error is not None else ""
    return f"{info.who}, {info.code}{error}"


def lost_in(lost: rt.Lost) -> str:
    """What ``on_reconnected`` says is lost, in words."""
    parts = [f"{len(lost.responses)} response(s) cut off" if lost.responses else ""]
    parts += [f"{lost.audio_ms:.0f} ms of half-heard audio" if lost.audio_ms else ""]
    parts += [f"events {', '.join(lost.events)}" if lost.events else "", *lost.not_restored]
    named = ", ".join(part for part in parts if part) or "nothing"
    return f"{named} (the conversation is given back as text)" if lost.restored_chars else named


@contextlib.contextmanager
def service(*faults: str, **options: Any) -> Iterator[Emulator]:
    options.setdefault("answer", [ANSWER] * 5)
    with Emulator(faults=list(faults), **options) as emulator:
        yield emulator
        emulator.check()


@contextlib.contextmanager
def watched(
    emulator: Emulator,
    *,
    connect: bool = True,
    model: str = MODEL,
    timeouts: dict[str, float] | None = None,
    keepalive: rt.Keepalive | None = None,
    limits: rt.Limits | None = None,
    **options: Any,
) -> Iterator[Watch]:
    """A session in manual mode, opened unless told otherwise; closed at the end, within its deadline."""
    seconds = {"connect": SOON, "close": CLOSE, "send": SOON, "turn": SOON, "cancel": 0.3, **(timeouts or {})}
    client = rt.RealtimeClient(
        KEY,
        url=emulator.url,
        proxy="",
        timeouts=rt.Timeouts(**seconds),
        keepalive=keepalive,
        limits=limits,
        ca_file=emulator.ca_file,
    )
    options.setdefault("turn_detection", None)
    watch = Watch(client.session(model, voice="Tina", **options))
    try:
        if connect:
            watch.session.connect()
        yield watch
    finally:
        watch.close()
        if watch.got("on_open"):
            watch.get("on_close")
        assert len(watch.got("on_close")) <= 1  # once, and not for a session that never was


@attrs.define
class Asked:
    """A turn, or what it raised."""

    turn: rt.Turn | None
    error: Exception | None
    took: float

    @property
    def name(self) -> str:
        return "the answer" if self.error is None else f"ask() raises {type(self.error).__name__}"


def ask(watch: Watch, **options: Any) -> Asked:
    """Ask in writing."""
    start = time.monotonic()
    try:
        turn = watch.session.ask(text="How is the weather?", **options)
    except rt.RealtimeError as error:
        return Asked(getattr(error, "turn", None), error, time.monotonic() - start)
    return Asked(turn, None, time.monotonic() - start)


def check_answer(turn: rt.Turn | None) -> None:
    """The whole answer, nothing more and nothing less."""
    assert turn is not None
    assert turn.status == "completed"
    assert turn.text == TEXT
    assert turn.audio == AUDIO
    assert turn.usage is not None


def held_at_first(heard: Heard) -> Answer:
    """An answer that stops in its middle on the first connection, so that it is never complete before the fault."""
    return Answer(text=TEXT, audio=AUDIO, hold_after_ms=300) if heard.connection == 1 else ANSWER


class Gate:
    """A callback that blocks until it is let go, and says when it is there."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.leave = threading.Event()
        self.calls: queue.Queue[Any] = queue.Queue()

    def __call__(self, what: Any) -> None:
        self.calls.put(what)
        self.entered.set()
        self.leave.wait(60)
