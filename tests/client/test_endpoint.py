"""Where a session goes, what it says there, and what is refused before anything is sent."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import pytest
import websocket

from dashscope_rt import AuthenticationError, RealtimeClient, __version__
from tests.client.wire import KEY, MODEL, client_for
from tests.peer import CREATED, Line, Peer


@attrs.define
class Front:
    """A peer that lets everybody in and keeps the requests."""

    url: str
    requests: list[str] = attrs.field(factory=list)

    def headers(self, number: int = 0) -> dict[str, str]:
        lines = self.requests[number].split("\r\n")[1:]
        return {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}

    def target(self, number: int = 0) -> str:
        return self.requests[number].split(" ")[1]


@pytest.fixture
def front() -> Iterator[Front]:
    def script(line: Line) -> None:
        line.accept()
        seen.requests.append(line.request)
        line.send(CREATED)
        line.drain()

    with Peer(script) as peer:
        seen = Front(peer.url)
        yield seen


def visit(client: RealtimeClient, model: str = MODEL) -> None:
    with client.session(model):
        pass


def test_the_request_carries_key_model_and_who_asks(front: Front) -> None:
    visit(
        client_for(front.url, user_agent="my-app/2", headers={"X-Trace": "a b", "x-dashscope-datainspection": "enable"})
    )
    headers = front.headers()
    assert urlsplit(front.target()).path == "/api-ws/v1/realtime"
    assert parse_qs(urlsplit(front.target()).query) == {"model": [MODEL]}
    assert headers["authorization"] == f"Bearer {KEY}"
    assert re.fullmatch(
        rf"my-app/2 dashscope_rt/{re.escape(__version__)} python/3\.\d+\.\d+ \w+", headers["user-agent"]
    )
    assert headers["x-trace"] == "a b"
    assert headers["x-dashscope-datainspection"] == "enable"
    assert "origin" not in headers
    assert "sec-websocket-protocol" not in headers
    assert "x-dashscope-workspace" not in headers
    assert headers["host"] == urlsplit(front.url).netloc


def test_the_authorization_header_is_there_exactly_once(front: Front) -> None:
    visit(client_for(front.url))
    assert front.requests[0].lower().count("authorization:") == 1


def test_a_cookie_of_one_connection_is_not_sent_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """websocket-client keeps the cookies of all connections of the process, whoever's they are, in one jar."""
    monkeypatch.setattr(websocket._handshake.CookieJar, "jar", {})
    requests = []

    def script(line: Line) -> None:
        line.accept("Set-Cookie: seen=one; Domain=127.0.0.1; Path=/")
        requests.append(line.request)
        line.send(CREATED)
        line.drain()

    with Peer(script) as peer:
        visit(client_for(peer.url))
        visit(client_for(peer.url, "sk-of-somebody-else"))
    assert "cookie" not in requests[1].lower()


# ---- the key ------------------------------------------------------------------------------------------------------


