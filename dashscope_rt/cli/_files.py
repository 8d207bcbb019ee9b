"""Audio in and answers out: whatever file it is becomes the session's PCM; no answer is ever written over."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click

import dashscope_rt as rt

RAW = (".pcm", ".raw")


def load_audio(path: Path, rate: int) -> bytes:
    """Read a file as mono PCM at ``rate``; ``.pcm`` and ``.raw`` are taken for just that.

    Raises:
        ValueError: It is no audio, or has none in it.
        ImportError: It has another rate and the extra ``audio`` is not installed.
        OSError: It cannot be read.
    """
    if path.suffix.lower() in RAW:
        pcm = path.read_bytes()
        if len(pcm) % 2:
            raise ValueError(f"{path} has {len(pcm)} bytes, which are no whole number of 16-bit samples")
    else:
        pcm = to_rate(rt.audio.read_audio(path), rate)
    if not pcm:
        raise ValueError(f"{path} holds no audio")
    return pcm


class Sound:
    """A sound file as it is sent: piece by piece, so that a long one does not fill the memory.

    WAV, raw PCM and stdin are read as they are needed, and so is everything the extra ``audio`` reads.

    Args:
        path: A file; ``-`` is stdin.
        rate: Hz of the PCM that comes out.

    Attributes:
        sent_ms: How much has come out so far.
        total_ms: Length; None where only the end tells.

    Raises:
        ValueError: It is no audio, or has none in it.
        OSError: It cannot be read.
    """

    def __init__(self, path: Path, rate: int) -> None:
        self._path = path
        self._rate = rate
        self.sent_ms = 0.0
        self.total_ms: float | None = None
        if str(path) == "-":
            self._source = pieces(sys.stdin.buffer, rate)
        elif path.suffix.lower() in RAW:
            if path.stat().st_size % 2:
                raise ValueError(f"{path} has {path.stat().st_size} bytes, which are no whole number of 16-bit samples")
            self.total_ms = rt.audio.duration_ms(path.stat().st_size, rate)
            self._source = self._read(path)
        else:
            own, channels, self.total_ms, blocks = _blocks(path)
            mono = (rt.audio.mono(block, channels) for block in blocks)
            self._source = rt.audio.Resampler(own, rate).run(mono)
        if self.total_ms == 0:
            raise ValueError(f"{path} holds no audio")

    def _read(self, path: Path) -> Iterator[bytes]:
        with path.open("rb") as file:
            yield from pieces(file, self._rate)

    def chunks(self, ms: int) -> Iterator[bytes]:
        """Mono PCM at the rate that was asked for, in pieces of ``ms``; the last may be shorter.

        Raises:
            ValueError: It is broken, or there was nothing in it after all.
        """
        for pcm in rt.audio.chunks(self._source, ms, self._rate):
            self.sent_ms += rt.audio.duration_ms(len(pcm), self._rate)
            yield pcm
        if not self.sent_ms:
            raise ValueError(f"{'stdin' if str(self._path) == '-' else self._path} holds no audio")


def _blocks(path: Path) -> tuple[int, int, float | None, Iterator[bytes]]:
    """Rate, channels, length in ms, and the samples as they are read."""
    try:
        with rt.audio.WavReader(path) as reader:
            return reader.rate, reader.channels, reader.total_ms, _wav_blocks(path)
    except ValueError:
        pass  # another format, or a WAV that soundfile understands
    try:
        soundfile: Any = importlib.import_module("soundfile")  # of the extra; it has no types
        with soundfile.SoundFile(path) as file:
            rate, channels, frames = file.samplerate, file.channels, file.frames
        return rate, channels, frames / rate * 1000, _other_blocks(soundfile, path, rate // 10)
    except (ImportError, RuntimeError):
        whole = rt.audio.read_audio(path)  # which says what is wrong, and what is wanted
        return whole.rate, whole.channels, whole.duration_ms, iter([whole.pcm])


def _wav_blocks(path: Path) -> Iterator[bytes]:
    with rt.audio.WavReader(path) as reader:
        yield from reader.blocks(100)


def _other_blocks(soundfile: Any, path: Path, frames: int) -> Iterator[bytes]:
    with soundfile.SoundFile(path) as file:
        for block in file.blocks(frames, dtype="int16"):
            yield block.tobytes()


def to_rate(wav: rt.audio.Wav, rate: int) -> bytes:
    """Return it as mono PCM at ``rate``."""
    return rt.audio.resample(wav.to_mono().pcm, wav.rate, rate)


def looks_like_audio(head: bytes) -> bool:
    """Whether what comes on stdin is sound rather than text."""
    if head[:4] == b"RIFF" or b"\0" in head:
        return True
    with contextlib.suppress(UnicodeDecodeError):
        head.decode()
        return False
    try:
        head[: max(0, len(head) - 3)].decode()  # a letter may be cut in two at the end
    except UnicodeDecodeError as error:
        return error.start < len(head) - 6
    return False


def peek(stream: BinaryIO) -> bytes:
    """The first bytes that come, left where they are; b"" at the end."""
    look = getattr(stream, "peek", None)
    return bytes(look(1)) if look is not None else b""


def pieces(stream: BinaryIO, rate: int) -> Iterator[bytes]:
    """PCM at ``rate`` from a stream that holds a WAV file or raw PCM, as it comes, in pieces of 100 ms or fewer.

    Raises:
        ValueError: The WAV file is not one that is taken.
        ImportError: It has another rate and the extra ``audio`` is not installed.
    """
    if peek(stream)[:4] == b"RIFF":
        reader = rt.audio.WavReader(stream)
        resampler = rt.audio.Resampler(reader.rate, rate)
        for block in reader.blocks(100):
            if pcm := resampler.feed(rt.audio.mono(block, reader.channels)):
                yield pcm
        if rest := resampler.end():
            yield rest
        return
    odd = b""
    read = getattr(stream, "read1", stream.read)
    while data := read(rate // 5):
        data = odd + data
        odd = data[len(data) - len(data) % 2 :]
        if whole := data[: len(data) - len(odd)]:
            yield whole


class Answers:
    """Keeps answers as WAV files: numbered in a folder, or ``name.wav``, ``name-2.wav``, … ; never over another file.

    Args:
        target: A folder (there, or ending in a slash), a file, or None to keep nothing.
    """

    def __init__(self, target: str | None) -> None:
        self._target = target
        if target is None:
            return
        path = Path(target)
        self._in_folder = path.is_dir() or target.endswith(("/", os.sep))
        if self._in_folder:
            path.mkdir(parents=True, exist_ok=True)
        elif not path.absolute().parent.is_dir():
            raise click.UsageError(f"there is no folder {path.parent} to put {path.name} into")

    def save(self, pcm: bytes, rate: int) -> Path | None:
        """Write one answer; returns where it went, None when nothing is kept or nothing was said.

        Raises:
            OSError: It cannot be written.
        """
        if self._target is None or not pcm:
            return None
        for path in self._names(Path(self._target)):
            with contextlib.suppress(FileExistsError):
                write_new(path, pcm, rate)
                return path
        return None

    def _names(self, path: Path) -> Iterator[Path]:
        if self._in_folder:
            yield from (path / f"answer-{number:03}.wav" for number in itertools.count(1))
        yield path
        yield from (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in itertools.count(2))


def write_new(path: Path, pcm: bytes, rate: int, *, force: bool = False) -> None:
    """Write a WAV file (or raw PCM into a ``.pcm``), whole or not at all.

    Raises:
        FileExistsError: There is such a file already, unless ``force``.
        OSError: It cannot be written.
    """
    data = pcm if path.suffix.lower() in RAW else rt.audio.wav_bytes(pcm, rate)
    with path.open("wb" if force else "xb") as file:
        try:
            file.write(data)
            file.flush()
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise


def to_stdout(pcm: bytes, rate: int) -> None:
    """Write a WAV file to stdout."""
    sys.stdout.buffer.write(rt.audio.wav_bytes(pcm, rate))
    sys.stdout.buffer.flush()
