"""Who said what when, as text, SRT, WebVTT or JSON. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Sequence

import attrs

_LONGEST_MS = 7000  # a subtitle nobody ended


@attrs.frozen(kw_only=True)
class Segment:
    """Something said in one go.

    Attributes:
        start_ms: From the beginning of the file.
        end_ms: The same.
        text: What was said.
        language: Where the service tells it.
    """

    start_ms: int
    end_ms: int
    text: str
    language: str | None = None


def formatted(kind: str, segments: Sequence[Segment], *, name: str, seconds: float) -> str:
    """The whole file, ending in a line break where it holds anything.

    Args:
        kind: ``text``, ``srt``, ``vtt`` or ``json``.
        segments: In order.
        name: The sound file's.
        seconds: Its length.
    """
    if kind == "json":
        whole = {
            "file": name,
            "seconds": round(seconds, 3),
            "text": _joined(segments),
            "segments": [attrs.asdict(segment) for segment in segments],
        }
        return json.dumps(whole, ensure_ascii=False) + "\n"
    if kind == "text":
        return "".join(f"{_line(segment.text)}\n" for segment in segments)
    separator = "," if kind == "srt" else "."
    blocks = []
    for number, segment in enumerate(segments, 1):
        head = f"{number}\n" if kind == "srt" else ""
        times = f"{_clock(segment.start_ms, separator)} --> {_clock(segment.end_ms, separator)}"
        blocks.append(f"{head}{times}\n{_cue(segment.text)}\n")
    return ("WEBVTT\n\n" if kind == "vtt" else "") + "\n".join(blocks)


def _joined(segments: Sequence[Segment]) -> str:
    return " ".join(_line(segment.text) for segment in segments)


def _line(text: str) -> str:
    return " ".join(text.split())


def _cue(text: str) -> str:
    return _line(text).replace("-->", "→")  # the one thing that a cue may not hold


def _clock(ms: int, separator: str) -> str:
    hours, rest = divmod(max(0, ms), 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    seconds, thousandths = divmod(rest, 1000)
    return f"{hours:02}:{minutes:02}:{seconds:02}{separator}{thousandths:03}"


def in_order(segments: Sequence[Segment], total_ms: int) -> list[Segment]:
    """The segments by time, none longer than the file, none ending before it began."""
    result = []
    for segment in sorted(segments, key=lambda segment: segment.start_ms):
        start = max(0, min(segment.start_ms, total_ms))
        end = min(total_ms, segment.end_ms if segment.end_ms > start else start + _LONGEST_MS)
        result.append(attrs.evolve(segment, start_ms=start, end_ms=max(start, end)))
    return result
