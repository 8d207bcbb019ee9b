"""What can be set: `SessionConfig` and its parts, time-outs and keep-alive; and what a model refuses of it.

Every field of a configuration has three states: ``UNSET`` (not sent, the service keeps what it has), None
(sent as null), or a value. Values outside the documented range raise ValueError when the configuration is
made; what the model cannot do raises `UnsupportedByModel` in `check`. How it is spelt on the wire is
`codec`'s business.

This module and those it gathers for the public (`_session_config`, `_parts`, `_tool_parts`, `_rules`) know
errors and models, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from ._config.parts import (
    AudioFormat,
    SemanticVad,
    ServerVad,
    SmartTurn,
    SpeakerDetection,
    Transcription,
    Translation,
    TurnDetection,
)
from ._config.rules import UNSET, Unset, number, sent, whole
from ._config.session import SessionConfig
from ._config.tools import FunctionTool, McpTool
from .errors import UnsupportedByModel
from .models import ModelInfo

__all__ = [
    "UNSET",
    "AudioFormat",
    "FunctionTool",
    "Keepalive",
    "Limits",
    "McpTool",
    "Reconnect",
    "SemanticVad",
    "ServerVad",
    "SessionConfig",
    "SmartTurn",
    "SpeakerDetection",
    "Timeouts",
    "Transcription",
    "Translation",
    "TurnDetection",
    "Unset",
    "UnsupportedByModel",
    "changed",
    "check",
    "merge",
    "problems",
]


def merge(config: SessionConfig, changes: SessionConfig | None = None, /, **fields: Any) -> SessionConfig:
    """Lay changes over a configuration: what the changes leave UNSET stays; ``extra`` is merged deeply.

    Args:
        config: The configuration so far.
        changes: Fields to change, or None.
        **fields: More fields to change; they win over ``changes``.

    Raises:
        ValueError: A value outside its range.
        TypeError: A field that does not exist.
    """
    wanted = {**(changes.given() if changes is not None else {}), **SessionConfig.of(**fields).given()}
    if not wanted:
        return config
    extra = merged(config.extra, changes.extra if changes is not None else {})
    if "extra" in fields:
        extra = merged(extra, SessionConfig.of(**fields).extra)
    spelling = config.spelling | (changes.spelling if changes is not None else frozenset())
    return attrs.evolve(config, **{**wanted, "extra": extra, "spelling": spelling})


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two JSON objects deeply; the other wins."""
    result = dict(one)
    for key, value in other.items():
        before = result.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            value = merged(before, value)
        result[key] = value
    return result


def changed(before: SessionConfig, after: SessionConfig) -> SessionConfig:
    """Return only the fields of ``after`` that differ from ``before``: what an update has to send."""
    old = before.given()
    fields = {name: value for name, value in after.given().items() if name not in old or old[name] != value}
    return SessionConfig(**fields, spelling=after.spelling)


# What a model cannot do.


def check(config: SessionConfig, model: ModelInfo) -> None:
    """Refuse what this model cannot do. Voices are never checked.

    Args:
        config: The whole configuration of the session, changes included.
        model: From `models.lookup`.

    Raises:
        UnsupportedByModel: Names the fields, the model, and how to send it anyway.
    """
    found = problems(config, model)
    if found:
        guessed = "" if model.known else f" (a name this version does not know, taken for {model.family})"
        raise UnsupportedByModel(
            f"{model.name or model.family}{guessed}: {'; '.join(found)}. Change it, or pass "
            f"allow_unsupported=True to send it anyway"
        )


def problems(config: SessionConfig, model: ModelInfo) -> list[str]:
    """List what this model cannot do, one clause for each; empty when it can do everything."""
    fields = {name: value for name, value in config.given().items() if name != "extra"}
    if not fields:
        return []
    found = [
        f"{name} is not supported by this model"
        for name, value in fields.items()
        if name not in model.session_fields and not _is_off(value)
    ]
    found += _tool_problems(config, model)
    found += _turn_problems(config.turn_detection, model)
    for name, form, types, rates in (
        ("input_audio_format", config.input_audio_format, model.input_formats, model.input_rates),
        ("output_audio_format", config.output_audio_format, model.output_formats, model.output_rates),
    ):
        if isinstance(form, AudioFormat) and name in model.session_fields:
            found += _format_problems(name, form, types, rates, model)
    return found + _value_problems(config, model)


