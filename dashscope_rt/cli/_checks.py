"""What `doctor` looks at, one function each; none raises, each says what to do."""

from __future__ import annotations

import base64
import http.client
import os
import platform
import socket
import ssl
import stat
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import unquote, urlsplit

import attrs

import dashscope_rt as rt

from . import _contexts
from ._options import Settings

State = Literal["ok", "warning", "failed"]
_T = TypeVar("_T")
_WAIT = 5.0  # s for each step on the network
_LIBRARIES = (
    "websocket-client", "attrs", "cattrs", "click", "rich", "PyYAML", "platformdirs", "websockets", "numpy", "soxr",
    "soundfile", "sounddevice", "python-socks", "orjson", "pybase64",
)  # fmt: skip
_CLOCK_WARNS = 60.0  # s
_SLOW_MS = 400.0
_NETWORK = "look at this machine's network and its DNS server"
_PROXY = "look at the proxy: --proxy, https_proxy and no_proxy say which one is used and for what"


@attrs.frozen(kw_only=True)
class Check:
    """One line of the doctor's.

    Attributes:
        advice: What to do; "" when it is ok.
    """

    name: str
    state: State
    detail: str
    advice: str = ""
    refused_key: bool = False


def versions() -> Check:
    """This package, Python, and the libraries that matter."""
    found = []
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return Check(name="versions", state="ok", detail=f"dashscope_rt {rt.__version__}, {python}, {', '.join(found)}")


def configuration(path: Path) -> Check:
    """The file of contexts and who may read it."""
    if not path.exists():
        return Check(name="contexts", state="ok", detail=f"there is no {path}; the environment and options count")
    open_to_others = stat.S_IRWXG | stat.S_IRWXO
    if os.name == "posix" and path.stat().st_mode & open_to_others:
        advice = f"chmod 600 {path}; if others use this machine, make a new key too"
        return Check(name="contexts", state="warning", detail=f"{path} can be read by others", advice=advice)
    contexts = _contexts.load(path)
    named = f"{len(contexts.by_name)} contexts, {contexts.current or 'none'} in use"
    return Check(name="contexts", state="ok", detail=f"{path}: {named}")


def key(chosen: Settings) -> Check:
    """Whether there is an API key, and where it is from."""
    if not chosen.key:
        return Check(
            name="key", state="failed", detail=chosen.problem or "there is no API key",
            advice="dashscope-rt config add-context NAME, or set DASHSCOPE_API_KEY",
        )  # fmt: skip
    shown = f"{_contexts.mask(chosen.key)} from {chosen.sources.get('key', 'an option')}"
    if not chosen.key.startswith("sk-") and not chosen.url:
        return Check(name="key", state="warning", detail=f"{shown} does not begin with sk-",
                     advice="copy it again from the Model Studio console")  # fmt: skip
    return Check(name="key", state="ok", detail=shown)


def endpoint(name: str, url: str, chosen: Settings, *, wanted: bool) -> Iterator[Check]:
    """Proxy, name, connection, encryption, clock; ends at the first that fails.

    Args:
        name: What to call it.
        url: The endpoint's.
        chosen: For proxy and CA.
        wanted: Whether sessions go there; otherwise a failure is only a warning.
    """
    bad: State = "failed" if wanted else "warning"
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "wss"
    port = parts.port or (443 if secure else 80)
    proxy = _proxy(chosen, host, port, secure=secure)
    near, door = host, port
    if proxy is not None:
        near, door = proxy.hostname or "", proxy.port or 80
        yield Check(name=f"{name} proxy", state="ok", detail=f"goes through {proxy.scheme}://{near}:{door}")
    try:
        addresses = _patiently(lambda: socket.getaddrinfo(near, door, type=socket.SOCK_STREAM))
    except OSError as error:
        yield Check(name=f"{name} DNS", state=bad, detail=f"{near}: {error.strerror or error}",
                    advice=_PROXY if proxy is not None else _NETWORK)  # fmt: skip
        return
    yield Check(name=f"{name} DNS", state="ok", detail=f"{near} is {addresses[0][4][0]}")
    try:
        began = time.monotonic()
        sock = socket.create_connection((near, door), timeout=_WAIT)
        took = (time.monotonic() - began) * 1000
    except OSError as error:
        firewall = "a firewall may be in the way, or a proxy is wanted: set https_proxy"
        yield Check(name=f"{name} connection", state=bad, detail=f"{near}:{door}: {error.strerror or error}",
                    advice=_PROXY if proxy is not None else firewall)  # fmt: skip
        return
    if proxy is not None:
        sock.close()
        if proxy.scheme != "http":
            yield Check(name=f"{name} connection", state="ok", detail=f"the proxy is there ({took:.0f} ms)")
            return
        try:
            began = time.monotonic()
            sock = _tunnel(proxy, host, port)
            took = (time.monotonic() - began) * 1000
        except (OSError, http.client.HTTPException) as error:
            yield Check(name=f"{name} connection", state=bad, detail=f"through the proxy: {error}", advice=_PROXY)
            return
    with sock:
        far = took > _SLOW_MS
        yield Check(name=f"{name} connection", state="warning" if far else "ok", detail=f"round trip {took:.0f} ms",
                    advice="conversations will feel slow; is the other region nearer?" if far else "")  # fmt: skip
        yield from _inside(name, host, sock, chosen, bad, secure=secure)


def _tunnel(proxy: Any, host: str, port: int) -> socket.socket:
    """A connection through an HTTP proxy.

    Raises:
        OSError: The proxy does not let it through, or is not there.
    """
    connection = http.client.HTTPConnection(proxy.hostname or "", proxy.port or 80, timeout=_WAIT)
    headers = {}
    if proxy.username:
        credentials = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
        headers["Proxy-Authorization"] = f"Basic {base64.b64encode(credentials).decode()}"
    connection.set_tunnel(host, port, headers)
    connection.connect()
    sock: socket.socket = connection.sock
    return sock


