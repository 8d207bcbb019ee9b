"""Going on after a lost connection: what is replayed, what is kept, what is said to be lost, and when not to."""

from __future__ import annotations

import queue
import re
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest

import dashscope_rt as rt
from dashscope_rt._session.recovery import History, Recovery
from dashscope_rt.config import Reconnect

from .peer import SOON, Line, Peer

FAST = Reconnect(first_delay=0.0, max_delay=0.0)
UPDATED = {"type": "session.updated", "session": {"id": "sess_1"}}


def reset(line: Line) -> None:
    """End the connection with a TCP reset, which may swallow what the client has not read yet."""
    line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.sock.close()


def open_configured(line: Line) -> dict[str, Any]:
    line.open()
    update = line.read_event("session.update")
    line.send(UPDATED)
    return update


def one_after_another(*scripts: Callable[[Line], None]) -> Callable[[Line], None]:
    """The first connection gets the first script, and so on; the last serves all later ones."""
    waiting = list(scripts)
    lock = threading.Lock()

    def script(line: Line) -> None:
        with lock:
            mine = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        mine(line)

    return script


class Listener:
    """Collects what the callbacks get."""

    def __init__(self, session: rt.RealtimeSession) -> None:
        self.events: queue.Queue[tuple[str, Any]] = queue.Queue()
        for name in ("on_open", "on_reconnecting", "on_reconnected", "on_close", "on_done"):
            getattr(session, name)(lambda what, name=name: self.events.put((name, what)))

    def next(self, name: str) -> Any:
        while True:
            found, what = self.events.get(timeout=SOON)
            if found == name:
                return what


def session_for(peer: Peer, **options: Any) -> rt.RealtimeSession:
    timeouts = rt.Timeouts(connect=SOON, close=1.0, send=SOON)
    options.setdefault("reconnect", FAST)
    return rt.RealtimeClient("sk-1", url=peer.url, timeouts=timeouts).session(
        turn_detection=None, voice="Tina", **options
    )


def test_the_session_goes_on_with_its_configuration_after_a_reset() -> None:
    updates: list[dict[str, Any]] = []

    def first(line: Line) -> None:
        updates.append(open_configured(line))
        line.read_event("input_audio_buffer.clear")
        reset(line)

    def second(line: Line) -> None:
        updates.append(open_configured(line))
        line.read_event("input_audio_buffer.commit")
        line.send({"type": "input_audio_buffer.committed", "item_id": "i9"})
        line.drain()

    with Peer(one_after_another(first, second)) as peer:
        session = session_for(peer)
        listener = Listener(session)
        with session:
            session.update(instructions="Be brief.")
            session.clear_audio()
            lost = listener.next("on_reconnected")
            assert lost.events == ("session.update", "input_audio_buffer.clear")
            with session.expect("input_audio_buffer.committed") as committed:
                session.commit()
                assert committed.wait(SOON).item_id == "i9"
            assert session.stats.reconnects == 1
    assert updates[0]["session"] == {"voice": "Tina", "turn_detection": None}
    assert updates[1]["session"] == {"voice": "Tina", "turn_detection": None, "instructions": "Be brief."}


def test_without_a_policy_the_session_ends() -> None:
    def script(line: Line) -> None:
        open_configured(line)
        line.read_event("input_audio_buffer.clear")
        reset(line)

    with Peer(script) as peer:
        session = session_for(peer, reconnect=False)
        with session:
            session.clear_audio()
            assert session.wait_closed(SOON).who == "network"
    assert len(peer.lines) == 1


