"""A browser as the server sees it, in Python: a real WebSocket, the frames of `dashscope_rt.web.messages`, no sound."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import websocket

from dashscope_rt.audio import chunks

SOON = 10.0  # seconds that a good run never reaches


class Browser:
    """One tab. Reads on a thread of its own; everything that came is kept.

    Args:
        url: ``ws://…/voice/ws``.
        rate: Hz of its microphone.
        origin: Of its page; None sends none.
        headers: Further ones, such as Cookie.
        start: Whether to send ``start`` at once.
        options: For ``start``.
        read: False never reads, as a tab that hangs.
    """

    def __init__(
        self,
        url: str,
        *,
        rate: int = 16_000,
        origin: str | None = None,
        headers: dict[str, str] | None = None,
        start: bool = True,
        options: dict[str, Any] | None = None,
        read: bool = True,
        **socket_options: Any,
    ) -> None:
        self.rate = rate
        self.messages: list[dict[str, Any]] = []
        self.audio: dict[int, bytearray] = {}
        self.closed: tuple[int, str] | None = None
        self._changed = threading.Condition()
        self.socket = websocket.create_connection(
            url,
            timeout=SOON,
            header=headers or {},
            suppress_origin=origin is None,
            origin=origin,
            http_no_proxy=["*"],
            **socket_options,
        )
        self.socket.settimeout(None)
        self._sending = threading.Lock()
        self._thread = threading.Thread(target=self._read, name="test-browser", daemon=True)
        if read:
            self._thread.start()
        if start:
            self.send("start", version=1, rate=rate, **({"options": options} if options else {}))

    def _read(self) -> None:
        code, reason = 1006, ""
        try:
            while True:
                opcode, data = self.socket.recv_data()
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    if len(data) >= 2:
                        code, reason = struct.unpack_from("!H", data)[0], data[2:].decode()
                    break
                with self._changed:
                    if opcode == websocket.ABNF.OPCODE_TEXT:
                        self.messages.append(json.loads(data))
                    else:
                        kind, zero, turn = struct.unpack_from("<BBH", data)
                        assert (kind, zero) == (1, 0)
                        self.audio.setdefault(turn, bytearray()).extend(data[4:])
                        self.messages.append({"type": "(audio)", "turn": turn, "bytes": len(data) - 4})
                    self._changed.notify_all()
        except (OSError, websocket.WebSocketException):
            pass
        finally:
            with self._changed:
                self.closed = (code, reason)
                self._changed.notify_all()
            self.socket.shutdown()

    def send(self, kind: str, **fields: Any) -> None:
        with self._sending:
            self.socket.send(json.dumps({"type": kind, **fields}))

    def send_binary(self, kind: int, payload: bytes) -> None:
        with self._sending:
            self.socket.send_binary(struct.pack("<BBH", kind, 0, 0) + payload)

    def say(self, pcm: bytes, *, ms: float = 60.0) -> None:
        """The microphone hears this, faster than real time; in VAD mode let silence follow."""
        for piece in chunks(pcm, ms, self.rate):
            self.send_binary(1, piece)

    def wait(self, *, timeout: float = SOON, **fields: Any) -> dict[str, Any]:
        """The first message with these fields, for example ``type="ready"``."""

        def find() -> dict[str, Any] | None:
            return next(
                (each for each in self.messages if all(each.get(name) == value for name, value in fields.items())), None
            )

        return self.wait_until(find, f"{fields}", timeout)

    def wait_until(self, find: Callable[[], Any], what: str = "that", timeout: float = SOON) -> Any:
        with self._changed:
            self._changed.wait_for(lambda: find() or self.closed, timeout)
            found = find()
            assert found, f"{what} did not come; closed: {self.closed}; came: {self.types()[-40:]}"
            return found

    def wait_closed(self, timeout: float = SOON) -> tuple[int, str]:
        with self._changed:
            assert self._changed.wait_for(lambda: self.closed, timeout), f"still open: {self.types()[-20:]}"
            assert self.closed is not None
            return self.closed

    def types(self) -> list[str]:
        return [each["type"] for each in self.messages]

    def close(self) -> None:
        if self.closed is None:
            try:
                self.socket.send_close()
            except (OSError, websocket.WebSocketException):
                pass
            if self._thread.is_alive():
                self._thread.join(SOON)
        self.socket.shutdown()

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
