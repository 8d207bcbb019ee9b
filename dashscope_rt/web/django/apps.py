"""The application for ``INSTALLED_APPS``: what must happen in the main thread, before the first request."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core import checks

from .. import stopping


class VoiceConfig(AppConfig):  # type: ignore[misc]  # Django has no types
    """``dashscope_rt.web.django``."""

    name = "dashscope_rt.web.django"
    label = "dashscope_rt"
    verbose_name = "dashscope_rt"

    def ready(self) -> None:
        """Take the place before the server's signal handlers; see `stopping`. Opens nothing."""
        stopping.prepare()
        checks.register(_check_settings)


def _check_settings(**_: Any) -> list[checks.CheckMessage]:
    """``manage.py check`` says what is wrong with ``settings.DASHSCOPE_RT``, and so does ``runserver``."""
    from django.core.exceptions import ImproperlyConfigured

    from .conf import gateway

    try:
        gateway()
    except ImproperlyConfigured as error:
        return [checks.Error(str(error), id="dashscope_rt.E001")]
    return []
