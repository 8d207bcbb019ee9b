"""Events and the objects they carry are frozen values that say what the wire said, and tell no secrets."""

from __future__ import annotations

import base64
import copy
import inspect
import pickle
from typing import Any

import attrs
import pytest

from dashscope_rt import events as ev

SECRET = "what the user said"
ALL_EVENTS = [
    *ev.SERVER_EVENTS.values(),
    *ev.CLIENT_EVENTS.values(),
    ev.UnknownEvent,
    ev.MalformedEvent,
    ev.ChoicesEvent,
]
OBJECTS = [
    ev.AudioFormatObject,
    ev.AudioInputObject,
    ev.AudioObject,
    ev.AudioOutputObject,
    ev.ContentPart,
    ev.ErrorDetail,
    ev.Item,
    ev.ResponseObject,
    ev.SessionObject,
    ev.StatusDetails,
    ev.TokenDetails,
    ev.TranscriptionObject,
    ev.TurnDetectionObject,
    ev.Usage,
]


def camel(wire_type: str) -> str:
    return "".join(word.capitalize() for word in wire_type.replace(".", "_").split("_"))


@pytest.mark.parametrize("registry", [ev.SERVER_EVENTS, ev.CLIENT_EVENTS], ids=["server", "client"])
def test_a_class_is_named_after_its_wire_type(registry: dict[str, type[Any]]) -> None:
    assert [kind.__name__ for kind in registry.values()] == [camel(name) for name in registry]
    assert [kind.type for kind in registry.values()] == list(registry)


def test_the_registries_hold_every_event_class_there_is() -> None:
    def leaves(kind: type[Any]) -> set[type[Any]]:
        below = kind.__subclasses__()
        return set().union(*map(leaves, below)) if below else {kind}

    odd = {ev.MalformedEvent, ev.ChoicesEvent}
    public = {kind for kind in leaves(ev.ServerEvent) if kind.__module__.startswith("dashscope_rt.")}
    assert public - odd - {ev.UnknownEvent} == set(ev.SERVER_EVENTS.values())
    assert {kind for kind in leaves(ev.ClientEvent) if kind.__module__.startswith("dashscope_rt.")} == set(
        ev.CLIENT_EVENTS.values()
    )


def test_every_name_of_the_module_is_listed_and_exists() -> None:
    assert sorted(set(ev.__all__)) == sorted(ev.__all__)
    assert not [name for name in ev.__all__ if not hasattr(ev, name)]
    listed = {getattr(ev, name) for name in ev.__all__ if isinstance(getattr(ev, name), type)}
    assert listed >= {*ALL_EVENTS, *OBJECTS, ev.AnyEvent, ev.Event}


@pytest.mark.parametrize("kind", [*ALL_EVENTS, *OBJECTS])
def test_a_class_has_a_docstring_of_its_own(kind: type[Any]) -> None:
    assert kind.__doc__
    assert kind.__doc__ != inspect.getdoc(kind.__base__)
    if kind in ev.SERVER_EVENTS.values() or kind in ev.CLIENT_EVENTS.values():
        assert "Source:" in kind.__doc__, "an event's docstring names its source"


def filled(kind: type[Any], value: Any = None) -> Any:
    """One of these with something in every field."""
    values: dict[str, Any] = {}
    for field in attrs.fields(kind):
        if not field.init:
            continue
        annotation = str(field.type)
        if value is not None:
            values[field.alias] = value
        elif "Mapping" in annotation and "tuple" not in annotation:
            values[field.alias] = {"instructions": SECRET, "authorization": SECRET}
        elif "Item" in annotation and "tuple" in annotation:
            values[field.alias] = (filled(ev.Item),)
        elif "ContentPart" in annotation:
            values[field.alias] = (filled(ev.ContentPart),) if "tuple" in annotation else filled(ev.ContentPart)
        elif "tuple" in annotation and "Mapping" in annotation:
            values[field.alias] = ({"description": SECRET},)
        elif "bytes" in annotation:
            values[field.alias] = SECRET.encode()
        elif (field.name in SAID and "str" in annotation) or (kind is ev.Item and field.name == "error"):
            values[field.alias] = SECRET
        else:
            values[field.alias] = None if "None" in annotation else "x"
    return kind(**values)


