"""Who is let in, and with what session."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from dashscope_rt import RealtimeClient, Tool
from dashscope_rt.testing import Emulator
from dashscope_rt.web import messages, text
from dashscope_rt.web.gateway import Gateway, Refused

from .browser import SOON


def gateway(**options: Any) -> Gateway:
    client = RealtimeClient("sk-1", url="ws://127.0.0.1:9/")
    return Gateway(client, signals=False, **options)


@pytest.mark.parametrize(
    ("origin", "host", "let_in"),
    [
        (None, "example.com", True),  # no browser: it could say what it likes
        ("https://example.com", "example.com", True),
        ("https://example.com", "example.com:443", True),
        ("http://example.com:8000", "example.com:8000", True),
        ("https://EXAMPLE.com", "example.COM", True),
        ("https://www.good.example", "example.com", True),
        ("http://[::1]:5000", "[::1]:5000", True),
        ("http://example.com:8000", "example.com:9000", False),
        ("http://example.com", "example.com:443", False),
        ("https://example.com.evil.example", "example.com", False),
        ("https://evil.example", "example.com", False),
        ("https://good.example", "example.com", False),
        ("null", "example.com", False),
        ("file://", "", False),
        ("", "example.com", False),
        ("https://example.com:port", "example.com", False),
    ],
)
def test_origins(origin: str | None, host: str, let_in: bool) -> None:
    door = gateway(origins=["https://www.good.example/"])
    if let_in:
        door.check_origin(origin, host)
    else:
        with pytest.raises(Refused) as refused:
            door.check_origin(origin, host)
        assert refused.value.status == 403
        gateway(origins="*").check_origin(origin, host)


@pytest.mark.parametrize("origins", ["https://www.example.com", ["www.example.com"], ["https://example.com/page"], ["*"]])
def test_origins_that_are_none(origins: Any) -> None:
    with pytest.raises(ValueError, match="origin"):
        gateway(origins=origins)


def test_who_is_refused_takes_no_seat() -> None:
    door = gateway(authorize=lambda request: request, limit=1)
    for request, origin, status in ((None, None, 401), ("ann", "http://evil.example", 403)):
        with pytest.raises(Refused) as refused:
            door.admit(request, origin=origin, host="example.com")
        assert refused.value.status == status
    assert door.pool.taken == 0
    with door.admit(17, origin=None, host="example.com") as seat:
        assert seat.user == "17"
        with pytest.raises(Refused) as refused:
            door.admit("ben", origin=None, host="example.com")
        assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "5")
    with door.admit("", origin=None, host="example.com") as seat:
        assert seat.user is None
    door.pool.close()
    with pytest.raises(Refused, match="shutting down"):
        door.admit("ben", origin=None, host="example.com")


def test_the_older_tab_stays_where_that_is_wanted() -> None:
    door = gateway(authorize=lambda request: request, second="refuse")
    with door.admit("ann", origin=None, host=""), pytest.raises(Refused) as refused:
        door.admit("ann", origin=None, host="")
    assert refused.value.status == 409


def test_options_come_from_the_server_and_every_function_is_wrapped() -> None:
    calls: list[str] = []

    def around(function: Any) -> Any:
        def call(*args: Any) -> Any:
            calls.append(function.__name__)
            return function(*args)

        call.__name__, call.__doc__ = function.__name__, function.__doc__
        call.__wrapped__ = function  # type: ignore[attr-defined]
        return call

    def weather(city: str) -> str:
        """Tell the weather."""
        return f"sunny in {city}"

    def clock() -> str:
        return "noon"

    def done(response: object) -> None: ...

    seen: list[Any] = []

    def configure(options: Any, user: Any) -> dict[str, Any]:
        seen.append((dict(options), user))
        return {"model": "qwen3.8-omni-flash-realtime", "voice": "Tina"}

    kept = Tool(clock, name="what_time")
    door = gateway(configure=configure, voice="Cherry", instructions="Be brief.", tools=[weather, kept], on_done=done)
    prepared = door.prepare({"voice": "mine", "instructions": "Be rude."}, "ann", around)
    assert seen == [({"voice": "mine", "instructions": "Be rude."}, "ann")]
    config = prepared.session.config
    assert (config.voice, config.instructions) == ("Tina", "Be brief.")
    assert prepared.session.model.name == "qwen3.8-omni-flash-realtime"
    assert isinstance(config.tools, tuple)
    names = [tool.name for tool in config.tools]  # type: ignore[union-attr]
    assert names == ["weather", "what_time"]
    prepared.callbacks["on_done"](None)
    assert calls == ["done"]
    assert kept.function is clock, "the application's own tool is as it was"
    assert door.prepare({}, None, around).session.config.tools, "and can be used again"


def test_a_callback_that_does_not_exist_is_named() -> None:
    with pytest.raises(TypeError, match="on_dome"):
        gateway(on_dome=print).prepare({}, None)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (None, "JSON object"), ([1], "JSON object"), ({}, "what was typed"), ({"text": " "}, "what was typed"),
        ({"text": "x" * 32_001}, "32,000"), ({"text": "x", "options": [1]}, "options"),
    ],
)  # fmt: skip
def test_questions_that_are_none(body: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        text.read_question(body)


def test_an_answer_that_nobody_reads_gives_its_seat_back(emulator: Emulator) -> None:
    door = Gateway(RealtimeClient("sk-1", url=emulator.url, proxy=""), signals=False, limit=1)
    seat = door.admit(None, origin=None, host="")
    answer = text.Answer(lambda: door.prepare_text({}, None), seat, "Hello", quiet_s=5)
    answer.close()
    assert door.pool.taken == 0
    assert emulator.connections == []
    assert list(answer)[:1] == [b": hello\n\n"]


def test_an_answer_can_be_ended_from_outside_and_closed_by_another_thread(emulator: Emulator) -> None:
    door = Gateway(RealtimeClient("sk-1", url=emulator.url, proxy=""), signals=False, limit=1)
    seat = door.admit(None, origin=None, host="")
    answer = text.Answer(lambda: door.prepare_text({}, None), seat, "wait for me", quiet_s=5)
    pieces: list[bytes] = []
    reader = threading.Thread(target=lambda: pieces.extend(answer), daemon=True)
    reader.start()
    emulator.wait_for_sent("response.text.delta")
    answer.close()
    reader.join(5)
    assert not reader.is_alive()
    assert door.pool.taken == 0
    emulator.wait_closed()

    seat = door.admit(None, origin=None, host="")
    answer = text.Answer(lambda: door.prepare_text({}, None), seat, "Hello", quiet_s=5)
    door.pool.close_s = 0.1
    door.pool.close()
    came = b"".join(answer).decode()
    assert "shutting down" in came
    assert door.pool.taken == 0


def test_an_answer_that_was_forgotten_loses_its_seat_to_the_reaper() -> None:
    door = gateway(limit=1, idle_s=0.05)
    text.Answer(lambda: pytest.fail("nobody asks"), door.admit(None, origin=None, host=""), "Hello", quiet_s=5)
    deadline = time.monotonic() + SOON
    while door.pool.taken and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert door.pool.taken == 0


def test_silence_is_filled_with_comments(emulator: Emulator) -> None:
    door = Gateway(RealtimeClient("sk-1", url=emulator.url, proxy=""), signals=False)
    answer = text.Answer(lambda: door.prepare_text({}, None), door.admit(None, origin=None, host=""), "wait for me", quiet_s=0.05)
    for piece in answer:
        if piece == b": quiet\n\n":
            break
    answer.close()


def test_a_failure_is_an_event_without_details(emulator: Emulator) -> None:
    with Emulator(api_keys=["sk-good-key"]) as strict:
        door = Gateway(RealtimeClient("sk-secret-key", url=strict.url, proxy=""), signals=False)
        answer = text.Answer(lambda: door.prepare_text({}, None), door.admit(None, origin=None, host=""), "Hello", quiet_s=5)
        came = b"".join(answer).decode()
    assert '"code":"unavailable"' in came
    assert "sk-" not in came


def test_keys_are_left_out_of_every_message() -> None:
    assert messages.text_frame("error", message="key sk-0123456789, or sk-ws.abcdef-1") == (
        '{"type":"error","message":"key sk-…, or sk-…"}'
    )
    assert "task-force" in messages.text_frame("transcript", text="the task-force")
