"""PCM and WAV: nothing is lost, odd cuts are mended, foreign formats are refused with what to do."""

from __future__ import annotations

import io
import math
import struct
import wave
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashscope_rt.audio import Wav, chunks, duration_ms, level_db, mono, read_wav, silence, wav_bytes, write_wav

AUDIO = Path(__file__).parent / "audio"


@given(
    st.lists(st.binary(max_size=99)).filter(lambda p: sum(map(len, p)) % 2 == 0), st.sampled_from([8000, 16000, 24000])
)
def test_chunks_lose_nothing_and_end_at_samples(pieces: list[bytes], rate: int) -> None:
    out = list(chunks(pieces, 1, rate))
    assert b"".join(out) == b"".join(pieces)
    assert all(len(piece) == rate // 1000 * 2 for piece in out[:-1])
    assert all(len(piece) % 2 == 0 for piece in out)


def test_chunks_refuse_half_a_sample_at_the_end() -> None:
    with pytest.raises(ValueError, match="middle of a sample"):
        list(chunks(b"123", 100, 16000))


def test_silence_is_as_long_as_asked() -> None:
    assert duration_ms(len(silence(250, 24000)), 24000) == 250


def test_mono_is_the_mean_of_the_channels() -> None:
    assert mono(struct.pack("<4h", 100, 300, -2, -4), 2) == struct.pack("<2h", 200, -3)


def test_level_of_full_scale_and_of_nothing() -> None:
    assert level_db(struct.pack("<2h", 32767, -32767)) == pytest.approx(0, abs=0.01)
    assert level_db(bytes(20)) == -math.inf


@pytest.mark.parametrize("path", sorted(AUDIO.glob("*.wav")), ids=lambda path: path.stem)
def test_reads_what_the_standard_library_reads(path: Path) -> None:
    with wave.open(str(path)) as file:
        expected = Wav(pcm=file.readframes(file.getnframes()), rate=file.getframerate(), channels=file.getnchannels())
    assert read_wav(path) == expected


@given(st.binary(max_size=200).map(lambda b: b[: len(b) // 4 * 4]), st.sampled_from([1, 2]), st.integers(8000, 48000))
def test_written_wav_is_read_by_the_standard_library(pcm: bytes, channels: int, rate: int) -> None:
    with wave.open(io.BytesIO(wav_bytes(pcm, rate, channels))) as file:
        assert (file.readframes(99999), file.getframerate(), file.getnchannels()) == (pcm, rate, channels)


def test_written_file_reads_back(tmp_path: Path) -> None:
    write_wav(tmp_path / "a b ü.wav", b"\1\0\2\0", 24000)
    assert read_wav(tmp_path / "a b ü.wav") == Wav(pcm=b"\1\0\2\0", rate=24000)


def riff(*parts: tuple[bytes, bytes]) -> bytes:
    body = b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in parts)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def fmt(code: int = 1, bits: int = 16, channels: int = 1, extra: bytes = b"") -> tuple[bytes, bytes]:
    return b"fmt ", struct.pack("<HHIIHH", code, channels, 16000, 32000, 2, bits) + extra


def test_chunks_of_a_wav_may_come_in_any_order() -> None:
    assert read_wav(riff((b"LIST", b"odd"), fmt(), (b"data", b"\1\0"))).pcm == b"\1\0"
    assert read_wav(riff((b"data", b"\1\0"), fmt())).pcm == b"\1\0"


def test_extensible_format_is_read() -> None:
    guid = struct.pack("<HHIH", 22, 16, 4, 1) + bytes(14)
    assert read_wav(riff(fmt(code=0xFFFE, extra=guid), (b"data", b"\1\0"))).pcm == b"\1\0"


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_streamed_wav_without_a_length_is_read_to_its_end(size: int) -> None:
    data = riff(fmt()) + b"data" + struct.pack("<I", size) + b"\1\0\2\0"
    assert read_wav(data).pcm == b"\1\0\2\0"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"ID3 an mp3", "not a WAV file"),
        (riff(fmt(bits=24), (b"data", b"123")), "24-bit PCM"),
        (riff(fmt(code=3, bits=32), (b"data", b"1234")), "floating point"),
        (riff(fmt()), "without audio data"),
        (riff((b"data", b"12")), "without a format"),
        (riff(fmt(channels=0), (b"data", b"12")), "cannot be"),
    ],
)
def test_what_is_not_16_bit_pcm_is_refused_with_what_it_is(data: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_wav(data)


@given(st.binary(max_size=300))
def test_garbage_is_a_value_error_and_nothing_else(data: bytes) -> None:
    for candidate in (data, b"RIFF" + data[:4].ljust(4) + b"WAVE" + data):
        try:
            read_wav(candidate)
        except ValueError:
            pass