def test_the_conversation_is_given_back_as_text_and_the_rest_is_named() -> None:
    given: list[str] = []

    def first(line: Line) -> None:
        open_configured(line)
        line.send(
            {
                "type": "conversation.item.created",
                "item": {"id": "i1", "type": "message", "role": "user", "content": [{"type": "input_audio"}]},
            }
        )
        line.send({"type": "response.created", "response": {"id": "r1"}})
        line.send(
            {"type": "response.text.delta", "response_id": "r1", "item_id": "i2", "content_index": 0, "delta": "Sunny."}
        )
        line.send({"type": "response.done", "response": {"id": "r1", "status": "completed"}})
        line.send(
            {
                "type": "conversation.item.input_audio_transcription.completed",
                "item_id": "i1",
                "transcript": "The weather?",
            }
        )
        line.send(
            {
                "type": "conversation.item.created",
                "item": {"id": "i3", "type": "message", "role": "user", "content": [{"type": "input_audio"}]},
            }
        )
        line.read_event("input_audio_buffer.clear")
        reset(line)

    def second(line: Line) -> None:
        open_configured(line)
        item = line.read_event("conversation.item.create")["item"]
        given.append(item["content"][0]["text"])
        line.send({"type": "conversation.item.created", "item": {"id": "i9", **item}})
        line.drain()

    with Peer(one_after_another(first, second)) as peer:
        session = session_for(peer)
        listener = Listener(session)
        with session:
            listener.next("on_done")
            session.clear_audio()
            lost = listener.next("on_reconnected")
    assert "User: The weather?\nAssistant: Sunny." in given[0]
    assert lost.restored_chars == len(given[0])
    assert lost.not_restored == ("1 x speech without a transcript",)


def test_a_model_without_text_items_is_not_given_the_conversation() -> None:
    def first(line: Line) -> None:
        open_configured(line)
        line.send({"type": "response.created", "response": {"id": "r1"}})
        line.send({"type": "response.text.delta", "response_id": "r1", "delta": "Hello."})
        line.send({"type": "response.done", "response": {"id": "r1", "status": "completed"}})
        line.read_event("input_audio_buffer.clear")
        reset(line)

    with Peer(one_after_another(first, lambda line: (open_configured(line), line.drain()))) as peer:
        client = rt.RealtimeClient("sk-1", url=peer.url)
        session = client.session("qwen3-omni-flash-realtime", turn_detection=None, reconnect=FAST)
        listener = Listener(session)
        with session:
            listener.next("on_done")
            session.clear_audio()
            lost = listener.next("on_reconnected")
    assert lost.restored_chars == 0
    assert lost.not_restored == ("1 x message",)


def test_a_turn_under_way_fails_with_what_came_and_its_response_is_reported_cut_off() -> None:
    def first(line: Line) -> None:
        open_configured(line)
        line.read_event("response.create")
        line.send({"type": "response.created", "response": {"id": "r1"}})
        line.send({"type": "response.audio_transcript.delta", "response_id": "r1", "delta": "It is "})
        line.read_event("input_audio_buffer.clear")
        reset(line)

    def second(line: Line) -> None:
        open_configured(line)
        line.read_event("response.create")
        line.send({"type": "response.created", "response": {"id": "r2"}})
        line.send({"type": "response.audio_transcript.delta", "response_id": "r2", "delta": "Again."})
        line.send({"type": "response.done", "response": {"id": "r2", "status": "completed"}})
        line.drain()

    with Peer(one_after_another(first, second)) as peer:
        session = session_for(peer)
        listener = Listener(session)
        with session:
            turn = session.ask(timeout=SOON, stream=True)
            with pytest.raises(rt.ConnectionClosed) as caught:
                for piece in turn:
                    assert piece.text == "It is "
                    session.clear_audio()
            assert caught.value.turn.text == "It is "  # type: ignore[attr-defined]
            assert caught.value.retryable
            response = listener.next("on_done")
            assert (response.status, response.text) == ("cancelled", "It is ")
            assert [r.id for r in listener.next("on_reconnected").responses] == ["r1"]
            assert session.ask(timeout=SOON).text == "Again."


