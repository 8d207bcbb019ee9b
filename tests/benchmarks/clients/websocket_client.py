"""websocket-client: a ``recv`` loop with its UTF-8 check off, ``json.loads``, ``b64decode``."""

from __future__ import annotations

import base64
import itertools
import json
import threading
from typing import Any

import websocket

from tests.benchmarks.clients.measure import Listener, run


class WebsocketClient:
    """One session."""

    def __init__(self, url: str, listener: Listener) -> None:
        self._listener = listener
        self._numbers = itertools.count(1)
        self._socket = websocket.create_connection(
            url, skip_utf8_validation=True, header=["Authorization: Bearer sk-benchmark"]
        )
        assert json.loads(self._socket.recv())["type"] == "session.created"

    def listen(self) -> None:
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        try:
            while True:
                text = self._socket.recv()
                if text:
                    self._take(json.loads(text))
        except (websocket.WebSocketException, OSError):
            return

    def _take(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "response.audio.delta":
            self._listener.audio(event["event_id"], base64.b64decode(event["delta"]))
        elif kind == "response.audio_transcript.delta":
            self._listener.text(event["delta"])
        elif kind == "response.done":
            self._listener.done(event["response"]["id"])
        elif kind == "input_audio_buffer.committed":
            self._listener.committed()

    def _event(self, **fields: Any) -> None:
        self._socket.send(json.dumps({"event_id": f"event_{next(self._numbers)}", **fields}))

    def create_response(self) -> None:
        self._event(type="response.create")

    def append(self, pcm: bytes) -> None:
        self._event(type="input_audio_buffer.append", audio=base64.b64encode(pcm).decode())

    def close(self) -> None:
        self._socket.shutdown()


if __name__ == "__main__":
    run(WebsocketClient)
