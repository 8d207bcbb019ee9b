"""The emulator as a server: threads, bad clients, endings, TLS, what it records, and where misbehaviour is put in."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from dashscope_rt.testing import Answer, Emulator, Ending, Handshake, Hooks, Raw, Reply

from .conftest import Service
from .talk import KEY, MANUAL, MODEL, SOON, HandMade, Talk, frame_of, read, silence, talk_to

TalkTo = Callable[..., Talk]
Plain = Callable[[Emulator], socket.socket]
LONG = Answer("A long story.", audio=bytes(24000 * 2 * 300))  # 14 MB on the wire, more than any socket buffer takes


@pytest.fixture
def plain() -> Iterator[Callable[[Emulator], socket.socket]]:
    """``plain(emulator)``: a client by hand; the handshake's answer has been read."""
    with ExitStack() as stack:
        yield lambda emulator: stack.enter_context(plain_client(emulator))


@contextmanager
def plain_client(emulator: Emulator) -> Iterator[socket.socket]:
    with HandMade(emulator.url) as client:
        yield client.sock


def send_frame(sock: socket.socket, opcode: int, data: bytes = b"") -> None:
    sock.sendall(frame_of(opcode, data))


def send_event(sock: socket.socket, **event: Any) -> None:
    send_frame(sock, 1, json.dumps(event).encode())


def rest(sock: socket.socket, until: bytes | None = None) -> bytes:
    """What comes until the end, or up to and with some bytes."""
    got = b""
    while (until is None or until not in got) and (data := sock.recv(65536)):
        got += data
    return got


# Life


def test_a_client_that_reads_nothing_holds_nobody_up(service: Service, plain: Plain) -> None:
    emulator = service([LONG])
    sock = plain(emulator)
    send_event(sock, type="response.create", response={"instructions": "Tell a story."})
    emulator.wait_for_sent("response.audio.delta", count=20)
    other = service.talk(emulator, **MANUAL)
    other.ask()
    other.until("conversation.item.created")
    started = time.monotonic()
    emulator.close()
    assert time.monotonic() - started < SOON
    assert emulator.connections[0].closed
    assert len(emulator.sent) < 2500  # of 3000 deltas: no more was made than the client took


def test_many_connections_leave_no_thread(service: Service) -> None:
    emulator = service()
    for number in range(20):
        talk_to(emulator).close()
        emulator.wait_closed(connection=number + 1)
    with plain_client(emulator):
        pass
    emulator.close()
    emulator.close()
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("dashscope-emulator")]
    assert left == []


def test_connections_are_independent(service: Service) -> None:
    emulator = service(lambda heard: f"connection {heard.connection}")
    talks = [service.talk(emulator, **MANUAL) for _ in range(5)]
    for talk in talks:
        talk.ask()
        talk.send("response.create")
    for number, talk in enumerate(talks, 1):
        output = talk.get("response.done")["response"]["output"]
        assert output[0]["content"][0]["transcript"] == f"connection {number}"


def test_an_emulator_starts_once(service: Service) -> None:
    emulator = service()
    with pytest.raises(RuntimeError, match="only once"):
        emulator.start()
    emulator.close()
    with pytest.raises(RuntimeError, match="only once"):
        emulator.start()
    with pytest.raises(RuntimeError, match="not started"):
        _ = Emulator().url


def test_a_port_may_be_chosen(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            Emulator(port=port).start()
    emulator = service(port=port)
    assert emulator.url == f"ws://127.0.0.1:{port}/api-ws/v1/realtime"


def test_without_websockets_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "dashscope_rt\[emulator\]"'):
        Emulator().start()


def test_close_says_going_away(talk: TalkTo, service: Service) -> None:
    made = talk()
    threading.Thread(target=service.emulators[0].close, daemon=True).start()
    with pytest.raises(ConnectionClosed) as caught:
        made.next()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1001
    service.emulators[0].wait_closed()


def test_it_says_that_it_is_an_emulator(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    made = service.talk(service())
    assert "emulator" in made.events[0]["session"]["id"]
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("dashscope")]
    assert any("no model is running" in line for line in ours)
    assert any(f"this is an emulator, it only pretends to be {MODEL}" in line for line in ours)
    assert not any("sk-test" in line for line in ours)


# The wire


def test_tls(service: Service) -> None:
    emulator = service(tls=True)
    assert emulator.url.startswith("wss://127.0.0.1:")
    trusted = ssl.create_default_context(cafile=emulator.ca_file)
    for host in ("127.0.0.1", "localhost"):
        with HandMade(emulator.url, host=host, context=trusted) as client:
            talk = Talk(client)
            assert talk.next()["type"] == "session.created"
            talk.update(**MANUAL)
            talk.ask("count_en")
            talk.until("conversation.item.created")
            assert talk.turn()[-1]["response"]["status"] == "completed"
            client.close_politely()
    with pytest.raises(ssl.SSLCertVerificationError), HandMade(emulator.url, context=ssl.create_default_context()):
        pass


def test_tls_with_a_context_of_ones_own(service: Service) -> None:
    made = service(tls=True)
    emulator = service(tls=made.tls_context)
    trusted = ssl.create_default_context(cafile=made.ca_file)
    with HandMade(emulator.url, context=trusted) as client:
        assert Talk(client).next()["type"] == "session.created"


def test_plain_text_on_a_tls_port_is_only_a_lost_client(service: Service) -> None:
    emulator = service(tls=True)
    connection = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=SOON)
    connection.request("GET", "/")
    with pytest.raises((http.client.HTTPException, OSError)):
        connection.getresponse()
    connection.close()
    emulator.check()


