"""A Flask application as a user would write it; started by the tests as a program. Options come from the environment."""

from __future__ import annotations

import json
import os
import sys

from flask import Flask, current_app, request

import dashscope_rt as rt
from dashscope_rt.web.flask import Voice
from dashscope_rt.web.relay import Bounds

app = Flask(__name__)
app.config["GREETING"] = "a greeting of the application"
options = json.loads(os.environ.get("VOICE_OPTIONS", "{}"))
if "bounds" in options:
    options["bounds"] = Bounds(**options["bounds"])


def authorize(request: object) -> str | None:
    """Who has the cookie ``user`` is logged in; ``nobody`` is refused; without a cookie one is let in unknown."""
    user = request.cookies.get("user", "")
    return None if user == "nobody" else user


def greeting() -> str:
    """Say what is in the application's configuration."""
    return current_app.config["GREETING"]


def configure(wanted: dict, user: str | None) -> dict:
    """Only what is known, and only of the kind it should be; the request is at hand."""
    request.path  # noqa: B018 — raises outside of a request
    return {"turn_detection": None} if wanted.get("mode") == "manual" else {}


seen: list[str] = []
voice = Voice(
    app,
    rt.RealtimeClient("sk-secret-of-the-server"),
    authorize=authorize,
    configure=configure,
    tools=[greeting],
    on_done=lambda response: seen.append(current_app.config["GREETING"]),
    **options,
)


@app.get("/")
def page() -> str:
    return f"{voice.gateway.pool.taken} {len(seen)} {os.getpid()}"


if __name__ == "__main__":
    app.run(port=0, debug=True, reloader_type="stat", extra_files=sys.argv[1:])
