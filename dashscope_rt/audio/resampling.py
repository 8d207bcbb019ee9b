"""Other sampling rates and other files, through the extra ``audio`` (soxr, soundfile, numpy), loaded when needed."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .pcm import BYTES_PER_SAMPLE, mono
from .wav import Wav, is_wav, read_wav


def need(module: str, purpose: str, extra: str = "audio") -> Any:
    """Import a library of an extra.

    Raises:
        ImportError: It is not installed; the message says what it is for and how to get it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f'{purpose} needs {module}: pip install "dashscope_rt[{extra}]"') from error


class Resampler:
    """Changes the sampling rate of a stream, piece by piece, without clicks between them. Not thread-safe.

    Where the rates are equal it gives back what it gets and needs nothing.

    Args:
        from_rate: Hz of what is fed in.
        to_rate: Hz of what comes out.
        channels: Interleaved.

    Raises:
        ImportError: The rates differ and the extra ``audio`` is not installed.
    """

    def __init__(self, from_rate: int, to_rate: int, channels: int = 1) -> None:
        self.from_rate, self.to_rate, self.channels = from_rate, to_rate, channels
        self._rest = b""
        self._stream: Any = None
        if from_rate != to_rate:
            purpose = f"audio of {from_rate:,} Hz where {to_rate:,} Hz are wanted"
            soxr = need("soxr", purpose)
            self._numpy = need("numpy", purpose)
            self._stream = soxr.ResampleStream(from_rate, to_rate, channels, dtype="int16", quality="HQ")

    def feed(self, pcm: bytes | bytearray | memoryview, *, last: bool = False) -> bytes:
        """Take the next samples and return what is ready; a little stays inside until more comes.

        Args:
            pcm: Any number of bytes; a sample cut in two is put together again.
            last: This is the end: everything comes out.
        """
        if self._stream is None and not self._rest and len(pcm) % (BYTES_PER_SAMPLE * self.channels) == 0:
            return bytes(pcm)
        data = self._rest + bytes(pcm)
        whole = len(data) - len(data) % (BYTES_PER_SAMPLE * self.channels)
        self._rest = b"" if last else data[whole:]
        if self._stream is None:
            return data[:whole]
        values = self._numpy.frombuffer(data[:whole], dtype="<i2")
        if self.channels > 1:
            values = values.reshape(-1, self.channels)
        made: bytes = self._stream.resample_chunk(values, last=last).astype("<i2", copy=False).tobytes()
        if last:
            self._stream.clear()
        return made

    def end(self) -> bytes:
        """Return what is still inside; the next `feed` begins a new stream."""
        return self.feed(b"", last=True)

    def run(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Resample a whole stream."""
        for pcm in pieces:
            if made := self.feed(pcm):
                yield made
        if made := self.end():
            yield made


def resample(pcm: bytes, from_rate: int, to_rate: int, channels: int = 1) -> bytes:
    """Return all of it at another rate; see `Resampler`."""
    return Resampler(from_rate, to_rate, channels).feed(pcm, last=True)


def read_audio(source: str | os.PathLike[str] | bytes | bytearray | BinaryIO) -> Wav:
    """Read an audio file: 16-bit WAV with nothing else, FLAC, OGG, MP3 and other WAV with the extra ``audio``.

    Args:
        source: Path, the file's bytes, or a binary file object.

    Raises:
        ValueError: It is no audio file that can be read, or only with the extra ``audio``, which is not installed.
        OSError: It cannot be read.
    """
    if isinstance(source, (bytes, bytearray)):
        data, name = bytes(source), "the audio"
    elif isinstance(source, (str, os.PathLike)):
        data, name = Path(source).read_bytes(), os.fspath(source)
    else:
        data, name = source.read(), str(getattr(source, "name", "the audio"))
    if is_wav(data):
        try:
            return read_wav(data)
        except ValueError as error:
            refusal = str(error).replace("the audio", name, 1)
    else:
        refusal = f"{name} is not a WAV file; convert it, for example with: ffmpeg -i IN -ar 16000 -ac 1 OUT.wav"
    try:
        soundfile = importlib.import_module("soundfile")
    except ImportError:
        raise ValueError(f'{refusal}; or, for FLAC, OGG, MP3 and more: pip install "dashscope_rt[audio]"') from None
    import io

    try:
        values, rate = soundfile.read(io.BytesIO(data), dtype="int16", always_2d=True)
    except soundfile.LibsndfileError as error:
        why = str(error).rpartition(": ")[2]  # without the object it was reading from
        raise ValueError(f"{refusal} ({why})") from None
    return Wav(pcm=values.astype("<i2", copy=False).tobytes(), rate=int(rate), channels=int(values.shape[1]))


def fitting(wav: Wav, rate: int) -> bytes:
    """Return it as mono PCM at ``rate``; an ImportError names the extra that resampling needs."""
    return resample(mono(wav.pcm, wav.channels), wav.rate, rate)
