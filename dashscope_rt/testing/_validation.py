"""Values of ``session.update``, one check each: give the value as the session keeps it, or raise `Refusal`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ..models import ModelInfo
from ._wire import Refusal, invalid, missing

_LABEL = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ALLOWED_TOOL = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_HEADER_PREFIXES = ("mcp-", "proxy-", "x-forwarded-")
_HEADERS_TAKEN = frozenset(
    [
        "host",
        "authorization",
        "connection",
        "content-length",
        "transfer-encoding",
        "accept",
        "content-type",
        "forwarded",
        "cookie",
        "origin",
        "upgrade",
        "te",
        "trailer",
    ]
)
_SECRET_LIMIT = 8192
_URL_LIMIT = 4096
_MCP_HEADER_LIMIT = 16
_SEED_LIMIT = 2**31 - 1
DEFAULT_VAD: Mapping[str, Any] = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 800,
    "create_response": True,
    "interrupt_response": True,
}


def listed(values: Sequence[object]) -> str:
    """Values as the service lists them."""
    return ", ".join(f"'{value}'" if isinstance(value, str) else str(value) for value in values)


def one_of(value: object, allowed: Sequence[object], param: str) -> Any:
    """A value of a list."""
    if isinstance(value, bool) or value not in allowed:
        shown = f"'{value}'" if isinstance(value, str) else str(value)
        raise invalid(f"Invalid value: {shown}. Supported values are: {listed(allowed)}.", param)
    return value


def mapping(value: object, param: str) -> Mapping[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise wrong_type(value, "an object", param)
    return value


def text(value: object, param: str) -> str:
    """A JSON string."""
    if not isinstance(value, str):
        raise wrong_type(value, "a string", param)
    return value


def flag(value: object, param: str) -> bool:
    """A JSON boolean."""
    if not isinstance(value, bool):
        raise wrong_type(value, "a boolean", param)
    return value


def wrong_type(value: object, wanted: str, param: str) -> Refusal:
    """The refusal of a value of another JSON type."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    found = names.get(type(value), "a number")
    return Refusal(
        f"Invalid type for '{param}': expected {wanted}, but got {found} instead.", code="invalid_type", param=param
    )


def number(value: object, param: str, bounds: str, *, whole: bool = False) -> Any:
    """A number within bounds written as in the documentation, for example ``[0, 2)``; an open end is ``inf``."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or (isinstance(value, float) and not math.isfinite(value))
    ):
        raise wrong_type(value, "an integer" if whole else "a number", param)
    if whole and not isinstance(value, int):
        raise wrong_type(value, "an integer", param)
    low, high = (float(end) for end in bounds[1:-1].split(","))
    above = value >= low if bounds[0] == "[" else value > low
    below = value <= high if bounds[-1] == "]" else value < high
    if not (above and below):
        raise invalid(f"Invalid value: {value}. The value must be in the range {bounds}.", param)
    return value


def unsupported(param: str, info: ModelInfo) -> Refusal:
    """The refusal of something this model does not have."""
    return Refusal(
        f"Parameter '{param}' is not supported by model '{info.name}'.", code="unsupported_parameter", param=param
    )


def modalities(value: object, param: str) -> list[str]:
    """``["text"]`` or ``["text", "audio"]`` in any order."""
    if not isinstance(value, list) or sorted(map(str, value)) not in (["text"], ["audio", "text"]):
        raise invalid(
            f"Invalid modalities: {value}. Supported combinations are: ['text'] and ['audio', 'text'].", param
        )
    return value


def voice(value: object, param: str, allowed: Sequence[str] | None) -> str:
    """A voice of the list or a clone's id; an unknown one ends the session. None allows every voice."""
    name = text(value, param)
    if not name:
        raise invalid("Invalid value for parameter 'voice'", param)
    if allowed is not None and name not in allowed and not name.startswith(("qwen-omni-vc-", "qwen-tts-vc-")):
        reason = f"Voice '{name}' is not supported."
        raise Refusal(reason, param=param, close=(1007, reason))
    return name