def test_fragments_pings_and_both_kinds_of_bad_message(service: Service) -> None:
    emulator = service()
    talk = service.talk(emulator)
    talk.socket.send(iter(['{"type": "session', '.update", "ses', 'sion": {}}']))
    assert talk.next()["type"] == "session.updated"
    assert talk.socket.ping().wait(SOON)
    talk.socket.send(b"\x00")
    assert talk.next()["type"] == "error"
    assert [record.type for record in emulator.received] == ["session.update", ""]
    talk.socket.send(b"\xff\xfe", text=True)
    with pytest.raises(ConnectionClosed) as caught:
        talk.next()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1007


def test_a_message_over_the_limit_ends_the_connection(service: Service) -> None:
    talk = service.talk(service(max_message_bytes=10_000))
    talk.socket.send("x" * 10_001)
    with pytest.raises(ConnectionClosed) as caught:
        talk.next()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009


def test_half_a_surrogate_pair_comes_back_as_an_escape(talk: TalkTo) -> None:
    made = talk()
    assert made.update(instructions="\ud83d")["instructions"] == "\ud83d"


def test_the_server_pings(service: Service) -> None:
    ponged = threading.Event()

    class Watch(Hooks):
        def framing(self, connection: Any, frame: Any) -> bool:
            if frame.opcode == 9:
                ponged.set()
            return True

    service.talk(service(ping_interval_s=0.01, hooks=lambda number: Watch()))
    assert ponged.wait(SOON)


# Records


def test_what_came_and_went_is_recorded(service: Service) -> None:
    emulator = service()
    made = service.talk(emulator, **MANUAL)
    made.ask()
    appended = emulator.wait_for("input_audio_buffer.append", count=3)
    assert (appended.connection, appended.type) == (1, "input_audio_buffer.append")
    assert appended.at <= time.monotonic()
    assert emulator.wait_for("input_audio_buffer.commit", connection=1).event["type"] == "input_audio_buffer.commit"
    made.until("conversation.item.created")
    kinds = [record.type for record in emulator.received]
    assert kinds[0] == "session.update"
    assert kinds[-1] == "input_audio_buffer.commit"
    assert [record.type for record in emulator.sent][:2] == ["session.created", "session.updated"]
    assert "audio=" not in repr(appended)
    assert len(repr(appended)) < 100


def test_a_wait_in_vain_says_what_came_instead(service: Service) -> None:
    emulator = service()
    service.talk(emulator, **MANUAL).append(silence(300))
    emulator.wait_for("input_audio_buffer.append", count=3)
    with pytest.raises(AssertionError, match=r"session\.update x 1, input_audio_buffer\.append x 3"):
        emulator.wait_for("response.create", timeout=0.01)
    with pytest.raises(AssertionError, match="was not received 4 time"):
        emulator.wait_for("input_audio_buffer.append", timeout=0.01, count=4)
    with pytest.raises(AssertionError, match="no 2 connection"):
        emulator.wait_for_connection(timeout=0.01, count=2)
    with pytest.raises(AssertionError, match="are over"):
        emulator.wait_closed(timeout=0.01)


def test_records_are_bounded(service: Service) -> None:
    emulator = service(record_limit=5)
    made = service.talk(emulator, **MANUAL)
    made.append(silence(1000))
    made.send("input_audio_buffer.commit")
    emulator.wait_for("input_audio_buffer.commit")
    assert [record.type for record in emulator.received] == ["input_audio_buffer.append"] * 4 + [
        "input_audio_buffer.commit"
    ]
    service.strict = False


