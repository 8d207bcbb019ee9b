"""The tools of a `SessionConfig`: functions and MCP servers; `config` gives them to the public."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

import attrs

from .rules import (
    UNSET,
    Part,
    Unset,
    as_tuple,
    check_json,
    copied,
    counted,
    hidden,
    mapping,
    named,
    one_of,
    part_of,
    refuse,
    sent,
    text,
)


@attrs.frozen(eq=False, repr=False)
class FunctionTool(Part):
    """A function the model may call. Source: client events, session.update, tools.

    Attributes:
        name: What the model calls it by.
        description: What it does and when to call it.
        parameters: JSON Schema of an object. Plain types fare best: unions such as ``["string", "null"]``,
            ``additionalProperties`` and null within ``enum`` were seen to fail.
    """

    type: ClassVar[str] = "function"
    name: str = attrs.field(validator=sent(text()))
    description: str | Unset | None = attrs.field(default=UNSET, validator=text(empty=True), repr=counted)
    parameters: Mapping[str, Any] | Unset | None = attrs.field(
        default=UNSET, converter=copied, validator=mapping("a mapping (a JSON Schema)"), repr=named
    )


_LABEL = r"[A-Za-z0-9_-]{1,64}\Z"
_TOOL_NAME = r"[A-Za-z0-9_.-]{1,64}\Z"
_HEADER_NAME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}\Z"
_HEADERS_REFUSED_PREFIXES = ("mcp-", "proxy-", "x-forwarded-")
_HEADERS_REFUSED = frozenset({
    "host", "authorization", "connection", "content-length", "transfer-encoding", "accept", "content-type",
    "forwarded", "cookie", "origin", "upgrade", "te", "trailer",
})  # fmt: skip


@attrs.frozen(eq=False, repr=False)
class McpTool(Part):
    """An MCP server whose tools the service calls by itself (3.8).

    Source: client events, session.update, tools.

    Address and credentials are never echoed by the service, and never appear in a ``repr``.

    Attributes:
        server_label: 1 to 64 letters, digits, ``_`` or ``-``; unique in the session.
        server_url: Public HTTPS address on port 443, Streamable HTTP; at most 4096 characters, no user or
            password, no fragment.
        authorization: Sent to that server; at most 8192 printable ASCII characters.
        headers: At most 16, sent to that server; names of up to 128 characters, values of up to 8192.
        allowed_tools: Names of the tools to offer, up to 64 characters each; UNSET offers all, () none.
        require_approval: ``always`` (default) or ``never``.
    """

    type: ClassVar[str] = "mcp"
    server_label: str = attrs.field()
    server_url: str = attrs.field(repr=hidden)
    authorization: str | Unset = attrs.field(default=UNSET, kw_only=True, repr=hidden)
    headers: Mapping[str, str] | Unset = attrs.field(
        default=UNSET,
        kw_only=True,
        converter=copied,
        repr=named,
    )
    allowed_tools: tuple[str, ...] | Unset = attrs.field(default=UNSET, kw_only=True, converter=as_tuple)
    require_approval: str | Unset = attrs.field(default=UNSET, kw_only=True, validator=sent(one_of("always", "never")))

    @server_label.validator
    def _label_fits(self, field: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, str) or not re.match(_LABEL, value):
            raise refuse(self, field, value, "1 to 64 letters, digits, '_' or '-'")

    @server_url.validator
    def _url_fits(self, field: attrs.Attribute[Any], value: object) -> None:
        problem = "it is no text" if not isinstance(value, str) else _url_problem(value)
        if problem:  # the address itself may hold a secret: it is not quoted
            raise ValueError(
                f"McpTool.{field.name} must be a public HTTPS address on port 443 of at most 4096 "
                f"characters, without user, password and fragment: {problem}"
            )

    @authorization.validator
    def _authorization_fits(self, field: attrs.Attribute[Any], value: object) -> None:
        if value is UNSET:
            return
        fits = isinstance(value, str) and 0 < len(value) <= 8192 and value.isascii() and value.isprintable()
        if not fits:
            raise ValueError(f"McpTool.{field.name} must be 1 to 8192 printable ASCII characters")

    @headers.validator
    def _headers_fit(self, field: attrs.Attribute[Any], value: object) -> None:
        if value is UNSET:
            return
        if not isinstance(value, Mapping) or len(value) > 16:
            raise ValueError(f"McpTool.{field.name} must be a mapping of at most 16 headers")
        for name, content in value.items():
            if not isinstance(name, str) or not re.match(_HEADER_NAME, name):
                raise ValueError(f"McpTool.{field.name}: a header's name must be 1 to 128 token characters")
            lower = name.lower()
            if lower in _HEADERS_REFUSED or lower.startswith(_HEADERS_REFUSED_PREFIXES):
                use = ": use authorization=" if lower == "authorization" else ", the service sets it itself"
                raise ValueError(f"McpTool.{field.name}: {name!r} must not be given{use}")
            if not isinstance(content, str) or len(content) > 8192 or any(c in content for c in "\r\n\0"):
                raise ValueError(f"McpTool.{field.name}: {name!r} must be a line of at most 8192 characters")

    @allowed_tools.validator
    def _allowed_tools_fit(self, field: attrs.Attribute[Any], value: object) -> None:
        if value is UNSET:
            return
        if not isinstance(value, tuple):
            raise refuse(self, field, value, "a list of names (leave it out to allow all, [] allows none)")
        for name in value:
            if not isinstance(name, str) or not re.match(_TOOL_NAME, name):
                raise refuse(self, field, name, "names of 1 to 64 letters, digits, '_', '-' or '.'")


def _url_problem(url: str) -> str:
    if len(url) > 4096:
        return f"it has {len(url)} characters"
    if not url.isascii() or not url.isprintable() or " " in url:
        return "it holds characters no address may hold"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "it is no address"
    if parts.scheme.lower() != "https":
        return "it does not begin with https://"
    if not parts.hostname:
        return "it names no host"
    if "@" in parts.netloc:
        return "it holds a user or a password; use authorization="
    if port not in (None, 443):
        return f"its port is {port}"
    return "it holds a fragment (#…)" if "#" in url else ""


_FUNCTION_FIELDS = {"name", "description", "parameters"}


def tool(value: FunctionTool | McpTool | Mapping[str, Any]) -> Any:
    """Make a tool of a mapping, nested or flat; one with unknown fields stays a mapping."""
    if not isinstance(value, Mapping):
        return value
    check_json(value, "tools")
    fields = copied(dict(value))
    if fields.get("type") == McpTool.type:
        known = {field.name for field in attrs.fields(McpTool)}
        inner = {key: item for key, item in fields.items() if key != "type"}
        part = part_of(McpTool, {key: item for key, item in inner.items() if key in known}, "tools")
        return part if inner.keys() <= known else fields
    if fields.get("type") != FunctionTool.type:
        return fields
    nested = isinstance(fields.get("function"), dict)
    function = fields["function"] if nested else {key: item for key, item in fields.items() if key != "type"}
    part_fields = {key: item for key, item in function.items() if key in _FUNCTION_FIELDS}
    made = part_of(FunctionTool, part_fields, "tools")
    if function.keys() <= _FUNCTION_FIELDS and (not nested or fields.keys() == {"type", "function"}):
        return made
    return fields if nested else {"type": "function", "function": function}


def tools(value: Iterable[FunctionTool | McpTool | Mapping[str, Any]] | Unset | None) -> Any:
    """Converter: a list of tools in any spelling becomes a tuple of tools."""
    parts = as_tuple(value)
    return tuple(tool(item) for item in parts) if isinstance(parts, tuple) else parts
