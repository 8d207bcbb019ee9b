"""One written question and its answer as server-sent events: for pages that only write, and servers without WebSockets.

    data: {"type":"response_started"}
    data: {"type":"transcript","text":"whole text so far","final":false}
    data: {"type":"function_call","name":…,"arguments":{…}}
    data: {"type":"response_done","status":"completed","text":…,"usage":{…},"latency_ms":{…}}
    data: {"type":"error","code":…,"message":…,"fatal":true}        in place of the last

Each question has a session of its own, which is the user's one session while it lasts: the service remembers nothing
between two. When the browser goes away, the server closes the iterator, and with it the answer is cancelled. WSGI
servers notice when they send something, so a comment is sent whenever nothing was for a while.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from ..errors import RealtimeError
from ..session import RealtimeSession
from . import messages, telling
from .pool import Seat
from .relay import Prepared

__all__ = ["HEADERS", "Answer", "read_question"]

_log = logging.getLogger("dashscope_rt.web")
MAX_CHARS: Final = 32_000
HEADERS: Final[Mapping[str, str]] = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would keep the events until there are 4 KB of them
}


def read_question(body: object) -> tuple[str, dict[str, Any]]:
    """Return text and options of a request's JSON body: ``{"text": "…", "options": {…}}``.

    Raises:
        ValueError: It is something else; the message says what is allowed.
    """
    if not isinstance(body, dict):
        raise ValueError('the body is a JSON object: {"text": "…"}')
    text, options = body.get("text"), body.get("options") or {}
    if not isinstance(text, str) or not text.strip() or len(text) > MAX_CHARS:
        raise ValueError(f'"text" is what was typed: not empty, and at most {MAX_CHARS:,} characters')
    if not isinstance(options, dict):
        raise ValueError('"options" is a JSON object')
    return text, options


class Answer:
    """The events of one answer, as bytes. Iterate over it once, on one thread; `close` it on any.

    Args:
        prepare: Makes the session; called on the iterating thread.
        seat: Taken for it; given back at the end, also when nobody iterates but `close` is called.
        text: The question.
        quiet_s: Seconds without an event until a comment is sent.

    Attributes:
        active_at: When something last came, on the monotonic clock.
    """

    def __init__(self, prepare: Callable[[], Prepared], seat: Seat, text: str, *, quiet_s: float) -> None:
        self._prepare = prepare
        self._seat = seat
        self._text = text
        self._quiet_s = quiet_s
        self._events: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()  # None: the end
        self._asked = False
        self._said = ""
        self._asked_at = 0.0
        # Guards the two below; held only to exchange them.
        self._lock = threading.Lock()
        self._session: RealtimeSession | None = None
        self._closed = False
        self.active_at = time.monotonic()
        self._events.put(b": hello\n\n")  # the headers go out now, not with the first word
        seat.sit(self)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._asked and self._events.empty():
            self._asked = True
            self._ask()
        try:
            item = self._events.get(timeout=self._quiet_s)
        except queue.Empty:
            return b": quiet\n\n"
        if item is None:
            self.close()
            raise StopIteration
        return item

    def close(self) -> None:
        """Cancel what runs and give the seat back; may be called again."""
        with self._lock:
            self._closed = True
            session, self._session = self._session, None
        self._events.put(None)  # for whoever iterates on another thread
        try:
            if session is not None:
                if session.is_open:
                    session.cancel_response(0)
                session.close()
        except RealtimeError as error:
            _log.debug("an answer ended with %s", error)
        finally:
            self._seat.release()

    def end(self, code: int, reason: str) -> None:
        """End it from outside; see `pool.Sitter`."""
        self._put("error", code="closed", message=reason, fatal=True)
        self._events.put(None)
        if not self._asked:  # and perhaps nobody ever will, if the request was given up before it was answered
            self._seat.release()

    def _put(self, kind: str, **fields: Any) -> None:
        self._events.put(f"data: {messages.text_frame(kind, **fields)}\n\n".encode())

    def _ask(self) -> None:
        try:
            prepared = self._prepare()
            session = prepared.session
            with self._lock:
                if self._closed:
                    return
                self._session = session
            self._listen_to(session)
            for name, callback in prepared.callbacks.items():
                getattr(session, name)(callback)
            session.connect()
            self._asked_at = time.monotonic()
            if session.model.text_input:
                session.send_text(self._text)
                session.create_response()
            else:
                session.create_response(instructions=self._text)
        except RealtimeError as error:
            _log.warning("a question could not be asked: %s", error)
            code, message = telling.error(error)
            self._put("error", code=code, message=message, fatal=True)
            self._events.put(None)
        except Exception:  # noqa: BLE001 — the application's hooks; the answer has begun, so nobody else can say it
            _log.exception("a question could not be asked")
            self._put("error", code="internal", message="this server failed; its log says why", fatal=True)
            self._events.put(None)

    # ---- reader thread ----------------------------------------------------------------------------------------

    def _listen_to(self, session: RealtimeSession) -> None:
        session.on("response.created")(lambda event: self._put("response_started"))
        session.on_text_delta(self._on_text)
        session.on_done(self._on_done)
        session.on_close(self._on_close)

    def _on_text(self, event: Any) -> None:
        self.active_at = time.monotonic()
        self._said += event.delta or ""
        self._put("transcript", text=self._said, final=False)

    def _on_done(self, response: Any) -> None:
        for call in response.function_calls:
            self._put("function_call", **telling.call(call))
        if response.function_calls:  # the answer to what they return follows
            self._said = ""
            return
        self._put("transcript", text=response.text, final=True)
        self._put("response_done", **telling.done(response, self._asked_at))
        self._events.put(None)

    def _on_close(self, info: Any) -> None:
        message = telling.close(info)[1] if info.error is None else telling.error(info.error)[1]
        self._put("error", code="closed", message=message, fatal=True)
        self._events.put(None)
