"""The session as its events tell it: folded on the network thread before any user code sees the event.

Pure: no socket, no thread, no clock that is not handed in. Whoever calls holds the connection's lock.

    fold(event, now)  -> notices    what the event means: a response is over, a function is to be called, …
    tick(now)         -> notices    what time means: a cancelled response whose end never came is over
    releasable()                    the next ``response.create`` that may go out now: one response at a time
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs

from .. import events as ev
from ..errors import APIError, RealtimeError, ServiceBusyError
from ..responses import FunctionCall, InputTranscript, Response
from .commands import Command, Commands
from .error_events import api_error, lenient_detail
from .playing import LATE, Cut, Late, Playing
from .recovery import Lost, Reconnecting
from .rounds import Approval, Call, Rounds, ToolFailed
from .sent import Sent

_UNNAMED = "unnamed-"  # how the id begins that a response gets whose response.created names none
_IN_DOUBT = 15.0  # s until a response.create that nobody answered no longer holds back the next one


@attrs.frozen
class Done:
    """A response is over."""

    response: Response


@attrs.frozen
class Failure:
    """The service reported an error; ``command`` is what it is about, where that is known."""

    error: APIError
    command: Command | None = None


@attrs.frozen
class Opened:
    """The session is ready, its configuration applied."""

    event: ev.SessionCreated


@attrs.frozen
class Interrupted:
    """The connection was lost: what was under way will get no answer. For turns, not for callbacks."""

    error: RealtimeError


@attrs.frozen
class Retrying:
    """A new connection is about to be tried."""

    about: Reconnecting


@attrs.frozen
class Reopened:
    """The session goes on over a new connection."""

    lost: Lost


Notice = (
    Done | Call | Approval | ToolFailed | Failure | InputTranscript | Opened | Interrupted | Retrying | Reopened | Sent
    | Cut | Late
)  # fmt: skip


@attrs.define
class Create:
    """A ``response.create`` that waits for its turn or for its ``response.created``."""

    command: Command
    event: ev.ResponseCreate
    follows_tools: bool = False  # dropped when the service answers the tool outputs by itself
    sent_at: float | None = None
    response: Response | None = None
    unwanted: bool = False  # interrupted before it began


class SessionState:
    """Everything known about one opened session.

    Args:
        audio_rate: Hz of the model's speech until the service says otherwise.
        cancel_grace: Seconds to wait for the end of a response after it was cancelled.
        answer: Sends a function's output; given to every `FunctionCall`.
        rounds: The function calls that are not answered yet; made here when None.
    """

    def __init__(
        self,
        audio_rate: int,
        cancel_grace: float,
        answer: Callable[[FunctionCall, str], str] | None = None,
        rounds: Rounds | None = None,
    ) -> None:
        self.session: ev.SessionObject | None = None
        self.created: ev.SessionCreated | None = None
        self.commands = Commands()
        self.speaking = False
        self.audio_rate = audio_rate
        self.last_error: APIError | None = None
        self.finished = False
        self.active: dict[str, Response] = {}
        self.playing = Playing()
        self.to_cancel = False  # a response has begun that nobody wants any more
        self.waiting: deque[Create] = deque()  # not sent yet
        self.in_flight: deque[Create] = deque()  # sent, no response.created yet
        self.follow_ups_wanted = 0  # rounds of tool outputs that now want one response.create each
        self.rounds = rounds or Rounds(answer)
        self._cancel_grace = cancel_grace
        self._cancel_due: dict[str, float] = {}

    # ---- questions --------------------------------------------------------------------------------------------

    @property
    def responding(self) -> bool:
        """Whether a response runs, or one was asked for and not refused yet."""
        return bool(self.active or self.in_flight)

    def releasable(self) -> Create | None:
        """Return the next ``response.create`` if it may go out now, and count it as sent."""
        if not self.waiting or self.responding or self.speaking:
            return None
        return self.waiting.popleft()

    def create_command(self, event_id: str) -> Command | None:
        """Return the command of a ``response.create`` that waits or is under way."""
        creates = (*self.waiting, *self.in_flight)
        return next((create.command for create in creates if create.command.event_id == event_id), None)

    # ---- what the client does ---------------------------------------------------------------------------------

    def add_create(self, create: Create) -> None:
        """Queue a ``response.create``."""
        self.waiting.append(create)

    def sent_create(self, create: Create, now: float) -> None:
        """Note that a ``response.create`` is on its way."""
        create.sent_at = now
        self.in_flight.append(create)

    def cancelling(self, now: float) -> list[Response]:
        """Note that ``response.cancel`` was sent; returns the responses it is about."""
        for response_id in self.active:
            self._cancel_due.setdefault(response_id, now + self._cancel_grace)
        return list(self.active.values())

    def answering(self, call_id: str) -> None:
        """Note that a function's output was sent."""
        self.rounds.answering(call_id)

    def lose(self, error: RealtimeError, now: float) -> tuple[list[Response], list[str], list[Notice]]:
        """Let everything under way end, because the connection is gone.

        Returns:
            The responses that were cut off, the types of the client events nobody will answer, and the notices.
        """
        notices: list[Notice] = []
        cut = list(self.active.values())
        for response in cut:
            self._finish(response.id, "cancelled", now, None, notices)
        unanswered = self.commands.fail_all(error)
        for create in [*self.waiting, *self.in_flight]:
            if not create.command.settled:
                create.command.fail(error)
                unanswered.append(create.command.type)
        self.waiting.clear()
        self.in_flight.clear()
        self.rounds.lose()
        self._cancel_due.clear()
        self.follow_ups_wanted = 0
        self.speaking = False
        return cut, list(dict.fromkeys(unanswered)), notices

    # ---- what the service does --------------------------------------------------------------------------------

    def fold(self, event: ev.ServerEvent, now: float) -> list[Notice]:
        """Take one event in; returns what it means, in order."""
        handler = _HANDLERS.get(type(event))
        if handler is None:
            return []
        notices: list[Notice] = []
        handler(self, event, now, notices)
        return notices

    def tick(self, now: float) -> list[Notice]:
        """Let time do its work."""
        notices: list[Notice] = []
        for response_id, due in list(self._cancel_due.items()):
            if now >= due:
                self._finish(response_id, "cancelled", now, None, notices)
        while self.in_flight and now >= (self.in_flight[0].sent_at or now) + _IN_DOUBT:
            lost = self.in_flight.popleft()
            lost.command.fail(
                ServiceBusyError(f"the service did not start the response asked for within {_IN_DOUBT:g} s")
            )
        return notices

    def next_due(self) -> float | None:
        """When `tick` has something to do, in monotonic seconds; None if never."""
        # Without the lock, once for every turn of the network thread's loop; copies, made in one step.
        if not self._cancel_due and not self.in_flight:
            return None
        times = list(self._cancel_due.copy().values())
        times += [(create.sent_at or 0.0) + _IN_DOUBT for create in self.in_flight.copy()]
        return min(times, default=None)

    def _response(self, response_id: str | None) -> Response | None:
        found = self.active.get(response_id) if response_id else None
        if found is None and len(self.active) == 1:
            (only,) = self.active.values()
            if only.id.startswith(_UNNAMED):
                return only
        return found

    def _finish(
        self, response_id: str, status: str, now: float, final: ev.ResponseObject | None, notices: list[Notice]
    ) -> None:
        response = self.active.pop(response_id, None)
        self._cancel_due.pop(response_id, None)
        if response is None:
            return
        response._finish(status, now, final)
        self.playing.finish(response)
        self.commands.forget("response.cancel")
        if status == "completed":
            notices.extend(self.rounds.approvals(response.output, final=True))
            notices.extend(self.rounds.begin(response))
        notices.append(Done(response))

    # ---- one handler per event that changes something ------------------------------------------------------------

    def _on_created(self, event: ev.SessionCreated, _now: float, _notices: list[Notice]) -> None:
        self.created = event
        self._take_session(event.session)

    def _on_updated(self, event: ev.SessionUpdated, _now: float, _notices: list[Notice]) -> None:
        self._take_session(event.session)
        self.commands.succeed("session.update", event)

    def _take_session(self, session: ev.SessionObject | None) -> None:
        if session is not None:
            self.session = session
            self.audio_rate = _output_rate(session) or self.audio_rate
            if session.turn_detection is None:  # manual mode: nobody will say that speech stopped
                self.speaking = False

    def _on_finished(self, _event: ev.SessionFinished, _now: float, _notices: list[Notice]) -> None:
        self.finished = True

    def _on_speech_started(self, _event: ev.ServerEvent, _now: float, notices: list[Notice]) -> None:
        self.speaking = True
        detection = self.session.turn_detection if self.session is not None else None
        if detection is None or detection.interrupt_response is not False:
            notices.extend(self.playing.cut(self.active.values(), "speech"))

    def _on_speech_stopped(self, _event: ev.ServerEvent, _now: float, _notices: list[Notice]) -> None:
        self.speaking = False

    def _on_committed(self, event: ev.InputAudioBufferCommitted, _now: float, _notices: list[Notice]) -> None:
        self.speaking = False
        self.rounds.user_spoke()
        self.commands.succeed("input_audio_buffer.commit", event)
        self.commands.forget("input_image_buffer.append")

    def _on_cleared(self, event: ev.InputAudioBufferCleared, _now: float, _notices: list[Notice]) -> None:
        self.speaking = False
        self.commands.succeed("input_audio_buffer.clear", event)

    def _on_item(self, event: ev.ConversationItemCreated, _now: float, notices: list[Notice]) -> None:
        item = event.item
        if item is None:
            return
        key = item.call_id if item.type == "function_call_output" else item.approval_request_id
        spoken = any(part.type == "input_audio" for part in item.content)
        if key or (item.type == "message" and item.role == "user" and not spoken):
            self.commands.succeed("conversation.item.create", event, key=key)
            if not key:
                self.rounds.user_spoke()
        if item.type == "function_call_output" and item.call_id:
            self.follow_ups_wanted += self.rounds.settle(item.call_id, accepted=True)
        notices.extend(self.rounds.approvals([item], final=False))

    def _on_transcript(self, event: ev.ServerEvent, _now: float, notices: list[Notice]) -> None:
        final = isinstance(event, ev.ConversationItemInputAudioTranscriptionCompleted)
        text = event.transcript if final else event.preview  # type: ignore[attr-defined]
        notices.append(
            InputTranscript(
                text=text or "",
                final=final,
                item_id=event.item_id,  # type: ignore[attr-defined]
                language=event.language,  # type: ignore[attr-defined]
                emotion=event.emotion,  # type: ignore[attr-defined]
                event=event,
            )
        )

    def _on_response_created(self, event: ev.ResponseCreated, now: float, notices: list[Notice]) -> None:
        wire = event.response
        response_id = (wire.id if wire is not None else None) or f"{_UNNAMED}{now}"
        if response_id in self.active:  # said twice; it must not answer somebody else's response.create
            return
        for other in list(self.active):  # barge-in without an end, or a turn that the service split: superseded
            if other != response_id:
                self._cut_by_service(other, notices)
                self._finish(other, "cancelled", now, None, notices)
        self.playing.begin()
        response = self.active[response_id] = Response(response_id, now, self.audio_rate)
        if wire is not None:
            response.conversation_id = wire.conversation_id
        if self.in_flight:
            create = self.in_flight.popleft()
            create.response = response
            create.command.succeed(event)
            self.rounds.response_began(response, asked=True, follows_tools=create.follows_tools)
            if create.unwanted:
                self.to_cancel = True
                notices.extend(self.playing.cut([response], "client", sounding=False))
            self.commands.forget("response.create")  # the repeat of a request that was only slow
        else:  # the service began by itself and so consumes the tool outputs that were waiting for our create
            for create in [create for create in self.waiting if create.follows_tools]:
                self.waiting.remove(create)
                create.response = response
                create.command.succeed(event)
            self.rounds.taken_over()
            self.rounds.response_began(response, asked=False, follows_tools=False)
            self.follow_ups_wanted = 0

    def _on_response_done(self, event: ev.ResponseDone, now: float, notices: list[Notice]) -> None:
        wire = event.response
        if wire is None or not wire.id:  # it names nobody: then it means the only one there is
            for response_id in list(self.active):
                self._finish(response_id, (wire and wire.status) or "completed", now, wire, notices)
            return
        response = self._response(wire.id)
        if response is not None:
            if wire.status == "cancelled":
                self._cut_by_service(response.id, notices)
            self._finish(response.id, wire.status or "completed", now, wire, notices)

    def _on_response_cancelled(self, event: ev.ResponseCancelled, now: float, notices: list[Notice]) -> None:
        wire = event.response
        named = [wire.id] if wire is not None and wire.id in self.active else list(self.active)
        for response_id in named:
            self._cut_by_service(response_id or "", notices)
            self._finish(response_id or "", "cancelled", now, wire, notices)

    def _cut_by_service(self, response_id: str, notices: list[Notice]) -> None:
        notices.extend(self.playing.cut([self.active[response_id]], "service", sounding=False))

    def _on_text_delta(self, event: ev.ResponseTextDelta, now: float, _notices: list[Notice]) -> None:
        response = self._response(event.response_id)
        if response is not None:
            response._add_text(event.item_id, event.content_index, event.delta or "", now)

    def _on_text_done(self, event: ev.ResponseTextDone, now: float, _notices: list[Notice]) -> None:
        response = self._response(event.response_id)
        if response is not None:
            response._set_text(event.item_id, event.content_index, event.text or "", now)

    def _on_speech_text_done(self, event: ev.ResponseAudioTranscriptDone, now: float, _notices: list[Notice]) -> None:
        response = self._response(event.response_id)
        if response is not None:
            response._set_text(event.item_id, event.content_index, event.transcript or "", now)

    def _on_audio_delta(self, event: ev.ResponseAudioDelta, now: float, notices: list[Notice]) -> None:
        response = self.active.get(event.response_id or "") or self._response(event.response_id)
        if response is not None:
            response._add_audio(event, now)
        if not self.playing.take(response, event):
            notices.append(LATE)

    def _on_output_item_done(self, event: ev.ResponseOutputItemDone, _now: float, notices: list[Notice]) -> None:
        notices.extend(self.rounds.approvals([event.item], final=True))
        response = self._response(event.response_id)
        if response is None:
            return
        if response.id in self._cancel_due:
            response.stopped = True  # on some models the last thing one hears of a cancelled response
        if event.item is not None:
            response._add_item(event.item)

    def _on_malformed(self, event: ev.MalformedEvent, now: float, notices: list[Notice]) -> None:
        # A field of the wrong kind must neither hide an error nor keep a session from opening.
        if event.type == ev.Error.type:
            self._on_error(
                ev.Error(event_id=event.event_id, error=lenient_detail(event.raw), raw=event.raw), now, notices
            )
        elif event.type == ev.SessionUpdated.type:
            self.commands.succeed("session.update", event)

    def _on_error(self, event: ev.Error, now: float, notices: list[Notice]) -> None:
        error = api_error(event)
        self.last_error = error
        if "not accepted by semantic turn detection" in error.message:
            self.speaking = False
        command = self.commands.blame(error)
        if command is not None:
            if command.benign and command.type != "response.cancel":
                return
            if command.type == "response.create":
                self.in_flight = deque(create for create in self.in_flight if create.command is not command)
            elif command.type == "conversation.item.create" and command.key:
                self.follow_ups_wanted += self.rounds.settle(command.key, accepted=False)
            elif command.type == "response.cancel":
                # Nothing runs, says the service, so nothing does. Whoever called cancel_response() gets False.
                for response_id in list(self._cancel_due):
                    self._finish(response_id, "cancelled", now, None, notices)
                return
        if isinstance(error, ServiceBusyError):  # the running response is lost; its end may never come
            for response_id in self.active:
                self._cancel_due.setdefault(response_id, now + self._cancel_grace)
        notices.append(Failure(error, command))


