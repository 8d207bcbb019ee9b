"""What each sending call puts on the wire, what it refuses before anything is sent, and what happens when the line is
full."""

from __future__ import annotations

import array
import base64
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dashscope_rt import (
    UNSET,
    APIError,
    AudioFormat,
    BadRequestError,
    ConnectionClosed,
    DeadlineExceeded,
    Limits,
    RealtimeSession,
    ServerVad,
    SessionConfig,
    Timeouts,
    UnsupportedByModel,
    events,
)
from dashscope_rt.audio import wav_bytes
from tests.client.wire import (
    MODEL,
    OLD_MODEL,
    PCM,
    TRANSLATE,
    Background,
    Dialled,
    Event,
    Heard,
    client_for,
    committed,
    created,
    dialled,
    error_event,
    manual,
    output_item,
    response_created,
    response_done,
    text_item,
    updated,
)
from tests.peer import SOON, Line, Peer

JPEG = b"\xff\xd8\xff\xe0" + b"picture" * 100 + b"\xff\xd9"

CALLS: dict[str, tuple[Callable[[RealtimeSession], str], Event]] = {
    "append_audio": (
        lambda session: session.append_audio(PCM),
        {"type": "input_audio_buffer.append", "audio": base64.b64encode(PCM).decode()},
    ),
    "commit": (lambda session: session.commit(), {"type": "input_audio_buffer.commit"}),
    "clear_audio": (lambda session: session.clear_audio(), {"type": "input_audio_buffer.clear"}),
    "create_response": (lambda session: session.create_response(), {"type": "response.create"}),
    "create_response with fields": (
        lambda session: session.create_response(instructions="Ü", modalities=("text",), tool_choice="none"),
        {"type": "response.create", "response": {"instructions": "Ü", "modalities": ["text"], "tool_choice": "none"}},
    ),
    "create_item": (
        lambda session: session.create_item(
            {"type": "mcp_approval_response", "approval_request_id": "i", "approve": True}
        ),
        {
            "type": "conversation.item.create",
            "item": {"type": "mcp_approval_response", "approval_request_id": "i", "approve": True},
        },
    ),
    "send_text": (
        lambda session: session.send_text("Grüß Gott 你好 \U0001f600 \"'\\\n"),
        {
            "type": "conversation.item.create",
            "item": {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "Grüß Gott 你好 \U0001f600 \"'\\\n"}],
            },
        },
    ),
    "update": (
        lambda session: session.update(instructions="Be brief.", temperature=0.5),
        {"type": "session.update", "session": {"instructions": "Be brief.", "temperature": 0.5}},
    ),
    "update with null": (
        lambda session: session.update(input_audio_transcription=None),
        {"type": "session.update", "session": {"input_audio_transcription": None}},
    ),
    "update with a config": (
        lambda session: session.update(SessionConfig(top_k=7, seed=UNSET), voice="Cherry"),
        {"type": "session.update", "session": {"top_k": 7, "voice": "Cherry"}},
    ),
    "send": (lambda session: session.send(events.InputAudioBufferClear()), {"type": "input_audio_buffer.clear"}),
    "send a response.create": (lambda session: session.send(events.ResponseCreate()), {"type": "response.create"}),
    "send_raw": (
        lambda session: session.send_raw({"type": "brand.new", "x": [1, None, "ü"]}),
        {"type": "brand.new", "x": [1, None, "ü"]},
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_sends_exactly_its_event_and_returns_the_id_on_the_wire(name: str) -> None:
    call, expected = CALLS[name]
    with manual() as at:
        event_id = call(at.session)
        came = at.line.read_event()
        assert came.pop("event_id") == event_id
        assert came == expected
        assert isinstance(event_id, str)
        assert event_id
        assert at.sees_nothing() == []


def test_every_event_has_an_id_of_its_own() -> None:
    with manual() as at:
        ids = [at.session.append_audio(PCM) for _ in range(50)] + [at.session.commit(), at.session.clear_audio()]
        assert [at.line.read_event()["event_id"] for _ in ids] == ids
        assert len(set(ids)) == len(ids)


def test_an_id_that_is_given_is_kept() -> None:
    with manual() as at:
        assert at.session.send(events.InputAudioBufferCommit(event_id="mine")) == "mine"
        assert at.session.send_raw({"type": "x", "event_id": "mine too"}) == "mine too"
        assert [at.line.read_event()["event_id"] for _ in range(2)] == ["mine", "mine too"]


def test_send_raw_does_not_change_the_dict_it_is_given() -> None:
    with manual() as at:
        mine = {"type": "x"}
        at.session.send_raw(mine)
        assert mine == {"type": "x"}


# ---- audio --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "audio",
    [
        PCM,
        bytearray(PCM),
        memoryview(PCM),
        memoryview(bytearray(PCM))[:],
        memoryview(array.array("h", PCM)),
        memoryview(PCM + PCM)[: len(PCM)],
        array.array("h", PCM),
    ],
    ids=["bytes", "bytearray", "memoryview", "writable view", "view of samples", "part of a view", "array"],
)
def test_audio_may_be_anything_like_bytes(audio: Any) -> None:
    with manual() as at:
        at.session.append_audio(audio)
        assert base64.b64decode(at.line.read_event()["audio"]) == PCM


