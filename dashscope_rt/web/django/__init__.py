"""Django, with a WebSocket or without. Extra ``django``.

    INSTALLED_APPS = ["daphne", …, "dashscope_rt.web.django"]      # daphne only for runserver, first: WebSockets there
    ASGI_APPLICATION = "mysite.asgi.application"
    DASHSCOPE_RT = {"voice": "Tina", "authorize": "mysite.voice.authorize", "configure": "mysite.voice.configure"}

    # urls.py
    path("voice/", include("dashscope_rt.web.django.urls"))

    # asgi.py
    application = dashscope_rt.web.django.asgi.application("voice/")      # instead of get_asgi_application()

The routes, under whatever prefix: ``ws`` (the WebSocket of `relay`), ``ask`` (POST, server-sent events, see `text`;
with Django's CSRF token like every POST), and the JavaScript. In templates ``{% url "dashscope_rt:ws" %}``,
``{% url "dashscope_rt:ask" %}``, ``{% url "dashscope_rt:static" "dashscope-rt.js" %}``.

Both kinds of servers can do it: ASGI (daphne, uvicorn, ``runserver`` with daphne) through ``asgi.py``, and WSGI under
gunicorn (``--worker-class gthread --threads 100``, or gevent) through ``urls.py`` alone. Plain WSGI ``runserver`` and
waitress have no WebSockets and say so with 501; server-sent events work there. Daphne keeps whatever a browser does not
read, so there only `Bounds.ahead_ms` counts; its own limit for messages is ``DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE``, and
it sends the close codes 1008, 1011 and 1013 as 4008, 4011 and 4013. With uvicorn, ``--ws-per-message-deflate false``
spares the server much work for nothing.

``DASHSCOPE_RT`` holds the options of `gateway.Gateway` and those of `RealtimeClient.session` for everybody. Functions
may be given as dotted paths; ``client`` is a `RealtimeClient`, a dict of its arguments, or the path of one of these.
Without ``authorize`` everybody may talk and logged-in users are known; ``"dashscope_rt.web.django.logged_in"`` wants a
login.

Every function of yours, callbacks, tools, ``authorize`` and ``configure``, runs on a thread with
``close_old_connections`` before and after it, so it may use the database like a view.
"""

from __future__ import annotations

from typing import Any

__all__ = ["anybody", "logged_in"]


def anybody(request: Any) -> str:
    """Let everybody in; a logged-in user is known, and has one session at a time."""
    return logged_in(request) or ""


def logged_in(request: Any) -> str | None:
    """Let logged-in users in."""
    user = getattr(request, "user", None)
    return str(user.pk) if user is not None and user.is_authenticated else None
