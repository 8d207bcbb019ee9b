"""WAV files: read whatever order their chunks come in, write what every player opens.

The standard library's ``wave`` refuses WAVE_FORMAT_EXTENSIBLE before Python 3.12 and trusts the length in a header
that a streaming writer never went back to correct; recorders make both.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

import attrs

from .pcm import duration_ms, mono

_PCM, _EXTENSIBLE = 1, 0xFFFE


@attrs.frozen(kw_only=True)
class Wav:
    """Audio of a WAV file.

    Attributes:
        pcm: Signed 16-bit little-endian samples, interleaved.
        rate: Hz.
        channels: 1 is mono.
    """

    pcm: bytes = attrs.field(repr=lambda pcm: f"<{len(pcm)} bytes>")
    rate: int
    channels: int = 1

    @property
    def duration_ms(self) -> float:
        """Length in ms."""
        return duration_ms(len(self.pcm), self.rate, self.channels)

    def to_mono(self) -> Wav:
        """Return it with one channel."""
        return self if self.channels == 1 else Wav(pcm=mono(self.pcm, self.channels), rate=self.rate)


def is_wav(data: bytes | bytearray | memoryview) -> bool:
    """Whether these bytes begin like a WAV file."""
    head = bytes(data[:12])
    return head[:4] == b"RIFF" and head[8:12] == b"WAVE"


def read_wav(source: str | os.PathLike[str] | bytes | bytearray | BinaryIO) -> Wav:
    """Read a WAV file of 16-bit PCM.

    Args:
        source: Path, the file's bytes, or a binary file object.

    Raises:
        ValueError: It is no WAV file, or not 16-bit PCM; the message says what it is and what to do.
        OSError: It cannot be read.
    """
    if isinstance(source, (bytes, bytearray)):
        data, name = bytes(source), "the audio"
    elif isinstance(source, (str, os.PathLike)):
        data, name = Path(source).read_bytes(), os.fspath(source)
    else:
        data, name = source.read(), str(getattr(source, "name", "the audio"))
    if not is_wav(data):
        raise ValueError(
            f"{name} is not a WAV file; convert it, for example with: ffmpeg -i IN -ar 16000 -ac 1 OUT.wav"
        )
    form: bytes | None = None
    at = 12
    while at + 8 <= len(data):
        kind, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        body = at + 8
        if kind == b"fmt ":
            form = data[body : body + size]
        elif kind == b"data":
            if form is None:  # the format follows the data: rare, legal enough to look for
                form = _later_format(data, body + size + size % 2)
            channels, rate = check_format(form, name)
            # 0 and 0xFFFFFFFF are what streaming writers leave there: then the rest of the file is the audio.
            end = len(data) if size in (0, 0xFFFFFFFF) or body + size > len(data) else body + size
            pcm = data[body:end]
            return Wav(pcm=pcm[: len(pcm) - len(pcm) % (2 * channels)], rate=rate, channels=channels)
        at = body + size + size % 2
    raise ValueError(f"{name} is a WAV file without audio data")


def _later_format(data: bytes, at: int) -> bytes:
    while at + 8 <= len(data):
        size = struct.unpack_from("<I", data, at + 4)[0]
        if data[at : at + 4] == b"fmt ":
            return data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    return b""


def check_format(form: bytes, name: str) -> tuple[int, int]:
    """Return channels and rate of a ``fmt `` chunk; a ValueError says what it is when it is not 16-bit PCM."""
    if len(form) < 16:
        raise ValueError(f"{name} is a WAV file without a format chunk")
    code, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", form)
    if code == _EXTENSIBLE and len(form) >= 26:
        code = struct.unpack_from("<H", form, 24)[0]
    if code != _PCM or bits != 16:
        what = {3: "floating point", 6: "A-law", 7: "µ-law", _PCM: f"{bits}-bit PCM"}.get(code, f"format {code}")
        raise ValueError(
            f"{name} holds {what}; only 16-bit PCM is taken: convert it, for example with:"
            " ffmpeg -i IN -c:a pcm_s16le -ar 16000 -ac 1 OUT.wav"
        )
    if not channels or not rate:
        raise ValueError(f"{name} is a WAV file with {channels} channels at {rate} Hz, which cannot be")
    return channels, rate


def wav_bytes(pcm: bytes, rate: int, channels: int = 1) -> bytes:
    """Return a WAV file, as bytes, of 16-bit PCM."""
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", 36 + len(pcm), b"WAVE",
        b"fmt ", 16, _PCM, channels, rate, rate * channels * 2, channels * 2, 16,
        b"data", len(pcm),
    )  # fmt: skip
    return head + pcm


def write_wav(path: str | os.PathLike[str], pcm: bytes, rate: int, channels: int = 1) -> None:
    """Write 16-bit PCM as a WAV file.

    Raises:
        OSError: It cannot be written.
    """
    Path(path).write_bytes(wav_bytes(pcm, rate, channels))
