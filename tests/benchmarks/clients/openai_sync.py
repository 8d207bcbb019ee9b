"""openai, its synchronous realtime connection, against the same stream under OpenAI's event names."""

from __future__ import annotations

import base64
import threading
from typing import Any

import openai

from tests.benchmarks.clients.measure import Listener, run


class OpenAISync:
    """One session."""

    def __init__(self, url: str, listener: Listener) -> None:
        self._listener = listener
        self._connection = (
            openai.OpenAI(api_key="sk-benchmark", websocket_base_url=url).realtime.connect(model="benchmark").enter()
        )
        assert self._connection.recv().type == "session.created"

    def listen(self) -> None:
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        try:
            for event in self._connection:
                self._take(event)
        except Exception:  # the end looks different from version to version
            return

    def _take(self, event: Any) -> None:
        kind = event.type
        if kind == "response.output_audio.delta":
            self._listener.audio(event.event_id, base64.b64decode(event.delta))
        elif kind == "response.output_audio_transcript.delta":
            self._listener.text(event.delta)
        elif kind == "response.done":
            self._listener.done(event.response.id)
        elif kind == "input_audio_buffer.committed":
            self._listener.committed()

    def create_response(self) -> None:
        self._connection.response.create()

    def append(self, pcm: bytes) -> None:
        self._connection.input_audio_buffer.append(audio=base64.b64encode(pcm).decode())

    def close(self) -> None:
        self._connection.close()


if __name__ == "__main__":
    run(OpenAISync)
