"""The service's errors, one row each, as data: what the wire says and how the connection goes on.

Source: the error catalogue (texts seen in the field). Fields that a source does not show are left out, as on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ._wire import Event, make

__all__ = ["ERRORS", "FREE_TIER", "ErrorRow"]

# 130 bytes where a close frame may carry 123. Source: handshake failures, free tier exhausted.
FREE_TIER = (
    "The free tier of the model has been exhausted. To continue on a paid basis, please disable the free tier only mode"
    " in the console."
)
_REQUEST = "invalid_request_error"
_SERVER = "server_error"
_INTERNAL = "Internal service error: null"
_IDLE = "Your session was closed because no response was generated for 300 seconds."
_QUOTA = "Allocated quota exceeded, please increase your quota limit."


@dataclass(frozen=True)
class ErrorRow:
    """One row of the catalogue.

    Attributes:
        name: What a fault script calls it.
        message: ``error.message``; None when no error event is sent.
        type: ``error.type``; None leaves the field out. The same goes for the other fields.
        code: ``error.code``.
        param: ``error.param``.
        close: Code and reason with which the connection then ends; None: it stays open.
        refuses: The client event it usually answers.
    """

    name: str
    message: str | None
    type: str | None = None
    code: str | None = None
    param: str | None = None
    close: tuple[int, str] | None = None
    refuses: str | None = None

    def event(self, client_event_id: str | None = None) -> Event | None:
        """Make the ``error`` event, naming the client event at fault if an id is given; None if there is none."""
        if self.message is None:
            return None
        fields = {"type": self.type, "code": self.code, "message": self.message, "param": self.param}
        error: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
        if client_event_id is not None:
            error["event_id"] = client_event_id
        return make("error", error=error)


_ROWS = (
    ErrorRow(
        "invalid-modalities",
        "Invalid modalities: ['audio']. Supported combinations are: ['text'] and ['audio', 'text'].",
        _REQUEST,
        "invalid_value",
        "session.modalities",
        refuses="session.update",
    ),
    ErrorRow(
        "invalid-format",
        "Invalid value: 'pcm16'. Supported values are: 'pcm', 'opus'.",
        _REQUEST,
        "invalid_value",
        "session.input_audio_format",
        refuses="session.update",
    ),
    ErrorRow("voice", "Voice 'x' is not supported.", close=(1000, ""), refuses="session.update"),
    ErrorRow(
        "cannot-update-voice",
        "The voice cannot be changed once audio was produced.",
        _REQUEST,
        "cannot_update_voice",
        refuses="session.update",
    ),
    ErrorRow(
        "already-active", "Conversation already has an active response", _REQUEST, "", "", refuses="response.create"
    ),
    ErrorRow("none-active", "Conversation has none active response", _REQUEST, "", "", refuses="response.cancel"),
    ErrorRow(
        "image-first", "Error append image before append audio.", _REQUEST, "", "", refuses="input_image_buffer.append"
    ),
    ErrorRow(
        "empty-commit",
        "Error committing input audio buffer: buffer too small, or have no audio.",
        _REQUEST,
        "",
        "",
        refuses="input_audio_buffer.commit",
    ),
    ErrorRow("invalid-type", "Invalid value: 'session.finish'.", _REQUEST, "invalid_value", "type"),
    ErrorRow(
        "user-speaking", "Cannot create response while user is speaking.", _REQUEST, "", "", refuses="response.create"
    ),
    ErrorRow("internal", _INTERNAL, _SERVER, "InternalError", close=(1011, _INTERNAL)),
    ErrorRow("idle", _IDLE, None, "response_idle_timeout", close=(1011, _IDLE)),
    ErrorRow("stream-timeout", "Response stream timeout (timeout_seconds=298, elapsed_ms=298012)"),
    ErrorRow("response-timeout", "Response timeout."),
    ErrorRow("upstream", "Connect call failed ('127.0.0.1', 8090)", _SERVER, "COMMON_ERROR"),
    ErrorRow(
        "semantic",
        "Input speech was not accepted by semantic turn detection",
        _REQUEST,
        refuses="response.create",
    ),
    ErrorRow("unknown-call", "Unknown function call id: call_x", _REQUEST, refuses="conversation.item.create"),
    ErrorRow(
        "repeat-output",
        "model repeat output happened",
        None,
        "COMMON_ERROR",
        close=(1011, "model repeat output happened"),
    ),
    ErrorRow(
        "serving", "<50002> InternalError.Algo.ModelServingError: the model is not ready", _SERVER, "COMMON_ERROR"
    ),
    ErrorRow("image-pace", "'NoneType' object does not support item deletion", None, "COMMON_ERROR"),
    ErrorRow("quota", _QUOTA, None, "insufficient_quota", close=(1007, _QUOTA)),
    ErrorRow("translation", "Invalid translation parameter.", refuses="session.update"),
    ErrorRow("free-tier", None, close=(1007, FREE_TIER)),
    ErrorRow(
        "update-late",
        "Session update error: session already started or finished or failed.",
        None,
        "invalid_value",
        refuses="session.update",
    ),
)
ERRORS: Mapping[str, ErrorRow] = {row.name: row for row in _ROWS}
