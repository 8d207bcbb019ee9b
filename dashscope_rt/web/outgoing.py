"""What waits to be sent to a browser: bounded, in order, except that a flush overtakes everything."""

from __future__ import annotations

import threading
from collections import deque

import attrs

from . import messages


@attrs.define(eq=False)
class _Entry:
    payload: str | bytes
    turn: int = 0  # of audio
    ms: float = 0.0
    key: object = None


@attrs.frozen
class End:
    """Nothing comes after it: close the WebSocket so."""

    code: int
    reason: str


class Outgoing:
    """The queue between the session's threads, which put and never wait, and the relay's writer thread, which takes.

    Args:
        max_ms: So much unsent audio, in ms, is too much.
        max_bytes: So many unsent bytes are too much.
    """

    def __init__(self, max_ms: float, max_bytes: int) -> None:
        self._max_ms, self._max_bytes = max_ms, max_bytes
        # Guards everything below; nothing is called under it.
        self._changed = threading.Condition()
        self._entries: deque[_Entry] = deque()
        self._by_key: dict[object, _Entry] = {}
        self._ms = 0.0
        self._bytes = 0
        self._end: End | None = None

    def put(self, payload: str, key: object = None) -> bool:
        """Queue a message; one with the same key that has not left yet is replaced where it stands.

        Returns:
            False when the browser is too far behind; the message was not queued.
        """
        with self._changed:
            if self._end is not None:
                return True
            waiting = self._by_key.get(key) if key is not None else None
            if waiting is not None:
                self._bytes += len(payload) - len(waiting.payload)
                waiting.payload = payload
                return True
            return self._add(_Entry(payload, key=key))

    def put_audio(self, turn: int, pcm: bytes, ms: float) -> bool:
        """Queue a piece of a turn's speech; returns False when the browser is too far behind."""
        with self._changed:
            if self._end is not None:
                return True
            if self._ms + ms > self._max_ms:
                return False
            return self._add(_Entry(messages.audio_frame(turn, pcm), turn, ms))

    def _add(self, entry: _Entry) -> bool:
        size = len(entry.payload)
        if self._bytes + size > self._max_bytes:
            return False
        self._entries.append(entry)
        if entry.key is not None:
            self._by_key[entry.key] = entry
        self._bytes += size
        self._ms += entry.ms
        self._changed.notify()
        return True

    def flush(self, turn: int) -> None:
        """Drop the unsent audio of all turns up to this one, and tell the browser before anything else."""
        with self._changed:
            if self._end is not None:
                return
            kept = [entry for entry in self._entries if not 0 < entry.turn <= turn]
            self._entries = deque([_Entry(messages.text_frame("flush", turn=turn)), *kept])
            self._count()
            self._changed.notify()

    def end(self, payload: str | None, end: End) -> bool:
        """Send what waits except audio, then this, and close; returns whether it had not been ended before."""
        with self._changed:
            if self._end is not None:
                return False
            self._entries = deque(entry for entry in self._entries if not entry.turn)
            if payload is not None:
                self._entries.append(_Entry(payload))
            self._end = end
            self._count()
            self._changed.notify()
            return True

    def _count(self) -> None:
        self._ms = sum(entry.ms for entry in self._entries)
        self._bytes = sum(len(entry.payload) for entry in self._entries)

    def take(self) -> str | bytes | End:
        """Wait for what is to be sent next; the writer thread only. After `End` nothing comes."""
        with self._changed:
            while not self._entries:
                if self._end is not None:
                    return self._end
                self._changed.wait()
            entry = self._entries.popleft()
            self._by_key.pop(entry.key, None)
            self._ms -= entry.ms
            self._bytes -= len(entry.payload)
            return entry.payload

    @property
    def audio_ms(self) -> float:
        """Audio that waits, in ms."""
        return self._ms
