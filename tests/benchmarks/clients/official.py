"""DashScope's own SDK: the class OmniRealtimeConversation of its 1.x interface."""

from __future__ import annotations

import base64
import threading
from typing import Any

from dashscope.audio.qwen_omni import OmniRealtimeCallback, OmniRealtimeConversation

from tests.benchmarks.clients.measure import Listener, run


class Callback(OmniRealtimeCallback):  # type: ignore[misc]
    """Hands on what the conversation hears."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.created = threading.Event()

    def on_event(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "response.audio.delta":
            self._listener.audio(message["event_id"], base64.b64decode(message["delta"]))
        elif kind == "response.audio_transcript.delta":
            self._listener.text(message["delta"])
        elif kind == "response.done":
            self._listener.done(message["response"]["id"])
        elif kind == "input_audio_buffer.committed":
            self._listener.committed()
        elif kind == "session.created":
            self.created.set()


class Official:
    """One session."""

    def __init__(self, url: str, listener: Listener) -> None:
        callback = Callback(listener)
        self._conversation = OmniRealtimeConversation("benchmark", callback, url=url, api_key="sk-benchmark")
        self._conversation.connect()
        callback.created.wait(5)

    def listen(self) -> None:
        pass  # it does since connect()

    def create_response(self) -> None:
        self._conversation.create_response()

    def append(self, pcm: bytes) -> None:
        self._conversation.append_audio(base64.b64encode(pcm).decode())

    def close(self) -> None:
        self._conversation.close()


if __name__ == "__main__":
    run(Official)