def test_a_buffer_may_be_used_again_as_soon_as_append_audio_returns() -> None:
    """Microphone libraries hand out the same buffer again and again."""
    with manual() as at:
        buffer = bytearray(PCM)
        at.session.append_audio(buffer)
        buffer[:] = bytes(len(PCM))
        assert base64.b64decode(at.line.read_event()["audio"]) == PCM


@pytest.mark.parametrize(
    ("audio", "error", "says"),
    [
        ("AAAA", TypeError, "never Base64"),
        (7, TypeError, "bytes"),
        (None, TypeError, "bytes"),
        ([1, 2], TypeError, "bytes"),
        (b"", ValueError, "no bytes"),
        (b"123", ValueError, "middle of a 16-bit sample"),
        (wav_bytes(PCM, 16000), ValueError, "WAV file"),
    ],
    ids=["str", "int", "None", "list", "empty", "odd", "wav"],
)
def test_what_is_no_raw_audio_is_refused_before_anything_is_sent(audio: Any, error: type[Exception], says: str) -> None:
    with manual() as at:
        with pytest.raises(error, match=says):
            at.session.append_audio(audio)
        assert at.sees_nothing() == []


def test_a_wav_file_goes_out_where_wav_is_the_format() -> None:
    with manual(input_audio_format=AudioFormat(type="wav", sample_rate=16000)) as at:
        whole = wav_bytes(PCM, 16000)
        at.session.append_audio(whole)
        at.session.append_audio(b"123")  # later pieces are cut anywhere
        assert base64.b64decode(at.line.read_event()["audio"]) == whole
        assert base64.b64decode(at.line.read_event()["audio"]) == b"123"


