"""How a `SessionConfig` is spelt on the wire, by family, and how it is read back; `codec` gives it to the public.

Three things have two spellings: formats (``input_audio_format`` or ``audio.input.format``), the voice (``voice`` or
``audio.output.voice``), turn detection (``turn_detection`` or ``audio.input.turn_detection``). Flat and nested formats
never stand in one request.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import attrs

from .._config.parts import TURN_DETECTIONS
from .._config.rules import Part, copied, shown
from ..config import (
    UNSET,
    AudioFormat,
    FunctionTool,
    McpTool,
    SessionConfig,
    Transcription,
    Translation,
    TurnDetection,
    Unset,
    merged,
)
from ..models import ModelInfo

# Fields that the wire spells as the configuration does, and that hold nothing but JSON.
_PLAIN = (
    "model", "instructions", "smooth_output", "enable_search", "search_options", "tool_choice", "temperature", "top_p",
    "top_k", "max_tokens", "repetition_penalty", "presence_penalty", "seed", "sample_rate", "enable_voice_clone",
    "voice_clone_options", "mode", "language_type", "response_format", "speech_rate", "pitch_rate", "volume",
    "bit_rate", "optimize_instructions", "enable_tn", "max_history_turns",
)  # fmt: skip
# What the older names of formats say in the nested spelling.
_TOKENS = {"pcm16": ("pcm", 16000), "pcm24": ("pcm", 24000)}
_SIDES = ("input", "output")


def config_to_wire(config: SessionConfig, model: ModelInfo) -> dict[str, Any]:
    """Spell a configuration the way the model's family wants it: the ``session`` of a session.update.

    Args:
        config: Only the fields that are set are spelt.
        model: Decides between flat and nested. Where `config_from_wire` noted how something was spelt, it is spelt so
            again.

    Returns:
        A JSON object; empty when nothing is set.
    """
    if not config.given():
        return {}
    wire: dict[str, Any] = {}
    if config.modalities is not UNSET:
        for name in _paths(config, "modalities", "output_modalities", nested=model.output_modalities):
            wire[name] = config.modalities
    wire.update({name: value for name in _PLAIN if (value := getattr(config, name)) is not UNSET})
    if config.input_audio_transcription is not UNSET:
        wire["input_audio_transcription"] = _fields(config.input_audio_transcription)
    if config.translation is not UNSET:
        wire["translation"] = _translation(config.translation)
    if not isinstance(config.tools, Unset):
        wire["tools"] = None if config.tools is None else [_tool(part) for part in config.tools]
    if config.video_representation_compact is not UNSET:
        _put(wire, "video.input.representation_compact", config.video_representation_compact)
    _put_voice(wire, config, model)
    if config.turn_detection is not UNSET:
        turns = config.turn_detection
        spelt = {"type": turns.type, **_set_fields(turns)} if isinstance(turns, TurnDetection) else turns
        for path in _paths(config, "turn_detection", "audio.input.turn_detection", nested=model.nested_turn_detection):
            _put(wire, path, spelt)
    _put_formats(wire, config, model)
    whole: dict[str, Any] = copied(merged(wire, config.extra))  # the caller may change what it gets
    return whole


def _put_voice(wire: dict[str, Any], config: SessionConfig, model: ModelInfo) -> None:
    if config.voice is UNSET:
        return
    paths = _paths(config, "voice", "audio.output.voice", nested=model.nested_voice)
    if model.output_modalities and not config.spelling.intersection(_PLACES["voice"]):
        # LiveTranslate 3.8: documented flat, but a cloned voice was seen to be heeded only when it is nested too.
        paths = ("voice", "audio.output.voice")
    for path in paths:
        _put(wire, path, config.voice)


def _put_formats(wire: dict[str, Any], config: SessionConfig, model: ModelInfo) -> None:
    forms = {side: getattr(config, f"{side}_audio_format") for side in _SIDES}
    forms = {side: form for side, form in forms.items() if form is not UNSET}
    nested = _nested_formats(wire, config, model, forms)
    for side, form in forms.items():
        if form is None:
            _put(wire, f"audio.{side}.format" if nested else f"{side}_audio_format", None)
        elif nested:
            spelt = _set_fields(form)
            if form.type in _TOKENS:
                kind, rate = _TOKENS[form.type]
                spelt = {**spelt, "type": kind, "sample_rate": spelt.get("sample_rate", rate)}
            _put(wire, f"audio.{side}.format", spelt)
        else:
            if form.type is not UNSET:
                wire[f"{side}_audio_format"] = form.type
            if model.flat_rate and side == "input" and form.sample_rate is not UNSET:
                wire.setdefault("sample_rate", form.sample_rate)


def _nested_formats(
    wire: Mapping[str, Any], config: SessionConfig, model: ModelInfo, forms: Mapping[str, AudioFormat | None]
) -> bool:
    if "audio" in wire or "audio" in config.extra:
        return True
    if any(f"audio.{side}.format" in config.spelling for side in forms):
        return True
    if any(_needs_nesting(side, form, model) for side, form in forms.items()):
        return True
    noted_flat = any(f"{side}_audio_format" in config.spelling for side in forms)
    return model.nested_voice and not noted_flat


def _needs_nesting(side: str, form: AudioFormat | None, model: ModelInfo) -> bool:
    """Whether the flat spelling cannot say it, or the user said more than a name and the family takes it nested."""
    if form is None:
        return False
    more = {name for name in _set_fields(form) if name != "type"}
    if not model.nested_formats and more == {"sample_rate"}:
        usual = model.default_input_rate if side == "input" else model.default_output_rate
        return form.sample_rate != usual and not (model.flat_rate and side == "input")
    return bool(more) or (form.type == "wav" and model.nested_formats)


def _paths(config: SessionConfig, flat: str, nested_path: str, *, nested: bool) -> tuple[str, ...]:
    """The places where a value goes: where it was found, else where the family wants it."""
    noted = tuple(path for path in (flat, nested_path) if path in config.spelling)
    return noted or ((nested_path,) if nested else (flat,))


def _put(wire: dict[str, Any], path: str, value: Any) -> None:
    *outer, last = path.split(".")
    for name in outer:
        wire = wire.setdefault(name, {})
    wire[last] = value


def _set_fields(part: Any) -> dict[str, Any]:
    values = {field.name: getattr(part, field.name) for field in attrs.fields(type(part))}
    return {name: value for name, value in values.items() if value is not UNSET}


def _fields(part: Any) -> dict[str, Any] | None:
    return None if part is None else _set_fields(part)


def _translation(part: Translation | Unset | None) -> dict[str, Any] | None:
    if not isinstance(part, Translation):
        return None
    fields = _set_fields(part)
    wire = {"language": fields["language"]} if "language" in fields else {}
    if "phrases" in fields:
        wire["corpus"] = {"phrases": fields["phrases"]}
    skip = {name: fields[name] for name in ("skip_text", "skip_audio") if name in fields}
    return {**wire, "same_language_skip_options": skip} if skip else wire


def _tool(part: FunctionTool | McpTool | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(part, Mapping):
        return dict(part)
    if isinstance(part, FunctionTool):
        return {"type": part.type, "function": _set_fields(part)}
    return {"type": part.type, **_set_fields(part)}


def config_from_wire(session: Mapping[str, Any]) -> SessionConfig:
    """Read the ``session`` of a session.update, in either spelling.

    Args:
        session: The JSON object; it is not changed.

    Returns:
        The configuration. What this package does not know goes to ``extra``, so that
        ``config_to_wire(config_from_wire(session), model)`` gives the same object again.

    Raises:
        ValueError: A value outside its range, or of the wrong kind.
    """
    rest: dict[str, Any] = copied(session)
    fields: dict[str, Any] = {}
    spelling: set[str] = set()
    for name in _PLAIN:
        if name in rest:
            fields[name] = rest.pop(name)
    for name, paths in _PLACES.items():
        places = _places(rest, paths)
        if places:
            value = _take(rest, places[0])
            for path in places[1:]:
                _take(rest, path)
            fields[name], unknown = _READ[name](value) if name in _READ else (value, UNSET)
            spelling.update(places)
            if unknown is not UNSET:
                for path in places:
                    _put(rest, path, unknown)
    return SessionConfig(**fields, extra=rest, spelling=spelling)


# Where the wire has what a configuration calls by one name; the nested place counts when both are taken.
_PLACES: Mapping[str, tuple[str, ...]] = {
    "modalities": ("output_modalities", "modalities"),
    "voice": ("audio.output.voice", "voice"),
    "input_audio_format": ("audio.input.format", "input_audio_format"),
    "output_audio_format": ("audio.output.format", "output_audio_format"),
    "turn_detection": ("audio.input.turn_detection", "turn_detection"),
    "input_audio_transcription": ("input_audio_transcription",),
    "translation": ("translation",),
    "tools": ("tools",),
    "video_representation_compact": ("video.input.representation_compact",),
}


def _places(rest: Mapping[str, Any], paths: tuple[str, ...]) -> list[str]:
    """The paths that hold the value; one that contradicts the first is left alone."""
    found = [(path, value) for path in paths if (value := _get(rest, path)) is not UNSET]
    return [path for path, value in found if value == found[0][1]]


def _get(wire: Mapping[str, Any], path: str) -> Any:
    value: Any = wire
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return UNSET
        value = value[name]
    return value


def _take(wire: dict[str, Any], path: str) -> Any:
    """Remove a value, and the objects around it that it leaves empty."""
    name, _, inner = path.partition(".")
    if not inner:
        return wire.pop(name)
    value = _take(wire[name], inner)
    if not wire[name]:
        del wire[name]
    return value


def _split(value: Any, names: Collection[str], where: str) -> tuple[dict[str, Any], Any]:
    """Divide an object into the fields named and the rest, UNSET when there is none."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} must be an object or null, not {shown(value)}")
    known = {name: inner for name, inner in value.items() if name in names}
    unknown = {name: inner for name, inner in value.items() if name not in names}
    return known, unknown or UNSET


