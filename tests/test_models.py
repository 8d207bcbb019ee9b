"""The table of families says what the protocol says, and every name finds its row."""

from __future__ import annotations

import attrs
import pytest

from dashscope_rt import models
from dashscope_rt.config import SessionConfig
from dashscope_rt.models import FAMILIES, MODELS, REGIONS, VOICES, lookup


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("qwen3.8-omni-flash-realtime", "qwen3.8-omni"),
        ("qwen3.5-omni-plus-realtime", "qwen3.5-omni-plus"),
        ("qwen3.5-omni-plus-realtime-2026-03-15", "qwen3.5-omni-plus"),
        ("qwen3.5-omni-flash-realtime", "qwen3.5-omni-flash"),
        ("qwen3-omni-flash-realtime", "qwen3-omni"),
        ("qwen3-omni-flash-realtime-2025-12-01", "qwen3-omni"),
        ("qwen3-omni-flash-realtime-2025-09-15", "qwen3-omni"),
        ("qwen-omni-turbo-realtime", "omni-turbo"),
        ("qwen-omni-turbo-realtime-latest", "omni-turbo"),
        ("qwen-omni-turbo-realtime-2025-05-08", "omni-turbo"),
        ("qwen3-asr-flash-realtime", "asr"),
        ("qwen3-tts-flash-realtime", "tts"),
        ("qwen-tts-realtime", "tts"),
        ("qwen3.5-livetranslate-flash-realtime", "livetranslate"),
        ("qwen3-livetranslate-flash-realtime", "livetranslate"),
        ("qwen3.8-livetranslate-flash-realtime", "livetranslate-3.8"),
        ("qwen-audio-3.0-realtime-plus", "qwen-audio"),
        ("qwen-audio-3.1-realtime-flash", "qwen-audio"),
    ],
)
def test_a_documented_name_is_known(name: str, family: str) -> None:
    info = lookup(name)
    assert (info.name, info.family, info.known) == (name, family, True)
    assert MODELS[name] == family
    assert lookup(name.upper()).family == family


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("qwen3.8-omni-flash-realtime-2027-02-03", "qwen3.8-omni"),
        ("qwen3.8-omni-flash-realtime-latest", "qwen3.8-omni"),
        ("qwen3.5-omni-flash-realtime-2026-03-15", "qwen3.5-omni-flash"),
        ("qwen3-tts-flash-realtime-2025-11-27", "tts"),
        ("qwen3-tts-vc-realtime-2025-11-27", "tts"),
        ("qwen3-tts-instruct-flash-realtime", "tts"),
    ],
)
def test_a_dated_snapshot_of_a_known_model_is_known(name: str, family: str) -> None:
    assert (lookup(name).family, lookup(name).known) == (family, True)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("qwen3.9-omni-flash-realtime", "qwen3.8-omni"),
        ("qwen4-omni-plus-realtime", "qwen3.8-omni"),
        ("qwen3.8-omni-plus-realtime", "qwen3.8-omni"),
        ("qwen3.6-omni-flash-realtime", "qwen3.5-omni-flash"),
        ("qwen3.5-omni-plus-realtime-preview", "qwen3.5-omni-plus"),
        ("qwen3.5-omni-mini-realtime", "qwen3.5-omni-flash"),
        ("qwen-omni-realtime", "qwen3.8-omni"),
        ("qwen3.5-livetranslate-plus-realtime", "livetranslate"),
        ("qwen4-livetranslate-flash-realtime", "livetranslate-3.8"),
        ("qwen4-asr-realtime", "asr"),
        ("qwen4-tts-realtime", "tts"),
        ("qwen-audio-4.0-realtime-plus", "qwen-audio"),
        ("somebody-elses-model", "unknown"),
        ("", "unknown"),
    ],
)
def test_a_name_nobody_has_seen_yet_is_guessed(name: str, family: str) -> None:
    assert (lookup(name).family, lookup(name).known) == (family, False)


def test_a_model_nobody_can_place_is_refused_nothing() -> None:
    info = lookup("somebody-elses-model")
    assert info.session_fields == {field.name for field in attrs.fields(SessionConfig)} - {"extra", "spelling"}
    assert info.tools
    assert info.mcp
    assert info.search
    assert info.creates_responses


def test_every_model_has_a_family_and_every_family_names_real_fields() -> None:
    fields = {field.name for field in attrs.fields(SessionConfig)}
    assert set(MODELS.values()) | {"unknown"} == set(FAMILIES)
    for family, row in FAMILIES.items():
        assert row.family == family
        assert row.session_fields <= fields, family
        assert set(row.vad_types) <= {"server_vad", "semantic_vad", "smart_turn", "speaker_detection"}
        assert row.semantic_vad == ("semantic_vad" in row.vad_types)
        assert not row.mcp or row.tools
        assert row.tools == ("tools" in row.session_fields)
        assert row.search == ("enable_search" in row.session_fields)
        assert row.smooth_output == ("smooth_output" in row.session_fields)
        assert row.video_compact == ("video_representation_compact" in row.session_fields)
        assert row.default_input_rate in (*row.input_rates, 16000)


