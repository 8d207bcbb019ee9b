"""When the model answers: one response at a time, started by the client, a turn or silence, and cut short by both."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from . import _validation as check
from ._answers import Answer, Heard, spoken
from ._context import Context, Turn
from ._inputs import Inputs, Question, Running, details_of
from ._response import Response, Shape
from ._sound import resample, tones
from ._usage import Ledger
from ._wire import (
    already_active,
    make,
    none_active,
    not_accepted,
    nothing_to_answer,
    unknown_call,
    user_speaking,
)


class Responses:
    """The responses of one session.

    Args:
        context: Shared with the session's other parts.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.question: Question | None = None
        self.accept: Callable[[Turn], None] = lambda turn: None  # set by the turns
        self.generated_at = context.now
        self._running: Running | None = None
        self._inputs = Inputs()
        self._ledger = Ledger(context.info.family)
        self._waiting: deque[Turn] = deque()  # ended under semantic VAD, not judged yet
        self._wanted = False  # a turn was committed while another response was active
        self._untold: list[Turn] = []  # their transcript comes with the answer
        self._calls: set[str] = set()
        self._count = 0
        self._quiet_since = context.now
        self._prompted = False
        self._judging: Question | None = None

    # What comes in

    @property
    def active(self) -> bool:
        """A response is running, or is about to under semantic VAD."""
        return self._running is not None or self._judging is not None

    @property
    def idle(self) -> bool:
        """Nothing runs and nothing waits."""
        return not self.active and not self._waiting and not self._wanted

    def add_turn(self, turn: Turn) -> None:
        """A turn was committed; sends its transcription unless only the answer will know it."""
        self._inputs.turns.append(turn)
        self._ledger.hear(len(turn.audio) / 2 / turn.rate, turn.channels)
        for image in turn.images:
            self._ledger.see(image, self._context.config.compact)
        transcript, failure = self._context.answers.transcript(turn.audio, turn.rate)
        if transcript is None and failure is None:
            self._untold.append(turn)
        else:
            self._context.tell_transcript(turn, transcript, failure)

    def add_text(self, text: str) -> None:
        """A text item was created."""
        self._inputs.texts.append(text)
        self._ledger.read(text)

    def add_output(self, call_id: str, output: str) -> None:
        """A function's output was given.

        Raises:
            Refusal: Nobody called, or it was answered already.
        """
        if call_id not in self._calls:
            raise unknown_call(call_id)
        self._calls.discard(call_id)
        self._inputs.outputs[call_id] = output
        self._ledger.read(output)

    def outputs_complete(self) -> None:
        """The acknowledgement of an output was sent: go on by oneself where the variant says so."""
        context = self._context
        if context.variants.continue_after_tools and context.config.turn_detection is not None and not self._calls:
            self._wanted = True
            self._next()

    def turn_ended(self, turn: Turn) -> None:
        """The VAD found the end of a turn."""
        detection = self._context.config.turn_detection
        creates = bool(detection and detection["create_response"])
        self._quiet_since, self._prompted = self._context.now, False
        if creates and self._context.config.semantic:
            self._waiting.append(turn)
        else:
            self.accept(turn)
            self.add_turn(turn)
            self._wanted = self._wanted or creates
        self._next()

    # What the client asks

    def create(self, params: Mapping[str, Any], event_id: str | None) -> None:
        """``response.create``.

        Raises:
            Refusal: It cannot be done now, or a value is wrong.
        """
        if self.active:
            raise already_active()
        if self._context.speaking:
            raise user_speaking()
        if "modalities" in params and params["modalities"] is not None:
            check.modalities(params["modalities"], "response.modalities")
        if params.get("instructions") is not None:
            check.text(params["instructions"], "response.instructions")
        if not self._inputs and not params.get("instructions"):
            raise nothing_to_answer()
        if self._context.config.semantic:
            self._judge(Question(self._heard(params), "create", event_id=event_id, params=params))
        else:
            self._begin(params, None)

    def cancel(self) -> None:
        """``response.cancel``.

        Raises:
            Refusal: None is active.
        """
        running = self._running
        if running is None:
            raise none_active()
        wish = self._context.variants.cancel_sends_done
        ends = wish if wish is not None else not self._context.info.family.startswith("qwen3.5")
        self._context.emit(*running.response.cut())
        self._end(running, "cancelled" if ends else None, {"type": "cancelled", "reason": "client_cancelled"})

    def interrupt(self) -> None:
        """The user began to speak."""
        running, variants = self._running, self._context.variants
        if running is None:
            return
        left = variants.late_deltas
        while left and running.steps is not None and (step := next(running.steps, None)) is not None:
            self._context.emit(*step.events)
            left -= step.delta
        if variants.barge_in_done is not None:
            self._context.emit(*running.response.cut())
        details = {"type": "cancelled", "reason": "turn_detected"} if variants.barge_in_done == "cancelled" else None
        self._end(running, variants.barge_in_done, details)

    def release(self) -> None:
        """A held answer goes on."""
        if self._running is not None:
            self._running.held, self._running.released = False, True
            self._running.due = self._context.now

    def answered(self, question: Question, answer: Answer | None) -> None:
        """The answer to a question; None when whoever should have given it failed."""
        if self.question is question:
            self.question = None
        answer = answer or Answer(status="failed")
        if self._judging is question:
            self._judging = None
            self._judged(question, answer)
        elif self._running is not None and self._running.heard is question.heard:
            self._play(self._running, answer)

    # Time

    @property
    def due(self) -> float | None:
        """When `advance` has something to do."""
        running = self._running
        if running is not None:
            return None if running.steps is None or running.held else running.due
        return self._prompt_due()

    def advance(self) -> None:
        """Do the one thing that is due."""
        running = self._running
        if running is None:
            prompt = self._prompt_due()
            if prompt is not None and prompt <= self._context.now:
                self._prompted = True
                self._begin({}, None, prompted=False)
            return
        answer = running.answer
        if answer is None or running.steps is None or running.held or running.due > self._context.now:
            return
        held = running.at_hold()
        step = None if held else next(running.steps, None)
        if step is not None:
            self._context.emit(*step.events)
            self._calls.update(running.response.call_ids)
            running.response.call_ids.clear()
            if running.response.audio_bytes:
                self._context.audio_made = True
            running.played_ms += step.wait_ms
            running.due += step.wait_ms / 1000 * self._context.pace
        elif answer.error is not None or answer.close is not None:
            self._break_off(answer)
        elif held:
            running.held = True
        else:
            self._end(running, answer.status, details_of(answer.status))

    def _prompt_due(self) -> float | None:
        detection = self._context.config.turn_detection
        wait = detection.get("idle_timeout_ms") if detection else None
        if wait is None or self._prompted or self.active or self._context.speaking:
            return None
        return self._quiet_since + float(wait) / 1000 * self._context.variants.idle_timeout_scale

    # How a response begins and ends

    def _heard(self, params: Mapping[str, Any], turn: Turn | None = None, *, prompted: bool = True) -> Heard:
        turns = [*self._inputs.turns, turn] if turn is not None else self._inputs.turns
        values = self._context.config.values
        asked = params.get("instructions") or ""
        return Heard(
            audio=b"".join(part.audio for part in turns),
            rate=turns[-1].rate if turns else self._context.config.input_format["sample_rate"],
            images=tuple(image for part in turns for image in part.images),
            texts=tuple(self._inputs.texts),
            function_outputs=dict(self._inputs.outputs),
            instructions="\n".join(filter(None, [values["instructions"], asked])),
            response_instructions=asked,
            tools=tuple(values["tools"]),
            model=self._context.info.name,
            turn=self._count + 1,
            connection=self._context.number,
            prompted=prompted,
        )

    def _next(self) -> None:
        if self.active:
            return
        if self._waiting:
            turn = self._waiting.popleft()
            self._judge(Question(self._heard({}, turn), "turn", turn=turn))
        elif self._wanted:
            self._wanted = False
            self._begin({}, None)

    def _judge(self, question: Question) -> None:
        self._judging = question
        self._ask(question)

    def _judged(self, question: Question, answer: Answer) -> None:
        turn = question.turn
        if answer.reject_semantic:
            self._context.emit(not_accepted().event(question.event_id, self._context.variants.error_event_ids))
            if turn is None:
                self._inputs = Inputs()
            self._next()
            return
        if turn is not None:
            self.accept(turn)
            self.add_turn(turn)
            if self._context.speaking:  # the user went on: this waits for the next turn
                return
        self._begin(question.params, answer)

    def _ask(self, question: Question) -> None:
        answer = self._context.answers.take(question.heard)
        if answer is None:
            self.question = question
        else:
            self.answered(question, answer)

    def _begin(self, params: Mapping[str, Any], answer: Answer | None, *, prompted: bool = True) -> None:
        context = self._context
        config, values = context.config, context.config.values
        response = Response(
            Shape(
                conversation_id=context.conversation_id,
                modalities=tuple(params.get("modalities") or values["modalities"]),
                voice=values["voice"],
                audio_format=values["output_audio_format"],
                container=config.output_format["type"],
                rate=config.output_format["sample_rate"],
                wav_headers=context.variants.wav_headers,
                item_created=context.variants.item_created,
                leading_space=context.variants.arguments_leading_space,
            )
        )
        heard = self._heard(params, prompted=prompted)
        self._inputs = Inputs()
        self._count += 1
        self._running = running = Running(response, heard, due=context.now)
        context.emit(response.created())
        if answer is None:
            self._ask(Question(heard, "response"))
        else:
            self._play(running, answer)

    def _play(self, running: Running, answer: Answer) -> None:
        self._tell_untold(answer)
        rate = running.response.shape.rate
        audio = b""
        if "audio" in running.response.shape.modalities:
            sound = answer.sound(running.heard)
            audio = tones(answer.text, rate) if sound is None else resample(sound[0], sound[1] or rate, rate)
        running.answer = answer
        running.steps = running.response.play(answer, audio)
        running.due = self._context.now

    def _tell_untold(self, answer: Answer | None) -> None:
        untold, self._untold = self._untold, []
        for turn in untold:
            transcript: str | None = spoken(len(turn.audio) / 2 / turn.rate)
            failure: str | None = None
            if answer is not None and turn is untold[-1]:
                failure = answer.transcription_failed
                transcript = None if failure is not None else answer.input_transcript or transcript
            self._context.tell_transcript(turn, transcript, failure)

    def _end(self, running: Running, status: str | None, details: Mapping[str, Any] | None) -> None:
        context = self._context
        self._running = None
        if self.question is not None and self.question.kind == "response":
            self.question = None
        self._tell_untold(None)
        response = running.response
        searched = bool(context.config.values["enable_search"])
        usage = self._ledger.usage(running.heard.instructions, response.said, response.audio_seconds, searched)
        self._ledger.read(response.said)
        if status is not None:
            context.emit(response.done(status, usage, details))
        self.generated_at = self._quiet_since = context.now
        self._next()

    def _break_off(self, answer: Answer) -> None:
        self._running = None
        self.generated_at = self._quiet_since = self._context.now
        if answer.error is not None:
            self._context.emit(make("error", error=dict(answer.error)))
        if answer.close is not None:
            self._context.end(*answer.close)
        else:
            self._next()
