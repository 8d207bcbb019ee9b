"""How a turn shows in a notebook: player, transcript, timing. Pure text building, no notebook library needed."""

from __future__ import annotations

import base64
import html
from typing import TYPE_CHECKING

import attrs

from ..audio.wav import wav_bytes

if TYPE_CHECKING:
    from ..turns import Turn

_LABELS = {
    "sent_ms": "question sent",
    "speech_stopped_ms": "end of speech noticed",
    "response_created_ms": "answer begun",
    "first_text_ms": "first text",
    "first_audio_ms": "first audio",
    "done_ms": "complete",
}


def _times(turn: Turn) -> list[tuple[str, str]]:
    times = attrs.asdict(turn.timing)
    return [(_LABELS[name], f"{times[name]:,.0f} ms") for name in _LABELS if times[name] is not None]


def as_text(turn: Turn) -> str:
    """Return transcript and timing as plain text."""
    lines = [f"You:   {turn.input_transcript}"] if turn.input_transcript else []
    lines.append(f"Model: {turn.text}" if turn.text else f"Model: ({turn.status}, no text)")
    lines += [f"  calls {call.name}({call.arguments_json})" for call in turn.function_calls]
    lines.append("  " + ", ".join(f"{label} {value}" for label, value in _times(turn)))
    if turn.usage is not None and turn.usage.total_tokens is not None:
        lines.append(f"  {turn.usage.total_tokens:,} tokens")
    return "\n".join(lines)


def as_html(turn: Turn) -> str:
    """Return a player, the transcript and a small table of times, with everything escaped."""
    parts = ['<div style="max-width:44em;font-family:sans-serif">']
    try:
        audio = turn.audio
    except ValueError as error:  # a notebook must show the rest
        audio = b""
        parts.append(f"<p><i>{html.escape(str(error))}</i></p>")
    if audio:
        data = base64.b64encode(wav_bytes(audio, turn.audio_rate)).decode()
        parts.append(f'<audio controls style="width:100%" src="data:audio/wav;base64,{data}"></audio>')
    if turn.input_transcript:
        parts.append(f"<p><b>You</b> {html.escape(turn.input_transcript)}</p>")
    parts.append(f"<p><b>Model</b> {html.escape(turn.text) or '<i>(' + html.escape(turn.status) + ')</i>'}</p>")
    parts += [
        f"<p><code>{html.escape(call.name)}({html.escape(call.arguments_json)})</code></p>"
        for call in turn.function_calls
    ]
    cells = [f"<td>{label}<br><b>{value}</b></td>" for label, value in _times(turn)]
    if turn.usage is not None and turn.usage.total_tokens is not None:
        cells.append(f"<td>tokens<br><b>{turn.usage.total_tokens:,}</b></td>")
    parts.append(f"<table><tr>{''.join(cells)}</tr></table></div>")
    return "".join(parts)