def test_a_huge_piece_is_cut_at_samples_and_nothing_is_lost() -> None:
    huge = bytes(range(256)) * 8192 + b"\x01\x02" * 300_001
    with manual() as at:
        sending = Background(at.session.append_audio, huge)
        pieces, last = [], ""
        while sum(map(len, pieces)) < len(huge):
            event = at.line.read_event()
            pieces.append(base64.b64decode(event["audio"]))
            last = event["event_id"]
        assert sending.result() == last
        assert b"".join(pieces) == huge
        assert len(pieces) > 2
        assert all(len(piece) % 2 == 0 for piece in pieces)
        assert all(len(piece) * 4 // 3 < 15 * 1024 * 1024 for piece in pieces)


def test_audio_sent_as_an_event_counts_as_audio() -> None:
    """CloseInfo.unsent_audio_bytes and the statistics do not depend on which method was used."""
    with manual() as at:
        at.session.send(events.InputAudioBufferAppend(audio=PCM))
        at.line.read_event()
        at.session.send_raw({"type": "flush"})
        at.line.read_event()
        assert at.session.stats.audio_sent_ms == pytest.approx(len(PCM) / 2 / 16)


def with_audio(at: Dialled) -> None:
    """The service wants audio before pictures."""
    at.session.append_audio(PCM)
    assert at.line.read_event()["type"] == "input_audio_buffer.append"


# ---- pictures -----------------------------------------------------------------------------------------------------


def test_a_picture_may_be_a_path(tmp_path: Path) -> None:
    file = tmp_path / "cat ü.jpg"
    file.write_bytes(JPEG)
    with manual() as at:
        with_audio(at)
        for image in (JPEG, file, str(file), bytearray(JPEG), memoryview(JPEG)):
            event_id = at.session.append_image(image)
            event = at.line.read_event()
            assert event == {"type": "input_image_buffer.append", "event_id": event_id, "image": event["image"]}
            assert base64.b64decode(event["image"]) == JPEG


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (b"\x89PNG\r\n\x1a\n", "a PNG"),
        (b"GIF89a", "a GIF"),
        (b"", "empty"),
        (b"hello", "no JPEG"),
        (JPEG[:3] + bytes(262_144), "at most"),
    ],
    ids=["png", "gif", "empty", "text", "large"],
)
def test_what_is_no_jpeg_or_too_large_is_refused_before_anything_is_sent(image: bytes, says: str) -> None:
    with manual() as at:
        with pytest.raises(ValueError, match=says):
            at.session.append_image(image)
        assert at.sees_nothing() == []


