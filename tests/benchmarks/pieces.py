"""The pieces of sound that travel in both directions."""

from __future__ import annotations

import base64
import random

AUDIO_BYTES = 4800  # 100 ms of the model's speech: 24,000 Hz, 16 bit
APPEND_BYTES = 3200  # 100 ms of the user's: 16,000 Hz
INTERVAL_S = 0.1
PER_RESPONSE = 100  # deltas: ten seconds of speech
STAMP_DIGITS = 19  # of CLOCK_MONOTONIC in ns, inside the event id

_random = random.Random(24000)
_SPEECH = tuple(base64.b64encode(_random.randbytes(AUDIO_BYTES)).decode() for _ in range(8))
APPEND = _random.randbytes(APPEND_BYTES)


def audio_text(number: int) -> str:
    """Return the Base64 text of a piece of speech."""
    return _SPEECH[number % len(_SPEECH)]


def sent_at(event_id: str) -> int:
    """Return the time stamp inside an event id: CLOCK_MONOTONIC of the server, in ns, the same clock in all processes."""
    return int(event_id[6:])