def test_the_key_comes_from_the_argument_before_the_environment(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-environment")
    visit(client_for(front.url, "sk-argument"))
    visit(client_for(front.url, None))
    assert front.headers(0)["authorization"] == "Bearer sk-argument"
    assert front.headers(1)["authorization"] == "Bearer sk-environment"


def test_a_callable_key_is_called_for_every_connection(front: Front) -> None:
    keys = iter(["sk-first", "sk-second"])
    client = client_for(front.url, lambda: next(keys))
    session = client.session(MODEL)
    for _ in range(2):
        with session:
            pass
    assert [front.headers(at)["authorization"] for at in (0, 1)] == ["Bearer sk-first", "Bearer sk-second"]


def test_creating_client_and_session_needs_no_key_and_asks_for_none() -> None:
    client = client_for("ws://127.0.0.1:9", lambda: pytest.fail("the key was asked for"))
    client.session(MODEL, voice="Tina")
    RealtimeClient().session(MODEL)


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_key_is_told_with_where_it_was_looked_for(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is not None:
        monkeypatch.setenv("DASHSCOPE_API_KEY", value)
    with pytest.raises(AuthenticationError, match=r"api_key=.*DASHSCOPE_API_KEY"):
        client_for("ws://127.0.0.1:9", None).session(MODEL).connect()


@pytest.mark.parametrize("key", ["", "  ", "sk-a\r\nX-Evil: 1", "sk-a b", "sk-ä", "sk-\0", 7, b"sk-1"])
def test_a_key_that_cannot_be_one_is_refused_without_showing_it(key: Any) -> None:
    with pytest.raises(ValueError, match="API key") as direct:
        client_for("ws://127.0.0.1:9", key) if isinstance(key, str) else client_for(
            "ws://127.0.0.1:9", lambda: key
        ).session(MODEL).connect()
    if str(key).strip():
        assert str(key) not in str(direct.value)
    with pytest.raises(ValueError, match="API key"):
        client_for("ws://127.0.0.1:9", lambda: key).session(MODEL).connect()


def test_what_the_callable_raises_reaches_the_caller_and_leaves_the_session_closed() -> None:
    def key() -> str:
        raise LookupError("the vault is sealed")

    session = client_for("ws://127.0.0.1:9", key).session(MODEL)
    with pytest.raises(LookupError, match="vault"):
        session.connect()
    assert not session.is_open
    session.close()


# ---- the URL ------------------------------------------------------------------------------------------------------

PATH = "/api-ws/v1/realtime"


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "wss://dashscope.aliyuncs.com" + PATH),
        ({"region": "ap-southeast-1"}, "wss://dashscope-intl.aliyuncs.com" + PATH),
        ({"workspace": "llm-1"}, "wss://llm-1.cn-beijing.maas.aliyuncs.com" + PATH),
        ({"workspace": "ws-1", "region": "ap-southeast-1"}, "wss://ws-1.ap-southeast-1.maas.aliyuncs.com" + PATH),
        ({"workspace": "llm-1", "workspace_host": False}, "wss://dashscope.aliyuncs.com" + PATH),
        ({"url": "wss://gateway.example/any/path?x=1"}, "wss://gateway.example/any/path?x=1"),
        ({"url": "https://dashscope.aliyuncs.com/compatible-mode/v1"}, "wss://dashscope.aliyuncs.com" + PATH),
        ({"url": "https://dashscope.aliyuncs.com/api/v1/"}, "wss://dashscope.aliyuncs.com" + PATH),
        ({"url": "http://127.0.0.1:8000"}, "ws://127.0.0.1:8000" + PATH),
        ({"url": "wss://host.example"}, "wss://host.example" + PATH),
        ({"url": "ws://[::1]:8000"}, "ws://[::1]:8000" + PATH),
    ],
)
def test_region_workspace_and_url_make_the_endpoint(options: Mapping[str, Any], url: str) -> None:
    assert RealtimeClient(**options).url == url


def test_the_environment_fills_in_what_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_REGION", "ap-southeast-1")
    monkeypatch.setenv("DASHSCOPE_WORKSPACE", "llm-9")
    assert RealtimeClient().url == "wss://llm-9.ap-southeast-1.maas.aliyuncs.com" + PATH
    assert RealtimeClient(region="cn-beijing").url == "wss://llm-9.cn-beijing.maas.aliyuncs.com" + PATH
    assert RealtimeClient(workspace="ws-2").url == "wss://ws-2.ap-southeast-1.maas.aliyuncs.com" + PATH
    monkeypatch.setenv("DASHSCOPE_REALTIME_URL", "wss://own.example/x")
    assert RealtimeClient().url == "wss://own.example/x"
    assert RealtimeClient(region="cn-beijing").url == "wss://llm-9.cn-beijing.maas.aliyuncs.com" + PATH


def test_the_workspace_goes_into_the_header_where_it_is_not_in_the_host(front: Front) -> None:
    visit(client_for(front.url, workspace="llm-1"))
    assert front.headers()["x-dashscope-workspace"] == "llm-1"


