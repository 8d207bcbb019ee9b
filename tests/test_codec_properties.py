"""Whatever comes in, decoding answers with an event; whatever is configured comes back from the wire."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import pickle
import re
import sys
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dashscope_rt import _speed, codec, config
from dashscope_rt import events as ev
from dashscope_rt._codec import quick
from dashscope_rt.config import UNSET, SessionConfig
from dashscope_rt.models import FAMILIES, lookup

# The same examples every time: a red run means a change of ours. No deadline per example: the machine may be busy.
steady = settings(
    derandomize=True, database=None, deadline=None, max_examples=100, suppress_health_check=list(HealthCheck)
)
few = settings(steady, max_examples=25)

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=8)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


def fields_of(kind: type[Any], depth: int = 0) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that have this class's field names, each holding anything at all or an object of the same kind."""
    names = {field.alias: field for field in attrs.fields(kind) if field.init and field.alias != "raw"}
    nested = {"session": ev.SessionObject, "response": ev.ResponseObject, "item": ev.Item, "usage": ev.Usage}
    nested |= {"error": ev.ErrorDetail, "part": ev.ContentPart, "turn_detection": ev.TurnDetectionObject}
    nested |= {"input_tokens_details": ev.TokenDetails, "status_details": ev.StatusDetails, "audio": ev.AudioObject}
    values: dict[str, st.SearchStrategy[Any]] = {}
    for name in names:
        below = fields_of(nested[name], depth + 1) if name in nested and depth < 3 else None
        values[name] = json_values | below if below is not None else json_values
    return st.fixed_dictionaries({}, optional=values)


frames = st.sampled_from(sorted(ev.SERVER_EVENTS)).flatmap(
    lambda name: fields_of(ev.SERVER_EVENTS[name]).map(lambda fields: {**fields, "type": name})
)


def decoded(data: bytes | str) -> ev.ServerEvent:
    """Decode, and use the event as a program would."""
    event = codec.decode(data)
    assert isinstance(event, ev.ServerEvent)
    assert isinstance(event.type, str)
    repr(event)
    hash(event)
    assert event == event
    assert event.event_id is None or isinstance(event.event_id, str)
    if isinstance(event, ev.MalformedEvent):
        assert event.problem
    return event


@steady
@given(st.text())
def test_any_text_decodes_to_an_event(text: str) -> None:
    decoded(text)


