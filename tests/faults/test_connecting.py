"""Faults of the opening: what ``connect()`` raises at once, and what a session that is reconnecting makes of them."""

from __future__ import annotations

import inspect
import pathlib
import time

import pytest

import dashscope_rt as rt

from .table import Table
from .watch import FAST, KEY, MODEL, SPARE, ask, check_answer, service, told, watched

STATUSES: dict[int, tuple[type[rt.APIError], bool]] = {  # the exception, and whether a reconnect goes on after it
    400: (rt.BadRequestError, False),
    401: (rt.AuthenticationError, False),
    403: (rt.PermissionDeniedError, False),
    404: (rt.ModelNotFoundError, False),
    429: (rt.RateLimitError, True),
    500: (rt.ServiceBusyError, True),
    503: (rt.ServiceBusyError, True),
}


def while_reconnecting(fault: str, *, goes_on: bool, timeouts: dict[str, float] | None = None) -> tuple[str, str]:
    """Meet the fault on the second connection, after the first was reset; gives what was seen and what was lost."""
    with (
        service("reset@input_audio_buffer.clear#1", f"{fault}#2") as emulator,
        watched(emulator, reconnect=FAST, timeouts=timeouts) as watch,
    ):
        watch.session.clear_audio()
        if goes_on:
            lost = watch.get("on_reconnected")
            assert [about.attempt for about in watch.got("on_reconnecting")] == [1, 2]
            check_answer(ask(watch).turn)
            assert len(emulator.connections) == (2 if fault == "reset@connect" else 3)  # its request was never read
            watch.close()
            return "goes on at the next try", f"events {', '.join(lost.events)}"
        info = watch.get("on_close")
        assert len(emulator.connections) == 2
        assert watch.got("on_reconnected") == []
        return f"on_close({told(info)})", "the session"


@pytest.mark.parametrize("body", ["flat", "nested", "empty", "none"])
@pytest.mark.parametrize("status", STATUSES)
def test_a_refused_handshake_raises_by_status_and_body(table: Table, status: int, body: str) -> None:
    kind, goes_on = STATUSES[status]
    fault = f"refuse={status},{body}"
    start = time.monotonic()
    with service(fault) as emulator, watched(emulator, connect=False, reconnect=FAST) as watch:
        with pytest.raises(rt.APIError) as caught:
            watch.session.connect()
        took = time.monotonic() - start
        assert len(emulator.connections) == 1  # the first connect is not tried again, whatever the policy
    error = caught.value
    assert type(error) is kind
    assert error.status == status
    assert error.request_id
    assert bool(error.code) == (body in ("flat", "nested"))
    assert error.body == {"empty": "{}", "none": None}.get(body, error.body)
    assert KEY not in f"{error!r}{error}"
    assert watch.story == ""
    sees, lost = while_reconnecting(fault, goes_on=goes_on)
    code = f", code {error.code}" if error.code else ""
    table.add(
        "Connecting",
        f"refused with {status}, body {body}",
        f"connect() raises {kind.__name__} with the status and a request id{code}; while reconnecting: {sees}",
        took,
        f"nothing; while reconnecting: {lost}",
    )


def test_a_used_up_free_tier_at_the_handshake_is_not_a_missing_permission(table: Table) -> None:
    fault = "refuse=403,nested,AllocationQuota.FreeTierOnly"
    start = time.monotonic()
    with service(fault) as emulator, watched(emulator, connect=False) as watch:
        with pytest.raises(rt.QuotaExceededError) as caught:
            watch.session.connect()
        took = time.monotonic() - start
    assert caught.value.code == "AllocationQuota.FreeTierOnly"
    sees, _ = while_reconnecting(fault, goes_on=False)
    table.add(
        "Connecting",
        "refused with 403, AllocationQuota.FreeTierOnly",
        f"connect() raises QuotaExceededError; while reconnecting: {sees}",
        took,
        "the session",
    )


def test_a_redirect_is_not_followed(table: Table) -> None:
    start = time.monotonic()
    with service("redirect") as emulator, watched(emulator, connect=False) as watch:
        with pytest.raises(rt.RealtimeError) as caught:
            watch.session.connect()
        took = time.monotonic() - start
        assert len(emulator.connections) == 1
    assert getattr(caught.value, "status", 302) == 302
    table.add(
        "Secrets",
        "redirected to another place",
        f"connect() raises {type(caught.value).__name__}; the key is shown nowhere else",
        took,
    )


@pytest.mark.parametrize(
    ("fault", "what", "says"),
    [
        ("stall", "the handshake is never answered", "took longer"),
        ("stall=half", "the handshake's answer stops half-way", "took longer"),
        ("never-created", "let in, and session.created never comes", r"session\.created"),
        ("lose@session.updated", "session.updated never comes", r"session\.updated"),
        ("silence@session.created", "silence before session.updated", r"session\.updated"),
        ("drip=1,200", "one byte every 200 ms, handshake included", "took longer"),
    ],
)
def test_connect_keeps_one_deadline_over_everything(table: Table, fault: str, what: str, says: str) -> None:
    deadline = 0.4
    with service(fault) as emulator, watched(emulator, connect=False, timeouts={"connect": deadline}) as watch:
        start = time.monotonic()
        with pytest.raises(rt.DeadlineExceeded, match=says):
            watch.session.connect()
        took = time.monotonic() - start
        assert deadline * 0.9 < took < deadline + SPARE
        emulator.wait_closed(connection=1)  # the client has hung up, and nothing comes later
        assert len(emulator.connections) == 1
    assert watch.story == ""
    sees, lost = "connect() raises DeadlineExceeded within Timeouts.connect", "nothing"
    if fault not in ("stall=half", "drip=1,200"):  # the same as stall by then
        seen, gone = while_reconnecting(fault, goes_on=True, timeouts={"connect": 1.0})
        sees, lost = f"{sees}; while reconnecting: {seen}", f"{lost}; while reconnecting: {gone}"
    table.add("Connecting", what, sees, took, lost)


