"""The gateway of this Django process, made of ``settings.DASHSCOPE_RT`` when it is first needed."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from typing import Any

from ...audio.resampling import need
from ...client import RealtimeClient
from ..gateway import Gateway
from ..relay import Bounds
from . import anybody

__all__ = ["gateway", "with_connections"]

_lock = threading.Lock()  # guards the making of the one gateway
_made: Gateway | None = None


def gateway() -> Gateway:
    """Return the one gateway of this process.

    Raises:
        ImproperlyConfigured: The settings say something that cannot be; the message says what is allowed.
    """
    global _made  # noqa: PLW0603 — settings are per process, and so is this
    with _lock:
        if _made is None:
            _made = _make()
        return _made


def _make() -> Gateway:
    need("django", "dashscope_rt.web.django", "django")
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    options = dict(getattr(settings, "DASHSCOPE_RT", None) or {})
    try:
        for name in ("client", "authorize", "configure"):
            options[name] = _found(options.get(name))
        if isinstance(options["client"], Mapping):
            options["client"] = RealtimeClient(**options["client"])
        elif callable(options["client"]):
            options["client"] = options["client"]()
        if isinstance(options.get("bounds"), Mapping):
            options["bounds"] = Bounds(**options["bounds"])
        authorize, configure = options["authorize"] or anybody, options["configure"]
        options["authorize"] = with_connections(authorize)
        options["configure"] = configure and with_connections(configure)
        for name in [name for name in options if name.startswith("on_")]:
            options[name] = _found(options[name])
        options["tools"] = [_found(tool) for tool in options.get("tools") or ()] or None
        if options["tools"] is None:
            del options["tools"]
        return Gateway(**options)
    except (ImportError, TypeError, ValueError) as error:
        raise ImproperlyConfigured(f"settings.DASHSCOPE_RT: {error}") from error


def _found(value: Any) -> Any:
    """What a dotted path names; anything else is itself."""
    from django.utils.module_loading import import_string

    return import_string(value) if isinstance(value, str) else value


def with_connections(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with ``close_old_connections`` before and after each call."""
    from django.db import close_old_connections

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        close_old_connections()
        try:
            return function(*args, **options)
        finally:
            close_old_connections()

    return call
