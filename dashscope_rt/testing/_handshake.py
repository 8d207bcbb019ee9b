"""Who is let in: path, query, key and workspace of a request, and the body of a refusal."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Collection, Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from ..models import PATH
from ._hooks import Reply
from ._records import Handshake
from ._variants import Variants

SERVER = "dashscope_rt-emulator"
SWITCHING = HTTPStatus.SWITCHING_PROTOCOLS
_WORKSPACE_HOST = re.compile(r"(?P<workspace>(?:llm|ws)-[A-Za-z0-9_-]+)\.", re.ASCII)


def split_query(target: str) -> tuple[str, dict[str, str]]:
    """Path and query of a request's target; of a name given twice the first counts."""
    path, _, query = target.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    return path, dict(reversed(pairs))


def workspace_of(headers: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The workspace ids of the host name and of the header."""
    found = _WORKSPACE_HOST.match(headers.get("host", ""))
    return found["workspace"] if found else None, headers.get("x-dashscope-workspace") or None


def judge(target: str, headers: Mapping[str, str], api_keys: Collection[str] | None, variants: Variants) -> Reply:
    """Let a client in or not.

    Args:
        target: The request's path with its query.
        headers: Lower-case names.
        api_keys: The keys that are good; None: every key that is not empty.
        variants: Workspace rules, statuses and bodies.
    """
    path, query = split_query(target)
    if target.count("?") > 1:
        return _refuse(400, "InvalidParameter", "The request URL has more than one '?'.", variants)
    if path != PATH:
        return _refuse(404, "NotFound", f"There is nothing at {path}.", variants)
    scheme, _, key = headers.get("authorization", "").partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key or (api_keys is not None and key not in api_keys):
        return _refuse(variants.refusal_status, "InvalidApiKey", "Invalid API-key provided.", variants)
    if not query.get("model"):
        return _refuse(400, "InvalidParameter", "Required parameter 'model' is missing or empty.", variants)
    host, header = workspace_of(headers)
    found = host if variants.workspace_host_only else host or header
    wanted = variants.workspace
    if (variants.workspace_host_only and found is None) or (wanted is not None and wanted not in (host, found)):
        return _refuse(403, "AccessDenied", "Workspace access denied.", variants)
    return Reply()


def _refuse(status: int, code: str, message: str, variants: Variants) -> Reply:
    request_id = str(uuid.uuid4())
    bodies = {
        "flat": {"code": code, "message": message, "request_id": request_id},
        "nested": {
            "error": {"code": code, "message": message, "type": "invalid_request_error"},
            "request_id": request_id,
        },
        "empty": {},
    }
    headers = {"X-Request-Id": request_id, "X-DashScope-Request-Id": request_id}
    return Reply(status, json.dumps(bodies[variants.refusal_body]), headers)


def describe(number: int, request: Request) -> Handshake:
    """What is recorded of a request."""
    headers = {name.lower(): value for name, value in request.headers.raw_items()}
    path, query = split_query(request.path)
    host, header = workspace_of(headers)
    model = query.get("model")
    return Handshake(number, time.monotonic(), path, query, headers, model=model, workspace=host or header)


def response_of(reply: Reply) -> Response:
    """A refusal as websockets sends it."""
    body = reply.body.encode()
    try:
        phrase = HTTPStatus(reply.status).phrase
    except ValueError:
        phrase = "Refused"
    headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"})
    return Response(reply.status, phrase, headers, body)
