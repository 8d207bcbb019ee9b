"""What a recording must not hold, and what it may leave out. Pure functions on JSON values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

REMOVED = "[removed]"
_SECRET_NAMES = re.compile(
    r"(?:.*[_-])?(?:authorization|api[_-]?key|access[_-]?key|secret|password|passwd|cookie|token)", re.IGNORECASE
)
_SECRET_TEXTS = re.compile(r"\bsk-[A-Za-z0-9_-]{6,}|\b[Bb]earer\s+[^\s\"']+")
_ADDRESSES = frozenset({"server_url", "mcp_server_url"})  # a secret may be a part of such an address
# Names whose texts are the protocol's own words; every other text may be something somebody said.
_WORDS = frozenset(
    {
        "type", "object", "status", "role", "voice", "model", "modalities", "output_modalities", "format", "code",
        "param", "language", "emotion", "finish_reason", "input_audio_format", "output_audio_format", "packing",
        "channel_layout", "sample_format", "representation_compact", "require_approval", "tool_choice", "mode",
        "language_type", "response_format", "name", "frequency", "server_label",
    }
)  # fmt: skip
_NOT_IN_ERRORS = frozenset({"message", "reason"})  # the service's own texts about what went wrong


def without_secrets(value: Any, name: str = "") -> Any:
    """Return a copy without keys, passwords and credentials, wherever they stand."""
    if isinstance(value, Mapping):
        if name == "headers":
            return dict.fromkeys(value, REMOVED)
        return {key: without_secrets(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_secrets(inner, name) for inner in value]
    if isinstance(value, str):
        if value and (name in _ADDRESSES or _SECRET_NAMES.fullmatch(name)):
            return REMOVED
        return _SECRET_TEXTS.sub(REMOVED, value)
    return value


def without_texts(value: Any, name: str = "", *, in_error: bool = False) -> Any:
    """Return a copy in which every text that a person or the model may have said is a row of dots of its length."""
    if isinstance(value, Mapping):
        inside = in_error or name in ("error", "status_details")
        return {key: without_texts(inner, str(key), in_error=inside) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_texts(inner, name, in_error=in_error) for inner in value]
    if not isinstance(value, str) or name in _WORDS or is_id(name) or value == REMOVED:
        return value
    if in_error and name in _NOT_IN_ERRORS:
        return value
    return "{}" if name == "arguments" else "·" * len(value)


def is_id(name: str) -> bool:
    """Whether a name is that of an identifier."""
    return name == "id" or name.endswith("_id")


class Pseudonyms:
    """Puts other identifiers in place of the service's, the same for the same."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def __call__(self, value: Any, name: str = "") -> Any:
        """Return a copy with the identifiers replaced."""
        if isinstance(value, Mapping):
            return {key: self(inner, str(key)) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self(inner, name) for inner in value]
        if not isinstance(value, str) or not value or not is_id(name):
            return value
        found = self._known.get(value)
        if found is None:
            head = re.match(r"[a-z]{2,8}(?=[_-])", value)
            found = f"{head.group() if head else 'id'}_{len(self._known) + 1}"
            self._known[value] = found
        return found
