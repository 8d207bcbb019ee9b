"""The WebSocket under ASGI servers: the only place that knows an event loop. Nothing of the SDK runs in it.

    event loop       receive ─► AsgiSocket.feed         |  AsgiSocket.send ─► send
    relay's thread   AsgiSocket.receive ─► relay        |  writer thread

Channels' own synchronous consumer is not used, because it calls the consumers of all connections on one thread, and its
``send`` works on no other. Channels brings the routing, and the user of the session's cookie.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import io
import logging
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any

from asgiref.sync import sync_to_async

from .. import messages
from ..gateway import Refused
from ..pool import Seat
from ..sockets import Gone
from ..text import Answer
from .conf import gateway, with_connections

__all__ = ["AsgiSocket", "Stream", "application", "websocket"]

_log = logging.getLogger("dashscope_rt.web")
_STALLED_S = 20.0  # a browser that takes nothing for so long is gone
_UNREAD = 16 * 1024 * 1024  # bytes from a browser that the relay has not taken, for example while it connects
Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]


def application(prefix: str = "voice/") -> Any:
    """Return an ASGI application: Django for HTTP, and the WebSocket at ``<prefix>ws`` with session and user.

    Args:
        prefix: As in ``path(prefix, include("dashscope_rt.web.django.urls"))``.

    Raises:
        ImportError: Channels is not installed.
    """
    from ...audio.resampling import need

    need("channels", "dashscope_rt.web.django under ASGI", "django")
    from django.core.asgi import get_asgi_application

    http = get_asgi_application()  # first: it loads the applications
    from channels.routing import ProtocolTypeRouter, URLRouter
    from django.apps import apps
    from django.urls import path

    routes: Any = URLRouter([path(f"{prefix.strip('/')}/ws".lstrip("/"), websocket)])
    if apps.is_installed("django.contrib.auth") and apps.is_installed("django.contrib.sessions"):
        from channels.auth import AuthMiddlewareStack

        routes = AuthMiddlewareStack(routes)
    return ProtocolTypeRouter({"http": http, "websocket": routes})


async def websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """An ASGI application for one WebSocket; `application` puts it into place, or your own ``URLRouter``."""
    await receive()  # websocket.connect
    door = _Door()
    try:
        seat = await _in_thread(door.admit, scope)
    except Refused as refused:
        await _refuse(scope, send, refused)
        return
    except asyncio.CancelledError:
        door.leave()
        raise
    socket = AsgiSocket(asyncio.get_running_loop(), send, max_message=gateway().bounds.max_message)
    try:
        await send({"type": "websocket.accept"})
        thread = threading.Thread(target=_relay, args=(socket, seat), name="dashscope_rt-web-relay", daemon=True)
        thread.start()
    except BaseException:
        seat.release()
        raise
    try:
        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                socket.gone(event.get("code") or 1005, event.get("reason") or "")
                break
            if event["type"] == "websocket.receive":
                text = event.get("text")
                socket.feed(text if text is not None else event.get("bytes") or b"")
    except asyncio.CancelledError:
        if not socket.aborted:
            raise
    finally:
        socket.gone(1006, "")


class _Door:
    """Takes a seat on a thread, for somebody who may have gone away when it is there."""

    def __init__(self) -> None:
        self._left = False
        self._seat: Seat | None = None

    def admit(self, scope: Scope) -> Seat:
        """Our own thread; raises `Refused`."""
        from django.core.handlers.asgi import ASGIRequest

        request: Any = ASGIRequest({**scope, "type": "http", "method": "GET"}, io.BytesIO())
        for name in ("user", "session"):
            if name in scope:
                setattr(request, name, scope[name])
        seat = self._seat = gateway().admit(request, origin=request.headers.get("Origin"), host=request.get_host())
        if self._left:
            seat.release()
        return seat

    def leave(self) -> None:
        """Event loop: one of the two sees what the other did, and a seat may be released twice."""
        self._left = True
        if self._seat is not None:
            self._seat.release()


def _relay(socket: AsgiSocket, seat: Seat) -> None:
    with seat:
        gateway().relay(socket, seat, with_connections)


async def _refuse(scope: Scope, send: Send, refused: Refused) -> None:
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close"})  # before it is accepted: HTTP 403
        return
    headers = [(name.lower().encode(), value.encode()) for name, value in refused.headers.items()]
    await send({"type": "websocket.http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": refused.message.encode()})


_threads = threading.Lock()  # guards the making of the pool below
_pool: concurrent.futures.ThreadPoolExecutor | None = None


async def _in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Run on a thread of our own: the loop's default threads are few, and some of these calls take seconds."""
    global _pool  # noqa: PLW0603 — one for the process, made when it is needed
    with _threads:
        if _pool is None:
            limit = gateway().pool.limit + 8
            _pool = concurrent.futures.ThreadPoolExecutor(limit, thread_name_prefix="dashscope_rt-web-asgi")
    return await sync_to_async(function, thread_sensitive=False, executor=_pool)(*args)


