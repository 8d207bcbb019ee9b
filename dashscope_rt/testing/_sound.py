"""Sound without dependencies: s16le samples, WAV files and headers, resampling, and tones in place of a voice.

All functions take and give mono s16le bytes unless they say otherwise; rates are in Hz.
"""

from __future__ import annotations

import math
import struct
import sys
import wave
from array import array
from os import PathLike

SAMPLE_BYTES = 2
_SYLLABLES = (262, 294, 330, 392, 440, 523, 587, 659)  # Hz; a pentatonic scale, so that any text sounds friendly
_TONE_MS_PER_CHARACTER = 55
_TONE_GAP_MS = 30
_TONE_LIMIT_MS = 30_000


def samples(pcm: bytes | bytearray | memoryview) -> array[int]:
    """The samples of s16le bytes; an odd last byte is left out."""
    values: array[int] = array("h")
    whole = len(pcm) - len(pcm) % SAMPLE_BYTES
    values.frombytes(bytes(pcm[:whole]))
    if sys.byteorder == "big":
        values.byteswap()
    return values


def pcm_of(values: array[int]) -> bytes:
    """The s16le bytes of samples."""
    if sys.byteorder == "big":
        values = array("h", values)
        values.byteswap()
    return values.tobytes()


def mono(values: array[int], channels: int) -> array[int]:
    """The average of interleaved channels."""
    if channels == 1:
        return values
    lanes = [values[lane::channels] for lane in range(channels)]
    return array("h", [sum(frame) // channels for frame in zip(*lanes, strict=False)])


def resample(pcm: bytes, from_rate: int, to_rate: int) -> bytes:
    """The same sound at another rate, by linear interpolation: good enough to be recognised."""
    if from_rate == to_rate or len(pcm) < 2 * SAMPLE_BYTES:
        return bytes(pcm)
    source = samples(pcm)
    source.append(source[-1])
    count = (len(source) - 1) * to_rate // from_rate
    result: array[int] = array("h", bytes(count * SAMPLE_BYTES))
    for index in range(count):
        place, rest = divmod(index * from_rate, to_rate)
        here = source[place]
        result[index] = here + (source[place + 1] - here) * rest // to_rate
    return pcm_of(result)


def read_wav(path: str | PathLike[str]) -> tuple[bytes, int]:
    """The mono s16le bytes and the rate of a 16-bit PCM WAV file.

    Raises:
        ValueError: The file is no 16-bit PCM WAV file.
        OSError: It cannot be read.
    """
    try:
        with wave.open(str(path), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as exc:
        raise ValueError(f"{path} is not a PCM WAV file: {exc}") from exc
    if width != SAMPLE_BYTES:
        raise ValueError(f"{path} has {8 * width}-bit samples; give a WAV file with 16-bit samples")
    return pcm_of(mono(samples(data), channels)), rate


def wav_header(rate: int, data_bytes: int | None = None) -> bytes:
    """The 44 bytes in front of mono s16le data; without a length they announce an endless stream."""
    length = 0x7FFFFFFF - 36 if data_bytes is None else data_bytes
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", length + 36, b"WAVE", b"fmt ", 16, 1, 1, rate, rate * SAMPLE_BYTES, SAMPLE_BYTES, 16, b"data", length,
    )  # fmt: skip


def tones(text: str, rate: int) -> bytes:
    """A sequence of tones that lasts about as long as speaking the text: one tone per word, 55 ms per character.

    At most 30 s. The same text always gives the same tones.
    """
    result: array[int] = array("h")
    limit = rate * _TONE_LIMIT_MS // 1000
    gap: array[int] = array("h", bytes(rate * _TONE_GAP_MS // 1000 * SAMPLE_BYTES))
    for word in text.split():
        pitch = _SYLLABLES[sum(map(ord, word)) % len(_SYLLABLES)]
        count = rate * _TONE_MS_PER_CHARACTER * len(word) // 1000
        fade = max(1, min(rate // 100, count // 2))
        turn = 2 * math.pi * pitch / rate
        result.extend(
            int(6000 * math.sin(turn * index) * min(1.0, index / fade, (count - index) / fade))
            for index in range(count)
        )
        result.extend(gap)
        if len(result) >= limit:
            break
    return pcm_of(result[:limit])
