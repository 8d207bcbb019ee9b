"""What responses are made of: what came in since the last one, the question to who answers, and the one that runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ._answers import Answer, Heard
from ._context import Turn
from ._response import Response, Step


@dataclass
class Inputs:
    """What has come in since the last response."""

    turns: list[Turn] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.turns or self.texts or self.outputs)


@dataclass(eq=False)
class Question:
    """An answer is wanted from somebody who may take time.

    Attributes:
        heard: What to answer.
        kind: ``response`` when it has been created. Under semantic VAD the answer comes first, because it may be a
            refusal: ``turn`` for speech that ended, ``create`` for the client's ``response.create``.
        turn: The speech that ended.
        event_id: Of the client's ``response.create``.
        params: The ``response`` object of it.
    """

    heard: Heard
    kind: Literal["response", "turn", "create"]
    turn: Turn | None = None
    event_id: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Running:
    """The response that is active.

    Attributes:
        response: Its events.
        heard: What it answers.
        answer: What it says; None until it is known. The same goes for the steps.
        steps: What is still to come.
        due: When the next step is.
        played_ms: How much of the answer went out.
        held: It waits at `Answer.hold_after_ms`.
        released: It has been told to go on.
    """

    response: Response
    heard: Heard
    answer: Answer | None = None
    steps: Iterator[Step] | None = None
    due: float = 0.0
    played_ms: float = 0.0
    held: bool = False
    released: bool = False

    def at_hold(self) -> bool:
        """It has come to `Answer.hold_after_ms`."""
        hold = self.answer.hold_after_ms if self.answer is not None else None
        return hold is not None and self.played_ms >= hold and not self.released


def details_of(status: str) -> dict[str, Any] | None:
    """``status_details`` of a response that ended in this way by itself."""
    if status == "failed":
        error = {
            "type": "server_error",
            "code": "InternalError",
            "message": "Internal service error: null",
            "param": "",
        }
        return {"type": "failed", "error": error}
    if status == "incomplete":
        return {"type": "incomplete", "reason": "max_output_tokens"}
    return {"type": "cancelled", "reason": "turn_detected"} if status == "cancelled" else None