def test_a_picture_of_exactly_the_limit_goes_out() -> None:
    with manual() as at:
        limit = at.session.model.max_image_base64_bytes
        assert limit is not None
        with_audio(at)
        at.session.append_image(JPEG[:3] + bytes(limit // 4 * 3 - 3))
        assert len(at.line.read_event()["image"]) == limit
        with pytest.raises(ValueError, match="at most"):
            at.session.append_image(JPEG[:3] + bytes(limit // 4 * 3 - 2))


# ---- what the model cannot do -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "call"),
    [
        (OLD_MODEL, lambda session: session.send_text("hello")),
        (TRANSLATE, lambda session: session.create_response()),
        (MODEL, lambda session: session.finish()),
        ("qwen3-asr-flash-realtime", lambda session: session.append_image(JPEG)),
        (OLD_MODEL, lambda session: session.update(tools=[{"type": "function", "name": "f"}])),
    ],
)
def test_what_the_model_cannot_do_is_refused_unless_it_is_wanted_anyway(
    model: str, call: Callable[[RealtimeSession], object]
) -> None:
    with dialled(model) as at:
        with pytest.raises(UnsupportedByModel, match=model.split("-", maxsplit=1)[0]):
            call(at.session)
        assert at.sees_nothing() == []
    with dialled(model, allow_unsupported=True, timeouts=Timeouts(finish=0.1)) as at:
        try:
            call(at.session)
        except DeadlineExceeded:
            pass  # finish() waits for an answer that does not come
        assert at.line.read_event()


@pytest.mark.parametrize(
    "event", [{}, {"event_id": "x"}, {"type": 7}, {"type": "x", "y": object()}, {"type": "x", "y": b"bytes"}], ids=repr
)
def test_a_raw_event_that_cannot_be_one_is_refused(event: Any) -> None:
    with manual() as at:
        with pytest.raises(ValueError, match=r"type|JSON"):
            at.session.send_raw(event)
        assert at.sees_nothing() == []


# ---- updates ------------------------------------------------------------------------------------------------------


def test_an_update_is_checked_before_anything_is_sent() -> None:
    with manual() as at:
        for fields, error, says in (
            ({"temperature": 7}, ValueError, "temperature"),
            ({"temprature": 0.5}, TypeError, "temperature"),
            ({}, ValueError, "no field"),
            ({"enable_search": True, "tools": [{"type": "function", "name": "f"}]}, UnsupportedByModel, "search"),
        ):
            with pytest.raises(error, match=says):
                at.session.update(**fields)
        assert at.sees_nothing() == []


def test_tools_and_search_are_checked_against_what_was_configured_before() -> None:
    with manual(enable_search=True) as at, pytest.raises(UnsupportedByModel, match="search"):
        at.session.update(tools=[{"type": "function", "name": "f"}])


def test_wait_ack_returns_when_the_service_has_taken_the_update() -> None:
    with manual() as at:
        event_id = at.session.update(instructions="x")
        waiting = Background(at.session.wait_ack, event_id)
        at.line.send(updated({"instructions": "x", "turn_detection": None}))
        waiting.result()
        info = at.session.info
        assert info is not None
        assert info.raw["instructions"] == "x"


@pytest.mark.parametrize("named", [True, False], ids=["error names the event", "error names nothing"])
def test_wait_ack_raises_what_the_service_refused(named: bool) -> None:
    heard = Heard()
    with manual(on_error=heard) as at:
        event_id = at.session.update(voice="Nobody")
        waiting = Background(at.session.wait_ack, event_id)
        ids = {"event_id": event_id} if named else {}
        at.line.send(error_event("Voice 'Nobody' is not supported.", param="session.voice", **ids))
        error = waiting.error()
        assert isinstance(error, BadRequestError)
        assert error.message == "Voice 'Nobody' is not supported."
        assert heard.get() is error
        with pytest.raises(BadRequestError):  # asked again, after the fact
            at.session.wait_ack(event_id)


def test_answers_belong_to_their_updates_in_order() -> None:
    with manual() as at:
        first, second, third = (at.session.update(instructions=text) for text in "abc")
        waiting = [Background(at.session.wait_ack, event_id) for event_id in (first, second, third)]
        at.line.send(updated({}))
        waiting[0].result()
        at.line.send(error_event("no", param="session.instructions"))
        assert isinstance(waiting[1].error(), APIError)
        assert waiting[2].running
        at.line.send(updated({}))
        waiting[2].result()


def test_a_refused_update_is_not_part_of_the_configuration_when_the_session_is_opened_again() -> None:
    updates = []

    def script(line: Line) -> None:
        line.accept()
        line.send(created())
        update = line.read_event("session.update")
        updates.append(update["session"])
        line.send(updated(update["session"]))
        if len(updates) == 1:
            refused = line.read_event("session.update")
            line.send(error_event("Voice 'Nobody' is not supported.", event_id=refused["event_id"]))
        line.drain()

    with Peer(script) as peer:
        session = client_for(peer.url).session(MODEL, instructions="x")
        with session:
            event_id = session.update(voice="Nobody")
            with pytest.raises(APIError):
                session.wait_ack(event_id, SOON)
        with session:
            pass
    assert updates[1] == updates[0]


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (lambda session: session.commit(), committed()),
        (lambda session: session.clear_audio(), {"type": "input_audio_buffer.cleared"}),
        (lambda session: session.send_text("hello"), text_item("hello")),
        (
            lambda session: session.create_item({"type": "function_call_output", "call_id": "call_1", "output": "x"}),
            output_item("call_1"),
        ),
    ],
    ids=["commit", "clear", "text", "output"],
)
def test_wait_ack_knows_the_answer_of_every_acknowledged_event(
    call: Callable[[RealtimeSession], str], answer: Event
) -> None:
    with manual() as at:
        event_id = call(at.session)
        waiting = Background(at.session.wait_ack, event_id)
        at.line.read_event()
        at.line.send({"type": "unrelated"})
        at.settle()
        assert waiting.running
        at.line.send(answer)
        waiting.result()
        at.session.wait_ack(event_id)  # asked again: at once


def test_wait_ack_waits_for_a_response_create_that_still_waits_for_its_turn() -> None:
    with manual() as at:
        at.line.send(response_created())
        at.settle()
        event_id = at.session.create_response()
        waiting = Background(at.session.wait_ack, event_id)
        at.settle()
        assert waiting.running
        at.line.send(response_done())
        assert at.line.read_event("response.create")["event_id"] == event_id
        at.settle()
        assert waiting.running
        at.line.send(response_created("resp_2"))
        waiting.result()


def test_wait_ack_has_its_own_deadline() -> None:
    with manual(timeouts=Timeouts(acknowledge=0.1, turn=60)) as at:
        event_id = at.session.update(instructions="x")
        with pytest.raises(DeadlineExceeded, match=r"session\.update"):
            at.session.wait_ack(event_id)


def test_wait_ack_ends_with_the_session() -> None:
    with manual() as at:
        waiting = Background(at.session.wait_ack, at.session.commit())
        at.line.reset()
        assert isinstance(waiting.error(), ConnectionClosed)


# ---- waiting for events -------------------------------------------------------------------------------------------


def never(event: events.ServerEvent) -> bool:
    return False


@pytest.mark.parametrize(
    "what", ["x.wanted", events.UnknownEvent, lambda event: event.type == "x.wanted"], ids=["name", "class", "function"]
)
def test_expect_listens_from_its_beginning_and_gives_the_first_match(what: Any) -> None:
    with dialled() as at, at.session.expect(what) as expected:
        at.line.send(response_created())
        at.line.send({"type": "x.wanted", "number": 1})
        at.line.send({"type": "x.wanted", "number": 2})
        at.settle()
        assert expected.wait(0.0).raw["number"] == 1
        assert expected.wait(0.0).raw["number"] == 1


@pytest.mark.parametrize(
    ("what", "named"),
    [("x.never", "x.never"), (events.ResponseDone, "response.done"), (events.UnknownEvent, "UnknownEvent"),
     (never, "never")],
    ids=["name", "class", "class of many names", "function"],
)  # fmt: skip
def test_waiting_for_what_does_not_come_ends_at_the_deadline_and_names_it(what: Any, named: str) -> None:
    with dialled() as at:
        start = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=f"^{named} did not come in time"):
            at.session.wait_for(what, 0.1)
        assert time.monotonic() - start < 2