def test_unsent_audio_is_kept_within_its_bound_and_what_was_heard_is_not_sent_again() -> None:
    cut, go = threading.Event(), threading.Event()
    heard: list[int] = []

    def first(line: Line) -> None:
        open_configured(line)
        heard.append(len(line.read_event("input_audio_buffer.append")["audio"]))
        reset(line)
        cut.set()

    def second(line: Line) -> None:
        assert go.wait(SOON)
        open_configured(line)
        for _ in range(5):
            heard.append(len(line.read_event("input_audio_buffer.append")["audio"]))
        line.drain()

    with Peer(one_after_another(first, second)) as peer:
        policy = Reconnect(first_delay=0.0, max_delay=0.0, audio_buffer_ms=500)
        session = session_for(peer, reconnect=policy)
        listener = Listener(session)
        with session:
            session.append_audio(bytes(3200))
            assert cut.wait(SOON)
            assert re.fullmatch(r"try 1 in 0\.0 s: the connection broke: .*", str(listener.next("on_reconnecting")))
            assert session.state == "reconnecting"
            for _ in range(8):  # 800 ms, of which 500 are kept
                session.append_audio(bytes(3200))
            go.set()
            lost = listener.next("on_reconnected")
            assert session.state == "open"
            assert re.match(r"\d+\.\d s without a connection; lost: 100 ms of audio nobody has answered, ", str(lost))
            assert lost.audio_ms == 100
            assert lost.dropped_audio_ms == 300
            assert session.stats.audio_dropped_ms == 300
            session.close()
    assert len(heard) == 6


def test_no_new_try_after_a_refused_key() -> None:
    def first(line: Line) -> None:
        open_configured(line)
        line.read_event("input_audio_buffer.clear")  # and then the end of the stream

    with Peer(one_after_another(first, lambda line: line.refuse(401, b"{}"))) as peer:
        session = session_for(peer)
        listener = Listener(session)
        with session:
            session.clear_audio()
            info = listener.next("on_close")
    assert isinstance(info.error, rt.AuthenticationError)
    assert len(peer.lines) == 2


def test_no_new_try_after_a_used_up_quota() -> None:
    def script(line: Line) -> None:
        open_configured(line)
        line.read_event("input_audio_buffer.clear")  # by then connect() has returned
        line.send_frame(8, struct.pack("!H", 1007) + b"Allocated quota exceeded, please increase your quota limit.")

    with Peer(script) as peer:
        session = session_for(peer)
        with session:
            session.clear_audio()
            assert isinstance(session.wait_closed(SOON).error, rt.QuotaExceededError)
    assert len(peer.lines) == 1


def test_the_first_connect_fails_at_once_even_with_a_policy() -> None:
    with Peer(lambda line: line.refuse(503, b"{}")) as peer, pytest.raises(rt.ServiceBusyError):
        session_for(peer).connect()
    assert len(peer.lines) == 1


def test_the_budget_ends() -> None:
    def first(line: Line) -> None:
        open_configured(line)
        line.read_event("input_audio_buffer.clear")  # and then the end of the stream

    with Peer(one_after_another(first, lambda line: line.refuse(503, b"{}"))) as peer:
        session = session_for(peer, reconnect=Reconnect(attempts=3, first_delay=0.0))
        listener = Listener(session)
        with session:
            session.clear_audio()
            assert [listener.next("on_reconnecting").attempt for _ in range(3)] == [1, 2, 3]
            assert isinstance(listener.next("on_close").error, rt.ServiceBusyError)
    assert len(peer.lines) == 4


def test_the_budget_is_whole_again_after_a_good_event() -> None:
    def good(line: Line) -> None:
        open_configured(line)
        line.send({"type": "input_audio_buffer.cleared"})
        if line is peer.lines[0]:
            line.read_event("input_audio_buffer.clear")

    with Peer(one_after_another(*[good] * 5, lambda line: line.refuse(401, b"{}"))) as peer:
        session = session_for(peer, reconnect=Reconnect(attempts=1, first_delay=0.0))
        with session:
            session.clear_audio()
            assert isinstance(session.wait_closed(SOON).error, rt.AuthenticationError)
    assert len(peer.lines) == 6


