"""Real servers, real WebSockets: a browser speaks, both transcripts and every byte of the answer arrive."""

from __future__ import annotations

import contextlib
import json
import operator
import os
import re
import signal
import socket
import struct
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import websocket

from dashscope_rt.testing import Emulator

from .browser import SOON
from .conftest import sent_audio, spoken
from .load import worker_of
from .servers import DJANGO, FLASK, NO_SOCKETS, ROOT, Server

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gunicorn and signals are POSIX")
WITH_SOCKETS = [*FLASK, *DJANGO]
# Between request and application these differ; the rest is the same code.
KINDS = ["flask gthread", "django gthread", "django daphne", "django uvicorn"]


def refusal(call: Callable[[], Any]) -> tuple[int, str]:
    """Status and body of a refused upgrade."""
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        call().close()
    return refused.value.status_code, (refused.value.resp_body or b"").decode()


@pytest.mark.parametrize("name", WITH_SOCKETS)
def test_a_conversation(name: str, server_called: Callable[[str], Server], shared_emulator: Emulator) -> None:
    server = server_called(name)
    connections = len(shared_emulator.connections)
    with server.browser(rate=48_000, origin=server.url) as browser:
        ready = browser.wait(type="ready")
        assert ready["mode"] == "vad"
        assert (ready["version"], ready["input_rate"], ready["output_rate"]) == (1, 16_000, 24_000)
        connection = connections + 1

        browser.say(spoken(48_000))
        browser.wait(type="input_transcript", final=True, text="(emulator) 2.8 seconds of speech")
        done = browser.wait(type="response_done")
        assert done["text"].startswith("This is the emulator. You spoke for 2.8 seconds")
        assert done["status"] == "completed"
        assert browser.wait(type="transcript", turn=1, final=True)["text"] == done["text"]
        assert done["usage"]["output_tokens"] > 0
        assert 0 <= done["latency_ms"]["first_audio"] <= done["latency_ms"]["total"]
        assert bytes(browser.audio[1]) == sent_audio(shared_emulator, connection)
        assert len(browser.audio[1]) > 100_000
        order = browser.types()
        assert order.index("speech_started") < order.index("speech_stopped") < order.index("response_started")
        assert order.index("response_started") < order.index("(audio)")

        browser.send("text", text="wait for me")
        browser.wait(type="(audio)", turn=2)
        browser.send("interrupt")
        browser.wait(type="flush", turn=2)
        assert browser.wait(type="response_done", turn=2)["status"] == "cancelled"

        browser.send("text", text="use the tool")
        browser.wait(type="function_call", turn=3, name="greeting", arguments={})
        assert browser.wait(type="response_done", turn=4)["text"] == "a greeting of the application"

        browser.send("stop")
        code, _ = browser.wait_closed()
        assert code == 1000
        assert browser.messages[-1] == {"type": "closed", "code": 1000, "reason": "stopped"}
    shared_emulator.wait_closed(connection=connection)
    assert "sk-secret" not in json.dumps(browser.messages)
    assert "Traceback" not in server.output, server.output


@pytest.mark.parametrize("name", WITH_SOCKETS)
def test_push_to_talk(name: str, server_called: Callable[[str], Server]) -> None:
    with server_called(name).browser(rate=44_100, options={"mode": "manual"}) as browser:
        assert browser.wait(type="ready")["mode"] == "manual"
        browser.say(spoken(44_100))
        browser.send("commit")
        assert "You spoke for 5.1 seconds" in browser.wait(type="response_done")["text"]


