"""Who may talk, how many, and with what session: the part of a web application that has no framework in it."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import attrs

from ..client import DEFAULT_MODEL, RealtimeClient
from ..tools import Tool
from .pool import Full, Pool, Seat, Taken
from .relay import Bounds, Prepared, Relay
from .sockets import BrowserSocket

__all__ = ["Gateway", "Refused"]

_log = logging.getLogger("dashscope_rt.web")
_T = TypeVar("_T")
Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]
# authorize(request) -> the user's id, or None, which refuses
Authorize = Callable[[Any], "str | int | None"]
# configure(options, user) -> options of RealtimeClient.session: model, voice, tools, on_done, …
Configure = Callable[[Mapping[str, Any], "str | None"], Mapping[str, Any]]


@attrs.frozen
class Refused(Exception):
    """A browser is not let in.

    Attributes:
        status: HTTP status: 401, 403, 409 or 503.
        message: One sentence for the person in front of it.
    """

    status: int
    message: str

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        later = {"Retry-After": "5"} if self.status == 503 else {}
        return {"Cache-Control": "no-store", **later}


class Gateway:
    """Lets browsers in and joins each to a session of its own. Thread-safe.

    Args:
        client: The `RealtimeClient`; None makes one from the environment when it is first needed.
        authorize: Called with the framework's request; returns the user's id, "" for somebody who is let in and not
            known (and may have any number of sessions), or None to refuse (401). Without it nobody is known.
        configure: Called with the ``options`` that the page sent (anybody may have written them: take what you know and
            nothing else) and the user's id; returns options of `RealtimeClient.session`, callbacks included, which
            come on top of ``session``.
        origins: Other origins whose pages may connect, such as ``https://www.example.com``; the page's own host may
            always. ``"*"`` lets every page on the web connect with its visitor's cookies.
        limit: Sessions at once in this process.
        second: A user's second tab: ``newer`` ends the older one, ``refuse`` refuses the newer one.
        idle_s: Seconds without speech, text or an answer until a session is ended; None: never.
        bounds: `Bounds` for each browser.
        signals: Close the sessions on SIGTERM, see `Pool`.
        model: Name of the model.
        **session: Options of `RealtimeClient.session` for everybody.

    Raises:
        ValueError: A value that cannot be; the message says what is allowed.
    """

    def __init__(
        self,
        client: RealtimeClient | None = None,
        *,
        authorize: Authorize | None = None,
        configure: Configure | None = None,
        origins: Iterable[str] | Literal["*"] = (),
        limit: int = 50,
        second: Literal["newer", "refuse"] = "newer",
        idle_s: float | None = 300.0,
        bounds: Bounds | None = None,
        signals: bool = True,
        model: str = DEFAULT_MODEL,
        **session: Any,
    ) -> None:
        self._client = client
        self.authorize = authorize
        self.configure = configure
        self._any_origin = isinstance(origins, str) and origins == "*"
        self._origins = frozenset[str]() if self._any_origin else _origins(origins)
        self.bounds = bounds or Bounds()
        self.pool = Pool(limit, second=second, idle_s=idle_s, signals=signals)
        self.model = model
        self._session = session

    @property
    def client(self) -> RealtimeClient:
        """The client."""
        if self._client is None:
            self._client = RealtimeClient()
        return self._client

    # ---- letting in -------------------------------------------------------------------------------------------

    def check_origin(self, origin: str | None, host: str) -> None:
        """See that the page which connects is one of ours. Browsers always say; other programs may say what they like.

        Args:
            origin: The ``Origin`` header, or None.
            host: The ``Host`` header, with port.

        Raises:
            Refused: 403.
        """
        if origin is None or self._any_origin:
            return
        try:
            parts = urlsplit(origin)
            same = parts.scheme in ("http", "https") and _authority(parts.netloc, parts.scheme) == _authority(
                host, parts.scheme
            )
        except ValueError:
            same = False
        if not same and origin.lower().rstrip("/") not in self._origins:
            _log.warning("a page of %.200r wanted to connect to %.200r; add it to origins if it is yours", origin, host)
            raise Refused(403, "pages of this origin may not connect")

    def admit(self, request: Any, *, origin: str | None, host: str) -> Seat:
        """Check origin and login and take a seat.

        Raises:
            Refused: It is not let in.
        """
        return self._asked(self.pool.claim, request, origin, host)

    def check(self, request: Any, *, origin: str | None, host: str) -> None:
        """See whether `admit` would let somebody in; takes no seat, and nobody's away."""
        self._asked(self.pool.look, request, origin, host)

    def _asked(self, ask: Callable[[str | None], _T], request: Any, origin: str | None, host: str) -> _T:
        self.check_origin(origin, host)
        user: str | None = None
        if self.authorize is not None:
            found = self.authorize(request)
            if found is None:
                raise Refused(401, "log in first")
            user = str(found) or None
        try:
            return ask(user)
        except Full as error:
            raise Refused(503, str(error)) from None
        except Taken as error:
            raise Refused(409, str(error)) from None

    # ---- sessions ---------------------------------------------------------------------------------------------

    def relay(self, socket: BrowserSocket, seat: Seat, wrap: Wrap | None = None) -> None:
        """Serve a browser that was let in; returns when it is over, with the seat given back.

        Args:
            socket: Its WebSocket.
            seat: From `admit`.
            wrap: Put around every function of the application: callbacks, tools.
        """
        with seat:
            relay = Relay(socket, lambda options: self.prepare(options, seat.user, wrap), bounds=self.bounds)
            seat.sit(relay)
            relay.run()

    def prepare(
        self, options: Mapping[str, Any], user: str | None, wrap: Wrap | None = None, **fixed: Any
    ) -> Prepared:
        """Make a session as the application wants it for this user; it is not open yet. ``fixed`` has the last word."""
        wanted: dict[str, Any] = {"model": self.model, **self._session}
        if self.configure is not None:
            wanted.update(self.configure(options, user) or {})
        wanted.update(fixed)
        if wrap is not None:
            wanted = _wrapped(wanted, wrap)
        callbacks = {name: wanted.pop(name) for name in list(wanted) if name.startswith("on_")}
        session = self.client.session(**wanted)
        for name in callbacks:
            if not hasattr(session, name):
                raise TypeError(f"there is no callback {name}; see RealtimeSession for those there are")
        return Prepared(session, callbacks)

    def prepare_text(self, options: Mapping[str, Any], user: str | None, wrap: Wrap | None = None) -> Prepared:
        """The same for one written question: no speech, no voice activity detection."""
        return self.prepare(options, user, wrap, modalities=["text"], turn_detection=None)


def _wrapped(options: dict[str, Any], wrap: Wrap) -> dict[str, Any]:
    made = {name: wrap(value) if name.startswith("on_") else value for name, value in options.items()}
    tools: Any = made.get("tools")
    if tools:
        made["tools"] = [_wrapped_tool(tool, wrap) for tool in tools]
    return made


def _wrapped_tool(tool: Any, wrap: Wrap) -> Any:
    if isinstance(tool, Tool):  # its schema is made already
        again = copy.copy(tool)
        again.function = wrap(tool.function)
        return again
    return wrap(tool) if callable(tool) else tool


def _origins(origins: Iterable[str]) -> frozenset[str]:
    if isinstance(origins, str):
        raise ValueError(f"origins is a list such as ['https://www.example.com'], or '*', not {origins!r}")
    found = set()
    for origin in origins:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.rstrip("/"):
            raise ValueError(f"an origin is scheme, host and port, such as https://www.example.com, not {origin!r}")
        found.add(origin.lower().rstrip("/"))
    return frozenset(found)


def _authority(text: str, scheme: str) -> str:
    parts = urlsplit(f"//{text}")
    return f"{(parts.hostname or '').lower()}:{parts.port or (443 if scheme == 'https' else 80)}"