def _is_off(value: object) -> bool:
    return value is UNSET or value is None or value is False or value == ()


def _tool_problems(config: SessionConfig, model: ModelInfo) -> list[str]:
    given = config.tools if isinstance(config.tools, tuple) else ()
    found = []
    if given and config.enable_search:
        found.append("tools and enable_search exclude each other")
    if given and model.tools and not model.mcp:
        mcp = [tool for tool in given if isinstance(tool, McpTool) or _type_of(tool) == McpTool.type]
        found += ["tools of type mcp are not supported by this model, functions are"] if mcp else []
    return found


def _type_of(part: object) -> object:
    return part.get("type") if isinstance(part, Mapping) else getattr(part, "type", None)


def _turn_problems(turns: object, model: ModelInfo) -> list[str]:
    kind = _type_of(turns)
    if not isinstance(kind, str) or not model.vad_types:
        return []
    if kind not in model.vad_types:
        return [f"turn_detection {kind!r} is not supported by this model, {' and '.join(model.vad_types)} are"]
    if isinstance(turns, ServerVad) and not _is_off(turns.idle_timeout_ms) and not model.idle_timeout:
        return ["turn_detection.idle_timeout_ms is not supported by this model (the 3.5 series has it)"]
    return []


def _format_problems(
    name: str, form: AudioFormat, types: tuple[str, ...], rates: tuple[int, ...], model: ModelInfo
) -> list[str]:
    found = []
    if form.type is not UNSET and form.type not in types:
        found.append(f"{name} {form.type!r} is not supported by this model, {' and '.join(types) or 'none'} are")
    if form.sample_rate is not UNSET and form.sample_rate not in rates:
        allowed = " and ".join(map(str, rates))
        found.append(f"{name} at {form.sample_rate} Hz is not supported by this model, {allowed} Hz are")
    fine = (form.sample_format, form.packing, form.channels, form.channel_layout)
    if any(value is not UNSET for value in fine) and not model.multichannel:
        found.append(f"{name} takes only type and sample_rate with this model")
    elif name == "output_audio_format" and form.channels not in (UNSET, 1):
        found.append(f"{name} has one channel")
    return found


def _value_problems(config: SessionConfig, model: ModelInfo) -> list[str]:
    found = []
    limit = model.max_tokens
    if limit is not None and isinstance(config.max_tokens, int) and config.max_tokens > limit:
        found.append(f"max_tokens {config.max_tokens} is above this model's {limit}")
    if config.repetition_penalty == 0 and not model.zero_repetition_penalty:
        found.append("repetition_penalty must be greater than 0 with this model")
    if not model.sampling_adjustable and model.sampling is not None:
        for name, fixed in attrs.asdict(model.sampling).items():
            value = getattr(config, name)
            if value not in (UNSET, None, fixed):
                found.append(f"{name} cannot be changed with this model, it is {fixed:g}")
    if isinstance(config.modalities, tuple) and "audio" in config.modalities and not model.output_formats:
        found.append("modalities 'audio' is not supported by this model, it writes only")
    rates = model.input_rates or model.output_rates
    if "sample_rate" in model.session_fields and config.sample_rate not in (*rates, UNSET, None):
        found.append(f"sample_rate {config.sample_rate} is not supported, {_list(rates)} Hz are")
    spoken = config.response_format if model.family == "tts" else UNSET
    if spoken not in (*model.output_formats, UNSET, None):
        found.append(f"response_format {spoken!r} is not supported, {_list(model.output_formats)} are")
    return found


def _list(values: Iterable[object]) -> str:
    return " and ".join(map(str, values)) or "none"


# How long to wait.