@pytest.mark.parametrize("name", [*WITH_SOCKETS, *NO_SOCKETS])
def test_a_written_question_is_answered_with_server_sent_events(
    name: str, server_called: Callable[[str], Server]
) -> None:
    server = server_called(name)
    headers = {"Content-Type": "application/json", "Origin": server.url}
    if name.startswith("django"):
        _, _, answered = server.get("/")
        token = re.search(r"csrftoken=(\w+)", answered["Set-Cookie"])
        assert token is not None
        assert server.get("/voice/ask", headers=headers, data=b"{}")[0] == 403, "without the token"
        headers |= {"Cookie": f"csrftoken={token[1]}", "X-CSRFToken": token[1]}
    status, body, answered = server.get("/voice/ask", headers=headers, data=json.dumps({"text": "Good morning!"}).encode())
    assert status == 200
    assert answered["Content-Type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in body.decode().splitlines() if line.startswith("data: ")]
    assert events[0]["type"] == "response_started"
    assert events[-2] == {"type": "transcript", "text": events[-1]["text"], "final": True}
    assert events[-1]["type"] == "response_done"
    assert events[-1]["text"].endswith("You wrote: Good morning!")
    texts = [event["text"] for event in events if event["type"] == "transcript"]
    assert len(texts) > 2, "word by word"
    status, body, _ = server.get("/voice/ask", headers=headers, data=b'{"text": ""}')
    assert (status, "what was typed" in json.loads(body)["error"]) == (400, True)
    assert server.get("/voice/ask", headers={**headers, "Origin": "http://evil.example"}, data=b'{"text": "x"}')[0] == 403


@pytest.mark.parametrize(
    "name", ["flask run", "flask gthread", "django gthread", "django daphne", "django uvicorn", "flask waitress"]
)
def test_a_browser_that_goes_away_cancels_the_answer(
    name: str, server_called: Callable[[str], Server], shared_emulator: Emulator
) -> None:
    server = server_called(name)
    headers = {"Content-Type": "application/json"}
    if name.startswith("django"):
        token = re.search(r"csrftoken=(\w+)", server.get("/")[2]["Set-Cookie"])
        assert token is not None
        headers |= {"Cookie": f"csrftoken={token[1]}", "X-CSRFToken": token[1]}
    connection = len(shared_emulator.connections) + 1
    request = urllib.request.Request(server.url + "/voice/ask", headers=headers, data=b'{"text": "wait for me"}')
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=SOON) as answer:
        while b'"transcript"' not in answer.readline():
            pass
    shared_emulator.wait_closed(connection=connection, timeout=20)
    kinds = [each.type for each in shared_emulator.received if each.connection == connection]
    assert kinds[-1] == "response.cancel"


@pytest.mark.parametrize("name", NO_SOCKETS)
def test_a_server_without_websockets_says_so(name: str, server_called: Callable[[str], Server]) -> None:
    status, body = refusal(lambda: server_called(name).browser())
    assert status == 501
    assert "gunicorn" in json.loads(body)["error"]
    assert "gthread" in json.loads(body)["error"]


@pytest.mark.parametrize("name", ["flask gthread", "django gthread", "django daphne"])
def test_the_javascript_is_served(name: str, server_called: Callable[[str], Server]) -> None:
    server = server_called(name)
    for file in (ROOT / "dashscope_rt" / "web" / "static").glob("*.js"):
        status, body, headers = server.get(f"/voice/{file.name}")
        assert status == 200
        assert headers["Content-Type"].startswith("text/javascript")
        assert body == file.read_bytes()
    for name in ("../relay.py", "%2e%2e/relay.py", "nothing.js", "..%2frelay.py"):
        assert server.get(f"/voice/{name}")[0] == 404


@pytest.mark.parametrize("name", KINDS)
def test_who_is_not_let_in_is_told_before_the_upgrade(name: str, emulator: Emulator) -> None:
    with Server(name, emulator.url, {"limit": 2, "origins": ["https://good.example"]}) as server:
        mute = name == "django daphne"  # it knows no other refusal than 403
        status, body = refusal(lambda: server.browser(origin="http://evil.example"))
        assert status == 403
        assert mute or "origin" in body
        assert refusal(lambda: server.browser(headers={"Cookie": "user=nobody"}))[0] == (403 if mute else 401)
        assert server.get("/voice/ws", headers={"Cookie": "user=nobody"})[0] == 401
        assert server.get("/voice/ws")[0] == 426, "one would be let in"
        with server.browser(origin="https://good.example") as first, server.browser(origin=server.url) as second:
            first.wait(type="ready")
            second.wait(type="ready")
            assert refusal(lambda: server.browser())[0] == (403 if mute else 503)
            status, body, headers = server.get("/voice/ws")
            assert (status, headers["Retry-After"]) == (503, "5")
            assert json.loads(body) == {"error": "all lines are busy; try again later"}
    assert [each.status for each in emulator.connections] == [101, 101], "nobody else cost a session"


