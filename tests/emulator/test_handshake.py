"""Who is let in, and how the others are told."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Response
from websockets.sync.client import connect

from dashscope_rt.testing import Emulator

from .conftest import Service
from .talk import KEY, MODEL, SOON, Talk


def refused(emulator: Emulator, target: str = f"?model={MODEL}", headers: Any = KEY) -> Response:
    with ExitStack() as stack, pytest.raises(InvalidStatus) as caught:
        stack.enter_context(connect(emulator.url + target, additional_headers=headers, open_timeout=SOON))
    return caught.value.response


def body_of(response: Response) -> Any:
    return json.loads(bytes(response.body or b""))


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer "}, {"Authorization": "Bearer sk-bad"}, {"Authorization": "sk-good"},
                {"Authorization": "Basic sk-good"}],
)  # fmt: skip
def test_a_wrong_key_is_refused(service: Service, headers: dict[str, str]) -> None:
    emulator = service(api_keys={"sk-good"})
    response = refused(emulator, headers=headers)
    body = body_of(response)
    assert response.status_code == 401
    assert (body["code"], body["message"]) == ("InvalidApiKey", "Invalid API-key provided.")
    assert body["request_id"] == response.headers["X-Request-Id"] == response.headers["X-DashScope-Request-Id"]
    assert emulator.wait_closed().status == 401


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_good_key_is_let_in(service: Service, scheme: str) -> None:
    emulator = service(api_keys=["sk-good", "sk-other"])
    talk = Talk(f"{emulator.url}?model={MODEL}", additional_headers={"Authorization": f"{scheme} sk-good"})
    assert talk.next()["type"] == "session.created"
    assert talk.socket.response is not None
    assert talk.socket.response.headers["Server"] == "dashscope_rt-emulator"
    talk.close()


def test_any_key_is_good_when_none_was_given_but_not_none(service: Service) -> None:
    emulator = service()
    service.talk(emulator)
    assert refused(emulator, headers={}).status_code == 401


@pytest.mark.parametrize(
    ("shape", "check"),
    [
        ("flat", lambda body: body["code"]),
        ("nested", lambda body: body["error"]["code"]),
        ("empty", lambda body: "InvalidApiKey" if body == {} else body),
    ],
)
def test_bodies_and_status_of_a_refusal(service: Service, shape: str, check: Any) -> None:
    response = refused(service(api_keys="sk-good", refusal_body=shape, refusal_status=403))
    assert response.status_code == 403
    assert check(body_of(response)) == "InvalidApiKey"
    assert response.headers["X-Request-Id"]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("", 400), ("?model=", 400), ("?other=1", 400), (f"?model={MODEL}?x=1", 400), (f"?x=1?model={MODEL}", 400),
        (f"/?model={MODEL}", 404), (f"/more?model={MODEL}", 404),
    ],
)  # fmt: skip
def test_the_url_must_be_right(service: Service, target: str, status: int) -> None:
    assert refused(service(), target).status_code == status


def test_the_path_must_be_right(service: Service) -> None:
    emulator = service()
    url = emulator.url.replace("realtime", "inference")
    with ExitStack() as stack, pytest.raises(InvalidStatus) as caught:
        stack.enter_context(connect(f"{url}?model={MODEL}", additional_headers=KEY))
    assert caught.value.response.status_code == 404


def test_a_model_nobody_knows_opens_and_ends(service: Service) -> None:
    talk = service.talk(service(), model="gpt-9", opened=False)
    assert talk.next()["session"]["model"] == "gpt-9"
    with pytest.raises(ConnectionClosed) as caught:
        talk.next()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1005


@pytest.mark.parametrize("model", ["qwen3.9-omni-ultra-realtime", "qwen3.5-omni-plus-realtime-2027-01-01"])
def test_a_new_model_of_a_family_opens(service: Service, model: str) -> None:
    talk = service.talk(service(), model=model)
    assert talk.update()["model"] == model


@pytest.mark.parametrize(
    ("options", "headers", "opens"),
    [
        ({"workspace": "ws-1"}, {"X-DashScope-WorkSpace": "ws-1"}, True),
        ({"workspace": "ws-1"}, {"Host": "ws-1.cn-beijing.maas.aliyuncs.com"}, True),
        ({"workspace": "ws-1"}, {"X-DashScope-WorkSpace": "ws-2"}, False),
        ({"workspace": "ws-1"}, {}, False),
        ({"workspace_host_only": True}, {"Host": "llm-a.cn-beijing.maas.aliyuncs.com"}, True),
        ({"workspace_host_only": True}, {"X-DashScope-WorkSpace": "ws-1"}, False),
        ({"workspace_host_only": True, "workspace": "ws-1"}, {"Host": "ws-2.x.maas.aliyuncs.com"}, False),
    ],
)  # fmt: skip
def test_workspaces(options: dict[str, Any], headers: dict[str, str], opens: bool) -> None:
    from dashscope_rt.testing import Variants
    from dashscope_rt.testing._handshake import judge

    given = {
        "authorization": "Bearer sk",
        "host": "127.0.0.1",
        **{name.lower(): value for name, value in headers.items()},
    }
    reply = judge(f"/api-ws/v1/realtime?model={MODEL}", given, None, Variants(**options))
    assert reply.status == (101 if opens else 403)


def test_the_handshake_is_recorded(service: Service) -> None:
    emulator = service()
    headers = {**KEY, "X-DashScope-WorkSpace": "llm-7", "X-Mine": "me/1"}
    talk = Talk(f"{emulator.url}?model={MODEL}&x=a%20b", additional_headers=headers)
    seen = emulator.wait_for_connection()
    assert (seen.status, seen.path, seen.query) == (101, "/api-ws/v1/realtime", {"model": MODEL, "x": "a b"})
    assert (seen.model, seen.workspace, seen.headers["x-mine"]) == (MODEL, "llm-7", "me/1")
    assert seen.headers["authorization"] == "Bearer sk-test"
    assert "sk-test" not in repr(seen)
    talk.socket.close(4321, "enough")
    ended = emulator.wait_closed()
    assert (ended.closed_by, ended.close_code, ended.close_reason) == ("client", 4321, "enough")
    talk.close()


def test_plain_http_is_refused(service: Service) -> None:
    import http.client

    emulator = service()
    connection = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=SOON)
    connection.request("GET", f"/api-ws/v1/realtime?model={MODEL}", headers=KEY)
    assert connection.getresponse().status == 426
    connection.close()
