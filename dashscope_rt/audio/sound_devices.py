"""The machine's own hardware, through sounddevice and PortAudio; loaded when a device is opened."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from .ports import BlockSink, BlockSource, DeviceInfo
from .resampling import need

_log = logging.getLogger("dashscope_rt")


class SoundDevices:
    """The hardware.

    Raises:
        ImportError: sounddevice or the PortAudio library is not installed; the message says what to do.
    """

    def __init__(self) -> None:
        try:
            self._library = need("sounddevice", "a microphone or a speaker")
        except OSError as error:
            raise ImportError(
                "sounddevice found no PortAudio library; on Debian and Ubuntu: apt-get install libportaudio2"
            ) from error

    def devices(self) -> Sequence[DeviceInfo]:
        """All devices the machine has now."""
        chosen = self._library.default.device
        defaults = {"input": chosen[0], "output": chosen[1]}
        return [
            DeviceInfo(
                id=index,
                name=str(found["name"]),
                inputs=int(found["max_input_channels"]),
                outputs=int(found["max_output_channels"]),
                default=frozenset(kind for kind, number in defaults.items() if number == index),
            )
            for index, found in enumerate(self._library.query_devices())
        ]

    def _rate(self, check: Callable[..., object], device: DeviceInfo, wanted: int) -> int:
        try:
            check(device=device.id, channels=1, dtype="int16", samplerate=wanted)
        except (self._library.PortAudioError, ValueError):
            return round(float(self._library.query_devices(device.id)["default_samplerate"]))
        return wanted

    def open_input(self, device: DeviceInfo, rate: int, block_ms: float, sink: BlockSink) -> SoundStream:
        """Open a microphone."""
        rate = self._rate(self._library.check_input_settings, device, rate)

        def heard(data: Any, _frames: int, _time: Any, _status: Any) -> None:  # PortAudio's thread
            sink.put(bytes(data))

        return self._open(self._library.RawInputStream, device, rate, block_ms, heard)

    def open_output(self, device: DeviceInfo, rate: int, block_ms: float, source: BlockSource) -> SoundStream:
        """Open a speaker."""
        rate = self._rate(self._library.check_output_settings, device, rate)

        def wanted(data: Any, frames: int, time: Any, _status: Any) -> None:  # PortAudio's thread
            data[:] = source.take(frames, time.outputBufferDacTime)

        return self._open(self._library.RawOutputStream, device, rate, block_ms, wanted)

    def _open(
        self, kind: Callable[..., Any], device: DeviceInfo, rate: int, block_ms: float, callback: Callable[..., None]
    ) -> SoundStream:
        try:
            stream = kind(
                device=device.id,
                samplerate=rate,
                blocksize=max(1, round(rate * block_ms / 1000)),
                channels=1,
                dtype="int16",
                latency="low",
                callback=callback,
            )
        except self._library.PortAudioError as error:
            raise OSError(f"{device.name} cannot be opened: {error}") from error
        return SoundStream(stream, rate, block_ms)


class SoundStream:
    """An open stream of sounddevice.

    Attributes:
        rate: Hz.
        block_ms: Length of its blocks.
        latency_ms: As PortAudio tells it.
    """

    def __init__(self, stream: Any, rate: int, block_ms: float) -> None:
        self._stream = stream
        self.rate = rate
        self.block_ms = block_ms
        self.latency_ms = float(stream.latency) * 1000

    def start(self) -> None:
        """Let blocks flow."""
        self._stream.start()

    def now(self) -> float:
        """Seconds on PortAudio's clock."""
        return float(self._stream.time)

    def close(self) -> None:
        """Stop at once and let go of the device."""
        if not self._stream.closed:
            self._stream.abort()
            self._stream.close()