@pytest.mark.parametrize(
    ("own", "merged"),
    [
        ("", {"model": [MODEL]}),
        ("?", {"model": [MODEL]}),
        ("?a=1&b=&a=2", {"a": ["1", "2"], "b": [""], "model": [MODEL]}),
        (f"?model={MODEL}&a=1", {"model": [MODEL], "a": ["1"]}),
        ("?text=%E4%BD%A0%26", {"text": ["你&"], "model": [MODEL]}),
    ],
)
def test_the_model_is_merged_into_the_query_of_the_url(front: Front, own: str, merged: dict[str, list[str]]) -> None:
    visit(client_for(front.url + own))
    assert front.target().count("?") == 1
    assert parse_qs(urlsplit(front.target()).query, keep_blank_values=True) == merged


def test_two_models_in_one_url_are_refused() -> None:
    with pytest.raises(ValueError, match="leave it out of the url"):
        client_for("ws://127.0.0.1:9/x?model=other").session(MODEL)


@pytest.mark.parametrize("model", ["a model&x=1", "qwen/ü#?", "a+b"])
def test_any_name_of_a_model_arrives_as_it_is_with_a_warning(front: Front, model: str) -> None:
    with pytest.warns(UserWarning, match="does not look like a model of the realtime API"):
        visit(client_for(front.url), model)
    assert parse_qs(urlsplit(front.target()).query) == {"model": [model]}


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("wss://user:secret@host/x", "user name or a password"),
        ("wss://sk-key@host/x", "user name or a password"),
        ("ftp://host/x", "must begin with wss://"),
        ("host/x", "must begin with wss://"),
        ("wss:///x", "names no host"),
        ("wss://host:0/x", "host"),
        ("wss://host:99999/x", "port"),
        ("wss://host:a/x", "port"),
        ("wss://host/x\r\nX-Evil: 1", "line breaks"),
        ("wss://ho st/x", "blanks"),
        ("wss://host/x\ty", "blanks"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_at_once_with_why(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        client_for(url)
    assert "secret" not in str(caught.value)
    assert "sk-key" not in str(caught.value)


@pytest.mark.parametrize("workspace", ["a.b", "evil.example/", "a b", "-x", "a\r\nb"])
def test_a_workspace_that_is_no_host_label_is_refused(workspace: str) -> None:
    with pytest.raises(ValueError, match="workspace"):
        RealtimeClient("sk-1", workspace=workspace)


def test_a_workspace_with_a_line_break_is_refused_as_a_header_too() -> None:
    with pytest.raises(ValueError, match=r"line breaks|workspace"):
        client_for("wss://host/x", workspace="a\r\nX-Evil: 1")


def test_an_unknown_region_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="cn-beijing, ap-southeast-1"):
        RealtimeClient("sk-1", region="us-east-1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "1\r\nX-Evil: 1"),
        ("X-A", "1\nX-Evil: 1"),
        ("X-A", "\0"),
        ("X-A", "ü"),
        ("X-A", 5),
        ("X-A\r\nX-Evil", "1"),
        ("X A", "1"),
        ("X:A", "1"),
        ("", "1"),
        ("Authorization", "Bearer x"),
        ("authorization", "Bearer x"),
        ("HOST", "x"),
        ("Upgrade", "x"),
        ("Sec-WebSocket-Key", "x"),
    ],
)
def test_a_header_that_could_smuggle_something_in_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match="header"):
        client_for("ws://127.0.0.1:9", headers={name: value})


def test_a_user_agent_with_a_line_break_is_refused() -> None:
    with pytest.raises(ValueError, match="user-agent"):
        client_for("ws://127.0.0.1:9", user_agent="a\r\nX-Evil: 1")


@pytest.mark.parametrize("model", ["", "  ", None, 7])
def test_a_model_must_be_a_name(model: Any) -> None:
    with pytest.raises(ValueError, match="model"):
        client_for("ws://127.0.0.1:9").session(model)


def test_a_client_serves_many_threads(front: Front) -> None:
    client = client_for(front.url)
    threads = [threading.Thread(target=visit, args=(client,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(front.requests) == 8