def test_a_close_during_the_back_off_ends_it_at_once() -> None:
    def first(line: Line) -> None:
        open_configured(line)
        line.read_event("input_audio_buffer.clear")  # and then the end of the stream

    with Peer(first) as peer:
        session = session_for(peer, reconnect=Reconnect(first_delay=600.0, max_delay=600.0, jitter=0.0))
        listener = Listener(session)
        with session:
            session.clear_audio()
            assert listener.next("on_reconnecting").delay == 600.0
            session.close(SOON)
            info = session.wait_closed(0.5)
    assert info.who == "client"
    assert listener.next("on_close") is info


def test_an_announced_end_leads_to_a_new_connection_at_once() -> None:
    """The service closes only seconds after 'model repeat output happened'."""

    def first(line: Line) -> None:
        open_configured(line)
        line.send({"type": "error", "error": {"code": "COMMON_ERROR", "message": "model repeat output happened"}})
        line.drain()

    with Peer(one_after_another(first, lambda line: (open_configured(line), line.drain()))) as peer:
        session = session_for(peer)
        listener = Listener(session)
        with session:
            about = listener.next("on_reconnecting")
            assert "repeat output" in str(about.error)
            listener.next("on_reconnected")


def test_a_planned_change_of_connection_waits_for_the_turn_boundary() -> None:
    rotating = threading.Event()

    def first(line: Line) -> None:
        open_configured(line)
        line.send({"type": "response.created", "response": {"id": "r1"}})
        with_time = line.read_event("input_audio_buffer.clear")  # long past the moment for a change
        assert with_time
        line.send({"type": "response.done", "response": {"id": "r1", "status": "completed"}})
        line.send({"type": "input_audio_buffer.cleared"})
        line.drain()
        rotating.set()

    with Peer(one_after_another(first, lambda line: (open_configured(line), line.drain()))) as peer:
        policy = Reconnect(first_delay=0.0, rotate_after=0.01)
        session = session_for(peer, reconnect=policy)
        listener = Listener(session)
        with session:
            session.clear_audio()
            about = listener.next("on_reconnecting")
            assert about.planned
            lost = listener.next("on_reconnected")
            assert lost.responses == ()
            assert lost.events == ()
            assert rotating.wait(SOON)


def test_the_key_is_asked_for_again_at_every_try() -> None:
    keys = iter(["sk-1", "sk-2"])

    def first(line: Line) -> None:
        open_configured(line)
        line.read_event("input_audio_buffer.clear")  # and then the end of the stream

    with Peer(one_after_another(first, lambda line: (open_configured(line), line.drain()))) as peer:
        client = rt.RealtimeClient(lambda: next(keys), url=peer.url)
        session = client.session(turn_detection=None, reconnect=FAST)
        listener = Listener(session)
        with session:
            session.clear_audio()
            listener.next("on_reconnected")
        requests = [line.request for line in peer.lines]
    assert ["Bearer sk-1" in requests[0], "Bearer sk-2" in requests[1]] == [True, True]


def test_delays_double_are_bounded_and_leave_the_jitter_to_chance() -> None:
    chance = iter([0.0, 1.0, 0.0, 0.0])
    recovery = Recovery(Reconnect(attempts=4, first_delay=1.0, max_delay=3.0, jitter=0.5), lambda: next(chance))
    busy = rt.ServiceBusyError("busy")
    assert [recovery.next_delay(busy) for _ in range(5)] == [1.0, 1.0, 3.0, 3.0, None]


def test_a_history_is_bounded_and_says_what_it_forgot() -> None:
    history = History(10)
    for number in range(5):
        history.item(
            rt.events.Item(
                id=f"i{number}",
                type="message",
                role="user",
                content=(rt.events.ContentPart(type="input_text", text=f"text{number}"),),
            )
        )
    assert "text4" in history.as_text()
    assert "text0" not in history.as_text()
    assert history.not_in_text(restored=True) == ("3 x older message",)
