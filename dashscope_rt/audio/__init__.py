"""Audio beside the tower: PCM and WAV with the standard library only, no socket and no thread.

Everywhere: PCM is signed 16-bit little-endian, mono unless said otherwise; rates are in Hz, lengths in ms.
"""

from .pcm import chunks, duration_ms, level_db, mono, silence
from .wav import Wav, read_wav, wav_bytes, write_wav

__all__ = ["Wav", "chunks", "duration_ms", "level_db", "mono", "read_wav", "silence", "wav_bytes", "write_wav"]
