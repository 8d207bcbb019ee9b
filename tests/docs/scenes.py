"""What surrounds the code of a page: which emulator, which hardware, which person in front of it.

A block chooses one with ``<!-- test: scene NAME -->``; it holds for its whole section. Without, it is `plain`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from dashscope_rt.audio import FakeDevice, chunks, read_wav, silence
from dashscope_rt.testing import Answer, Emulator, FunctionCall, Heard

Scene = Callable[[pytest.MonkeyPatch], AbstractContextManager["Stage"]]


class Stage:
    """An emulator, and names that the code may use without having made them."""

    def __init__(self, emulator: Emulator, **names: Any) -> None:
        self.emulator = emulator
        self.names = names


@contextlib.contextmanager
def plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with Emulator() as emulator:
        yield Stage(emulator)


def _answers(answer: Callable[[Heard], Answer | str]) -> Scene:
    @contextlib.contextmanager
    def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
        with Emulator(answer=answer) as emulator:
            yield Stage(emulator)

    return scene


def _weather(heard: Heard) -> Answer:
    """A model that asks for the weather in Rome, and reads out what it is told."""
    if heard.function_outputs:
        return Answer(text="The functions say: " + "; ".join(heard.function_outputs.values()))
    names = [tool.get("function", tool)["name"] for tool in heard.tools]
    return (
        Answer(function_calls=[FunctionCall(names[0], {"city": "Rome"})]) if names else Answer(text="I have no tools.")
    )


def _slowly(heard: Heard) -> Answer:
    return Answer(text="This is a very long story about a river and a boat. " * 20)


@contextlib.contextmanager
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """An answer so long that it can be interrupted."""
    with Emulator(answer=_slowly, pace=1.0) as emulator:
        yield Stage(emulator)


@contextlib.contextmanager
def hardware(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A microphone that hears the question, then the service hangs up."""
    with Emulator() as emulator, FakeDevice("question.wav") as device:
        monkeypatch.setattr("dashscope_rt.audio.devices.SoundDevices", lambda: device)

        def person() -> None:
            emulator.wait_for_sent("response.done", timeout=20)
            emulator.drop(1000, "enough")

        threading.Thread(target=person, daemon=True).start()
        yield Stage(emulator, device=device.run(speed=4))


class Loudspeaker:
    """What a page calls ``speaker``."""

    def __init__(self) -> None:
        self.sounded = threading.Event()
        self.stopped = threading.Event()

    def write(self, pcm: bytes) -> None:
        self.sounded.set()

    def stop(self) -> None:
        self.stopped.set()


def _speech(speaker: Loudspeaker) -> Iterator[bytes]:
    """The question, then silence until the answer begins to sound."""
    yield from chunks(read_wav("question.wav").pcm, 100, 16_000)
    for _ in range(2000):
        if speaker.sounded.wait(0.01):
            return
        yield silence(100, 16_000)


@contextlib.contextmanager
def talking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A ``microphone`` and a ``speaker`` of the reader's own."""
    speaker = Loudspeaker()
    with Emulator() as emulator:
        yield Stage(emulator, speaker=speaker, microphone=_speech(speaker))
    assert speaker.sounded.is_set()
    assert speaker.stopped.is_set()


@contextlib.contextmanager
def loss(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """The first connection is lost in the middle of the second answer."""
    with Emulator(faults="reset@response.audio_transcript.delta:8#1") as emulator:
        yield Stage(emulator)


@contextlib.contextmanager
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """The key is refused."""
    with Emulator(api_keys={"sk-another"}) as emulator:
        yield Stage(emulator)


SCENES: dict[str, Scene] = {
    "plain": plain,
    "weather": _answers(_weather),
    "slow": slow,
    "hardware": hardware,
    "talking": talking,
    "loss": loss,
    "refusing": refusing,
}
