"""What the tests of the client share: a session with the test itself at the other end, and the service's events."""

from __future__ import annotations

import base64
import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from dashscope_rt import Keepalive, Limits, RealtimeClient, RealtimeSession, Timeouts
from tests.peer import SOON, Line, Peer

KEY = "sk-a-very-secret-key-0123456789"
MODEL = "qwen3.5-omni-flash-realtime"
OLD_MODEL = "qwen3-omni-flash-realtime"
TRANSLATE = "qwen3.5-livetranslate-flash-realtime"
FREE_TIER = (
    "The free tier of the model has been exhausted. If you wish to continue access the model on a paid basis,"
    ' please disable the "use free tier only" mode in the management console.'
)
PCM = b"\x01\x02" * 400

Event = dict[str, Any]


def client_for(url: str, key: Any = KEY, **options: Any) -> RealtimeClient:
    """A client that goes to ``url`` without any proxy."""
    return RealtimeClient(key, url=url, **{"proxy": "", **options})


class Background:
    """A blocking call on a thread of its own; `result` gives what it returned or raises what it raised."""

    def __init__(self, call: Callable[..., Any], *args: Any, **options: Any) -> None:
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(call, args, options), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[..., Any], args: Any, options: Any) -> None:
        try:
            self._result = call(*args, **options)
        except BaseException as error:
            self._error = error

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def result(self, timeout: float = SOON) -> Any:
        self._thread.join(timeout)
        assert not self._thread.is_alive(), "the call did not return in time"
        if self._error is not None:
            raise self._error
        return self._result

    def error(self, timeout: float = SOON) -> BaseException:
        self._thread.join(timeout)
        assert not self._thread.is_alive(), "the call did not return in time"
        assert self._error is not None, f"the call returned {self._result!r} instead of raising"
        return self._error


class Heard:
    """A callback that keeps what it was called with; `get` waits for the next."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Any] = queue.Queue()
        self.all: list[Any] = []
        self.thread: threading.Thread | None = None

    def __call__(self, *what: Any) -> None:
        self.thread = threading.current_thread()
        whole = what[0] if len(what) == 1 else what
        self.all.append(whole)
        self._queue.put(whole)

    def get(self, timeout: float = SOON) -> Any:
        return self._queue.get(timeout=timeout)


@attrs.define
class Dialled:
    """An open session and the test's own end of the line."""

    session: RealtimeSession
    line: Line
    peer: Peer

    def settle(self) -> None:
        """Return when everything sent so far by the service was handed to the callbacks."""
        done = Heard()
        self.session.on("test.settled")(done)
        self.line.send({"type": "test.settled"})
        done.get()
        self.session.off(done)

    def sees_nothing(self) -> list[Event]:
        """What the client had sent, that was not read yet; empty if it sent nothing."""
        self.session.send_raw({"type": "test.mark"})
        got = []
        while (event := self.line.read_event())["type"] != "test.mark":
            got.append(event)
        return got


@contextlib.contextmanager
def dialled(
    model: str = MODEL,
    *,
    timeouts: Timeouts | None = None,
    keepalive: Keepalive | None = None,
    limits: Limits | None = None,
    detection: Any = "default",
    **options: Any,
) -> Iterator[Dialled]:
    """Open a session to a peer; the body of the ``with`` statement then plays the service, event by event."""
    lines: queue.Queue[Line] = queue.Queue()
    over = threading.Event()
    configured = any(not name.startswith("on_") and name != "allow_unsupported" for name in options)

    def script(line: Line) -> None:
        line.sock.settimeout(SOON)
        line.accept()
        line.send(created())
        if configured:
            line.send(updated(line.read_event("session.update")["session"], detection))
        lines.put(line)
        over.wait(60)

    with Peer(script) as peer:
        client = client_for(peer.url, timeouts=timeouts, keepalive=keepalive, limits=limits)
        session = client.session(model, **options)
        try:
            session.connect()
            line = lines.get(timeout=SOON)
            yield Dialled(session, line, peer)
        finally:
            over.set()
            for line in peer.lines:
                with contextlib.suppress(OSError):
                    line.sock.shutdown(2)
            session.close()


