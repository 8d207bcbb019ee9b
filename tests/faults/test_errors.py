"""Every row of the error catalogue: tied to the call it is about, swallowed, or the end of the connection."""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs
import pytest

import dashscope_rt as rt
from dashscope_rt.testing._error_rows import ERRORS

from .table import Table
from .watch import FAST, HEARD, Watch, ask, check_answer, held_at_first, lost_in, service, watched

JPEG = b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x10\x00\x10\x01\x01\x11\x00\xff\xd9"
SECTION = "The service reports an error"


@attrs.frozen
class Tied:
    """An error that is the answer to a call."""

    name: str
    what: str
    call: Callable[[Watch], str]  # sends the event at fault and gives its id
    kind: type[rt.APIError] = rt.BadRequestError


def update(watch: Watch) -> str:
    return watch.session.update(instructions="Be brief.")


def commit(watch: Watch) -> str:
    return watch.session.commit()


def picture(watch: Watch) -> str:
    return watch.session.append_image(JPEG)


def create(watch: Watch) -> str:
    return watch.session.create_response()


def output(watch: Watch) -> str:
    item = {"type": "function_call_output", "call_id": "call_x", "output": "7"}
    return watch.session.create_item(item)


TIED = (
    Tied("invalid-modalities", "Invalid modalities", update),
    Tied("invalid-format", "Invalid value: 'pcm16'", update),
    Tied("cannot-update-voice", "cannot_update_voice", update),
    Tied("voice,open", "Voice 'x' is not supported", update, rt.APIError),
    Tied("update-late", "Session update error", update),
    Tied("empty-commit", "Error committing input audio buffer", commit),
    Tied("image-first", "Error append image before append audio", picture),
    Tied("already-active", "Conversation already has an active response", create),
    Tied("user-speaking", "Cannot create response while user is speaking", create),
    Tied("semantic", "Input speech was not accepted by semantic turn detection", create),
    Tied("unknown-call", "Unknown function call id", output),
    Tied("translation", "Invalid translation parameter", update, rt.APIError),
)


@pytest.mark.parametrize("named", [False, True], ids=["by its text", "by event_id"])
@pytest.mark.parametrize("tied", TIED, ids=[tied.name for tied in TIED])
def test_an_error_is_the_answer_to_the_call_it_is_about(table: Table, tied: Tied, named: bool) -> None:
    """The session stays open, the waiting call raises, on_error gets it once."""
    row = ERRORS[tied.name.split(",")[0]]
    trigger = f"{row.refuses}:2" if row.refuses == "session.update" else row.refuses
    fault = f"error={tied.name}{',id' if named else ''}@{trigger}"
    with service(fault) as emulator, watched(emulator) as watch:
        start = time.monotonic()
        event_id = tied.call(watch)
        with pytest.raises(rt.APIError) as caught:
            watch.session.wait_ack(event_id)
        took = time.monotonic() - start
        error = caught.value
        assert type(error) is tied.kind
        assert row.message == error.message
        assert error.client_event_id == (event_id if named else None)
        assert error.code == (row.code or "")
        assert watch.get("on_error") is error
        assert watch.session.is_open
        check_answer(ask(watch).turn)
        assert len(watch.got("on_error")) == 1
        assert "on_close" not in watch.story
    if not named:
        what = f"“{tied.what}…” ({error.error_type or 'no type'})"
        sees = f"the call about it raises {type(error).__name__}, on_error once; the session stays open"
        table.add(SECTION, what, sees, took)


def test_an_unknown_event_type_is_told_and_costs_nothing(table: Table) -> None:
    with service() as emulator, watched(emulator) as watch:
        start = time.monotonic()
        watch.session.send_raw({"type": "session.finish"})
        error = watch.get("on_error")
        took = time.monotonic() - start
        assert isinstance(error, rt.BadRequestError)
        check_answer(ask(watch).turn)
        assert watch.story == "on_error(BadRequestError)"
    table.add(SECTION, "an event type Omni does not know (session.finish)", "on_error; the session stays open", took)


def test_a_refused_cancel_is_nobodys_business(table: Table) -> None:
    from dashscope_rt.testing import Answer

    answers = [Answer(text="One, two, three.", audio=bytes(48_000), hold_after_ms=100)]
    fault = "error=none-active@response.cancel"
    with service(fault, answer=answers) as emulator, watched(emulator) as watch:
        turn = watch.session.ask(text="Well?", stream=True)
        emulator.wait_for_sent("response.audio.delta")
        start = time.monotonic()
        assert watch.session.cancel_response() is False
        took = time.monotonic() - start
        emulator.release()
        assert turn.wait().status in ("completed", "cancelled")
        assert watch.got("on_error") == []
        check_default(ask(watch).turn)
        assert watch.story == ""
    table.add(
        SECTION,
        "“Conversation has none active response” to a cancel that came too late",
        "cancel_response() returns False, no on_error",
        took,
    )


def check_default(turn: rt.Turn | None) -> None:
    assert turn is not None
    assert turn.status == "completed"
    assert turn.text.startswith("This is the emulator.")


FATAL = {  # row -> what on_close says without a policy
    "internal": (rt.ServiceBusyError, 1011),
    "idle": (rt.ServiceBusyError, 1011),
    "repeat-output": (rt.ServiceBusyError, 1011),
}


