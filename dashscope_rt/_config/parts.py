"""The parts of a `SessionConfig`: audio formats, turn detection, transcription, translation, tools.

`config` gives them to the public. Every field that is ``UNSET`` is not sent; None is sent as null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from .rules import (
    UNSET,
    Part,
    Unset,
    check_json,
    copied,
    flag,
    mapping,
    named,
    number,
    one_of,
    part_of,
    refuse,
    sent,
    shown,
    tallied,
    text,
    whole,
)

FORMATS = ("pcm", "wav", "pcm16", "pcm24", "opus", "mp3")
RATES = (8000, 16000, 24000, 48000)
LAYOUTS: Mapping[str, int] = {"mono": 1, "raw_mic_array": 2, "foa_ambix": 4}


@attrs.frozen(eq=False, repr=False)
class AudioFormat(Part):
    """How audio is encoded. Samples of ``pcm`` are signed 16 bit little-endian.

    Source: client events, session.update, ``audio.input.format`` and ``audio.output.format``.

    Attributes:
        type: ``pcm`` (default) or ``wav``; ``opus`` on ASR and LiveTranslate; ``pcm16`` and ``pcm24`` are
            older names of ``pcm``, which say 16,000 and 24,000 Hz and not the width of a sample.
        sample_rate: 8000, 16000, 24000 or 48000 Hz; default 16000 in, 24000 out.
        sample_format: ``s16le``, the only one (3.8).
        channels: 1 (default), 2 or 4 (3.8, input only; 2 and 4 need ``pcm`` at 16000 Hz).
        packing: ``interleaved``, the only one (3.8).
        channel_layout: ``mono``, ``raw_mic_array`` or ``foa_ambix``, for 1, 2 or 4 channels (3.8).

    Raises:
        ValueError: A value outside its range, or a layout that does not fit the channels.
    """

    type: str | Unset = attrs.field(default="pcm", validator=sent(one_of(*FORMATS)))
    sample_rate: int | Unset = attrs.field(default=UNSET, validator=sent(one_of(*RATES)))
    sample_format: str | Unset = attrs.field(default=UNSET, kw_only=True, validator=sent(one_of("s16le")))
    channels: int | Unset = attrs.field(default=UNSET, kw_only=True, validator=sent(one_of(1, 2, 4)))
    packing: str | Unset = attrs.field(default=UNSET, kw_only=True, validator=sent(one_of("interleaved")))
    channel_layout: str | Unset = attrs.field(default=UNSET, kw_only=True, validator=sent(one_of(*LAYOUTS)))

    def __attrs_post_init__(self) -> None:
        channels = 1 if isinstance(self.channels, Unset) else self.channels
        if not isinstance(self.channel_layout, Unset) and LAYOUTS[self.channel_layout] != channels:
            raise ValueError(
                f"AudioFormat.channel_layout {self.channel_layout!r} does not fit {channels} channels: "
                f"mono is 1, raw_mic_array 2, foa_ambix 4"
            )
        if channels > 1 and self.type not in ("pcm", UNSET):
            raise ValueError(f"AudioFormat.type must be 'pcm' with {channels} channels, not {self.type!r}")
        if channels > 1 and self.sample_rate not in (16000, UNSET):
            raise ValueError(f"AudioFormat.sample_rate must be 16000 with {channels} channels")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TurnDetection(Part):
    """What the kinds of turn detection have in common; use one of its subclasses.

    Attributes:
        threshold: -1.0 to 1.0, lower is more sensitive; default 0.5 (0.2 on ASR and LiveTranslate).
        silence_duration_ms: Silence that ends a turn, 200 to 6000 ms; default 800 (1000 on LiveTranslate).
        prefix_padding_ms: Audio kept from before the speech, ms; echoed as 300, effect not documented.
        create_response: False: you create the responses yourself; default True. Not in the field tables.
        interrupt_response: Speech interrupts the answer; default True. Not in the field tables.

    Source: client events, session.update, turn_detection.
    """

    type: ClassVar[str]
    threshold: float | Unset | None = attrs.field(default=UNSET, validator=number(-1.0, 1.0))
    silence_duration_ms: int | Unset | None = attrs.field(default=UNSET, validator=whole(200, 6000))
    prefix_padding_ms: int | Unset | None = attrs.field(default=UNSET, validator=whole(0))
    create_response: bool | Unset | None = attrs.field(default=UNSET, validator=flag())
    interrupt_response: bool | Unset | None = attrs.field(default=UNSET, validator=flag())


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ServerVad(TurnDetection):
    """Turns end with silence: ``server_vad``, the default of every family but LiveTranslate 3.8.

    Attributes:
        idle_timeout_ms: The model speaks first after this much silence, 5000 to 30000 ms (3.5 only).
    """

    type: ClassVar[str] = "server_vad"
    idle_timeout_ms: int | Unset | None = attrs.field(default=UNSET, validator=whole(5000, 30000))


class SemanticVad(TurnDetection):
    """Turns end when what was said is complete: ``semantic_vad`` (3.5 and 3.8)."""

    __slots__ = ()
    type: ClassVar[str] = "semantic_vad"


class SmartTurn(TurnDetection):
    """Turn detection of Qwen-Audio: ``smart_turn``. Source: Qwen-Audio, session.updated."""

    __slots__ = ()
    type: ClassVar[str] = "smart_turn"


class SpeakerDetection(TurnDetection):
    """Turn detection of LiveTranslate 3.8 and its default: ``speaker_detection``; threshold fixed at 0.5."""

    __slots__ = ()
    type: ClassVar[str] = "speaker_detection"


TURN_DETECTIONS: Mapping[str, type[TurnDetection]] = {
    kind.type: kind for kind in (ServerVad, SemanticVad, SmartTurn, SpeakerDetection)
}


def as_corpus(value: Mapping[str, Any] | str | Unset | None) -> Mapping[str, Any] | Unset | None:
    """Converter: a text becomes the text of a corpus."""
    return {"text": value} if isinstance(value, str) else copied(value)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Transcription(Part):
    """How the user's words are transcribed. Source: client events, session.update, input_audio_transcription.

    Attributes:
        model: ``qwen3-asr-flash-realtime``, which is fixed now; ``fun-asr`` on Qwen-Audio.
        language: For example ``zh`` (ASR and LiveTranslate).
        corpus: Context for the recognition, ``{"text": …}`` of up to 10,000 tokens (ASR); a text is put
            there.
    """

    model: str | Unset | None = attrs.field(default=UNSET, validator=text(empty=True))
    language: str | Unset | None = attrs.field(default=UNSET, validator=text(empty=True))
    corpus: Mapping[str, Any] | Unset | None = attrs.field(
        default=UNSET, converter=as_corpus, validator=mapping("a text or a mapping"), repr=named
    )


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Translation(Part):
    """What to translate into. Source: LiveTranslate, session.update, translation.

    Attributes:
        language: The target language; default ``en``.
        phrases: Up to 1000 hot words and how to translate them, sent as ``corpus.phrases``.
        skip_text: No text for speech that is in the target language already (zh and en), sent in
            ``same_language_skip_options``.
        skip_audio: The same for the spoken translation.
    """

    language: str | Unset | None = attrs.field(default=UNSET, validator=text())
    phrases: Mapping[str, str] | Unset | None = attrs.field(default=UNSET, converter=copied, repr=tallied)
    skip_text: bool | Unset | None = attrs.field(default=UNSET, validator=flag())
    skip_audio: bool | Unset | None = attrs.field(default=UNSET, validator=flag())

    @phrases.validator
    def _phrases_fit(self, field: attrs.Attribute[Any], value: object) -> None:
        if value is UNSET or value is None:
            return
        if not isinstance(value, Mapping) or not all(isinstance(word, str) for pair in value.items() for word in pair):
            raise refuse(self, field, value, "a mapping of texts to texts")
        if len(value) > 1000:
            raise ValueError(f"Translation.phrases must have at most 1000 entries, not {len(value)}")


# What a user may write in place of a part.


def audio_format(value: AudioFormat | str | Mapping[str, Any] | Unset | None) -> Any:
    """Converter: a format's name or a mapping becomes an `AudioFormat`."""
    if isinstance(value, str):
        return AudioFormat(value)
    return part_of(AudioFormat, value, "audio format") if isinstance(value, Mapping) else value


