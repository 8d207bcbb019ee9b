"""What audio may be given as, and how it becomes pieces of mono PCM at the session's rate."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs

from ..audio.pcm import chunks, duration_ms, mono
from ..audio.resampling import Resampler, read_audio
from ..audio.wav import Wav, is_wav
from ..audio.wav_stream import WavReader

Progress = Callable[[float, "float | None"], object]


@attrs.frozen(kw_only=True)
class Source:
    """Audio to send.

    Attributes:
        pieces: Mono PCM at the session's rate; consumed once.
        total_ms: Length, where it is known.
        live: It comes in real time by itself.
    """

    pieces: Iterable[bytes]
    total_ms: float | None = None
    live: bool = False


def read_source(audio: Any, rate: int, rates: tuple[int, ...], chunk_ms: float) -> Source:
    """Understand what was given.

    Args:
        audio: Path or bytes of an audio file, a `Wav`, raw samples, an iterable of raw samples, or a `Microphone`.
        rate: Hz the session takes.
        rates: Hz that sessions with this model can take, for the sentence that refuses.
        chunk_ms: Length of a piece; the last may be shorter.

    Raises:
        ValueError: It cannot be read, is empty, or has another rate and the extra ``audio`` is not installed.
        TypeError: It is nothing of the kind.
        OSError: A file cannot be read.
    """
    if isinstance(audio, (str, os.PathLike)):
        must_exist(audio)
        return _file(audio, rate, rates, chunk_ms)
    if isinstance(audio, (bytes, bytearray)) and is_wav(audio):
        audio = read_audio(audio)
    if isinstance(audio, Wav):
        return _whole(audio, "the audio", rate, rates, chunk_ms)
    if isinstance(audio, (bytes, bytearray, memoryview)):
        if not len(audio):
            raise ValueError("the audio is empty")
        if len(audio) % 2:
            raise ValueError(f"the audio has {len(audio):,} bytes, which ends in the middle of a 16-bit sample")
        return Source(pieces=chunks(audio, chunk_ms, rate), total_ms=duration_ms(len(audio), rate))
    if isinstance(audio, Iterable):
        own = getattr(audio, "rate", None)
        pieces: Iterable[bytes] = audio
        if isinstance(own, int) and own != rate:
            pieces = _resampler("the source", own, rate, rates).run(audio)
        live = bool(getattr(audio, "live", False))
        return Source(pieces=pieces if live else chunks(pieces, chunk_ms, rate), live=live)
    raise TypeError(
        f"audio must be an audio file's path or bytes, raw samples, or an iterable of raw samples, not"
        f" {type(audio).__name__}"
    )


def pictures(images: Any) -> tuple[Any, ...]:
    """Return the pictures as a tuple; one alone need not be in a list."""
    if images is None:
        return ()
    alone = isinstance(images, (str, bytes, bytearray, os.PathLike)) or hasattr(images, "read")
    alone = alone or hasattr(images, "size")  # Pillow, numpy
    return (images,) if alone else tuple(images)


def must_exist(path: str | os.PathLike[str]) -> None:
    """See that a file of the question's is there.

    Raises:
        FileNotFoundError: It is not; where the name looks like a sentence, the message says where sentences go.
    """
    place = Path(path)
    try:
        if place.exists():
            return
    except (OSError, ValueError):  # no path at all: much too long, or with a NUL in it
        pass
    looks_written = isinstance(path, str) and (" " in path.strip() or not place.suffix)
    hint = "; a written question goes into text=…" if looks_written else ""
    raise FileNotFoundError(errno.ENOENT, f"no such file{hint}", os.fspath(path))


def _file(path: str | os.PathLike[str], rate: int, rates: tuple[int, ...], chunk_ms: float) -> Source:
    name = os.fspath(path)
    try:
        reader = WavReader(path)
    except ValueError:  # another format, or a WAV that must be read whole; what is wrong with it is told then
        return _whole(read_audio(path), name, rate, rates, chunk_ms)
    with reader:
        total, own = reader.total_ms, reader.rate
    if total == 0:
        raise ValueError(f"{name} holds no audio")
    resampler = _resampler(name, own, rate, rates)
    return Source(pieces=chunks(resampler.run(_stream(path)), chunk_ms, rate), total_ms=total)


def _stream(path: str | os.PathLike[str]) -> Iterator[bytes]:
    with WavReader(path) as reader:
        for pcm in reader.blocks(100):
            yield mono(pcm, reader.channels)


def _whole(wav: Wav, name: str, rate: int, rates: tuple[int, ...], chunk_ms: float) -> Source:
    if not wav.pcm:
        raise ValueError(f"{name} holds no audio")
    pcm = _resampler(name, wav.rate, rate, rates).feed(mono(wav.pcm, wav.channels), last=True)
    return Source(pieces=chunks(pcm, chunk_ms, rate), total_ms=wav.duration_ms)


def _resampler(name: str, own: int, rate: int, rates: tuple[int, ...]) -> Resampler:
    try:
        return Resampler(own, rate)
    except ImportError as error:
        others = ", ".join(f"{other:,}" for other in rates)
        raise ValueError(
            f"{name} has {own:,} Hz and this session takes {rate:,} Hz: convert it, open the session with"
            f' input_audio_format=AudioFormat(sample_rate=…), one of {others}, or: pip install "dashscope_rt[audio]"'
        ) from error