class Stream:
    """The events of an answer, for an ASGI server; closing it closes the answer, and so does cancelling the request."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece: bytes | None = await _in_thread(next, self._answer, None)
        except asyncio.CancelledError:
            self.close()
            raise
        if piece is None:
            raise StopAsyncIteration
        return piece

    def close(self) -> None:
        """Returns at once; any thread, any number of times."""
        threading.Thread(target=self._answer.close, name="dashscope_rt-web-closing", daemon=True).start()


class AsgiSocket:
    """A `BrowserSocket` on an ASGI server's ``receive`` and ``send``.

    Args:
        loop: The event loop of ``send``.
        send: The server's.
        max_message: Bytes of one message; more ends the connection with 1009.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Send, *, max_message: int) -> None:
        self._loop, self._send = loop, send
        self._task = asyncio.current_task(loop)
        self._max_message = max_message
        self._in: queue.SimpleQueue[str | bytes | None] = queue.SimpleQueue()
        self._fed = 0  # bytes; event loop only
        self._taken = 0  # bytes; relay's thread only
        self._gone: Gone | None = None
        self._closing = False
        self.aborted = False

    # ---- event loop -------------------------------------------------------------------------------------------

    def feed(self, message: str | bytes) -> None:
        """A message came."""
        if self._closing:
            return
        self._fed += len(message)
        if len(message) > self._max_message:
            self._refuse(messages.TOO_LARGE, f"a message may have {self._max_message} bytes")
        elif self._fed - self._taken > _UNREAD:
            self._refuse(messages.POLICY, "too much at once")
        else:
            self._in.put(message)

    def gone(self, code: int, reason: str) -> None:
        """The connection is over."""
        if self._gone is None:
            self._gone = Gone(code, reason)
            self._in.put(None)

    def _refuse(self, code: int, reason: str) -> None:
        self._closing = True
        self._closer = self._loop.create_task(self._close(code, reason))
        self.gone(code, reason)

    async def _close(self, code: int, reason: str) -> None:
        for each in (code, code + 3000):  # daphne sends 1000 and 3000 to 4999 only, and raises at the others
            try:
                await self._send({"type": "websocket.close", "code": each, "reason": reason})
            except Exception as error:  # noqa: BLE001 — every server has its own
                _log.debug("a WebSocket could not be closed with %d: %s", each, error)
            else:
                return
        self.gone(1006, "")

    async def _say(self, event: Event) -> None:
        try:
            await self._send(event)
        except Exception as error:  # noqa: BLE001 — every server has its own for a connection that is gone
            _log.debug("a browser's connection failed: %s", error)
            self.gone(1006, "")

    # ---- BrowserSocket ----------------------------------------------------------------------------------------

    def receive(self, timeout: float | None = None) -> str | bytes | None:
        """See `BrowserSocket.receive`; one thread."""
        try:
            message = self._in.get(timeout=timeout)
        except queue.Empty:
            return None
        if message is None:
            self._in.put(None)
            raise self._gone or Gone()
        self._taken += len(message)
        return message

    def send(self, message: str | bytes) -> None:
        """See `BrowserSocket.send`; not on the event loop."""
        if self._gone is not None or self._closing:
            raise self._gone or Gone()
        kind = "text" if isinstance(message, str) else "bytes"
        self._run(self._say({"type": "websocket.send", kind: message}), _STALLED_S)

    def close(self, code: int, reason: str = "") -> None:
        """See `BrowserSocket.close`."""
        if self._gone is None and not self._closing:
            self._closing = True
            short = reason.encode("utf-8", "replace")[:120].decode("utf-8", "ignore")
            self._run(self._close(code, short), 1.0)

    def abort(self) -> None:
        """See `BrowserSocket.abort`; any thread."""
        if self._gone is None:
            self.aborted = True
            self.gone(1006, "")
            with contextlib.suppress(RuntimeError):  # the loop is over, and with it the connection
                if self._task is not None:
                    self._loop.call_soon_threadsafe(self._task.cancel)

    def _run(self, coroutine: Coroutine[Any, Any, None], timeout: float) -> None:
        began = time.monotonic()
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the loop is over
            coroutine.close()
            raise Gone from None
        try:
            future.result(timeout)
        except concurrent.futures.TimeoutError:
            _log.debug("a browser took nothing for %.0f s", time.monotonic() - began)
            self.abort()
            raise Gone(messages.POLICY, "client too slow") from None
        except concurrent.futures.CancelledError:
            self.abort()
            raise Gone from None
