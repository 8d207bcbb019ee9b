"""stream_audio and the pure helpers under it: nothing is lost, time does not drift, other rates and formats fit."""

from __future__ import annotations

import base64
import io
import itertools
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dashscope_rt as rt
from dashscope_rt.audio import (
    FakeDevice,
    Microphone,
    Pacer,
    Resampler,
    Wav,
    WavReader,
    WavWriter,
    chunks,
    gain,
    level_db,
    paced,
    read_audio,
    read_wav,
    resample,
    silence,
    stereo,
    wav_bytes,
)
from dashscope_rt.testing import Emulator

from .talk import MODEL, speech, tone

QUESTION = Path(__file__).parent.parent.parent / "samples" / "data" / "question.wav"


class Clock:
    """A clock that goes only when somebody sleeps, and a little late then."""

    def __init__(self, late: float = 0.0) -> None:
        self.now = 100.0
        self.slept: list[float] = []
        self._late = late

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds + self._late


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator
        emulator.check()


def opened(emulator: Emulator, **options: Any) -> rt.RealtimeSession:
    return rt.RealtimeClient("sk-test", url=emulator.url).session(MODEL, **options)


def audio_of(emulator: Emulator) -> bytes:
    records = [record for record in emulator.received if record.type == "input_audio_buffer.append"]
    return b"".join(base64.b64decode(record.event["audio"]) for record in records)


# stream_audio


def test_a_file_is_streamed_whole_and_followed_by_the_silence_that_ends_a_turn(emulator: Emulator) -> None:
    seen: list[tuple[float, float | None]] = []
    question = read_wav(QUESTION)
    vad = rt.ServerVad(silence_duration_ms=400)
    with opened(emulator, turn_detection=vad) as session, session.expect("response.done") as done:
        sent = session.stream_audio(QUESTION, pace=False, progress=lambda ms, total: seen.append((ms, total)))
        done.wait()
    total = question.duration_ms + 900
    assert sent == pytest.approx(total, abs=1)
    assert audio_of(emulator) == question.pcm + silence(900, 16_000)
    assert seen[-1] == (pytest.approx(total, abs=1), pytest.approx(total, abs=1))
    assert [ms for ms, _ in seen] == sorted(ms for ms, _ in seen)


def test_in_manual_mode_no_silence_is_added(emulator: Emulator) -> None:
    with opened(emulator, turn_detection=None) as session:
        session.stream_audio(speech(300), pace=False)
        session.wait_ack(session.commit())
    assert audio_of(emulator) == speech(300).pcm