def turn_detection(value: TurnDetection | str | Mapping[str, Any] | Unset | None) -> Any:
    """Converter: the name of a kind or a mapping becomes one; kinds that are not known stay mappings."""
    if isinstance(value, str):
        if value not in TURN_DETECTIONS:
            kinds = ", ".join(map(repr, TURN_DETECTIONS))
            raise ValueError(f"turn_detection must be {kinds} or None (manual mode), not {shown(value)}")
        return TURN_DETECTIONS[value]()
    if isinstance(value, Mapping):
        check_json(value, "turn_detection")
        fields = copied(dict(value))
        name = fields.get("type")
        if isinstance(name, str) and name not in TURN_DETECTIONS:
            return fields
        kind = TURN_DETECTIONS[name] if isinstance(name, str) else ServerVad
        part = part_of(kind, {key: inner for key, inner in fields.items() if key != "type"}, "turn_detection")
        # Without a type it changes the detection that is on: it was checked, and is sent as it is.
        return part if isinstance(name, str) else fields
    return value


def transcription(value: Transcription | str | Mapping[str, Any] | Unset | None) -> Any:
    """Converter: a model's name or a mapping becomes a `Transcription`."""
    if isinstance(value, str):
        return Transcription(model=value)
    return part_of(Transcription, value, "input_audio_transcription") if isinstance(value, Mapping) else value


_TRANSLATION_NESTED = (("corpus", ("phrases",)), ("same_language_skip_options", ("skip_text", "skip_audio")))


def translation(value: Translation | str | Mapping[str, Any] | Unset | None) -> Any:
    """Converter: a language or a mapping becomes a `Translation`."""
    if isinstance(value, str):
        return Translation(language=value)
    if not isinstance(value, Mapping):
        return value
    fields = dict(value)
    for outer, inner in _TRANSLATION_NESTED:  # the wire's spelling is taken too
        nested = fields.get(outer)
        if isinstance(nested, Mapping) and nested.keys() <= set(inner):
            del fields[outer]
            fields.update(nested)
    return part_of(Translation, fields, "translation")
