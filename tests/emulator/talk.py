"""What the emulator's tests speak with: raw JSON over a WebSocket library that is not the client under construction.

Also the two checks every event of every test has to pass: its fields are those of the vectors (`check_shape`), and the
ids in it fit the events before it (`check_consistent`).
"""

from __future__ import annotations

import base64
import itertools
import json
import socket
import ssl
import wave
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.sync.client import connect

from dashscope_rt.models import lookup
from dashscope_rt.testing import Emulator
from dashscope_rt.testing._answers import Answers, read_source
from dashscope_rt.testing._session import Ending, Session
from dashscope_rt.testing._variants import Variants

SOON = 5.0
TESTS = Path(__file__).parent.parent
AUDIO = TESTS / "audio"
MODEL = "qwen3.5-omni-flash-realtime"
NEWEST = "qwen3.8-omni-flash-realtime"
OLD = "qwen3-omni-flash-realtime"
TURBO = "qwen-omni-turbo-realtime"
KEY = {"Authorization": "Bearer sk-test"}
MANUAL = {"turn_detection": None}
TEXT_ONLY = {"modalities": ["text"]}

Event = dict[str, Any]


def read(name: str) -> tuple[bytes, int]:
    """Samples and rate of a spoken WAV file."""
    with wave.open(str(AUDIO / f"{name}.wav")) as file:
        return file.readframes(file.getnframes()), file.getframerate()


