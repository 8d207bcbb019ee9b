"""From region, workspace, URL, key and proxy to one `Endpoint`; every refusal says what is wrong and what to do."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from ..models import PATH, REGIONS

_WORKSPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2: what a header's name is made of
_RESERVED = frozenset({"authorization", "connection", "upgrade", "host", "sec-websocket-key", "sec-websocket-version"})


def base_url(*, url: str | None, region: str, workspace: str | None, workspace_host: bool) -> str:
    """Return the URL without the model: given, or made from region and workspace.

    Raises:
        ValueError: The region is unknown, the workspace is no host label, or the URL cannot be used.
    """
    if url is not None:
        return _checked_url(url)
    place = REGIONS.get(region)
    if place is None:
        raise ValueError(f"region must be one of {', '.join(REGIONS)}, not {region!r}; for another host pass url=…")
    if workspace is not None and not _WORKSPACE.fullmatch(workspace):
        raise ValueError(f"workspace must be an id such as 'llm-…' or 'ws-…', not {workspace!r}")
    return f"wss://{place.host(workspace if workspace_host else None)}{PATH}"


def _checked_url(url: str) -> str:
    if not isinstance(url, str) or any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
        raise ValueError("url must be text without blanks or line breaks")
    parts = urlsplit(url)
    scheme = {"https": "wss", "http": "ws"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss"):
        raise ValueError(f"url must begin with wss://, ws://, https:// or http://, not {parts.scheme or 'nothing'}://")
    if parts.username is not None or parts.password is not None:
        raise ValueError("url must not hold a user name or a password; give the API key as api_key=…")
    try:
        port = parts.port
    except ValueError:
        raise ValueError("url has a port that is no number from 0 to 65535") from None
    if not parts.hostname or port == 0:
        raise ValueError("url names no host to connect to")
    # A base for the HTTP APIs (…/compatible-mode/v1, …/api/v1) or a bare host means the realtime path of that host.
    is_base = parts.scheme in ("https", "http") or parts.path in ("", "/")
    path = PATH if is_base and not parts.path.endswith(PATH) else parts.path
    return urlunsplit((scheme, parts.netloc, path, parts.query, ""))


@functools.lru_cache(64)
def with_model(url: str, model: str) -> str:
    """Merge ``model`` into the URL's own query; never a second ``?``, never two models.

    Raises:
        ValueError: The URL names another model already.
    """
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    named = [value for name, value in query if name == "model"]
    if any(value != model for value in named):
        raise ValueError(f"url asks for the model {named[0]!r} and the session for {model!r}; leave it out of the url")
    if not named:
        query.append(("model", model))
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(query), ""))


def checked_headers(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return headers as pairs.

    Raises:
        ValueError: A name or value that could smuggle in something else, or a header this package sets itself.
    """
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ValueError(f"a header's name is letters, digits and dashes, not {name!r}")
        if name.lower() in _RESERVED:
            raise ValueError(f"the header {name} is set by the client itself; for the key use api_key=…")
        if not isinstance(value, str) or not all(letter == "\t" or 32 <= ord(letter) < 127 for letter in value):
            raise ValueError(f"the header {name} may hold printable ASCII only, and no line breaks")
    return tuple(headers.items())


def proxy_for(url: str, proxy: str | None) -> str | None:
    """Return the proxy's URL: ``proxy`` if given ("" means none), else what the environment says for this host.

    Read from the environment as everywhere: ``https_proxy``, ``http_proxy``, ``all_proxy``, ``no_proxy``.

    Raises:
        ValueError: The proxy's URL cannot be used.
    """
    parts = urlsplit(url)
    found = proxy
    if found is None and _proxies_possible():
        import urllib.request  # 10 ms, and reading the whole environment takes as long as the handshake

        host = parts.hostname or ""
        settings = urllib.request.getproxies()
        found = settings.get("https" if parts.scheme == "wss" else "http") or settings.get("all")
        if found and urllib.request.proxy_bypass(f"{host}:{parts.port}" if parts.port else host):
            return None
    if not found:
        return None
    whole = found if "://" in found else f"http://{found}"
    target = urlsplit(whole)
    if target.scheme not in ("http", "socks4", "socks5", "socks5h") or not target.hostname:
        raise ValueError(
            "the proxy must be http://host:port, socks5://host:port or socks4://host:port"
            f" (it begins with {target.scheme}://)"
        )
    return whole


def _proxies_possible() -> bool:
    # macOS and Windows have settings of their own beside the environment's.
    if sys.platform in ("darwin", "win32"):
        return True
    return any(name in os.environ or name.upper() in os.environ for name in ("https_proxy", "http_proxy", "all_proxy"))
