"""The faults themselves, seen by clients that are not ours; and how a script is written."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from dashscope_rt.testing import Answer, Emulator, Fault
from dashscope_rt.testing._error_rows import ERRORS, FREE_TIER
from dashscope_rt.testing._fault_actions import ACTIONS
from dashscope_rt.testing.faults import listing
from tests.emulator.talk import MANUAL, SOON, HandMade, Talk, frame_of, talk_to

ROOT = Path(__file__).parents[2]


@contextmanager
def emulator(*faults: str, **options: object) -> Iterator[Emulator]:
    options.setdefault("answer", [Answer(text="Sunny.", audio=bytes(14_400))] * 4)
    with Emulator(faults=list(faults), **options) as made:  # type: ignore[arg-type]
        yield made
        made.check()


@contextmanager
def talking(made: Emulator, **session: object) -> Iterator[Talk]:
    talk = talk_to(made, **session)  # type: ignore[arg-type]
    try:
        yield talk
    finally:
        talk.close()


def read_frame(hand: HandMade) -> tuple[int, bool, bytes]:
    first, second = hand._read(2)
    size = second & 0x7F
    if size == 126:
        size = int.from_bytes(hand._read(2), "big")
    elif size == 127:
        size = int.from_bytes(hand._read(8), "big")
    return first & 0x0F, bool(first & 0x80), hand._read(size)


# ---- the grammar --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("reset", "reset@session.created"),
        ("reset@response.audio.delta:3", "reset@response.audio.delta:3"),
        ("reset@input_audio_buffer.commit#1", "reset@input_audio_buffer.commit#1"),
        ("close=1011,going down, sorry@200ms#2-", "close=1011,going down, sorry@200ms#2-"),
        ("refuse=503,nested#2-4", "refuse=503,nested@connect#2-4"),
        ("refuse=403,flat,AllocationQuota.FreeTierOnly", "refuse=403,flat,AllocationQuota.FreeTierOnly@connect"),
        ("duplicate@sent:*", "duplicate@sent:*"),
        ("silence@received:2#1,3-", "silence@received:2#1,3-"),
        ("error=quota,open", "error=quota,open@session.created"),
        ('bad-json={"mail": "a@b"}@response.done', 'bad-json={"mail": "a@b"}@response.done'),
    ],
)
def test_a_fault_reads_and_writes_itself(text: str, whole: str) -> None:
    fault = Fault.parse(text)
    assert str(fault) == whole
    assert Fault.parse(whole) == fault


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("resett", "did you mean reset?"),
        ("", "name=arguments@trigger#connections"),
        ("reset now", "name=arguments@trigger#connections"),
        ("reset@soon", "'soon' is no event type"),
        ("reset@response.done:0", "must be connect, a time"),
        ("reset#0", "#1, #2-, #2-4 or #1,3"),
        ("reset#3-1", "end before they begin"),
        ("reset=hard", "takes no arguments"),
        ("close", "close code must be a whole number from 0 to 65535"),
        ("close=none,why", "has no reason either"),
        ("close=1000@connect", "cannot strike at connect"),
        ("refuse=200", "from 400 to 599"),
        ("refuse=401,html", "one of flat, nested, empty, none"),
        ("stall=quarter", "half or nothing"),
        ("drip=0", "from 1 to 1000000"),
        ("raw=8", "bytes in hex"),
        ("error=quot", "did you mean quota?"),
        ("error=quota,later", "id and open"),
        ("idle=soon", "in ms"),
    ],
)
def test_a_bad_script_gets_one_clear_sentence(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=".") as caught:
        Emulator(faults=text or [""])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert repr(text) in str(caught.value)


def test_hooks_and_faults_together_are_refused() -> None:
    with pytest.raises(ValueError, match="not both"):
        Emulator(hooks=lambda number: None, faults="reset")  # type: ignore[arg-type,return-value]


def test_the_list_has_every_fault_and_every_error_in_one_line_each() -> None:
    lines = listing().splitlines()
    for name in ACTIONS:
        assert len([line for line in lines if line.split("=")[0].split("[")[0].split()[:1] == [name]]) >= 1, name
    for name in ERRORS:
        assert len([line for line in lines if line.startswith(f"error={name} ")]) == 1


def test_the_free_tier_reason_is_as_long_as_the_services() -> None:
    assert len(FREE_TIER.encode()) == 130


# ---- the command line ---------------------------------------------------------------------------------------------


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dashscope_rt", "emulator", *arguments],
        capture_output=True, text=True, timeout=30, check=False, cwd=ROOT,
    )  # fmt: skip


def test_the_command_lists_the_faults_and_explains_a_bad_one() -> None:
    listed = command("--fault", "list")
    assert listed.returncode == 0
    assert listed.stdout == listing()
    bad = command("--fault", "reset@response.done", "--fault", "resett")
    assert bad.returncode == 2
    assert "there is no fault 'resett'; did you mean reset?" in bad.stderr
    assert bad.stdout == ""


def test_the_command_runs_with_faults() -> None:
    arguments = ["--fault", "refuse=503,flat#1", "--fault", "refuse=429,empty#2", "--pace", "0"]
    with subprocess.Popen(
        [sys.executable, "-m", "dashscope_rt", "emulator", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT, env={**os.environ},
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            statuses = []
            for _ in range(2):
                with pytest.raises(InvalidStatus) as caught:
                    Talk(f"{url}?model=m", additional_headers={"Authorization": "Bearer k"})
                statuses.append(caught.value.response.status_code)
            assert statuses == [503, 429]
        finally:
            process.terminate()


# ---- what each does on the wire -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
@pytest.mark.parametrize(
    ("body", "header"),
    [
        ("flat", "X-Request-Id"),
        ("nested", "X-DashScope-Request-Id"),
        ("empty", "X-Acs-Request-Id"),
        ("none", "X-Acs-Request-Id"),
    ],
)
def test_a_refusal_has_its_status_its_body_and_a_request_id(status: int, body: str, header: str) -> None:
    with emulator(f"refuse={status},{body}") as made:
        with pytest.raises(InvalidStatus) as caught:
            talk_to(made)
        response = caught.value.response
        assert response.status_code == status
        assert response.headers[header]
        text = (response.body or b"").decode()
        if body == "none":
            assert text == ""
        else:
            told = json.loads(text)
            shape = {"flat": {"code", "message", "request_id"}, "nested": {"error", "request_id"}, "empty": set()}
            assert set(told) == shape[body]
        assert made.connections[0].status == status


def test_a_fault_strikes_only_its_connections() -> None:
    with emulator("refuse=500#1", "free-tier#2") as made:
        with pytest.raises(InvalidStatus):
            talk_to(made)
        with talking(made) as talk, pytest.raises(ConnectionClosed):
            talk.next()
        with talking(made, **MANUAL) as talk:
            talk.ask()
            assert talk.turn()[-1]["response"]["status"] == "completed"


def test_the_long_reason_is_a_frame_beyond_the_rfc() -> None:
    with emulator("free-tier") as made, HandMade(made.url) as hand:
        assert json.loads(read_frame(hand)[2])["type"] == "session.created"
        assert hand._read(4) == b"\x88\x7e" + (132).to_bytes(2, "big")
        assert hand._read(132) == (1007).to_bytes(2, "big") + FREE_TIER.encode()


@pytest.mark.parametrize("code", [0, 999, 1000, 1011, 4999, 65535])
def test_any_close_code_goes_out(code: int) -> None:
    with emulator(f"close={code},why") as made, HandMade(made.url) as hand:
        read_frame(hand)
        assert read_frame(hand) == (8, True, code.to_bytes(2, "big") + b"why")


def test_a_reset_is_a_reset_and_a_half_close_is_half_a_close() -> None:
    with emulator("reset@input_audio_buffer.clear#1", "half-close#2") as made:
        with HandMade(made.url) as hand:
            read_frame(hand)
            hand.send('{"type":"input_audio_buffer.clear"}')
            with pytest.raises(ConnectionResetError):
                hand._read(1)
        with HandMade(made.url) as hand:
            read_frame(hand)
            assert hand.sock.recv(1) == b""
            hand.send('{"type":"input_audio_buffer.clear"}')
            assert made.wait_for("input_audio_buffer.clear", connection=2)  # it still reads


def test_a_stalled_handshake_says_nothing_or_half_of_it() -> None:
    with emulator("stall#1", "stall=half#2") as made:
        for count, expected in enumerate((b"", b"HTTP/1.1 101"), 1):
            with socket.create_connection(("127.0.0.1", made.port), timeout=SOON) as sock:
                sock.sendall(
                    b"GET /api-ws/v1/realtime?model=m HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer k\r\n\r\n"
                )
                made.records.wait(lambda count=count: len(made.connections) == count or None, SOON)
                if expected:
                    answer = sock.recv(4096)
                    assert answer.startswith(expected)
                    assert b"\r\n\r\n" not in answer
                sock.settimeout(0.1)
                with pytest.raises(TimeoutError):
                    sock.recv(1)


def test_a_reset_at_connect_comes_before_any_answer() -> None:
    with emulator("reset@connect") as made, pytest.raises((OSError, EOFError, InvalidMessage, ConnectionClosed)):
        talk_to(made)


def test_fragments_are_fragments_with_a_ping_between() -> None:
    with emulator("fragment=50") as made, HandMade(made.url) as hand:
        frames = [read_frame(hand) for _ in range(3)]
        assert [(opcode, fin) for opcode, fin, _ in frames] == [(1, False), (9, True), (0, False)]
        while not frames[-1][1] or frames[-1][0] != 0:
            frames.append(read_frame(hand))
        joined = b"".join(data for opcode, _, data in frames if opcode in (0, 1))
        assert json.loads(joined)["type"] == "session.created"


@pytest.mark.parametrize("fault", ["drip", "split=3,1"])
def test_bytes_that_come_slowly_are_still_all_there(fault: str) -> None:
    with emulator(fault) as made, talking(made) as talk:
        assert talk.events[0]["type"] == "session.created"


def test_a_drip_is_one_byte_at_a_time() -> None:
    with emulator("drip=1,20") as made, socket.create_connection(("127.0.0.1", made.port), timeout=SOON) as sock:
        sock.sendall(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
        start = time.monotonic()
        got = [sock.recv(4096) for _ in range(5)]
        assert sum(map(len, got)) < 10
        assert time.monotonic() - start > 0.05


def test_silence_sends_neither_events_nor_pongs_nor_a_close_frame() -> None:
    with emulator("silence") as made, HandMade(made.url) as hand:
        read_frame(hand)
        hand.sock.sendall(frame_of(9, b"there?"))
        hand.send('{"type":"input_audio_buffer.clear"}')
        assert made.wait_for("input_audio_buffer.clear")
        hand.sock.sendall(frame_of(8))
        hand.sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            hand.sock.recv(1)


def test_a_close_frame_that_is_never_answered() -> None:
    with emulator("no-close-answer") as made, HandMade(made.url) as hand:
        read_frame(hand)
        hand.sock.sendall(frame_of(9, b"there?"))
        assert read_frame(hand) == (10, True, b"there?")
        hand.sock.sendall(frame_of(8))
        hand.sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            hand.sock.recv(1)


def test_what_is_not_read_fills_the_line() -> None:
    with emulator("stop-reading") as made, HandMade(made.url) as hand:
        read_frame(hand)
        hand.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            for _ in range(2000):
                hand.sock.sendall(bytes(65536))


@pytest.mark.parametrize(
    ("fault", "frame"),
    [
        ("bad-utf8", (1, True, b'{"type":"response.text.delta","delta":"\xff\xfe\xc3"}')),
        ("bad-json=nothing", (1, True, b"nothing")),
        ("binary", (2, True, b"\x00\x01\x02\x03")),
        ("raw=8a0178", (10, True, b"x")),
    ],
)
def test_a_message_is_put_in_before_the_event(fault: str, frame: tuple[int, bool, bytes]) -> None:
    with emulator(fault) as made, HandMade(made.url) as hand:
        assert read_frame(hand) == frame
        assert json.loads(read_frame(hand)[2])["type"] == "session.created"


def test_a_frame_that_announces_two_to_the_forty() -> None:
    with emulator("huge") as made, HandMade(made.url) as hand:
        assert hand._read(10) == b"\x81\x7f" + (1 << 40).to_bytes(8, "big")


def types(talk: Talk) -> list[str]:
    return [event["type"] for event in talk.events]


def test_events_come_twice_in_another_order_or_not_at_all() -> None:
    with (
        emulator(
            "duplicate@response.created",
            "reorder@response.audio.done",
            "lose@response.content_part.added",
            "unknown-event@response.done",
            "unknown-ids@response.output_item.added",
        ) as made,
        talking(made, **MANUAL) as talk,
    ):
        talk.ask()
        talk.events.clear()
        talk.turn()  # up to the end of the response that never was
        talk.until("response.done")
        came = types(talk)
        assert came.count("response.created") == 2
        twice = [event for event in talk.events if event["type"] == "response.created"]
        assert twice[0] == twice[1]
        assert "response.content_part.added" not in came
        assert came[-2:] == ["response.hologram.delta", "response.done"]
        assert "resp_nobody" in json.dumps(talk.events)
        plain = [event["type"] for event in talk.events if "nobody" not in json.dumps(event)]
        assert (
            plain.index("response.audio.done") == plain.index("response.audio_transcript.done") + 1
            or plain.index("response.audio.done") == plain.index("response.content_part.done") + 1
        )


def test_the_last_event_of_all_is_not_held_for_ever() -> None:
    with emulator("reorder@session.created") as made, HandMade(made.url) as hand:
        assert json.loads(read_frame(hand)[2])["type"] == "session.created"


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_of_the_catalogue_is_said_word_by_word(name: str) -> None:
    row = ERRORS[name]
    with emulator(f"error={name}") as made, talking(made) as talk:
        if row.message is not None:
            error = talk.next()["error"]
            shown = {"type": row.type, "code": row.code, "message": row.message, "param": row.param}
            assert error == {key: value for key, value in shown.items() if value is not None}
        if row.close is not None:
            with pytest.raises(ConnectionClosed):
                talk.next()
            closed = made.wait_closed(connection=1)
            assert (closed.close_code, closed.close_reason, closed.closed_by) == (*row.close, "server")


def test_an_error_takes_the_place_of_the_answer_and_may_name_the_event() -> None:
    with emulator("error=empty-commit,id@input_audio_buffer.commit:2") as made, talking(made, **MANUAL) as talk:
        talk.ask()
        talk.get("conversation.item.created")
        talk.say()
        event_id = talk.send("input_audio_buffer.commit")
        assert talk.get("error")["error"]["event_id"] == event_id
        talk.send("input_audio_buffer.clear")
        assert talk.next()["type"] == "input_audio_buffer.cleared"  # and not committed


def test_a_fault_by_the_clock() -> None:
    with emulator("close=1012,now@100ms") as made, talking(made) as talk:
        start = time.monotonic()
        with pytest.raises(ConnectionClosed):
            talk.next()
        assert time.monotonic() - start < SOON
        assert made.wait_closed(connection=1).close_code == 1012


def test_idle_timeout_and_session_limit_are_compressed() -> None:
    with emulator("idle=100#1", "limit=100#2") as made:
        with talking(made) as talk:
            assert talk.next()["error"]["code"] == "response_idle_timeout"
        with talking(made) as talk, pytest.raises(ConnectionClosed):
            talk.next()
        assert made.wait_closed(connection=1).close_code == 1011
        assert made.wait_closed(connection=2).close_code == 1000


def test_no_response_done_after_a_cancel() -> None:
    answer = [Answer(text="Sunny.", audio=bytes(48_000), hold_after_ms=100), Answer(text="Rainy.")]
    with (
        emulator("no-done-after-cancel", answer=answer, cancel_sends_done=True) as made,
        talking(made, **MANUAL) as talk,
    ):
        talk.ask()
        talk.send("response.create")
        talk.get("response.audio.delta")
        talk.send("response.cancel")
        talk.ask()
        talk.until("conversation.item.created")
        talk.turn()
        done = [event["response"]["status"] for event in talk.events if event["type"] == "response.done"]
        assert done == ["completed"]
