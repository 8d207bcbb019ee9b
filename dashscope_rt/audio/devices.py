"""The machine's microphone and loudspeaker, or a `FakeDevice` in their place.

device thread     Microphone.put: one copy into a queue          Speaker: one copy out of the jitter buffer
your thread       for pcm in microphone: resampled, muted, …     speaker.write(pcm): resampled into the buffer
"""

from __future__ import annotations

import logging
import math
import queue
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Literal, TypeVar

from .pcm import gain, level_db
from .playback import Playback, Playhead
from .ports import Backend, DeviceInfo, Stream, choose
from .resampling import Resampler
from .sound_devices import SoundDevices

_log = logging.getLogger("dashscope_rt")
_M = TypeVar("_M", bound="Microphone")
_S = TypeVar("_S", bound="Speaker")

Echo = Literal["mute", "duck", "headset"]
ECHO_MODES = ("mute", "duck", "headset")
_ROOM_MS = 10_000  # of what a microphone heard and nobody read; the oldest goes first
_DUCK_DB = -24.0
_HANGOVER_MS = 200.0  # a room goes on sounding after the loudspeaker


def list_devices(backend: Backend | None = None) -> list[DeviceInfo]:
    """Return the machine's devices.

    Raises:
        ImportError: The extra ``audio`` or the PortAudio library is not installed.
    """
    return list((backend or SoundDevices()).devices())


