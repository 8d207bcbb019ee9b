"""A microphone and a loudspeaker made of nothing: what is put in is heard, what comes out is kept.

    device = FakeDevice("question.wav")
    with Microphone(backend=device) as microphone, Speaker(backend=device) as speaker:
        device.advance(100)             # a tenth of a second passes, on this device only
        device.heard                    # what came out of the loudspeaker

Nothing happens between two calls of `advance`, so tests with it are exact; `run` lets time pass by itself.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from types import TracebackType

import attrs

from .pacing import Pacer
from .pcm import BYTES_PER_SAMPLE
from .ports import BlockSink, BlockSource, DeviceInfo
from .resampling import fitting, read_audio
from .wav import Wav, write_wav

__all__ = ["FakeDevice", "Sound"]

_SETTLE_S = 5.0
_THREAD = "dashscope_rt-fake-device"


@attrs.frozen(kw_only=True)
class Sound:
    """A stretch in which something sounded.

    Attributes:
        start_ms: When it began, on the device's clock.
        end_ms: When it ended.
    """

    start_ms: float
    end_ms: float


class FakeStream:
    """One opened side of a `FakeDevice`.

    Attributes:
        rate: Hz.
        block_ms: Length of its blocks.
        latency_ms: Of the device.
    """

    def __init__(self, device: FakeDevice, rate: int, block_ms: float) -> None:
        self._device = device
        self.rate = rate
        self.block_ms = block_ms
        self.latency_ms = device.latency_ms
        self.frames = max(1, round(rate * block_ms / 1000))
        self.count = 0
        self.began = 0.0
        self.running = False

    @property
    def due_ms(self) -> float:
        """When the next block is due."""
        return self.began + self.count * self.frames * 1000 / self.rate

    def start(self) -> None:
        """Let blocks flow from now on."""
        self.began, self.count, self.running = self._device.now_ms, 0, True

    def now(self) -> float:
        """Seconds on the device's clock."""
        return self._device.now_ms / 1000

    def close(self) -> None:
        """Stop."""
        self.running = False
        self._device._closed(self)


