"""What each model family can do and how it spells it; regions, hosts and voices.

`FAMILIES` is the table to read and to extend: one row per family, most capable last within a line of models.
`lookup` finds the row for a model's name, also for names that did not exist when this was written.

This module knows nothing of the rest of the package.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["FAMILIES", "MODELS", "PATH", "REGIONS", "VOICES", "ModelInfo", "Region", "Sampling", "lookup"]

PATH = "/api-ws/v1/realtime"


@attrs.frozen(kw_only=True)
class Region:
    """Where the service runs.

    Attributes:
        name: ``cn-beijing`` or ``ap-southeast-1``; API keys belong to one region.
        public_host: The host that needs no workspace id.
        workspace_host: Template with ``{workspace}``; faster, and by the documentation required for qwen3.8.

    Source: realtime overview; hosts of other regions serve the HTTP APIs only.
    """

    name: str
    public_host: str
    workspace_host: str

    def host(self, workspace: str | None = None) -> str:
        """Return the host to connect to: the workspace's own where an id is given, else the public one."""
        return self.workspace_host.format(workspace=workspace) if workspace else self.public_host


REGIONS: Mapping[str, Region] = {
    "cn-beijing": Region(
        name="cn-beijing",
        public_host="dashscope.aliyuncs.com",
        workspace_host="{workspace}.cn-beijing.maas.aliyuncs.com",
    ),
    "ap-southeast-1": Region(
        name="ap-southeast-1",
        public_host="dashscope-intl.aliyuncs.com",
        workspace_host="{workspace}.ap-southeast-1.maas.aliyuncs.com",
    ),
}


@attrs.frozen
class Sampling:
    """A family's defaults for the sampling parameters; a seed of -1 means unset.

    Source: client events, session.update.
    """

    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    presence_penalty: float
    seed: int = -1


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ModelInfo:
    """What one model takes. None among the limits means that no number is documented.

    Attributes:
        name: The model's name as asked for.
        family: The row of `FAMILIES`, for example ``qwen3.5-omni-flash``.
        known: False when the name was only guessed to be of this family.
        session_fields: The fields of ``SessionConfig`` that this family takes.
        default_voice: The voice used when none is set; None where there is no documented default.
        needs_voice: Send ``voice`` even for text-only sessions; the service otherwise picks one it may
            refuse.
        workspace_host: The documentation asks for the workspace host (the public one was seen to work).
        input_formats: Names of audio formats going in.
        output_formats: Names of audio formats coming out.
        input_rates: Sample rates going in, Hz.
        output_rates: Sample rates coming out, Hz.
        default_input_rate: Hz.
        default_output_rate: Hz.
        sampling: Default sampling values, or None where there are no such parameters.
        sampling_adjustable: False where the sampling values cannot be changed.
        zero_repetition_penalty: ``repetition_penalty`` may be 0.
        max_tokens: Upper bound of ``max_tokens`` and of an answer, tokens.
        max_input_tokens: Tokens of input and history.
        context_tokens: Tokens of input and output together.
        max_turns_audio: Turns of audio the model remembers.
        max_turns_video: Turns with video the model remembers.
        context_audio_s: Seconds of audio the model remembers.
        context_video_s: Seconds of video the model remembers.
        max_image_base64_bytes: Bytes of one picture's Base64 text.
        max_image_raw_bytes: Bytes of one JPEG that stay below it (advice).
        max_image_rate: Pictures per second.
        max_session_s: Seconds after which the service closes the session.
        images: Takes ``input_image_buffer.append``.
        text_input: Takes text as a ``message`` item.
        creates_responses: Has ``response.create`` and ``response.cancel``.
        session_finish: Has ``session.finish``; otherwise the client just closes.
        tools: Takes functions as tools.
        mcp: Takes MCP servers as tools.
        search: Takes ``enable_search``.
        semantic_vad: Takes ``semantic_vad``.
        idle_timeout: Takes ``turn_detection.idle_timeout_ms`` (with ``server_vad``).
        vad_types: Kinds of turn detection, the default first.
        nested_formats: Takes formats as ``audio.input.format`` and ``audio.output.format``.
        nested_voice: Takes the voice as ``audio.output.voice``, and prefers everything nested.
        nested_turn_detection: Takes turn detection as ``audio.input.turn_detection``.
        output_modalities: Spells ``modalities`` as ``output_modalities``.
        flat_rate: Spells the sample rate as ``session.sample_rate``.
        multichannel: Takes 2 and 4 channels of input.
        video_compact: Takes ``video.input.representation_compact``.
        smooth_output: Takes ``smooth_output``.
    """

    name: str = ""
    family: str
    known: bool = True
    session_fields: frozenset[str]
    default_voice: str | None = None
    needs_voice: bool = False
    workspace_host: bool = False
    input_formats: tuple[str, ...] = ("pcm", "pcm16")
    output_formats: tuple[str, ...] = ("pcm", "pcm16", "pcm24")
    input_rates: tuple[int, ...] = (16000,)
    output_rates: tuple[int, ...] = (24000,)
    default_input_rate: int = 16000
    default_output_rate: int = 24000
    sampling: Sampling | None = None
    sampling_adjustable: bool = True
    zero_repetition_penalty: bool = False
    max_tokens: int | None = None
    max_input_tokens: int | None = None
    context_tokens: int | None = None
    max_turns_audio: int | None = None
    max_turns_video: int | None = None
    context_audio_s: int | None = None
    context_video_s: int | None = None
    max_image_base64_bytes: int | None = 262_144
    max_image_raw_bytes: int | None = 194_560
    max_image_rate: float | None = 1.0
    max_session_s: int = 7200
    images: bool = True
    text_input: bool = False
    creates_responses: bool = True
    session_finish: bool = False
    tools: bool = False
    mcp: bool = False
    search: bool = False
    semantic_vad: bool = False
    idle_timeout: bool = False
    vad_types: tuple[str, ...] = ("server_vad",)
    nested_formats: bool = False
    nested_voice: bool = False
    nested_turn_detection: bool = False
    output_modalities: bool = False
    flat_rate: bool = False
    multichannel: bool = False
    video_compact: bool = False
    smooth_output: bool = False

    def __repr__(self) -> str:
        return f"<ModelInfo {self.name or '-'} of family {self.family}{'' if self.known else ', guessed'}>"

    @property
    def voices(self) -> tuple[str, ...]:
        """Voices listed for this family: advice, the service's own list changes and clones add to it."""
        return VOICES.get(self.name) or VOICES.get(self.family, ())