def _inside(
    name: str, host: str, sock: socket.socket, chosen: Settings, bad: State, *, secure: bool
) -> Iterator[Check]:
    if not secure:
        yield _clock(name, host, sock)
        return
    try:
        context = ssl.create_default_context()
        if chosen.ca_file is not None:
            context.load_verify_locations(chosen.ca_file)
        secured = context.wrap_socket(sock, server_hostname=host)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = getattr(error, "verify_message", "") or str(error)
        advice = "a proxy may need its CA: --ca-file; or the clock is wrong"
        yield Check(name=f"{name} TLS", state=bad, detail=why, advice=advice)
        return
    with secured:
        ends = (secured.getpeercert() or {}).get("notAfter", "")
        yield Check(name=f"{name} TLS", state="ok", detail=f"{secured.version()}, certificate until {ends}")
        yield _clock(name, host, secured)


def _clock(name: str, host: str, stream: socket.socket) -> Check:
    unknown = Check(name=f"{name} clock", state="ok", detail="the server does not tell the time; not compared")
    try:
        stream.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        with http.client.HTTPResponse(stream) as answer:
            answer.begin()
            theirs = parsedate_to_datetime(answer.getheader("Date") or "")
    except (OSError, ValueError, TypeError, http.client.HTTPException):
        return unknown
    if theirs.tzinfo is None:
        theirs = theirs.replace(tzinfo=timezone.utc)
    off = abs((datetime.now(timezone.utc) - theirs).total_seconds())
    if off > _CLOCK_WARNS:
        return Check(name=f"{name} clock", state="warning", detail=f"this machine's clock is {off:.0f} s off",
                     advice="set the clock; keys and certificates depend on it")  # fmt: skip
    return Check(name=f"{name} clock", state="ok", detail=f"{off:.0f} s apart")


def _proxy(chosen: Settings, host: str, port: int, *, secure: bool) -> Any:
    found = chosen.proxy
    if found is None:
        settings = urllib.request.getproxies()
        found = settings.get("https" if secure else "http") or settings.get("all")
        if found and urllib.request.proxy_bypass(f"{host}:{port}"):
            found = None
    return urlsplit(found if "://" in found else f"http://{found}") if found else None


def _patiently(action: Callable[[], _T]) -> _T:
    """Run what knows no timeout; gives up on it after a while."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append((action(), None))
        except OSError as error:
            results.append((None, error))

    thread = threading.Thread(target=run, name="dashscope-rt-doctor", daemon=True)
    thread.start()
    thread.join(_WAIT)
    if not results:
        raise TimeoutError(f"no answer within {_WAIT:g} s")
    value, error = results[0]
    if error is not None:
        raise error
    return value  # type: ignore[no-any-return]


def session(chosen: Settings, model: str) -> Check:
    """Open a session for a moment: the one check that needs everything to work."""
    name = "session"
    try:
        session = chosen.client(connect=10.0).session(model)  # what it needs is loaded before the clock runs
        began = time.monotonic()
        with session:
            took = (time.monotonic() - began) * 1000
            detail = f"session.created after {took:.0f} ms ({model}, {session.id})"
            if session.model.creates_responses:  # and it stays: some are let in and sent away
                began = time.monotonic()
                session.wait_ack(session.clear_audio(), _WAIT)
                detail += f", an event is answered after {(time.monotonic() - began) * 1000:.0f} ms"
            return Check(name=name, state="ok", detail=detail)
    except rt.AuthenticationError as error:
        return Check(name=name, state="failed", detail=str(error), refused_key=True,
                     advice="a key works in its own region only: try --region; or make a new key")  # fmt: skip
    except (rt.RealtimeError, ValueError, OSError) as error:
        return Check(name=name, state="failed", detail=str(error), advice=_advice(error))


def _advice(error: Exception) -> str:
    if isinstance(error, rt.ModelNotFoundError):
        return "try --model with one that dashscope-rt models lists; the newest want --workspace"
    if isinstance(error, rt.QuotaExceededError):
        return "see usage and billing in the console"
    if isinstance(error, rt.PermissionDeniedError):
        return "see in the console that the model and the workspace are open to this key"
    if isinstance(error, rt.APIError):
        return "see the text; support wants the request id"
    return "see the lines above; --debug shows every step"


def devices() -> Check:
    """Microphones and loudspeakers."""
    from dashscope_rt.audio import list_devices

    try:
        found = list_devices()
    except (ImportError, OSError) as error:
        return Check(name="audio", state="warning", detail=str(error), advice="only needed to talk by microphone")
    ears = [device.name for device in found if device.inputs]
    mouths = [device.name for device in found if device.outputs]
    detail = f"{len(ears)} microphones, {len(mouths)} loudspeakers"
    if not ears or not mouths:
        return Check(name="audio", state="warning", detail=detail, advice="plug one in to talk; files and text work")
    return Check(name="audio", state="ok", detail=detail)


def environment() -> Check:
    """Variables that change what happens; values of keys and proxies are not shown."""
    names = [name for name in sorted(os.environ) if name.startswith("DASHSCOPE_") or name.lower().endswith("_proxy")]
    shown = [name if _is_private(name) else f"{name}={os.environ[name]}" for name in names]
    encoding = f"{sys.stdout.encoding}, {os.environ.get('LANG', 'no LANG')}"
    return Check(name="environment", state="ok", detail=", ".join([*shown, encoding]))


def _is_private(name: str) -> bool:
    return any(word in name.upper() for word in ("KEY", "TOKEN", "SECRET", "PROXY"))
