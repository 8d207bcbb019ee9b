"""What it takes to go on after a connection was lost: when to try again, what to say to the new one, what is gone.

Pure; the connection's lock is held by whoever calls. `Recovery` counts the attempts, `History` keeps the conversation
as text, `Lost` is the account that ``on_reconnected`` gives.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import attrs

from .. import events as ev
from ..config import Reconnect
from ..errors import APIError, CloseInfo, RealtimeError
from ..responses import InputTranscript, Response

__all__ = ["History", "Lost", "Reconnecting", "Recovery"]


@attrs.frozen(kw_only=True)
class Reconnecting:
    """A connection was lost (or is being changed on purpose) and a new one is about to be tried.

    Attributes:
        attempt: 1 for the first try since the last good event.
        delay: Seconds until it.
        planned: True when the session's time limit is near and nothing is wrong.
        info: How the connection ended; None when it was never there (a retry that failed).
        error: What went wrong; None when planned.
    """

    attempt: int
    delay: float
    planned: bool = False
    info: CloseInfo | None = None
    error: RealtimeError | None = None

    def __str__(self) -> str:
        why = "planned" if self.planned else str(self.error if self.error is not None else self.info)
        return f"try {self.attempt} in {self.delay:.1f} s: {why}"


@attrs.frozen(kw_only=True)
class Lost:
    """What did not survive a reconnect, as far as this side can know.

    Attributes:
        audio_ms: Audio the old connection had taken and no turn had accepted yet; it is not sent again, because the
            service may have heard it.
        dropped_audio_ms: Audio that waited for the new connection and had to make room for newer audio.
        responses: Answers that were under way; each got its ``on_done`` with the status ``cancelled``.
        events: Types of client events that were not sent, or not acknowledged; they are not repeated.
        not_restored: What of the conversation the new session does not know, in words.
        restored_chars: Characters of the conversation that were given back as text; 0 where the model takes no text.
        gap_s: Seconds without a connection.
    """

    audio_ms: float = 0.0
    dropped_audio_ms: float = 0.0
    responses: tuple[Response, ...] = ()
    events: tuple[str, ...] = ()
    not_restored: tuple[str, ...] = ()
    restored_chars: int = 0
    gap_s: float = 0.0

    def __str__(self) -> str:
        gone = [
            f"{len(self.responses)} answers" if self.responses else "",
            f"{self.audio_ms:.0f} ms of audio nobody has answered" if self.audio_ms else "",
            f"{self.dropped_audio_ms:.0f} ms of audio that waited" if self.dropped_audio_ms else "",
            *self.events,
            *self.not_restored,
        ]
        return f"{self.gap_s:.1f} s without a connection; lost: {', '.join(filter(None, gone)) or 'nothing'}"


class Recovery:
    """Whether and when to try again.

    Args:
        policy: What the user allowed.
        chance: Gives numbers from 0 to 1 for the jitter.
    """

    def __init__(self, policy: Reconnect, chance: Callable[[], float] = random.random) -> None:
        self._policy = policy
        self._chance = chance
        self.attempt = 0

    def good_event(self) -> None:
        """Something other than an error came on a working session: the budget is whole again."""
        self.attempt = 0

    def next_delay(self, error: RealtimeError | None) -> float | None:
        """Return the seconds to wait before the next try; None when there is to be none.

        Nothing is tried again after a refused key, a used-up quota or a bad request: the next try would end alike.
        """
        if error is not None and not error.retryable:
            return None
        if self.attempt >= self._policy.attempts:
            return None
        delay = min(self._policy.max_delay, self._policy.first_delay * 2.0**self.attempt)
        self.attempt += 1
        return delay * (1 - self._policy.jitter * self._chance())


@attrs.define
class _Slot:
    role: str
    text: str = ""
    what: str = ""  # what stood there besides text


class History:
    """The conversation as text, oldest first, bounded in characters."""

    def __init__(self, max_chars: int) -> None:
        self._max = max_chars
        self._slots: list[_Slot] = []
        self._by_item: dict[str, _Slot] = {}
        self._forgotten = 0

    def note(self, event: ev.ServerEvent, notices: Iterable[object]) -> None:
        """Take in one event of a working session with what it means."""
        if self._max == 0:
            return
        if isinstance(event, ev.ConversationItemCreated):
            if event.item is not None:
                self.item(event.item)
        elif isinstance(event, ev.ResponseDone):
            for notice in notices:
                response = getattr(notice, "response", None)
                if isinstance(response, Response):
                    self.response(response)
        for notice in notices:
            if isinstance(notice, InputTranscript):
                self.transcript(notice)

    def item(self, item: ev.Item) -> None:
        """Note an item of the user's, or the output of a function, in its place."""
        if item.type == "message" and item.role != "assistant":
            spoken = any(part.type == "input_audio" for part in item.content)
            self._add(item.id, _Slot("User", item.text, "speech without a transcript" if spoken else ""))
        elif item.type == "message" and any(part.type == "input_audio" for part in item.content):
            self._add(item.id, _Slot("User", "", "speech without a transcript"))
        elif item.type == "function_call_output":
            self._add(item.id, _Slot("", "", "function call"))

    def transcript(self, transcript: InputTranscript) -> None:
        """Note what the user said, in the place of its item."""
        if not transcript.final:
            return
        slot = self._by_item.get(transcript.item_id or "")
        if slot is None:
            slot = _Slot("User")
            self._add(transcript.item_id, slot)
        slot.text, slot.what = transcript.text, ""

    def response(self, response: Response) -> None:
        """Note what the model said."""
        text = response.text
        if text:
            self._add(None, _Slot("Assistant", text))

    def pictures(self, count: int) -> None:
        """Note that pictures were shown."""
        self._slots += [_Slot("", "", "picture")] * count

    def _add(self, item_id: str | None, slot: _Slot) -> None:
        self._slots.append(slot)
        if item_id:
            self._by_item[item_id] = slot
        size = sum(len(each.text) for each in self._slots)
        while size > self._max and len(self._slots) > 1:
            size -= len(self._slots[0].text)
            self._forgotten += 1
            del self._slots[0]

    def as_text(self) -> str:
        """Return the conversation as one text to give to a new session; "" when there is none."""
        lines = [f"{slot.role}: {slot.text}" for slot in self._slots if slot.role and slot.text]
        return "Our conversation so far, for your memory only:\n" + "\n".join(lines) if lines else ""

    def not_in_text(self, *, restored: bool) -> tuple[str, ...]:
        """Return in words what the new session does not know, whether or not it was given `as_text`."""
        missing = [slot.what for slot in self._slots if slot.what]
        if not restored:
            missing += ["message"] * sum(1 for slot in self._slots if slot.text)
        missing += ["older message"] * self._forgotten
        return tuple(
            f"{missing.count(what)} x {what}"
            for what in dict.fromkeys(missing)
        )


def fatal(error: APIError) -> bool:
    """Whether a server error means that this connection is as good as over. Source: the error catalogue.

    "model repeat output happened" is followed by a close within seconds, a serving error loses the response, the idle
    timeout announces a close.
    """
    text = f"{error.code} {error.message}".lower()
    words = ("repeat output", "modelserving", "response_idle_timeout", "response stream timeout", "response timeout")
    return error.error_type == "server_error" or any(word in text for word in words)
