"""What the emulator answers: a callable, a script, or by default what it heard, played back."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from ._images import jpeg_size
from ._sound import read_wav

__all__ = ["Answer", "AnswerSource", "FunctionCall", "Heard"]

Status = Literal["completed", "failed", "incomplete", "cancelled"]
_STATUSES = ("completed", "failed", "incomplete", "cancelled")


@dataclass(frozen=True)
class Heard:
    """What came from the client since the last response, and the session's state.

    Attributes:
        audio: The committed speech, mono s16le.
        rate: Its sample rate, Hz.
        images: The JPEG files committed with it.
        texts: The texts of user items.
        function_outputs: Outputs of function calls by call id.
        instructions: The session's instructions, and those of ``response.create`` below them.
        response_instructions: Only those of ``response.create``; older models are asked in this way.
        tools: The session's tools, as on the wire.
        model: The model's name.
        turn: 1 for the first response of the connection.
        connection: The number of the connection, 1 for the emulator's first.
        prompted: False when the server speaks first (``idle_timeout_ms``).
    """

    audio: bytes = b""
    rate: int = 16000
    images: tuple[bytes, ...] = ()
    texts: tuple[str, ...] = ()
    function_outputs: Mapping[str, str] = field(default_factory=dict)
    instructions: str = ""
    response_instructions: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()
    model: str = ""
    turn: int = 1
    connection: int = 1
    prompted: bool = True

    @property
    def text(self) -> str:
        """The texts of user items, one per line."""
        return "\n".join(self.texts)

    @property
    def seconds(self) -> float:
        """How long the audio lasts."""
        return len(self.audio) / 2 / self.rate

    def __repr__(self) -> str:
        return (
            f"Heard(turn={self.turn}, audio=<{len(self.audio)} bytes at {self.rate} Hz>, images={len(self.images)}, "
            f"texts={len(self.texts)}, function_outputs={len(self.function_outputs)}, model={self.model!r})"
        )


@dataclass(frozen=True)
class FunctionCall:
    """One call the model makes.

    Attributes:
        name: The function's name; it need not be among the session's tools.
        arguments: A mapping, or the JSON text exactly as it is to be sent (broken JSON included).
        call_id: Made up when None.
    """

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict)
    call_id: str | None = None


@dataclass(frozen=True)
class Answer:
    """One response, and the transcript of what it answers.

    Attributes:
        text: The answer's text, or what it says.
        audio: The voice: a WAV file's path, mono s16le bytes at ``rate``, ``"echo"`` for what was heard. None with a
            text makes a row of tones as long as the text would take to say. Not used in text-only responses.
        rate: Hz of ``audio`` given as bytes; None means the session's output rate.
        input_transcript: What the user is said to have said; None: how long they spoke.
        transcription_failed: A message instead of a transcript.
        function_calls: Calls, after the text if there is one.
        status: How the response ends: ``completed``, ``failed``, ``incomplete`` or ``cancelled``.
        reject_semantic: Under semantic VAD this turn is not accepted.
        hold_after_ms: Stop after so much audio (text: 50 ms a piece), until cancelled, interrupted or released by
            `Emulator.release`.
        error: The ``error`` object of an ``error`` event, sent after ``hold_after_ms`` or the whole answer in place of
            what would follow.
        close: Code and reason with which the connection ends there.
    """

    text: str = ""
    audio: bytes | str | PathLike[str] | None = None
    rate: int | None = None
    input_transcript: str | None = None
    transcription_failed: str | None = None
    function_calls: Sequence[FunctionCall] = ()
    status: Status = "completed"
    reject_semantic: bool = False
    hold_after_ms: int | None = None
    error: Mapping[str, Any] | None = None
    close: tuple[int, str] | None = None

    def __post_init__(self) -> None:
        if self.status not in _STATUSES:
            raise ValueError(f"status must be one of {', '.join(_STATUSES)}, not {self.status!r}")

    def __repr__(self) -> str:
        calls = [call.name for call in self.function_calls]
        return f"Answer(text=<{len(self.text)} chars>, function_calls={calls}, status={self.status!r})"

    def sound(self, heard: Heard) -> tuple[bytes, int | None] | None:
        """The voice's samples and rate (None: the output's own), or None when tones are wanted.

        Raises:
            OSError: The WAV file cannot be read.
            ValueError: It is no 16-bit WAV file.
        """
        if self.audio is None:
            return None if self.text else (b"", None)
        if isinstance(self.audio, bytes):
            return self.audio, self.rate
        if self.audio == "echo":
            return heard.audio, heard.rate
        return read_wav(self.audio)


AnswerSource = (
    Callable[[Heard], "Answer | str | bytes | None"]
    | Sequence["Answer | Mapping[str, Any] | str"]
    | str
    | PathLike[str]
    | None
)


def spoken(seconds: float) -> str:
    """The transcript when nobody gave one: honest about who transcribes."""
    return f"(emulator) {seconds:.1f} seconds of speech"


def default_answer(heard: Heard) -> Answer:
    """Says that it is the emulator and what it got; plays speech back."""
    parts = []
    if heard.images:
        sizes = [jpeg_size(image) for image in heard.images]
        listed = ", ".join(f"{size[0]} x {size[1]} pixels" for size in sizes if size)
        parts.append(f"I received {len(heard.images)} image{'s' * (len(sizes) != 1)}: {listed}.")
    if heard.texts:
        parts.append(f"You wrote: {heard.text}")
    elif heard.response_instructions and not heard.audio:
        parts.append(f"You asked: {heard.response_instructions}")
    parts.extend(f"The function returned: {output}" for output in heard.function_outputs.values())
    if heard.audio:
        parts.append(f"You spoke for {heard.seconds:.1f} seconds; here it is again.")
    if not heard.prompted:
        parts.append("You have been silent for a while. Are you still there?")
    return Answer(text=" ".join(["This is the emulator.", *parts]), audio="echo" if heard.audio else None)


class Answers:
    """Where one connection's answers come from.

    Args:
        ask: The callable, or None.
        turns: Scripted answers, used first and in order.
        transcribe: `Variants.transcribe`.
    """

    def __init__(
        self,
        ask: Callable[[Heard], Answer | str | bytes | None] | None,
        turns: Iterable[Answer],
        transcribe: Callable[[bytes, int], str] | None,
    ) -> None:
        self._ask = ask
        self._turns = deque(turns)
        self._transcribe = transcribe

    def take(self, heard: Heard) -> Answer | None:
        """The next answer; None when the callable must be asked, which may take its time."""
        if self._turns:
            return self._turns.popleft()
        return default_answer(heard) if self._ask is None else None

    def ask(self, heard: Heard) -> Answer:
        """Ask the callable.

        Raises:
            TypeError: It gave something that is no answer. Its own exceptions pass through.
        """
        given = self._ask(heard) if self._ask is not None else None
        if given is None:
            return default_answer(heard)
        if isinstance(given, str):
            return Answer(text=given)
        if isinstance(given, bytes):
            return Answer(text=f"This is the emulator with {len(given)} bytes of sound.", audio=given)
        if isinstance(given, Answer):
            return given
        raise TypeError(f"answer() must return an Answer, str, bytes or None, not {type(given).__name__}")

    def transcript(self, audio: bytes, rate: int) -> tuple[str | None, str | None]:
        """Transcript and failure of speech that was just heard; both None when only the answer will tell."""
        if self._transcribe is not None:
            return self._transcribe(audio, rate), None
        if self._turns:
            turn = self._turns[0]
            if turn.transcription_failed is not None:
                return None, turn.transcription_failed
            if turn.input_transcript is not None:
                return turn.input_transcript, None
        elif self._ask is not None:
            return None, None
        return spoken(len(audio) / 2 / rate), None

    def expected_transcript(self) -> str | None:
        """The script's transcript for the speech that is going on."""
        return self._turns[0].input_transcript if self._turns and self._transcribe is None else None

    @property
    def counts_seconds(self) -> bool:
        """Speech that is going on is transcribed as its length."""
        return self._transcribe is None and self._ask is None and self.expected_transcript() is None


