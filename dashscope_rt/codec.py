"""Text to event and back, configuration to wire and back: the only module that knows cattrs.

Decoding never raises for what a peer may send: what cannot be read becomes a `MalformedEvent`. One dictionary lookup
on ``type`` finds the reader of an event; cattrs writes it when the first event of that type comes. Everything here is
pure and may be called from any thread, but for a `Decoder`, which belongs to one connection.

Spelling a configuration is in `_spelling`, which this module gives to the public.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

from . import _speed
from ._codec.quick import KINDS, Deltas
from ._codec.spelling import config_from_wire, config_to_wire
from ._codec.strict import (
    dump,
    kind_of,
    parse,
    read_anything,
    read_bytes,
    read_flag,
    read_list,
    read_number,
    read_object,
    read_text,
    read_text_or_whole,
    read_whole,
)
from ._events.objects import Usage
from ._events.wire import WireObject
from .events import (
    CLIENT_EVENTS,
    SERVER_EVENTS,
    ChoicesEvent,
    ClientEvent,
    Event,
    MalformedEvent,
    ServerEvent,
    UnknownEvent,
)

__all__ = [
    "Decoder",
    "config_from_wire",
    "config_to_wire",
    "decode",
    "decode_binary",
    "decode_client",
    "encode",
    "encode_audio_append",
    "encode_raw",
    "prepare",
]

Hook = Callable[[Any, Any], Any]


class _Readers:
    """The functions that make events of JSON objects, each written by cattrs when it is first needed.

    Args:
        detailed: Slower functions that know which field is at fault; used only after a fast one failed.
    """

    def __init__(self, *, detailed: bool) -> None:
        self._detailed = detailed
        self._converter = cattrs.Converter(detailed_validation=detailed, prefer_attrib_converters=False)
        self._made: dict[type, Hook] = {}
        self._lock = threading.RLock()  # guards _made and the converter while a function is being written
        for annotation, hook in (
            (str | None, read_text),
            (int | None, read_whole),
            (float | None, read_number),
            (bool | None, read_flag),
            (str | int | None, read_text_or_whole),
            (Mapping[str, Any] | None, read_object),
            (Any, read_anything),
            (str, _required(read_text)),
            (Mapping[str, Any], _required(read_object)),
            (bytes, read_bytes),
        ):
            self._register(annotation, hook)
        self._converter.register_structure_hook_factory(_is_list, self._list_hook)
        self._converter.register_structure_hook_factory(_is_object, self._object_hook)

    def _register(self, annotation: Any, hook: Hook) -> None:
        if annotation in (str, bytes):  # cattrs finds its own hooks for plain classes before it asks a predicate
            self._converter.register_structure_hook(annotation, hook)
        else:
            self._converter.register_structure_hook_func(lambda kind: kind == annotation, hook)

    def of(self, kind: type[Event]) -> Hook:
        """Return the function that makes one of these of a dict."""
        with self._lock:
            if kind not in self._made:
                self._made[kind] = self._write(kind)
            return self._made[kind]

    def _write(self, kind: type) -> Hook:
        attrs.resolve_types(kind)
        return make_dict_structure_fn(
            kind,
            self._converter,
            _cattrs_detailed_validation=self._detailed,
            raw=override(omit=True),  # what a frame calls "raw" is not our `raw`
            _raw=override(omit=True),
        )

    def _object_hook(self, annotation: Any) -> Hook:
        kind = _plain(annotation)
        read = self._write(kind)

        def hook(value: Any, _: Any = None) -> Any:
            if value is None:
                return None
            if type(value) is not dict:
                raise TypeError(f"should be an object, not {kind_of(value)}")
            made = read(_plural(value) if kind is Usage else value, kind)
            object.__setattr__(made, "raw", value)  # nobody else has seen it yet
            return made

        return hook

    def _list_hook(self, annotation: Any) -> Hook:
        inner = _plain(annotation).__args__[0]
        read = self._converter.get_structure_hook(inner)
        absent = None if _is_optional(annotation) else ()

        def item(value: Any) -> Any:
            if value is None:
                raise TypeError("holds null")
            return read(value, inner)

        def hook(value: Any, _: Any = None) -> Any:
            return absent if value is None else read_list(value, item)

        return hook


def _required(hook: Callable[[Any], Any]) -> Hook:
    def strict(value: Any, _: Any) -> Any:
        if value is None:
            raise TypeError("should not be null")
        return hook(value)

    return strict


def _is_optional(annotation: Any) -> bool:
    return type(None) in getattr(annotation, "__args__", ())


def _plain(annotation: Any) -> Any:
    """``X`` of ``X | None``."""
    if not _is_optional(annotation):
        return annotation
    return next(kind for kind in annotation.__args__ if kind is not type(None))


def _is_object(annotation: Any) -> bool:
    plain = _plain(annotation)
    return isinstance(plain, type) and issubclass(plain, WireObject)


def _is_list(annotation: Any) -> bool:
    return getattr(_plain(annotation), "__origin__", None) is tuple


def _plural(usage: dict[str, Any]) -> dict[str, Any]:
    """Read ``input_token_details`` (OpenAI's spelling) as ``input_tokens_details``."""
    for singular in ("input_token_details", "output_token_details"):
        plural = singular.replace("token_", "tokens_")
        if singular in usage and plural not in usage:
            usage = {**usage, plural: usage[singular]}
    return usage


_KNOWN: dict[str, tuple[type[ServerEvent], Hook]] = {}  # filled as types turn up; a race writes the same thing twice
_made: dict[bool, _Readers] = {}
_making = threading.Lock()  # guards _made


def _readers(*, detailed: bool) -> _Readers:
    with _making:
        if detailed not in _made:
            _made[detailed] = _Readers(detailed=detailed)
        return _made[detailed]


def _problem(kind: type[Event], frame: dict[str, Any]) -> str:
    """Say which field is at fault, by reading the frame once more with functions that know."""
    try:
        _readers(detailed=True).of(kind)(frame, kind)
    except Exception as error:  # noqa: BLE001  # whatever failed, the answer is a sentence
        found = [line.rpartition(" @ $") for line in cattrs.transform_error(error, format_exception=_clause)]
        return "; ".join(f"{path.lstrip('.') or 'the frame'} {clause}" for clause, _, path in found[:3])
    return "the frame could not be read"


def _clause(error: BaseException, _: object) -> str:
    return "is missing" if isinstance(error, KeyError) else str(error)


# The public functions.


def prepare() -> None:
    """Have the readers of the events of a turn written now, which takes some 10 ms once in a process.

    Otherwise they are written when the first event of each type comes, in the middle of the first answer. Any thread.
    """
    _speed.pick()
    for name in _OF_A_TURN:
        if name not in _KNOWN:
            kind = SERVER_EVENTS[name]
            _KNOWN[name] = (kind, _readers(detailed=False).of(kind))


_OF_A_TURN = (
    "session.created",
    "session.updated",
    "response.audio.delta",
    "response.audio_transcript.delta",
    "response.created",
    "response.done",
    "conversation.item.created",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.completed",
    "response.output_item.added",
    "response.content_part.added",
    "response.audio_transcript.done",
    "response.audio.done",
    "response.content_part.done",
    "response.output_item.done",
    "error",
)


def decode(data: bytes | str) -> ServerEvent:
    """Read a text frame from the service.

    Args:
        data: The frame's payload.

    Returns:
        The event: of its own class, or `UnknownEvent` for a type this package does not know, `ChoicesEvent` for the odd
        frame without type, `MalformedEvent` for what cannot be read.

    Raises:
        UnicodeDecodeError: The bytes are not UTF-8, for which RFC 6455 wants the connection failed. Nothing else.
    """
    text = data if isinstance(data, str) else str(data, "utf-8")
    try:
        frame = parse(text)
    except ValueError as error:
        return MalformedEvent(type="", problem=str(error))
    if type(frame) is not dict:
        return MalformedEvent(type="", problem=f"not an event: a JSON object is expected, not {kind_of(frame)}")
    name = frame.get("type")
    if type(name) is not str:
        return _untyped(frame, name)
    known = _KNOWN.get(name)
    if known is None:
        kind = SERVER_EVENTS.get(name)
        if kind is None:
            event_id = frame.get("event_id")
            return UnknownEvent(type=name, event_id=event_id if type(event_id) is str else None, raw=frame)
        known = _KNOWN[name] = (kind, _readers(detailed=False).of(kind))
    kind, read = known
    try:
        event: ServerEvent = read(frame, kind)
    except Exception:  # noqa: BLE001  # a peer's frame must never end the session
        return _malformed(name, frame, _problem(kind, frame))
    object.__setattr__(event, "_raw", frame)  # nobody else has seen it yet
    return event


class Decoder:
    """Reads the messages of one connection, as `decode` does, and deltas in a tenth of the time.

    It remembers the frames of the last few deltas (see `_codec.quick`). Not thread-safe: the thread that reads the
    connection's messages owns it.
    """

    def __init__(self) -> None:
        self._deltas = Deltas()

    def decode(self, data: bytes) -> ServerEvent:
        """Read a text frame from the service; returns and raises what `decode` does."""
        events = [self.begin(data)]
        self.settle(events)
        return events[0]

    def begin(self, data: bytes) -> ServerEvent:
        """Do as `decode` does, but leave audio to `settle`, which is quicker with that of many events."""
        event = self._deltas.read(data)
        if event is None:
            event = decode(data)
            if type(event) in KINDS:
                self._deltas.learn(data, event)
        return event

    def settle(self, events: list[ServerEvent]) -> None:
        """Complete the events of all calls of `begin` since the last time; nobody has looked at them yet.

        Args:
            events: What it returned, in order. An event is replaced where it turns out that its text is no Base64.

        Raises:
            UnicodeDecodeError: A text is not UTF-8; the list ends before its event.
        """
        for event, data in self._deltas.settle():
            place = next(place for place, other in enumerate(events) if other is event)  # == would look at its audio
            try:
                events[place] = decode(data)
            except UnicodeDecodeError:
                del events[place:]
                raise


def _malformed(name: str, frame: dict[str, Any], problem: str) -> MalformedEvent:
    event_id = frame.get("event_id")
    return MalformedEvent(type=name, event_id=event_id if type(event_id) is str else None, raw=frame, problem=problem)


def _untyped(frame: dict[str, Any], name: object) -> ServerEvent:
    if name is not None:
        return _malformed("", frame, f"not an event: type should be a text, not {kind_of(name)}")
    if "choices" not in frame:
        return _malformed("", frame, "not an event: it has no type")
    try:
        return _choices(frame)
    except (TypeError, LookupError, AttributeError):
        return _malformed("", frame, "not an event: it has no type, and choices of an unknown shape")


def _choices(frame: dict[str, Any]) -> ChoicesEvent:
    choice = frame["choices"][0]
    content = choice.get("message", {}).get("content") or []
    if type(content) is str:
        content = [{"text": content}]
    texts = [_required(read_text)(part["text"], None) for part in content if part.get("text") is not None]
    pieces = [_required(read_text)(part["audio"]["data"], None) for part in content if part.get("audio") is not None]
    reason = read_text(choice.get("finish_reason"))
    event_id = frame.get("event_id")
    return ChoicesEvent(
        event_id=event_id if type(event_id) is str else None,
        raw=frame,
        text="".join(texts) if texts else None,
        data=tuple(pieces),
        finish_reason=None if reason == "null" else reason,
    )


def decode_binary(data: bytes) -> MalformedEvent:
    """Answer for a binary frame: the service sends text only, so it is malformed; its content is not kept."""
    return MalformedEvent(type="", problem=f"not an event: a binary frame of {len(data)} bytes, text is expected")


def decode_client(data: bytes | str) -> ClientEvent:
    """Read a text frame from a client, as a service would.

    Raises:
        ValueError: Not UTF-8, not JSON, no event, a type no client sends, or a field of the wrong kind; the message is
            one sentence.
    """
    try:
        frame = parse(data if isinstance(data, str) else str(data, "utf-8"))
    except UnicodeDecodeError:
        raise ValueError("not an event: the frame is not UTF-8") from None
    if type(frame) is not dict:
        raise ValueError(f"not an event: a JSON object is expected, not {kind_of(frame)}")
    name = frame.get("type")
    if type(name) is not str:
        raise ValueError("not an event: it has no type")
    kind = CLIENT_EVENTS.get(name)
    if kind is None:
        raise ValueError(f"no client sends an event of type {name!r:.80}")
    try:
        event: ClientEvent = _readers(detailed=False).of(kind)(frame, kind)
    except Exception:  # noqa: BLE001  # told apart below, with the field's name
        raise ValueError(f"{name}: {_problem(kind, frame)}") from None
    return event


def encode(event: ClientEvent) -> bytes:
    """Write an event as the compact UTF-8 JSON of a text frame; fields that are None are left out.

    Raises:
        ValueError: A mapping in the event holds what JSON cannot say.
    """
    frame: dict[str, Any] = {}
    if event.event_id is not None:
        frame["event_id"] = event.event_id
    frame["type"] = event.type
    for field in attrs.fields(type(event)):
        value = getattr(event, field.name)
        if value is not None and field.name != "event_id":
            is_bytes = isinstance(value, (bytes, bytearray, memoryview))
            frame[field.name] = base64.b64encode(value).decode("ascii") if is_bytes else value
    return dump(frame)


def encode_raw(event: Mapping[str, Any]) -> bytes:
    """Write a client event given as a plain mapping.

    Raises:
        ValueError: No mapping, no ``type``, or something JSON cannot say.
    """
    if not isinstance(event, Mapping):
        raise ValueError(f"an event must be a mapping, not a {type(event).__name__}")
    if not isinstance(event.get("type"), str) or not event["type"]:
        raise ValueError("an event must have a type that is a text, for example 'response.create'")
    return dump(event)


def encode_audio_append(pcm: bytes | bytearray | memoryview, event_id: str) -> bytes:
    """Write ``input_audio_buffer.append`` without building a JSON object: the event sent most often by far.

    Args:
        pcm: Audio in the session's input format; anything bytes-like.
        event_id: The event's id.

    Returns:
        The same bytes as ``encode(InputAudioBufferAppend(audio=pcm, event_id=event_id))``.
    """
    audio = _speed.base64_text(pcm)
    name = event_id.encode("ascii") if event_id.isascii() and event_id.isidentifier() else dump({"": event_id})[5:-2]
    return b'{"event_id":"%b","type":"input_audio_buffer.append","audio":"%b"}' % (name, audio)