def _output_rate(session: ev.SessionObject) -> int | None:
    output = session.audio.output if session.audio is not None else None
    return output.format.sample_rate if output is not None and output.format is not None else None


_HANDLERS: dict[type[ev.ServerEvent], Callable[..., None]] = {
    ev.SessionCreated: SessionState._on_created,
    ev.SessionUpdated: SessionState._on_updated,
    ev.SessionFinished: SessionState._on_finished,
    ev.InputAudioBufferSpeechStarted: SessionState._on_speech_started,
    ev.InputAudioBufferSpeechStopped: SessionState._on_speech_stopped,
    ev.InputAudioBufferCommitted: SessionState._on_committed,
    ev.InputAudioBufferCleared: SessionState._on_cleared,
    ev.ConversationItemCreated: SessionState._on_item,
    ev.ConversationItemInputAudioTranscriptionDelta: SessionState._on_transcript,
    ev.ConversationItemInputAudioTranscriptionText: SessionState._on_transcript,
    ev.ConversationItemInputAudioTranscriptionCompleted: SessionState._on_transcript,
    ev.ResponseCreated: SessionState._on_response_created,
    ev.ResponseDone: SessionState._on_response_done,
    ev.ResponseCancelled: SessionState._on_response_cancelled,
    ev.ResponseTextDelta: SessionState._on_text_delta,
    ev.ResponseAudioTranscriptDelta: SessionState._on_text_delta,
    ev.ResponseTextDone: SessionState._on_text_done,
    ev.ResponseAudioTranscriptDone: SessionState._on_speech_text_done,
    ev.ResponseAudioDelta: SessionState._on_audio_delta,
    ev.ResponseOutputItemDone: SessionState._on_output_item_done,
    ev.Error: SessionState._on_error,
    ev.MalformedEvent: SessionState._on_malformed,
}