def transcription(value: object, param: str) -> dict[str, Any] | None:
    """Null, or an object; the model is fixed, and so echoed whatever was asked for."""
    if value is None:
        return None
    wanted = mapping(value, param)
    if wanted.get("model") is not None:
        text(wanted["model"], f"{param}.model")
    kept = {name: wanted[name] for name in ("language", "corpus") if name in wanted}
    return {"model": "qwen3-asr-flash-realtime", **kept}


def turn_detection(
    value: object, param: str, info: ModelInfo, before: Mapping[str, Any] | None, merge: bool
) -> dict[str, Any] | None:
    """Null for manual mode, or the whole object with what was not named filled in."""
    if value is None:
        return None
    wanted = mapping(value, param)
    kept = dict(before) if before is not None and merge else dict(DEFAULT_VAD)
    kind = one_of(wanted.get("type", kept["type"]), info.vad_types or ("server_vad",), f"{param}.type")
    if kind != kept["type"]:
        kept = {**DEFAULT_VAD, "type": kind}
    checks = {
        "threshold": lambda v, p: number(v, p, "[-1, 1]"),
        "silence_duration_ms": lambda v, p: number(v, p, "[200, 6000]", whole=True),
        "prefix_padding_ms": lambda v, p: number(v, p, "[0, inf)", whole=True),
        "create_response": flag,
        "interrupt_response": flag,
    }
    for name, check in checks.items():
        if name in wanted:
            kept[name] = check(wanted[name], f"{param}.{name}")
    if "idle_timeout_ms" in wanted:
        name = f"{param}.idle_timeout_ms"
        if wanted["idle_timeout_ms"] is None:
            kept.pop("idle_timeout_ms", None)
        elif not info.idle_timeout or kind != "server_vad":
            raise unsupported(name, info)
        else:
            kept["idle_timeout_ms"] = number(wanted["idle_timeout_ms"], name, "[5000, 30000]", whole=True)
    return kept


def sampling(name: str, value: object, info: ModelInfo) -> Any:
    """One sampling parameter; models with fixed values take only those."""
    param = f"session.{name}"
    if info.sampling is None:
        raise unsupported(param, info)
    if not info.sampling_adjustable:
        fixed = info.max_tokens if name == "max_tokens" else getattr(info.sampling, name)
        if value != fixed:
            raise unsupported(param, info)
        return value
    if name == "top_k" and value is None:
        return None
    if name == "seed" and value == -1 and not isinstance(value, bool):
        return -1
    bounds = {
        "temperature": "[0, 2)",
        "top_p": "(0, 1]",
        "top_k": "[0, inf)",
        "max_tokens": f"[1, {info.max_tokens or 'inf'}]",
        "repetition_penalty": "[0, inf)" if info.zero_repetition_penalty else "(0, inf)",
        "presence_penalty": "[-2, 2]",
        "seed": f"[0, {_SEED_LIMIT}]",
    }
    return number(value, param, bounds[name], whole=name in ("top_k", "max_tokens", "seed"))


def audio_format(
    value: object, param: str, info: ModelInfo, *, into: bool, before: Mapping[str, Any]
) -> dict[str, Any]:
    """``audio.input.format`` or ``audio.output.format``, with what was not named filled in."""
    wanted = mapping(value, param)
    if not info.nested_formats:
        raise unsupported(param, info)
    kept = dict(before)
    kinds = [kind for kind in (info.input_formats if into else info.output_formats) if kind in ("pcm", "wav")]
    rates = info.input_rates if into else info.output_rates
    if "type" in wanted:
        kept["type"] = one_of(wanted["type"], kinds, f"{param}.type")
    if "sample_rate" in wanted:
        kept["sample_rate"] = one_of(wanted["sample_rate"], rates, f"{param}.sample_rate")
    layout = {1: "mono", 2: "raw_mic_array", 4: "foa_ambix"}
    channel_fields = {
        "sample_format": ("s16le",),
        "channels": tuple(layout),
        "packing": ("interleaved",),
        "channel_layout": tuple(layout.values()),
    }
    for name, allowed in channel_fields.items():
        if name in wanted:
            if not info.multichannel or not into:
                raise unsupported(f"{param}.{name}", info)
            kept[name] = one_of(wanted[name], allowed, f"{param}.{name}")
    channels = kept.get("channels", 1)
    if "channels" in wanted and "channel_layout" not in wanted:
        kept["channel_layout"] = layout[channels]
    if "channel_layout" in kept and kept["channel_layout"] != layout[channels]:
        one_of(kept["channel_layout"], (layout[channels],), f"{param}.channel_layout")
    if channels > 1:
        one_of(kept["sample_rate"], (16000,), f"{param}.sample_rate")
        one_of(kept["type"], ("pcm",), f"{param}.type")
    return kept