def test_waiting_after_the_listening_says_so_instead_of_waiting_in_vain() -> None:
    with dialled() as at:
        with at.session.expect("x.wanted") as missed, at.session.expect("x.seen") as seen:
            at.line.send({"type": "x.seen"})
            at.settle()
        with pytest.raises(RuntimeError, match=r"nobody listens for x\.wanted any more: call wait\(\) inside"):
            missed.wait(SOON)
        assert seen.wait(SOON).type == "x.seen"


def test_an_error_in_the_function_that_chooses_reaches_who_waits_and_nobody_else() -> None:
    with dialled() as at, at.session.expect(lambda event: 1 / 0) as expected:
        at.line.send({"type": "x"})
        with pytest.raises(ZeroDivisionError):
            expected.wait(SOON)
        at.settle()
        assert at.session.is_open


def test_waiting_for_an_event_ends_with_the_session() -> None:
    with dialled() as at:
        waiting = Background(at.session.wait_for, "x.never", SOON)
        at.line.reset()
        error = waiting.error()
        assert isinstance(error, ConnectionClosed)
        assert error.info is not None


# ---- many threads -------------------------------------------------------------------------------------------------


def test_many_threads_send_at_once_and_every_event_arrives_whole_and_in_its_threads_order() -> None:
    threads, each = 8, 100
    with manual() as at:

        def send(name: int) -> None:
            for number in range(each):
                at.session.send_raw(
                    {"type": "numbered", "name": name, "number": number, "padding": "x" * (number * 37)}
                )

        senders = [Background(send, name) for name in range(threads)]
        came: dict[int, list[int]] = {name: [] for name in range(threads)}
        for _ in range(threads * each):
            event = at.line.read_event()
            assert event["padding"] == "x" * (event["number"] * 37)
            came[event["name"]].append(event["number"])
        for sender in senders:
            sender.result()
        assert all(numbers == list(range(each)) for numbers in came.values())


def test_acknowledged_events_of_many_threads_get_their_own_answers() -> None:
    """The note that an event waits for its answer and the event itself go in the same order."""
    with manual() as at:

        def act(number: int) -> None:
            for _ in range(10):
                at.session.wait_ack(at.session.update(instructions=str(number)), SOON)

        senders = [Background(act, number) for number in range(8)]
        for _ in range(80):
            update = at.line.read_event("session.update")
            at.line.send(updated(update["session"]))
        for sender in senders:
            sender.result()
        assert at.sees_nothing() == []


