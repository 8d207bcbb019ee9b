"""One connection's protocol machine: the client's messages and the time go in, server events come out.

It knows no socket, no thread and no clock. Whoever drives it calls `open`, then `receive` for each message, `advance`
whenever `due` is reached, and after each call sends what is in `outbox` and answers `question`.

    messages -> Session -> Turns -> Responses -> outbox
                   |          buffer, VAD   one response at a time
                   +-> Configuration
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from ..models import ModelInfo
from . import _validation as check
from ._answers import Answer, Answers
from ._configuration import Configuration
from ._context import Context, Ending
from ._inputs import Question
from ._responses import Responses
from ._turns import Turns
from ._variants import Variants
from ._wire import CLIENT_EVENTS, FINISH, Event, Refusal, idle_closed, invalid, make, missing, new_id, unknown_type

__all__ = ["Ending", "Session"]


class Session:
    """One session of the service.

    Args:
        number: The connection's number.
        info: What the model takes.
        variants: How the service is to behave.
        answers: What to say.
        pace: 0 as fast as it goes, 1 real time.
        now: Seconds; the time of the connection.
    """

    def __init__(
        self, *, number: int, info: ModelInfo, variants: Variants, answers: Answers, pace: float = 0.0, now: float = 0.0
    ) -> None:
        config = Configuration(info, new_id("sess_emulator"), variants.voices, variants.merge_nested)
        self._context = Context(number, info, variants, answers, pace, config, now=now)
        self._responses = Responses(self._context)
        self._turns = Turns(self._context, self._responses)
        self._opened_at = now
        self._updated = False
        self._finishing = False
        self._ended = False
        finish = variants.session_finish if variants.session_finish is not None else info.session_finish
        self._known = (*CLIENT_EVENTS, FINISH) if finish else CLIENT_EVENTS
        limit = variants.session_limit_s
        self._limit_s = float(info.max_session_s if limit is None else limit)
        self._handlers: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "session.update": self._update,
            "input_audio_buffer.append": self._turns.append,
            "input_audio_buffer.commit": lambda event: self._turns.commit(),
            "input_audio_buffer.clear": lambda event: self._turns.clear(),
            "input_image_buffer.append": self._turns.image,
            "conversation.item.create": self._create_item,
            "response.create": self._create_response,
            "response.cancel": lambda event: self._responses.cancel(),
            FINISH: self._finish,
        }

    # What the driver uses

    def take(self) -> list[Event | Ending]:
        """What is to be sent, in order; it is sent only once."""
        taken, self._context.outbox = self._context.outbox, []
        return taken

    @property
    def question(self) -> Question | None:
        """An answer somebody has to give with `answered`."""
        return self._responses.question

    @property
    def due(self) -> float | None:
        """When `advance` must be called; None when only a message can change anything."""
        if self._ended:
            return None
        times = [self._opened_at + self._limit_s]
        if not self._responses.active:
            times.append(self._responses.generated_at + self._context.variants.response_idle_s)
        if (next_step := self._responses.due) is not None:
            times.append(next_step)
        return min(times)

    def open(self, now: float) -> None:
        """The handshake is done; a model nobody knows opens too, and ends at once."""
        self._context.now = now
        self._context.emit(make("session.created", session=self._context.config.echo(updated=False)))
        if self._context.info.family == "unknown":
            self._end(None)

    def receive(self, message: str | bytes, now: float) -> Mapping[str, Any] | None:
        """A whole message of the client; bytes are a binary one. Gives the event, or None when it is none."""
        self._context.now = now
        event: Mapping[str, Any] | None = None
        if self._ended:
            return event
        event_id: str | None = None
        try:
            event = _parse(message)
            given = event.get("event_id")
            if given is not None:
                event_id = check.text(given, "event_id")
            self._dispatch(event)
        except Refusal as refusal:
            self._refuse(refusal, event_id)
        self._after()
        return event

    def advance(self, now: float) -> None:
        """Do the one thing that is due, if any."""
        self._context.now = now
        if self._ended:
            return
        if now >= self._opened_at + self._limit_s:
            self._end(1000, "The session has reached its maximum duration.")
            return
        idle_s = self._context.variants.response_idle_s
        if not self._responses.active and now >= self._responses.generated_at + idle_s:
            self._refuse(idle_closed(idle_s), None)
            return
        self._responses.advance()
        self._after()

    def answered(self, question: Question, answer: Answer | None, now: float) -> None:
        """The answer to `question`; None when the one who was asked failed. A late answer is forgotten."""
        self._context.now = now
        if not self._ended:
            self._responses.answered(question, answer)
            self._after()

    def release(self, now: float) -> None:
        """Answers that hold go on."""
        self._context.now = now
        self._responses.release()

    # Client events

    def _dispatch(self, event: Mapping[str, Any]) -> None:
        kind = event.get("type")
        if kind is None:
            raise missing("type")
        handler = self._handlers.get(check.text(kind, "type"))
        if handler is None or kind not in self._known:
            raise unknown_type(kind, self._known)
        handler(event)

    def _update(self, event: Mapping[str, Any]) -> None:
        if "session" not in event:
            raise missing("session")
        changes = check.mapping(event["session"], "session")
        context = self._context
        first, self._updated = not self._updated, True
        try:
            context.config = context.config.update(
                changes, started=context.audio_started, spoken=context.audio_made, active=self._responses.active
            )
        except Refusal as refusal:
            if not first:
                refusal.close = None
            raise
        self._turns.configure()
        context.emit(make("session.updated", session=context.config.echo(updated=True)))

    def _create_item(self, event: Mapping[str, Any]) -> None:
        if "item" not in event:
            raise missing("item")
        item = check.mapping(event["item"], "item")
        makers = {"function_call_output": self._output_item, "message": self._message_item}
        if self._context.info.mcp:
            makers["mcp_approval_response"] = self._approval_item
        made = makers[check.one_of(item.get("type"), tuple(makers), "item.type")](item)
        own_ids = self._context.info.family == "qwen-audio"  # the only family that keeps the client's ids
        item_id = str(item["id"]) if own_ids and item.get("id") else new_id("item")
        created = {"id": item_id, "object": "realtime.item", "type": item["type"], "status": "completed", **made}
        last = self._context.last_item_id
        previous = {} if last is None else {"previous_item_id": last}
        self._context.emit(make("conversation.item.created", **previous, item=created))
        if item["type"] == "function_call_output":
            self._responses.outputs_complete()

    def _output_item(self, item: Mapping[str, Any]) -> dict[str, Any]:
        for name in ("call_id", "output"):
            if name not in item:
                raise missing(f"item.{name}")
        call_id = check.text(item["call_id"], "item.call_id")
        output = check.text(item["output"], "item.output")
        self._responses.add_output(call_id, output)
        return {"call_id": call_id, "output": output}

    def _message_item(self, item: Mapping[str, Any]) -> dict[str, Any]:
        if not self._context.info.text_input:
            raise check.unsupported("item", self._context.info)
        check.one_of(item.get("role"), ("user",), "item.role")
        content = item.get("content")
        if not isinstance(content, list) or not content:
            raise missing("item.content")
        for index, part in enumerate(content):
            param = f"item.content[{index}]"
            check.one_of(check.mapping(part, param).get("type"), ("input_text",), f"{param}.type")
            if not part.get("text"):
                raise missing(f"{param}.text")
            check.text(part["text"], f"{param}.text")
        self._responses.add_text("\n".join(part["text"] for part in content))
        return {"role": "user", "content": [{"type": "input_text", "text": part["text"]} for part in content]}

    def _approval_item(self, item: Mapping[str, Any]) -> NoReturn:
        for name in ("approval_request_id", "approve"):
            if name not in item:
                raise missing(f"item.{name}")
        check.flag(item["approve"], "item.approve")
        # The emulator calls no MCP servers, so it never asked.
        raise invalid(f"Unknown approval request id: {item['approval_request_id']}", "item.approval_request_id")

    def _create_response(self, event: Mapping[str, Any]) -> None:
        params = event.get("response")
        given = event.get("event_id")
        self._responses.create({} if params is None else check.mapping(params, "response"), given)

    def _finish(self, event: Mapping[str, Any]) -> None:
        self._finishing = True
        self._turns.flush()

    # Endings

    def _refuse(self, refusal: Refusal, event_id: str | None) -> None:
        self._context.emit(refusal.event(event_id, self._context.variants.error_event_ids))
        if refusal.close is not None:
            self._end(*refusal.close)

    def _finish_if_idle(self) -> None:
        if self._finishing and self._responses.idle and not self._ended:
            self._finishing = False
            self._context.emit(make("session.finished"))

    def _after(self) -> None:
        # A scripted answer may have ended the connection.
        self._ended = self._ended or any(isinstance(item, Ending) for item in self._context.outbox)
        self._finish_if_idle()

    def _end(self, code: int | None, reason: str = "") -> None:
        self._ended = True
        self._context.end(code, reason)


def _parse(message: str | bytes) -> Mapping[str, Any]:
    if isinstance(message, bytes):
        raise Refusal("Invalid message: binary frames are not supported.", code="invalid_message")
    try:
        event = json.loads(message, parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        raise Refusal(f"Invalid message: not valid JSON: {exc}", code="invalid_json") from exc
    if not isinstance(event, dict):
        raise Refusal("Invalid message: a JSON object is expected.", code="invalid_json")
    return event


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