def test_it_takes_real_time_unless_told_otherwise(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("dashscope_rt._session.saying.Pacer", lambda: Pacer(clock=clock, sleep=clock.sleep))
    with opened(emulator, turn_detection=None) as session:
        session.stream_audio(speech(1000), tail_ms=500)
    assert sum(clock.slept) == pytest.approx(1.4), "the last piece waits for nothing"


def test_pieces_of_any_length_and_stereo_and_bytes_are_streamed(emulator: Emulator) -> None:
    pcm = speech(500).pcm
    both = wav_bytes(stereo(pcm, pcm), 16_000, 2)
    with opened(emulator, turn_detection=None) as session:
        session.stream_audio((pcm[at : at + 333] for at in range(0, len(pcm), 333)), pace=False)
        session.stream_audio(both, pace=False)
        session.stream_audio(pcm, pace=False)
        session.wait_ack(session.commit())
    assert audio_of(emulator) == pcm * 3


def test_a_microphone_is_streamed_until_it_is_closed(emulator: Emulator) -> None:
    import threading

    device = FakeDevice(speech(200))
    with opened(emulator, turn_detection=None) as session, Microphone(backend=device) as microphone:
        streaming = threading.Thread(target=session.stream_audio, args=(microphone,))
        streaming.start()
        device.advance(400)
        microphone.close()
        streaming.join(5)
        session.wait_ack(session.commit())
    assert audio_of(emulator) == speech(200).pcm + silence(200, 16_000)


def test_a_file_of_another_rate_is_resampled(emulator: Emulator, tmp_path: Path) -> None:
    pytest.importorskip("soxr")
    path = tmp_path / "high.wav"
    path.write_bytes(wav_bytes(tone(1000, 44_100), 44_100))
    with opened(emulator, turn_detection=None) as session:
        turn = session.ask(path)
    heard = audio_of(emulator)
    assert len(heard) == pytest.approx(32_000, abs=4)
    assert level_db(heard) == pytest.approx(level_db(tone(1000)), abs=0.1)
    assert turn.text


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "MP3"])
def test_other_formats_are_read_with_the_extra(kind: str, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    numpy = pytest.importorskip("numpy")
    path = tmp_path / f"voice.{kind.lower()}"
    soundfile.write(path, numpy.frombuffer(tone(1000), dtype="<i2"), 16_000, format=kind)
    wav = read_audio(path)
    assert (wav.rate, wav.channels) == (16_000, 1)
    assert wav.duration_ms == pytest.approx(1000, abs=120)
    assert level_db(wav.pcm) == pytest.approx(level_db(tone(1000)), abs=1)


def test_without_the_extra_other_formats_and_rates_are_refused_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(ValueError, match=r"not a WAV file.*dashscope_rt\[audio\]"):
        read_audio(b"fLaC and so on")
    with pytest.raises(ImportError, match=r"8,000 Hz.*16,000 Hz.*dashscope_rt\[audio\]"):
        Resampler(8000, 16_000)
    assert Resampler(8000, 8000).feed(b"\1\0") == b"\1\0"


def test_what_is_no_audio_is_refused_by_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear model,")
    with pytest.raises(ValueError, match="letter.txt is not a WAV file"):
        read_audio(tmp_path / "letter.txt")


# Pacer


def test_a_pacer_does_not_drift_however_late_its_sleeps_are() -> None:
    clock = Clock(late=0.003)
    pacer = Pacer(clock=clock, sleep=clock.sleep)
    for _ in range(1001):
        pacer.wait(20)
    assert clock.now - 100 == pytest.approx(20.0, abs=0.004)


def test_who_falls_far_behind_does_not_catch_up_in_a_burst() -> None:
    clock = Clock()
    pacer = Pacer(clock=clock, sleep=clock.sleep, max_lag_ms=500)
    pacer.wait(100)
    clock.now += 0.3
    assert pacer.wait(100) == pytest.approx(200), "late, and the next one is not delayed"
    clock.now += 10
    pacer.wait(100)
    pacer.wait(100)
    assert clock.slept[-1] == pytest.approx(0.1)


def test_paced_pieces_come_no_faster_than_they_sound() -> None:
    clock = Clock()
    pieces = [silence(40, 8000)] * 26
    assert list(paced(pieces, 8000, pacer=Pacer(clock=clock, sleep=clock.sleep))) == pieces
    assert clock.now - 100 == pytest.approx(1.0)
    with pytest.raises(ValueError, match="speed"):
        Pacer(speed=0)


# Samples


def test_stereo_is_left_and_right_and_the_shorter_one_is_filled_up() -> None:
    assert stereo(b"\1\0\2\0", b"\3\0") == b"\1\0\3\0\2\0\0\0"


def test_gain_in_decibels_never_wraps_around() -> None:
    assert level_db(gain(tone(100), -20)) == pytest.approx(level_db(tone(100)) - 20, abs=0.01)
    assert gain(b"\xff\x7f\x00\x80", 6) == b"\xff\x7f\x00\x80"
    assert gain(tone(10), -math.inf) == silence(10, 16_000)


@pytest.mark.parametrize("size", [1, 77, 640, 9999])
def test_resampling_piece_by_piece_is_resampling_the_whole(size: int) -> None:
    pytest.importorskip("soxr")
    pcm = tone(1000, 24_000)
    pieces = Resampler(24_000, 16_000).run(pcm[at : at + size] for at in range(0, len(pcm), size))
    made = b"".join(pieces)
    whole = resample(pcm, 24_000, 16_000)
    assert len(made) == len(whole) == 32_000
    assert max(abs(a - b) for a, b in zip(memoryview(made).cast("h"), memoryview(whole).cast("h"), strict=True)) <= 2


def test_a_resampled_tone_is_the_same_tone() -> None:
    pytest.importorskip("soxr")
    made = memoryview(resample(tone(1000, 48_000, 1000), 48_000, 16_000)).cast("h")
    crossings = sum(1 for a, b in itertools.pairwise(made) if (a < 0) != (b < 0))
    assert crossings == pytest.approx(2000, abs=4)


# WAV piece by piece


def test_a_wav_written_in_pieces_is_whole_at_every_flush(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with WavWriter(path, 16_000) as writer:
        writer.write(b"\1\0\2\0")
        writer.flush()
        assert read_wav(path) == Wav(pcm=b"\1\0\2\0", rate=16_000)
        writer.write(b"\3\0")
        assert writer.duration_ms == pytest.approx(3 / 16)
    assert path.read_bytes() == wav_bytes(b"\1\0\2\0\3\0", 16_000)
    with WavWriter(tmp_path / "two.wav", 8000, 2) as writer, pytest.raises(ValueError, match="2 channel"):
        writer.write(b"\1\0")


def test_a_wav_that_was_never_finished_is_read_to_its_last_sample(tmp_path: Path) -> None:
    path = tmp_path / "dead.wav"
    writer = WavWriter(path, 16_000)
    writer.write(b"\1\0\2\0")
    writer._file.flush()  # and then the program dies
    assert read_wav(path).pcm == b"\1\0\2\0"
    with WavReader(path) as reader:
        assert (reader.total_ms, reader.read(1000), reader.read(1000)) == (None, b"\1\0\2\0", b"")
    writer.close()


def test_a_wav_file_object_is_written_where_it_stands_and_left_open() -> None:
    file = io.BytesIO()
    file.write(b"before")
    with WavWriter(file, 8000) as writer:
        writer.write(b"\1\0")
    assert file.getvalue() == b"before" + wav_bytes(b"\1\0", 8000)


def test_a_wav_is_read_in_blocks_from_a_pipe_too() -> None:
    class Pipe(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(1 if size == 1 else max(1, (size or 2) // 2) if (size or 0) > 100 else size)

        def seek(self, *_: Any) -> int:
            raise OSError("a pipe cannot seek")

    data = tone(100)
    body = wav_bytes(data, 16_000)
    with WavReader(Pipe(body)) as reader:
        assert reader.total_ms == 100
        assert list(reader.blocks(30)) == list(chunks(data, 30, 16_000))
    with WavReader(io.BytesIO(body + b"LIST")) as reader:
        assert b"".join(reader.blocks(30)) == data, "what follows the audio is no audio"


@pytest.mark.parametrize(("data", "says"), [(b"ID3", "not a WAV"), (wav_bytes(b"", 8000)[:36], "without audio")])
def test_what_is_no_wav_is_refused_before_anything_is_read(data: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=says):
        WavReader(path)
