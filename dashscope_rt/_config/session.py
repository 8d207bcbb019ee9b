"""`SessionConfig`, every field of session.update; `config` gives it to the public."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from .parts import (
    AudioFormat,
    Transcription,
    Translation,
    TurnDetection,
    audio_format,
    transcription,
    translation,
    turn_detection,
)
from .rules import (
    UNSET,
    Part,
    Unset,
    as_tuple,
    check_json,
    copied,
    counted,
    flag,
    instance_of,
    mapping,
    named,
    nearest,
    number,
    one_of,
    refuse,
    sent,
    shown,
    tallied,
    text,
    whole,
)
from .tools import FunctionTool, McpTool, tools

_FORMAT = instance_of("an AudioFormat or its name ('pcm', 'wav', …)", AudioFormat)
_TOOL = (FunctionTool, McpTool, Mapping)


def _options(value: Mapping[str, Any] | str | Unset | None) -> Any:
    return {"frequency": value} if isinstance(value, str) else copied(value)


def _paths(value: Iterable[str]) -> frozenset[str]:
    return frozenset(value)


def _choice(value: Mapping[str, Any] | str | Unset | None) -> Any:
    return value if isinstance(value, str) else copied(value)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SessionConfig(Part):
    """A session's configuration, or a change of one. Every field is UNSET by default.

    Source: client events, session.update, unless a sibling is named.

    Attributes:
        modalities: ``["text"]`` or ``["text", "audio"]`` (the service's default), in any order.
        model: Echo of the model; the query of the connection decides, a change needs a new connection.
        voice: Free text: the service's lists change and clones have ids of their own. Fixed once audio was
            produced. Defaults: Tina (3.5, 3.8, LiveTranslate), Cherry (qwen3), Chelsie (turbo).
        input_audio_format: `AudioFormat`, or ``"pcm"`` (default, 16,000 Hz mono s16le), ``"wav"``,
            ``"pcm16"``, ``"opus"``. Set it before the first audio.
        output_audio_format: The same for the answer; default ``"pcm"`` at 24,000 Hz.
        input_audio_transcription: `Transcription`, a model's name, or None (no transcription).
        instructions: The system message.
        smooth_output: True (default) speaks colloquially, False as written, None lets the model choose
            (qwen3 only).
        turn_detection: `ServerVad` (default), `SemanticVad`, `SmartTurn`, `SpeakerDetection`, the name of
            one, or None: manual mode.
        enable_search: The model searches the web; default False. Not together with tools.
        search_options: ``{"enable_source": bool}``; needs ``enable_search``.
        tools: `FunctionTool`, `McpTool`, or mappings, nested or flat.
        tool_choice: ``"auto"`` or ``"none"``; not documented as an input.
        temperature: [0, 2). Default 0.6 (3.8), 0.7 (3.5), 0.9 (qwen3), 1.0 (turbo, where no sampling value
            can be changed).
        top_p: (0, 1]. Default 0.95, 0.8, 1.0, 0.01.
        top_k: 0 and more; None or more than 100 turns it off. Default 20, 20, 50, 20.
        max_tokens: Tokens of an answer, 1 to 65536; at most 16384 on qwen3, 2048 on turbo.
        repetition_penalty: Greater than 0; 3.8 takes 0 too. Default 0, 1.0, 1.05, 1.05.
        presence_penalty: [-2, 2]. Default 1, 1.5, 0, 0.
        seed: 0 to 2147483647; -1 (default) means unset.
        video_representation_compact: ``"none"`` (default) or ``"normal"``, a quarter of the tokens (3.8).
            Set it before the first audio.
        translation: `Translation` or a language (LiveTranslate).
        sample_rate: Of the input: 8000 or 16000 Hz (ASR, LiveTranslate 3.5). Of the output: 8000, 16000,
            24000 or 48000 Hz (TTS).
        enable_voice_clone: Speak with the speaker's own voice (LiveTranslate; with ``voice="default"``).
        voice_clone_options: ``"never"``, ``"once"`` or ``"always"``, or ``{"frequency": …}`` (LiveTranslate).
        mode: ``"server_commit"`` or ``"commit"`` (TTS).
        language_type: ``"Auto"``, ``"Chinese"``, … (TTS).
        response_format: ``"pcm"``, ``"wav"``, ``"mp3"`` or ``"opus"`` (TTS).
        speech_rate: 0.5 to 2 (TTS).
        pitch_rate: 0.5 to 2 (TTS).
        volume: 0 to 100 (TTS).
        bit_rate: 6 to 510 kbit/s, for opus (TTS).
        optimize_instructions: For the instruct model (TTS).
        enable_tn: Text normalisation (TTS; seen in the SDK only).
        max_history_turns: 1 to 50, default 20 (Qwen-Audio).
        extra: Sent as it is, merged last and deeply: the way to fields this version does not know.
        spelling: Where `codec.config_from_wire` found what can be spelt in two ways; it is spelt that way
            again. Not part of the value.

    Raises:
        ValueError: A value outside its range; the message names field, value and range.
        TypeError: A field that does not exist; the message names the nearest.
    """

    modalities: Iterable[str] | Unset | None = attrs.field(default=UNSET, converter=as_tuple)
    model: str | Unset | None = attrs.field(default=UNSET, validator=text())
    voice: str | Unset | None = attrs.field(default=UNSET, validator=text())
    input_audio_format: AudioFormat | Unset | None = attrs.field(
        default=UNSET, converter=audio_format, validator=_FORMAT
    )
    output_audio_format: AudioFormat | Unset | None = attrs.field(
        default=UNSET, converter=audio_format, validator=_FORMAT
    )
    input_audio_transcription: Transcription | Unset | None = attrs.field(
        default=UNSET,
        converter=transcription,
        validator=instance_of("a Transcription, a model's name or None", Transcription),
    )
    instructions: str | Unset | None = attrs.field(default=UNSET, validator=text(empty=True), repr=counted)
    smooth_output: bool | Unset | None = attrs.field(default=UNSET, validator=flag())
    turn_detection: TurnDetection | Mapping[str, Any] | Unset | None = attrs.field(
        default=UNSET,
        converter=turn_detection,
        validator=instance_of("a ServerVad, SemanticVad, SmartTurn, SpeakerDetection or None", TurnDetection, Mapping),
    )
    enable_search: bool | Unset | None = attrs.field(default=UNSET, validator=flag())
    search_options: Mapping[str, Any] | Unset | None = attrs.field(default=UNSET, converter=copied, validator=mapping())
    tools: tuple[FunctionTool | McpTool | Mapping[str, Any], ...] | Unset | None = attrs.field(
        default=UNSET, converter=tools, repr=tallied
    )
    tool_choice: str | Mapping[str, Any] | Unset | None = attrs.field(default=UNSET, converter=_choice)
    temperature: float | Unset | None = attrs.field(default=UNSET, validator=number(0, below=2))
    top_p: float | Unset | None = attrs.field(default=UNSET, validator=number(above=0, high=1))
    top_k: int | Unset | None = attrs.field(default=UNSET, validator=whole(0))
    max_tokens: int | Unset | None = attrs.field(default=UNSET, validator=whole(1, 65_536))
    repetition_penalty: float | Unset | None = attrs.field(default=UNSET, validator=number(0))
    presence_penalty: float | Unset | None = attrs.field(default=UNSET, validator=number(-2, 2))
    seed: int | Unset | None = attrs.field(default=UNSET, validator=whole(-1, 2**31 - 1, also="-1 means unset"))
    video_representation_compact: str | Unset | None = attrs.field(default=UNSET, validator=one_of("none", "normal"))
    translation: Translation | Unset | None = attrs.field(
        default=UNSET,
        converter=translation,
        validator=instance_of("a Translation or a language", Translation),
    )
    sample_rate: int | Unset | None = attrs.field(default=UNSET, validator=one_of(8000, 16000, 24000, 48000))
    enable_voice_clone: bool | Unset | None = attrs.field(default=UNSET, validator=flag())
    voice_clone_options: Mapping[str, Any] | Unset | None = attrs.field(
        default=UNSET, converter=_options, validator=mapping()
    )
    mode: str | Unset | None = attrs.field(default=UNSET, validator=one_of("server_commit", "commit"))
    language_type: str | Unset | None = attrs.field(default=UNSET, validator=text())
    response_format: str | Unset | None = attrs.field(default=UNSET, validator=one_of("pcm", "wav", "mp3", "opus"))
    speech_rate: float | Unset | None = attrs.field(default=UNSET, validator=number(0.5, 2))
    pitch_rate: float | Unset | None = attrs.field(default=UNSET, validator=number(0.5, 2))
    volume: int | Unset | None = attrs.field(default=UNSET, validator=whole(0, 100))
    bit_rate: int | Unset | None = attrs.field(default=UNSET, validator=whole(6, 510))
    optimize_instructions: bool | Unset | None = attrs.field(default=UNSET, validator=flag())
    enable_tn: bool | Unset | None = attrs.field(default=UNSET, validator=flag())
    max_history_turns: int | Unset | None = attrs.field(default=UNSET, validator=whole(1, 50))
    extra: Mapping[str, Any] = attrs.field(factory=dict, converter=copied, validator=sent(mapping()), repr=named)
    spelling: frozenset[str] = attrs.field(default=frozenset(), converter=_paths, eq=False, repr=False)

    @modalities.validator
    def _modalities_fit(self, field: attrs.Attribute[Any], value: object) -> None:
        if value is UNSET or value is None:
            return
        if not isinstance(value, tuple) or sorted(map(str, value)) not in (["text"], ["audio", "text"]):
            said = repr(list(value))[:60] if isinstance(value, tuple) else shown(value)
            raise ValueError(f"SessionConfig.{field.name} must be ['text'] or ['text', 'audio'], not {said}")

    @search_options.validator
    def _source_needs_search(self, field: attrs.Attribute[Any], value: object) -> None:
        source = value.get("enable_source") if isinstance(value, Mapping) else None
        if source is not None and not isinstance(source, bool):
            raise ValueError(f"SessionConfig.{field.name}.enable_source must be True or False")
        if source and self.enable_search in (False, None):
            raise ValueError(f"SessionConfig.{field.name}: enable_source needs enable_search=True")

    @tools.validator
    def _tools_fit(self, field: attrs.Attribute[Any], value: object) -> None:
        if value is UNSET or value is None:
            return
        if not isinstance(value, tuple):
            raise refuse(self, field, value, "a list of FunctionTool, McpTool or mappings")
        for index, item in enumerate(value):
            if not isinstance(item, _TOOL):
                hint = "; functions go to client.session(tools=[…]) or @session.tool" if callable(item) else ""
                raise ValueError(
                    f"SessionConfig.{field.name}[{index}] must be a FunctionTool, an McpTool or a mapping, "
                    f"not a {type(item).__name__}{hint}"
                )
        labels = [item.server_label for item in value if isinstance(item, McpTool)]
        for label in labels:
            if labels.count(label) > 1:
                raise ValueError(f"SessionConfig.{field.name} holds server_label {label!r} twice; it must be unique")

    @tool_choice.validator
    def _choice_fits(self, field: attrs.Attribute[Any], value: object) -> None:
        if value is UNSET or value is None:
            return
        if not isinstance(value, (str, Mapping)):
            raise refuse(self, field, value, "a text such as 'auto', or a mapping")
        check_json(value, f"SessionConfig.{field.name}")

    @voice_clone_options.validator
    def _frequency_fits(self, field: attrs.Attribute[Any], value: object) -> None:
        frequency = value.get("frequency") if isinstance(value, Mapping) else None
        if frequency is not None and frequency not in ("never", "once", "always"):
            raise ValueError(
                f"SessionConfig.{field.name}.frequency must be one of 'never', 'once', 'always', not {shown(frequency)}"
            )

    @classmethod
    def of(cls, **fields: Any) -> SessionConfig:
        """Make a configuration of keywords collected elsewhere; the same as ``SessionConfig(**fields)``."""
        return cls(**fields)

    def given(self) -> dict[str, Any]:
        """Return the fields that are set, by name; ``extra`` too when it holds anything."""
        return {
            name: value
            for name, value in zip(_SETTABLE, _VALUES(self), strict=True)
            if value is not UNSET and (value or name != "extra")
        }


_SETTABLE = tuple(field.name for field in attrs.fields(SessionConfig) if field.name != "spelling")
_VALUES = operator.attrgetter(*_SETTABLE)


# What these are called elsewhere, and here.
_MEANT = {
    "vad": "turn_detection (ServerVad(), SemanticVad(), or None for manual mode)",
    "system": "instructions",
    "system_prompt": "instructions",
    "system_message": "instructions",
    "prompt": "instructions",
    "language": "input_audio_transcription=Transcription(language=…)",
    "transcription": "input_audio_transcription",
    "stream": "session.ask(…, stream=True)",
    "functions": "tools",
    "max_output_tokens": "max_tokens",
    "max_response_output_tokens": "max_tokens",
    "output_modalities": "modalities",
    "response_modalities": "modalities",
    "search": "enable_search",
}


def _naming_the_nearest(init: Callable[..., None]) -> Callable[..., None]:
    """Wrap the constructor: attrs' own TypeError names the wrong keyword, but not what was meant."""
    known = frozenset((*_SETTABLE, "spelling"))

    @functools.wraps(init)
    def __init__(self: SessionConfig, *args: Any, **fields: Any) -> None:  # noqa: N807  # shown in tracebacks
        if not fields.keys() <= known:
            name = next(name for name in fields if name not in known)
            if name.lower() in _MEANT:
                raise TypeError(f"SessionConfig has no field {name!r}; what you want is {_MEANT[name.lower()]}")
            hint = nearest(name, _SETTABLE)
            raise TypeError(
                f"SessionConfig has no field {name!r}: {hint} "
                f"A field this version does not know can be sent with extra={{{name!r}: …}}"
            )
        init(self, *args, **fields)

    return __init__


SessionConfig.__init__ = _naming_the_nearest(SessionConfig.__init__)  # type: ignore[method-assign]
