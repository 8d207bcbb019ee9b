"""What a browser is told of a session: fields of messages. Never the key, the workspace, or what a log is for. Pure."""

from __future__ import annotations

from typing import Any

import attrs

from .. import events as ev
from ..errors import (
    APIError,
    AuthenticationError,
    CloseInfo,
    ConnectionClosed,
    ConnectionFailed,
    DeadlineExceeded,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    RealtimeError,
    ServiceBusyError,
    UnsupportedByModel,
)
from ..responses import FunctionCall, InputTranscript, Response
from ..session import RealtimeSession
from . import messages

# The first that fits. What is the server's own affair (keys, money, addresses) is in its log, not in the browser.
_TEXTS: tuple[tuple[type[RealtimeError], str, str], ...] = (
    (AuthenticationError, "unavailable", "the voice service refused this server; its log says why"),
    (PermissionDeniedError, "unavailable", "the voice service refused this server; its log says why"),
    (QuotaExceededError, "unavailable", "the voice service refused this server; its log says why"),
    (RateLimitError, "busy", "the voice service has too much to do just now; try again"),
    (ServiceBusyError, "busy", "the voice service failed or is overloaded; try again"),
    (DeadlineExceeded, "timeout", "the voice service did not answer in time; try again"),
    (ConnectionFailed, "unreachable", "the voice service cannot be reached; try again"),
    (ConnectionClosed, "closed", "the session with the voice service is over"),
)


def error(problem: RealtimeError) -> tuple[str, str]:
    """Return code and message for a failure."""
    for kind, code, text in _TEXTS:
        if isinstance(problem, kind):
            return code, text
    if isinstance(problem, APIError):
        return problem.code or problem.error_type or "refused", problem.message
    if isinstance(problem, UnsupportedByModel):
        return "not_possible", str(problem)
    return "failed", "the session with the voice service failed; the server's log says why"


def refusal(problem: APIError) -> dict[str, Any]:
    """The fields of an ``error`` for an error event after which the session goes on, or may."""
    code, message = error(problem)
    return {"code": code, "message": message, "fatal": False}


def close(info: CloseInfo) -> tuple[int, str]:
    """Return the browser's close code and reason for the end of the session."""
    if info.error is not None:
        return messages.FAILED, error(info.error)[1]
    if info.code == 1000:
        return messages.NORMAL, "the session is over"
    return messages.FAILED, "the voice service ended the session"


def voice(session: RealtimeSession) -> str | None:
    """The voice that speaks, as the service reports it."""
    reported = session.info.voice if session.info is not None else None
    return reported or (session.config.voice if isinstance(session.config.voice, str) else None)


def transcript(said: InputTranscript) -> dict[str, Any]:
    """The fields of ``input_transcript``."""
    text, stash = said.text, ""
    if not said.final and isinstance(said.event, ev.TranscriptionPreview) and said.event.text is not None:
        text, stash = said.event.text, said.event.stash or ""
    return {"item": said.item_id, "text": text, "stash": stash, "final": said.final}


def call(wanted: FunctionCall) -> dict[str, Any]:
    """The fields of ``function_call``; arguments the model wrote wrongly are {}."""
    try:
        arguments = wanted.arguments
    except ValueError:
        arguments = {}
    return {"name": wanted.name, "arguments": arguments}


def done(response: Response, asked_at: float | None) -> dict[str, Any]:
    """The fields of ``response_done``; the latencies count from ``asked_at``, ``time.monotonic()`` seconds."""
    return {
        "status": response.status,
        "text": response.text,
        "usage": usage(response.usage),
        "latency_ms": {
            "first_audio": _ms(asked_at, response.first_audio_at),
            "first_text": _ms(asked_at, response.first_text_at),
            "total": _ms(asked_at, response.done_at),
        },
    }


def usage(used: ev.Usage | None) -> dict[str, Any] | None:
    """Tokens as numbers by name; what the service did not say is left out."""
    if used is None:
        return None
    named: dict[str, Any] = attrs.asdict(used, filter=lambda field, value: field.name != "raw" and value is not None)
    return named


def lost(gone: Any) -> dict[str, Any]:
    """The fields of ``reconnected``."""
    return {
        "gap_ms": round(gone.gap_s * 1000),
        "lost_audio_ms": round(gone.audio_ms + gone.dropped_audio_ms),
        "not_restored": list(gone.not_restored),
    }


def _ms(since: float | None, at: float | None) -> int | None:
    return None if since is None or at is None else max(0, round((at - since) * 1000))
