"""What the parts of one session share. No lock: one connection's thread, or one test, uses it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..models import ModelInfo
from ._answers import Answers
from ._configuration import Configuration
from ._transcription import Growing, completed, delta, failed
from ._variants import Variants
from ._wire import Event, new_id


@dataclass(frozen=True)
class Ending:
    """The server ends the connection. A code of None sends a close frame without one."""

    code: int | None
    reason: str = ""


@dataclass
class Turn:
    """One stretch of the user's input.

    Attributes:
        item_id: The user item it becomes.
        first: Position of its first sample.
        audio: Mono s16le, once it has ended.
        rate: Hz.
        channels: Of the input, for the bill.
        images: JPEG files.
        shown: ``conversation.item.created`` was sent.
        counted: Its previews told only its length, which is no beginning of a transcript.
        growing: Its transcript while it grows, if known.
    """

    first: int
    rate: int
    channels: int
    item_id: str = field(default_factory=lambda: new_id("item"))
    audio: bytes = b""
    images: list[bytes] = field(default_factory=list)
    shown: bool = False
    counted: bool = False
    growing: Growing | None = None


@dataclass
class Context:
    """One session's common ground.

    Attributes:
        number: The connection's number.
        info: What the model takes.
        variants: How the service is to behave.
        answers: What to say.
        pace: 0 as fast as it goes, 1 real time.
        config: The configuration in force; replaced as a whole.
        outbox: What is to be sent, in order; whoever drives the session takes it out.
        now: Seconds, as handed in with the last call.
        speaking: The user is speaking (VAD).
        audio_started: Audio was appended.
        audio_made: The model has spoken.
        last_item_id: The conversation's last item.
    """

    number: int
    info: ModelInfo
    variants: Variants
    answers: Answers
    pace: float
    config: Configuration
    outbox: list[Event | Ending] = field(default_factory=list)
    conversation_id: str = field(default_factory=lambda: new_id("conv"))
    now: float = 0.0
    speaking: bool = False
    audio_started: bool = False
    audio_made: bool = False
    last_item_id: str | None = None

    def emit(self, *events: Event) -> None:
        """Send events."""
        for event in events:
            if event["type"] == "conversation.item.created":
                self.last_item_id = event["item"]["id"]
        self.outbox.extend(events)

    def end(self, code: int | None, reason: str = "") -> None:
        """End the connection after what has been sent."""
        self.outbox.append(Ending(code, reason))

    @property
    def transcribes(self) -> bool:
        """The user's speech is transcribed."""
        return self.variants.transcription != "off" and self.config.values["input_audio_transcription"] is not None

    @property
    def previews(self) -> bool:
        """With growing deltas."""
        return self.transcribes and self.variants.transcription == "deltas"

    def tell_transcript(self, turn: Turn, transcript: str | None, failure: str | None) -> None:
        """Send the rest of a turn's transcription."""
        if not self.transcribes:
            return
        if transcript is None:
            self.emit(failed(turn.item_id, failure or ""))
            return
        if self.previews:
            growing = turn.growing or Growing(turn.item_id, "" if turn.counted else transcript)
            self.emit(*growing.rest(), delta(turn.item_id, transcript, ""))
        self.emit(completed(turn.item_id, transcript))
