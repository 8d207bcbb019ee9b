"""Every exception this package raises, and the one place that maps a refusal to one of them.

    RealtimeError                        .retryable, .hint
    ├── APIError                         the service said no: .status .code .error_type .param .request_id .body .event
    │   ├── AuthenticationError          the key is missing, wrong, expired, or of the other region (401)
    │   ├── PermissionDeniedError        the key is good, this model or workspace is not open to it (403)
    │   ├── QuotaExceededError           free tier or allocated quota used up, or the account is in arrears
    │   ├── RateLimitError               too many requests just now (429); retryable
    │   ├── BadRequestError              the request itself is wrong (400, invalid_request_error)
    │   │   └── ModelNotFoundError       no such model for this key, region or workspace (404)
    │   └── ServiceBusyError             the service failed or is overloaded (5xx, server_error); retryable
    ├── ConnectionFailed                 DNS, TCP, TLS, proxy or the upgrade failed; retryable (certificates: not)
    ├── DeadlineExceeded                 a wait or a send ran out of time; also a builtin TimeoutError; retryable
    ├── ProtocolError                    the peer broke the WebSocket or the event protocol; retryable
    │   └── MessageTooLarge              a message above the limit was announced; it was not read
    ├── ConnectionClosed                 the session is over: .info says who ended it, with which code, reason and error
    ├── UnsupportedByModel               this model cannot do that; also a ValueError
    ├── WaitInCallbackError              a wait inside a callback that only another callback could end
    └── ForkedSessionError               the session belongs to the parent process

This module knows nothing of the rest of the package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import attrs

__all__ = [
    "APIError",
    "AuthenticationError",
    "BadRequestError",
    "CloseInfo",
    "ConnectionClosed",
    "ConnectionFailed",
    "DeadlineExceeded",
    "ForkedSessionError",
    "MessageTooLarge",
    "ModelNotFoundError",
    "PermissionDeniedError",
    "ProtocolError",
    "QuotaExceededError",
    "RateLimitError",
    "RealtimeError",
    "ServiceBusyError",
    "UnsupportedByModel",
    "WaitInCallbackError",
]

_BODY_LIMIT = 2000  # characters of a refusal's body that are kept: enough for every text seen, bounded for logs


class RealtimeError(Exception):
    """Root of every exception this package raises on purpose.

    Attributes:
        retryable: True when the same call may succeed later without any change.
    """

    retryable: bool = False


class APIError(RealtimeError):
    """The service refused something: at the handshake, in an ``error`` event, or in a close reason.

    Attributes:
        message: The service's own text.
        status: HTTP status of a refused handshake, or ``error.status`` of an event; None otherwise.
        code: The service's error code as it spelt it (the same error comes in several spellings); may be "".
        error_type: ``error.type`` of an ``error`` event, e.g. ``invalid_request_error``; may be "".
        param: The field at fault, when the service names it.
        request_id: From the body or a request-id header; quote it to Alibaba Cloud's support.
        client_event_id: The ``event_id`` of the client event at fault, when the service names it.
        body: The refused handshake's body, at most 2,000 characters.
        event: The ``error`` event this was made from, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        error_type: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        client_event_id: str | None = None,
        body: str | None = None,
        event: object = None,
    ) -> None:
        self.message = message
        self.status = status
        self.code = code or ""
        self.error_type = error_type or ""
        self.param = param
        self.request_id = request_id
        self.client_event_id = client_event_id
        self.body = body
        self.event = event
        super().__init__(message)

    def __str__(self) -> str:
        facts = [f"HTTP {self.status}" if self.status else "", self.code]
        if self.param:
            facts.append(f"param {self.param}")
        if self.request_id:
            facts.append(f"request id {self.request_id}")
        known = ", ".join(fact for fact in facts if fact)
        return f"{self.message} [{known}]" if known else self.message


class AuthenticationError(APIError):
    """The API key is missing, wrong, expired, or belongs to the other region."""


class PermissionDeniedError(APIError):
    """The key is valid, but this model or workspace is not open to it."""


class QuotaExceededError(APIError):
    """The free tier or the allocated quota is used up, or the account is in arrears; retrying does not help."""