def manual(model: str = MODEL, **options: Any) -> contextlib.AbstractContextManager[Dialled]:
    """`dialled` in manual mode."""
    return dialled(model, turn_detection=None, **options)


# ---- what the service sends ---------------------------------------------------------------------------------------

VAD = {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 800}


def created(session_id: str = "sess_1") -> Event:
    return {
        "type": "session.created",
        "event_id": "event_1",
        "session": {"id": session_id, "object": "realtime.session", "model": "m", "turn_detection": VAD},
    }


def updated(wanted: Event, detection: Any = "default") -> Event:
    whole = {"id": "sess_1", "object": "realtime.session", "model": "m", "turn_detection": VAD, **wanted}
    if isinstance(whole["turn_detection"], dict):
        whole["turn_detection"] = {**VAD, **whole["turn_detection"]}
    if detection != "default":
        whole["turn_detection"] = detection
    return {"type": "session.updated", "event_id": "event_2", "session": whole}


def error_event(message: str, **fields: Any) -> Event:
    whole = {"type": "invalid_request_error", "code": "", "message": message, "param": "", **fields}
    return {"type": "error", "event_id": "event_e", "error": whole}


def committed(item: str = "item_u1") -> Event:
    return {"type": "input_audio_buffer.committed", "event_id": "event_c", "item_id": item}


def user_item(item: str = "item_u1", **fields: Any) -> Event:
    whole = {
        "id": item, "object": "realtime.item", "type": "message", "status": "completed", "role": "user",
        "content": [{"type": "input_audio"}],
    }  # fmt: skip
    return {"type": "conversation.item.created", "event_id": "event_i", "item": {**whole, **fields}}


def text_item(text: str, item: str = "item_u1") -> Event:
    return user_item(item, content=[{"type": "input_text", "text": text}])


def output_item(call_id: str, output: str = "ok") -> Event:
    item = {
        "id": f"item_{call_id}", "object": "realtime.item", "type": "function_call_output", "status": "completed",
        "call_id": call_id, "output": output,
    }  # fmt: skip
    return {"type": "conversation.item.created", "event_id": "event_o", "item": item}


def transcript(text: str, stash: str = "", item: str = "item_u1") -> Event:
    kind = "conversation.item.input_audio_transcription.delta"
    return {"type": kind, "event_id": "event_t", "item_id": item, "content_index": 0, "text": text, "stash": stash}


def transcribed(text: str, item: str = "item_u1") -> Event:
    kind = "conversation.item.input_audio_transcription.completed"
    return {"type": kind, "event_id": "event_t", "item_id": item, "content_index": 0, "transcript": text}


def speech_started(item: str = "item_u1", at: int = 300) -> Event:
    return {"type": "input_audio_buffer.speech_started", "event_id": "event_s", "audio_start_ms": at, "item_id": item}


def speech_stopped(item: str = "item_u1", at: int = 900) -> Event:
    return {"type": "input_audio_buffer.speech_stopped", "event_id": "event_s", "audio_end_ms": at, "item_id": item}


def response_created(response: str = "resp_1") -> Event:
    body = {"id": response, "object": "realtime.response", "conversation_id": "conv_1", "status": "in_progress"}
    return {"type": "response.created", "event_id": "event_r", "response": {**body, "output": []}}


def _part(kind: str, response: str, item: str, **fields: Any) -> Event:
    ids = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
    return {"type": kind, "event_id": "event_p", **ids, **fields}


def text_delta(text: str, response: str = "resp_1", item: str = "item_a1") -> Event:
    return _part("response.text.delta", response, item, delta=text)


def text_done(text: str, response: str = "resp_1", item: str = "item_a1") -> Event:
    return _part("response.text.done", response, item, text=text)


def speech_text_delta(text: str, response: str = "resp_1", item: str = "item_a1") -> Event:
    return _part("response.audio_transcript.delta", response, item, delta=text)


def speech_text_done(text: str, response: str = "resp_1", item: str = "item_a1") -> Event:
    return _part("response.audio_transcript.done", response, item, transcript=text)


def audio_delta(pcm: bytes = PCM, response: str = "resp_1", item: str = "item_a1") -> Event:
    return _part("response.audio.delta", response, item, delta=base64.b64encode(pcm).decode())


def audio_done(response: str = "resp_1", item: str = "item_a1") -> Event:
    return _part("response.audio.done", response, item)


