"""WAV piece by piece: a writer whose file is whole at any time, a reader that never holds more than it gives."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

from .pcm import BYTES_PER_SAMPLE, duration_ms
from .wav import check_format, wav_bytes

_LARGEST = 0xFFFFFFFF - 64
_HEAD_LIMIT = 16 * 1024 * 1024  # bytes of chunks before the audio; more is no WAV file


def _opened(file: str | os.PathLike[str] | BinaryIO, mode: str) -> BinaryIO:
    if isinstance(file, (str, os.PathLike)):
        return cast("BinaryIO", Path(file).open(mode))
    return file


class WavWriter:
    """Writes 16-bit PCM as it comes. Not thread-safe.

    The lengths in the header are brought up to date by `flush` and `close`; a program that dies before leaves a file
    that says it has no end, which `read_wav` and most players read to its last byte.

    Args:
        target: A path, or a binary file object that can seek (it is not closed).
        rate: Hz.
        channels: Interleaved.

    Raises:
        OSError: It cannot be written.
    """

    def __init__(self, target: str | os.PathLike[str] | BinaryIO, rate: int, channels: int = 1) -> None:
        self.rate, self.channels = rate, channels
        self.bytes_written = 0
        self._owned = isinstance(target, (str, os.PathLike))
        self._file = _opened(target, "wb")
        self._start = 0 if self._owned else self._file.tell()
        head = wav_bytes(b"", rate, channels)
        self._file.write(head[:4] + b"\xff\xff\xff\xff" + head[8:-4] + b"\xff\xff\xff\xff")

    @property
    def duration_ms(self) -> float:
        """How much was written, in ms."""
        return duration_ms(self.bytes_written, self.rate, self.channels)

    def write(self, pcm: bytes) -> None:
        """Add samples.

        Raises:
            ValueError: The piece ends in the middle of a sample frame, or the file would be larger than WAV can say.
            OSError: It cannot be written.
        """
        if len(pcm) % (BYTES_PER_SAMPLE * self.channels):
            raise ValueError(f"{len(pcm)} bytes are no whole number of 16-bit samples of {self.channels} channel(s)")
        if self.bytes_written + len(pcm) > _LARGEST:
            raise ValueError("a WAV file can hold 4 GiB; begin another one")
        self._file.write(pcm)
        self.bytes_written += len(pcm)

    def flush(self) -> None:
        """Bring the header up to date and hand everything to the operating system."""
        end = self._file.tell()
        for at, value in ((4, 36 + self.bytes_written), (40, self.bytes_written)):
            self._file.seek(self._start + at)
            self._file.write(struct.pack("<I", value))
        self._file.seek(end)
        self._file.flush()

    def close(self) -> None:
        """Finish the file; may be called again."""
        if not self._file.closed:
            self.flush()
            if self._owned:
                self._file.close()

    def __enter__(self) -> WavWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class WavReader:
    """Reads a WAV file of 16-bit PCM piece by piece; the format must come before the audio. Not thread-safe.

    Attributes:
        rate: Hz.
        channels: Interleaved.
        total_ms: Length, in ms; None where the header does not say (a file that is still being written).

    Args:
        source: A path, or a binary file object, which need not seek (it is not closed).

    Raises:
        ValueError: It is no WAV file, not 16-bit PCM, or its format comes after its audio (`read_wav` takes that).
        OSError: It cannot be read.
    """

    def __init__(self, source: str | os.PathLike[str] | BinaryIO) -> None:
        self._owned = isinstance(source, (str, os.PathLike))
        self._file = _opened(source, "rb")
        self._name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the audio"
        try:
            self.channels, self.rate, size = self._find_audio()
        except BaseException:
            self.close()
            raise
        self._left = size
        self.total_ms = None if size is None else duration_ms(size, self.rate, self.channels)

    def _find_audio(self) -> tuple[int, int, int | None]:
        head = self._file.read(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            raise ValueError(f"{self._name} is not a WAV file")
        form: bytes | None = None
        seen = 0
        while len(chunk := self._file.read(8)) == 8 and seen < _HEAD_LIMIT:
            kind, size = chunk[:4], struct.unpack_from("<I", chunk, 4)[0]
            if kind == b"data":
                if form is None:
                    raise ValueError(f"the format of {self._name} comes after its audio: read it whole, with read_wav")
                channels, rate = check_format(form, self._name)
                return channels, rate, None if size in (0, 0xFFFFFFFF) else size
            seen += size
            body = self._file.read(min(size + size % 2, _HEAD_LIMIT))
            if kind == b"fmt ":
                form = body[:size]
        raise ValueError(f"{self._name} is a WAV file without audio data")

    def read(self, ms: float) -> bytes:
        """Return the next ``ms`` milliseconds, fewer at the end, b"" after it."""
        frame = BYTES_PER_SAMPLE * self.channels
        wanted = frame * max(1, round(self.rate * ms / 1000))
        if self._left is not None:
            wanted = min(wanted, self._left)
        pcm = bytearray()
        while len(pcm) < wanted and (piece := self._file.read(wanted - len(pcm))):  # a pipe gives less than asked for
            pcm += piece
        if self._left is not None:
            self._left -= len(pcm)
        return bytes(pcm[: len(pcm) - len(pcm) % frame])

    def blocks(self, ms: float) -> Iterator[bytes]:
        """Yield pieces of ``ms`` milliseconds until the end."""
        while pcm := self.read(ms):
            yield pcm

    def close(self) -> None:
        """Close the file if this opened it."""
        if self._owned:
            self._file.close()

    def __enter__(self) -> WavReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
