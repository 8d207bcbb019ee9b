"""A browser's socket without a network: what the relay is given in tests."""

from __future__ import annotations

import json
import queue
import struct
import threading
from collections.abc import Callable, Mapping
from typing import Any

from dashscope_rt import RealtimeClient
from dashscope_rt.web.relay import Bounds, Prepared, Relay
from dashscope_rt.web.sockets import Gone

from .browser import SOON


class Tab:
    """A `BrowserSocket`, and the other end of it. ``stuck`` set: it takes nothing any more."""

    def __init__(self) -> None:
        self._in: queue.SimpleQueue[str | bytes | None] = queue.SimpleQueue()
        self.changed = threading.Condition()
        self.messages: list[dict[str, Any]] = []
        self.frames: list[str | bytes] = []
        self.audio: dict[int, bytes] = {}
        self.closed: tuple[int, str] | None = None
        self.unstuck = threading.Event()
        self.unstuck.set()
        self._aborted = False

    # ---- BrowserSocket

    def receive(self, timeout: float | None = None) -> str | bytes | None:
        try:
            frame = self._in.get(timeout=timeout)
        except queue.Empty:
            return None
        if frame is None:
            self._in.put(None)
            raise Gone(1000)
        return frame

    def send(self, message: str | bytes) -> None:
        self.unstuck.wait()
        with self.changed:
            if self._aborted or self.closed:
                raise Gone
            self.frames.append(message)
            if isinstance(message, str):
                self.messages.append(json.loads(message))
            else:
                turn = struct.unpack_from("<BBH", message)[2]
                self.audio[turn] = self.audio.get(turn, b"") + message[4:]
                self.messages.append({"type": "(audio)", "turn": turn})
            self.changed.notify_all()

    def close(self, code: int, reason: str = "") -> None:
        with self.changed:
            self.closed = (code, reason)
            self.changed.notify_all()
        self._in.put(None)  # a browser answers

    def abort(self) -> None:
        with self.changed:
            self._aborted = True
            self.changed.notify_all()
        self.unstuck.set()
        self._in.put(None)

    # ---- the person in front of it

    def say(self, kind: str, **fields: Any) -> None:
        self._in.put(json.dumps({"type": kind, **fields}))

    def put(self, frame: str | bytes | None) -> None:
        self._in.put(frame)

    def binary(self, kind: int, payload: bytes) -> None:
        self._in.put(struct.pack("<BBH", kind, 0, 0) + payload)

    def wait(self, **fields: Any) -> dict[str, Any]:
        def find() -> dict[str, Any] | None:
            return next((m for m in self.messages if all(m.get(k) == v for k, v in fields.items())), None)

        with self.changed:
            assert self.changed.wait_for(find, SOON), f"{fields} did not come: {self.types()}"
            found = find()
            assert found is not None
            return found

    def types(self) -> list[str]:
        return [message["type"] for message in self.messages]

    @property
    def text(self) -> str:
        return "\n".join(frame for frame in self.frames if isinstance(frame, str))


class Running:
    """A relay on a thread of its own, until the end of the with block.

    Args:
        url: Of the service.
        options: Of `RealtimeClient.session`; callbacks too.
        start: Whether the tab begins with ``start``.
        prepare: In place of the ordinary one.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str = "sk-a-very-secret-key-0123456789",
        bounds: Bounds | None = None,
        start: bool = True,
        rate: int = 16_000,
        prepare: Callable[[Mapping[str, Any]], Prepared] | None = None,
        clock: Callable[[], float] | None = None,
        **options: Any,
    ) -> None:
        self.tab = Tab()
        client = RealtimeClient(key, url=url, proxy="")
        callbacks = {name: options.pop(name) for name in list(options) if name.startswith("on_")}

        def usual(_options: Mapping[str, Any]) -> Prepared:
            return Prepared(client.session(**options), callbacks)

        extra = {"clock": clock} if clock is not None else {}
        self.relay = Relay(self.tab, prepare or usual, bounds=bounds or Bounds(close_s=0.5), **extra)
        self.thread = threading.Thread(target=self.relay.run, daemon=True)
        self._start, self._rate = start, rate

    def wait(self, timeout: float = SOON) -> None:
        """The relay has returned."""
        self.thread.join(timeout)
        assert not self.thread.is_alive(), "the relay still runs"

    def __enter__(self) -> Tab:
        self.thread.start()
        if self._start:
            self.tab.say("start", version=1, rate=self._rate)
        return self.tab

    def __exit__(self, *_: object) -> None:
        self.tab.put(None)
        self.tab.unstuck.set()
        self.wait()
