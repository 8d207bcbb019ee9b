"""The transcription of what the user says: growing deltas, then the whole."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator

from ._response import pieces
from ._wire import Event, make

_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_PREFIX = "conversation.item.input_audio_transcription."


def delta(item_id: str, text: str, stash: str) -> Event:
    """A preview: ``text`` is sure, ``stash`` may still change. There is no ``delta`` field."""
    language = "zh" if _CHINESE.search(text + stash) else "en"
    padding = secrets.token_hex(4)
    fields = {"text": text, "stash": stash, "language": language, "emotion": "neutral", "obfuscation": padding}
    return make(f"{_PREFIX}delta", item_id=item_id, content_index=0, **fields)


def completed(item_id: str, transcript: str) -> Event:
    """The final transcript."""
    return make(f"{_PREFIX}completed", item_id=item_id, content_index=0, transcript=transcript)


def failed(item_id: str, message: str) -> Event:
    """There is no transcript."""
    error = {"code": "transcription_failed", "message": message, "param": ""}
    return make(f"{_PREFIX}failed", item_id=item_id, content_index=0, error=error)


class Growing:
    """Deltas of one item, each a piece longer than the one before.

    Args:
        item_id: The user item.
        transcript: Where it leads to.
    """

    def __init__(self, item_id: str, transcript: str) -> None:
        self._item_id = item_id
        self._pieces = pieces(transcript)
        self._shown = 0

    def next(self) -> Event | None:
        """The next delta; None when everything has been shown."""
        if self._shown >= len(self._pieces):
            return None
        self._shown += 1
        sure = "".join(self._pieces[: self._shown - 1])
        return delta(self._item_id, sure, self._pieces[self._shown - 1])

    def rest(self) -> Iterator[Event]:
        """All that are left."""
        while (event := self.next()) is not None:
            yield event