# Fields that hold what people said, wrote or sent, whatever the class.
SAID = {"text", "stash", "delta", "transcript", "arguments", "output", "instructions", "obfuscation", "audio"}


@pytest.mark.parametrize("kind", [*ALL_EVENTS, *OBJECTS])
def test_a_repr_shows_no_text_no_media_no_credentials(kind: type[Any]) -> None:
    event = filled(kind)
    shown = repr(event)
    assert SECRET not in shown
    assert base64.b64encode(SECRET.encode()).decode() not in shown
    assert shown.startswith(kind.__name__ + "(")


def test_a_repr_counts_what_it_does_not_show() -> None:
    pcm = bytes(480)
    delta = ev.ResponseAudioDelta(response_id="resp_1", delta=base64.b64encode(pcm).decode())
    assert repr(delta) == "ResponseAudioDelta(response_id='resp_1', delta=<480 bytes>)"
    assert repr(ev.InputAudioBufferAppend(audio=pcm)) == "InputAudioBufferAppend(audio=<480 bytes>)"
    assert repr(ev.ResponseTextDelta(delta="今天")) == "ResponseTextDelta(delta=<2 chars>)"
    update = ev.SessionUpdate(session={"instructions": SECRET, "tools": []})
    assert repr(update) == "SessionUpdate(session=<instructions, tools>)"
    assert (
        repr(ev.SessionObject(tools=({}, {}), instructions="ab")) == "SessionObject(instructions=<2 chars>, tools=<2>)"
    )
    assert repr(ev.ChoicesEvent(data=("AAAA", "AA=="))) == "ChoicesEvent(data=<4 bytes>)"
    assert "message='no'" in repr(ev.ErrorDetail(message="no")), "the service's own words are shown"


@pytest.mark.parametrize("kind", ALL_EVENTS)
def test_an_event_is_frozen_has_slots_and_takes_keywords_only(kind: type[Any]) -> None:
    event = filled(kind)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.event_id = "other"
    assert not hasattr(event, "__dict__")
    with pytest.raises(TypeError):
        kind("positional")


@pytest.mark.parametrize("kind", [*ALL_EVENTS, *OBJECTS])
def test_events_are_equal_by_value_and_by_class(kind: type[Any]) -> None:
    one, other = filled(kind), filled(kind)
    assert one == other
    assert hash(one) == hash(other)
    assert one != object()
    for field in attrs.fields(kind):
        if field.eq and field.init:
            assert attrs.evolve(one, **{field.alias: b"changed"}) != one, field.name
    assert copy.deepcopy(one) == one
    assert pickle.loads(pickle.dumps(one)) == one


def test_raw_is_no_part_of_an_events_value() -> None:
    assert ev.ResponseAudioDone(raw={"new": 1}) == ev.ResponseAudioDone()
    assert ev.ResponseAudioDone().raw == {}


def test_events_of_different_types_with_the_same_fields_differ() -> None:
    assert ev.ResponseTextDelta(delta="a") != ev.ResponseAudioTranscriptDelta(delta="a")
    assert ev.SessionCreated() != ev.SessionUpdated()


def test_an_unknown_event_has_a_type_of_its_own() -> None:
    event = ev.UnknownEvent(type="response.new", event_id="event_1", raw={"type": "response.new", "field": 1})
    assert (event.type, event.raw["field"]) == ("response.new", 1)
    assert isinstance(event, ev.AnyEvent)
    assert issubclass(ev.MalformedEvent, ev.UnknownEvent)


def test_audio_is_decoded_when_asked_for_and_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from dashscope_rt import _speed

    calls = []
    original = _speed.base64_bytes
    monkeypatch.setattr(_speed, "base64_bytes", lambda text: calls.append(text) or original(text))
    event = ev.ResponseAudioDelta(delta=base64.b64encode(b"\x01\x02" * 100).decode())
    assert not calls
    first = event.audio
    assert first == b"\x01\x02" * 100
    assert event.audio is first
    assert len(calls) == 1


@pytest.mark.parametrize("delta", ["A", "AAA", "AA A", "AA!A", "AAAA====A", "音频"])
def test_audio_that_is_no_base64_raises_and_names_the_event(delta: str) -> None:
    with pytest.raises(ValueError, match=r"event_7 \(response\.audio\.delta\) is not Base64"):
        _ = ev.ResponseAudioDelta(event_id="event_7", delta=delta).audio