# By hand


def test_events_of_ones_own(service: Service) -> None:
    service.strict = False
    emulator = service()
    first, second = service.talk(emulator), service.talk(emulator)
    emulator.send({"type": "something.new", "n": 1})
    assert first.next() == second.next() == {"type": "something.new", "n": 1}
    emulator.send({"type": "only.second"}, connection=2)
    emulator.send({"type": "both"})
    assert first.next()["type"] == "both"
    assert second.next()["type"] == "only.second"


def test_drop_closes_with_any_code(service: Service) -> None:
    emulator = service()
    made = service.talk(emulator)
    emulator.drop(1013, "try again")
    with pytest.raises(ConnectionClosed) as caught:
        made.next()
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1013, "try again")
    ended = emulator.wait_closed()
    assert (ended.closed_by, ended.close_code) == ("server", 1013)


def test_drop_with_a_reason_no_close_frame_may_have(service: Service, plain: Plain) -> None:
    emulator = service()
    sock = plain(emulator)
    reason = "The free tier of the model has been exhausted. " * 3
    emulator.wait_for_sent("session.created")
    emulator.drop(1007, reason)
    frame = b"\x88\x7e" + (len(reason) + 2).to_bytes(2, "big") + (1007).to_bytes(2, "big") + reason.encode()
    assert rest(sock, until=frame).endswith(frame)


@pytest.mark.parametrize("code", [0, 999, 1005, 2000, 5000, 65535])
def test_drop_with_a_code_no_library_would_send(service: Service, plain: Plain, code: int) -> None:
    emulator = service()
    sock = plain(emulator)
    emulator.wait_for_sent("session.created")
    emulator.drop(code, "why")
    frame = b"\x88\x05" + code.to_bytes(2, "big") + b"why"
    assert rest(sock, until=frame).endswith(frame)
    emulator.drop(1011)
    send_frame(sock, 8, (1000).to_bytes(2, "big"))
    assert rest(sock) == b""


def test_drop_without_a_close_frame(service: Service, plain: Plain) -> None:
    emulator = service()
    sock = plain(emulator)
    emulator.wait_for_sent("session.created")
    emulator.drop(1006)
    assert rest(sock).endswith(b"}")


def test_a_client_that_vanishes_is_lost(service: Service) -> None:
    emulator = service()
    with plain_client(emulator):
        pass
    assert emulator.wait_closed().closed_by == "lost"
    emulator.check()


def test_a_failure_inside_is_kept_and_ends_the_connection(service: Service) -> None:
    service.failing = True

    def transcribe(pcm: bytes, rate: int) -> str:
        raise OSError("no dictionary")

    emulator = service(transcribe=transcribe)
    made = service.talk(emulator, **MANUAL)
    made.ask()
    with pytest.raises(ConnectionClosed):
        made.until("never")
    with pytest.raises(AssertionError, match="no dictionary"):
        emulator.check()
    with pytest.raises(AssertionError, match="failed inside"):
        emulator.wait_for("response.create", timeout=0.01)


def test_an_answer_callable_that_never_returns_does_not_hold_up_close(service: Service) -> None:
    asked, stop = threading.Event(), threading.Event()

    def answer(heard: Any) -> None:
        asked.set()
        stop.wait(SOON)

    emulator = service(answer)
    made = service.talk(emulator, **MANUAL)
    made.ask()
    made.send("response.create")
    assert asked.wait(SOON)
    emulator.close(timeout=0.2)
    stop.set()
    emulator.close()


# Where misbehaviour is put in


class Bad(Hooks):
    """Does what a test tells it to."""

    def __init__(self, **ways: Any) -> None:
        self._ways = ways

    def accepted(self, connection: Any) -> None:
        if "accepted" in self._ways:
            self._ways["accepted"](connection)

    def replying(self, connection: Any, handshake: Handshake, reply: Reply) -> Reply | None:
        return self._ways["replying"](reply) if "replying" in self._ways else reply

    def receiving(self, connection: Any, message: str | bytes) -> str | bytes | None:
        return self._ways["receiving"](message) if "receiving" in self._ways else message

    def sending(self, connection: Any, event: dict[str, Any]) -> Iterable[Any]:
        return self._ways["sending"](connection, event) if "sending" in self._ways else (event,)

    def framing(self, connection: Any, frame: Any) -> bool:
        return self._ways["framing"](frame) if "framing" in self._ways else True

    def writing(self, connection: Any, data: bytes) -> bytes:
        return self._ways["writing"](data) if "writing" in self._ways else data