def read_source(
    source: AnswerSource,
) -> tuple[Callable[[Heard], Answer | str | bytes | None] | None, tuple[Answer, ...]]:
    """The callable and the script of an ``answer=`` argument.

    Raises:
        TypeError: It is neither.
        ValueError: A turn of the script is wrong; the message says which and what is allowed.
        OSError: The script file cannot be read.
    """
    if source is None:
        return None, ()
    if isinstance(source, (str, PathLike)):
        return None, _read_script(Path(source))
    if callable(source):
        return source, ()
    if isinstance(source, Sequence):
        return None, tuple(_turn(item, index, None) for index, item in enumerate(source, 1))
    raise TypeError(
        f"answer must be a callable, a list of answers or the path of a script, not {type(source).__name__}"
    )


def _read_script(path: Path) -> tuple[Answer, ...]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as exc:
        raise ValueError(f"{path} is no JSON: {exc}") from exc
    if isinstance(content, dict):
        content = content.get("turns")
    if not isinstance(content, list):
        raise ValueError(f'{path} must hold a list of turns, or an object {{"turns": […]}}')
    return tuple(_turn(item, index, path.parent) for index, item in enumerate(content, 1))


_TURN_FIELDS = [item.name for item in dataclasses.fields(Answer)]


def _turn(item: Any, index: int, folder: Path | None) -> Answer:
    if isinstance(item, Answer):
        return item
    if isinstance(item, str):
        return Answer(text=item)
    if not isinstance(item, Mapping):
        raise ValueError(f"turn {index} must be an object, not {type(item).__name__}")
    values = dict(item)
    for name in values:
        if name not in _TURN_FIELDS:
            near = difflib.get_close_matches(name, _TURN_FIELDS, n=1)
            raise ValueError(f"turn {index} has an unknown field {name!r}; {_suggest(near)}")
    audio = values.get("audio")
    if folder is not None and isinstance(audio, str) and audio != "echo":
        values["audio"] = folder / audio
        if not values["audio"].is_file():
            raise ValueError(f"turn {index}: there is no file {values['audio']}")
    try:
        values["function_calls"] = [
            call if isinstance(call, FunctionCall) else FunctionCall(**call)
            for call in values.get("function_calls", ())
        ]
        if isinstance(values.get("close"), list):
            values["close"] = tuple(values["close"])
        return Answer(**values)
    except (TypeError, ValueError) as exc:
        raise ValueError(f"turn {index} is wrong: {exc}") from exc


def _suggest(near: list[str]) -> str:
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_TURN_FIELDS)}"
