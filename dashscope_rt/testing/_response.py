"""One response: its events in order, step by step, and how it ends when it is cut short.

response.created
response.output_item.added, conversation.item.created          per item
response.content_part.added
response.audio_transcript.delta and response.audio.delta   or response.text.delta
…transcript.done, response.audio.done                      or response.text.done
response.content_part.done
response.function_call_arguments.delta, ….done               for a call
response.output_item.done
response.done
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ._answers import Answer, FunctionCall
from ._sound import SAMPLE_BYTES, wav_header
from ._wire import Event, make, new_id

CHUNK_MS = 100
TEXT_MS = 50
_ARGUMENT_CHARACTERS = 16
_PIECES = re.compile(r"[^\s\u2e80-\uffdc]+\s*|[\u2e80-\uffdc]{1,2}\s*|\s+")


def pieces(text: str) -> list[str]:
    """A text in the pieces that deltas carry: words, or two characters of Chinese; joined they give the text."""
    return _PIECES.findall(text) if text else []


@dataclass
class Step:
    """What goes out together, and what then happens.

    Attributes:
        events: In order.
        wait_ms: How long these events play; the pace makes real time of it.
        delta: Part of the answer's stream; a hold counts these.
    """

    events: list[Event]
    wait_ms: float = 0.0
    delta: bool = False


@dataclass(frozen=True)
class Shape:
    """How a response is to look: the session's settings at its start, and `Variants` that touch it."""

    conversation_id: str
    modalities: tuple[str, ...]
    voice: str
    audio_format: str
    container: str
    rate: int
    wav_headers: str
    item_created: bool
    leading_space: bool


