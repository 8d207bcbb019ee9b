"""The emulator and the servers that the tests of this folder share."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator

import pytest

from dashscope_rt.audio import read_wav, silence
from dashscope_rt.audio.resampling import resample
from dashscope_rt.testing import Answer, Emulator, FunctionCall, Heard

from .servers import ROOT, Server

QUESTION = read_wav(ROOT / "samples" / "data" / "question.wav").pcm


def model(heard: Heard) -> Answer | None:
    """What the emulator says: written orders are followed, speech is played back."""
    if heard.function_outputs:
        return Answer(text=" ".join(heard.function_outputs.values()))
    if "use the tool" in heard.text:
        return Answer(function_calls=[FunctionCall("greeting", {})])
    if "talk for two minutes" in heard.text:
        return Answer(text="La la la. " * 20, audio=bytes(120 * 48_000))
    if "wait for me" in heard.text:
        return Answer(text="This is a long answer. " * 20, hold_after_ms=400)
    return None


def sent_audio(emulator: Emulator, connection: int) -> bytes:
    """All speech that the emulator has sent on a connection."""
    return b"".join(
        base64.b64decode(each.event["delta"])
        for each in emulator.sent
        if each.connection == connection and each.type == "response.audio.delta"
    )


def spoken(rate: int) -> bytes:
    """The question, and the silence that ends it."""
    return resample(QUESTION + silence(1500, 16_000), 16_000, rate)


@pytest.fixture(scope="session")
def shared_emulator() -> Iterator[Emulator]:
    with Emulator(model, cancel_sends_done=True) as emulator:
        yield emulator
        emulator.check()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(model, cancel_sends_done=True) as emulator:
        yield emulator
        emulator.check()


@pytest.fixture(scope="session")
def server_called(shared_emulator: Emulator) -> Iterator[Callable[[str], Server]]:
    """A server by its name; each is started once, and only when a test wants it."""
    running: dict[str, Server] = {}

    def get(name: str) -> Server:
        if name not in running:
            running[name] = Server(name, shared_emulator.url, {"bounds": {"quiet_s": 0.3}})
        return running[name]

    yield get
    for server in running.values():
        server.close()