@pytest.mark.parametrize("name", KINDS)
def test_the_second_tab_takes_over(name: str, server_called: Callable[[str], Server]) -> None:
    server = server_called(name)
    with server.browser(headers={"Cookie": "user=ann"}) as first:
        first.wait(type="ready")
        with server.browser(headers={"Cookie": "user=ann"}) as second, server.browser(headers={"Cookie": "user=ben"}) as other:
            second.wait(type="ready")
            other.wait(type="ready")
            assert server.get("/voice/ws", headers={"Cookie": "user=ann"})[0] == 426, "who only asks takes nobody's place"
            assert first.wait_closed()[0] in (1008, 4008)
            assert first.messages[-1]["code"] == 1008
            assert "another tab" in first.messages[-1]["reason"]
            assert (second.closed, other.closed) == (None, None)


@pytest.mark.parametrize("name", [*KINDS, "flask gevent"])
def test_a_message_that_is_too_large_ends_the_connection(name: str, emulator: Emulator) -> None:
    with Server(name, emulator.url, {"bounds": {"max_message": 65_536}}) as server, server.browser() as browser:
        assert browser.wait(type="ready")["max_message"] == 65_536
        browser.send_binary(2, bytes(65_536))
        assert browser.wait_closed()[0] in (1009, 4009)
        assert emulator.wait_closed().closed_by == "client"


@pytest.mark.parametrize("name", KINDS)
def test_who_says_nothing_for_long_is_ended(name: str, emulator: Emulator) -> None:
    with Server(name, emulator.url, {"idle_s": 0.5}) as server, server.browser() as browser:
        browser.say(bytes(3200))  # a microphone in a silent room
        assert browser.wait_closed()[0] in (1008, 4008)
        assert browser.messages[-1]["reason"] == "nothing was said for 0.5 s"
        emulator.wait_closed()


@pytest.mark.parametrize("name", WITH_SOCKETS)
def test_a_terminated_server_says_goodbye_and_closes_its_sessions(name: str, emulator: Emulator) -> None:
    with Server(name, emulator.url) as server, server.browser() as browser:
        browser.wait(type="ready")
        took = server.terminate(signal.SIGTERM)
        assert browser.wait_closed()[0] in (1013, 4013)
        assert browser.messages[-1] == {"type": "closed", "code": 1013, "reason": "this server is shutting down"}
        closed = emulator.wait_closed()
        assert (closed.closed_by, closed.close_code) == ("client", 1000)
        assert took < 8, server.output
        assert "Traceback" not in server.output, server.output


@pytest.mark.parametrize("name", ["flask run", "flask gthread", "django runserver"])
def test_ctrl_c_does_the_same(name: str, emulator: Emulator) -> None:
    with Server(name, emulator.url) as server, server.browser() as browser:
        browser.wait(type="ready")
        server.terminate(signal.SIGINT)
        browser.wait_closed()
        assert emulator.wait_closed().closed_by == "client", server.output


@pytest.mark.parametrize("kind", ["flask", "django"])
def test_the_reloaders_parent_has_no_session(kind: str, emulator: Emulator, tmp_path: Path) -> None:
    touched = tmp_path / "touched.py"
    touched.write_text("")
    if kind == "flask":
        # Not "flask run", whose reloader can only be the one that asks the kernel, and that misses changes on busy machines.
        server = Server("", emulator.url, arguments=["-m", "tests.web.flask_app", str(touched)])
    else:
        variables = {"DJANGO_SETTINGS_MODULE": "tests.web.site.settings", "WITH_DAPHNE": "1"}
        arguments = ["-m", "django", "runserver", "127.0.0.1:0"]
        server = Server("", emulator.url, arguments=arguments, environment=variables)
    with server:
        with server.browser() as browser:
            browser.wait(type="ready")
            browser.send("text", text="Hello")
            browser.wait(type="response_done")
            assert len(emulator.connections) == 1
            if kind == "flask":
                touched.write_text("changed = 1")  # the child ends, the next one begins
                emulator.wait_closed(timeout=20)
                browser.wait_closed()
        assert len(emulator.connections) == 1


