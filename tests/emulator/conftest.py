from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dashscope_rt.testing import Emulator

from .talk import Consistency, Talk, check_shape, talk_to


class Service:
    """Starts emulators and clients, ends them all, and checks every event that was sent."""

    def __init__(self) -> None:
        self.emulators: list[Emulator] = []
        self.talks: list[Talk] = []
        self.strict = True  # False: the test sends events of its own making
        self.failing = False  # True: the test makes the emulator fail

    def __call__(self, answer: Any = None, **options: Any) -> Emulator:
        emulator = Emulator(answer, **options).start()
        self.emulators.append(emulator)
        return emulator

    def talk(self, emulator: Emulator, *args: Any, **kwargs: Any) -> Talk:
        talk = talk_to(emulator, *args, **kwargs)
        self.talks.append(talk)
        return talk

    def end(self) -> None:
        for talk in self.talks:
            talk.close()
        for emulator in self.emulators:
            emulator.close()
        for emulator in self.emulators:
            if not self.failing:
                emulator.check()
            follow: dict[int, Consistency] = {}
            for record in emulator.sent if self.strict else []:
                check_shape(dict(record.event))
                follow.setdefault(record.connection, Consistency()).check(dict(record.event))


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.end()


@pytest.fixture
def talk(service: Service) -> Callable[..., Talk]:
    """``talk(answer, model=…, session fields…)``: a fresh emulator and a client that is connected to it."""

    def make(
        answer: Any = None, *, model: str | None = None, session: dict[str, Any] | None = None, **options: Any
    ) -> Talk:
        emulator = service(answer, **options)
        arguments = {"model": model} if model else {}
        return service.talk(emulator, **arguments, **(session or {}))

    return make


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [
        thread.name for thread in threading.enumerate() if thread not in before and thread.name.startswith("dashscope")
    ]
    assert not left