def test_absent_audio_is_empty() -> None:
    assert ev.ResponseAudioDelta().audio == b""
    assert ev.ResponseAudioDelta(delta="").audio == b""
    assert ev.ChoicesEvent().audio == b""


def test_a_choices_event_joins_its_pieces_of_audio() -> None:
    assert ev.ChoicesEvent(data=("AQI=", "AwQ=")).audio == b"\x01\x02\x03\x04"
    with pytest.raises(ValueError, match="choices"):
        _ = ev.ChoicesEvent(data=("AQI",)).audio


@pytest.mark.parametrize(
    ("fields", "preview"),
    [
        ({"text": "ab", "stash": "cd"}, "abcd"),
        ({"text": "", "stash": "cd"}, "cd"),
        ({"text": "ab"}, "ab"),
        ({"delta": "ef"}, "ef"),
        ({"text": "ab", "stash": "", "delta": "ef"}, "ab"),
        ({}, ""),
    ],
)
@pytest.mark.parametrize(
    "kind", [ev.ConversationItemInputAudioTranscriptionDelta, ev.ConversationItemInputAudioTranscriptionText]
)
def test_a_transcripts_preview_is_text_and_stash_or_the_delta(
    kind: type[ev.TranscriptionPreview], fields: dict[str, str], preview: str
) -> None:
    assert kind(**fields).preview == preview  # type: ignore[arg-type]


def test_a_translations_preview_is_text_and_stash() -> None:
    assert ev.ResponseTextText(text="ab", stash="c").preview == "abc"
    assert ev.ResponseAudioTranscriptText(text="ab").preview == "ab"


def test_an_items_text_is_read_from_text_or_transcript() -> None:
    parts = (ev.ContentPart(text="a"), ev.ContentPart(transcript="b"), ev.ContentPart(text="", transcript="c"))
    assert ev.Item(content=(*parts, ev.ContentPart())).text == "abc"
    assert ev.Item().text == ""


def test_a_response_gives_its_text_and_its_function_calls() -> None:
    call = ev.Item(type="function_call", name="f")
    response = ev.ResponseObject(output=(ev.Item(type="message", content=(ev.ContentPart(text="hi"),)), call))
    assert response.text == "hi"
    assert response.function_calls == (call,)
    assert ev.ResponseObject().function_calls == ()


def test_usage_adds_up_and_what_neither_side_has_stays_absent() -> None:
    one = ev.Usage(
        total_tokens=10,
        input_tokens_details=ev.TokenDetails(text_tokens=3, cached_tokens=0),
        plugins={"search": {"count": 1, "strategy": "agent"}},
    )
    other = ev.Usage(
        total_tokens=5,
        output_tokens=2,
        input_tokens_details=ev.TokenDetails(text_tokens=4, audio_tokens=7),
        output_tokens_details=ev.TokenDetails(audio_tokens=1),
        plugins={"search": {"count": 2, "strategy": "agent"}},
    )
    for total in (one + other, other + one):
        assert total.total_tokens == 15
        assert total.output_tokens == 2
        assert total.input_tokens is None
        assert total.characters is None
        assert total.input_tokens_details == ev.TokenDetails(text_tokens=7, audio_tokens=7, cached_tokens=0)
        assert total.output_tokens_details == ev.TokenDetails(audio_tokens=1)
        assert total.plugins == {"search": {"count": 3, "strategy": "agent"}}
    assert sum([one, other], ev.Usage()) == one + other
    assert ev.Usage(characters=2) + ev.Usage(characters=3) == ev.Usage(characters=5)
    with pytest.raises(TypeError):
        _ = one + 1  # type: ignore[operator]


def test_audio_given_as_text_is_refused_where_it_is_made() -> None:
    with pytest.raises(TypeError, match=r"InputAudioBufferAppend\.audio must be bytes, not str"):
        ev.InputAudioBufferAppend(audio="AAAA")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"InputImageBufferAppend\.image must be bytes"):
        ev.InputImageBufferAppend(image="AAAA")  # type: ignore[arg-type]