@pytest.mark.parametrize("name", ["flask gthread", "flask gevent", "django uvicorn", "django daphne"])
def test_a_tab_that_hangs_is_given_up_and_the_others_go_on(name: str, emulator: Emulator) -> None:
    """The kernel's buffers take a few seconds of speech, daphne takes all; beyond that the relay's own bounds count."""
    with Server(name, emulator.url, {"bounds": {"output_ms": 20_000.0, "ahead_ms": 60_000.0}}) as server:
        small = ((socket.SOL_SOCKET, socket.SO_RCVBUF, 4096),)
        with server.browser(read=False, sockopt=small) as slow, server.browser() as quick:
            quick.wait(type="ready")
            slow.send("text", text="talk for two minutes")
            emulator.wait_for("response.create")
            slow_connection = emulator.wait_for("response.create").connection
            closed = emulator.wait_closed(connection=slow_connection, timeout=30)
            assert closed.closed_by == "client"
            quick.send("text", text="Are you there?")
            quick.wait(type="response_done")
            assert quick.closed is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")
@pytest.mark.parametrize("name", ["django gthread", "django daphne"])
def test_callbacks_and_tools_give_their_database_connections_back(name: str, emulator: Emulator, tmp_path: Path) -> None:
    database = tmp_path / "db.sqlite3"
    with Server(name, emulator.url, environment={"DATABASE": str(database)}) as server, server.browser() as browser:
        browser.wait(type="ready")
        browser.send("text", text="use the tool")
        assert browser.wait(type="response_done", turn=2)["text"] == "a greeting of the application"
        assert database.exists(), "the hooks, the callback and the tool have asked it"
        folder = Path(f"/proc/{worker_of(server.process.pid)}/fd")

        def connections() -> list[str]:
            links = []
            for file in folder.iterdir():
                with contextlib.suppress(OSError):
                    links.append(str(file.readlink()))
            return [link for link in links if link.startswith(str(database))]

        deadline = time.monotonic() + SOON
        while connections() and time.monotonic() < deadline:  # the last callback may be at its end just now
            threading.Event().wait(0.01)
        assert connections() == []
        assert browser.closed is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")
@pytest.mark.parametrize("name", ["flask gthread", "flask gevent", "django uvicorn"])
def test_many_browsers_that_vanish_leave_nothing_behind(name: str, emulator: Emulator) -> None:
    with Server(name, emulator.url) as server:
        process = Path(f"/proc/{worker_of(server.process.pid)}")

        def held() -> tuple[int, int]:
            return len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))

        def come_and_go(times: int, first: int) -> None:
            for number in range(first, first + times):
                rude = number % 2 == 1
                with server.browser(read=not rude) as browser:
                    if rude:
                        assert "ready" in browser.socket.recv()
                        browser.socket.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        browser.socket.shutdown()  # a reset, without a word
                        browser.closed = (1006, "")
                    else:
                        browser.wait(type="ready")
                emulator.wait_closed(connection=number)

        # Threads that a server keeps for the next time come about: as many as its pool may have, all wanted at once.
        crowd = (os.cpu_count() or 1) + 4
        with contextlib.ExitStack() as stack, ThreadPoolExecutor(crowd) as pool:
            for browser in pool.map(lambda _: stack.enter_context(server.browser()), range(crowd)):
                browser.wait(type="ready")
        for number in range(1, crowd + 1):
            emulator.wait_closed(connection=number)
        come_and_go(20, crowd + 1)
        before = held()
        come_and_go(40, crowd + 21)
        deadline = time.monotonic() + SOON
        while (now := held()) and max(map(operator.sub, now, before)) > 3 and time.monotonic() < deadline:
            threading.Event().wait(0.02)
        assert now[0] <= before[0] + 3
        assert now[1] <= before[1] + 3