@steady
@given(st.binary())
def test_any_bytes_decode_to_an_event_unless_they_are_no_utf8(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError:
        with pytest.raises(UnicodeDecodeError):
            codec.decode(data)
    else:
        decoded(data)
    assert isinstance(codec.decode_binary(data), ev.MalformedEvent)


@steady
@given(json_values)
def test_any_json_value_decodes_to_an_event(value: Any) -> None:
    decoded(json.dumps(value))
    decoded(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass").decode("utf-8", "replace"))


@steady
@given(st.sampled_from(sorted(ev.SERVER_EVENTS)), st.dictionaries(st.text(max_size=5), json_values, max_size=3))
def test_any_object_with_a_known_type_decodes_to_its_class(name: str, more: dict[str, Any]) -> None:
    more = {key: value for key, value in more.items() if key not in {"type", "event_id"}}
    event = decoded(json.dumps({"type": name, **more}))
    if not isinstance(event, ev.MalformedEvent):
        assert type(event) is ev.SERVER_EVENTS[name]


@steady
@given(frames)
def test_any_known_event_with_anything_in_its_fields_is_that_event_or_malformed(frame: dict[str, Any]) -> None:
    event = decoded(json.dumps(frame))
    assert event.type in (frame["type"], ""), "'' when the JSON itself is refused, for example NaN"
    if type(event) is not ev.MalformedEvent:
        assert type(event) is ev.SERVER_EVENTS[frame["type"]]
        assert event.raw == frame
        for name in frame.keys() - {"type"}:
            value = getattr(event, name)
            if isinstance(value, (str, int, float, bool)):
                assert value == frame[name]
                assert isinstance(value, bool) == isinstance(frame[name], bool)


@steady
@given(frames)
def test_what_was_decoded_can_be_sent_again(frame: dict[str, Any]) -> None:
    """No NaN, no infinity, no lone surrogate gets in that JSON text could not carry out again."""
    event = decoded(json.dumps(frame))
    if event.raw:
        assert json.loads(codec.encode_raw(event.raw)) == frame


@steady
@given(json_values | st.dictionaries(st.sampled_from(["type", "audio", "session", "item"]), json_values))
def test_a_client_frame_decodes_or_raises_value_error(value: Any) -> None:
    try:
        event = codec.decode_client(json.dumps(value))
    except ValueError:
        return
    assert codec.decode_client(codec.encode(event)) == event


@steady
@given(st.binary(max_size=5000), st.text(max_size=30))
def test_appended_audio_comes_out_as_it_went_in(pcm: bytes, event_id: str) -> None:
    encoded = codec.encode_audio_append(pcm, event_id)
    assert encoded == codec.encode(ev.InputAudioBufferAppend(audio=pcm, event_id=event_id))
    event = codec.decode_client(encoded)
    assert event == ev.InputAudioBufferAppend(audio=pcm, event_id=event_id)


@steady
@given(st.binary(max_size=5000))
def test_answered_audio_comes_out_as_it_went_in(pcm: bytes) -> None:
    frame = {"type": "response.audio.delta", "delta": base64.b64encode(pcm).decode()}
    event = codec.decode(json.dumps(frame))
    assert isinstance(event, ev.ResponseAudioDelta)
    assert event.audio == pcm


# Configurations.

texts = st.text(min_size=1, max_size=10)
unit = {"allow_nan": False, "allow_infinity": False}
json_scalars = st.none() | st.booleans() | texts
parameters = st.dictionaries(texts, json_scalars | st.lists(json_scalars, max_size=2), max_size=3)
functions = st.builds(config.FunctionTool, texts, texts, parameters) | st.builds(config.FunctionTool, texts)
servers = st.builds(
    config.McpTool,
    st.text("abzAZ09_-", min_size=1, max_size=64),
    st.sampled_from(["https://mcp.example.com/a?b=c", "https://example.org:443"]),
    authorization=st.sampled_from(["Bearer x", "y"]),
    headers=st.dictionaries(st.sampled_from(["X-A", "X-B"]), st.text("ab =;", max_size=9)),
    allowed_tools=st.lists(st.text("az.", min_size=1, max_size=64), max_size=3),
    require_approval=st.sampled_from(["always", "never"]),
)
turn_fields: dict[str, Any] = {
    "threshold": st.floats(-1, 1),
    "silence_duration_ms": st.integers(200, 6000),
    "prefix_padding_ms": st.integers(0, 1000),
    "create_response": st.booleans(),
    "interrupt_response": st.booleans(),
}
VADS: dict[str, st.SearchStrategy[Any]] = {
    "server_vad": st.fixed_dictionaries({}, optional=turn_fields).map(lambda fields: config.ServerVad(**fields)),
    "semantic_vad": st.fixed_dictionaries({}, optional=turn_fields).map(lambda fields: config.SemanticVad(**fields)),
    "smart_turn": st.fixed_dictionaries({}, optional=turn_fields).map(lambda fields: config.SmartTurn(**fields)),
    "speaker_detection": st.builds(config.SpeakerDetection),
}
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "modalities": st.sampled_from([["text"], ["text", "audio"], ["audio", "text"]]),
    "model": texts,
    "voice": texts,
    "instructions": st.text(),
    "smooth_output": st.booleans(),
    "enable_search": st.booleans(),
    "tool_choice": st.sampled_from(["auto", "none"]),
    "temperature": st.floats(0, 2, exclude_max=True),
    "top_p": st.floats(0, 1, exclude_min=True),
    "top_k": st.integers(0, 1000),
    "max_tokens": st.integers(1, 65_536),
    "repetition_penalty": st.floats(0.1, 10, **unit),
    "presence_penalty": st.floats(-2, 2),
    "seed": st.integers(-1, 2**31 - 1),
    "video_representation_compact": st.sampled_from(["none", "normal"]),
    "translation": st.builds(
        config.Translation, language=texts, phrases=st.dictionaries(texts, texts), skip_text=st.booleans()
    ),
    "sample_rate": st.sampled_from([8000, 16000]),
    "enable_voice_clone": st.booleans(),
    "voice_clone_options": st.sampled_from(["never", "once", "always"]),
    "mode": st.sampled_from(["server_commit", "commit"]),
    "language_type": texts,
    "response_format": st.sampled_from(["pcm", "wav", "mp3", "opus"]),
    "speech_rate": st.floats(0.5, 2),
    "pitch_rate": st.floats(0.5, 2),
    "volume": st.integers(0, 100),
    "bit_rate": st.integers(6, 510),
    "optimize_instructions": st.booleans(),
    "enable_tn": st.booleans(),
    "max_history_turns": st.integers(1, 50),
    "input_audio_transcription": st.builds(config.Transcription, model=texts, language=texts, corpus=texts),
    "tools": st.lists(functions | servers, max_size=3, unique_by=lambda tool: getattr(tool, "server_label", id(tool))),
}


def configurations(family: str) -> st.SearchStrategy[SessionConfig]:
    """Valid configurations of what this family takes."""
    model = FAMILIES[family]
    fields = {name: strategy for name, strategy in FIELDS.items() if name in model.session_fields}
    if model.vad_types:
        fields["turn_detection"] = st.one_of([VADS[name] for name in model.vad_types])
    for side, types, rates in (
        ("input", model.input_formats, model.input_rates),
        ("output", model.output_formats, model.output_rates),
    ):
        if f"{side}_audio_format" in model.session_fields:
            plain = [name for name in types if not (model.nested_formats and name in ("pcm16", "pcm24"))]
            form = st.sampled_from(plain).map(config.AudioFormat)
            if model.nested_formats:
                form |= st.builds(config.AudioFormat, st.sampled_from(plain), st.sampled_from(rates))
            fields[f"{side}_audio_format"] = form
    nullable = {name: st.none() | strategy for name, strategy in fields.items()}
    nullable["extra"] = st.dictionaries(st.just("new_field"), parameters)
    return st.fixed_dictionaries({}, optional=nullable).map(lambda given: SessionConfig.of(**given))


@pytest.mark.parametrize("family", sorted(FAMILIES))
@few
@given(data=st.data())
def test_a_configuration_comes_back_from_the_wire(family: str, data: st.DataObject) -> None:
    wanted = data.draw(configurations(family))
    model = FAMILIES[family]
    wire = codec.config_to_wire(wanted, model)
    assert codec.config_from_wire(wire) == wanted
    text = codec.encode(ev.SessionUpdate(session=wire))
    assert (
        codec.config_to_wire(codec.config_from_wire(json.loads(text)["session"]), model) == json.loads(text)["session"]
    )
    flat = {"input_audio_format", "output_audio_format"} & wire.keys()
    nested = [side for side in ("input", "output") if "format" in wire.get("audio", {}).get(side, {})]
    assert not (flat and nested), "never both spellings of a format"
    assert not (flat and "audio" in wire)
    assert '"channel_layout":null' not in text.decode()


@pytest.mark.parametrize("family", sorted(FAMILIES))
@few
@given(data=st.data())
def test_only_what_is_set_is_sent(family: str, data: st.DataObject) -> None:
    wanted = data.draw(configurations(family))
    unset = SessionConfig()
    assert codec.config_to_wire(unset, FAMILIES[family]) == {}
    assert config.merge(unset, wanted) == wanted
    assert config.merge(wanted, unset) == wanted
    assert config.changed(unset, wanted) == wanted
    assert config.changed(wanted, wanted) == unset
    for name, value in wanted.given().items():
        one = SessionConfig(**{name: value})
        assert one.given().keys() <= {name}
        assert [key for key in FIELDS if getattr(one, key) is not UNSET] in ([], [name])


SETTABLE = [field.name for field in attrs.fields(SessionConfig) if field.name != "spelling"]


@steady
@given(st.sampled_from(SETTABLE), json_values | st.binary() | st.builds(object))
def test_any_value_in_any_field_is_taken_or_refused_with_value_error(name: str, value: Any) -> None:
    try:
        made = SessionConfig(**{name: value})
    except ValueError:
        return
    repr(made)
    for family in FAMILIES.values():
        codec.encode(ev.SessionUpdate(session=codec.config_to_wire(made, family)))
        config.problems(made, family)


@steady
@given(st.dictionaries(st.sampled_from([*SETTABLE, "audio", "output_modalities", "video", "new"]), json_values))
def test_any_object_reads_as_a_configuration_or_raises_value_error(session: dict[str, Any]) -> None:
    try:
        made = codec.config_from_wire(session)
    except ValueError:
        return
    codec.config_to_wire(made, lookup("qwen3.5-omni-flash-realtime"))


# The quick way of reading deltas gives exactly what the ordinary way gives.

WAYS = ("nothing", "openssl", "packages")  # of what makes it quicker
DELTAS = ("response.audio.delta", "response.text.delta", "response.audio_transcript.delta")
plain = st.text(st.characters(codec="utf-8"), max_size=12)
# Real Base64, and what looks like it: bits in the last letter that mean nothing, padding in odd places.
base64_like = st.binary(max_size=9).map(lambda data: base64.b64encode(data).decode()) | st.text("AQR/+=", max_size=9)
base64_like |= base64_like.map(lambda text: "AQR/" * 300 + text)  # short and long texts are decoded in different ways


@st.composite
def delta_frames(draw: st.DrawFn) -> list[bytes]:
    """Messages of one part: keys in any order, spaces or none, other keys around, texts of every kind, damage."""
    names = draw(st.permutations(["event_id", "type", "response_id", "item_id", "output_index", "content_index", "delta"]))
    names = [*names, *draw(st.lists(st.sampled_from(["extra", "obfuscation", "item"]), unique=True, max_size=2))]
    fixed = {"type": draw(st.sampled_from(DELTAS)), "response_id": "r1", "item_id": draw(plain), "output_index": 0}
    fixed |= {"content_index": 0, "extra": draw(json_values), "item": {"delta": draw(plain)}, "obfuscation": draw(plain)}
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    out = []
    for _ in range(draw(st.integers(2, 4))):
        values = {**fixed, "event_id": draw(plain), "delta": draw(plain | base64_like)}
        text = json.dumps({name: values[name] for name in names}, separators=separators, ensure_ascii=draw(st.booleans()))
        data = text.encode("utf-8", "surrogatepass")
        if draw(st.integers(0, 9)) == 0:
            at = draw(st.integers(0, len(data)))
            data = data[:at] + draw(st.binary(max_size=3)) + data[at + draw(st.integers(0, 3)) :]
        out.append(data)
    return out


@settings(steady, max_examples=400)
@example(
    [
        b'{"event_id":"","type":"response.audio.delta","response_id":"r1","delta":""}',
        b'{"event_id":"","type":"response.audio.delta","response_id":"r1","delta":"00000000="}',  # too much padding
    ],
    "nothing",
)
@given(delta_frames(), st.sampled_from(WAYS))
def test_the_quick_way_of_reading_deltas_gives_what_the_ordinary_way_gives(messages: list[bytes], way: str) -> None:
    with accelerators(way):
        _compare_ways(messages)
        _compare_together(messages)


@contextlib.contextmanager
def accelerators(way: str) -> Iterator[None]:
    """With the standard library alone, with OpenSSL where it is in reach, or with what of the extra ``speed`` is installed."""
    _speed.forget()
    with pytest.MonkeyPatch.context() as hiding:
        if way == "openssl":
            for name in ("pybase64", "orjson", "websockets.speedups"):
                hiding.setitem(sys.modules, name, None)
        if way != "nothing":
            _speed._picked = None
            _speed.pick()
    try:
        yield
    finally:
        _speed.forget()
        _speed._picked = None


def _compare_ways(messages: list[bytes]) -> None:
    decoder = codec.Decoder()
    for data in messages:
        try:
            expected: object = codec.decode(data)
        except UnicodeDecodeError:
            with pytest.raises(UnicodeDecodeError):
                decoder.decode(data)
            continue
        found = decoder.decode(data)
        assert found == expected
        assert type(found) is type(expected)
        assert found.raw == expected.raw  # type: ignore[attr-defined]
        if isinstance(found, ev.ResponseAudioDelta) and isinstance(expected, ev.ResponseAudioDelta):
            _compare_audio(found, expected)


def _compare_together(messages: list[bytes]) -> None:
    """What comes together is read in two steps; the first text that is not UTF-8 ends it, and nothing before."""
    decoder = codec.Decoder()
    decoder.decode(messages[0]) if _is_text(messages[0]) else None
    expected = [codec.decode(data) for data in itertools.takewhile(_is_text, messages)]
    events: list[ev.ServerEvent] = []
    with contextlib.ExitStack() as stack:
        if len(expected) < len(messages):
            stack.enter_context(pytest.raises(UnicodeDecodeError))
        try:
            for data in messages:
                events.append(decoder.begin(data))
        finally:
            decoder.settle(events)
    assert [(type(event), event, event.raw) for event in events] == [(type(event), event, event.raw) for event in expected]
    for event, other in zip(events, expected, strict=True):
        if isinstance(event, ev.ResponseAudioDelta) and isinstance(other, ev.ResponseAudioDelta):
            _compare_audio(event, other)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _compare_audio(found: ev.ResponseAudioDelta, expected: ev.ResponseAudioDelta) -> None:
    try:
        audio = expected.audio
    except ValueError as error:
        with pytest.raises(ValueError, match=re.escape(str(error))):
            _ = found.audio
    else:
        assert found.audio_bytes == expected.audio_bytes == len(audio)
        assert found.audio == audio
        assert found.audio_bytes == len(audio)
    assert found.delta == expected.delta  # also now, when the text is made from the audio
    assert attrs.evolve(found, event_id="other").delta == expected.delta
    assert found == expected
    assert repr(found) == repr(expected)
    assert pickle.loads(pickle.dumps(found)) == expected


def test_the_quick_way_is_taken_at_all() -> None:
    deltas = quick.Deltas()
    frame = '{"event_id":"e%d","type":"response.text.delta","response_id":"r","item_id":"i","delta":"piece %d"}'
    first = (frame % (1, 1)).encode()
    assert deltas.read(first) is None
    deltas.learn(first, codec.decode(first))
    event = deltas.read((frame % (2, 2)).encode())
    assert event == ev.ResponseTextDelta(event_id="e2", response_id="r", item_id="i", delta="piece 2")


def test_frames_that_never_come_again_are_not_learnt_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the service puts something new into every delta (obfuscation), each is parsed once, not twice."""
    proofs = []
    monkeypatch.setattr(quick.json, "loads", lambda data: proofs.append(data) or json.JSONDecoder().decode(data.decode()))
    decoder = codec.Decoder()
    frame = '{"event_id":"e%d","type":"response.text.delta","response_id":"r","delta":"piece","obfuscation":"%d"}'
    for number in range(1000):
        assert decoder.decode((frame % (number, number)).encode()).event_id == f"e{number}"
    assert len(proofs) < 50
    same = '{"event_id":"e%d","type":"response.text.delta","response_id":"r","delta":"piece"}'
    for number in range(200):
        decoder.decode((same % number).encode())
    known = len(proofs)
    decoder.decode((same % 1000).encode())
    assert len(proofs) == known, "what comes again is recognised soon"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("before", ["", "QUJD" * 300])
@pytest.mark.parametrize("text", ["", "QUJD", "QUI=", "QUJ=", "QQ==", "QR==", "AA=A", "A", "AA A", "QUJDQR=="])
def test_the_text_of_audio_is_the_one_that_came_however_it_is_kept(text: str, before: str, way: str) -> None:
    """Also where the last letter holds bits that mean nothing, so that it cannot be had from the audio."""
    with accelerators(way):
        _compare_kept(before + text)


def _compare_kept(text: str) -> None:
    decoder = codec.Decoder()
    frame = '{"event_id":"e%d","type":"response.audio.delta","response_id":"r","item_id":"i","delta":"%s"}'
    decoder.decode((frame % (1, "AAAA")).encode())
    found = decoder.decode((frame % (2, text)).encode())
    expected = ev.ResponseAudioDelta(event_id="e2", response_id="r", item_id="i", delta=text)
    assert found == expected
    assert isinstance(found, ev.ResponseAudioDelta)
    _compare_audio(found, expected)
    assert found.raw["delta"] == text