def test_senders_that_never_pause_do_not_keep_the_client_from_hearing() -> None:
    """Reading, pongs and deadlines go on though the queue is never empty."""
    heard, stop = Heard(), threading.Event()
    with manual(timeouts=Timeouts(send=SOON)) as at:
        at.session.on("x")(heard)

        def flood() -> None:
            while not stop.is_set():
                at.session.append_audio(PCM * 40)

        swallowing = Background(at.line.swallow)
        senders = [Background(flood) for _ in range(3)]
        try:
            for number in range(5):
                at.line.send({"type": "x", "number": number})
                assert heard.get().raw["number"] == number
            assert all(sender.running for sender in senders)
            assert swallowing.running
        finally:
            stop.set()
        for sender in senders:
            sender.result()


def test_on_sent_tells_of_every_event_that_left_in_order() -> None:
    heard = Heard()
    with manual(on_sent=heard) as at:
        ids = [at.session.append_audio(PCM), at.session.commit(), at.session.create_response()]
        for _ in ids:
            at.line.read_event()
        at.settle()
        told = [(sent.type, sent.event_id) for sent in heard.all if sent.type != "session.update"]
    assert told == list(
        zip(["input_audio_buffer.append", "input_audio_buffer.commit", "response.create"], ids, strict=True)
    )


# ---- a full line --------------------------------------------------------------------------------------------------

MEGABYTE = b"\x01\x02" * 512 * 1024


def stuffed(at: Dialled) -> int:
    """Append until neither socket nor outbox has room for more than a few bytes; gives how many pieces were taken."""
    taken = 0
    for piece in (PCM * 1000, PCM * 20, b"\0\0"):
        full = False
        while not full:
            try:
                at.session.append_audio(piece)
                taken += 1
            except DeadlineExceeded:
                full = True
    return taken


def empty(at: Dialled, count: int) -> None:
    """Read what was taken."""
    for _ in range(count):
        assert at.line.read_event()["type"] == "input_audio_buffer.append"


def test_a_full_outbox_makes_the_sender_wait_until_its_deadline_and_queues_nothing() -> None:
    with manual(timeouts=Timeouts(send=0.05), limits=Limits(outbox_bytes=1_000_000)) as at:
        taken = stuffed(at)
        start = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="was not sent") as caught:
            at.session.send_text("x" * 500)
        assert 0.03 < time.monotonic() - start < 2
        assert isinstance(caught.value, TimeoutError)
        assert at.session.is_open
        empty(at, taken)
        assert at.sees_nothing() == []  # neither the last pieces nor the text


def test_a_piece_that_was_cut_is_queued_whole_or_not_at_all() -> None:
    """Else the caller could neither repeat it nor leave it."""
    with manual(timeouts=Timeouts(send=0.05), limits=Limits(outbox_bytes=12_000_000)) as at:
        taken = 0
        with pytest.raises(DeadlineExceeded):
            while True:
                at.session.send_raw({"type": "test.large", "padding": "x" * 5_000_000})
                taken += 1
        with pytest.raises(DeadlineExceeded):
            at.session.append_audio(MEGABYTE * 3)  # there is room for the first of its three events
        for _ in range(taken):
            assert at.line.read_event()["type"] == "test.large"
        assert at.sees_nothing() == []


def test_a_sender_that_waits_goes_on_as_soon_as_there_is_room() -> None:
    with manual(timeouts=Timeouts(send=0.05), limits=Limits(outbox_bytes=1_000_000)) as at:
        stuffed(at)
        at.session._connection._timeouts = Timeouts(send=60)  # type: ignore[union-attr]
        sending = Background(at.session.append_audio, PCM * 1000)
        reading = Background(at.line.drain)
        sending.result()
        assert reading.running


def test_every_sender_has_its_own_deadline_on_a_full_line() -> None:
    """They do not wait one after the other."""
    with manual(timeouts=Timeouts(send=0.3), limits=Limits(outbox_bytes=1_000_000)) as at:
        stuffed(at)
        start = time.monotonic()
        senders = [Background(at.session.send_text, "x" * 500) for _ in range(10)]
        for sender in senders:
            assert isinstance(sender.error(), DeadlineExceeded)
        assert time.monotonic() - start < 2.0


