"""What `ask` returns: one question and its answer, as it grows and when it is complete.

A turn listens on the network thread (`Turn._fold`, pure) from before its first event is sent; `_asking` feeds it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import attrs

from . import events as ev
from ._display import bundle
from ._session.connection import Connection
from ._session.display import of_turn
from ._session.playing import LATE
from ._session.state import Create, Done, Failure, Interrupted, Notice
from .audio.wav import write_wav
from .errors import (
    APIError,
    AuthenticationError,
    ConnectionClosed,
    DeadlineExceeded,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    RealtimeError,
    ServiceBusyError,
    WaitInCallbackError,
)
from .responses import CALLBACK, TOOL, FunctionCall, InputTranscript, Response

_E = TypeVar("_E", bound=Exception)
# Errors after which no answer comes, whatever they are about.
_HOPELESS = (ServiceBusyError, QuotaExceededError, RateLimitError, AuthenticationError, PermissionDeniedError)

__all__ = ["Piece", "Timing", "Turn"]


@attrs.frozen(kw_only=True)
class Piece:
    """A piece of an answer, as it came.

    Attributes:
        kind: ``text``, ``audio``, or ``input_transcript``.
        text: The next words of the answer; "" in the other kinds, so ``print(piece.text, end="")`` shows the answer.
        input_transcript: What the service has understood of the question so far, a preview or final: the whole of it,
            not what is new; None in the other kinds.
        event: The wire event it was made from.
    """

    kind: Literal["text", "audio", "input_transcript"]
    text: str = attrs.field(default="", repr=lambda text: f"<{len(text)} chars>")
    input_transcript: InputTranscript | None = None
    event: ev.ServerEvent | None = attrs.field(default=None, repr=False, eq=False)

    @property
    def audio(self) -> bytes:
        """The piece's PCM (signed 16-bit little-endian mono); b"" for text."""
        return self.event.audio if isinstance(self.event, ev.ResponseAudioDelta) else b""


def _tenths(ms: float | None) -> str:
    return "None" if ms is None else f"{ms:.1f}"


@attrs.define(kw_only=True)
class Timing:
    """When things happened, in ms since the question began to be sent; None for what did not happen.

    Attributes:
        sent_ms: The question was handed to the network.
        speech_stopped_ms: The service noticed the end of speech (VAD mode).
        response_created_ms: The service began to answer.
        first_text_ms: The first piece of text.
        first_audio_ms: The first piece of speech.
        done_ms: The answer was complete.
    """

    sent_ms: float | None = attrs.field(default=None, repr=_tenths)
    speech_stopped_ms: float | None = attrs.field(default=None, repr=_tenths)
    response_created_ms: float | None = attrs.field(default=None, repr=_tenths)
    first_text_ms: float | None = attrs.field(default=None, repr=_tenths)
    first_audio_ms: float | None = attrs.field(default=None, repr=_tenths)
    done_ms: float | None = attrs.field(default=None, repr=_tenths)

    @property
    def latency_ms(self) -> float | None:
        """From the end of the question to the first piece of the answer: what a person feels as the delay."""
        first = min((at for at in (self.first_text_ms, self.first_audio_ms) if at is not None), default=None)
        asked = self.speech_stopped_ms if self.speech_stopped_ms is not None else self.sent_ms
        return None if first is None or asked is None else max(0.0, first - asked)


