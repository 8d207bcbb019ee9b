"""``error`` events as the exceptions they stand for, whatever shape they come in."""

from __future__ import annotations

from collections.abc import Mapping

from .. import events as ev
from ..errors import APIError, ServiceBusyError, classify


def lenient_detail(raw: Mapping[str, object]) -> ev.ErrorDetail:
    """Return what can be read of an error whose fields have the wrong kinds."""
    detail = raw.get("error")
    if not isinstance(detail, Mapping):
        return ev.ErrorDetail(message=str(detail) if detail is not None else None)

    def text(name: str) -> str | None:
        return str(detail[name]) if detail.get(name) else None

    return ev.ErrorDetail(
        type=text("type"),
        code=text("code"),
        message=text("message"),
        param=text("param"),
        event_id=text("event_id"),
        raw=detail,
    )


def api_error(event: ev.Error) -> APIError:
    """Return the exception that an ``error`` event stands for."""
    detail = event.error or ev.ErrorDetail()
    kind = classify(detail.code, detail.type, detail.message, status=detail.status)
    if kind is APIError and detail.type == "server_error":
        kind = ServiceBusyError
    return kind(
        detail.message or "the service reported an error without a text",
        status=detail.status,
        code=detail.code,
        error_type=detail.type,
        param=detail.param,
        client_event_id=detail.event_id,
        event=event,
    )
