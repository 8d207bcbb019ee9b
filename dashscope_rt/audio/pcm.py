"""Raw PCM: signed 16-bit little-endian samples. Pure functions."""

from __future__ import annotations

import array
import math
import sys
from collections.abc import Iterable, Iterator

BYTES_PER_SAMPLE = 2


def duration_ms(pcm_bytes: int, rate: int, channels: int = 1) -> float:
    """Return how long so many bytes of PCM sound, in ms."""
    return pcm_bytes * 1000 / (BYTES_PER_SAMPLE * channels * rate)


def silence(ms: float, rate: int, channels: int = 1) -> bytes:
    """Return ``ms`` milliseconds of silence."""
    return bytes(BYTES_PER_SAMPLE * channels * round(rate * ms / 1000))


def chunks(
    pcm: bytes | bytearray | memoryview | Iterable[bytes], ms: float, rate: int, channels: int = 1
) -> Iterator[bytes]:
    """Cut PCM into pieces of ``ms`` milliseconds; the last may be shorter.

    Args:
        pcm: One buffer, or pieces of any length: a sample cut in two by a piece's end is put together again.
        ms: Length of a piece; at least one sample.
        rate: Hz.
        channels: Interleaved channels; no piece ends inside a sample frame.

    Raises:
        ValueError: The whole ends in the middle of a sample, so it is not 16-bit PCM.
    """
    frame = BYTES_PER_SAMPLE * channels
    size = frame * max(1, round(rate * ms / 1000))
    pieces: Iterable[bytes | bytearray | memoryview] = (
        (pcm,) if isinstance(pcm, (bytes, bytearray, memoryview)) else pcm
    )
    rest = bytearray()
    for piece in pieces:
        rest += piece
        whole = len(rest) - len(rest) % size
        for start in range(0, whole, size):
            yield bytes(rest[start : start + size])
        del rest[:whole]
    if len(rest) % frame:
        raise ValueError(
            f"the audio ends in the middle of a sample ({len(rest) % frame} of {frame} bytes): is it 16-bit PCM with"
            f" {channels} channel(s)?"
        )
    if rest:
        yield bytes(rest)


def samples(pcm: bytes | bytearray | memoryview) -> array.array[int]:
    """Return the samples as numbers from -32768 to 32767."""
    values = array.array("h")
    values.frombytes(pcm)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _to_bytes(values: array.array[int]) -> bytes:
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def mono(pcm: bytes, channels: int) -> bytes:
    """Mix interleaved channels down to one, as their mean."""
    if channels == 1:
        return bytes(pcm)
    values = samples(pcm)
    return _to_bytes(
        array.array("h", (sum(values[at : at + channels]) // channels for at in range(0, len(values), channels)))
    )


def stereo(left: bytes, right: bytes) -> bytes:
    """Interleave two mono signals of one rate; the shorter one is followed by silence."""
    size = max(len(left), len(right)) // BYTES_PER_SAMPLE
    both = array.array("h", bytes(2 * BYTES_PER_SAMPLE * size))
    for side, pcm in enumerate((left, right)):
        values = samples(pcm[: len(pcm) - len(pcm) % BYTES_PER_SAMPLE])
        both[side : 2 * len(values) : 2] = values
    return _to_bytes(both)


def gain(pcm: bytes | bytearray | memoryview, db: float) -> bytes:
    """Make PCM louder or quieter by ``db``; what would be too loud is cut at full scale, ``-inf`` gives silence."""
    if db == -math.inf:
        return bytes(len(pcm))
    factor = 10 ** (db / 20)
    return _to_bytes(array.array("h", (max(-32768, min(32767, round(value * factor))) for value in samples(pcm))))


def level_db(pcm: bytes | bytearray | memoryview) -> float:
    """Return the loudness as dB below full scale (RMS): 0 is the loudest, -inf is silence."""
    values = samples(pcm)
    if not values:
        return -math.inf
    mean = sum(value * value for value in values) / len(values)
    return 10 * math.log10(mean / 32768**2) if mean else -math.inf
