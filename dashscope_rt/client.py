"""The client: key, region, workspace, endpoint. It opens nothing; its sessions do."""

from __future__ import annotations

import functools
import os
import ssl
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ._network import endpoint as _endpoint
from ._network import secret as _secret
from ._network.secret import Secret
from ._network.transport import Endpoint
from ._version import __version__
from .config import UNSET, Keepalive, Limits, Reconnect, SessionConfig, Timeouts, Unset, merge
from .errors import AuthenticationError
from .models import lookup

if TYPE_CHECKING:
    from .images import Image
    from .session import RealtimeSession
    from .tools import Tool, ToolPolicy
    from .turns import Turn

_KEY_VARIABLE = "DASHSCOPE_API_KEY"
DEFAULT_MODEL = "qwen3.5-omni-flash-realtime"


class RealtimeClient:
    """Where the service is and who is asking. Thread-safe; one client serves any number of sessions.

    What is not given comes from the environment: ``DASHSCOPE_API_KEY``, ``DASHSCOPE_REGION``, ``DASHSCOPE_WORKSPACE``,
    ``DASHSCOPE_REALTIME_URL``. Creating it opens nothing and needs no key yet.

    Args:
        api_key: The key, or a function that returns one, called for every connection (temporary keys).
        region: ``cn-beijing`` (default) or ``ap-southeast-1``; a key works in its own region only.
        workspace: Workspace id; connects to the workspace's own host, as the newest models want.
        workspace_host: False sends the id in the header ``X-DashScope-WorkSpace`` to the public host instead.
        url: Another endpoint altogether: ``wss://``, ``ws://``, or an ``https://`` base of the HTTP APIs. Its query is
            kept; ``workspace`` then goes into the header.
        headers: Further request headers.
        proxy: ``http://`` or ``socks5://`` URL; None takes the environment's, "" none at all.
        ca_file: PEM file with a CA of your own, trusted besides the system's.
        ssl_context: Instead: a context of your own, used as it is.
        user_agent: Put before the package's own in the ``user-agent`` header.
        timeouts: `Timeouts`, seconds.
        keepalive: `Keepalive`: pings of the WebSocket.
        limits: `Limits`, bytes.

    Raises:
        ValueError: A value that cannot be used; the message says what is allowed.
    """

    def __init__(
        self,
        api_key: str | Callable[[], str] | None = None,
        *,
        region: str | None = None,
        workspace: str | None = None,
        workspace_host: bool = True,
        url: str | None = None,
        headers: Mapping[str, str] | None = None,
        proxy: str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        user_agent: str | None = None,
        timeouts: Timeouts | None = None,
        keepalive: Keepalive | None = None,
        limits: Limits | None = None,
    ) -> None:
        if ca_file is not None and ssl_context is not None:
            raise ValueError("give ca_file or ssl_context, not both; load the CA into your own context")
        key = Secret(api_key) if isinstance(api_key, str) else api_key
        del api_key  # a traceback with locals must not show it, whatever is refused below
        self._key: Callable[[], str] | Secret | None = _secret.api_key(key) if isinstance(key, Secret) else key
        environment = os.environ
        url = (
            url or (environment.get("DASHSCOPE_REALTIME_URL") if region is None and workspace is None else None) or None
        )
        region = region or environment.get("DASHSCOPE_REGION") or "cn-beijing"
        workspace = workspace or environment.get("DASHSCOPE_WORKSPACE") or None
        self._region = "" if url else region
        self._url = _endpoint.base_url(url=url, region=region, workspace=workspace, workspace_host=workspace_host)
        names = {"user-agent": " ".join(filter(None, (user_agent, _user_agent())))}
        if workspace is not None and (url is not None or not workspace_host):
            names["X-DashScope-WorkSpace"] = workspace
        self._headers = _endpoint.checked_headers({**names, **(headers or {})})
        self._proxy: Secret | None = None
        if proxy:
            self._proxy = Secret(_endpoint.proxy_for(self._url, proxy) or "")
        self._no_proxy = proxy == ""
        self._ca_file = ca_file
        self._ssl_context = ssl_context
        self._ssl_lock = threading.Lock()  # guards the making of the one shared context
        self.timeouts = timeouts or Timeouts()
        self.keepalive = keepalive or Keepalive()
        self.limits = limits or Limits()

    @property
    def url(self) -> str:
        """The endpoint without the model."""
        return self._url

    def __repr__(self) -> str:
        return f"<RealtimeClient {self._url}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Show in a notebook where it goes and where its key is from; never the key."""
        from ._display import Sheet, bundle  # not loaded before somebody looks

        if self._key is not None:
            key = "•••••••• given as api_key" if isinstance(self._key, Secret) else "from a function, at every connect"
        elif os.environ.get(_KEY_VARIABLE, "").strip():
            key = f"•••••••• from {_KEY_VARIABLE}"
        else:
            key = f"missing: give api_key, or set {_KEY_VARIABLE}"
        proxy = "yes" if self._proxy is not None else ""
        rows = (("host", urlsplit(self._url).netloc), ("region", self._region), ("key", key), ("proxy", proxy))
        return bundle(Sheet(name="RealtimeClient", rows=tuple((label, value) for label, value in rows if value)))

    def session(
        self,
        model: str = DEFAULT_MODEL,
        config: SessionConfig | None = None,
        *,
        reconnect: Reconnect | bool = False,
        tools: Iterable[Any] | Unset | None = UNSET,
        tool_policy: ToolPolicy | None = None,
        allow_unsupported: bool = False,
        **options: Any,
    ) -> RealtimeSession:
        """Prepare a session; nothing is opened before ``connect()`` or ``with``.

        Args:
            model: Name of the model; unknown names are taken for the family they look like.
            config: A `SessionConfig`, or
            reconnect: What to do when the connection is lost: False ends the session, True goes on with the defaults of
                `Reconnect`, or a policy of your own.
            tools: What the model may call: functions (see `Tool` for how they are described to it), `Tool`,
                `FunctionTool` or a dict for those answered by ``on_function_call``, `McpTool`.
            tool_policy: `ToolPolicy`: how long a function may take, and how often functions are called in a turn.
            allow_unsupported: Send also what this model is known not to take, and let the service decide.
            **options: the fields of `SessionConfig` (``voice=…``, ``turn_detection=None``, …) and callbacks
                (``on_audio_delta=…``), registered before anything can be missed.

        Raises:
            ValueError: A field's value is outside its documented range.
            UnsupportedByModel: The model cannot do that.
            TypeError: There is no such field or callback; the message names the nearest. Or no schema can be made of a
                function; the message names it and the parameter.
        """
        if not isinstance(model, str) or not model.strip():
            raise ValueError("model must be a name such as 'qwen3.5-omni-flash-realtime'")
        # Here, because a program that only prepares a client need not load what a session needs.
        from ._session.callbacks import check_names
        from .session import RealtimeSession
        from .tools import divided

        if not lookup(model).known and "realtime" not in model:
            warnings.warn(
                f"{model!r} does not look like a model of the realtime API: their names hold -realtime", stacklevel=2
            )
        callbacks = check_names(options)
        fields = {name: value for name, value in options.items() if not name.startswith("on_")}
        functions: list[Tool] = []
        if tools is not UNSET:
            fields["tools"], functions = (None, []) if tools is None else divided(tools)
        wanted = SessionConfig.of(**fields) if fields else _nothing_set()
        if config is not None:
            wanted = merge(config, wanted)
        url = _endpoint.with_model(self._url, model)
        return RealtimeSession(
            lambda: self._make_endpoint(url),
            lookup(model),
            wanted,
            callbacks=callbacks,
            timeouts=self.timeouts,
            keepalive=self.keepalive,
            limits=self.limits,
            reconnect=Reconnect() if reconnect is True else reconnect or None,
            tools=functions,
            tool_policy=tool_policy,
            allow_unsupported=allow_unsupported,
        )

    def ask(
        self,
        audio: Any = None,
        *,
        text: str | None = None,
        images: Iterable[Image] = (),
        model: str = DEFAULT_MODEL,
        timeout: float | None = None,
        **options: Any,
    ) -> Turn:
        """Ask one question in a session of its own, in manual mode, and close it.

        Args:
            audio: As in `RealtimeSession.ask`.
            text: As in `RealtimeSession.ask`.
            images: As in `RealtimeSession.ask`.
            model: Name of the model.
            timeout: Seconds for the turn, connecting not included; None takes ``Timeouts.turn``.
            **options: As in `session`.

        Raises:
            APIError, ConnectionFailed, DeadlineExceeded, ConnectionClosed, ValueError: As `RealtimeSession.connect`
                and `RealtimeSession.ask` do.
            OSError: A file is not there; nothing was opened.
            TypeError: There is no such option.
        """
        from ._session.sources import must_exist, pictures

        if "stream" in options:
            raise TypeError(
                "client.ask() closes its session with the answer and has no stream: open a session with"
                " client.session() and use session.ask(…, stream=True)"
            )
        images = pictures(images)
        if audio is None and text is None and not images:
            raise ValueError("client.ask() got no question: give audio, text=… or images=[…]")
        for source in (audio, *images):
            if isinstance(source, (str, os.PathLike)):
                must_exist(source)
        options.setdefault("turn_detection", None)
        with self.session(model, **options) as session:
            return session.ask(audio, text=text, images=images, timeout=timeout)

    # ---- for sessions, at every connect -----------------------------------------------------------------------

    def _make_endpoint(self, url: str) -> Endpoint:
        secure = url.startswith("wss:")
        proxy = self._proxy
        if proxy is None and not self._no_proxy:
            found = _endpoint.proxy_for(url, None)
            proxy = Secret(found) if found else None
        return Endpoint(
            url=url,
            headers=self._headers,
            api_key=self._current_key(),
            ssl_context=self._shared_context() if secure else None,
            proxy=proxy,
        )

    def _current_key(self) -> Secret:
        if isinstance(self._key, Secret):
            return self._key
        if self._key is not None:
            return _secret.api_key(self._key())
        if not os.environ.get(_KEY_VARIABLE, "").strip():
            raise AuthenticationError(
                f"there is no API key: neither RealtimeClient(api_key=…) was given nor the environment variable"
                f" {_KEY_VARIABLE} is set; make a key in the Model Studio console of your region"
            )
        return _secret.api_key(os.environ[_KEY_VARIABLE])

    def _shared_context(self) -> ssl.SSLContext:
        # One context for all sessions: loading the CA bundle costs 30 ms and most of a session's memory.
        with self._ssl_lock:
            if self._ssl_context is None:
                context = ssl.create_default_context()
                if self._ca_file is not None:
                    context.load_verify_locations(os.fspath(self._ca_file))
                self._ssl_context = context
            return self._ssl_context


@functools.cache
def _nothing_set() -> SessionConfig:
    return SessionConfig()


def _user_agent() -> str:
    return f"dashscope_rt/{__version__} python/{'.'.join(map(str, sys.version_info[:3]))} {sys.platform}"
