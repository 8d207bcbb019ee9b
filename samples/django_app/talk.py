"""The page, and what the project says about sessions. See DASHSCOPE_RT in the settings."""

import logging
import os
import secrets

from django.conf import settings
from django.shortcuts import render
from django.urls import reverse

import dashscope_rt as rt

EMULATED = not os.environ.get("DASHSCOPE_API_KEY")
LANGUAGES = {"de": "German", "en": "English", "es": "Spanish", "fr": "French", "zh": "Chinese"}


def connect() -> rt.RealtimeClient:
    """The service, or the emulator when there is no key. Called once, when it is first needed."""
    if not EMULATED:
        return rt.RealtimeClient()
    from dashscope_rt.testing import Emulator

    return rt.RealtimeClient("no-key-needed", url=Emulator(pace=1.0).start().url)


def logged_in(request) -> str | None:
    """Who is it? None turns the browser away. Your project has a real login."""
    return request.get_signed_cookie("user", None)


def configure(options, user) -> dict:
    """What the session of this user is like. `options` come from the browser: take what you know, and nothing else."""
    language = LANGUAGES.get(str(options.get("language")), "the language you hear")
    return {"instructions": f"You talk with {user}. Answer in {language}, briefly and friendly."}


def done(response: rt.Response) -> None:
    """A callback, on a thread that may use the database. Here you might write the turn into it."""
    logging.getLogger("talk").info("%s: %s, %s", response.id, response.status, response.usage)


def page(request):
    user = logged_in(request) or f"guest-{secrets.token_hex(2)}"
    context = {
        "user": user,
        "model": settings.DASHSCOPE_RT["model"],
        "emulator": EMULATED,
        "module_url": reverse("dashscope_rt:static", args=["dashscope-rt.js"]),
        "socket_url": reverse("dashscope_rt:ws"),
    }
    response = render(request, "talk.html", context)
    response.set_signed_cookie("user", user, httponly=True, samesite="Lax")
    return response