def _read_format(value: Any) -> tuple[Any, Any]:
    if value is None or isinstance(value, str):
        return value, UNSET
    known, unknown = _split(value, _names(AudioFormat), "an audio format")
    nulls = {name: None for name, inner in known.items() if inner is None}
    known = {name: inner for name, inner in known.items() if inner is not None}
    rest = {**nulls, **({} if unknown is UNSET else unknown)}
    return AudioFormat(**{"type": UNSET, **known}), rest or UNSET


def _read_transcription(value: Any) -> tuple[Any, Any]:
    if value is None:
        return None, UNSET
    known, unknown = _split(value, _names(Transcription), "input_audio_transcription")
    return Transcription(**known), unknown


def _read_translation(value: Any) -> tuple[Any, Any]:
    if value is None:
        return None, UNSET
    rest: dict[str, Any] = copied(_split(value, (), "translation")[1] or {})
    fields = {}
    for name, path in (
        ("language", "language"),
        ("phrases", "corpus.phrases"),
        ("skip_text", "same_language_skip_options.skip_text"),
        ("skip_audio", "same_language_skip_options.skip_audio"),
    ):
        if _get(rest, path) is not UNSET:
            fields[name] = _take(rest, path)
    return Translation(**fields), rest or UNSET


def _read_turn_detection(value: Any) -> tuple[Any, Any]:
    if value is None:
        return None, UNSET
    named = _split(value, ("type",), "turn_detection")[0].get("type")
    kind = TURN_DETECTIONS.get(named) if isinstance(named, str) else None
    if kind is None:
        return value, UNSET
    known, unknown = _split(value, ("type", *_names(kind)), "turn_detection")
    del known["type"]
    return kind(**known), unknown


def _names(kind: type[Part]) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(kind))


_READ: Mapping[str, Callable[[Any], tuple[Any, Any]]] = {
    "input_audio_format": _read_format,
    "output_audio_format": _read_format,
    "input_audio_transcription": _read_transcription,
    "translation": _read_translation,
    "turn_detection": _read_turn_detection,
}