@pytest.mark.parametrize("name", FATAL)
def test_an_error_that_announces_the_end(table: Table, name: str) -> None:
    """Without a policy the service's own close follows; with one the session reconnects at once, at the error."""
    kind, code = FATAL[name]
    row = ERRORS[name]
    middle = "@response.audio.delta:2"
    with service(f"error={name}{middle}", answer=held_at_first) as emulator, watched(emulator) as watch:
        asked = ask(watch)
        assert isinstance(asked.error, (rt.ConnectionClosed, rt.APIError))
        info = watch.get("on_close")
        assert (info.who, info.code, type(info.error)) == ("server", code, kind)
        errors = watch.got("on_error")
        assert [type(error) for error in errors] == [kind]
        assert errors[0].message == row.message
        alone = f"{asked.name}, {watch.story}"
    with (
        service(f"error={name},open{middle}#1", answer=held_at_first) as emulator,
        watched(emulator, reconnect=FAST) as watch,
    ):
        again = ask(watch)
        lost = watch.get("on_reconnected")
        assert watch.got("on_reconnecting")[0].error is watch.got("on_error")[0]
        check_answer(ask(watch).turn)
        sees = f"{alone}; with Reconnect: {again.name}, {watch.story}, the next ask() is answered"
    table.add(
        SECTION,
        f"“{row.message[:60] if row.message else name}”, then close {code}",
        sees,
        asked.took,
        f"the rest of the answer; with Reconnect: {lost_in(lost)}",
    )


@pytest.mark.parametrize("name", ["stream-timeout", "response-timeout", "upstream", "serving"])
def test_an_error_that_loses_the_response(table: Table, name: str) -> None:
    """Nothing ends by itself; a session with a policy reconnects at once, one without ends when its grace is over."""
    row = ERRORS[name]
    middle = "@response.audio.delta:2"
    with (
        service(f"error={name}{middle}#1", answer=held_at_first) as emulator,
        watched(emulator, reconnect=FAST) as watch,
    ):
        start = time.monotonic()
        asked = ask(watch)
        lost = watch.get("on_reconnected")
        took = time.monotonic() - start
        assert asked.error is not None
        assert isinstance(watch.got("on_reconnecting")[0].error, rt.ServiceBusyError)
        check_answer(ask(watch).turn)
        sees = f"with Reconnect: {asked.name}, {watch.story}, the next ask() is answered"
    table.add(SECTION, f"“{row.message}”", sees, took, f"the rest of the answer; with Reconnect: {lost_in(lost)}")


def test_an_announced_end_that_never_comes_is_ended_by_the_client(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a policy the service gets a few seconds to close; then we do."""
    from dashscope_rt._session import connection

    monkeypatch.setattr(connection, "_FATAL_GRACE", 0.2)
    with service("error=upstream@session.updated") as emulator, watched(emulator) as watch:
        start = time.monotonic()
        info = watch.get("on_close")
        took = time.monotonic() - start
        assert isinstance(info.error, rt.ServiceBusyError)
        sees = watch.story
    table.add(SECTION, "an announced end that never comes", sees, took, "the session")


def test_an_error_about_pictures_is_told_and_the_session_goes_on(table: Table) -> None:
    """'NoneType' object does not support item deletion: frames came too fast; nothing says that the session is over."""
    with service("error=image-pace@input_image_buffer.append") as emulator, watched(emulator) as watch:
        start = time.monotonic()
        watch.session.append_audio(HEARD)
        watch.session.append_image(JPEG)
        error = watch.get("on_error")
        took = time.monotonic() - start
        assert isinstance(error, rt.ServiceBusyError)
        check_answer(ask(watch).turn)
        assert "on_close" not in watch.story
        sees = f"{watch.story}; the session stays open"
    table.add(SECTION, "“'NoneType' object does not support item deletion” (pictures too fast)", sees, took)


@pytest.mark.parametrize("name", ["quota", "free-tier"])
def test_an_error_that_no_reconnect_helps(table: Table, name: str) -> None:
    """A used-up quota would be refused again: the session ends, policy or not."""
    row = ERRORS[name]
    seen = set()
    for policy in (False, FAST):
        with (
            service(f"error={name}@response.created", answer=held_at_first) as emulator,
            watched(emulator, reconnect=policy) as watch,
        ):
            asked = ask(watch)
            assert asked.error is not None
            info = watch.get("on_close")
            assert info.who == "server"
            assert type(info.error) is rt.QuotaExceededError
            assert len(emulator.connections) == 1
            assert watch.got("on_reconnecting") == []
            seen.add(f"{asked.name}, {watch.story}")
    assert len(seen) == 1
    sees = f"{seen.pop()}, with and without Reconnect"
    text = row.message or "the free tier's text as the reason of close 1007"
    table.add(SECTION, f"“{text}”", sees, asked.took, "the session")


def test_every_row_of_the_catalogue_is_tested() -> None:
    tested = {tied.name.split(",")[0] for tied in TIED} | set(FATAL)
    tested |= {"stream-timeout", "response-timeout", "upstream", "serving", "image-pace", "quota", "voice", "free-tier"}
    tested |= {"none-active", "invalid-type"}
    assert tested == set(ERRORS)
