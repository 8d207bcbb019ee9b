"""Microphone and Speaker on a fake device, and on a stub of sounddevice's interface."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import types
from typing import Any

import pytest

from dashscope_rt.audio import FakeDevice, Microphone, Speaker, Wav, level_db, list_devices
from dashscope_rt.audio.ports import DeviceInfo, choose
from tests.client.wire import Background
from tests.peer import SOON

from .talk import BLOCK, START, speech, tone

PCM = tone(1000, 24_000)


def speaker(device: FakeDevice, **options: Any) -> Speaker:
    return Speaker(backend=device, block_ms=BLOCK, start_ms=START, **options).open()


# The jitter buffer


def test_audio_that_trickles_in_begins_to_sound_within_the_threshold_and_one_block() -> None:
    device = FakeDevice()
    out = speaker(device)
    device.advance(105)
    for at in range(0, 480 * 20, 480):
        out.write(PCM[at * 2 : at * 2 + 960], "r")  # 20 ms of audio every 20 ms
        device.advance(20)
    assert START - BLOCK <= device.sounds[0].start_ms - 105 <= START + BLOCK
    assert out.underruns == 0
    out.close()


def test_less_than_the_threshold_sounds_when_its_source_ends_or_when_it_has_waited_for_so_long() -> None:
    device = FakeDevice()
    out = speaker(device)
    out.write(PCM[:960], "a")
    out.end("a")
    device.advance(2 * BLOCK)
    assert len(device.sounds) == 1
    out.write(PCM[:960], "b")
    device.advance(START)
    assert len(device.sounds) == 1
    device.advance(BLOCK)
    assert len(device.sounds) == 2
    out.close()


def test_an_underrun_is_counted_once_and_filled_up_to_the_threshold_again() -> None:
    device = FakeDevice()
    out = speaker(device)
    out.write(PCM[: 100 * 48], "r")
    device.advance(300)
    assert out.underruns == 1
    out.write(PCM[: 40 * 48], "r")
    device.advance(20)
    assert len(device.sounds) == 1, "40 ms are less than the threshold"
    out.write(PCM[: 40 * 48], "r")
    out.end("r")
    device.advance(300)
    assert len(device.sounds) == 2
    assert out.underruns == 1, "the end of a source is no underrun"
    assert out.heard_ms("r") == 180
    out.close()


def test_sources_sound_one_after_the_other_and_a_stopped_one_never_again() -> None:
    device = FakeDevice()
    out = speaker(device)
    assert out.write(PCM[:9600], "a")
    assert out.write(PCM[:9600], "b")
    device.advance(100)
    assert out.stop("a") == ["a"]
    assert not out.write(PCM, "a")
    device.advance(1000)
    assert (out.heard_ms("a"), out.heard_ms("b")) == (100, 200)
    out.stop()
    assert out.write(PCM, "c"), "a new source sounds"
    assert out.write(PCM), "and so does audio that names none"
    out.close()


def test_a_source_can_be_stopped_before_its_first_audio() -> None:
    device = FakeDevice()
    with contextlib.closing(speaker(device)) as out:
        out.stop("r")
        assert not out.write(PCM, "r")


def test_muted_time_goes_on() -> None:
    device = FakeDevice()
    out = speaker(device)
    out.muted = True
    out.write(PCM, "r")
    device.advance(500)
    assert device.sounds == []
    assert out.heard_ms("r") == 500
    out.close()


def test_heard_takes_the_latency_of_the_device_off() -> None:
    device = FakeDevice(latency_ms=100)
    out = speaker(device)
    out.write(PCM, "r")
    device.advance(60)
    assert (out.given_ms("r"), out.heard_ms("r"), out.playhead.sounding) == (60, 0, False)
    device.advance(100)
    assert (out.given_ms("r"), out.heard_ms("r"), out.playhead.sounding) == (160, 60, True)
    assert device.sounds[0].start_ms == 100
    out.stop()
    device.advance(1000)
    assert out.heard_ms("r") == 160
    assert out.playhead.sounding is False
    out.close()


def test_the_speaker_says_when_it_is_silent() -> None:
    device = FakeDevice()
    with contextlib.closing(speaker(device)) as out:
        assert out.wait_silent(SOON)
        assert out.quiet_ms == math.inf
        out.write(PCM[:960], "r")
        assert not out.wait_silent(0)
        out.end("r")
        device.advance(100)
        assert out.wait_silent(SOON)
        assert out.quiet_ms == 80


def test_what_is_still_on_its_way_through_the_device_is_not_silence_yet() -> None:
    device = FakeDevice(latency_ms=100)
    with contextlib.closing(speaker(device)) as out:
        out.write(PCM[:960], "r")  # 20 ms at 24,000 Hz
        out.end("r")
        device.advance(40)
        assert (out.unheard(), out.playhead.sounding) == ([], False)
        assert not out.wait_silent(0)
        device.advance(100)
        assert out.wait_silent(0)


def test_who_waits_for_silence_is_woken_by_the_blocks_by_a_stop_and_by_the_end() -> None:
    device = FakeDevice()
    with contextlib.closing(speaker(device)) as out:
        for enough in (lambda: device.advance(2000), out.stop, out.close):
            out.write(PCM)
            out.end()
            waiting = Background(out.wait_silent)
            assert waiting.running
            enough()
            device.advance(1000)
            assert waiting.result() is True


def test_a_closed_speaker_takes_nothing() -> None:
    out = Speaker(backend=FakeDevice())
    assert not out.write(PCM)
    out.open()
    with pytest.raises(RuntimeError, match="open already"):
        out.open()
    out.close()
    out.close()
    assert not out.write(PCM)


# The microphone


def test_the_microphone_gives_what_is_said_and_ends_when_it_is_closed() -> None:
    device = FakeDevice(speech(200))
    heard: list[bytes] = []
    with Microphone(backend=device) as microphone:
        reader = threading.Thread(target=lambda: heard.extend(microphone))
        reader.start()
        device.advance(300)
    reader.join(SOON)
    assert b"".join(heard) == speech(200).pcm + bytes(3200)
    assert microphone.dropped_ms == 0


def test_what_nobody_reads_is_kept_for_ten_seconds_and_counted_after() -> None:
    device = FakeDevice()
    with Microphone(backend=device) as microphone:
        device.advance(10_000)
        assert microphone.dropped_ms == 0
        device.say(speech(500))
        device.advance(500)
        assert microphone.dropped_ms == 500
    assert len(b"".join(microphone._blocks.get_nowait()[0] for _ in range(500))) == 10_000 * 32  # type: ignore[index]


def test_the_level_is_that_of_the_last_block() -> None:
    device = FakeDevice(Wav(pcm=b"\xff\x7f" * 320, rate=16_000))
    with Microphone(backend=device) as microphone:
        device.advance(40)
        blocks = iter(microphone)
        next(blocks)
        assert microphone.level_db == pytest.approx(0, abs=0.01)
        next(blocks)
        assert microphone.level_db == -math.inf


def test_a_microphone_that_is_not_open_says_so() -> None:
    with pytest.raises(RuntimeError, match="not open"):
        next(iter(Microphone(backend=FakeDevice())))


# Which device

TWO = (
    DeviceInfo(id=0, name="HDA Intel: Analog", inputs=2, outputs=2, default=frozenset({"input"})),
    DeviceInfo(id=1, name="Jabra Evolve (USB)", inputs=1, outputs=2, default=frozenset({"output"})),
    DeviceInfo(id=2, name="Jabra Evolve (HDMI)", inputs=0, outputs=2),
)


@pytest.mark.parametrize(
    ("wanted", "kind", "found"),
    [(None, "input", 0), (None, "output", 1), ("usb", "input", 1), ("jabra", "input", 1), (2, "output", 2)],
)
def test_a_device_is_chosen_by_part_of_its_name_its_number_or_by_the_machine(
    wanted: Any, kind: Any, found: int
) -> None:
    assert choose(TWO, wanted, kind).id == found


@pytest.mark.parametrize(
    ("devices", "wanted", "says"),
    [
        (TWO, "bose", "there is no speaker 'bose'; there are 0: HDA.*; 1: Jabra.*; 2: Jabra"),
        (TWO, "jabra", "more than one speaker: 1: Jabra .USB.; 2: Jabra .HDMI."),
        ((), None, "this machine has no speaker"),
    ],
)
def test_a_device_that_is_not_there_is_refused_with_those_that_are(devices: Any, wanted: Any, says: str) -> None:
    with pytest.raises(LookupError, match=says.replace("Jabra .", "Jabra Evolve .")):
        choose(devices, wanted, "output")


# sounddevice


class Library(types.ModuleType):
    """What this package uses of sounddevice, with one device that only does 48,000 Hz."""

    PortAudioError = type("PortAudioError", (Exception,), {})

    def __init__(self) -> None:
        super().__init__("sounddevice")
        self.default = types.SimpleNamespace(device=[0, 0])
        self.streams: list[Any] = []
        library = self

        class Stream:
            latency = 0.01

            def __init__(self, **options: Any) -> None:
                self.options = options
                self.time = 0.0
                self.closed = False
                self.calls: list[str] = []
                library.streams.append(self)

            def start(self) -> None:
                self.calls.append("start")

            def abort(self) -> None:
                self.calls.append("abort")

            def close(self) -> None:
                self.closed = True

        self.RawInputStream = self.RawOutputStream = Stream

    def query_devices(self, device: int | None = None) -> Any:
        one = {
            "name": "Built-in Audio",
            "max_input_channels": 2,
            "max_output_channels": 2,
            "default_samplerate": 48000.0,
        }
        return one if device is not None else [one]

    def check_input_settings(self, *, device: int, channels: int, dtype: str, samplerate: int) -> None:
        assert (device, channels, dtype) == (0, 1, "int16")
        if samplerate != 48000:
            raise self.PortAudioError("Invalid sample rate")

    check_output_settings = check_input_settings


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    monkeypatch.setitem(sys.modules, "sounddevice", made)
    return made


def test_hardware_is_opened_at_its_own_rate_in_blocks_of_mono_samples(library: Library) -> None:
    pytest.importorskip("soxr")
    assert [device.name for device in list_devices()] == ["Built-in Audio"]
    with Speaker("built-in") as out:
        (stream,) = library.streams
        options = dict(stream.options)
        callback = options.pop("callback")
        assert options == {
            "device": 0, "samplerate": 48000, "blocksize": 960, "channels": 1, "dtype": "int16", "latency": "low",
        }  # fmt: skip
        out.write(PCM, "r")
        out.end("r")
        block = bytearray(1920)
        callback(block, 960, types.SimpleNamespace(outputBufferDacTime=0.1), None)
        assert any(block)
        stream.time = 0.11
        assert out.heard_ms("r") == pytest.approx(10)
    assert (stream.calls, stream.closed) == (["start", "abort"], True)


def test_what_hardware_hears_is_resampled_to_what_is_wanted(library: Library) -> None:
    pytest.importorskip("soxr")
    with Microphone() as microphone:
        callback = library.streams[0].options["callback"]
        for at in range(50):
            callback(memoryview(tone(1000, 48_000))[at * 1920 : (at + 1) * 1920], 960, None, None)
        heard = bytearray()
        for pcm in microphone:
            heard += pcm
            if len(heard) >= 950 * 32:  # a little stays in the resampler
                break
    assert level_db(heard) == pytest.approx(level_db(tone(1000)), abs=0.1)


@pytest.mark.parametrize(("missing", "says"), [(ImportError, r"dashscope_rt\[audio\]"), (OSError, "libportaudio2")])
def test_without_the_extra_or_its_library_it_says_what_to_install(
    missing: type[Exception], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dashscope_rt.audio import resampling

    def refuse(name: str) -> Any:
        raise missing("PortAudio library not found")

    monkeypatch.setattr(resampling.importlib, "import_module", refuse)  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match=says):
        Microphone().open()


def test_a_fake_device_can_run_by_itself() -> None:
    with FakeDevice() as device, Speaker(backend=device) as out:
        device.run(speed=50)
        out.write(PCM, "r")
        out.end("r")
        assert out.wait_silent(SOON)
        assert out.heard_ms("r") == 1000
        with pytest.raises(RuntimeError, match="runs already"):
            device.run()