@attrs.frozen(kw_only=True)
class Timeouts:
    """Deadlines, seconds.

    Attributes:
        connect: From the first DNS query until ``session.created`` (and ``session.updated`` where a
            configuration is sent).
        close: For everything ``close()`` does; the service may never answer a close frame.
        send: For room in the queue of events to send.
        turn: For a whole turn: until the answer is done.
        cancel: For ``response.done`` after ``response.cancel``; it may never come (seen on 3.5).
        acknowledge: For the service to acknowledge a change or an item.
        finish: For ``session.finished`` after ``session.finish``.

    Raises:
        ValueError: Not a number greater than 0.
    """

    connect: float = attrs.field(default=10.0, validator=sent(number(above=0)))
    close: float = attrs.field(default=2.0, validator=sent(number(above=0)))
    send: float = attrs.field(default=10.0, validator=sent(number(above=0)))
    turn: float = attrs.field(default=60.0, validator=sent(number(above=0)))
    cancel: float = attrs.field(default=2.0, validator=sent(number(above=0)))
    acknowledge: float = attrs.field(default=10.0, validator=sent(number(above=0)))
    finish: float = attrs.field(default=20.0, validator=sent(number(above=0)))


@attrs.frozen(kw_only=True)
class Keepalive:
    """WebSocket pings: they find a dead connection; they do not put off the service's own idle timeout.

    Attributes:
        ping_interval: Seconds between pings; None sends none.
        ping_timeout: Seconds without a word from the peer after a ping until the connection counts as lost; None waits
            for ever.
        silence_interval: Seconds without any audio appended after which one second of silence is, so that a call with a
            muted microphone is not taken for dead; None (default) sends none. Source: practice of the Qwen team's own
            client, every 30 s; it cannot exclude every idle close.

    Raises:
        ValueError: Not a number greater than 0.
    """

    ping_interval: float | None = attrs.field(default=20.0, validator=number(above=0))
    ping_timeout: float | None = attrs.field(default=20.0, validator=number(above=0))
    silence_interval: float | None = attrs.field(default=None, validator=number(above=0))


@attrs.frozen(kw_only=True)
class Reconnect:
    """Going on after a lost connection: ``client.session(..., reconnect=Reconnect())``; off unless given.

    A new connection gets the configuration again, and the conversation so far as one text item where the model takes
    text. Nothing is tried again after a refused key, a used-up quota or a bad request.

    Attributes:
        attempts: Tries in a row; whole again after the first good event of a working session.
        first_delay: Seconds before the first try; doubled for each further one.
        max_delay: Seconds between tries at the most.
        jitter: Share of a delay that is left to chance, 0 to 1, so that many clients do not come back at once.
        audio_buffer_ms: Audio appended meanwhile is kept up to this length; older audio makes room and is counted.
        history_chars: Characters of the conversation that are kept for the next connection; 0 keeps none.
        rotate_after: Seconds after which the connection is changed at the next turn boundary, before the service's own
            limit of 120 minutes ends it in mid-sentence; None never does.

    Raises:
        ValueError: A value outside its range.
    """

    attempts: int = attrs.field(default=8, validator=sent(whole(1, 1000)))
    first_delay: float = attrs.field(default=0.5, validator=sent(number(0)))
    max_delay: float = attrs.field(default=30.0, validator=sent(number(0)))
    jitter: float = attrs.field(default=0.5, validator=sent(number(0, 1)))
    audio_buffer_ms: int = attrs.field(default=10_000, validator=sent(whole(0, 600_000)))
    history_chars: int = attrs.field(default=20_000, validator=sent(whole(0, 1_000_000)))
    rotate_after: float | None = attrs.field(default=115 * 60.0, validator=number(above=0))


@attrs.frozen(kw_only=True)
class Limits:
    """Bounds in bytes, so that no peer and no slow callback can take all memory.

    Attributes:
        max_message_bytes: A server message that announces more ends the session with `MessageTooLarge`.
        outbox_bytes: Client events waiting for the network; a full outbox makes senders wait, up to their deadline.
        inbox_bytes: Server messages waiting for callbacks; a full inbox makes the server wait.

    Raises:
        ValueError: Less than 1 byte.
    """

    max_message_bytes: int = attrs.field(default=16 * 1024 * 1024, validator=sent(whole(1)))
    outbox_bytes: int = attrs.field(default=16 * 1024 * 1024, validator=sent(whole(1)))
    inbox_bytes: int = attrs.field(default=64 * 1024 * 1024, validator=sent(whole(1)))
