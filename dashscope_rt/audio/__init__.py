"""Audio beside the tower: PCM, WAV, pacing, resampling, microphones and speakers; no socket.

Everywhere: PCM is signed 16-bit little-endian, mono unless said otherwise; rates are in Hz, lengths in ms.

    standard library only     chunks, silence, mono, stereo, gain, level_db, WAV in and out, Pacer, FakeDevice
    extra ``audio``           Resampler, read_audio for FLAC, OGG, MP3, and real devices for Microphone and Speaker

Each name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .devices import Microphone, Speaker, list_devices
    from .fake import FakeDevice, Sound
    from .pacing import Pacer, paced
    from .pcm import chunks, duration_ms, gain, level_db, mono, silence, stereo
    from .playback import Playhead
    from .ports import DeviceInfo
    from .resampling import Resampler, read_audio, resample
    from .wav import Wav, read_wav, wav_bytes, write_wav
    from .wav_stream import WavReader, WavWriter

_HOMES = {
    "devices": ("Microphone", "Speaker", "list_devices"),
    "fake": ("FakeDevice", "Sound"),
    "pacing": ("Pacer", "paced"),
    "pcm": ("chunks", "duration_ms", "gain", "level_db", "mono", "silence", "stereo"),
    "playback": ("Playhead",),
    "ports": ("DeviceInfo",),
    "resampling": ("Resampler", "read_audio", "resample"),
    "wav": ("Wav", "read_wav", "wav_bytes", "write_wav"),
    "wav_stream": ("WavReader", "WavWriter"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "DeviceInfo",
    "FakeDevice",
    "Microphone",
    "Pacer",
    "Playhead",
    "Resampler",
    "Sound",
    "Speaker",
    "Wav",
    "WavReader",
    "WavWriter",
    "chunks",
    "duration_ms",
    "gain",
    "level_db",
    "list_devices",
    "mono",
    "paced",
    "read_audio",
    "read_wav",
    "resample",
    "silence",
    "stereo",
    "wav_bytes",
    "write_wav",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
