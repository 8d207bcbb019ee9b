"""How audio is streamed in: paced, with a progress hook, followed by the silence that ends a turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..audio.pacing import Pacer
from ..audio.pcm import chunks, duration_ms, silence
from .sources import Progress, read_source

if TYPE_CHECKING:
    from .saying import Saying

CHUNK_MS = 100.0
TAIL_MS = 500.0  # silence on top of what the VAD waits for
_DEFAULT_SILENCE_MS = 800  # what the VAD waits for unless configured. Source: client events, session.update


def vad_silence_ms(session: Saying) -> float:
    """Return how much silence the service takes for the end of speech."""
    info = session.info
    detection = info.turn_detection if info is not None else None
    return float((detection.silence_duration_ms if detection is not None else None) or _DEFAULT_SILENCE_MS)


def stream(
    session: Saying, audio: Any, *, pace: bool, tail_ms: float | None, progress: Progress | None, pacer: Pacer
) -> float:
    """Send it all; see `RealtimeSession.stream_audio`."""
    rate = session.input_rate
    source = read_source(audio, rate, session.model.input_rates, CHUNK_MS)
    if tail_ms is None:
        tail_ms = vad_silence_ms(session) + TAIL_MS if session.uses_vad else 0.0
    sent = 0.0
    total = None if source.total_ms is None else source.total_ms + tail_ms

    def send(pcm: bytes, *, wait: bool) -> None:
        nonlocal sent
        length = duration_ms(len(pcm), rate)
        if wait:
            pacer.wait(length)
        session.append_audio(pcm)
        sent += length
        if progress is not None:
            progress(sent, total)

    for pcm in source.pieces:
        send(pcm, wait=pace and not source.live)
    if tail_ms > 0:
        for pcm in chunks(silence(tail_ms, rate), CHUNK_MS, rate):
            send(pcm, wait=pace)
    return sent