@pytest.mark.parametrize(
    ("family", "voice", "sampling"),
    [
        ("qwen3.8-omni", "Tina", (0.6, 0.95, 20, 0, 1, -1)),
        ("qwen3.5-omni-plus", "Tina", (0.7, 0.8, 20, 1.0, 1.5, -1)),
        ("qwen3.5-omni-flash", "Tina", (0.7, 0.8, 20, 1.0, 1.5, -1)),
        ("qwen3-omni", "Cherry", (0.9, 1.0, 50, 1.05, 0.0, -1)),
        ("omni-turbo", "Chelsie", (1.0, 0.01, 20, 1.05, 0.0, -1)),
    ],
)
def test_the_omni_families_have_the_documented_defaults(family: str, voice: str, sampling: tuple[float, ...]) -> None:
    row = FAMILIES[family]
    assert row.default_voice == voice
    assert row.sampling is not None
    assert attrs.astuple(row.sampling) == sampling
    assert (row.default_input_rate, row.default_output_rate) == (16000, 24000)
    assert row.creates_responses
    assert row.images
    assert not row.session_finish
    assert row.max_image_base64_bytes == 256 * 1024
    assert row.max_session_s == 120 * 60


@pytest.mark.parametrize(
    ("family", "limits"),
    [
        ("qwen3.8-omni", {"max_tokens": 65_536, "max_input_tokens": 196_608}),
        ("qwen3-omni", {"max_tokens": 16_384, "max_input_tokens": 49_152, "context_tokens": 65_536}),
        ("omni-turbo", {"max_tokens": 2_048, "max_input_tokens": 30_720, "context_tokens": 32_768}),
        (
            "qwen3.5-omni-plus",
            {"max_turns_audio": 100, "max_turns_video": 50, "context_audio_s": 600, "context_video_s": 240},
        ),
        (
            "qwen3.5-omni-flash",
            {"max_turns_audio": 80, "max_turns_video": 50, "context_audio_s": 480, "context_video_s": 120},
        ),
        ("livetranslate-3.8", {"max_tokens": 4096, "context_tokens": 53_248, "max_image_rate": 2.0}),
    ],
)
def test_limits_are_the_documented_ones(family: str, limits: dict[str, int]) -> None:
    assert {name: getattr(FAMILIES[family], name) for name in limits} == limits


def having(flag: str) -> set[str]:
    return {name for name, row in FAMILIES.items() if getattr(row, flag)} - {"unknown"}


def test_who_can_do_what() -> None:
    newer = {"qwen3.5-omni-plus", "qwen3.5-omni-flash", "qwen3.8-omni"}
    assert having("tools") == newer | {"qwen-audio"}
    assert having("mcp") == {"qwen3.8-omni"}
    assert having("search") == newer
    assert having("semantic_vad") == newer
    assert having("idle_timeout") == newer - {"qwen3.8-omni"}
    assert having("text_input") == newer | {"qwen-audio"}
    assert having("nested_formats") == newer | {"livetranslate-3.8"}
    assert having("nested_voice") == {"qwen3.8-omni", "livetranslate-3.8"}
    assert having("multichannel") == {"qwen3.8-omni"}
    assert having("video_compact") == {"qwen3.8-omni"}
    assert having("workspace_host") == {"qwen3.8-omni"}
    assert having("smooth_output") == {"qwen3-omni"}
    assert having("session_finish") == {"livetranslate", "livetranslate-3.8", "asr", "tts"}
    assert having("creates_responses") == newer | {"omni-turbo", "qwen3-omni", "qwen-audio"}
    assert set(FAMILIES) - having("sampling_adjustable") == {"omni-turbo", "unknown"}
    assert having("needs_voice") >= newer


def test_the_oldest_tts_model_takes_less_than_its_family() -> None:
    assert (lookup("qwen-tts-realtime").output_formats, lookup("qwen-tts-realtime").output_rates) == (
        ("pcm",),
        (24000,),
    )
    assert "mp3" in lookup("qwen3-tts-flash-realtime").output_formats


def test_regions_have_a_public_host_and_one_for_each_workspace() -> None:
    assert list(REGIONS) == ["cn-beijing", "ap-southeast-1"]
    beijing, singapore = REGIONS["cn-beijing"], REGIONS["ap-southeast-1"]
    assert beijing.host() == "dashscope.aliyuncs.com"
    assert singapore.host() == "dashscope-intl.aliyuncs.com"
    assert beijing.host("ws-1") == "ws-1.cn-beijing.maas.aliyuncs.com"
    assert singapore.host("ws-1") == "ws-1.ap-southeast-1.maas.aliyuncs.com"
    assert models.PATH == "/api-ws/v1/realtime"


def test_voices_are_listed_for_advice() -> None:
    assert set(VOICES) - set(MODELS) <= set(FAMILIES)
    assert lookup("qwen-omni-turbo-realtime").voices == ("Cherry", "Serena", "Ethan", "Chelsie")
    assert len(lookup("qwen3-omni-flash-realtime-2025-12-01").voices) == 49
    assert len(lookup("qwen3-omni-flash-realtime-2025-09-15").voices) == 17
    assert "longanlingxin" in lookup("qwen3.8-omni-flash-realtime").voices
    assert lookup("qwen3-asr-flash-realtime").voices == ()
    for family, row in FAMILIES.items():
        assert row.default_voice is None or not row.voices or row.default_voice in row.voices, family
        assert len(set(row.voices)) == len(row.voices)


def test_a_model_is_shown_by_name_and_family() -> None:
    assert repr(lookup("qwen3.9-omni-x")) == "<ModelInfo qwen3.9-omni-x of family qwen3.8-omni, guessed>"
