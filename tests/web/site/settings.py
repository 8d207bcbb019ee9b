"""A Django project as small as it can be; started by the tests as a program. Options come from the environment."""

from __future__ import annotations

import json
import os
import socketserver
import sys

SECRET_KEY = "not a secret"
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "tests.web.site.urls"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "dashscope_rt.web.django"]
if os.environ.get("WITH_DAPHNE"):
    INSTALLED_APPS.insert(0, "daphne")
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ASGI_APPLICATION = "tests.web.site.asgi.application"
WSGI_APPLICATION = "tests.web.site.wsgi.application"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("DATABASE", ":memory:")}}
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
USE_TZ = True
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {
        "daphne.server": {"handlers": ["console"], "level": "INFO"},
        "dashscope_rt.web": {"handlers": ["console"], "level": "INFO"},
    },
}
DASHSCOPE_RT = {
    "client": {"api_key": "sk-secret-of-the-server"},
    "authorize": "tests.web.site.hooks.authorize",
    "configure": "tests.web.site.hooks.configure",
    "on_done": "tests.web.site.hooks.done",
    "tools": ["tests.web.site.hooks.greeting"],
    **json.loads(os.environ.get("VOICE_OPTIONS", "{}")),
}

# runserver does not say which port it got; the test asks for any.
_activate = socketserver.TCPServer.server_activate


def _say(server: socketserver.TCPServer) -> None:
    _activate(server)
    print(f"Listening at: http://127.0.0.1:{server.server_address[1]}", file=sys.stderr, flush=True)


socketserver.TCPServer.server_activate = _say