class Microphone:
    """A microphone: iterate over it to get mono PCM at `rate`, block by block, in real time.

        with Microphone() as microphone:
            for pcm in microphone:
                session.append_audio(pcm)

    Iteration ends when it is closed. One thread reads at a time. What nobody reads is kept for ten seconds
    (`dropped_ms` counts what went). A muted microphone goes on giving silence, because the service needs time to pass.

    Args:
        device: Part of the device's name, its number, or None for the machine's own choice.
        rate: Hz of what it gives; a device that cannot do this is resampled.
        block_ms: Length of a block.
        backend: Where devices come from: None is the machine's hardware, or a `FakeDevice`.

    Attributes:
        device: `DeviceInfo`; None until it is open.
        muted: Set it to have silence instead.
        level_db: Loudness of the last block, before muting: 0 is the loudest, -inf silence.
        dropped_ms: Audio nobody read in time.
        gate: Called on the device's thread for every block; gives the gain, in dB, that this block is to get. It is
            what `guard` sets.
    """

    live = True  # it needs no pacing

    def __init__(
        self,
        device: str | int | None = None,
        *,
        rate: int = 16_000,
        block_ms: float = 20.0,
        backend: Backend | None = None,
    ) -> None:
        self.device: DeviceInfo | None = None
        self.rate = rate
        self.block_ms = block_ms
        self.muted = False
        self.level_db = -math.inf
        self.dropped_ms = 0.0
        self.gate: Callable[[], float] | None = None
        self._wanted = device
        self._backend = backend
        self._stream: Stream | None = None
        self._blocks: queue.SimpleQueue[tuple[bytes, float] | None] = queue.SimpleQueue()
        self._room = max(1, round(_ROOM_MS / block_ms))
        # Guards the two counts; notified when they become equal.
        self._worked_off = threading.Condition(threading.Lock())
        self._put = 0
        self._done = 0
        self._read_by: int | None = None  # the thread that iterates

    def open(self: _M) -> _M:
        """Open the device; nothing is heard before.

        Raises:
            ImportError: The extra ``audio`` or the PortAudio library is not installed.
            LookupError: There is no such device; the message lists those there are.
            OSError: The device cannot be opened.
        """
        if self._stream is not None:
            raise RuntimeError("the microphone is open already")
        backend = self._backend or SoundDevices()
        self.device = choose(backend.devices(), self._wanted, "input")
        self._blocks = queue.SimpleQueue()
        self._put = self._done = 0
        stream = backend.open_input(self.device, self.rate, self.block_ms, self)
        try:
            self._resampler = Resampler(stream.rate, self.rate)
            stream.start()
        except BaseException:
            stream.close()
            raise
        self._stream = stream
        return self

    def close(self) -> None:
        """Let go of the device; iteration ends. May be called again."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
            self._blocks.put(None)

    @property
    def is_open(self) -> bool:
        """Whether it hears."""
        return self._stream is not None

    def guard(self, speaker: Speaker, echo: Echo, *, hangover_ms: float = _HANGOVER_MS) -> None:
        """Protect the conversation from the speaker's sound in this microphone.

        Args:
            speaker: Whose sound.
            echo: ``mute``: silence while it sounds (nobody can interrupt by voice); ``duck``: 24 dB quieter, so that
                only a loud voice comes through; ``headset``: nothing, for headphones or a device that cancels echo.
            hangover_ms: For so long after the sound as well.
        """
        if echo not in ECHO_MODES:
            raise ValueError(f"echo must be one of {', '.join(ECHO_MODES)}, not {echo!r}")
        while_sounding = {"mute": -math.inf, "duck": _DUCK_DB}.get(echo)
        if while_sounding is None:
            self.gate = None
        else:
            self.gate = lambda: while_sounding if speaker.quiet_ms < hangover_ms else 0.0

    # ---- BlockSink, the device's thread -----------------------------------------------------------------------

    def put(self, block: bytes) -> None:
        """Take a block from the device: a copy, a look at the gate, nothing else."""
        gate = self.gate
        self._put += 1
        self._blocks.put((block, gate() if gate is not None else 0.0))
        if self._put - self._done > self._room:
            self._drop()

    def _drop(self) -> None:
        try:
            self._blocks.get_nowait()
        except queue.Empty:
            return
        self.dropped_ms += self.block_ms
        with self._worked_off:
            self._done += 1

    def settle(self, timeout: float) -> None:
        """Wait until the thread that iterates has asked for more than there is; at once when nobody does."""
        with self._worked_off:
            self._worked_off.wait_for(
                lambda: self._done >= self._put or self._read_by in (None, threading.get_ident()), timeout
            )

    # ---- the reader's thread ----------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[bytes]:
        if self._stream is None:
            raise RuntimeError("the microphone is not open; call open() or use it in a with statement")
        self._read_by = threading.get_ident()
        try:
            while (item := self._blocks.get()) is not None:
                pcm = self._ready(*item)
                if pcm:
                    yield pcm
                with self._worked_off:
                    self._done += 1
                    self._worked_off.notify_all()
        finally:
            self._read_by = None
            with self._worked_off:
                self._worked_off.notify_all()

    def _ready(self, block: bytes, gain_db: float) -> bytes:
        self.level_db = level_db(block)
        if self.muted or gain_db == -math.inf:
            block = bytes(len(block))
        elif gain_db:
            block = gain(block, gain_db)
        return self._resampler.feed(block)

    def __enter__(self: _M) -> _M:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Microphone {self.device.name if self.device else 'not open'} {self.rate} Hz>"


class Speaker:
    """A loudspeaker with a jitter buffer: `write` never waits, `stop` silences it within one block.

        with Speaker() as speaker:
            session.play_on(speaker)

    All methods may be called from any thread.

    Args:
        device: Part of the device's name, its number, or None for the machine's own choice.
        rate: Hz of what is written; a device that cannot do this is resampled to.
        block_ms: Length of a block; what was handed to the device can no longer be taken back.
        start_ms: So much is gathered before something begins to sound, against gaps in the network.
        backend: Where devices come from: None is the machine's hardware, or a `FakeDevice`.

    Attributes:
        device: `DeviceInfo`; None until it is open.
        muted: Set it to have silence come out; time goes on, and counts as heard.
        level_db: Loudness of the last block: 0 is the loudest, -inf silence.
        tap: Called on the device's thread with every block that goes out, silence too; for recording, and quick.
    """

    def __init__(
        self,
        device: str | int | None = None,
        *,
        rate: int = 24_000,
        block_ms: float = 20.0,
        start_ms: float = 60.0,
        backend: Backend | None = None,
    ) -> None:
        self.device: DeviceInfo | None = None
        self.rate = rate
        self.block_ms = block_ms
        self.start_ms = start_ms
        self.muted = False
        self.tap: Callable[[bytes], None] | None = None
        self._last_block = b""
        self._wanted = device
        self._backend = backend
        self._stream: Stream | None = None
        self._playback = Playback(rate, start_ms)
        # Guards the resamplers: one for each source that is being written.
        self._writing = threading.Lock()
        self._resamplers: dict[str, Resampler] = {}

    def open(self: _S) -> _S:
        """Open the device, which is silent at first.

        Raises:
            ImportError: The extra ``audio`` or the PortAudio library is not installed.
            LookupError: There is no such device; the message lists those there are.
            OSError: The device cannot be opened.
        """
        if self._stream is not None:
            raise RuntimeError("the speaker is open already")
        backend = self._backend or SoundDevices()
        self.device = choose(backend.devices(), self._wanted, "output")
        stream = backend.open_output(self.device, self.rate, self.block_ms, self)
        try:
            Resampler(self.rate, stream.rate)  # a missing extra is told now
            self._playback = Playback(stream.rate, self.start_ms)
            self._resamplers.clear()
            self._stream = stream
            stream.start()
        except BaseException:
            self._stream = None
            stream.close()
            raise
        return self

    def close(self) -> None:
        """Let go of the device, whatever is left to sound. May be called again."""
        stream, self._stream = self._stream, None
        if stream is not None:
            self._playback.stop()
            stream.close()

    @property
    def is_open(self) -> bool:
        """Whether it can sound."""
        return self._stream is not None

    # ---- what is to sound -------------------------------------------------------------------------------------

    def write(self, pcm: bytes, source: str = "", rate: int | None = None) -> bool:
        """Let audio sound after what is there.

        Args:
            pcm: Mono PCM.
            source: What it belongs to, such as a response's id: `stop` silences a source for good.
            rate: Hz, where it is not the speaker's `rate`.

        Returns:
            Whether it will sound; False when its source was stopped, or the speaker is not open.
        """
        stream = self._stream
        if stream is None:
            return False
        with self._writing:
            resampler = self._resamplers.get(source)
            if resampler is None or resampler.from_rate != (rate or self.rate):
                resampler = self._resamplers[source] = Resampler(rate or self.rate, stream.rate)
            return self._playback.write(resampler.feed(pcm), source)

    def end(self, source: str = "") -> None:
        """Say that a source is complete, so that the little that may be left of it sounds too."""
        with self._writing:
            resampler = self._resamplers.pop(source, None)
            if resampler is not None and (rest := resampler.end()):
                self._playback.write(rest, source)
        self._playback.end(source)

    def stop(self, source: str | None = None) -> list[str]:
        """Be silent within one block, and drop what comes later of the sources known so far (or of ``source`` alone).

        Audio written without a source sounds again after this.

        Returns:
            The sources that were cut off.
        """
        with self._writing:
            for name in list(self._resamplers) if source is None else [source]:
                self._resamplers.pop(name, None)
            return self._playback.stop(source)

    def wait_silent(self, timeout: float | None = None) -> bool:
        """Wait until all that was written has been heard; returns whether it has.

        After `close` nothing is left to wait for. Under a `FakeDevice` somebody else must let time pass.

        Args:
            timeout: Seconds; None waits as long as it takes.
        """
        return self._stream is None or self._playback.wait_silent(self._now, timeout)

    # ---- what was heard ---------------------------------------------------------------------------------------

    def _now(self) -> float:
        stream = self._stream
        return stream.now() if stream is not None else math.inf  # what was given to a closed device has sounded

    @property
    def playhead(self) -> Playhead:
        """Where it is now; the device's latency is taken off."""
        return self._playback.playhead(self._now())

    def heard_ms(self, source: str = "") -> float:
        """Return how much of a source was really heard until now, in ms."""
        return self._playback.heard_ms(source, self._now())

    def given_ms(self, source: str = "") -> float:
        """Return how much of a source was handed to the device, in ms: what will have been heard after `stop`."""
        return self._playback.given_ms(source)

    def unheard(self) -> list[str]:
        """Return the sources of which something is still to sound."""
        return self._playback.unheard()

    @property
    def sounding(self) -> bool:
        """Whether something sounds now, or is about to."""
        return self.playhead.sounding or not self._playback.silent

    @property
    def quiet_ms(self) -> float:
        """How long it has been silent, in ms; infinite when nothing ever sounded."""
        return self._playback.quiet_ms

    @property
    def device_rate(self) -> int:
        """Hz of the device itself, which may differ from `rate`."""
        return self._playback.rate

    @property
    def underruns(self) -> int:
        """How often it ran dry in the middle of a source."""
        return self._playback.underruns

    @property
    def level_db(self) -> float:
        """Loudness of the last block: 0 is the loudest, -inf silence."""
        return level_db(self._last_block)

    # ---- BlockSource, the device's thread ---------------------------------------------------------------------

    def take(self, frames: int, at: float) -> bytes:
        """Give a block to the device: a copy out of the buffer, nothing else."""
        block = self._playback.take(frames, at)
        if self.muted:
            block = bytes(len(block))
        self._last_block = block
        tap = self.tap
        if tap is not None:
            tap(block)
        return block

    def __enter__(self: _S) -> _S:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Speaker {self.device.name if self.device else 'not open'} {self.rate} Hz>"
