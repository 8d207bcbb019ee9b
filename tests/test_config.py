"""A configuration says what is wrong with it before anything is sent, and is spelt the way each family wants it."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from dashscope_rt import codec, config
from dashscope_rt.config import (
    UNSET,
    AudioFormat,
    FunctionTool,
    Keepalive,
    McpTool,
    SemanticVad,
    ServerVad,
    SessionConfig,
    SmartTurn,
    SpeakerDetection,
    Timeouts,
    Transcription,
    Translation,
)
from dashscope_rt.errors import UnsupportedByModel
from dashscope_rt.models import FAMILIES, lookup

TURBO = lookup("qwen-omni-turbo-realtime")
QWEN3 = lookup("qwen3-omni-flash-realtime")
PLUS = lookup("qwen3.5-omni-plus-realtime")
QWEN38 = lookup("qwen3.8-omni-flash-realtime")
AUDIO = lookup("qwen-audio-3.0-realtime-plus")
LT = lookup("qwen3.5-livetranslate-flash-realtime")
LT38 = lookup("qwen3.8-livetranslate-flash-realtime")
ASR = lookup("qwen3-asr-flash-realtime")
TTS = lookup("qwen3-tts-flash-realtime")

NAN = float("nan")
URL = "https://mcp.example.com/mcp"


def wire(model: Any = PLUS, /, **fields: Any) -> dict[str, Any]:
    return codec.config_to_wire(SessionConfig(**fields), model)


# Three states.


def test_a_field_is_not_sent_sent_as_null_or_sent() -> None:
    assert wire() == {}
    assert wire(turn_detection=None, instructions="hi") == {"turn_detection": None, "instructions": "hi"}
    assert SessionConfig().given() == {}
    assert SessionConfig(turn_detection=None).given() == {"turn_detection": None}


@pytest.mark.parametrize("model", list(FAMILIES.values()), ids=list(FAMILIES))
def test_every_field_can_be_null_but_extra(model: Any) -> None:
    names = [field.name for field in attrs.fields(SessionConfig) if field.name not in ("extra", "spelling")]
    for name in names:
        session = codec.config_to_wire(SessionConfig(**{name: None}), model)
        leaf: Any = session
        while isinstance(leaf, dict):
            assert leaf, name
            leaf = next(iter(leaf.values()))
        assert leaf is None, name
    with pytest.raises(ValueError, match=r"SessionConfig\.extra must not be None"):
        SessionConfig(extra=None)


def test_unset_is_falsy_and_shows_itself() -> None:
    assert not UNSET
    assert repr(UNSET) == "UNSET"


# Ranges. Each row: field, values that are fine, values that are not, a word of the allowed range.

RANGES: list[tuple[str, list[Any], list[Any], str]] = [
    ("modalities", [["text"], ["text", "audio"], ("audio", "text")], [["audio"], [], ["video"], "text", 5], "['text']"),
    ("model", ["m"], ["", 5, True], "text"),
    ("voice", ["Tina", "qwen-omni-vc-x", "你"], ["", 5, ["Tina"]], "text that is not empty"),
    ("instructions", ["", "hi"], [5, b"hi", ["hi"]], "a text"),
    ("smooth_output", [True, False], [1, "true", 0.0], "True or False"),
    ("enable_search", [True, False], [1, "yes"], "True or False"),
    ("temperature", [0, 0.0, 1, 1.999], [-0.1, 2, 2.5, "0.5", True, NAN, float("inf"), 10**400], "from 0|at least 0"),
    ("top_p", [0.01, 1, 1.0], [0, 1.1, -1, "1", False, NAN], "greater than 0"),
    ("top_k", [0, 20, 101, 10**9], [-1, 2.0, "20", True], "whole number of at least 0"),
    ("max_tokens", [1, 65_536], [0, 65_537, 5.0, "5", True], "from 1 to 65536"),
    ("repetition_penalty", [0, 0.1, 5], [-0.1, "1", True], "at least 0"),
    ("presence_penalty", [-2, 0.0, 2], [-2.1, 2.1, "0", True], "from -2 to 2"),
    ("seed", [-1, 0, 2**31 - 1], [-2, 2**31, 1.0, "1", True], "from -1 to 2147483647"),
    ("video_representation_compact", ["none", "normal"], ["high", "", 5, True], "'none', 'normal'"),
    ("sample_rate", [8000, 16000, 24000, 48000], [44100, "16000", 16000.5, True], "8000, 16000"),
    ("enable_voice_clone", [True], [1, "x"], "True or False"),
    (
        "voice_clone_options",
        ["never", "once", {"frequency": "always"}, {"new": 1}],
        ["often", {"frequency": 5}, 5],
        "once|mapping",
    ),
    ("search_options", [{}, {"enable_source": True}], [{"enable_source": 1}, [], "x"], "True or False|mapping"),
    ("tool_choice", ["auto", "none", {"type": "function"}], [5, True, ["auto"]], "auto"),
    ("mode", ["server_commit", "commit"], ["x", 5], "server_commit"),
    ("language_type", ["Auto"], ["", 5], "text"),
    ("response_format", ["pcm", "wav", "mp3", "opus"], ["ogg", 5], "'opus'"),
    ("speech_rate", [0.5, 2], [0.4, 2.1, "1"], "from 0.5 to 2"),
    ("pitch_rate", [0.5, 2], [0.4, 2.1, True], "from 0.5 to 2"),
    ("volume", [0, 100], [-1, 101, 50.0, True], "from 0 to 100"),
    ("bit_rate", [6, 510], [5, 511], "from 6 to 510"),
    ("optimize_instructions", [True], [1], "True or False"),
    ("enable_tn", [False], [0], "True or False"),
    ("max_history_turns", [1, 50], [0, 51], "from 1 to 50"),
]


def test_the_table_of_ranges_covers_every_field() -> None:
    elsewhere = {
        "input_audio_format", "output_audio_format", "input_audio_transcription", "turn_detection", "tools",
        "translation", "extra", "spelling",
    }  # fmt: skip
    assert {row[0] for row in RANGES} == {field.name for field in attrs.fields(SessionConfig)} - elsewhere


@pytest.mark.parametrize(("field", "fine", "bad", "allowed"), RANGES, ids=[row[0] for row in RANGES])
def test_a_value_outside_its_range_is_refused_with_field_value_and_range(
    field: str, fine: list[Any], bad: list[Any], allowed: str
) -> None:
    for value in fine:
        SessionConfig(**{field: value})
    for value in bad:
        with pytest.raises(ValueError, match=rf"SessionConfig\.{field}") as raised:
            SessionConfig(**{field: value})
        message = str(raised.value)
        assert any(word in message for word in allowed.split("|")), message
        if isinstance(value, (int, float)) and abs(value) < 10**10:
            assert repr(value) in message, "the value is named"


VAD_RANGES: list[tuple[str, list[Any], list[Any], str]] = [
    ("threshold", [-1.0, 0, 0.5, 1], [-1.1, 1.1, "0.5", True, NAN], "from -1 to 1"),
    ("silence_duration_ms", [200, 800, 6000], [199, 6001, 800.0, "800", True], "from 200 to 6000"),
    ("prefix_padding_ms", [0, 300], [-1, 0.5, "300"], "at least 0"),
    ("create_response", [True, False], [1, "x"], "True or False"),
    ("interrupt_response", [True, False], [0, "x"], "True or False"),
    ("idle_timeout_ms", [5000, 30000], [4999, 30001, 5000.0, True], "from 5000 to 30000"),
]


@pytest.mark.parametrize(("field", "fine", "bad", "allowed"), VAD_RANGES, ids=[row[0] for row in VAD_RANGES])
@pytest.mark.parametrize("kind", [ServerVad, SemanticVad, SmartTurn, SpeakerDetection])
def test_turn_detection_refuses_values_outside_their_range(
    kind: Any, field: str, fine: list[Any], bad: list[Any], allowed: str
) -> None:
    if field == "idle_timeout_ms" and kind is not ServerVad:
        with pytest.raises(TypeError):
            kind(idle_timeout_ms=5000)
        return
    for value in [None, *fine]:
        kind(**{field: value})
    for value in bad:
        with pytest.raises(ValueError, match=rf"{kind.__name__}\.{field} must be .*{allowed}"):
            kind(**{field: value})


# Friendly input.


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("server_vad", ServerVad()),
        ("semantic_vad", SemanticVad()),
        ("smart_turn", SmartTurn()),
        ("speaker_detection", SpeakerDetection()),
        (ServerVad(threshold=0.1), ServerVad(threshold=0.1)),
        ({"type": "server_vad", "silence_duration_ms": 400}, ServerVad(silence_duration_ms=400)),
        ({"type": "semantic_vad", "threshold": None}, SemanticVad(threshold=None)),
        ({"type": "psychic_vad", "depth": 3}, {"type": "psychic_vad", "depth": 3}),
        ({"threshold": 0.3}, {"threshold": 0.3}),
        (None, None),
        (UNSET, UNSET),
    ],
)
def test_turn_detection_is_an_object_a_name_a_mapping_or_none(given: Any, meant: Any) -> None:
    assert SessionConfig(turn_detection=given).turn_detection == meant


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("vad", "must be 'server_vad', 'semantic_vad', 'smart_turn', 'speaker_detection' or None"),
        ("manual", "or None \\(manual mode\\), not 'manual'"),
        ({"type": "server_vad", "treshold": 1}, "no field 'treshold': did you mean 'threshold'"),
        ({"type": "server_vad", "threshold": 5}, "threshold must be a number from -1 to 1, not 5"),
        ({"threshold": 5}, "threshold must be"),
        ({"eagerness": "low"}, "turn_detection has no field 'eagerness'"),
        ({"type": "server_vad", 5: 5}, "keys"),
        (5, "SessionConfig.turn_detection must be"),
        (True, "SessionConfig.turn_detection must be"),
        (ServerVad, "SessionConfig.turn_detection must be"),
    ],
)
def test_bad_turn_detection_is_refused(bad: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SessionConfig(turn_detection=bad)


@pytest.mark.parametrize("side", ["input_audio_format", "output_audio_format"])
def test_formats_are_objects_names_or_mappings(side: str) -> None:
    for given, meant in (
        ("pcm", AudioFormat()),
        ("wav", AudioFormat("wav")),
        ("pcm16", AudioFormat("pcm16")),
        (AudioFormat("pcm", 8000), AudioFormat("pcm", 8000)),
        ({"type": "pcm", "sample_rate": 48000}, AudioFormat("pcm", 48000)),
        (None, None),
    ):
        assert getattr(SessionConfig(**{side: given}), side) == meant
    for bad in ("mp4", "", 5, True, ["pcm"], {"rate": 16000}, {"type": "pcm", "sample_rate": "8000"}):
        with pytest.raises(ValueError, match=r"AudioFormat|audio format"):
            SessionConfig(**{side: bad})


@pytest.mark.parametrize(
    "bad",
    [
        {"type": "mp4"},
        {"type": None},
        {"sample_rate": 44100},
        {"sample_rate": True},
        {"sample_rate": 16000.5},
        {"sample_format": "f32le"},
        {"channels": 3},
        {"channels": True},
        {"packing": "planar"},
        {"channel_layout": None},
        {"channel_layout": "stereo"},
        {"channel_layout": "mono", "channels": 2},
        {"channel_layout": "raw_mic_array"},
        {"channel_layout": "foa_ambix", "channels": 2},
        {"channels": 2, "type": "wav"},
        {"channels": 4, "sample_rate": 24000},
    ],
)
def test_an_audio_format_refuses_what_does_not_exist_or_fit(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"AudioFormat\."):
        AudioFormat(**bad)


def test_a_layout_that_fits_its_channels_is_fine() -> None:
    AudioFormat(channels=1, channel_layout="mono")
    AudioFormat(channel_layout="mono")
    AudioFormat("pcm", 16000, channels=2, channel_layout="raw_mic_array", packing="interleaved", sample_format="s16le")
    AudioFormat(channels=4, channel_layout="foa_ambix")


def test_transcription_is_an_object_a_model_a_mapping_or_none() -> None:
    for given, meant in (
        ("qwen3-asr-flash-realtime", Transcription(model="qwen3-asr-flash-realtime")),
        ({"language": "zh"}, Transcription(language="zh")),
        ({"model": None}, Transcription(model=None)),
        (None, None),
    ):
        assert SessionConfig(input_audio_transcription=given).input_audio_transcription == meant
    assert Transcription(corpus="names").corpus == {"text": "names"}
    for bad in (5, True, {"lang": "zh"}, {"language": 5}, {"corpus": 5}):
        with pytest.raises(ValueError, match=r"(?i)transcription"):
            SessionConfig(input_audio_transcription=bad)


def test_a_translation_is_an_object_a_language_or_a_mapping_in_either_spelling() -> None:
    meant = Translation(language="en", phrases={"人": "man"}, skip_text=True)
    spelt = {"language": "en", "corpus": {"phrases": {"人": "man"}}, "same_language_skip_options": {"skip_text": True}}
    assert SessionConfig(translation="en").translation == Translation(language="en")
    assert SessionConfig(translation=spelt).translation == meant
    assert (
        SessionConfig(translation={"language": "en", "phrases": {"人": "man"}, "skip_text": True}).translation == meant
    )
    assert wire(LT, translation=meant) == {"translation": spelt}
    for bad in (5, "", {"lang": "en"}, {"language": 5}, {"phrases": ["a"]}, {"phrases": {"a": 5}}, {"skip_text": 1}):
        with pytest.raises(ValueError, match=r"(?i)translation"):
            SessionConfig(translation=bad)
    with pytest.raises(ValueError, match="at most 1000 entries, not 1001"):
        Translation(phrases={str(number): "x" for number in range(1001)})


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
NESTED = {"type": "function", "function": {"name": "weather", "description": "Tells it.", "parameters": SCHEMA}}


@pytest.mark.parametrize(
    "given",
    [
        FunctionTool("weather", "Tells it.", SCHEMA),
        NESTED,
        {"type": "function", "name": "weather", "description": "Tells it.", "parameters": SCHEMA},
    ],
    ids=["object", "nested", "flat"],
)
def test_a_function_is_sent_nested_however_it_is_given(given: Any) -> None:
    assert wire(tools=[given]) == {"tools": [NESTED]}
    assert SessionConfig(tools=(given,)).tools == (FunctionTool("weather", "Tells it.", SCHEMA),)


def test_a_tool_with_fields_of_tomorrow_is_sent_as_it_is() -> None:
    future = {"type": "computer", "screen": 1}
    strict = {"type": "function", "function": {"name": "f", "strict": True}}
    mcp = {"type": "mcp", "server_label": "a", "server_url": URL, "timeout_s": 5}
    flat = {"type": "function", "name": "f", "strict": True}
    assert wire(tools=[future, strict, mcp, flat]) == {"tools": [future, strict, mcp, strict]}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("weather", r"SessionConfig\.tools must be a list"),
        (5, r"SessionConfig\.tools must be a list"),
        ({"type": "function"}, r"SessionConfig\.tools must be a list"),
        ([len], r"not a builtin_function_or_method; functions go to client\.session\(tools=\[…\]\) or @session\.tool"),
        ([5], r"SessionConfig\.tools\[0\] must be a FunctionTool, an McpTool or a mapping, not a int"),
        ([len], r"tools\[0\] must be"),
        ([{"type": "function", "function": {"description": "x"}}], "name"),
        ([{"type": "function", "function": {"name": ""}}], r"FunctionTool\.name must be a text that is not empty"),
        ([{"type": "function", "function": {"name": "f", "parameters": {"x": b""}}}], "must be something JSON can say"),
        ([{"type": "function", "function": {"name": "f", "parameters": [1]}}], r"FunctionTool\.parameters"),
        ([McpTool("a", URL), McpTool("a", URL)], "server_label 'a' twice"),
        ([{"type": "mcp", "server_label": "a b", "server_url": URL}], r"McpTool\.server_label"),
        ([{"type": "mcp", "server_label": "a"}], "server_url"),
    ],
)
def test_bad_tools_are_refused(bad: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SessionConfig(tools=bad)


def test_an_mcp_server_is_sent_with_what_is_set() -> None:
    tool = McpTool("amap", URL, authorization="Bearer x", allowed_tools=["maps_weather"], require_approval="always")
    expected = {
        "type": "mcp", "server_label": "amap", "server_url": URL, "authorization": "Bearer x",
        "allowed_tools": ["maps_weather"], "require_approval": "always",
    }  # fmt: skip
    assert wire(QWEN38, tools=[tool]) == {"tools": [expected]}
    assert wire(QWEN38, tools=[expected]) == {"tools": [expected]}
    assert wire(QWEN38, tools=[McpTool("a", URL, allowed_tools=[])])["tools"][0]["allowed_tools"] == []
    McpTool("a", "https://example.com:443/x?y=z", headers={"X-Team": "a"}, require_approval="never")


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"server_label": ""}, "server_label"),
        ({"server_label": "a" * 65}, "server_label"),
        ({"server_label": "a.b"}, "server_label"),
        ({"server_label": 5}, "server_label"),
        ({"server_label": "a\n"}, "server_label"),
        ({"server_url": "http://example.com"}, "server_url"),
        ({"server_url": "https://example.com:8443"}, "server_url"),
        ({"server_url": "https://user:secret@example.com"}, "server_url"),
        ({"server_url": "https://example.com/#x"}, "server_url"),
        ({"server_url": "https://example.com/#"}, "server_url"),
        ({"server_url": "https://"}, "server_url"),
        ({"server_url": "https://example.com/a b"}, "server_url"),
        ({"server_url": "https://[x"}, "server_url"),
        ({"server_url": "https://example.com:port"}, "server_url"),
        ({"server_url": "https://example.com/" + "a" * 4096}, "server_url"),
        ({"server_url": 5}, "server_url"),
        ({"authorization": ""}, "authorization"),
        ({"authorization": None}, "authorization"),
        ({"authorization": "a\nb"}, "authorization"),
        ({"authorization": "密"}, "authorization"),
        ({"authorization": "a" * 8193}, "authorization"),
        ({"headers": {f"X-{number}": "a" for number in range(17)}}, "headers"),
        ({"headers": {"": "a"}}, "headers"),
        ({"headers": {"a b": "a"}}, "headers"),
        ({"headers": {"a" * 129: "a"}}, "headers"),
        ({"headers": {"X": "a" * 8193}}, "headers"),
        ({"headers": {"X": "a\r\nb"}}, "headers"),
        ({"headers": {"X": 5}}, "headers"),
        ({"headers": [("X", "a")]}, "headers"),
        *(
            ({"headers": {name: "a"}}, "headers")
            for name in (
                "Host", "authorization", "Connection", "content-length", "Transfer-Encoding", "accept", "Content-Type",
                "forwarded", "Cookie", "Origin", "upgrade", "TE", "trailer", "MCP-Session-Id", "Proxy-X",
                "x-forwarded-for",
            )
        ),
        ({"allowed_tools": "all"}, "allowed_tools"),
        ({"allowed_tools": [""]}, "allowed_tools"),
        ({"allowed_tools": ["a" * 65]}, "allowed_tools"),
        ({"allowed_tools": ["a b"]}, "allowed_tools"),
        ({"allowed_tools": None}, "allowed_tools"),
        ({"require_approval": "sometimes"}, "require_approval"),
        ({"require_approval": True}, "require_approval"),
    ],
)  # fmt: skip
def test_an_mcp_server_refuses_what_the_service_would_refuse_and_quotes_no_secret(
    bad: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValueError, match=rf"McpTool\.{field}") as raised:
        McpTool(**{"server_label": "a", "server_url": URL, **bad})
    assert "secret" not in str(raised.value)
    assert len(str(raised.value)) < 300


# Unknown fields.


@pytest.mark.parametrize("make", [SessionConfig, SessionConfig.of], ids=["class", "of"])
def test_an_unknown_field_is_refused_with_the_nearest(make: Any) -> None:
    with pytest.raises(TypeError, match=r"no field 'vioce': did you mean 'voice'\?.*extra="):
        make(vioce="Tina")
    with pytest.raises(TypeError, match=r"no field 'zzz': there are: .*voice"):
        make(zzz=1)
    with pytest.raises(TypeError):
        make("Tina")


def test_extra_is_merged_last_and_deeply() -> None:
    made = wire(
        QWEN38,
        voice="Tina",
        turn_detection=ServerVad(threshold=0.5),
        extra={"new": 1, "turn_detection": {"eagerness": "low"}, "audio": {"output": {"speed": 2, "voice": "Cici"}}},
    )
    assert made == {
        "turn_detection": {"type": "server_vad", "threshold": 0.5, "eagerness": "low"},
        "audio": {"output": {"voice": "Cici", "speed": 2}},
        "new": 1,
    }


@pytest.mark.parametrize("bad", [{"a": NAN}, {"a": b""}, {5: 5}, {"a": [{"b": object()}]}, "x", [1]])
def test_extra_must_be_json(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"SessionConfig\.extra"):
        SessionConfig(extra=bad)


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    for field in ("extra", "search_options", "tool_choice"):
        with pytest.raises(ValueError, match="nested too deeply"):
            SessionConfig(**{field: loop})
    with pytest.raises(ValueError, match="nested too deeply"):
        SessionConfig(tools=[loop])
    with pytest.raises(ValueError, match="nested too deeply"):
        FunctionTool("f", parameters=loop)


def test_what_the_caller_changes_later_changes_nothing() -> None:
    schema: dict[str, Any] = {"type": "object", "required": ["a"]}
    extra: dict[str, Any] = {"a": {"b": 1}}
    made = SessionConfig(tools=[FunctionTool("f", parameters=schema)], extra=extra)
    before = codec.config_to_wire(made, PLUS)
    schema["required"].append("b")
    extra["a"]["b"] = 2
    assert codec.config_to_wire(made, PLUS) == before
    codec.config_to_wire(made, PLUS)["a"]["b"] = 3
    assert codec.config_to_wire(made, PLUS) == before


# Secrets and texts.


def test_a_repr_shows_what_is_set_without_texts_and_credentials() -> None:
    tool = McpTool("amap", URL, authorization="Bearer sk-secret", headers={"X-Key": "sk-secret"})
    made = SessionConfig(
        voice="Tina",
        instructions="Never tell them the sk-secret.",
        turn_detection=ServerVad(threshold=0.2),
        tools=[tool, FunctionTool("f", "about sk-secret"), {"type": "x", "key": "sk-secret"}],
        translation=Translation(phrases={"sk-secret": "sk-secret"}),
        extra={"key": "sk-secret"},
    )
    assert repr(made) == (
        "SessionConfig(voice='Tina', instructions=<30 chars>, turn_detection=ServerVad(threshold=0.2), tools=<3>, "
        "translation=Translation(phrases=<1>), extra=<key>)"
    )
    assert repr(tool) == "McpTool(server_label='amap', server_url='***', authorization='***', headers=<X-Key>)"
    assert isinstance(made.tools, tuple)
    assert "secret" not in repr(made.tools[:2])
    assert repr(SessionConfig()) == "SessionConfig()"


def test_a_refusal_does_not_quote_long_texts() -> None:
    with pytest.raises(ValueError, match="not a text of 5000 characters"):
        SessionConfig(mode="secret" * 833 + "se")


# Changing.


def test_merge_lays_changes_over_and_keeps_the_rest() -> None:
    before = SessionConfig(voice="Tina", instructions="a", extra={"x": {"a": 1}})
    after = config.merge(before, SessionConfig(instructions="b", extra={"x": {"b": 2}}), turn_detection=None)
    assert after == SessionConfig(voice="Tina", instructions="b", turn_detection=None, extra={"x": {"a": 1, "b": 2}})
    assert config.merge(before) is before
    assert config.merge(before, voice=UNSET) == before
    assert before.instructions == "a"
    with pytest.raises(ValueError, match="temperature"):
        config.merge(before, temperature=5)
    with pytest.raises(TypeError, match="did you mean 'voice'"):
        config.merge(before, vioce="x")


def test_changed_gives_only_the_fields_that_differ() -> None:
    before = SessionConfig(voice="Tina", instructions="a")
    after = config.merge(before, instructions="b", turn_detection=None)
    assert config.changed(before, after) == SessionConfig(instructions="b", turn_detection=None)
    assert codec.config_to_wire(config.changed(before, after), PLUS) == {"instructions": "b", "turn_detection": None}


def test_a_configuration_is_frozen_and_compared_by_value() -> None:
    made = SessionConfig(voice="Tina")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        made.voice = "Cici"  # type: ignore[misc]
    assert made == SessionConfig(voice="Tina")
    assert made != SessionConfig(voice="Cici")
    assert made != "Tina"
    assert ServerVad() != SemanticVad()


# Spelling, family by family.


@pytest.mark.parametrize(
    ("model", "fields", "session"),
    [
        (TURBO, {"input_audio_format": "pcm"}, {"input_audio_format": "pcm"}),
        (
            TURBO,
            {"input_audio_format": "pcm16", "output_audio_format": "pcm24", "voice": "Chelsie"},
            {"input_audio_format": "pcm16", "output_audio_format": "pcm24", "voice": "Chelsie"},
        ),
        (TURBO, {"input_audio_format": AudioFormat("pcm", 16000)}, {"input_audio_format": "pcm"}),
        (TURBO, {"output_audio_format": AudioFormat("pcm", 24000)}, {"output_audio_format": "pcm"}),
        (PLUS, {"input_audio_format": "pcm", "voice": "Tina"}, {"input_audio_format": "pcm", "voice": "Tina"}),
        (
            PLUS,
            {"input_audio_format": AudioFormat("pcm", 8000), "voice": "Tina"},
            {"audio": {"input": {"format": {"type": "pcm", "sample_rate": 8000}}}, "voice": "Tina"},
        ),
        (
            PLUS,
            {"input_audio_format": "pcm16", "output_audio_format": "wav"},
            {
                "audio": {
                    "input": {"format": {"type": "pcm", "sample_rate": 16000}},
                    "output": {"format": {"type": "wav"}},
                }
            },
        ),
        (
            QWEN38,
            {"input_audio_format": "pcm", "voice": "Tina"},
            {"audio": {"input": {"format": {"type": "pcm"}}, "output": {"voice": "Tina"}}},
        ),
        (
            QWEN38,
            {"output_audio_format": "pcm24"},
            {"audio": {"output": {"format": {"type": "pcm", "sample_rate": 24000}}}},
        ),
        (
            QWEN38,
            {"turn_detection": "semantic_vad", "modalities": ["text"], "video_representation_compact": "normal"},
            {
                "turn_detection": {"type": "semantic_vad"},
                "modalities": ["text"],
                "video": {"input": {"representation_compact": "normal"}},
            },
        ),
        (
            LT,
            {"input_audio_format": AudioFormat("pcm", 8000), "translation": "en"},
            {"input_audio_format": "pcm", "sample_rate": 8000, "translation": {"language": "en"}},
        ),
        (ASR, {"input_audio_format": AudioFormat("opus", 16000)}, {"input_audio_format": "opus", "sample_rate": 16000}),
        (
            LT38,
            {
                "modalities": ["text", "audio"],
                "voice": "default",
                "turn_detection": SpeakerDetection(),
                "input_audio_format": AudioFormat("pcm", 16000),
            },
            {
                "output_modalities": ["text", "audio"],
                "voice": "default",
                "audio": {
                    "output": {"voice": "default"},
                    "input": {
                        "turn_detection": {"type": "speaker_detection"},
                        "format": {"type": "pcm", "sample_rate": 16000},
                    },
                },
            },
        ),
        (
            TTS,
            {"voice": "Cherry", "mode": "commit", "sample_rate": 48000},
            {"voice": "Cherry", "mode": "commit", "sample_rate": 48000},
        ),
    ],
)
def test_each_family_gets_its_own_spelling(model: Any, fields: dict[str, Any], session: dict[str, Any]) -> None:
    made = SessionConfig(**fields)
    assert codec.config_to_wire(made, model) == session
    config.check(made, model)


def test_both_spellings_are_read_and_the_nested_one_counts() -> None:
    read = codec.config_from_wire
    assert read({"voice": "Tina"}) == read({"audio": {"output": {"voice": "Tina"}}}) == SessionConfig(voice="Tina")
    assert read({"input_audio_format": "pcm"}) == SessionConfig(input_audio_format="pcm")
    nested = {
        "audio": {"input": {"format": {"type": "pcm", "sample_rate": 8000}, "turn_detection": {"type": "server_vad"}}}
    }
    assert read(nested) == SessionConfig(input_audio_format=AudioFormat("pcm", 8000), turn_detection=ServerVad())
    assert read({"output_modalities": ["text"]}) == SessionConfig(modalities=["text"])
    both = {"voice": "Tina", "audio": {"output": {"voice": "Cici"}}}
    assert read(both).voice == "Cici"
    assert codec.config_to_wire(read(both), QWEN38) == both


def test_reading_the_wire_keeps_what_it_does_not_know() -> None:
    session = {
        "turn_detection": {"type": "server_vad", "eagerness": "low"},
        "audio": {"input": {"format": {"type": "pcm", "dither": True}, "gain": 3}},
        "input_audio_transcription": {"model": "m", "hint": "x"},
        "translation": {"language": "en", "corpus": {"phrases": {}, "rules": []}, "tone": "formal"},
        "tools": [{"type": "new"}],
        "new": {"deep": [1, {"a": None}]},
    }
    made = codec.config_from_wire(session)
    assert made.turn_detection == ServerVad()
    assert made.extra["turn_detection"] == {"eagerness": "low"}
    assert made.extra["new"] == {"deep": [1, {"a": None}]}
    assert codec.config_to_wire(made, QWEN38) == session
    assert session["turn_detection"] == {"type": "server_vad", "eagerness": "low"}, "not changed by reading"


@pytest.mark.parametrize(
    "bad",
    [
        {"modalities": ["audio"]},
        {"modalities": "text"},
        {"temperature": "0.5"},
        {"turn_detection": {"type": "server_vad", "threshold": 9}},
        {"turn_detection": "server"},
        {"input_audio_transcription": "model"},
        {"tools": {"type": "function"}},
        {"audio": {"input": {"format": {"type": "pcm", "sample_rate": 44100}}}},
        {"translation": ["en"]},
    ],
)
def test_reading_a_wire_that_is_out_of_range_raises_value_error(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # a different text for each
        codec.config_from_wire(bad)


# What a model cannot do.


@pytest.mark.parametrize(
    ("model", "fields", "said"),
    [
        (TURBO, {"tools": [FunctionTool("f")]}, "tools is not supported"),
        (QWEN3, {"tools": [FunctionTool("f")]}, "tools is not supported"),
        (PLUS, {"tools": [FunctionTool("f")], "enable_search": True}, "tools and enable_search exclude each other"),
        (QWEN38, {"tools": [McpTool("a", URL)], "enable_search": True}, "tools and enable_search exclude each other"),
        (PLUS, {"tools": [McpTool("a", URL)]}, "type mcp are not supported by this model, functions are"),
        (PLUS, {"tools": [{"type": "mcp", "server_label": "a", "server_url": URL, "x": 1}]}, "type mcp"),
        (TURBO, {"enable_search": True}, "enable_search is not supported"),
        (QWEN3, {"turn_detection": "semantic_vad"}, "turn_detection 'semantic_vad' is not supported"),
        (TURBO, {"turn_detection": "semantic_vad"}, "server_vad are"),
        (AUDIO, {"turn_detection": "semantic_vad"}, "server_vad and smart_turn are"),
        (PLUS, {"turn_detection": "smart_turn"}, "server_vad and semantic_vad are"),
        (PLUS, {"turn_detection": {"type": "psychic_vad"}}, "turn_detection 'psychic_vad'"),
        (LT, {"turn_detection": "speaker_detection"}, "speaker_detection"),
        (QWEN38, {"turn_detection": ServerVad(idle_timeout_ms=5000)}, "idle_timeout_ms is not supported"),
        (QWEN3, {"turn_detection": ServerVad(idle_timeout_ms=5000)}, "idle_timeout_ms is not supported"),
        (PLUS, {"smooth_output": True}, "smooth_output is not supported"),
        (PLUS, {"video_representation_compact": "normal"}, "video_representation_compact is not supported"),
        (QWEN3, {"input_audio_format": "wav"}, "input_audio_format 'wav' is not supported"),
        (QWEN3, {"input_audio_format": AudioFormat("pcm", 8000)}, "at 8000 Hz is not supported by this model, 16000"),
        (QWEN3, {"output_audio_format": AudioFormat("pcm", 16000)}, "at 16000 Hz is not supported"),
        (PLUS, {"input_audio_format": AudioFormat(channels=2)}, "takes only type and sample_rate"),
        (QWEN38, {"output_audio_format": AudioFormat(channels=2)}, "output_audio_format has one channel"),
        (ASR, {"input_audio_format": "pcm16"}, "'pcm16' is not supported by this model, pcm and opus are"),
        (LT, {"sample_rate": 48000}, "sample_rate 48000 is not supported, 8000 and 16000 Hz are"),
        (QWEN3, {"max_tokens": 20_000}, "max_tokens 20000 is above this model's 16384"),
        (TURBO, {"max_tokens": 2_049}, "above this model's 2048"),
        (PLUS, {"repetition_penalty": 0}, "repetition_penalty must be greater than 0"),
        (TURBO, {"temperature": 0.5}, "temperature cannot be changed with this model, it is 1"),
        (TURBO, {"top_p": 0.5, "seed": 7}, "seed cannot be changed"),
        (PLUS, {"translation": "en"}, "translation is not supported"),
        (PLUS, {"enable_voice_clone": True}, "enable_voice_clone is not supported"),
        (LT, {"instructions": "hi"}, "instructions is not supported"),
        (ASR, {"modalities": ["text", "audio"]}, "modalities 'audio' is not supported"),
        (PLUS, {"mode": "commit"}, "mode is not supported"),
        (lookup("qwen-tts-realtime"), {"response_format": "mp3"}, "response_format 'mp3' is not supported, pcm are"),
        (lookup("qwen-tts-realtime"), {"sample_rate": 16000}, "24000 Hz"),
    ],
)
def test_what_the_model_cannot_do_is_refused_with_field_model_and_way_out(
    model: Any, fields: dict[str, Any], said: str
) -> None:
    made = SessionConfig(**fields)
    with pytest.raises(UnsupportedByModel) as raised:
        config.check(made, model)
    message = str(raised.value)
    assert said in message
    assert model.name in message
    assert "allow_unsupported=True" in message
    assert isinstance(raised.value, ValueError)
    codec.config_to_wire(made, model)  # it can be sent anyway


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (TURBO, {"tools": [], "enable_search": False, "smooth_output": None, "turn_detection": None}),
        (TURBO, {"temperature": 1.0, "top_p": 0.01, "seed": None}),
        (PLUS, {"tools": [FunctionTool("f")], "enable_search": False}),
        (PLUS, {"turn_detection": ServerVad(idle_timeout_ms=5000), "enable_search": True}),
        (QWEN38, {"tools": [FunctionTool("f"), McpTool("a", URL)], "repetition_penalty": 0, "max_tokens": 65_536}),
        (QWEN38, {"input_audio_format": AudioFormat("pcm", 16000, channels=4, channel_layout="foa_ambix")}),
        (AUDIO, {"turn_detection": "smart_turn", "max_history_turns": 3, "tools": [FunctionTool("f")]}),
        (PLUS, {"voice": "a voice nobody has listed"}),
        (PLUS, {"extra": {"anything": 1}}),
        (lookup("somebody-elses-model"), {"tools": [McpTool("a", URL)], "mode": "commit", "smooth_output": True}),
    ],
)
def test_what_the_model_can_do_passes(model: Any, fields: dict[str, Any]) -> None:
    config.check(SessionConfig(**fields), model)
    assert config.problems(SessionConfig(**fields), model) == []


def test_all_problems_are_listed_at_once_and_a_guessed_model_says_so() -> None:
    made = SessionConfig(smooth_output=True, mode="commit")
    with pytest.raises(UnsupportedByModel, match=r"qwen3\.9-omni-x \(a name this version does not know.*smooth.*mode"):
        config.check(made, lookup("qwen3.9-omni-x"))


def test_search_sources_need_search() -> None:
    SessionConfig(search_options={"enable_source": True})
    SessionConfig(search_options={"enable_source": True}, enable_search=True)
    with pytest.raises(ValueError, match="enable_source needs enable_search=True"):
        SessionConfig(search_options={"enable_source": True}, enable_search=False)


# Time-outs.


def test_timeouts_and_keepalive_have_the_documented_defaults() -> None:
    assert attrs.asdict(Timeouts()) == {
        "connect": 10.0, "close": 2.0, "send": 10.0, "turn": 60.0, "cancel": 2.0, "acknowledge": 10.0, "finish": 20.0,
    }  # fmt: skip
    assert (Keepalive().ping_interval, Keepalive().ping_timeout) == (20.0, 20.0)
    assert Keepalive(ping_interval=None, ping_timeout=None).ping_interval is None


@pytest.mark.parametrize("bad", [0, -1, "5", True, NAN, float("inf"), None])
def test_a_timeout_is_a_number_of_seconds(bad: Any) -> None:
    for name in attrs.asdict(Timeouts()):
        with pytest.raises(ValueError, match=rf"Timeouts\.{name} must"):
            Timeouts(**{name: bad})
    if bad is not None:
        with pytest.raises(ValueError, match=r"Keepalive\.ping_interval must"):
            Keepalive(ping_interval=bad)


def test_every_public_name_is_listed() -> None:
    assert not [name for name in config.__all__ if not hasattr(config, name)]
