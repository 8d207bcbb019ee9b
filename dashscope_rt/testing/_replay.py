"""A recording behind the emulator's socket: the service's part is played, the client's part is waited for."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .._recording.file import Entry, Recording
from ._hooks import Ending, Hooks, Raw
from ._wire import Event

if TYPE_CHECKING:
    from ._connection import Connection

__all__ = ["replaying"]

_APPEND = "input_audio_buffer.append"
_NEVER_GATES = frozenset({_APPEND, "input_image_buffer.append"})  # how they are cut is up to the client


def replaying(recording: Recording | str | os.PathLike[str], speed: float = 0.0) -> Callable[[int], Hooks]:
    """Make the `Emulator` play a recording: ``Emulator(hooks=replaying("call.jsonl"))``.

    The service's events come in the recorded order, each as soon as the client has sent what it had sent before that
    event in the recording: events other than audio by number and type, audio by its length. Ids that errors refer to
    are those of the client that is there now. A recording of a session that was reconnected has a part for each of
    its connections; the parts are played in turn.

    Args:
        recording: A recording, or the path of one.
        speed: 0 as fast as the client goes, 1 with the recorded pauses, 2 with half of them.

    Raises:
        ValueError: The file is no recording, or a negative speed.
        OSError: It cannot be read.
    """
    if not speed >= 0:
        raise ValueError(f"speed must be 0 (at once) or more (1 is as it was), not {speed}")
    whole = recording if isinstance(recording, Recording) else Recording.read(recording)
    parts: list[list[Entry]] = []
    for entry in whole.entries:
        if not parts or (entry.type == "session.created" and entry.way == "received"):
            parts.append([])
        parts[-1].append(entry)
    if not any(entry.way == "received" for part in parts for entry in part):
        raise ValueError("the recording holds no event of the service: there is nothing to replay")
    return lambda number: _Replaying(parts[(number - 1) % len(parts)], speed)


class _Replaying(Hooks):
    """One connection; everything runs on its thread."""

    def __init__(self, entries: Sequence[Entry], speed: float) -> None:
        self._entries = entries
        self._speed = speed
        self._at = 0  # the entry that is next
        self._seen: Counter[str] = Counter()
        self._wanted: Counter[str] = Counter()
        self._audio_seen = 0
        self._audio_wanted = 0
        self._ids: dict[str, str] = {}  # recorded id -> the id of the client that is there now
        self._recorded_ids: dict[str, list[str]] = {}
        for entry in entries:
            if entry.way == "sent":
                self._recorded_ids.setdefault(entry.type, []).append(str(entry.facts.get("event_id") or ""))
        self._last = (0.0, 0.0)  # recorded time and real time of what was last done
        self._started = False
        self._mine: Event | None = None
        self._waking = False

    def sending(self, connection: Connection, event: Event) -> Iterable[Event | Raw | Ending]:
        """Only what was recorded goes out; the emulator's own first event is the signal to begin."""
        if event is self._mine:
            return (event,)
        if not self._started:
            self._started = True
            first = next((entry.at for entry in self._entries if entry.way == "received"), 0.0)
            self._last = (first, time.monotonic())
            connection.post(lambda: self._go(connection))
        return ()

    def receiving(self, connection: Connection, message: str | bytes) -> str | bytes | None:
        """Count it; the emulator itself never hears of it."""
        try:
            event: Any = json.loads(message)
        except ValueError:
            event = None
        event = event if isinstance(event, dict) else {}
        connection._owner.records.add_received(connection.number, event)
        kind = str(event.get("type") or "")
        recorded = self._recorded_ids.get(kind, [])
        if self._seen[kind] < len(recorded):
            self._ids[recorded[self._seen[kind]]] = str(event.get("event_id") or "")
        self._seen[kind] += 1
        if kind == _APPEND:
            self._audio_seen += len(str(event.get("audio") or "")) * 3 // 4
        if self._started:
            self._go(connection)
        return None

    def _go(self, connection: Connection) -> None:
        while self._at < len(self._entries):
            entry = self._entries[self._at]
            if entry.way == "sent":
                if not self._came(entry):
                    return
                self._last = (entry.at, max(self._last[1], time.monotonic()))
            elif not self._audio_came() or not self._is_time(entry, connection):
                return
            elif entry.way == "received" and entry.type:
                self._send(connection, entry)
            elif entry.way == "closed" and entry.facts.get("who") != "client":
                code = entry.facts.get("code")
                connection.end(Ending(code if isinstance(code, int) else 1006, str(entry.facts.get("reason") or "")))
            self._at += 1

    def _came(self, entry: Entry) -> bool:
        if entry.type == _APPEND:
            self._audio_wanted += entry.media_bytes
        if entry.type in _NEVER_GATES:
            return True
        if self._seen[entry.type] <= self._wanted[entry.type]:
            return False
        self._wanted[entry.type] += 1
        return True

    def _audio_came(self) -> bool:
        # Or the client has gone on already: its question is shorter than the recorded one.
        ahead = any(self._seen[kind] > self._wanted[kind] for kind in self._seen if kind not in _NEVER_GATES)
        return self._audio_seen >= self._audio_wanted - 2 or ahead

    def _is_time(self, entry: Entry, connection: Connection) -> bool:
        now = time.monotonic()
        due = self._last[1] + max(0.0, entry.at - self._last[0]) / self._speed if self._speed else now
        if now < due:
            if not self._waking:
                self._waking = True
                connection.call_later(due - now, lambda: self._wake(connection))
            return False
        self._last = (entry.at, now)
        return True

    def _wake(self, connection: Connection) -> None:
        self._waking = False
        self._go(connection)

    def _send(self, connection: Connection, entry: Entry) -> None:
        event = entry.event
        error = event.get("error")
        if isinstance(error, dict) and error.get("event_id") in self._ids:
            event["error"] = {**error, "event_id": self._ids[error["event_id"]]}
        self._mine = event
        connection.send_event(event)
        self._mine = None
