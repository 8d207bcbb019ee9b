"""Nothing a peer may put into a message ends the session, except text that is no text; nothing is lost when callbacks
are slow."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

import pytest

from dashscope_rt import AnyEvent, APIError, Keepalive, Limits, events
from tests.client.wire import (
    MODEL,
    Heard,
    audio_delta,
    client_for,
    created,
    dialled,
    manual,
    response_created,
    response_done,
    text_delta,
    written,
)
from tests.peer import SOON, Line, Peer, server_frame

ODD: dict[str, bytes] = {
    "bad JSON": b"{",
    "no JSON": b"hello",
    "empty": b"",
    "array": b'[{"type": "response.done"}]',
    "number": b"7",
    "null": b"null",
    "string": b'"response.done"',
    "no type": b'{"event_id": "event_1"}',
    "type null": b'{"type": null}',
    "type number": b'{"type": 7}',
    "type empty": b'{"type": ""}',
    "unknown type": b'{"type": "response.something_new", "x": {"y": [1, 2]}}',
    "choices": b'{"choices": [{"finish_reason": "null", "message": {"content": [{"text": "hi"}, {"audio": {"data": "AAA="}}]}}]}',
    "choices of another shape": b'{"choices": 7}',
    "deep": b'{"type": "x", "y": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "huge number": b'{"type": "x", "y": ' + b"9" * 5000 + b"}",
    "NaN": b'{"type": "x", "y": NaN}',
    "lone surrogate": b'{"type": "response.text.delta", "response_id": "resp_1", "delta": "\\ud83d"}',
    "NUL": b'{"type": "response.text.delta", "response_id": "resp_1", "delta": "\\u0000"}',
    "duplicate keys": b'{"type": "x", "type": "y"}',
    "BOM": b"\xef\xbb\xbf" + b'{"type": "x"}',
    "spaces": b'  {"type": "x"}\n',
}


@pytest.mark.parametrize("payload", ODD.values(), ids=ODD.keys())
def test_an_odd_message_ends_nothing_and_reaches_any_event(payload: bytes) -> None:
    heard, done = Heard(), Heard()
    with dialled(on_done=done) as at:
        at.settle()
        at.session.on(AnyEvent)(heard)
        at.line.send(response_created())
        at.line.send_frame(1, payload)
        for event in written()[4:]:
            at.line.send(event)
        assert done.get().id == "resp_1"
        assert at.session.is_open
        assert len(heard.all) >= 2
        assert at.session.stats.callback_errors == 0


def test_a_binary_message_ends_nothing() -> None:
    heard = Heard()
    with dialled() as at:
        at.session.on(events.MalformedEvent)(heard)
        at.line.send_frame(2, b'{"type": "response.done"}')
        event = heard.get()
        assert "binary" in event.problem
        assert at.session.is_open
        assert at.session.stats.unreadable == 1


@pytest.mark.parametrize(
    ("payload", "kind", "wire_type"),
    [
        (b"{", events.MalformedEvent, ""),
        (b"[1]", events.MalformedEvent, ""),
        (b'{"event_id": "e"}', events.MalformedEvent, ""),
        (b'{"type": "response.done", "response": 7}', events.MalformedEvent, "response.done"),
        (b'{"type": "brand.new"}', events.UnknownEvent, "brand.new"),
        (ODD["choices"], events.ChoicesEvent, "choices"),
    ],
    ids=["bad JSON", "array", "no type", "wrong fields", "unknown", "choices"],
)
def test_each_oddity_has_its_class(payload: bytes, kind: type, wire_type: str) -> None:
    heard = Heard()
    with dialled() as at:
        at.session.on(kind)(heard)
        at.line.send_frame(1, payload)
        event = heard.get()
        assert type(event) is kind
        assert event.type == wire_type


def test_the_frame_of_choices_gives_text_and_audio() -> None:
    heard = Heard()
    with dialled() as at:
        at.session.on(events.ChoicesEvent)(heard)
        at.line.send_frame(1, ODD["choices"])
        event = heard.get()
        assert (event.text, event.audio, event.finish_reason) == ("hi", b"\0\0", None)


KNOWN = [kind for kind in events.SERVER_EVENTS.values() if kind is not events.ChoicesEvent]
WRONG: list[Any] = [7, "text", None, [], {}, [7], {"id": 7}, True, {"response": None}]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_known_types_with_fields_of_the_wrong_kind_end_nothing(wrong: Any) -> None:
    """Every known type, every field of it wrong, one after the other."""
    names = ("response", "item", "session", "error", "part", "delta", "text", "transcript", "item_id", "response_id")
    with dialled() as at:
        for kind in KNOWN:
            for name in names:
                at.line.send({"type": kind.type, name: wrong})
            at.line.send({"type": kind.type, **dict.fromkeys(names, wrong)})
        at.line.send({"type": "input_audio_buffer.speech_stopped"})  # whatever the above claimed
        at.settle()
        assert at.session.is_open
        assert at.session.stats.callback_errors == 0


def test_audio_that_is_no_base64_does_not_end_the_session() -> None:
    """The event comes; its ``audio`` raises where it is asked for; the response is over as usual."""
    heard, done = Heard(), Heard()
    with manual(on_audio_delta=heard, on_done=done) as at:
        bad = {**audio_delta(), "delta": "not base64!"}
        for event in (response_created(), bad, text_delta("hi"), response_done("resp_1")):
            at.line.send(event)
        event = heard.get()
        with pytest.raises(ValueError, match=r"audio|Base64|base64"):
            _ = event.audio
        assert done.get().text == "hi"
        assert at.session.is_open


@pytest.mark.parametrize("text", ["not base64!", "QUJDQR==", "A", "tab\\there"])
def test_audio_that_is_no_base64_among_others_in_one_packet_is_the_only_one_that_fails(text: str) -> None:
    heard = Heard()
    good = {**audio_delta(), "delta": "QUJD"}
    with manual() as at:
        at.session.on("response.audio.delta")(heard)
        at.line.send_at_once(response_created(), good, good, {**good, "delta": text}, good)
        at.settle()
        assert [event.delta for event in heard.all] == ["QUJD", "QUJD", text, "QUJD"]
        assert [heard.all[place].audio for place in (0, 1, 3)] == [b"ABC"] * 3
        assert at.session.stats.unreadable == 0


def test_damaged_audio_among_others_in_one_packet_is_counted_and_the_rest_is_heard() -> None:
    heard, malformed = Heard(), Heard()
    good = json.dumps({**audio_delta(), "delta": "QUJD"}).encode()
    with manual() as at:
        at.session.on("response.audio.delta")(heard)
        at.session.on(events.MalformedEvent)(malformed)
        messages = [good, good, good.replace(b"QUJD", b"QU\nD"), good]
        at.line.sock.sendall(b"".join(server_frame(1, message) for message in messages))
        at.settle()
        assert [event.audio for event in heard.all] == [b"ABC"] * 3
        assert len(malformed.all) == 1
        assert at.session.stats.unreadable == 1


def test_audio_before_text_that_is_not_utf_8_is_heard_even_in_the_same_packet() -> None:
    heard, closed = Heard(), Heard()
    good = json.dumps({**audio_delta(), "delta": "QUJD"}).encode()
    with manual(on_close=closed) as at:
        at.session.on("response.audio.delta")(heard)
        messages = [good, good, good.replace(b"QUJD", b"\xff\xff\xff\xff"), good]
        at.line.sock.sendall(b"".join(server_frame(1, message) for message in messages))
        assert closed.get().code == 1007
        assert [event.audio for event in heard.all] == [b"ABC"] * 2


def test_what_could_not_be_read_is_logged_without_its_content(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "dashscope_rt")
    with dialled() as at:
        at.line.send_frame(1, b'{"type": "response.done", "response": "geheim"')
        at.settle()
    assert "geheim" not in caplog.text
    assert "could not be read" in caplog.text


def test_a_message_in_fragments_with_a_ping_in_between_is_one_event() -> None:
    heard = Heard()
    with dialled() as at:
        at.session.on("x")(heard)
        whole = json.dumps({"type": "x", "text": "ünïcödé " * 50}).encode()
        at.line.send_frame(1, whole[:101], fin=False)
        at.line.send_frame(9, b"p")
        at.line.send_frame(0, whole[101:203], fin=False)
        at.line.send_frame(0, whole[203:])
        assert heard.get().raw["text"] == "ünïcödé " * 50
        assert at.line.read_frame() == (10, b"p")


def test_two_sessions_worth_of_events_in_one_packet_are_taken_apart() -> None:
    heard = Heard()
    with dialled() as at:
        at.session.on("x")(heard)
        at.line.send_at_once(*({"type": "x", "number": number} for number in range(1000)))
        at.settle()
    assert [event.raw["number"] for event in heard.all] == list(range(1000))


def test_events_that_came_along_with_the_upgrade_are_not_lost() -> None:
    heard = Heard()

    def script(line: Line) -> None:
        line.accept(then=b"".join(server_frame(1, json.dumps(event).encode()) for event in (created(), {"type": "x"})))
        line.drain()

    with Peer(script) as peer:
        session = client_for(peer.url).session(MODEL)
        session.on("x")(heard)
        with session:
            assert heard.get().type == "x"


@pytest.mark.parametrize("odd", [{"session": 7}, {"session": {"id": 7}}, {"session": {"tools": "x"}}, {"session": None}, {}])
def test_a_session_opens_though_its_first_events_cannot_be_read_whole(odd: dict[str, Any]) -> None:
    """What the service accepted is accepted; a field of the wrong kind is no reason to wait for the deadline."""

    def script(line: Line) -> None:
        line.accept()
        line.send({"type": "session.created", **odd})
        line.read_event("session.update")
        line.send({"type": "session.updated", **odd})
        line.drain()

    with Peer(script) as peer, client_for(peer.url).session(MODEL, turn_detection=None) as session:
        assert session.is_open
        assert session.output_rate == 24000
        assert session.uses_vad is False


def test_an_error_that_cannot_be_read_whole_still_refuses_the_configuration() -> None:
    def script(line: Line) -> None:
        line.accept()
        line.send(created())
        line.read_event("session.update")
        line.send({"type": "error", "error": {"message": "Voice 'x' is not supported.", "code": 7, "status": "x"}})
        line.drain()

    with Peer(script) as peer, pytest.raises(APIError, match="not supported"):
        client_for(peer.url).session(MODEL, voice="x").connect()


def test_a_message_of_exactly_the_limit_is_read() -> None:
    heard = Heard()
    with dialled(limits=Limits(max_message_bytes=100_000)) as at:
        at.session.on("x")(heard)
        frame = json.dumps({"type": "x", "padding": ""})
        at.line.send({"type": "x", "padding": "y" * (100_000 - len(frame))})
        assert len(heard.get().raw["padding"]) == 100_000 - len(frame)
        assert at.session.is_open


def test_a_very_large_message_is_read_whole() -> None:
    heard = Heard()
    with dialled() as at:
        at.session.on("x")(heard)
        padding = "".join(chr(0x4E00 + number % 5000) for number in range(1_500_000))
        sending = threading.Thread(target=at.line.send, args=({"type": "x", "padding": padding},), daemon=True)
        sending.start()
        assert heard.get(20).raw["padding"] == padding
        sending.join(SOON)


# ---- the inbox ----------------------------------------------------------------------------------------------------


def test_a_full_inbox_makes_the_peer_wait_and_loses_nothing() -> None:
    stuck, go, heard = threading.Event(), threading.Event(), Heard()
    count, padding = 300, "x" * 50_000

    def slow(event: Any) -> None:
        stuck.set()
        assert go.wait(SOON)
        heard(event.raw["number"])

    with dialled(limits=Limits(inbox_bytes=100_000)) as at:
        at.session.on("numbered")(slow)
        sent: list[int] = []

        def send_all() -> None:
            for number in range(count):
                at.line.send({"type": "numbered", "number": number, "padding": padding})
                sent.append(number)

        sending = threading.Thread(target=send_all, daemon=True)
        at.line.sock.settimeout(60)
        sending.start()
        assert stuck.wait(SOON)
        sending.join(0.3)  # the peer does not get rid of it all: 15 MB, and nobody reads
        assert sending.is_alive()
        assert len(sent) < count
        go.set()
        sending.join(SOON)
        at.settle()
        assert heard.all == list(range(count))
        assert at.session.is_open


def test_sending_goes_on_while_the_inbox_is_full() -> None:
    stuck, go = threading.Event(), threading.Event()

    def slow(_: object) -> None:
        stuck.set()
        go.wait(SOON)

    with manual(limits=Limits(inbox_bytes=1024)) as at:
        at.session.on("big")(slow)
        at.line.send({"type": "big", "padding": "x" * 2000})
        assert stuck.wait(SOON)
        event_id = at.session.commit()
        assert at.line.read_event()["event_id"] == event_id
        go.set()


def test_a_full_inbox_does_not_make_the_peer_look_dead() -> None:
    stuck, go = threading.Event(), threading.Event()

    def slow(_: object) -> None:
        stuck.set()
        go.wait(SOON)

    with manual(limits=Limits(inbox_bytes=1024), keepalive=Keepalive(ping_interval=0.05, ping_timeout=0.25)) as at:
        at.session.on("big")(slow)
        at.line.send({"type": "big", "padding": "x" * 2000})
        assert stuck.wait(SOON)
        for _ in range(10):  # twice the timeout, answers unread
            opcode, payload = at.line.read_frame()
            assert opcode == 9
            at.line.send_frame(10, payload)
        go.set()
        at.settle()
        assert at.session.is_open