class FakeDevice:
    """A backend for `Microphone` and `Speaker` with a clock of its own.

    A block of the loudspeaker is asked for at the beginning of its time and sounds ``latency_ms`` later; a block of the
    microphone is delivered at the end of its time.

    Args:
        microphone: What it hears from its first moment on, followed by silence: a file's path, its bytes, or a `Wav`;
            None is silence only. See `say`.
        rate: Hz that it insists on, as hardware may; None takes any.
        latency_ms: Between asking for a block and its sound.
        name: As the device is called.

    Attributes:
        now_ms: Its clock.
    """

    def __init__(
        self,
        microphone: str | os.PathLike[str] | bytes | Wav | None = None,
        *,
        rate: int | None = None,
        latency_ms: float = 0.0,
        name: str = "fake device",
    ) -> None:
        self.now_ms = 0.0
        self.latency_ms = latency_ms
        self._name = name
        self._rate = rate
        # Guards what follows; `advance` calls microphones and speakers without it.
        self._lock = threading.Lock()
        self._to_say: list[Wav] = []
        self._said = bytearray()  # what the microphone is going to hear, at the stream's rate
        self._out = bytearray()
        self._out_rate = rate or 24_000
        self._sounds: list[Sound] = []
        self._inputs: list[tuple[FakeStream, BlockSink]] = []
        self._outputs: list[tuple[FakeStream, BlockSource]] = []
        self._advancing = threading.Lock()  # one at a time
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        if microphone is not None:
            self.say(microphone)

    # ---- Backend ----------------------------------------------------------------------------------------------

    def devices(self) -> Sequence[DeviceInfo]:
        """Itself."""
        return [DeviceInfo(id=0, name=self._name, inputs=1, outputs=1, default=frozenset({"input", "output"}))]

    def open_input(self, device: DeviceInfo, rate: int, block_ms: float, sink: BlockSink) -> FakeStream:
        """Open the microphone."""
        stream = FakeStream(self, self._rate or rate, block_ms)
        with self._lock:
            self._inputs.append((stream, sink))
        return stream

    def open_output(self, device: DeviceInfo, rate: int, block_ms: float, source: BlockSource) -> FakeStream:
        """Open the loudspeaker."""
        stream = FakeStream(self, self._rate or rate, block_ms)
        with self._lock:
            self._outputs.append((stream, source))
            self._out_rate = stream.rate
        return stream

    def _closed(self, stream: FakeStream) -> None:
        with self._lock:
            self._inputs = [each for each in self._inputs if each[0] is not stream]
            self._outputs = [each for each in self._outputs if each[0] is not stream]

    # ---- time -------------------------------------------------------------------------------------------------

    def advance(self, ms: float) -> None:
        """Let time pass, block by block.

        After each block of the microphone it waits until whoever reads the microphone has worked it off.
        """
        with self._advancing:
            until = self.now_ms + ms
            while (due := self._next(until)) is not None:
                stream, other = due
                if isinstance(other, tuple):
                    self._hear(stream, other[0])
                else:
                    self._play(stream, other)
            self.now_ms = until

    def _next(self, until: float) -> tuple[FakeStream, BlockSource | tuple[BlockSink]] | None:
        # A block of the loudspeaker is due at its beginning, one of the microphone at its end.
        with self._lock:
            due: list[tuple[float, int, FakeStream, BlockSource | tuple[BlockSink]]] = [
                (stream.due_ms, 0, stream, source) for stream, source in self._outputs if stream.running
            ]
            due += [
                (stream.due_ms + stream.frames * 1000 / stream.rate, 1, stream, (sink,))
                for stream, sink in self._inputs
                if stream.running
            ]
        # What is due at the very end belongs to the next advance() of a loudspeaker, and to this one of a microphone.
        able = [each for each in due if each[0] < until - 1e-6 or (each[1] and each[0] <= until + 1e-6)]
        if not able:
            return None
        at, _, stream, other = min(able, key=lambda each: each[:2])
        self.now_ms = max(self.now_ms, at)
        return stream, other

    def _hear(self, stream: FakeStream, sink: BlockSink) -> None:
        size = stream.frames * BYTES_PER_SAMPLE
        with self._lock:
            for wav in self._to_say:
                self._said += fitting(wav, stream.rate)
            self._to_say.clear()
            block = bytes(self._said[:size])
            del self._said[:size]
            stream.count += 1
        sink.put(block + bytes(size - len(block)))
        sink.settle(_SETTLE_S)

    def _play(self, stream: FakeStream, source: BlockSource) -> None:
        stream.count += 1
        starts = self.now_ms + self.latency_ms
        block = source.take(stream.frames, starts / 1000)
        with self._lock:
            self._out += block
            if any(block):
                ends = starts + stream.frames * 1000 / stream.rate
                if self._sounds and starts - self._sounds[-1].end_ms < 1e-6:
                    starts = self._sounds.pop().start_ms
                self._sounds.append(Sound(start_ms=starts, end_ms=ends))

    def run(self, speed: float = 1.0) -> FakeDevice:
        """Let time pass by itself, on a thread, until `stop` or the end of a ``with`` statement.

        Args:
            speed: 1.0 is real time, 10 ten times as fast.
        """
        if self._thread is not None:
            raise RuntimeError("the fake device runs already")
        self._stopped.clear()
        self._thread = threading.Thread(target=self._run, args=(speed,), name=_THREAD, daemon=True)
        self._thread.start()
        return self

    def _run(self, speed: float) -> None:
        pacer = Pacer(speed=speed, sleep=self._stopped.wait)
        while not self._stopped.is_set():
            pacer.wait(20)
            self.advance(20)

    def stop(self) -> None:
        """End what `run` began."""
        self._stopped.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(_SETTLE_S)

    def __enter__(self) -> FakeDevice:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # ---- mouth and ear ----------------------------------------------------------------------------------------

    def say(self, sound: str | os.PathLike[str] | bytes | Wav) -> None:
        """Let the microphone hear something, after what it is hearing already.

        Raises:
            ValueError: It is no audio file that can be read.
        """
        wav = sound if isinstance(sound, Wav) else read_audio(sound)
        with self._lock:
            self._to_say.append(wav)

    @property
    def still_to_say_ms(self) -> float:
        """How much of what was said the microphone has not heard yet, in ms."""
        with self._lock:
            rate = self._inputs[0][0].rate if self._inputs else self._rate or 16_000
            return sum(wav.duration_ms for wav in self._to_say) + len(self._said) * 500 / rate

    @property
    def heard(self) -> bytes:
        """All that came out of the loudspeaker since it was opened, silence too; PCM at `heard_rate`."""
        with self._lock:
            return bytes(self._out)

    @property
    def heard_rate(self) -> int:
        """Hz of `heard`."""
        return self._out_rate

    @property
    def sounds(self) -> list[Sound]:
        """When something came out that was not silence, to the block."""
        with self._lock:
            return list(self._sounds)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what came out of the loudspeaker as a WAV file.

        Raises:
            OSError: It cannot be written.
        """
        write_wav(path, self.heard, self.heard_rate)

    def __repr__(self) -> str:
        return f"<FakeDevice {self._name!r} at {self.now_ms:,.0f} ms>"
