"""This package through its public face, the way a program would use it."""

from __future__ import annotations

import sys
from typing import Any

from tests.benchmarks.clients.measure import Listener, Session, run

ACCELERATORS = ("orjson", "pybase64", "websockets.speedups", "wsaccel", "wsaccel.xormask")


def _prepare(arguments: list[str]) -> None:
    """``--plain`` hides the accelerators, ``--package DIRECTORY`` takes the package from elsewhere."""
    if "--plain" in arguments:
        sys.modules.update(dict.fromkeys(ACCELERATORS))  # type: ignore[arg-type]
    if "--package" in arguments:
        sys.path.insert(0, arguments[arguments.index("--package") + 1])


class Ours:
    """One session."""

    def __init__(self, session: Any) -> None:
        self.create_response = session.create_response
        self.append = session.append_audio
        self.close = session.close

    def listen(self) -> None:
        pass  # it does since connect()


class Client:
    """Opens sessions of one `RealtimeClient`."""

    def __init__(self) -> None:
        import dashscope_rt

        self._client = dashscope_rt.RealtimeClient
        self._clients: dict[str, Any] = {}

    def connect(self, url: str, listener: Listener) -> Session:
        client = self._clients.get(url)
        if client is None:
            client = self._clients[url] = self._client("sk-benchmark", url=url)
        session = client.session()
        session.on_audio_delta(lambda event: listener.audio(event.event_id, event.audio))
        session.on_text_delta(lambda event: listener.text(event.delta))
        session.on_done(lambda response: listener.done(response.id))
        session.on("input_audio_buffer.committed")(lambda event: listener.committed())
        return Ours(session.connect())


if __name__ == "__main__":
    _prepare(sys.argv[2:])
    run(Client().connect)