def test_an_event_that_was_not_queued_is_not_waited_for() -> None:
    """The next one's answer is not taken for the one that never left."""
    with manual(timeouts=Timeouts(send=0.05), limits=Limits(outbox_bytes=1_000_000)) as at:
        taken = stuffed(at)
        with pytest.raises(DeadlineExceeded):
            at.session.send_text("x" * 500)
        empty(at, taken)
        event_id = at.session.send_text("y")
        waiting = Background(at.session.wait_ack, event_id)
        assert at.line.read_event()["event_id"] == event_id
        at.line.send(text_item("y"))
        waiting.result()


def test_a_sender_that_waits_for_room_is_told_of_the_end() -> None:
    started = threading.Event()
    with manual(timeouts=Timeouts(send=0.05), limits=Limits(outbox_bytes=1_000_000)) as at:
        stuffed(at)
        at.session._connection._timeouts = Timeouts(send=60)  # type: ignore[union-attr]

        def send() -> None:
            started.set()
            at.session.append_audio(PCM * 1000)

        sending = Background(send)
        assert started.wait(SOON)
        at.line.reset()
        assert isinstance(sending.error(), ConnectionClosed)


# ---- the configuration that is sent first -------------------------------------------------------------------------


def first_update(model: str = MODEL, **options: Any) -> Event:
    """The session.update that connect() sends."""
    seen: list[Event] = []

    def script(line: Line) -> None:
        line.accept()
        line.send(created())
        update = line.read_event("session.update")
        seen.append(update["session"])
        line.send(updated(update["session"]))
        line.drain()

    with Peer(script) as peer, client_for(peer.url).session(model, **options):
        pass
    return seen[0]


def test_manual_mode_is_a_null() -> None:
    assert first_update(turn_detection=None)["turn_detection"] is None


def test_a_voice_goes_along_where_the_service_would_otherwise_choose_one_it_refuses() -> None:
    assert first_update(turn_detection=None)["voice"] == "Tina"
    assert "voice" not in first_update(OLD_MODEL, turn_detection=None)
    assert first_update(voice="Cherry")["voice"] == "Cherry"


def test_fields_and_config_are_merged() -> None:
    wire = first_update(config=SessionConfig(instructions="x", voice="Cherry"), voice="Serena", temperature=0.5)
    assert (wire["instructions"], wire["voice"], wire["temperature"]) == ("x", "Serena", 0.5)


def test_nothing_is_sent_where_nothing_is_configured() -> None:
    with dialled() as at:
        assert at.sees_nothing() == []


def test_input_waits_for_the_configuration() -> None:
    """connect() returns after session.updated; so does every with statement: nothing overtakes the configuration."""
    order: list[str] = []

    def script(line: Line) -> None:
        line.accept()
        line.send(created())
        order.append(line.read_event()["type"])
        order.append("updated")
        line.send(updated({}))
        order.append(line.read_event()["type"])
        line.drain()

    with Peer(script) as peer, client_for(peer.url).session(MODEL, turn_detection=ServerVad()) as session:
        session.append_audio(PCM)
    assert order == ["session.update", "updated", "input_audio_buffer.append"]


def test_another_thread_that_sends_while_the_session_opens_does_not_overtake_the_configuration() -> None:
    order: list[str] = []
    opening, go = threading.Event(), threading.Event()

    def script(line: Line) -> None:
        line.accept()
        opening.set()
        go.wait(SOON)
        line.send(created())
        while len(order) < 2:
            event = line.read_event()
            order.append(event["type"])
            if event["type"] == "session.update":
                line.send(updated(event["session"]))
        line.drain()

    with Peer(script) as peer:
        session = client_for(peer.url).session(MODEL, voice="Tina")
        connecting = Background(session.connect)
        assert opening.wait(SOON)
        sending = Background(session.append_audio, PCM)
        sending._thread.join(0.1)  # it is queued, or it waits
        go.set()
        connecting.result()
        sending.result()
        session.close()
    assert order == ["session.update", "input_audio_buffer.append"]
