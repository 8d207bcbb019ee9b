"""Request files: what to ask, and of whom, in YAML or JSON; an unknown key is an error that names the nearest."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import click

import dashscope_rt as rt

from ._contexts import nearest

_INPUTS = ("text", "audio_file", "image_file", "image_files")
# The names that the tools of giztoy use for the transcription.
_TRANSCRIPTION = ("enable_input_audio_transcription", "input_audio_transcription_model", "transcription")


@functools.cache
def _settings() -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(rt.SessionConfig) if field.name not in ("spelling", "model"))


def keys() -> tuple[str, ...]:
    """What a request file may hold."""
    return ("model", *_INPUTS, *_TRANSCRIPTION, *_settings())


@attrs.frozen(kw_only=True)
class Request:
    """What a request file, or the command line, asks for.

    Attributes:
        config: Only what was named.
    """

    model: str = ""
    config: rt.SessionConfig = attrs.field(factory=lambda: rt.SessionConfig())  # noqa: PLW0108 — loaded at need
    text: str = ""
    audio: Path | None = None
    images: tuple[Path, ...] = ()


def load(path: Path) -> Request:
    """Read a request file.

    Raises:
        click.UsageError: It cannot be read, or holds what it may not; the message says where and what.
    """
    import yaml

    try:
        content = path.read_text(encoding="utf-8-sig")
        data = json.loads(content) if path.suffix.lower() == ".json" else yaml.safe_load(content)
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"{path} is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise click.UsageError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise click.UsageError(f"{path}{line}: not YAML: {getattr(error, 'problem', None) or error}") from None
    if data is None:
        return Request()
    if not isinstance(data, Mapping):
        raise click.UsageError(f"{path} must hold a mapping of names to values, not {type(data).__name__}")
    try:
        return _read(data, path)
    except (TypeError, ValueError) as error:
        raise click.UsageError(f"{path}: {_plainly(error)}") from None


def _plainly(error: Exception) -> str:
    return str(error).replace("SessionConfig.", "").replace("SessionConfig ", "it ")


def _read(data: Mapping[Any, Any], path: Path) -> Request:
    for key in data:
        if key not in keys():
            raise ValueError(f"there is no key {key!r}; {nearest(str(key), keys())}")
    fields = {key: value for key, value in data.items() if key in _settings()}
    fields.update(_transcription(data))
    if fields.get("turn_detection") in (False, "none", "off", "manual", "disabled"):
        fields["turn_detection"] = None
    elif isinstance(fields.get("turn_detection"), Mapping) and not fields["turn_detection"].get("type"):
        fields["turn_detection"] = {**fields["turn_detection"], "type": "server_vad"}
    images = data.get("image_files") or ()
    if isinstance(images, str) or not all(isinstance(image, str) for image in images):
        raise ValueError("image_files must be a list of paths")
    one = data.get("image_file")
    return Request(
        model=_text(data, "model"),
        config=rt.SessionConfig(**fields),
        text=_text(data, "text"),
        audio=_file(_text(data, "audio_file"), path) if data.get("audio_file") else None,
        images=tuple(_file(image, path) for image in (*([one] if one else []), *images)),
    )


def _text(data: Mapping[Any, Any], key: str) -> str:
    value = data.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"{key} must be a text, not {type(value).__name__}")
    return value


def _transcription(data: Mapping[Any, Any]) -> dict[str, Any]:
    given = [key for key in (*_TRANSCRIPTION, "input_audio_transcription") if key in data]
    if not given or given == ["input_audio_transcription"]:
        return {}
    if "transcription" in given or "input_audio_transcription" in given:
        if len(given) > 1:
            raise ValueError(f"{given[0]} and {given[1]} both set the transcription; keep one")
        value = data["transcription"]
        return {"input_audio_transcription": {} if value is True else None if value is False else value}
    enabled = data.get("enable_input_audio_transcription", True)
    if not isinstance(enabled, bool):
        raise TypeError("enable_input_audio_transcription must be true or false")
    model = data.get("input_audio_transcription_model")
    return {"input_audio_transcription": ({"model": model} if model else {}) if enabled else None}


def _file(name: str, path: Path) -> Path:
    """A file that is named in a request file: beside it, or where the command runs."""
    found = Path(name).expanduser()
    beside = path.parent / found
    for candidate in (beside, found):
        if candidate.is_file():
            return candidate
    raise ValueError(f"there is no file {name!r}, neither in {path.parent.resolve()} nor in {Path.cwd()}")
