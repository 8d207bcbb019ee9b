"""The key shows nowhere: no repr, no log, no exception, no traceback with locals, no trace of websocket-client. Audio
and pictures show as byte counts; what people said only where it is asked for."""

from __future__ import annotations

import copy
import io
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
import websocket

import dashscope_rt
from dashscope_rt import AuthenticationError, RealtimeClient, RealtimeError, Timeouts
from tests.client.wire import (
    FREE_TIER,
    KEY,
    MODEL,
    PCM,
    Heard,
    call_item,
    calling,
    client_for,
    dialled,
    error_event,
    manual,
    spoken,
    transcribed,
)
from tests.peer import SOON, Line, Peer, close_payload

HOME = dashscope_rt.__path__[0]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything any logger says at DEBUG, with tracebacks."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    package = logging.getLogger("dashscope_rt")
    before = package.level
    package.setLevel(logging.DEBUG)
    yield written
    package.setLevel(before)
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.fixture
def trace() -> Iterator[io.StringIO]:
    """What ``websocket.enableTrace`` prints."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    websocket.enableTrace(True, handler)
    yield written
    websocket.enableTrace(False)
    logger = logging.getLogger("websocket")
    logger.removeHandler(handler)


def with_locals(error: BaseException | None) -> str:
    """What a crash reporter would send: the traceback, and every local of every frame of this package and below."""
    out: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        out += traceback.format_exception(type(error), error, error.__traceback__)
        out.append(f"{error!r} {error} {vars(error)!r} {error.args!r}")
        inside = False
        for frame, _ in traceback.walk_tb(error.__traceback__):
            inside = inside or frame.f_code.co_filename.startswith(HOME)
            if inside:
                out += shown(frame)
        error = error.__cause__ or error.__context__
    return "\n".join(out)


def shown(frame: FrameType) -> list[str]:
    found = []
    for name, value in frame.f_locals.items():
        if name == "environment":
            continue
        try:
            found.append(f"{name}={value!r}")
        except Exception as error:
            found.append(f"{name}: {error!r}")
    return found


def refuse(line: Line) -> None:
    line.refuse(401, b'{"code":"InvalidApiKey","message":"Invalid API-key provided."}', {"X-Request-Id": "r"})


def garbage(line: Line) -> None:
    line.read_request()
    line.sock.sendall(b"SSH-2.0\r\n\r\n")


def silence(line: Line) -> None:
    line.swallow()


def quota(line: Line) -> None:
    line.accept()
    line.send_frame(8, close_payload(1007, FREE_TIER))


def redirect(line: Line) -> None:
    line.refuse(302, b"", {"Location": "ws://127.0.0.1:9/"})


@pytest.mark.parametrize("behaviour", [refuse, garbage, silence, quota, redirect])
@pytest.mark.parametrize("given", ["text", "callable", "environment"])
def test_a_failed_connect_tells_the_key_nowhere(
    behaviour: Callable[[Line], None],
    given: str,
    log: io.StringIO,
    trace: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", KEY)
    key: Any = {"text": KEY, "callable": lambda: KEY, "environment": None}[given]
    with Peer(behaviour) as peer:
        timeouts = Timeouts(connect=0.1 if behaviour is silence else SOON)
        client = client_for(peer.url, key, timeouts=timeouts)
        session = client.session(MODEL)
        with pytest.raises(RealtimeError) as caught:
            session.connect()
    if behaviour is not silence:
        assert "Authorization" in peer.lines[0].request
    if behaviour is not silence:  # its deadline may come before the request
        assert "request header" in trace.getvalue()  # the trace was on
    for text in (with_locals(caught.value), repr(client), repr(session), log.getvalue(), trace.getvalue()):
        assert KEY not in text
        assert KEY[5:20] not in text


def test_a_whole_session_tells_the_key_nowhere(log: io.StringIO, trace: io.StringIO) -> None:
    def broken(_: object) -> None:
        raise ValueError("mine")

    raised = Heard()
    with manual(on_done=broken, on_callback_error=raised) as at:
        at.session.append_audio(PCM)
        for event in spoken():
            at.line.send(event)
        error, _, _ = raised.get()
        at.settle()
        facts = [repr(each) for each in (at.session, at.session.info, at.session.config, at.session._connection, error)]
    assert "sent input_audio_buffer.append" in log.getvalue()
    for text in (*facts, log.getvalue(), trace.getvalue(), with_locals(error)):
        assert KEY not in text


@pytest.mark.parametrize(
    "options",
    [{"region": "nowhere"}, {"url": "ftp://x"}, {"headers": {"Host": "x"}}, {"proxy": "ftp://x"}, {"workspace": "a b"}],
    ids=lambda options: next(iter(options)),
)
def test_a_refused_argument_does_not_show_the_key_beside_it(options: Any) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        RealtimeClient(KEY, **options)
    assert KEY not in with_locals(caught.value)


@pytest.mark.parametrize("given", ["text", "callable", "environment"])
def test_a_key_that_is_refused_for_its_form_is_not_shown(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = KEY + " " + KEY
    monkeypatch.setenv("DASHSCOPE_API_KEY", bad)
    key: Any = {"text": bad, "callable": lambda: bad, "environment": None}[given]
    with pytest.raises((ValueError, AuthenticationError)) as caught:
        client_for("ws://127.0.0.1:9", key).session(MODEL).connect()
    assert KEY not in with_locals(caught.value)


def test_a_key_does_not_leave_the_process_by_pickle_or_copy() -> None:
    client = client_for("ws://127.0.0.1:9")
    session = client.session(MODEL)
    for thing in (client, session):
        with pytest.raises(Exception, match=r".") as caught:
            pickle.dumps(thing)
        assert KEY not in str(caught.value)
    secret = client._key
    with pytest.raises(TypeError, match="pickle"):
        copy.deepcopy(secret)
    assert KEY not in f"{secret} {secret!r}"


def test_a_proxy_password_shows_nowhere() -> None:
    client = RealtimeClient(
        KEY,
        url="ws://127.0.0.1:9",
        proxy="http://user:open-sesame@127.0.0.1:9",
        timeouts=Timeouts(connect=0.2),
    )
    session = client.session(MODEL)
    with pytest.raises(RealtimeError) as caught:
        session.connect()
    for text in (repr(client), repr(session), str(caught.value), repr(caught.value)):
        assert "open-sesame" not in text


def test_what_was_said_and_sent_shows_as_counts_in_logs_and_reprs(log: io.StringIO) -> None:
    """The service's own error texts may be shown; what people and models said may not."""
    said, asked = "Meine geheime Antwort", "Mein geheimer Wunsch"
    done, heard, error = Heard(), Heard(), Heard()
    with manual(on_done=done, on_input_transcript=heard, on_error=error) as at:
        at.session.append_audio(PCM)
        at.session.send_text(asked)
        at.session.update(instructions=asked)
        at.line.send(transcribed(asked))
        for event in spoken(said):
            at.line.send(event)
        at.line.send({"type": "response.audio.delta", "delta": 7, "said": said})
        at.line.send({"type": "new.kind", "said": said})
        at.line.send_frame(1, said.encode())
        at.line.send(error_event("Something is wrong."))
        response = done.get()
        transcript = heard.get()
        error.get()
        at.settle()
        texts = [repr(response), repr(transcript), repr(at.session), log.getvalue()]
    assert response.text == said
    for text in texts:
        assert "geheim" not in text
    assert f"<{len(said)} chars>" in texts[0]
    assert f"<{len(asked)} chars>" in texts[1]


def test_the_arguments_of_a_function_call_do_not_show_in_its_repr() -> None:
    calls = Heard()
    with dialled(on_function_call=calls) as at:
        for event in calling(call_item("call_1", arguments='{"secret": "geheim"}')):
            at.line.send(event)
        call = calls.get()
    assert "geheim" not in repr(call)
    assert call.arguments == {"secret": "geheim"}