class Turn:
    """A question and its answer. Read it from any thread; iterate over it while it streams.

    Attributes:
        responses: The responses of this turn, more than one when functions were called in between.
        timing: `Timing`, in ms.
        turn: In exceptions raised by a turn, the attribute ``turn`` is this object with what came so far.
    """

    def __init__(self, connection: Connection, *, timeout: float, vad: bool, tools_answer: bool) -> None:
        self._connection = connection
        self._started = time.monotonic()
        self._deadline = self._started + timeout
        self._vad = vad
        self._tools_answer = tools_answer
        # Everything below is guarded by the connection's `changed`.
        self._transcripts: dict[str, str] = {}
        self._pieces: list[Piece] = []
        self._commits = 0
        self._speech_heard = False
        self._transcribed_at: float | None = None
        self._fed = False
        self._over = False
        self._error: Exception | None = None
        self._before = frozenset(connection.state.active)
        self._written: str | None = None  # the question, where it is not spoken
        self._silent = False  # what audio there is of it is the silence that goes before pictures
        self._others: tuple[Create, ...] = ()  # asked for before this turn, by one that was given up or by hand
        self._sent_ids: set[str] = set()  # of what nobody waits for, such as pictures
        self._refused_outputs: set[str] = set()
        self._given_up = False
        self._readers = 0  # loops over it
        self._left = False  # they went away before its end, and nobody waits
        # What the feeding has set going, for when the question is given up; the feeding thread's.
        self._loose_audio = False
        self._create: Create | None = None
        self.responses: list[Response] = []
        self.timing = Timing()

    # ---- the result, any thread -------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """``in_progress``, ``completed``, ``cancelled``, ``incomplete`` or ``failed``."""
        if not self._over:
            return "in_progress"
        if self._given_up:
            return "cancelled"
        return "failed" if self._error is not None else self.responses[-1].status if self.responses else "failed"

    @property
    def done(self) -> bool:
        """Whether the turn is over."""
        return self._over

    @property
    def text(self) -> str:
        """The answer in words: what the model said, or wrote."""
        return "\n".join(text for text in (response.text for response in self._kept()) if text)

    @property
    def audio(self) -> bytes:
        """The answer as it sounds: signed 16-bit little-endian mono PCM at `audio_rate`."""
        return b"".join(response.audio for response in self._kept())

    @property
    def audio_rate(self) -> int:
        """Hz of `audio`."""
        return self.responses[-1].audio_rate if self.responses else self._connection.state.audio_rate

    @property
    def heard_ms(self) -> float | None:
        """How much of the spoken answer was really heard so far, in ms; None where no `Speaker` plays it."""
        heard = [ms for ms in (response.heard_ms for response in self.responses) if ms is not None]
        return sum(heard) if heard else None

    @property
    def heard_text(self) -> str | None:
        """What of the answer was really heard so far, to the last whole word; None where no `Speaker` plays it."""
        heard = [text for text in (response.heard_text for response in self.responses) if text is not None]
        return "\n".join(filter(None, heard)) if heard else None

    @property
    def input_transcript(self) -> str:
        """What the service understood of the question; "" if it does not say."""
        return " ".join(text for text in self._transcripts.copy().values() if text)

    @property
    def function_calls(self) -> tuple[FunctionCall, ...]:
        """All functions the model wanted called, answered or not."""
        return tuple(call for response in self.responses for call in response.function_calls)

    @property
    def usage(self) -> ev.Usage | None:
        """Tokens, summed over the turn's responses; None if the service gave none."""
        total: ev.Usage | None = None
        for response in self.responses:
            if response.usage is not None:
                total = response.usage if total is None else total + response.usage
        return total

    def _kept(self) -> list[Response]:
        # A response that was interrupted by the next one is not part of the answer.
        return [
            response for response in self.responses if response.status != "cancelled" or response is self.responses[-1]
        ]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the spoken answer as a WAV file.

        Raises:
            ValueError: There is no audio, or the name promises another format.
            OSError: The file cannot be written.
        """
        suffix = Path(path).suffix.lower()
        if suffix not in ("", ".wav", ".wave"):
            raise ValueError(f"save() writes WAV, and {os.fspath(path)} would be taken for {suffix}: name it .wav")
        audio = self.audio
        if not audio:
            raise ValueError("the answer has no audio to save; was the session asked for text only?")
        write_wav(path, audio, self.audio_rate)

    def wait(self, timeout: float | None = None) -> Turn:
        """Wait for the turn's end and return it; see `RealtimeSession.ask` for what it raises.

        Args:
            timeout: Seconds; None waits until the turn's own deadline.
        """
        self._left = False
        deadline = self._deadline if timeout is None else min(self._deadline, time.monotonic() + timeout)
        self._await(lambda: self._over, deadline)
        self._raise_error()
        return self

    def __iter__(self) -> Iterator[Piece]:
        """Yield the pieces as they come, until the turn is over; raises what `wait` raises.

        When the loop is left early (``break``, Ctrl-C in its body) the answer goes on; the next question of this
        session stops it, unless somebody waits for it or reads on.
        """
        self._readers += 1
        self._left = False
        at = 0
        try:
            while True:
                self._await(lambda: self._over or len(self._pieces) > at, self._deadline)  # noqa: B023 — used at once
                while at < len(self._pieces):
                    yield self._pieces[at]
                    at += 1
                if self._over and at >= len(self._pieces):
                    self._raise_error()
                    return
        finally:  # no lock here: a loop that is left may be cleaned up on any thread, whatever that holds
            self._readers -= 1
            self._left = self._readers == 0

    def cancel(self, timeout: float = 2.0) -> bool:
        """Stop the answer; returns whether something was cancelled."""
        return self._connection.cancel(timeout)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        audio_bytes = sum(response.audio_bytes for response in self._kept())
        return (
            f"Turn(status={self.status!r}, text=<{len(self.text)} chars>, audio=<{audio_bytes} bytes at"
            f" {self.audio_rate} Hz>, responses={len(self.responses)}, function_calls={len(self.function_calls)})"
        )

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Show transcripts, player, timing and calls in a notebook; speech over 3 MB, a minute, is not put into it."""
        return bundle(of_turn(self))

    # ---- waiting, the caller's thread -------------------------------------------------------------------------

    def _await(self, ready: Callable[[], bool], deadline: float) -> None:
        connection = self._connection
        in_callback = connection.reader.is_current()
        try:
            connection.wait_until(lambda: ready() or (in_callback and self._needs_callbacks()), deadline, "the answer")
        except DeadlineExceeded:
            error = DeadlineExceeded(
                f"the answer was not complete after {time.monotonic() - self._started:.1f} s: {self._what_is_missing()}"
            )
            if time.monotonic() >= self._deadline:
                self._fail(error)
            raise self._attach(error) from None
        except ConnectionClosed as error:
            if not ready():
                self._attach(error)
                raise
        except RealtimeError:
            raise
        except BaseException:  # Ctrl-C, a killed greenlet: nobody waits for this turn any more
            self._abandon()
            raise
        if not ready():
            raise self._attach(
                WaitInCallbackError(
                    "ask() was called in a callback and the model calls a function: on_function_call cannot run before"
                    " this callback returns; ask from another thread, or with stream=True and return first"
                )
            )

    def _attach(self, error: _E) -> _E:
        error.turn = self  # type: ignore[attr-defined]
        return error

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._attach(self._error)

    def _needs_callbacks(self) -> bool:
        return self._tools_answer and any(
            call._taker == CALLBACK and not call.answered for call in self.function_calls
        )

    def _is_awaited(self, call: FunctionCall) -> bool:
        return call._taker == TOOL or (call._taker == CALLBACK and self._tools_answer)

    def _what_is_missing(self) -> str:
        running = {call.name for call in self.function_calls if call._taker == TOOL and not call.answered}
        if running:
            return f"the tool {', '.join(sorted(running))} has not returned"
        if self._needs_callbacks():
            names = ", ".join(sorted({call.name for call in self.function_calls if not call.answered}))
            return f"the model called {names}, and no on_function_call callback has answered with call.respond(...)"
        if self._vad and not self._commits and not self.responses:
            heard = "speech but no end of it" if self._speech_heard else "no speech in the audio"
            return f"the service's voice activity detection heard {heard}"
        if not self.responses:
            return "the service did not begin to answer"
        return "its last event, response.done, did not come"

    # ---- folding, network thread, under `changed` ---------------------------------------------------------------

    def _ms(self, now: float) -> float:
        return (now - self._started) * 1000

    def _fold(self, event: ev.ServerEvent | None, notices: tuple[Notice, ...], now: float) -> None:
        if self._over:
            return
        timing = self.timing
        if isinstance(event, (ev.ResponseTextDelta, ev.ResponseAudioTranscriptDelta)):
            if self._is_ours(event.response_id):
                self._pieces.append(Piece(kind="text", text=event.delta or "", event=event))
                timing.first_text_ms = self._ms(now) if timing.first_text_ms is None else timing.first_text_ms
        elif isinstance(event, ev.ResponseAudioDelta):
            if self._is_ours(event.response_id) and LATE not in notices:
                self._pieces.append(Piece(kind="audio", event=event))
                timing.first_audio_ms = self._ms(now) if timing.first_audio_ms is None else timing.first_audio_ms
        elif isinstance(event, ev.ResponseCreated):
            known = [*self.responses, *(create.response for create in self._others)]
            self.responses += [
                response
                for key, response in self._connection.state.active.items()
                if key not in self._before and response not in known
            ]
            if timing.response_created_ms is None:
                timing.response_created_ms = self._ms(now)
        elif isinstance(event, ev.InputAudioBufferSpeechStarted):
            self._speech_heard = True
        elif isinstance(event, ev.InputAudioBufferSpeechStopped):
            timing.speech_stopped_ms = self._ms(now)
        elif isinstance(event, ev.InputAudioBufferCommitted):
            self._commits += 1
        for notice in notices:
            self._take(notice, now)
        self._check_over(now)

    def _is_ours(self, response_id: str | None) -> bool:
        # Late pieces of an answer that was cancelled before belong to nobody.
        return any(response.id == response_id and response.done_at is None for response in self.responses)

    def _take(self, notice: Notice, now: float) -> None:
        if isinstance(notice, InputTranscript):
            self._transcripts[notice.item_id or ""] = notice.text
            self._pieces.append(Piece(kind="input_transcript", input_transcript=notice, event=notice.event))
            if notice.final:
                self._transcribed_at = now
        elif isinstance(notice, Interrupted):
            self._end(now, notice.error)
        elif isinstance(notice, Failure):
            if self._concerns_us(notice):
                self._end(now, notice.error)
        elif isinstance(notice, Done) and notice.response in self.responses and notice.response.status == "failed":
            self._end(now, notice.response.error or APIError("the response failed, and the service does not say why"))

    def _concerns_us(self, failure: Failure) -> bool:
        """Whether an error leaves nothing to wait for."""
        error, command = failure.error, failure.command
        if isinstance(error, _HOPELESS) or (self._vad and "semantic turn detection" in error.message):
            return True
        if command is None:
            return False
        if command.type == "conversation.item.create" and command.key is not None:
            calls = {call.call_id for call in self.responses[-1].function_calls} if self.responses else set()
            if command.key in calls:
                self._refused_outputs.add(command.key)
            return bool(calls) and calls <= self._refused_outputs
        follow_up = command.type == "response.create" and bool(self.responses) and bool(self.function_calls)
        return command.event_id in self._sent_ids or follow_up

    def _check_over(self, now: float) -> None:
        if self._over or not self._fed or not self.responses:
            return
        last = self.responses[-1]
        if any(response.done_at is None for response in self.responses):
            return
        if last.status == "completed" and any(map(self._is_awaited, last.function_calls)):
            return
        if self._vad and (self._connection.state.speaking or self._commits > len(self.responses)):
            return
        self._end(now, None)

    def _end(self, now: float, error: Exception | None) -> None:
        # Also called by the feeding thread, under `changed`.
        if not self._over:
            self._error = error
            self.timing.done_ms = self._ms(now)
            self._over = True
            self._connection.sinks_changed(without=self._fold)

    # ---- what the feeding reports (see _asking), any thread ------------------------------------------------------

    def _begin(self) -> None:
        connection = self._connection
        with connection.changed:
            asked = (*connection.state.in_flight, *connection.state.waiting)
            self._others = tuple(create for create in asked if not create.follows_tools)
        connection.add_sink(self._fold)

    def _runs(self, now: float) -> bool:
        return not self._over and now < self._deadline

    def _accepted(self) -> bool:
        return self._commits > 0 or self._over

    def _mark_sent(self) -> None:
        with self._connection.changed:
            self.timing.sent_ms = self._ms(time.monotonic())

    def _mark_fed(self) -> None:
        with self._connection.changed:
            self._fed = True
            self._check_over(time.monotonic())
            self._connection.changed.notify_all()

    def _abandon(self) -> None:
        self._given_up = not self._over
        self._fail(ConnectionClosed("the wait for this turn was interrupted"))
        with contextlib.suppress(RealtimeError):
            self._connection.interrupt(cancel=True)

    def _fail(self, error: Exception) -> None:
        with self._connection.changed:
            self._end(time.monotonic(), error)
            self._connection.changed.notify_all()