class Response:
    """One response of one session.

    Args:
        shape: How it is to look.
    """

    def __init__(self, shape: Shape) -> None:
        self.id = new_id("resp")
        self.shape = shape
        self.output: list[dict[str, Any]] = []
        self.call_ids: list[str] = []
        self.said = ""  # text and arguments so far, for the usage
        self.audio_bytes = 0
        self._item: dict[str, Any] = {}  # the item between its added and its done
        self._text = ""

    @property
    def audio_seconds(self) -> float:
        """How much has been spoken so far."""
        return self.audio_bytes / SAMPLE_BYTES / self.shape.rate

    def created(self) -> Event:
        """``response.created``."""
        return make("response.created", response=self._object("in_progress"))

    def done(self, status: str, usage: Mapping[str, Any], details: Mapping[str, Any] | None = None) -> Event:
        """``response.done`` with everything that was put out."""
        response = self._object(status)
        if details is not None:
            response["status_details"] = dict(details)
        return make("response.done", response={**response, "output": list(self.output), "usage": dict(usage)})

    def play(self, answer: Answer, audio: bytes) -> Iterator[Step]:
        """The steps between ``response.created`` and ``response.done``.

        Args:
            answer: What to say.
            audio: Its voice, mono s16le at the output rate; not used when the modality is text.
        """
        if answer.text or (audio and "audio" in self.shape.modalities):
            yield from self._message(answer.text, audio)
        for call in answer.function_calls:
            yield from self._call(call)

    def cut(self) -> list[Event]:
        """The events that close what is open when the response is cancelled or interrupted."""
        if not self._item:
            return []
        return self._close_item("incomplete")

    def _object(self, status: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "realtime.response",
            "conversation_id": self.shape.conversation_id,
            "status": status,
            "modalities": list(self.shape.modalities),
            "voice": self.shape.voice,
            "output_audio_format": self.shape.audio_format,
            "output": [],
        }

    def _event(self, kind: str, **fields: Any) -> Event:
        place = {"response_id": self.id, "item_id": self._item["id"], "output_index": len(self.output)}
        return make(kind, **place, **fields)

    def _part_event(self, kind: str, **fields: Any) -> Event:
        return self._event(kind, content_index=0, **fields)

    def _open_item(self, item: dict[str, Any]) -> list[Event]:
        self._item = {"id": new_id("item"), "object": "realtime.item", "status": "in_progress", **item}
        self._text = ""
        place = {"response_id": self.id, "output_index": len(self.output)}
        events = [make("response.output_item.added", **place, item=dict(self._item))]
        if self._item["type"] == "message" or self.shape.item_created:
            events.append(make("conversation.item.created", item=dict(self._item)))
        return events

    def _message(self, text: str, audio: bytes) -> Iterator[Step]:
        spoken = "audio" in self.shape.modalities
        kind = "audio" if spoken else "text"
        events = self._open_item({"type": "message", "role": "assistant", "content": []})
        part = {"type": kind, "text": ""}
        yield Step([*events, self._part_event("response.content_part.added", part=part)])
        for words, sound in self._chunks(pieces(text), audio) if spoken else [(piece, b"") for piece in pieces(text)]:
            deltas = []
            if words:
                self._text += words
                self.said += words
                name = "response.audio_transcript.delta" if spoken else "response.text.delta"
                deltas.append(self._part_event(name, delta=words))
            if sound:
                first = self.audio_bytes == 0
                self.audio_bytes += len(sound)
                encoded = base64.b64encode(self._contained(sound, first)).decode()
                deltas.append(self._part_event("response.audio.delta", delta=encoded))
            wait = len(sound) / SAMPLE_BYTES / self.shape.rate * 1000 if spoken else TEXT_MS
            yield Step(deltas, wait, delta=True)
        yield Step(self._close_item("completed"))

    def _chunks(self, words: list[str], audio: bytes) -> Iterator[tuple[str, bytes]]:
        # The transcript runs a little ahead of the voice, spread over it.
        size = self.shape.rate * CHUNK_MS // 1000 * SAMPLE_BYTES
        count = max(1, -(-len(audio) // size))
        shown = 0
        for index in range(count):
            until = -(-len(words) * (index + 1) // count)
            yield "".join(words[shown:until]), audio[index * size : (index + 1) * size]
            shown = until

    def _contained(self, sound: bytes, first: bool) -> bytes:
        if self.shape.container != "wav":
            return sound
        if self.shape.wav_headers == "each":
            return wav_header(self.shape.rate, len(sound)) + sound
        return wav_header(self.shape.rate) + sound if first else sound

    def _call(self, call: FunctionCall) -> Iterator[Step]:
        call_id = call.call_id or new_id("call")
        if isinstance(call.arguments, str):
            arguments = call.arguments
        else:
            space = " " if self.shape.leading_space else ""
            arguments = space + json.dumps(dict(call.arguments), ensure_ascii=False)
        item = {"type": "function_call", "call_id": call_id, "name": call.name, "arguments": ""}
        yield Step(self._open_item(item))
        for place in range(0, len(arguments), _ARGUMENT_CHARACTERS):
            delta = arguments[place : place + _ARGUMENT_CHARACTERS]
            self._text += delta
            self.said += delta
            yield Step(
                [self._event("response.function_call_arguments.delta", call_id=call_id, delta=delta)], delta=True
            )
        self.call_ids.append(call_id)
        yield Step(self._close_item("completed"))

    def _close_item(self, status: str) -> list[Event]:
        item = self._item
        events: list[Event] = []
        if item["type"] == "function_call":
            shown = {**item, "status": status, "arguments": self._text}
            stored = shown
            if status == "completed":
                fields = {"name": item["name"], "call_id": item["call_id"], "arguments": self._text}
                events.append(self._event("response.function_call_arguments.done", **fields))
        else:
            spoken = "audio" in self.shape.modalities
            kind = "audio" if spoken else "text"
            if spoken:
                events.append(self._part_event("response.audio_transcript.done", transcript=self._text))
                events.append(self._part_event("response.audio.done"))
            else:
                events.append(self._part_event("response.text.done", text=self._text))
            part = {"type": kind, "text": self._text}
            events.append(self._part_event("response.content_part.done", part=part))
            # The documentation spells the text of a spoken part "text" here and "transcript" in response.done.
            shown = {**item, "status": status, "content": [part]}
            stored = {**shown, "content": [{"type": "audio", "transcript": self._text} if spoken else part]}
        place = {"response_id": self.id, "output_index": len(self.output)}
        events.append(make("response.output_item.done", **place, item=shown))
        self.output.append(stored)
        self._item = {}
        return events
