"""Views, request threads: the WebSocket of WSGI servers, server-sent events, the JavaScript."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.db import connections, transaction
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.views.decorators.http import require_GET, require_POST

from .. import pages, text
from ..gateway import Refused
from ..pool import Seat
from ..sockets import Gone
from ..wsgi_socket import NoSocketError, WsgiSocket, find_socket, is_upgrade
from .conf import gateway, with_connections

__all__ = ["ask", "static", "websocket"]


@transaction.non_atomic_requests
@require_GET
def websocket(request: HttpRequest) -> HttpResponse:
    """The WebSocket under WSGI; without an upgrade it says with its status whether one would be let in."""
    environ: Mapping[str, Any] = {} if isinstance(request, ASGIRequest) else request.META
    try:
        if not is_upgrade(environ):
            gateway().check(request, origin=request.headers.get("Origin"), host=request.get_host())
            return _json({"error": "this is a WebSocket"}, 426, {"Upgrade": "websocket"})
        find_socket(environ)  # before a seat is taken for nothing
        with _admit(request) as seat:
            connections.close_all()  # this thread is about to be busy for as long as somebody talks
            socket = WsgiSocket(environ, max_message=gateway().bounds.max_message)
            gateway().relay(socket, seat, with_connections)
    except Refused as refused:
        return _json({"error": refused.message}, refused.status, refused.headers)
    except NoSocketError as error:
        return _json({"error": str(error)}, 501)
    except Gone:
        pass
    # The connection is over; the server tries to write this, fails, and lets go of it.
    return HttpResponse()


@transaction.non_atomic_requests
@require_POST
def ask(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """One written question, answered with server-sent events."""
    try:
        question, options = text.read_question(json.loads(request.body))
    except ValueError as error:
        return _json({"error": str(error)}, 400)
    try:
        seat = _admit(request)
    except Refused as refused:
        return _json({"error": refused.message}, refused.status, refused.headers)
    desk = gateway()
    answer = text.Answer(
        lambda: desk.prepare_text(options, seat.user, with_connections), seat, question, quiet_s=desk.bounds.quiet_s
    )
    if isinstance(request, ASGIRequest):
        from .asgi import Stream

        return StreamingHttpResponse(Stream(answer), headers=dict(text.HEADERS))
    return StreamingHttpResponse(answer, headers=dict(text.HEADERS))


@require_GET
def static(_request: HttpRequest, name: str) -> FileResponse:
    """A file of the JavaScript module."""
    path = pages.find(name)
    if path is None:
        raise Http404(f"there is no {name}")
    return FileResponse(path.open("rb"), content_type=pages.TYPES[path.suffix])


def _admit(request: HttpRequest) -> Seat:
    return gateway().admit(request, origin=request.headers.get("Origin"), host=request.get_host())


def _json(body: dict[str, Any], status: int, headers: Mapping[str, str] | None = None) -> JsonResponse:
    answer = JsonResponse(body, status=status, headers=dict(headers or {}))
    answer["Content-Length"] = str(len(answer.content))  # some of the clients that are refused an upgrade need it
    return answer
