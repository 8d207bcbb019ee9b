"""Audio in and answers out: whatever file it is becomes the session's PCM; no answer is ever written over."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

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
