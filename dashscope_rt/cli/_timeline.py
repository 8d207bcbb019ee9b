"""A recording for people to read: runs of pieces become one row, each event gets what matters about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

import dashscope_rt as rt
from dashscope_rt.recording import Entry, Recording

_ARROWS = {"sent": "→", "received": "←", "closed": "×"}
_LIMIT = 200  # characters of a text in a row


@attrs.define(kw_only=True)
class Row:
    """One line of the timeline."""

    at: float
    arrow: str
    what: str
    detail: str = ""
    bad: bool = False


def _runs(recording: Recording) -> Iterator[list[Entry]]:
    """Neighbouring pieces of the same thing; what comes in between in the other direction does not part them."""
    open_runs: dict[str, list[Entry]] = {}
    done: list[list[Entry]] = []
    for entry in recording.entries:
        kind = entry.type
        if not kind.endswith((".delta", ".append", ".text")):
            if entry.way in ("received", "closed"):
                open_runs.clear()
            elif kind.startswith("input_audio_buffer"):
                open_runs.pop("input_audio_buffer.append", None)
            done.append([entry])
            continue
        key = f"{kind} {entry.facts.get('item_id') or entry.facts.get('response_id') or ''}".strip()
        if key in open_runs:
            open_runs[key].append(entry)
        else:
            open_runs[key] = [entry]
            done.append(open_runs[key])
    yield from done


def rows(recording: Recording, *, every: bool = False) -> Iterator[Row]:
    """The timeline's rows, in order."""
    info = rt.lookup(recording.model)
    runs = ([entry] for entry in recording.entries) if every else _runs(recording)
    for run in runs:
        first = run[0]
        count = f" × {len(run)}" if len(run) > 1 else ""
        row = Row(at=first.at, arrow=_ARROWS.get(first.way, "·"), what=(first.type or first.way) + count)
        media = sum(entry.media_bytes for entry in run)
        if first.type == "input_image_buffer.append":
            row.detail = f"{media:,} bytes"
        elif media:
            rate = info.default_input_rate if first.way == "sent" else info.default_output_rate
            row.detail = f"{media / 2 / rate:.2f} s of sound"
        else:
            row.detail = _detail(first, run)
        row.bad = (first.type in ("error", "") and first.way == "received") or first.type.endswith(".failed")
        yield row


def _detail(first: Entry, run: list[Entry]) -> str:
    facts = first.facts
    if first.way == "closed":
        why = facts.get("error") or facts.get("reason")
        return f"by {facts.get('who')}, code {facts.get('code')}" + (f": {why}" if why else "")
    if len(run) > 1 or isinstance(facts.get("delta"), str):
        # Deltas add up; previews (text and stash) each replace the one before.
        texts = [str(entry.facts.get("delta") or "") for entry in run]
        return _cut("".join(texts) or _preview(run[-1].facts))
    for name in ("transcript", "text", "arguments"):
        if isinstance(facts.get(name), str):
            return _cut(facts[name] if name != "text" else _preview(facts))
    return _of_object(first.type, facts)


def _preview(facts: Mapping[str, Any]) -> str:
    return f"{facts.get('text') or ''}{facts.get('stash') or ''}"


def _of_object(kind: str, facts: Mapping[str, Any]) -> str:
    error = facts.get("error")
    if isinstance(error, Mapping):
        return " ".join(str(error[name]) for name in ("code", "message") if error.get(name))
    response = facts.get("response")
    if isinstance(response, Mapping):
        usage = response.get("usage")
        tokens = f"{usage['total_tokens']} tokens" if isinstance(usage, Mapping) and "total_tokens" in usage else ""
        words = [response.get("status"), response.get("instructions"), tokens]
        return _cut(" ".join(str(word) for word in words if word))
    session = facts.get("session")
    if isinstance(session, Mapping):
        if kind.startswith("session.update") and kind != "session.updated":
            return _cut(", ".join(session))
        return str(session.get("id") or "")
    item = facts.get("item")
    if isinstance(item, Mapping):
        content = item.get("content")
        parts = content if isinstance(content, list) else []
        texts = [str(p.get("text") or p.get("transcript") or "") for p in parts if isinstance(p, Mapping)]
        words = [*(item.get(name) for name in ("type", "role", "name", "arguments", "output")), *texts]
        return _cut(" ".join(str(word) for word in words if word))
    return str(facts.get("problem") or "")


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LIMIT else text[: _LIMIT - 1] + "…"


def totals(recording: Recording) -> dict[str, Any]:
    """What a recording holds, as JSON."""
    info = rt.lookup(recording.model)
    sent = sum(entry.media_bytes for entry in recording.entries if entry.type == "input_audio_buffer.append")
    got = sum(entry.media_bytes for entry in recording.received() if entry.type == "response.audio.delta")
    return {
        **recording.header,
        "seconds": round(recording.seconds, 3),
        "torn": recording.torn,
        "problems": list(recording.problems),
        "sent": dict(Counter(entry.type for entry in recording.entries if entry.way == "sent")),
        "received": dict(Counter(entry.type for entry in recording.received())),
        "audio_in_ms": round(sent / 2 / info.default_input_rate * 1000),
        "audio_out_ms": round(got / 2 / info.default_output_rate * 1000),
    }