_RATES = (8000, 16000, 24000, 48000)
# Names of fields of SessionConfig.
_OMNI_FIELDS = {
    "modalities", "model", "voice", "input_audio_format", "output_audio_format", "input_audio_transcription",
    "instructions", "turn_detection", "temperature", "top_p", "top_k", "max_tokens", "repetition_penalty",
    "presence_penalty", "seed",
}  # fmt: skip
_TOOL_FIELDS = {"tools", "tool_choice", "enable_search", "search_options"}
_VIDEO_FIELDS = {"video_representation_compact"}
_QWEN_AUDIO_FIELDS = {"tools", "tool_choice", "max_history_turns"}
_TRANSLATE_FIELDS = {
    "modalities", "model", "voice", "input_audio_format", "output_audio_format", "input_audio_transcription",
    "turn_detection", "translation", "enable_voice_clone", "voice_clone_options",
}  # fmt: skip
_ASR_FIELDS = {
    "modalities", "model", "input_audio_format", "sample_rate", "input_audio_transcription", "turn_detection",
}  # fmt: skip
_TTS_FIELDS = {
    "model", "voice", "mode", "language_type", "response_format", "sample_rate", "speech_rate", "pitch_rate",
    "volume", "bit_rate", "instructions", "optimize_instructions", "enable_tn",
}  # fmt: skip
_EVERY_FIELD = frozenset(
    {"smooth_output"}
    | _OMNI_FIELDS | _TOOL_FIELDS | _VIDEO_FIELDS | _QWEN_AUDIO_FIELDS
    | _TRANSLATE_FIELDS | _ASR_FIELDS | _TTS_FIELDS
)  # fmt: skip

# temperature, top_p, top_k, repetition_penalty, presence_penalty
_TURBO_SAMPLING = Sampling(1.0, 0.01, 20, 1.05, 0.0)
_QWEN3_SAMPLING = Sampling(0.9, 1.0, 50, 1.05, 0.0)
_QWEN35_SAMPLING = Sampling(0.7, 0.8, 20, 1.0, 1.5)
_QWEN38_SAMPLING = Sampling(0.6, 0.95, 20, 0.0, 1.0)

_OMNI_35 = ModelInfo(
    family="qwen3.5-omni-plus",
    default_voice="Tina", needs_voice=True,
    session_fields=frozenset(_OMNI_FIELDS | _TOOL_FIELDS),
    input_formats=("pcm", "wav", "pcm16"), output_formats=("pcm", "wav", "pcm16", "pcm24"),
    input_rates=_RATES, output_rates=_RATES, nested_formats=True,
    sampling=_QWEN35_SAMPLING,
    max_turns_audio=100, max_turns_video=50, context_audio_s=600, context_video_s=240,
    text_input=True, tools=True, search=True, semantic_vad=True, idle_timeout=True,
    vad_types=("server_vad", "semantic_vad"),
)  # fmt: skip