@pytest.mark.parametrize(
    ("fault", "what", "kind", "goes_on"),
    [
        ("reset@connect", "a TCP reset instead of an answer", rt.ConnectionFailed, True),
        ("reset@session.created", "a TCP reset after session.created", rt.ConnectionFailed, True),
        ("half-close@session.created", "half-close after session.created", rt.ConnectionFailed, True),
        ("free-tier", "free tier used up: 1007 with 130 bytes after session.created", rt.QuotaExceededError, False),
        ("error=free-tier", "the same as a row of the catalogue", rt.QuotaExceededError, False),
        ("close=1011,Internal service error: null", "1011 after session.created", rt.ServiceBusyError, True),
        ("close=none", "a model nobody knows: closed without a word after session.created", rt.ConnectionClosed, True),
        ("bad-utf8", "bad UTF-8 before session.created", rt.ProtocolError, None),
        ("huge", "a frame of 2^40 bytes before session.created", rt.MessageTooLarge, None),
        ("error=voice@session.update", "the configuration is refused: unknown voice", rt.APIError, False),
        ("error=quota", "an error event instead of session.updated: quota", rt.QuotaExceededError, False),
        ("error=internal", "an error event instead of session.updated: internal", rt.ServiceBusyError, True),
    ],
)
def test_an_end_before_the_session_is_open_raises_in_connect(
    table: Table, fault: str, what: str, kind: type[Exception], goes_on: bool | None
) -> None:
    start = time.monotonic()
    with service(fault) as emulator, watched(emulator, connect=False, reconnect=FAST) as watch:
        with pytest.raises(rt.RealtimeError) as caught:
            watch.session.connect()
        took = time.monotonic() - start
        assert len(emulator.connections) <= 1
    assert type(caught.value) is kind
    assert took < 2.0
    assert watch.story in ("", f"on_error({kind.__name__})")  # never opened: no on_close, no on_reconnecting
    if "free-tier" in fault:
        assert "free tier" in str(caught.value)
        assert str(caught.value).rstrip("]").count("console") == 1  # whole, beyond the 123 bytes of a close frame
    sees = f"connect() raises {kind.__name__}"
    lost = "nothing"
    if goes_on is not None:
        seen, gone = while_reconnecting(fault, goes_on=goes_on)
        sees, lost = f"{sees}; while reconnecting: {seen}", f"nothing; while reconnecting: {gone}"
    table.add("Connecting", what, sees, took, lost)


def test_no_switch_turns_certificate_checks_off(table: Table) -> None:
    """Whoever wants that has to write it down as an SSLContext of their own."""
    start = time.monotonic()
    words = ("verify", "insecure", "check_", "unsafe", "trust", "cert")
    options = [
        *inspect.signature(rt.RealtimeClient).parameters,
        *inspect.signature(rt.RealtimeClient.session).parameters,
    ]
    assert [name for name in options if any(word in name for word in words)] == []
    with service(tls=True) as emulator:
        client = rt.RealtimeClient(KEY, url=emulator.url, proxy="")
        with pytest.raises(rt.ConnectionFailed) as caught:
            client.session(MODEL).connect()
        assert not caught.value.retryable
        assert emulator.connections == []  # no request, and so no key, came through
    table.add(
        "Secrets",
        "a certificate nobody vouches for, and no switch to accept it",
        "connect() raises ConnectionFailed before the key goes out",
        time.monotonic() - start,
    )


def test_the_security_notes_say_it_in_half_a_page(table: Table) -> None:
    start = time.monotonic()
    text = (pathlib.Path(__file__).parents[2] / "SECURITY.md").read_text(encoding="utf-8")
    for word in ("redirect", "certificate", "log", "line break", "16 MiB"):
        assert word in text.lower().replace("mib", "MiB"), word
    assert len(text.split()) < 500
    table.add(
        "Secrets", "what is promised about keys and messages", "SECURITY.md, half a page", time.monotonic() - start
    )


def test_a_wrong_key_and_a_good_one(table: Table) -> None:
    start = time.monotonic()
    with service(api_keys={"sk-other"}) as emulator, watched(emulator, connect=False) as watch:
        with pytest.raises(rt.AuthenticationError):
            watch.session.connect()
        took = time.monotonic() - start
    with service(api_keys={KEY}) as emulator, watched(emulator, model=MODEL) as watch:
        check_answer(ask(watch).turn)
    table.add("Connecting", "a wrong key", "connect() raises AuthenticationError as soon as the service says so", took)
