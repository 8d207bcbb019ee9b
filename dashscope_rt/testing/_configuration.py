"""One session's configuration: what ``session.update`` changes and ``session.created`` and ``session.updated`` show."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..models import ModelInfo
from . import _validation as check
from ._wire import Refusal, invalid

_SAMPLING = ("max_tokens", "repetition_penalty", "presence_penalty", "top_k", "top_p", "seed")
_SECRET_TOOL_FIELDS = ("server_url", "authorization", "headers")
_UPDATED_ONLY = ("instructions", "max_response_output_token", *_SAMPLING)


class Configuration:
    """The configuration of one session.

    Args:
        info: What the model takes.
        session_id: Shown as ``session.id``.
        voices: `Variants.voices`.
        merge: `Variants.merge_nested`.
    """

    def __init__(self, info: ModelInfo, session_id: str, voices: Collection[str] | None, merge: bool) -> None:
        self.info = info
        self.session_id = session_id
        self._voices = tuple(voices if voices is not None else info.voices)
        self._merge = merge
        sampling = info.sampling
        self.values: dict[str, Any] = {
            "modalities": ["text", "audio"],
            "voice": info.default_voice or "",
            "instructions": "",
            "input_audio_format": "pcm",
            "output_audio_format": "pcm",
            "input_audio_transcription": {"model": "qwen3-asr-flash-realtime"},
            "turn_detection": dict(check.DEFAULT_VAD),
            "enable_search": False,
            "search_options": {},
            "tools": [],
            "temperature": sampling.temperature if sampling else 0.8,
            "max_tokens": info.max_tokens,
            "repetition_penalty": sampling.repetition_penalty if sampling else 1.0,
            "presence_penalty": sampling.presence_penalty if sampling else 0.0,
            "top_k": sampling.top_k if sampling else None,
            "top_p": sampling.top_p if sampling else 1.0,
            "seed": sampling.seed if sampling else -1,
            "max_response_output_token": "inf",
        }
        self.input_format: dict[str, Any] = {"type": "pcm", "sample_rate": info.default_input_rate}
        self.output_format: dict[str, Any] = {"type": "pcm", "sample_rate": info.default_output_rate}
        if info.multichannel:
            self.input_format |= {
                "sample_format": "s16le", "channels": 1, "packing": "interleaved", "channel_layout": "mono",
            }  # fmt: skip
        self.nested = info.nested_voice

    # What the rest of the session asks

    @property
    def turn_detection(self) -> dict[str, Any] | None:
        """None in manual mode."""
        found: dict[str, Any] | None = self.values["turn_detection"]
        return found

    @property
    def semantic(self) -> bool:
        """Under semantic VAD a turn may be refused."""
        return self.turn_detection is not None and self.turn_detection["type"] == "semantic_vad"

    @property
    def compact(self) -> bool:
        """Pictures are represented compactly."""
        video = self.values.get("video")
        return bool(video and video["input"]["representation_compact"] == "normal")

    def echo(self, *, updated: bool) -> dict[str, Any]:
        """The session object of ``session.created`` or ``session.updated``; a copy."""
        session: dict[str, Any] = {
            "id": self.session_id,
            "object": "realtime.session",
            "model": self.info.name,
            **{name: value for name, value in self.values.items() if updated or name not in _UPDATED_ONLY},
        }
        session["tools"] = [
            {name: value for name, value in tool.items() if tool["type"] != "mcp" or name not in _SECRET_TOOL_FIELDS}
            for tool in session["tools"]
        ]
        if self.nested:
            output: dict[str, Any] = {"format": self.output_format}
            if self.info.nested_voice:
                output["voice"] = self.values["voice"]
            session["audio"] = {"input": {"format": self.input_format}, "output": output}
        return copy.deepcopy(session)

    # Changes

    def update(self, session: Mapping[str, Any], *, started: bool, spoken: bool, active: bool) -> Configuration:
        """A configuration with the changes; this one stays as it is.

        Args:
            session: The ``session`` object of the client's event; fields nobody knows are ignored.
            started: Audio has been appended: formats are fixed.
            spoken: The model has spoken: the voice is fixed.
            active: A response is running: MCP tools are fixed.

        Raises:
            Refusal: One of the values is wrong; then nothing is changed.
        """
        draft = copy.copy(self)
        draft.values = copy.deepcopy(self.values)
        draft.input_format, draft.output_format = dict(self.input_format), dict(self.output_format)
        audio = session.get("audio")
        if audio is not None and ({"input_audio_format", "output_audio_format"} & set(session)):
            raise invalid("'audio' and 'input_audio_format' or 'output_audio_format' cannot be mixed.", "session.audio")
        for name, value in session.items():
            change = _CHANGES.get(name)
            if change is not None:
                change(draft, value, f"session.{name}")
        if audio is not None:
            draft._set_audio(check.mapping(audio, "session.audio"))
        if draft.values["enable_search"] and draft.values["tools"]:
            raise invalid("'enable_search' and 'tools' cannot be used together.", "session.enable_search")
        if started:
            for side in ("input_format", "output_format"):
                if getattr(draft, side) != getattr(self, side):
                    name = side.replace("_format", ".format")
                    raise invalid(
                        "The audio format cannot be changed after audio was received.", f"session.audio.{name}"
                    )
            if draft.compact != self.compact:
                raise invalid(
                    "It cannot be changed after audio was received.", "session.video.input.representation_compact"
                )
        if spoken and draft.values["voice"] != self.values["voice"]:
            raise Refusal(
                "Cannot update voice after audio was produced.", code="cannot_update_voice", param="session.voice"
            )
        if (
            active
            and draft.values["tools"] != self.values["tools"]
            and _has_mcp(draft.values["tools"] + self.values["tools"])
        ):
            raise invalid("MCP tools cannot be changed while a response is active.", "session.tools")
        return draft

    def _set_audio(self, audio: Mapping[str, Any]) -> None:
        # Last, because audio.output.voice wins over voice.
        self.nested = True
        into = check.mapping(audio.get("input", {}), "session.audio.input")
        out = check.mapping(audio.get("output", {}), "session.audio.output")
        if "format" in into:
            param = "session.audio.input.format"
            self.input_format = check.audio_format(
                into["format"], param, self.info, into=True, before=self.input_format
            )
            self.values["input_audio_format"] = self.input_format["type"]
        if "format" in out:
            param = "session.audio.output.format"
            self.output_format = check.audio_format(
                out["format"], param, self.info, into=False, before=self.output_format
            )
            self.values["output_audio_format"] = self.output_format["type"]
        if "voice" in out:
            if not self.info.nested_voice:
                raise check.unsupported("session.audio.output.voice", self.info)
            self._set_voice(out["voice"], "session.audio.output.voice")

    def _set_voice(self, value: object, param: str) -> None:
        self.values["voice"] = check.voice(value, param, self._voices or None)

    def _set_flat_format(self, value: object, param: str) -> None:
        into = param == "session.input_audio_format"
        kinds = self.info.input_formats if into else self.info.output_formats
        kind = check.one_of(value, kinds, param)
        self.values[param.removeprefix("session.")] = kind
        kept = self.input_format if into else self.output_format
        kept["type"] = "wav" if kind == "wav" else "pcm"

    def _set_transcription(self, value: object, param: str) -> None:
        self.values["input_audio_transcription"] = check.transcription(value, param)

    def _set_turn_detection(self, value: object, param: str) -> None:
        before = self.turn_detection
        self.values["turn_detection"] = check.turn_detection(value, param, self.info, before, self._merge)

    def _set_modalities(self, value: object, param: str) -> None:
        self.values["modalities"] = check.modalities(value, param)

    def _set_instructions(self, value: object, param: str) -> None:
        self.values["instructions"] = "" if value is None else check.text(value, param)

    def _set_model(self, value: object, param: str) -> None:
        check.text(value, param)  # the query's model stays: it can only be chosen when connecting

    def _set_smooth(self, value: object, param: str) -> None:
        if not self.info.smooth_output:
            raise check.unsupported(param, self.info)
        self.values["smooth_output"] = value if value is None else check.flag(value, param)

    def _set_search(self, value: object, param: str) -> None:
        if check.flag(value, param) and not self.info.search:
            raise check.unsupported(param, self.info)
        self.values["enable_search"] = value

    def _set_search_options(self, value: object, param: str) -> None:
        options = check.mapping(value, param)
        if "enable_source" in options:
            check.flag(options["enable_source"], f"{param}.enable_source")
        if options and not self.info.search:
            raise check.unsupported(param, self.info)
        self.values["search_options"] = dict(options)

    def _set_tools(self, value: object, param: str) -> None:
        self.values["tools"] = check.tools([] if value is None else value, self.info)

    def _set_tool_choice(self, value: object, param: str) -> None:
        if not isinstance(value, (str, dict)):
            raise check.wrong_type(value, "a string", param)
        self.values["tool_choice"] = value

    def _set_video(self, value: object, param: str) -> None:
        video = check.mapping(check.mapping(value, param).get("input", {}), f"{param}.input")
        name = f"{param}.input.representation_compact"
        if not self.info.video_compact:
            raise check.unsupported(name, self.info)
        if "representation_compact" in video:
            kept = check.one_of(video["representation_compact"], ("none", "normal"), name)
            self.values["video"] = {"input": {"representation_compact": kept}}

    def _set_sampling(self, value: object, param: str) -> None:
        name = param.removeprefix("session.")
        self.values[name] = check.sampling(name, value, self.info)


def _has_mcp(tools: list[dict[str, Any]]) -> bool:
    return any(tool["type"] == "mcp" for tool in tools)


_CHANGES: Mapping[str, Callable[[Configuration, object, str], None]] = {
    "modalities": Configuration._set_modalities,
    "model": Configuration._set_model,
    "voice": Configuration._set_voice,
    "input_audio_format": Configuration._set_flat_format,
    "output_audio_format": Configuration._set_flat_format,
    "input_audio_transcription": Configuration._set_transcription,
    "instructions": Configuration._set_instructions,
    "smooth_output": Configuration._set_smooth,
    "turn_detection": Configuration._set_turn_detection,
    "enable_search": Configuration._set_search,
    "search_options": Configuration._set_search_options,
    "tools": Configuration._set_tools,
    "tool_choice": Configuration._set_tool_choice,
    "video": Configuration._set_video,
    "temperature": Configuration._set_sampling,
    **dict.fromkeys(_SAMPLING, Configuration._set_sampling),
}