# One row per family. `name` is filled in by `lookup`; what a row leaves out is the default in `ModelInfo`.
_ROWS = (
    ModelInfo(
        family="omni-turbo",
        default_voice="Chelsie",
        session_fields=frozenset(_OMNI_FIELDS),
        sampling=_TURBO_SAMPLING, sampling_adjustable=False,
        max_tokens=2048, max_input_tokens=30_720, context_tokens=32_768,
    ),
    ModelInfo(
        family="qwen3-omni",
        default_voice="Cherry",
        session_fields=frozenset(_OMNI_FIELDS | {"smooth_output"}), smooth_output=True,
        sampling=_QWEN3_SAMPLING,
        max_tokens=16_384, max_input_tokens=49_152, context_tokens=65_536,
        max_turns_audio=8, max_turns_video=8,
    ),
    _OMNI_35,
    attrs.evolve(
        _OMNI_35,
        family="qwen3.5-omni-flash",
        max_turns_audio=80, max_turns_video=50, context_audio_s=480, context_video_s=120,
    ),
    attrs.evolve(
        _OMNI_35,
        family="qwen3.8-omni",
        workspace_host=True,
        session_fields=frozenset(_OMNI_FIELDS | _TOOL_FIELDS | _VIDEO_FIELDS),
        input_formats=("pcm", "pcm16"),
        nested_voice=True, multichannel=True, video_compact=True, mcp=True, idle_timeout=False,
        sampling=_QWEN38_SAMPLING, zero_repetition_penalty=True,
        max_tokens=65_536, max_input_tokens=196_608,
        max_turns_audio=None, max_turns_video=None, context_audio_s=None, context_video_s=None,
    ),
    ModelInfo(
        family="qwen-audio",
        default_voice="longanqian",
        session_fields=frozenset(_OMNI_FIELDS | _QWEN_AUDIO_FIELDS),
        tools=True, text_input=True, vad_types=("server_vad", "smart_turn"),
        images=False, max_image_base64_bytes=None, max_image_raw_bytes=None, max_image_rate=None,
    ),
    ModelInfo(
        family="livetranslate",
        default_voice="Tina", needs_voice=True,
        session_fields=frozenset(_TRANSLATE_FIELDS | {"sample_rate"}),
        input_formats=("pcm", "opus", "pcm16"), input_rates=(8000, 16000), flat_rate=True,
        creates_responses=False, session_finish=True,
        max_image_base64_bytes=682_668, max_image_raw_bytes=512_000, max_image_rate=2.0,
    ),
    ModelInfo(
        family="livetranslate-3.8",
        default_voice="Tina", needs_voice=True,
        session_fields=frozenset(_TRANSLATE_FIELDS),
        input_rates=_RATES, output_rates=_RATES,
        nested_formats=True, nested_voice=True, nested_turn_detection=True, output_modalities=True,
        vad_types=("speaker_detection", "server_vad"),
        creates_responses=False, session_finish=True,
        max_tokens=4096, context_tokens=53_248,
        max_image_base64_bytes=682_668, max_image_raw_bytes=512_000, max_image_rate=2.0,
    ),
    ModelInfo(
        family="asr",
        session_fields=frozenset(_ASR_FIELDS),
        input_formats=("pcm", "opus"), input_rates=(8000, 16000), flat_rate=True,
        output_formats=(), output_rates=(),
        creates_responses=False, session_finish=True,
        images=False, max_image_base64_bytes=None, max_image_raw_bytes=None, max_image_rate=None,
    ),
    ModelInfo(
        family="tts",
        default_voice="Cherry", needs_voice=True,
        session_fields=frozenset(_TTS_FIELDS),
        input_formats=(), input_rates=(), flat_rate=True,
        output_formats=("pcm", "wav", "mp3", "opus"), output_rates=_RATES,
        vad_types=(), creates_responses=False, session_finish=True,
        images=False, max_image_base64_bytes=None, max_image_raw_bytes=None, max_image_rate=None,
    ),
    ModelInfo(
        family="unknown", known=False,
        session_fields=_EVERY_FIELD,
        input_formats=("pcm", "wav", "pcm16", "opus"), input_rates=_RATES,
        output_formats=("pcm", "wav", "mp3", "opus", "pcm16", "pcm24"), output_rates=_RATES,
        nested_formats=True, multichannel=True, video_compact=True, smooth_output=True,
        vad_types=("server_vad", "semantic_vad", "smart_turn", "speaker_detection"),
        semantic_vad=True, idle_timeout=True, zero_repetition_penalty=True,
        text_input=True, tools=True, mcp=True, search=True,
    ),
)  # fmt: skip
FAMILIES: Mapping[str, ModelInfo] = {row.family: row for row in _ROWS}

