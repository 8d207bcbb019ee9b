"""As little as a project needs. What is special is in INSTALLED_APPS, ASGI_APPLICATION and DASHSCOPE_RT."""

import os
from pathlib import Path

HERE = Path(__file__).parent

SECRET_KEY = os.environ.get("SECRET_KEY", "good enough for trying it out")  # signs the cookie
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
INSTALLED_APPS = [
    "daphne",  # first: it teaches runserver WebSockets
    "django.contrib.staticfiles",
    "dashscope_rt.web.django",
]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"]
ASGI_APPLICATION = "asgi.application"
STATIC_URL = "/static/"
STATICFILES_DIRS = [HERE / "static"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [HERE / "templates"]}]
DATABASES = {}
USE_TZ = True
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {name: {"handlers": ["console"], "level": "INFO"} for name in ("daphne.server", "talk")},
}

# Options of the web part and of every session; functions by their dotted paths.
DASHSCOPE_RT = {
    "client": "talk.connect",
    "model": os.environ.get("MODEL", "qwen3.5-omni-flash-realtime"),
    "authorize": "talk.logged_in",
    "configure": "talk.configure",
    "on_done": "talk.done",
}
