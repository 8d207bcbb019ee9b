"""The wire between a browser and this server, version 1: frames, limits, close codes. Pure.

Binary frames, both ways, begin with 4 bytes: kind (1 byte: 1 = PCM16LE mono audio, 2 = JPEG picture), one byte 0, the
turn's number as uint16 little-endian (0 from the browser). Text frames are JSON objects with a ``type``.

browser -> server   start, text, commit, interrupt, played, stop; binary 1 (microphone), binary 2 (camera)
server -> browser   ready, speech_started, speech_stopped, input_transcript, response_started, transcript,
                    function_call, flush, response_done, error, reconnecting, reconnected, closed; binary 1 (speech)
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from typing import Any, Final

VERSION: Final = 1
AUDIO: Final = 1
PICTURE: Final = 2
RATES: Final = (8_000, 192_000)  # Hz a microphone may have, both ends included

# Close codes of the WebSocket, as browsers see them.
NORMAL: Final = 1000
POLICY: Final = 1008  # not allowed, replaced, idle, too slow, unreadable: the same again would end alike
TOO_LARGE: Final = 1009
FAILED: Final = 1011  # the service behind this server failed
LATER: Final = 1013  # full, or shutting down: try again

_HEAD = struct.Struct("<BBH")
_KEY = re.compile(r"\bsk-[\w.-]{6,}")


class Unreadable(ValueError):
    """A frame that is none of this wire; the text says what is allowed."""


def audio_frame(turn: int, pcm: bytes) -> bytes:
    """Return a piece of turn ``turn``'s speech as a binary frame."""
    return _HEAD.pack(AUDIO, 0, turn & 0xFFFF) + pcm


def read_binary(frame: bytes) -> tuple[int, bytes]:
    """Return kind and payload of a browser's binary frame.

    Raises:
        Unreadable: It is too short, of another kind, or half a sample long.
    """
    if len(frame) <= _HEAD.size:
        raise Unreadable("a binary frame has 4 bytes of head and then its payload")
    kind = frame[0]
    if kind not in (AUDIO, PICTURE):
        raise Unreadable(f"a binary frame begins with 1 (PCM) or 2 (JPEG), not {kind}")
    if kind == AUDIO and len(frame) % 2:
        raise Unreadable("PCM has 2 bytes per sample, and this frame ends in the middle of one")
    return kind, frame[_HEAD.size :]


def read_text(frame: str) -> dict[str, Any]:
    """Return a browser's message.

    Raises:
        Unreadable: It is no JSON object with a ``type``.
    """
    try:
        message = json.loads(frame)
    except (ValueError, RecursionError):
        raise Unreadable("a text frame is a JSON object") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise Unreadable('a text frame is a JSON object with a "type"')
    return message


def read_start(message: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Return the microphone's rate in Hz and the options of a ``start`` message.

    Raises:
        Unreadable: It is another message, another version, or a rate outside `RATES`.
    """
    if message["type"] != "start":
        raise Unreadable(f"the first message is start, not {message['type'][:40]}")
    if message.get("version") != VERSION:
        raise Unreadable(f"this server speaks version {VERSION}; load its JavaScript again")
    rate = message.get("rate")
    if isinstance(rate, bool) or not isinstance(rate, int) or not RATES[0] <= rate <= RATES[1]:
        raise Unreadable(f"rate is the microphone's, a whole number from {RATES[0]} to {RATES[1]} Hz")
    options = message.get("options") or {}
    if not isinstance(options, dict):
        raise Unreadable("options is a JSON object")
    return rate, options


def text_frame(kind: str, **fields: Any) -> str:
    """Return a message for the browser; what looks like an API key is left out of it."""
    text = json.dumps({"type": kind, **fields}, ensure_ascii=False, separators=(",", ":"))
    return _KEY.sub("sk-…", text) if "sk-" in text else text