# Every name the documentation gives, and its family.
MODELS: Mapping[str, str] = {
    "qwen3.8-omni-flash-realtime": "qwen3.8-omni",
    "qwen3.5-omni-plus-realtime": "qwen3.5-omni-plus",
    "qwen3.5-omni-plus-realtime-2026-03-15": "qwen3.5-omni-plus",
    "qwen3.5-omni-flash-realtime": "qwen3.5-omni-flash",
    "qwen3-omni-flash-realtime": "qwen3-omni",
    "qwen3-omni-flash-realtime-2025-12-01": "qwen3-omni",
    "qwen3-omni-flash-realtime-2025-09-15": "qwen3-omni",
    "qwen-omni-turbo-realtime": "omni-turbo",
    "qwen-omni-turbo-realtime-latest": "omni-turbo",
    "qwen-omni-turbo-realtime-2025-05-08": "omni-turbo",
    "qwen3.8-livetranslate-flash-realtime": "livetranslate-3.8",
    "qwen3.5-livetranslate-flash-realtime": "livetranslate",
    "qwen3-livetranslate-flash-realtime": "livetranslate",
    "qwen3-asr-flash-realtime": "asr",
    "qwen3-tts-flash-realtime": "tts",
    "qwen-tts-realtime": "tts",
    "qwen-audio-3.0-realtime-plus": "qwen-audio",
    "qwen-audio-3.0-realtime-flash": "qwen-audio",
    "qwen-audio-3.1-realtime-plus": "qwen-audio",
    "qwen-audio-3.1-realtime-flash": "qwen-audio",
}

# Names that are not in MODELS: the longest prefix decides. True: the family is documented under this prefix.
_PREFIXES: tuple[tuple[str, str, bool], ...] = (
    ("qwen-omni-turbo", "omni-turbo", False),
    ("qwen3-omni", "qwen3-omni", False),
    ("qwen3.5-omni", "qwen3.5-omni-flash", False),
    ("qwen3.5-omni-plus", "qwen3.5-omni-plus", False),
    ("qwen3.8-omni", "qwen3.8-omni", False),
    ("qwen3-livetranslate", "livetranslate", False),
    ("qwen3.5-livetranslate", "livetranslate", False),
    ("qwen3.8-livetranslate", "livetranslate-3.8", False),
    ("qwen3-asr", "asr", False),
    ("qwen3-tts", "tts", False),
    ("qwen3-tts-instruct", "tts", True),
    ("qwen3-tts-vc", "tts", True),
    ("qwen3-tts-vd", "tts", True),
    ("qwen-tts", "tts", False),
    ("qwen-audio", "qwen-audio", False),
)
# Generations nobody has seen yet: the newest family of the kind that is not newer than the name, or the
# oldest.
_GENERATIONS: Mapping[str, tuple[tuple[float, str], ...]] = {
    "livetranslate": ((3.0, "livetranslate"), (3.8, "livetranslate-3.8")),
    "omni": ((3.0, "qwen3-omni"), (3.5, "qwen3.5-omni-flash"), (3.8, "qwen3.8-omni")),
    "asr": ((0.0, "asr"),),
    "tts": ((0.0, "tts"),),
    "audio": ((0.0, "qwen-audio"),),
}
# Models that take less than the rest of their family, by prefix.
_NARROWER: Mapping[str, Mapping[str, Any]] = {
    "qwen-tts": {"output_formats": ("pcm",), "output_rates": (24000,)},
}
# Not compiled here: most programs look one name up, and importing is to be cheap.
_SNAPSHOT = r"-(\d{4}-\d{2}-\d{2}|latest)$"
_VERSION = r"qwen-?(\d+(?:\.\d+)?)?"


