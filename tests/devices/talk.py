"""Pieces the tests here share: speech, an emulator with a session, and a person whose time is the fake device's."""

from __future__ import annotations

import contextlib
import math
import threading
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import dashscope_rt as rt
from dashscope_rt.audio import FakeDevice, Microphone, Speaker, Wav
from dashscope_rt.testing import Answer, Emulator
from tests.peer import SOON

MODEL = "qwen3.5-omni-flash-realtime"
BLOCK = 20.0
START = 60.0
LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"


def tone(ms: float, rate: int = 16_000, hertz: float = 440.0) -> bytes:
    """Something loud enough for the emulator's VAD."""
    return array(
        "h", (int(9000 * math.sin(math.tau * hertz * i / rate)) for i in range(int(rate * ms / 1000)))
    ).tobytes()


VOICE = tone(6000, 24_000)  # without a silent block in it


def spoken(text: str = LONG, **more: Any) -> Answer:
    return Answer(text, audio=VOICE, rate=24_000, **more)


def speech(ms: float) -> Wav:
    return Wav(pcm=tone(ms), rate=16_000)


class Talk:
    """A conversation on a fake device with an emulator behind it."""

    def __init__(self, emulator: Emulator, talk: rt.Conversation, device: FakeDevice) -> None:
        self.emulator = emulator
        self.talk = talk
        self.session = talk.session
        self.device = device
        self.interruptions: list[rt.Interruption] = []
        self.done: list[rt.Response] = []
        self._changed = threading.Condition()
        self.session.on_interrupted(self._interrupted)
        self.session.on_done(self._done)

    def _interrupted(self, interruption: rt.Interruption) -> None:
        with self._changed:
            self.interruptions.append(interruption)
            self._changed.notify_all()

    def _done(self, response: rt.Response) -> None:
        with self._changed:
            self.done.append(response)
            self._changed.notify_all()

    def until(self, ready: Callable[[], object]) -> None:
        """Wait, with the device's time standing still, for callbacks that make something true."""
        with self._changed:
            assert self._changed.wait_for(ready, SOON), (self.sent_types(), self.talk.error)

    def ask_aloud(self, ms: float = 600.0) -> None:
        """Say something and be silent until the answer begins; it is complete when this returns, and time stands still."""
        count, begun = len(self.done), self.sent_types().count("response.created")
        self.device.say(speech(ms))
        self.device.advance(ms)
        self.step_until(lambda: self.sent_types().count("response.created") > begun)
        self.until(lambda: len(self.done) > count)

    def step_until(self, ready: Callable[[], object], limit_ms: float = 3000.0) -> None:
        """Let time pass block by block until something is true, and no further."""
        end = self.device.now_ms + limit_ms
        while not ready():
            assert self.device.now_ms < end, self.sent_types()
            self.device.advance(BLOCK)
            self.settle()

    def speak_until_interrupted(self, limit_ms: float = 1000.0) -> float:
        """Speak, block by block, until it is known that an answer was interrupted; returns the device's time then."""
        self.device.say(speech(limit_ms))
        self.step_until(lambda: self.interruptions, limit_ms)
        return self.device.now_ms

    def settle(self) -> None:
        """Let everything the client has sent come back as what it causes: an update makes a full circle."""
        turned = threading.Event()
        watcher = self.session.on("session.updated")(lambda event: turned.set())
        self.session.update(instructions="Be brief.")
        assert turned.wait(SOON)
        self.session.off(watcher)

    def sent_types(self) -> list[str]:
        return [record.type for record in self.emulator.sent]

    def received_types(self) -> list[str]:
        return [record.type for record in self.emulator.received]


@contextlib.contextmanager
def talking(
    answer: Any = None,
    *,
    device: FakeDevice | None = None,
    echo: Any = "headset",
    record: Any = None,
    start_ms: float = START,
    emulator: dict[str, Any] | None = None,
    timeouts: rt.Timeouts | None = None,
    **options: Any,
) -> Iterator[Talk]:
    """A conversation that has begun; its emulator answers as fast as it can."""
    device = device or FakeDevice()
    options.setdefault("turn_detection", rt.ServerVad(silence_duration_ms=500))
    with Emulator(answer if answer is not None else lambda heard: spoken(), **(emulator or {})) as service:
        session = rt.RealtimeClient("sk-test", url=service.url, timeouts=timeouts).session(MODEL, **options)
        talk = rt.Conversation(
            session,
            microphone=Microphone(backend=device, block_ms=BLOCK),
            speaker=Speaker(backend=device, block_ms=BLOCK, start_ms=start_ms),
            echo=echo,
            record=record,
        )
        with_it = Talk(service, talk, device)
        with talk:
            yield with_it
        service.check()