def silence(ms: int, rate: int = 16000) -> bytes:
    return bytes(rate * ms // 1000 * 2)


def jpeg(width: int = 640, height: int = 480, size: int = 0) -> bytes:
    """As much of a JPEG as anybody reads who does not show it."""
    frame = b"\xff\xc0\x00\x0b\x08" + height.to_bytes(2, "big") + width.to_bytes(2, "big") + b"\x01\x01\x11\x00"
    comment = b"\xff\xfe\x00\x04\x00\x00"
    body = b"\xff\xd8\xff\xe0\x00\x04\x00\x00" + comment + frame + b"\xff\xd9"
    return body + bytes(max(0, size - len(body)))


def text_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def run_length(kinds: Iterable[str]) -> list[str]:
    """Types in order, each run of the same once."""
    return [kind for kind, _ in itertools.groupby(kinds)]


def kinds(events: Iterable[Event]) -> list[str]:
    """Types in order; runs of deltas, and of transcript and audio deltas taking turns, count as one."""
    order: list[str] = []
    for event in events:
        kind = event["type"]
        if kind.endswith(".delta"):
            if order and order[-1] == kind:
                continue
            if kind in ("response.audio.delta", "response.audio_transcript.delta") and order[-2:].count(kind):
                continue
        order.append(kind)
    return order


def frame_of(opcode: int, data: bytes = b"") -> bytes:
    """A client's frame, masked with zeros."""
    length = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return bytes([0x80 | opcode]) + length + bytes(4) + data


class HandMade:
    """A WebSocket client by hand, with one thread: the library's reads and writes TLS in two, which is a data race."""

    def __init__(self, url: str, *, host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> None:
        self._stack = ExitStack()
        port = urlsplit(url).port
        assert port is not None
        self.sock = self._stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=SOON))
        try:
            if context is not None:
                self.sock = self._stack.enter_context(context.wrap_socket(self.sock, server_hostname=host))
            self._greet()
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> HandMade:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _greet(self) -> None:
        self.sock.sendall(
            f"GET /api-ws/v1/realtime?model={MODEL} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
            "Authorization: Bearer k\r\n\r\n".encode()
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._read(1)
        assert b" 101 " in answer

    def _read(self, count: int) -> bytes:
        got = b""
        while len(got) < count:
            data = self.sock.recv(count - len(got))
            assert data, "hung up"
            got += data
        return got

    def send(self, text: str) -> None:
        self.sock.sendall(frame_of(1, text.encode()))

    def recv(self, timeout: float) -> bytes:
        self.sock.settimeout(timeout)
        _, length = self._read(2)
        if length >= 126:
            length = int.from_bytes(self._read(2 if length == 126 else 8), "big")
        return self._read(length)

    def close_politely(self) -> None:
        self.sock.sendall(frame_of(8))
        assert self._read(2) == b"\x88\x00"
        assert self.sock.recv(1) == b""


class Talk:
    """A client that hides nothing."""

    def __init__(self, target: str | HandMade, **options: Any) -> None:
        self._stack = ExitStack()
        self.socket: Any = target
        if isinstance(target, str):
            # New versions want connect() in a with statement, older ones take it too. The queue is without limit, or
            # close() takes ten seconds when the test has not read everything.
            self.socket = self._stack.enter_context(connect(target, open_timeout=SOON, max_queue=None, **options))
        self.events: list[Event] = []
        self._count = 0

    def close(self) -> None:
        self._stack.close()

    def send(self, kind: str, **fields: Any) -> str:
        self._count += 1
        event_id = f"event_test{self._count}"
        self.socket.send(json.dumps({"event_id": event_id, "type": kind, **fields}))
        return event_id

    def next(self) -> Event:
        event = json.loads(self.socket.recv(timeout=SOON))
        self.events.append(event)
        return event

    def until(self, kind: str) -> list[Event]:
        """The events up to and with the next one of a type."""
        got: list[Event] = []
        while not got or got[-1]["type"] != kind:
            got.append(self.next())
        return got

    def get(self, kind: str) -> Event:
        return self.until(kind)[-1]

    def update(self, **session: Any) -> Event:
        self.send("session.update", session=session)
        event = self.next()
        assert event["type"] == "session.updated", event
        return event["session"]

    def append(self, pcm: bytes, chunk: int = 3200) -> None:
        for place in range(0, len(pcm), chunk):
            self.send("input_audio_buffer.append", audio=text_of(pcm[place : place + chunk]))

    def say(self, name: str = "weather_en", extra_ms: int = 0) -> None:
        pcm, rate = read(name)
        self.append(pcm + silence(extra_ms, rate))

    def ask(self, name: str = "weather_en") -> None:
        """Speak and commit, in manual mode."""
        self.say(name)
        self.send("input_audio_buffer.commit")

    def write(self, text: str) -> Event:
        content = [{"type": "input_text", "text": text}]
        self.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
        return self.get("conversation.item.created")

    def turn(self) -> list[Event]:
        self.send("response.create")
        return self.until("response.done")

    def refused(self, kind: str, **fields: Any) -> Event:
        """Send something; the next event must be its refusal."""
        self.send(kind, **fields)
        event = self.next()
        assert event["type"] == "error", event
        return event["error"]


def talk_to(emulator: Emulator, model: str = MODEL, opened: bool = True, **session: Any) -> Talk:
    """Connect; with session fields, configure too."""
    talk = Talk(f"{emulator.url}?model={model}", additional_headers=KEY)
    if opened:
        assert talk.next()["type"] == "session.created"
        if session:
            talk.update(**session)
    return talk


class Machine:
    """The protocol machine without a socket, and with a clock that stands still until told."""

    def __init__(self, answer: Any = None, *, model: str = MODEL, pace: float = 0.0, **variants: Any) -> None:
        ask, script = read_source(answer)
        chosen = Variants.of(**variants)
        self.answers = Answers(ask, script, chosen.transcribe)
        self.now = 1000.0
        self.session = Session(
            number=1, info=lookup(model), variants=chosen, answers=self.answers, pace=pace, now=self.now
        )
        self.session.open(self.now)

    def take(self) -> list[Event | Ending]:
        return self.session.take()

    def events(self) -> list[Event]:
        taken = self.take()
        assert all(isinstance(item, dict) for item in taken), taken
        check_all(item for item in taken if isinstance(item, dict))
        return [item for item in taken if isinstance(item, dict)]

    def send(self, kind: str, **fields: Any) -> None:
        self.session.receive(json.dumps({"type": kind, **fields}), self.now)

    def update(self, **session: Any) -> None:
        self.send("session.update", session=session)

    def append(self, pcm: bytes, chunk: int = 3200) -> None:
        for place in range(0, len(pcm), chunk):
            self.send("input_audio_buffer.append", audio=text_of(pcm[place : place + chunk]))

    def wait(self, seconds: float = 0.0) -> list[Event]:
        """Let time pass, step by step as a connection would; gives what was sent."""
        end = self.now + seconds
        while (due := self.session.due) is not None and due <= end:
            self.now = max(self.now, due)
            self.session.advance(self.now)
        self.now = end
        return self.events()


# Fields


def _json_type(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {dict: "object", list: "array", str: "string", int: "number", float: "number", type(None): "null"}
    return names[type(value)]


def _paths(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    yield path, _json_type(value)
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _paths(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for item in value:
            yield from _paths(item, f"{path}[]")


def _vectors() -> dict[str, list[dict[str, set[str]]]]:
    found: dict[str, list[dict[str, set[str]]]] = {}
    for file in sorted((TESTS / "vectors" / "omni" / "server").glob("*.json")):
        event = json.loads(file.read_text(encoding="utf-8"))
        if "type" in event:
            shape: dict[str, set[str]] = {}
            for path, kind in _paths(event):
                shape.setdefault(path, set()).add(kind)
            found.setdefault(event["type"], []).append(shape)
    return found


VECTORS = _vectors()
# The acknowledgement of a function's output and the end of a session are documented, but no vector of them is complete.
for made in (
    {
        "event_id": "", "type": "conversation.item.created", "previous_item_id": "",
        "item": {"id": "", "object": "", "type": "", "status": "", "call_id": "", "output": ""},
    },
    {"event_id": "", "type": "session.finished"},
):  # fmt: skip
    VECTORS.setdefault(str(made["type"]), []).append({path: {kind} for path, kind in _paths(made)})
_SESSION = {
    # nested formats, echoed where the client used them (3.5) or always (3.8)
    "session.audio": "object",
    "session.audio.input": "object",
    "session.audio.input.format": "object",
    "session.audio.input.format.type": "string",
    "session.audio.input.format.sample_rate": "number",
    "session.audio.input.format.sample_format": "string",
    "session.audio.input.format.channels": "number",
    "session.audio.input.format.packing": "string",
    "session.audio.input.format.channel_layout": "string",
    "session.audio.output": "object",
    "session.audio.output.format": "object",
    "session.audio.output.format.type": "string",
    "session.audio.output.format.sample_rate": "number",
    "session.audio.output.voice": "string",
    "session.video": "object",
    "session.video.input": "object",
    "session.video.input.representation_compact": "string",
    "session.turn_detection": "null",
    "session.turn_detection.idle_timeout_ms": "number",
    "session.input_audio_transcription": "null",
    "session.tool_choice": "string",
    "session.smooth_output": "boolean null",
    "session.top_k": "null",
    "session.max_tokens": "null",  # no number is documented for qwen3.5
    "session.tools[].server_label": "string",
    "session.tools[].allowed_tools": "array",
    "session.tools[].allowed_tools[]": "string",
    "session.tools[].require_approval": "string",
}
# Fields that protocol.md names and no vector shows.
DOCUMENTED: Mapping[str, Mapping[str, str]] = {
    "session.created": _SESSION,
    "session.updated": _SESSION,
    "conversation.item.created": {"item.content[].text": "string"},
    "conversation.item.input_audio_transcription.failed": {"event_id": "string"},
    "error": {"error.event_id": "string", "error.status": "number"},
    "response.done": {
        "response.status_details": "object",
        "response.status_details.type": "string",
        "response.status_details.reason": "string",
        "response.status_details.error": "object",
        "response.status_details.error.type": "string",
        "response.status_details.error.code": "string",
        "response.status_details.error.message": "string",
        "response.status_details.error.param": "string",
        "response.usage.input_tokens_details.image_tokens": "number",
        "response.output[].content[].text": "string",
    },
}
# Fields of vectors that may be missing, wherever.
OPTIONAL = {
    "error.code",
    "error.param",
    "error.type",
    "response.output[].content[].transcript",  # of a text part it is "text"
    "response.usage.plugins",
    "response.usage.output_tokens_details.audio_tokens",
    "session.search_options.enable_source",
    "session.tools[].function",  # MCP servers have none
    "session.turn_detection",
    "session.input_audio_transcription",
}


def check_shape(event: Event) -> None:
    """Every field is in a vector or documented, with its JSON type; and one whole vector of the type is covered."""
    kind = event["type"]
    vectors = VECTORS.get(kind, [])
    extra = DOCUMENTED.get(kind, {})
    assert vectors or extra, f"no vector of {kind}"
    paths: dict[str, set[str]] = {}
    for path, json_type in _paths(event):
        if path.startswith("session.tools[].function.parameters.") or path == "session.search_options.enable_source":
            continue
        paths.setdefault(path, set()).add(json_type)
        allowed = set().union(extra.get(path, "").split(), *(shape.get(path, set()) for shape in vectors))
        assert json_type in allowed, f"{kind}: {path} is {json_type}; vectors and documents have {allowed}"
    if vectors:
        # Only the complete ones count: third parties' examples leave fields out that others of the same type show.
        complete = [shape for shape in vectors if not any(set(shape) < set(other) for other in vectors)]
        missing = [[path for path in shape if not _covered(path, paths)] for shape in complete]
        assert [] in missing, f"{kind} lacks {min(missing, key=len)}"


def _covered(path: str, paths: Mapping[str, set[str]]) -> bool:
    if path in paths or any(path == name or path.startswith((f"{name}.", f"{name}[")) for name in OPTIONAL):
        return True
    # What is inside an empty list or a null object, or in a tool's schema, is not missing.
    parent = path.rpartition(".")[0].removesuffix("[]") if "." in path else ""
    if path.endswith("[]"):
        return True
    return "[]" in path and f"{path.partition('[]')[0]}[]" not in paths and bool(parent)


# Ids


class Consistency:
    """Follows one connection's events: an id means the same thing in all of them."""

    def __init__(self) -> None:
        self._event_ids: set[str] = set()
        self._response: str | None = None
        self._response_items: dict[str, tuple[str, int]] = {}
        self._items: set[str] = set()
        self._started: set[str] = set()
        self._committed: set[str] = set()
        self._done: set[str] = set()
        self._session_id: str | None = None
        self._conversation: str | None = None

    def check(self, event: Event) -> None:
        kind = event["type"]
        assert event["event_id"] not in self._event_ids, f"event id of {kind} was used before"
        self._event_ids.add(event["event_id"])
        if kind.startswith("session.") and "session" in event:
            assert self._session_id in (None, event["session"]["id"])
            self._session_id = event["session"]["id"]
        if kind == "conversation.item.created":
            assert event["item"]["id"] not in self._items, "an item was created twice"
            self._items.add(event["item"]["id"])
        elif kind == "input_audio_buffer.speech_started":
            self._started.add(event["item_id"])
        elif kind == "input_audio_buffer.speech_stopped":
            assert event["item_id"] in self._started
        elif kind == "input_audio_buffer.committed":
            assert event["item_id"] not in self._committed
            self._committed.add(event["item_id"])
        elif "input_audio_transcription" in kind:
            assert event["item_id"] in self._started | self._committed
        elif kind.startswith("response."):
            self._check_response(kind, event)

    def _check_response(self, kind: str, event: Event) -> None:
        if kind == "response.created":
            response = event["response"]
            assert response["id"] not in self._done
            assert self._conversation in (None, response["conversation_id"])
            self._conversation = response["conversation_id"]
            self._response, self._response_items = response["id"], {}
            return
        if kind == "response.done":
            assert event["response"]["id"] == self._response
            outputs = [(item["id"], index) for index, item in enumerate(event["response"]["output"])]
            assert all(self._response_items[item] == (self._response, index) for item, index in outputs)
            usage = event["response"]["usage"]
            assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
            assert usage["input_tokens"] == sum(usage["input_tokens_details"].values())
            assert usage["output_tokens"] == sum(usage["output_tokens_details"].values())
            self._done.add(self._response)
            return
        assert event["response_id"] == self._response, kind
        item_id = event["item"]["id"] if "item" in event else event["item_id"]
        place = (event["response_id"], event["output_index"])
        if kind == "response.output_item.added":
            assert item_id not in self._response_items
            self._response_items[item_id] = place
        assert self._response_items[item_id] == place, kind


def check_all(events: Iterable[Event]) -> None:
    for event in events:
        check_shape(event)
