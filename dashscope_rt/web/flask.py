"""Flask: `Voice`, an extension. Extra ``flask``.

    app = Flask(__name__)
    voice = Voice(app, RealtimeClient(), voice="Tina", authorize=lambda request: session.get("user"))

It adds, under ``url_prefix``:

    GET  /ws          the WebSocket of `relay`; without an upgrade it says with its status whether one would be let in
    POST /ask         {"text": "…"} -> server-sent events, see `text`; for servers without WebSockets too
    GET  /<file>      the JavaScript

A WebSocket is one request that lasts as long as the conversation, so it needs a thread of its own: ``flask run`` has
them, gunicorn has them with ``--worker-class gthread --threads 100`` (or gevent). ``authorize`` and ``configure`` run
in the request's context; every other function of yours, callbacks and tools, runs on threads of the session, each call
in an application context of its own.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..audio.resampling import need
from . import text
from .gateway import Gateway, Refused
from .pages import STATIC
from .pool import Seat
from .sockets import Gone
from .wsgi_socket import NoSocketError, WsgiSocket, find_socket, is_upgrade

if TYPE_CHECKING:
    from flask import Flask, Response

    from ..client import RealtimeClient

__all__ = ["Voice"]


class Voice:
    """Talk with a model from the pages of a Flask application.

    Args:
        app: The application; None: call `init_app` later.
        client: The `RealtimeClient`; None makes one from the environment when it is first needed.
        url_prefix: Where the routes are.
        **options: Those of `gateway.Gateway`: ``authorize``, ``configure``, ``origins``, ``limit``, ``second``,
            ``idle_s``, ``bounds``, ``signals``, ``model``, and options of `RealtimeClient.session` for everybody.

    Raises:
        ImportError: Flask is not installed.
        ValueError: An option that cannot be.

    Attributes:
        gateway: The framework-free part; ``voice.gateway.pool.taken`` is how many talk now.
    """

    def __init__(
        self,
        app: Flask | None = None,
        client: RealtimeClient | None = None,
        *,
        url_prefix: str = "/voice",
        **options: Any,
    ) -> None:
        need("flask", "dashscope_rt.web.flask", "flask")
        self.url_prefix = "/" + url_prefix.strip("/")
        self.gateway = Gateway(client, **options)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Add the routes to an application; also to several, which then share seats and client."""
        from flask import Blueprint

        blueprint = Blueprint("dashscope_rt", __name__, url_prefix=self.url_prefix)
        blueprint.add_url_rule("/ws", "ws", self._websocket, websocket=True)
        blueprint.add_url_rule("/ws", "status", self._status)
        blueprint.add_url_rule("/ask", "ask", self._ask, methods=["POST"])
        blueprint.add_url_rule("/<path:filename>", "static", self._static)
        app.register_blueprint(blueprint)
        app.extensions["dashscope_rt"] = self

    # ---- routes, request threads ------------------------------------------------------------------------------

    def _websocket(self) -> Response:
        from flask import Response, request

        try:
            find_socket(request.environ)  # before a seat is taken for nothing
            seat = self._admit()
            with seat:
                socket = WsgiSocket(request.environ, max_message=self.gateway.bounds.max_message)
                self.gateway.relay(socket, seat, self._in_context())
        except Refused as refused:
            return _refusal(refused)
        except NoSocketError as error:
            return _json({"error": str(error)}, 501)
        except Gone:
            pass
        # The connection is over; the server tries to write this, fails, and lets go of it.
        return Response(status=200, headers={"Connection": "close"})

    def _status(self) -> Response:
        from flask import request

        try:
            if is_upgrade(request.environ):  # a server that does not know what it passes on
                find_socket(request.environ)
            self.gateway.check(request, origin=request.headers.get("Origin"), host=request.host)
        except Refused as refused:
            return _refusal(refused)
        except NoSocketError as error:
            return _json({"error": str(error)}, 501)
        return _json({"error": "this is a WebSocket"}, 426, {"Upgrade": "websocket"})

    def _ask(self) -> Response:
        from flask import Response, request

        try:
            question, options = text.read_question(request.get_json(silent=True))
        except ValueError as error:
            return _json({"error": str(error)}, 400)
        try:
            seat = self._admit()
        except Refused as refused:
            return _refusal(refused)
        wrap = self._in_context()
        try:
            # In the request's context, like configure of a WebSocket; the iterator runs after it is gone.
            prepared = self.gateway.prepare_text(options, seat.user, wrap)
        except BaseException:
            seat.release()
            raise
        answer = text.Answer(lambda: prepared, seat, question, quiet_s=self.gateway.bounds.quiet_s)
        response = Response(answer, headers=dict(text.HEADERS), direct_passthrough=True)
        response.call_on_close(answer.close)
        return response

    def _static(self, filename: str) -> Response:
        from flask import send_from_directory

        return send_from_directory(STATIC, filename)

    def _admit(self) -> Seat:
        from flask import request

        return self.gateway.admit(request, origin=request.headers.get("Origin"), host=request.host)

    def _in_context(self) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        from flask import current_app

        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]

        def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def in_context(*args: Any, **options: Any) -> Any:
                with app.app_context():
                    return function(*args, **options)

            return in_context

        return wrap


def _refusal(refused: Refused) -> Response:
    return _json({"error": refused.message}, refused.status, refused.headers)


def _json(body: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> Response:
    from flask import Response

    return Response(json.dumps(body), status=status, headers=headers, content_type="application/json")
