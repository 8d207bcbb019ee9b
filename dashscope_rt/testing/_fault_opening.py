"""Faults of the opening: the handshake, the first event, and how long a session may be."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar

from ._fault_action import ONLY_CONNECT, Action, Items, whole
from ._fault_grammar import AT_CONNECT
from ._hooks import Reply
from ._records import Handshake
from ._variants import Variants
from ._wire import new_id

if TYPE_CHECKING:
    from ._connection import Connection


class Refuse(Action):
    """See ``about``."""

    about = "answer the handshake with this status; body flat (default), nested, empty ({}), or none; and an error code"
    usage = "STATUS[,BODY[,CODE]]"
    default = AT_CONNECT
    triggers = ONLY_CONNECT
    _bodies: ClassVar[tuple[str, ...]] = ("flat", "nested", "empty", "none")
    _texts: ClassVar[Mapping[int, tuple[str, str]]] = {
        400: ("InvalidParameter", "Required parameter 'model' is missing or empty."),
        401: ("InvalidApiKey", "Invalid API-key provided."),
        403: ("AccessDenied", "Access denied."),
        404: ("ModelNotFound", "Model not exist."),
        429: ("Throttling.RateQuota", "Requests rate limit exceeded, please try again later."),
        500: ("InternalError", "An internal error has occured."),
        503: ("ServiceUnavailable", "The service is busy, please try again later."),
    }

    @classmethod
    def read_arguments(cls, text: str | None) -> tuple[str, ...]:
        """See `Action.read_arguments`."""
        status, _, rest = (text or "").partition(",")
        whole(status, 400, 599, "the status")
        body, _, code = rest.partition(",")
        if body and body not in cls._bodies:
            raise ValueError(f"the body must be one of {', '.join(cls._bodies)}, not {body!r}")
        return tuple(part for part in (status, body or "flat", code) if part)

    def reply(self, connection: Connection, handshake: Handshake, reply: Reply | None) -> Reply | None:
        """See `Action.reply`."""
        status, body, *code = int(self.arguments[0]), *self.arguments[1:]
        known, message = self._texts.get(status, (f"Http{status}", "The request was refused."))
        name = code[0] if code else known
        request_id = new_id("req")
        bodies = {
            "flat": json.dumps({"code": name, "message": message, "request_id": request_id}),
            "nested": json.dumps({"error": {"code": name, "message": message}, "request_id": request_id}),
            "empty": "{}",
            "none": "",
        }
        header = {"flat": "X-Request-Id", "nested": "X-DashScope-Request-Id"}.get(body, "X-Acs-Request-Id")
        return Reply(status, bodies[body], {header: request_id})


class Redirect(Action):
    """See ``about``."""

    about = "answer the handshake with 302 to the same place, where a client would show its key again"
    default = AT_CONNECT
    triggers = ONLY_CONNECT

    def reply(self, connection: Connection, handshake: Handshake, reply: Reply | None) -> Reply | None:
        """See `Action.reply`."""
        place = f"//{handshake.headers.get('host', '')}{handshake.path}?model={handshake.model}"
        return Reply(HTTPStatus.FOUND, "", {"Location": place})


class Stall(Action):
    """See ``about``."""

    about = "never answer the handshake; with half: stop in the middle of the answer"
    usage = "[half]"
    default = AT_CONNECT
    triggers = ONLY_CONNECT

    @classmethod
    def read_arguments(cls, text: str | None) -> tuple[str, ...]:
        """See `Action.read_arguments`."""
        if text not in (None, "half"):
            raise ValueError(f"it takes half or nothing, not {text!r}")
        return (text,) if text else ()

    def __init__(self, arguments: tuple[str, ...]) -> None:
        super().__init__(arguments)
        self._written = False

    def reply(self, connection: Connection, handshake: Handshake, reply: Reply | None) -> Reply | None:
        """See `Action.reply`."""
        return reply if self.arguments else None

    def writing(self, data: bytes) -> bytes:
        """See `Action.writing`."""
        if not self.arguments:
            return data
        written, self._written = self._written, True
        return b"" if written else data[: len(data) // 2]


class NeverCreated(Action):
    """See ``about``."""

    about = "let the client in and never send session.created, nor anything else"
    default = AT_CONNECT
    triggers = ONLY_CONNECT

    def passing(self, connection: Connection, items: Items) -> Items:
        """See `Action.passing`."""
        return []


class Idle(Action):
    """See ``about``."""

    about = "the idle timeout of 300 s takes so many ms"
    usage = "MS"
    default = AT_CONNECT
    triggers = ONLY_CONNECT
    _field: ClassVar[str] = "response_idle_s"

    @classmethod
    def read_arguments(cls, text: str | None) -> tuple[str, ...]:
        """See `Action.read_arguments`."""
        return (str(whole(text or "", 1, 10_000_000, "its length in ms")),)

    def varying(self, variants: Variants) -> Variants:
        """See `Action.varying`."""
        seconds = int(self.arguments[0]) / 1000
        if self._field == "response_idle_s":
            return dataclasses.replace(variants, response_idle_s=seconds)
        return dataclasses.replace(variants, session_limit_s=seconds)


class Limit(Idle):
    """See ``about``."""

    about = "the longest session of 120 minutes takes so many ms"
    _field = "session_limit_s"