class RateLimitError(APIError):
    """Too many requests just now; wait and try again."""

    retryable = True


class BadRequestError(APIError):
    """The service understood who asks, and refuses what is asked."""


class ModelNotFoundError(BadRequestError):
    """There is no such model for this key, region or workspace."""


class ServiceBusyError(APIError):
    """The service failed or is overloaded; the same request may succeed later."""

    retryable = True


class ConnectionFailed(RealtimeError, ConnectionError):
    """No connection came about: DNS, TCP, TLS, a proxy, or an answer that is no WebSocket."""

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable


class DeadlineExceeded(RealtimeError, TimeoutError):
    """A wait or a send took longer than its deadline; the session itself goes on unless the text says otherwise."""

    retryable = True


class ProtocolError(RealtimeError):
    """The peer broke the WebSocket protocol, so nothing after it can be trusted; the next connection may be whole."""

    retryable = True

    def __init__(self, message: str, *, close_code: int = 1002) -> None:
        super().__init__(message)
        self.close_code = close_code


class MessageTooLarge(ProtocolError):
    """A message above the limit was announced; it was refused before it was read."""

    retryable = False

    def __init__(self, message: str) -> None:
        super().__init__(message, close_code=1009)


@attrs.frozen(kw_only=True)
class CloseInfo:
    """How and why a session ended.

    Attributes:
        who: "client" (``close()`` was called), "server" (a close frame came), or "network" (the connection was lost).
        code: WebSocket close code: the server's, or ours; 1006 when the connection was lost without one.
        reason: The server's text, whole even where it is longer than the 123 bytes a close frame may carry.
        error: What made it end, when something went wrong: the last fatal server error or the transport's failure.
        unsent_events: Client events that were queued and never left this process.
        unsent_audio_bytes: Raw audio bytes among them.
    """

    who: Literal["client", "server", "network"]
    code: int
    reason: str = ""
    error: RealtimeError | None = None
    unsent_events: int = 0
    unsent_audio_bytes: int = 0

    def __str__(self) -> str:
        if self.who == "server" and self.code == 1006 and self.error is not None:  # no close frame said so
            return f"ended by the server: {self.error}"
        text = f"closed by the {self.who}" if self.who != "network" else "connection lost"
        text += f" (code {self.code}" + (f", {self.reason!r})" if self.reason else ")")
        return f"{text}: {self.error}" if self.error is not None else text


class ConnectionClosed(RealtimeError, ConnectionError):
    """The session is over; ``info`` says who ended it and why.

    Attributes:
        info: The `CloseInfo` that ``on_close`` got too; None when the session was never open.
    """

    def __init__(self, message: str, info: CloseInfo | None = None) -> None:
        super().__init__(message)
        self.info = info
        self.retryable = info is not None and (info.error is None or info.error.retryable)


class UnsupportedByModel(RealtimeError, ValueError):
    """The model of this session cannot do what was asked; nothing was sent."""


class WaitInCallbackError(RealtimeError, RuntimeError):
    """A callback waits for something that only another callback could bring about; it would never end."""


class ForkedSessionError(RealtimeError):
    """The session was opened by the parent process; its threads and its socket do not exist in this one."""


