"""What is shown of a turn and of a session; `_display` says how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._display import CALLS, EMBEDDED_BYTES, Sheet, Sound, ms, seconds

if TYPE_CHECKING:
    from ..session import RealtimeSession
    from ..turns import Turn

_LATE_MS = 100.0  # of callbacks, that is worth a word
_LABELS = {
    "speech_stopped_ms": "end of speech noticed",
    "first_text_ms": "first text",
    "first_audio_ms": "first audio",
    "done_ms": "complete",
}


def of_turn(turn: Turn) -> Sheet:
    """Both transcripts, the player, and how long everything took; also of a turn that still runs."""
    spoken = "" if turn._silent else turn.input_transcript
    said = [("You", text) for text in (spoken, turn._written) if text]
    said += [(CALLS, f"{call.name}({call.arguments_json})") for call in turn.function_calls]
    if turn.text:
        said.append(("Model", turn.text))
    if turn.heard_text is not None and turn.heard_text != turn.text:
        said.append(("Heard", turn.heard_text or "nothing of it"))
    size = sum(response.audio_bytes for response in turn._kept())
    sound, problem = None, str(turn._error or "")
    if size:
        try:
            pcm = turn.audio if size <= EMBEDDED_BYTES else b""
            sound = Sound(pcm=pcm, size=len(pcm) or size, rate=turn.audio_rate, save='turn.save("answer.wav")')
        except ValueError as error:  # a notebook must show the rest
            problem = problem or str(error)
    return Sheet(
        name="Turn",
        state=turn.status,
        said=tuple(said),
        sound=sound,
        problem=problem,
        times=_bar(turn),
        facts=tuple(_facts(turn)),
    )


def _bar(turn: Turn) -> tuple[float, ...]:
    timing = turn.timing
    if timing.latency_ms is None or timing.done_ms is None or timing.sent_ms is None:
        return ()
    asked = timing.speech_stopped_ms if timing.speech_stopped_ms is not None else timing.sent_ms
    return (timing.latency_ms, max(0.0, timing.done_ms - asked - timing.latency_ms))


def _facts(turn: Turn) -> list[tuple[str, str]]:
    timing = turn.timing
    facts = [("delay", ms(timing.latency_ms))] if timing.latency_ms is not None else []
    for name, label in _LABELS.items():
        at = getattr(timing, name)
        if at is not None:
            facts.append((label, ms(at)))
    if turn.heard_ms is not None:
        facts.append(("heard", seconds(turn.heard_ms)))
    if turn.usage is not None and turn.usage.total_tokens is not None:
        facts.append(("tokens", f"{turn.usage.total_tokens:,}"))
    return facts


def of_session(session: RealtimeSession) -> Sheet:
    """Where it stands, what it is made of, and what went where."""
    info, stats = session.close_info, session.stats
    connection = session._connection
    state = "not connected" if connection is None else "closed" if info is not None else connection.phase
    voice = session.config.voice
    rows = [
        ("model", session.model.name),
        ("turns", "found by the service (VAD)" if session.uses_vad else "manual"),
        ("voice", voice if isinstance(voice, str) else ""),
        ("id", session.id),
    ]
    if connection is not None:
        late = stats.callback_lag_max_ms
        rows += [
            ("audio sent", seconds(stats.audio_sent_ms) if stats.audio_sent_ms else ""),
            ("audio dropped", seconds(stats.audio_dropped_ms) if stats.audio_dropped_ms else ""),
            ("events", f"{stats.events_sent:,} sent, {stats.events_received:,} received"),
            ("callbacks", f"up to {ms(late)} late" if late >= _LATE_MS else ""),
            ("callback errors", f"{stats.callback_errors:,}" if stats.callback_errors else ""),
            ("reconnects", f"{stats.reconnects:,}" if stats.reconnects else ""),
        ]
    return Sheet(
        name="RealtimeSession",
        state=state,
        problem="" if info is None or info.error is None else str(info),
        rows=tuple((label, value) for label, value in rows if value),
    )
