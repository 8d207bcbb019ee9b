"""Talk with the model from a page of a Flask application.

    pip install "dashscope_rt[flask,emulator]"
    python samples/flask_app/app.py

Then open http://127.0.0.1:5000. With DASHSCOPE_API_KEY set it talks to DashScope; without, to the emulator on this
machine, and the page says so.
"""

import argparse
import os
import secrets

from flask import Flask, render_template, session, url_for

import dashscope_rt as rt
from dashscope_rt.web.flask import Voice

MODEL = os.environ.get("MODEL", "qwen3.5-omni-flash-realtime")
EMULATED = not os.environ.get("DASHSCOPE_API_KEY")
LANGUAGES = {"de": "German", "en": "English", "es": "Spanish", "fr": "French", "zh": "Chinese"}

app = Flask(__name__)
app.secret_key = os.environ.get("SECRET_KEY", "good enough for trying it out")  # signs the cookie


def connect() -> rt.RealtimeClient:
    """The service, or the emulator when there is no key."""
    if not EMULATED:
        return rt.RealtimeClient()
    from dashscope_rt.testing import Emulator

    return rt.RealtimeClient("no-key-needed", url=Emulator(pace=1.0).start().url)


def logged_in(_request) -> str | None:
    """Who is it? None turns the browser away. Your application has a real login."""
    return session.get("user")


def configure(options, user) -> dict:
    """What the session of this user is like. `options` come from the browser: take what you know, and nothing else."""
    language = LANGUAGES.get(str(options.get("language")), "the language you hear")
    return {"instructions": f"You talk with {user}. Answer in {language}, briefly and friendly."}


def done(response: rt.Response) -> None:
    """A callback, run in an application context. Here you might write the turn to your database."""
    app.logger.info("%s: %s, %s", response.id, response.status, response.usage)


voice = Voice(app, connect(), model=MODEL, authorize=logged_in, configure=configure, on_done=done)


@app.get("/")
def page() -> str:
    user = session.setdefault("user", f"guest-{secrets.token_hex(2)}")
    return render_template(
        "talk.html",
        user=user,
        model=MODEL,
        emulator=EMULATED,
        module_url=url_for("dashscope_rt.static", filename="dashscope-rt.js"),
        socket_url=url_for("dashscope_rt.status"),  # as a path: the page knows its own host
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1", help="for other machines: they need https, too")
    parser.add_argument("--port", type=int, default=5000)
    options = parser.parse_args()
    app.run(options.host, options.port, threaded=True)