@functools.lru_cache(maxsize=256)
def lookup(name: str) -> ModelInfo:
    """Find out what a model takes.

    Args:
        name: The model's name. A dated snapshot (``…-2026-03-15``) or ``…-latest`` of a known model is known
            too; other names are guessed by their longest known prefix, then by kind and generation
            (``qwen3.9-omni-…`` counts as the newest Omni family), and a name nobody can place gets a family
            that refuses nothing.

    Returns:
        The family's row with this name; ``known`` is False when it was guessed.
    """
    plain = name.strip().lower()
    family = MODELS.get(plain) or MODELS.get(re.sub(_SNAPSHOT, "", plain))
    known = family is not None
    if family is None:
        fits = [row for row in _PREFIXES if plain.startswith(row[0])]
        _, family, known = max(fits, key=lambda row: len(row[0]), default=("", _guess(plain), False))
    narrower = next((less for prefix, less in _NARROWER.items() if plain.startswith(prefix)), {})
    return attrs.evolve(FAMILIES[family], name=name, known=known, **narrower)


def _guess(plain: str) -> str:
    version = re.match(_VERSION, plain)
    for kind, generations in _GENERATIONS.items():
        if kind in plain:
            # A name without a number is taken for the newest: new behaviour is where the wire is heading.
            number = float(version.group(1) or "inf") if version else float("inf")
            return max((row for row in generations if row[0] <= number), default=generations[0])[1]
    return "unknown"


_VOICES_35 = (
    "Tina", "Cindy", "Liora Mira", "Sunnybobi", "Raymond", "Ethan", "Theo Calm", "Serena", "Harvey", "Maia",
    "Evan", "Qiao", "Momo", "Wil", "Angel", "Li Cassian", "Mia", "Joyner", "Gold", "Katerina", "Ryan",
    "Jennifer", "Aiden", "Mione", "Sunny", "Dylan", "Eric", "Peter", "Joseph Chen", "Marcus", "Li", "Rocky",
    "Sohee", "Lenn", "Ono Anna", "Sonrisa", "Bodega", "Emilien", "Andre", "Radio Gol", "Alek", "Rizky",
    "Roya", "Arda", "Hana", "Dolce", "Jakub", "Griet", "Eliska", "Marina", "Siiri", "Ingrid", "Sigga", "Bea",
    "Chloe", "Cherry", "Chelsie", "Kiki",
)  # fmt: skip

# Advice only: voices are free text (clones have ids of their own), and the service's lists change.
VOICES: Mapping[str, tuple[str, ...]] = {
    "omni-turbo": ("Cherry", "Serena", "Ethan", "Chelsie"),
    "qwen3-omni": (
        "Cherry", "Serena", "Ethan", "Chelsie", "Momo", "Vivian", "Moon", "Maia", "Kai", "Nofish", "Bella",
        "Jennifer", "Ryan", "Katerina", "Aiden", "Eldric Sage", "Mia", "Mochi", "Bellona", "Vincent",
        "Bunny", "Neil", "Elias", "Arthur", "Nini", "Ebona", "Seren", "Pip", "Stella", "Bodega", "Sonrisa",
        "Alek", "Dolce", "Sohee", "Ono Anna", "Lenn", "Emilien", "Andre", "Radio Gol", "Jada", "Dylan", "Li",
        "Marcus", "Roy", "Peter", "Sunny", "Eric", "Rocky", "Kiki",
    ),
    "qwen3-omni-flash-realtime-2025-09-15": (
        "Cherry", "Ethan", "Nofish", "Jennifer", "Ryan", "Katerina", "Elias", "Jada", "Dylan", "Sunny", "Li",
        "Marcus", "Roy", "Peter", "Rocky", "Kiki", "Eric",
    ),
    "qwen3.5-omni-plus": _VOICES_35,
    "qwen3.5-omni-flash": _VOICES_35,
    "qwen3.8-omni": (
        "Tina", "Cindy", "Liora Mira", "Raymond", "Theo Calm", "Serena", "Maia", "Evan", "Qiao", "Momo",
        "Wil", "Angel", "Li Cassian", "Mia", "Joyner", "Gold", "Katerina", "Ryan", "Jennifer", "Aiden",
        "Mione", "Sunny", "Dylan", "Eric", "Peter", "Joseph Chen", "Marcus", "Li", "Kiki", "Rocky", "Sohee",
        "Lenn", "Ono Anna", "Sonrisa", "Bodega", "Emilien", "Andre", "Radio Gol", "Alek", "Rizky", "Roya",
        "Arda", "Hana", "Dolce", "Jakub", "Griet", "Eliška", "Marina", "Siiri", "Ingrid", "Sigga", "Bea",
        "Chloe", "Zane", "Cici", "longanlingxin",
    ),
    "qwen-audio": ("longanqian",),
    "livetranslate": ("Tina",),
    "livetranslate-3.8": ("Tina",),
}  # fmt: skip
