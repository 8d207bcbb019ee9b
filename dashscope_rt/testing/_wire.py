"""Events as the emulator spells them, and the refusals with the service's own words. Plain dicts, made by hand."""

from __future__ import annotations

import secrets
from typing import Any

Event = dict[str, Any]

CLIENT_EVENTS = (
    "session.update",
    "input_audio_buffer.append",
    "input_audio_buffer.commit",
    "input_audio_buffer.clear",
    "input_image_buffer.append",
    "conversation.item.create",
    "response.create",
    "response.cancel",
)
FINISH = "session.finish"


def new_id(prefix: str) -> str:
    """An opaque id, as long as the service's own."""
    return f"{prefix}_{secrets.token_hex(11)[:21]}"


def make(kind: str, **fields: Any) -> Event:
    """A server event with an id of its own."""
    return {"event_id": new_id("event"), "type": kind, **fields}


class Refusal(Exception):
    """A client event the service refuses; becomes an ``error`` event.

    Args:
        message: ``error.message``.
        type: ``error.type``; None leaves the field out. The same goes for the other fields.
        code: ``error.code``.
        param: ``error.param``.
        close: Code and reason when the session ends with it.
        names_event: The sources show ``error.event_id`` here: True with the client event's id, "" empty.
    """

    def __init__(
        self,
        message: str,
        *,
        type: str | None = "invalid_request_error",  # noqa: A002 - the wire's name
        code: str | None = "invalid_value",
        param: str | None = None,
        close: tuple[int, str] | None = None,
        names_event: bool | str = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.type = type
        self.code = code
        self.param = param
        self.close = close
        self.names_event = names_event

    def event(self, client_event_id: str | None, event_ids: bool | None) -> Event:
        """The ``error`` event; see `Variants.error_event_ids`."""
        fields = {"type": self.type, "code": self.code, "message": self.message, "param": self.param}
        error = {name: value for name, value in fields.items() if value is not None}
        if (event_ids and client_event_id is not None) or (
            event_ids is None and self.names_event is True and client_event_id is not None
        ):
            error["event_id"] = client_event_id
        elif event_ids is None and self.names_event == "":
            error["event_id"] = ""
        return make("error", error=error)


def invalid(message: str, param: str) -> Refusal:
    """A value the service does not take."""
    return Refusal(message, param=param)


def missing(param: str) -> Refusal:
    """A field that must be there."""
    return Refusal(f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param)


def unknown_type(kind: str, known: tuple[str, ...]) -> Refusal:
    """An event type the service does not have; ``session.finish`` on Omni is one."""
    supported = ", ".join(f"'{name}'" for name in known)
    return invalid(f"Invalid value: '{kind}'. Supported values are: {supported}.", "type")


def _plain(message: str) -> Refusal:
    return Refusal(message, code="", param="")


def already_active() -> Refusal:
    """Source: error catalogue."""
    return _plain("Conversation already has an active response")


def none_active() -> Refusal:
    """Source: error catalogue; the event id is documented as empty."""
    return Refusal("Conversation has none active response", code="", param="", names_event="")


def user_speaking() -> Refusal:
    """Source: error catalogue."""
    return _plain("Cannot create response while user is speaking.")


def nothing_to_answer() -> Refusal:
    """In the service's style; its own words are not known."""
    return _plain("Cannot create response: there is no new input to respond to.")


def image_before_audio() -> Refusal:
    """Source: error catalogue."""
    return _plain("Error append image before append audio.")


def empty_commit() -> Refusal:
    """Source: error catalogue."""
    return _plain("Error committing input audio buffer: buffer too small, or have no audio.")


def internal_error(close: bool) -> Refusal:
    """Source: error catalogue, commit in VAD mode."""
    text = "Internal service error: null"
    return Refusal(text, type="server_error", code="InternalError", close=(1011, text) if close else None)


def unknown_call(call_id: str) -> Refusal:
    """Source: error catalogue; there is no code."""
    return Refusal(f"Unknown function call id: {call_id}", code=None)


def not_accepted() -> Refusal:
    """Source: error catalogue, semantic VAD; there is no code, the event id may name a refused ``response.create``."""
    return Refusal("Input speech was not accepted by semantic turn detection", code=None, names_event=True)


def idle_closed(seconds: float) -> Refusal:
    """Source: error catalogue; no type is known."""
    text = f"Your session was closed because no response was generated for {seconds:g} seconds."
    return Refusal(text, type=None, code="response_idle_timeout", close=(1011, text))
