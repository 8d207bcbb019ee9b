"""A conversation without questions: sound goes in all the time, and the service finds the turns (VAD)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import dashscope_rt as rt

from ._commands import explained
from ._display import Display
from ._files import Answers
from ._output import seconds

_TAIL_MS = 500
_GRACE_S = 2.0  # for the service to notice that somebody spoke, after everything was sent


class Stream:
    """Shows and keeps what happens in a session whose turns the service finds.

    Callbacks run on the session's reader thread; the rest may be called from any.

    Args:
        session: Not opened yet.
        display: Where it is shown.
        answers: Where it is kept.
        speaker: Where it sounds, or None.
    """

    def __init__(self, session: rt.RealtimeSession, display: Display, answers: Answers, speaker: Any = None) -> None:
        self._session = session
        self._display = display
        self._answers = answers
        self._changed = threading.Condition()  # guards what follows
        self._speaking = False
        self._spoke = False
        self._open_turns = 0  # turns of the user that have no answer yet
        self._asked_at: float | None = None  # when the question ended to which no answer has begun yet
        self._asked: dict[str, float] = {}  # the same, of answers that have begun, by their id
        self._tokens = 0
        self.failure: rt.RealtimeError | None = None
        self.last: rt.Response | None = None
        if speaker is not None:
            session.play_on(speaker)  # which also silences it when the user begins to speak
        session.on_speech_started(self._on_speech_started)
        session.on_speech_stopped(self._on_speech_stopped)
        session.on("input_audio_buffer.committed")(self._on_committed)
        session.on("response.created")(self._on_created)
        session.on_input_transcript(lambda heard: display.heard(heard.text, final=heard.final))
        session.on_text_delta(lambda event: display.said(event.delta or ""))
        session.on_done(self._on_done)
        session.on_error(self._on_error)

    # ---- callbacks --------------------------------------------------------------------------------------------

    def _on_speech_started(self, _event: object) -> None:
        self._display.state("you speak")
        with self._changed:
            self._speaking = self._spoke = True
            self._changed.notify_all()

    def _on_speech_stopped(self, _event: object) -> None:
        self._display.state("thinking")
        with self._changed:
            self._speaking = False
            self._changed.notify_all()
        self.asked(late_ms=self._session.stats.callback_lag_ms)

    def asked(self, *, late_ms: float = 0.0) -> None:
        """A question has just ended; the wait for its answer is counted from here.

        Args:
            late_ms: How long ago that was.
        """
        with self._changed:
            self._asked_at = time.monotonic() - late_ms / 1000

    def _on_created(self, event: Any) -> None:
        with self._changed:
            if self._asked_at is not None and event.response is not None:
                self._asked[event.response.id or ""] = self._asked_at
                self._asked_at = None

    def _on_committed(self, _event: object) -> None:
        with self._changed:
            self._spoke = True
            self._speaking = False
            self._open_turns += 1
            self._changed.notify_all()

    def _on_done(self, response: rt.Response) -> None:
        with self._changed:
            self._open_turns = max(0, self._open_turns - 1)
            self._tokens += (response.usage.total_tokens or 0) if response.usage is not None else 0
            tokens, asked = self._tokens, self._asked.pop(response.id or "", None)
            self.last = response
            self._changed.notify_all()
        first = min((at for at in (response.first_text_at, response.first_audio_at) if at is not None), default=None)
        facts = []
        if response.status != "completed":
            facts.append(response.status)
        if first is not None and asked is not None:
            facts.append(f"answered after {seconds(max(0.0, first - asked) * 1000)}")
        if tokens:
            facts.append(f"{tokens} tokens so far")
        self._display.over(" · ".join(facts))
        self._display.state("listening")
        if response.error is not None:
            self._on_error(response.error)
        kept = self._answers.save(response.audio, response.audio_rate)
        if kept is not None:
            self._display.line(f"       {kept}", "dim")

    def _on_error(self, error: rt.APIError) -> None:
        with self._changed:
            self.failure = error
            self._changed.notify_all()
        self._display.line(f"error: {explained(error) or error}", "red")

    # ---- feeding ----------------------------------------------------------------------------------------------

    def feed(self, pieces: Iterable[bytes], level: Callable[[], float] | None = None) -> None:
        """Send sound as it comes, until it ends.

        Raises:
            ConnectionClosed: The session is over.
        """
        for pcm in pieces:
            self._session.append_audio(pcm)
            self._display.level(level() if level is not None else rt.audio.level_db(pcm))

    def finish(self, timeout: float) -> None:
        """Let the service notice that nothing more comes, and wait for the answers that are due.

        Raises:
            DeadlineExceeded: No speech was heard, or an answer did not come in time.
            ConnectionClosed: The session ended first.
        """
        rate = self._session.input_rate
        detection = self._session.info.turn_detection if self._session.info is not None else None
        wait_ms = (detection.silence_duration_ms if detection is not None else None) or 800
        for _ in range((wait_ms + _TAIL_MS) // 100 + 1):
            self._session.append_audio(rt.audio.silence(100, rate))
        deadline, patience = time.monotonic() + timeout, time.monotonic() + _GRACE_S
        while True:
            with self._changed:
                if self._spoke and not self._speaking and self._open_turns == 0:
                    return
                if not self._spoke and time.monotonic() > patience:
                    raise rt.DeadlineExceeded("the service heard no speech in the audio")
                self._changed.wait(0.1)
                waiting = self._speaking or not self._spoke
            if time.monotonic() > deadline:
                raise rt.DeadlineExceeded(f"the answer did not come within {timeout:g} s")
            if not self._session.is_open:
                raise rt.ConnectionClosed(f"the session ended: {self._session.close_info}", self._session.close_info)
            if waiting:
                self._session.append_audio(rt.audio.silence(100, rate))  # real time goes on for the service