def bad(service: Service, **ways: Any) -> Emulator:
    service.strict = False
    return service(hooks=lambda number: Bad(**ways))


def test_hook_replying(service: Service) -> None:
    emulator = bad(service, replying=lambda reply: Reply(503, "{}", {"X-Request-Id": "r"}))
    connection = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=SOON)
    connection.request("GET", f"/api-ws/v1/realtime?model={MODEL}", headers=KEY)
    response = connection.getresponse()
    assert (response.status, response.read(), response.headers["X-Request-Id"]) == (503, b"{}", "r")
    connection.close()


def test_hook_replying_may_stall(service: Service) -> None:
    emulator = bad(service, replying=lambda reply: None)
    with (
        pytest.raises(TimeoutError),
        connect(f"{emulator.url}?model={MODEL}", additional_headers=KEY, open_timeout=0.05),
    ):
        pass
    assert emulator.connections[0].status == 0


def test_hook_sending_may_replace_lose_and_end(service: Service) -> None:
    def sending(connection: Any, event: dict[str, Any]) -> Iterable[Any]:
        if event["type"] == "session.created":
            return [{"type": "first"}, Raw(b"\x81\x02hi"), {"type": "last"}, Ending(1011, "so")]
        return []

    emulator = bad(service, sending=sending)
    talk = service.talk(emulator, opened=False)
    assert talk.next() == {"type": "first"}
    assert talk.socket.recv(SOON) == "hi"
    assert talk.next() == {"type": "last"}
    with pytest.raises(ConnectionClosed, match="so"):
        talk.next()


def test_hook_framing_may_swallow_pongs_and_the_answer_to_a_close(service: Service) -> None:
    emulator = bad(service, framing=lambda frame: frame.opcode not in (8, 10))
    with plain_client(emulator) as sock:
        rest(sock, until=b"}}")
        send_frame(sock, 9)
        send_frame(sock, 8)
        sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            sock.recv(1)
    ended = emulator.wait_closed()
    assert (ended.closed_by, ended.close_code) == ("client", None)


def test_hook_receiving_may_lose_messages(service: Service) -> None:
    lost = bad(service, receiving=lambda message: None if "clear" in message else message)
    talk = service.talk(lost)
    talk.send("input_audio_buffer.clear")
    talk.update()
    assert [record.type for record in lost.received] == ["session.update"]


def test_hook_writing_and_drip(service: Service) -> None:
    def accepted(connection: Any) -> None:
        connection.drip(7, 0.0001)

    written: list[bytes] = []
    emulator = bad(service, accepted=accepted, writing=lambda data: written.append(data) or data)  # type: ignore[func-returns-value]
    talk = service.talk(emulator)
    assert talk.update()["voice"] == "Tina"
    assert b"".join(written).startswith(b"HTTP/1.1 101 ")


def test_hook_actions_reset_and_half_close(service: Service, plain: Plain) -> None:
    def sending(connection: Any, event: dict[str, Any]) -> Iterable[Any]:
        if event["type"] == "session.updated":
            connection.reset() if connection.number == 1 else connection.half_close()
        return (event,)

    emulator = bad(service, sending=sending)
    first, second = plain(emulator), plain(emulator)
    send_event(first, type="session.update", session={})
    with pytest.raises(ConnectionResetError):
        rest(first)
    send_event(second, type="session.update", session={})
    assert b'"session.updated"' in rest(second)
    send_event(second, type="input_audio_buffer.clear")
    emulator.wait_for("input_audio_buffer.clear")


def test_hook_action_pause_reading(service: Service) -> None:
    emulator = bad(service, accepted=lambda connection: connection.pause_reading())
    with socket.create_connection(("127.0.0.1", emulator.port), timeout=0.05) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(TimeoutError):
            sock.recv(1)


def test_hooks_that_fail_to_be_made_fail_the_test(service: Service) -> None:
    service.failing = True
    emulator = service(hooks=lambda number: 1 / 0)
    with pytest.raises((AssertionError, OSError)), plain_client(emulator):
        pass
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        emulator.check()


def test_a_real_pace_is_cut_at_once(service: Service) -> None:
    emulator = service([Answer("Slow.", audio=read("weather_en")[0], rate=16000)], pace=1000.0, cancel_sends_done=True)
    made = service.talk(emulator, **MANUAL)
    made.ask()
    made.send("response.create")
    made.until("response.audio.delta")
    made.send("response.cancel")
    assert made.get("response.done")["response"]["status"] == "cancelled"