def tools(value: object, info: ModelInfo) -> list[dict[str, Any]]:
    """Functions in the nested form and MCP servers."""
    if not isinstance(value, list):
        raise wrong_type(value, "an array", "session.tools")
    if value and not info.tools:
        raise unsupported("session.tools", info)
    labels: set[str] = set()
    for index, item in enumerate(value):
        param = f"session.tools[{index}]"
        tool = mapping(item, param)
        kinds = ("function", "mcp") if info.mcp else ("function",)
        if one_of(tool.get("type"), kinds, f"{param}.type") == "function":
            _function(tool, param)
        else:
            _mcp_server(tool, param, labels)
    return value


def _function(tool: Mapping[str, Any], param: str) -> None:
    if "function" not in tool:
        raise missing(f"{param}.function")
    function = mapping(tool["function"], f"{param}.function")
    if not function.get("name"):
        raise missing(f"{param}.function.name")
    text(function["name"], f"{param}.function.name")
    if "description" in function:
        text(function["description"], f"{param}.function.description")
    if "parameters" in function:
        parameters = mapping(function["parameters"], f"{param}.function.parameters")
        if parameters:
            one_of(parameters.get("type"), ("object",), f"{param}.function.parameters.type")


def _mcp_server(tool: Mapping[str, Any], param: str, labels: set[str]) -> None:
    for name in ("server_label", "server_url"):
        if not tool.get(name):
            raise missing(f"{param}.{name}")
    label = text(tool["server_label"], f"{param}.server_label")
    if not _LABEL.fullmatch(label) or label in labels:
        raise invalid(
            "Invalid 'server_label': 1 to 64 of letters, digits, '_' and '-', unique in the session.",
            f"{param}.server_label",
        )
    labels.add(label)
    url = text(tool["server_url"], f"{param}.server_url")
    try:
        parts = urlsplit(url)
        fits = parts.scheme == "https" and bool(parts.hostname) and parts.port in (None, 443)
    except ValueError:
        fits = False
    if not fits or "@" in parts.netloc or "#" in url or len(url) > _URL_LIMIT:
        raise invalid(
            "Invalid 'server_url': a public https URL on port 443 without user, password and fragment.",
            f"{param}.server_url",
        )
    secret = tool.get("authorization", "")
    if not isinstance(secret, str) or len(secret) > _SECRET_LIMIT or not (secret.isascii() and secret.isprintable()):
        raise invalid("Invalid 'authorization': up to 8192 printable ASCII characters.", f"{param}.authorization")
    headers = mapping(tool.get("headers", {}), f"{param}.headers")
    if len(headers) > _MCP_HEADER_LIMIT or not all(_header_fits(*pair) for pair in headers.items()):
        raise invalid("Invalid 'headers': at most 16, none that the transport sets itself.", f"{param}.headers")
    allowed = tool.get("allowed_tools", [])
    if not isinstance(allowed, list) or not all(
        isinstance(name, str) and _ALLOWED_TOOL.fullmatch(name) for name in allowed
    ):
        raise invalid("Invalid 'allowed_tools': an array of tool names.", f"{param}.allowed_tools")
    if "require_approval" in tool:
        one_of(tool["require_approval"], ("always", "never"), f"{param}.require_approval")


def _header_fits(name: str, value: object) -> bool:
    low = name.lower()
    return (
        bool(_HEADER_NAME.fullmatch(name))
        and low not in _HEADERS_TAKEN
        and not low.startswith(_HEADER_PREFIXES)
        and isinstance(value, str)
        and len(value) <= _SECRET_LIMIT
    )