def message(text: str, item: str = "item_a1", kind: str = "text") -> Event:
    content = [{"type": kind, "text" if kind == "text" else "transcript": text}]
    fixed = {"object": "realtime.item", "type": "message", "status": "completed", "role": "assistant"}
    return {"id": item, **fixed, "content": content}


def call_item(call_id: str, name: str = "weather", arguments: str = ' {"city": "Rome"}') -> Event:
    fixed = {"object": "realtime.item", "type": "function_call", "status": "completed"}
    return {"id": f"item_{call_id}", **fixed, "call_id": call_id, "name": name, "arguments": arguments}


def item_added(item: Event, response: str = "resp_1") -> Event:
    return {
        "type": "response.output_item.added", "event_id": "event_a", "response_id": response, "output_index": 0,
        "item": {**item, "status": "in_progress"},
    }  # fmt: skip


def item_done(item: Event, response: str = "resp_1") -> Event:
    return {
        "type": "response.output_item.done", "event_id": "event_a", "response_id": response, "output_index": 0,
        "item": item,
    }  # fmt: skip


USAGE = {
    "total_tokens": 30, "input_tokens": 20, "output_tokens": 10,
    "input_tokens_details": {"text_tokens": 5, "audio_tokens": 15}, "output_tokens_details": {"text_tokens": 10},
}  # fmt: skip


def response_done(
    response: str = "resp_1", *output: Event, status: str = "completed", usage: Event | None = USAGE, **fields: Any
) -> Event:
    body = {
        "id": response, "object": "realtime.response", "conversation_id": "conv_1", "status": status,
        "output": list(output), **fields,
    }  # fmt: skip
    if usage is not None:
        body["usage"] = usage
    return {"type": "response.done", "event_id": "event_d", "response": body}


def written(text: str = "Sunny.", response: str = "resp_1", item: str = "item_a1") -> list[Event]:
    """A whole answer in writing."""
    middle = len(text) // 2
    return [
        response_created(response),
        item_added(message("", item), response),
        {"type": "conversation.item.created", "event_id": "event_i", "item": message("", item)},
        _part("response.content_part.added", response, item, part={"type": "text", "text": ""}),
        text_delta(text[:middle], response, item),
        text_delta(text[middle:], response, item),
        text_done(text, response, item),
        _part("response.content_part.done", response, item, part={"type": "text", "text": text}),
        item_done(message(text, item), response),
        response_done(response, message(text, item)),
    ]


def spoken(
    text: str = "Sunny.", response: str = "resp_1", item: str = "item_a1", pcm: tuple[bytes, ...] = (PCM, PCM)
) -> list[Event]:
    """A whole spoken answer."""
    middle = len(text) // 2
    return [
        response_created(response),
        item_added(message("", item), response),
        {"type": "conversation.item.created", "event_id": "event_i", "item": message("", item)},
        _part("response.content_part.added", response, item, part={"type": "audio", "text": ""}),
        speech_text_delta(text[:middle], response, item),
        *(audio_delta(piece, response, item) for piece in pcm),
        speech_text_delta(text[middle:], response, item),
        speech_text_done(text, response, item),
        audio_done(response, item),
        _part("response.content_part.done", response, item, part={"type": "audio", "text": text}),
        item_done(message(text, item, "audio"), response),
        response_done(response, message(text, item, "audio")),
    ]


def calling(*calls: Event, response: str = "resp_1", status: str = "completed") -> list[Event]:
    """A response that wants functions called."""
    events = [response_created(response)]
    for call in calls:
        ids = {"response_id": response, "item_id": call["id"], "output_index": 0, "call_id": call["call_id"]}
        events += [
            item_added({**call, "arguments": ""}, response),
            {"type": "conversation.item.created", "event_id": "event_i", "item": {**call, "arguments": ""}},
            {"type": "response.function_call_arguments.delta", "event_id": "event_f", **ids, "delta": call["arguments"]},
            {
                "type": "response.function_call_arguments.done", "event_id": "event_f", **ids,
                "name": call["name"], "arguments": call["arguments"],
            },
            item_done(call, response),
        ]  # fmt: skip
    return [*events, response_done(response, *calls, status=status)]
