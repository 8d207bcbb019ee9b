"""How the adapters sit in their frameworks, without a server."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from flask import Flask

from dashscope_rt import RealtimeClient
from dashscope_rt.testing import Emulator
from dashscope_rt.web.flask import Voice

from .servers import ROOT


def test_two_flask_applications_share_seats_under_their_own_prefix(emulator: Emulator) -> None:
    voice = Voice(client=RealtimeClient("sk-1", url=emulator.url, proxy=""), url_prefix="talk/", limit=1, signals=False)
    first, second = Flask("first"), Flask("second")
    voice.init_app(first)
    voice.init_app(second)
    assert first.extensions["dashscope_rt"] is voice
    with first.test_request_context():
        assert first.url_for("dashscope_rt.status") == "/talk/ws"
        assert first.url_for("dashscope_rt.static", filename="dashscope-rt.js") == "/talk/dashscope-rt.js"
    with voice.gateway.pool.claim(), first.test_client() as one, second.test_client() as other:
        for browser in (one, other):
            refused = browser.post("/talk/ask", json={"text": "Hello"})
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    with second.test_client() as other:
        assert "You wrote: Hello" in other.post("/talk/ask", json={"text": "Hello"}).text
        assert other.get("/talk/ws").status_code == 426
        asked = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x"}
        answer = other.get("/talk/ws", headers=asked)
        assert answer.status_code == 501, "the test client has no socket"
        assert "gunicorn" in answer.json["error"]
    assert voice.gateway.pool.taken == 0


def test_an_option_that_does_not_exist_is_named_when_a_session_is_made() -> None:
    voice = Voice(client=RealtimeClient("sk-1"), signals=False, voise="Tina")
    with pytest.raises(TypeError, match="voise"):
        voice.gateway.prepare({}, None)


def test_without_flask_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flask", None)
    with pytest.raises(ImportError, match=r"dashscope_rt\[flask\]"):
        Voice()


def manage(*arguments: str, options: str) -> subprocess.CompletedProcess[str]:
    variables = {"DJANGO_SETTINGS_MODULE": "tests.web.site.settings", "VOICE_OPTIONS": options, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "django", *arguments], cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True,
        timeout=30, check=False,
    )  # fmt: skip


def test_djangos_check_finds_what_is_wrong_with_the_settings() -> None:
    assert manage("check", options="{}").returncode == 0
    for options, says in [
        ('{"limit": 0}', "at least 1"),
        ('{"authorize": "no.such.function"}', "no"),
        ('{"bounds": {"max_massage": 1}}', "max_massage"),
        ('{"client": {"region": "mars"}}', "mars"),
    ]:
        checked = manage("check", options=options)
        assert checked.returncode != 0
        assert "dashscope_rt.E001" in checked.stderr
        assert says in checked.stderr, checked.stderr


def test_a_login_that_takes_longer_than_its_browser_stays_leaves_no_seat_taken() -> None:
    program = """
import asyncio, os, threading
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.web.site.settings"
import django
django.setup()
from dashscope_rt.web.django import asgi, conf
began, go = threading.Event(), threading.Event()
conf.gateway().authorize = lambda request: (began.set(), go.wait(10), "ann")[2]

async def receive():
    return {"type": "websocket.connect"}

async def main():
    scope = {"type": "websocket", "path": "/voice/ws", "headers": [(b"host", b"localhost")], "query_string": b""}
    task = asyncio.create_task(asgi.websocket(scope, receive, None))
    await asyncio.to_thread(began.wait, 10)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass
    go.set()
    asgi._pool.shutdown()
    print(conf.gateway().pool.taken)

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
        env={**os.environ, "VOICE_OPTIONS": "{}"},
    )  # fmt: skip
    assert done.stdout.strip() == "0", done.stderr


def test_importing_the_package_imports_no_framework() -> None:
    program = (
        "import sys, dashscope_rt, dashscope_rt.web.relay, dashscope_rt.web.gateway, dashscope_rt.web.wsgi_socket\n"
        "print([name for name in ('flask', 'django', 'websockets', 'numpy', 'soxr', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"
