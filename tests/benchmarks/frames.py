"""What the load server sends, built once: frames as bytes; and a reader of frame headers that skips what is inside."""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.pieces import PER_RESPONSE, STAMP_DIGITS, audio_text

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
LAST = "resp_last"  # how the id of the response begins after which a client stops counting
MORE = "resp_more"
_WORDS = ("明天", "会下雨", "吗? ", "Tomorrow ", "it may rain", "。")


@dataclass(frozen=True)
class Dialect:
    """How a service spells the same stream.

    Attributes:
        audio: Type of the audio deltas.
        transcript: Type of the transcript deltas.
        compact: False puts spaces between the tokens and the long text first, to see what a less usual order costs.
    """

    audio: str = "response.audio.delta"
    transcript: str = "response.audio_transcript.delta"
    compact: bool = True

    def encode(self, event: dict[str, Any]) -> bytes:
        """Return the event's JSON."""
        if self.compact:
            return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        return json.dumps(dict(reversed(event.items())), ensure_ascii=False).encode()


DIALECTS = {
    "dashscope": Dialect(),
    "openai": Dialect("response.output_audio.delta", "response.output_audio_transcript.delta"),
    "loose": Dialect(compact=False),
}


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Return a server's frame."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x80 | opcode, size) + payload
    if size < 65536:
        return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, size) + payload


class Stream:
    """The frames of one dialect.

    Attributes:
        created: Frame of ``session.created``.
        updated: Frame of ``session.updated``.
        committed: Frame of ``input_audio_buffer.committed``.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        session = {
            "object": "realtime.session",
            "id": "sess_benchmark",
            "type": "realtime",
            "model": "benchmark",
            "modalities": ["text", "audio"],
            "voice": "Tina",
            "input_audio_format": "pcm",
            "output_audio_format": "pcm",
            "turn_detection": None,
            "tools": [],
            "temperature": 0.8,
        }
        self.created = self._frame({"event_id": "event_1", "type": "session.created", "session": session})
        self.updated = self._frame({"event_id": "event_2", "type": "session.updated", "session": session})
        self.committed = self._frame(
            {
                "event_id": "event_3",
                "type": "input_audio_buffer.committed",
                "item_id": "item_1",
                "previous_item_id": None,
            }
        )
        self._whole: dict[tuple[str, int, bool], bytes] = {}
        self._numbers = itertools.count(1)

    def name(self, *, last: bool = True) -> str:
        """Return an id that no other response has, of the same length as all."""
        return f"{LAST if last else MORE}_{next(self._numbers):08d}"

    def _frame(self, event: dict[str, Any]) -> bytes:
        return frame(self._dialect.encode(event))

    def _delta(self, kind: str, number: int, response_id: str) -> dict[str, Any]:
        return {
            "event_id": f"event_{number:0{STAMP_DIGITS}d}",
            "type": getattr(self._dialect, kind),
            "response_id": response_id,
            "item_id": f"item_BQ3XkQ1r6wq8{response_id[-8:]}",
            "output_index": 0,
            "content_index": 0,
            "delta": audio_text(number) if kind == "audio" else _WORDS[number % len(_WORDS)],
        }

    def began(self, response_id: str) -> bytes:
        """Return the frame of ``response.created``."""
        response = {"id": response_id, "object": "realtime.response", "status": "in_progress", "output": []}
        return self._frame({"event_id": "event_4", "type": "response.created", "response": response})

    def ended(self, response_id: str) -> bytes:
        """Return the frame of ``response.done``."""
        item = {"id": f"item_BQ3XkQ1r6wq8{response_id[-8:]}", "object": "realtime.item", "type": "message", "status": "completed",
                "role": "assistant", "content": [{"type": "audio", "transcript": "".join(_WORDS)}]}  # fmt: skip
        usage = {"total_tokens": 377, "input_tokens": 336, "output_tokens": 41}
        response = {
            "id": response_id,
            "object": "realtime.response",
            "status": "completed",
            "output": [item],
            "usage": usage,
        }
        return self._frame({"event_id": "event_5", "type": "response.done", "response": response})

    def response(self, kind: str, count: int, *, last: bool) -> bytes:
        """Return the frames of one whole response with ``count`` deltas of a kind, under ids of its own."""
        key = (kind, count, last)
        if key not in self._whole:
            name = f"{LAST if last else MORE}_{0:08d}"
            deltas = [self._frame(self._delta(kind, number, name)) for number in range(count)]
            self._whole[key] = b"".join([self.began(name), *deltas, self.ended(name)])
        own = self.name(last=last)[-8:].encode()
        return self._whole[key].replace(b'_00000000"', b'_%b"' % own).replace(b'wq800000000"', b'wq8%b"' % own)

    def backlog(self, kind: str, count: int) -> Iterator[bytes]:
        """Yield ``count`` deltas as whole responses of the customary length; the id of the last begins with ``LAST``."""
        while count > 0:
            size = min(PER_RESPONSE, count)
            count -= size
            yield self.response(kind, size, last=count == 0)

    def stamped(self, response_id: str) -> tuple[bytearray, int]:
        """Return the frame of an audio delta, to be sent again and again, and where its time stamp goes."""
        made = bytearray(self._frame(self._delta("audio", 0, response_id)))
        return made, made.index(b"0" * STAMP_DIGITS)


class Headers:
    """Walks through a client's frames; payloads of any length are skipped without looking, short ones unmasked."""

    def __init__(self, short: int = 2048) -> None:
        self._short = short
        self._kept = b""  # a header or a short frame that is not whole yet
        self._skip = 0  # bytes of a long payload still to come
        self.frames = 0
        self.bytes = 0

    def feed(self, data: memoryview) -> list[tuple[int, bytes | None]]:
        """Take what came; returns opcode and payload of each frame that began, None for a long payload."""
        found: list[tuple[int, bytes | None]] = []
        if self._skip >= len(data):
            self._skip -= len(data)
            return found
        at = self._skip
        if self._kept:
            data, at, self._kept = memoryview(self._kept + data), 0, b""
        self._skip = 0
        end = len(data)
        while at < end:
            if end - at < 14 and not _is_whole(data[at:]):
                break
            size, start = data[at + 1] & 0x7F, at + 6
            if size == 126:
                size, start = struct.unpack_from("!H", data, at + 2)[0], at + 8
            elif size == 127:
                size, start = struct.unpack_from("!Q", data, at + 2)[0], at + 14
            if size > self._short:
                found.append((data[at] & 0x0F, None))
            elif start + size > end:
                break
            else:
                found.append((data[at] & 0x0F, _unmasked(data[start - 4 : start], data[start : start + size])))
            self.frames += 1
            self.bytes += size
            at = start + size
        if at > end:
            self._skip = at - end
        else:
            self._kept = bytes(data[at:])
        return found


def _is_whole(head: memoryview) -> bool:
    if len(head) < 6:
        return False
    size = head[1] & 0x7F
    if size < 126:
        return len(head) >= 6 + size
    return False


def _unmasked(mask: memoryview, payload: memoryview) -> bytes:
    keys = (bytes(mask) * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(keys, "big") ^ int.from_bytes(payload, "big")).to_bytes(len(payload), "big")