# What the service says, normalised to lower-case letters and digits, because the same error comes in several
# spellings (InvalidApiKey, invalid_api_key). Order matters: the first row that matches decides.
_BY_CODE: tuple[tuple[tuple[str, ...], type[APIError]], ...] = (
    (("invalidapikey", "apikeyinvalid", "unauthorized", "authenticationerror"), AuthenticationError),
    (
        ("freetier", "insufficientquota", "allocatedquota", "allocationquota", "arrearage", "quotaexceeded"),
        QuotaExceededError,
    ),
    (("throttling", "ratelimit", "ratequota", "requestrateincreased", "toomanyrequests"), RateLimitError),
    (("modelnotfound", "modelnotexist", "modelnotsupport"), ModelNotFoundError),
    (("accessdenied", "workspacenotfound", "forbidden", "permissiondenied"), PermissionDeniedError),
    (
        ("internalservice", "internalerror", "servererror", "modelserving", "commonerror", "serviceunavailable"),
        ServiceBusyError,
    ),
    (("responseidletimeout", "responsestreamtimeout", "responsetimeout"), ServiceBusyError),
    (
        ("invalidrequest", "invalidvalue", "invalidparameter", "cannotupdatevoice", "datainspection", "badrequest"),
        BadRequestError,
    ),
)
_BY_STATUS: dict[int, type[APIError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: ModelNotFoundError,
    429: RateLimitError,
}
# "Throttling.AllocationQuota" is a rate of tokens per minute, not a used-up quota: it passes by itself.
_RATE_FIRST = "throttling"
_REQUEST_ID_HEADERS = ("x-request-id", "x-dashscope-request-id", "x-acs-request-id")


def _normal(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())


def classify(*texts: str | None, status: int | None = None) -> type[APIError]:
    """Choose the exception for a refusal from its code, type and message, then from its HTTP status.

    Args:
        *texts: Code, type, message or close reason, most telling first; None and "" are skipped.
        status: HTTP status, if there is one.

    Returns:
        The class to raise; `APIError` itself when nothing is known.
    """
    for text in texts:
        normal = _normal(text or "")
        if normal.startswith(_RATE_FIRST):
            return RateLimitError
        for words, kind in _BY_CODE:
            if any(word in normal for word in words):
                # A 401 stays an authentication error whatever its text mentions.
                return AuthenticationError if status == 401 else kind
    if status is not None and status >= 500:
        return ServiceBusyError
    return _BY_STATUS.get(status or 0, APIError if status is None else BadRequestError)


def from_handshake(status: int, headers: Mapping[str, str], body: bytes | str | None) -> APIError:
    """Turn a refused WebSocket upgrade into an exception.

    The body may be flat (``code``, ``message``, ``request_id``), nested under ``error``, empty, ``{}`` (workspace
    hosts), or no JSON at all. Source: handshake failures as reported by several clients.

    Args:
        status: HTTP status, for example 401.
        headers: Response headers; names in any case.
        body: Response body, or None.

    Returns:
        The exception to raise, of the class that `classify` chose.
    """
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else (body or "")
    try:
        parsed: Any = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        parsed = {}
    outer = parsed if isinstance(parsed, dict) else {}
    nested = outer.get("error")
    inner = nested if isinstance(nested, dict) else outer
    code, message = _text(inner.get("code")), _text(inner.get("message"))
    lower = {name.lower(): value for name, value in headers.items()}
    request_id = _text(inner.get("request_id")) or _text(outer.get("request_id"))
    for name in _REQUEST_ID_HEADERS:
        request_id = request_id or lower.get(name, "")
    kind = classify(code, _text(inner.get("type")), message, status=status)
    if not message:
        plain = text.strip() if not outer and not text.lstrip().startswith(("{", "<")) else ""
        message = plain[:200] or f"the server refused the WebSocket upgrade with HTTP {status}"
    hint = _HINTS.get(kind)
    return kind(
        f"{message} ({hint})" if hint else message,
        status=status,
        code=code,
        error_type=_text(inner.get("type")),
        param=_text(inner.get("param")) or None,
        request_id=request_id or None,
        body=text[:_BODY_LIMIT] or None,
    )


_HINTS: dict[type[APIError], str] = {
    AuthenticationError: "check the API key, and that it belongs to the region and workspace you connect to",
    PermissionDeniedError: "check that the model and the workspace are open to this API key",
    ModelNotFoundError: "check the model's name, and that this region or workspace offers it",
}


def from_close(code: int, reason: str) -> APIError | None:
    """Turn a server's close code and reason into an exception; None for a close that is no failure (1000, 1001 silent).

    Codes are not documented, so the reason decides first: DashScope closes with 1007 when the free tier is used up.
    """
    if code in (1000, 1005) and not reason:
        return None
    kind = classify(reason)
    if kind is APIError:
        kind = ServiceBusyError if code in (1001, 1006, 1011, 1012, 1013) else APIError
    if kind is APIError and code in (1000, 1005):
        return None
    return kind(reason or f"the server closed the connection with code {code}", code=str(code))


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
