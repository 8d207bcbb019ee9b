"""How a question is put: `TurnTaking` lets one turn run at a time and feeds it with straight, blocking code.

The feeding runs on the caller's thread, or on a thread named ``dashscope_rt-ask`` when the answer is streamed; what it
waits for comes from the network thread, so it works inside callbacks too.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs

from .. import events as ev
from ..audio.pcm import silence
from ..errors import APIError, DeadlineExceeded, RealtimeError, UnsupportedByModel, WaitInCallbackError
from ..images import Image, prepare
from ..turns import Turn
from .connection import Connection
from .sources import read_source
from .state import Create
from .streaming import CHUNK_MS, TAIL_MS, vad_silence_ms

if TYPE_CHECKING:
    from ..session import RealtimeSession

_THREAD = "dashscope_rt-ask"
_SHORTEST_MS = 100.0  # "buffer too small" below it; the service may want more. Source: error catalogue
_LEAD_MS = 1000.0  # silence before pictures that come without audio
_PATIENCE_S = 5.0  # until a response.create counts as dropped
_PATIENCE_AFTER_TRANSCRIPT_S = 1.0
_FAREWELL_S = 0.5  # to queue what takes back half a question


@attrs.frozen
class _Question:
    audio: Iterable[bytes] | None
    text: str | None
    images: tuple[bytes, ...]


class Floor:
    """Whose turn it is, in one session.

    Attributes:
        current: The last turn that was begun; guarded by its connection's `changed`.
    """

    def __init__(self) -> None:
        self.current: Turn | None = None


class TurnTaking:
    """One turn at a time, for one session."""

    def __init__(self, session: RealtimeSession, floor: Floor) -> None:
        self._session = session
        self._floor = floor

    def begin(
        self, *, audio: Any, text: str | None, images: tuple[Image, ...], timeout: float, background: bool
    ) -> Turn:
        """Check the question, wait for the turn before, send; see `RealtimeSession.ask`."""
        session = self._session
        connection = session._open_connection()
        question = self._checked(audio, text, images)
        tools_answer = session._registry.has("on_function_call")
        deadline = time.monotonic() + timeout
        turn = Turn(connection, timeout=timeout, vad=session.uses_vad, tools_answer=tools_answer)
        turn._written, turn._silent = text, question.audio is None and bool(images)
        before = self._floor.current
        if before is not None and before._connection is connection and before._left and not before.done:
            before._abandon()  # nobody reads its rest any more
        self._claim(turn, connection, deadline)
        try:
            turn._begin()
            if background:
                threading.Thread(target=self._feed, args=(turn, question), name=_THREAD, daemon=True).start()
            else:
                self._feed(turn, question)
        except RealtimeError:
            raise
        except BaseException:  # Ctrl-C: nobody gets to hold this turn
            turn._abandon()
            raise
        return turn

    def _claim(self, turn: Turn, connection: Connection, deadline: float) -> None:
        in_callback = connection.reader.is_current()
        in_tool = connection.calling.is_current()

        def free() -> bool:
            current = self._floor.current
            if current is turn:
                return True
            running = current is not None and current._connection is connection and current._runs(time.monotonic())
            if running and in_callback and current is not None and current._tools_answer:
                raise WaitInCallbackError(
                    "ask() was called in a callback while another turn runs, which may need a callback to end; ask"
                    " from another thread"
                )
            if running and in_tool:
                raise WaitInCallbackError(
                    "ask() was called in a tool while another turn runs, which may be waiting for this very tool; ask"
                    " in another session, or from another thread without waiting for it"
                )
            if not running:
                self._floor.current = turn
            return not running

        while True:
            current = self._floor.current
            # A turn that nobody reads any more is over at its own deadline, and no event says so.
            until = deadline if current is None else min(deadline, current._deadline)
            try:
                connection.wait_until(free, until, "the end of the turn before")
                return
            except DeadlineExceeded:
                if time.monotonic() >= deadline:
                    raise DeadlineExceeded("another turn of this session was still running when time was up") from None

    def _checked(self, audio: Any, text: str | None, images: tuple[Image, ...]) -> _Question:
        session, model = self._session, self._session.model
        if images and not model.images and not session._allow_unsupported:
            raise UnsupportedByModel(f"{model.name} takes no pictures; use a model of the Omni family")
        if images and audio is None and session.uses_vad:
            raise ValueError(
                "in VAD mode pictures go along with speech, because the service commits them itself: pass audio too, or"
                " open the session with turn_detection=None"
            )
        if text is not None and audio is not None and session.uses_vad and not model.text_input:
            raise UnsupportedByModel(
                f"{model.name} takes no text items, and in VAD mode it answers speech by itself: give the text with"
                " session.update(instructions=…), or open the session with turn_detection=None"
            )
        if text is not None and not text.strip():
            raise ValueError("the question's text is empty; leave text out to ask without one")
        jpegs = tuple(prepare(image, model.max_image_base64_bytes) for image in images)
        if audio is None:
            return _Question(None, text, jpegs)
        source = read_source(audio, session.input_rate, model.input_rates, CHUNK_MS)
        if source.total_ms is not None and source.total_ms < _SHORTEST_MS and not images and not session.uses_vad:
            name = os.fspath(audio) if isinstance(audio, (str, os.PathLike)) else "the audio"
            raise ValueError(f"{name} lasts {source.total_ms:g} ms, and the service takes no turn below 100 ms")
        return _Question(source.pieces, text, jpegs)

    # ---- feeding ----------------------------------------------------------------------------------------------

    def _feed(self, turn: Turn, question: _Question) -> None:
        try:
            self._send(turn, question)
        except _TurnIsOver:
            pass
        except Exception as error:  # noqa: BLE001 — whoever waits for the turn, on whatever thread, gets it
            turn._fail(error)
        finally:
            if not turn._fed:
                self._take_back(turn)

    def _send(self, turn: Turn, question: _Question) -> None:
        connection = turn._connection
        by_vad = turn._vad and question.audio is not None
        if by_vad and question.text is not None:
            self._say(turn, question.text)  # before the speech: the service answers by itself when that ends
        self._append(turn, question)
        create: Create | None = None
        if by_vad:
            turn._mark_sent()
            self._until_committed(turn)
            if self._must_create():
                create = turn._create = connection.create(ev.ResponseCreate(event_id=connection.next_id()))
        else:
            if question.audio is not None or question.images:
                self._commit(turn)
            instructions = self._say(turn, question.text) if question.text is not None else None
            _check(turn)
            turn._mark_sent()
            create = turn._create = self._create(turn, instructions)
        if create is not None:
            self._until_created(turn, create)
        turn._mark_fed()

    def _append(self, turn: Turn, question: _Question) -> None:
        session = self._session
        images = list(question.images)
        pieces: Iterable[bytes] = question.audio if question.audio is not None else ()
        if question.audio is None:
            pieces = [silence(_LEAD_MS, session.input_rate)] * len(images)
        for piece in pieces:
            _check(turn)
            turn._loose_audio = True
            session.append_audio(piece)
            # Audio first: the service wants it. Without speech, each picture gets a second of silence of its own.
            for image in images[:1] if question.audio is None else images:
                turn._sent_ids.add(session.append_image(image))
            images = images[1:] if question.audio is None else []
        _check(turn)

    def _commit(self, turn: Turn) -> None:
        event_id = self._session.commit()
        turn._loose_audio = False
        try:
            self._acknowledged(turn, event_id)
        except APIError:
            turn._loose_audio = True  # what was refused is still there
            raise

    def _take_back(self, turn: Turn) -> None:
        """Leave nothing of a question that was given up; it would become a part of the next one, or its answer."""
        connection = turn._connection
        with connection.changed:
            create = turn._create
            if create is not None and create.response is None:
                create.unwanted = True
                waiting = connection.state.waiting
                connection.state.waiting = deque(other for other in waiting if other is not create)
        if turn._loose_audio and not turn._commits:
            with contextlib.suppress(RealtimeError):  # then the connection is gone, and the audio with it
                connection.send(ev.InputAudioBufferClear(event_id=connection.next_id()), timeout=_FAREWELL_S)

    def _say(self, turn: Turn, text: str) -> str | None:
        """Give the text as an item, where the model takes them; else return it, to become instructions."""
        if not self._session.model.text_input:
            return text
        self._acknowledged(turn, self._session.send_text(text))
        return None

    def _create(self, turn: Turn, instructions: str | None) -> Create | None:
        connection = turn._connection
        if not self._session.model.creates_responses:
            return None  # LiveTranslate: the commit alone starts the translation
        with connection.changed:
            follows = next((create for create in connection.state.waiting if create.follows_tools), None)
            follows = follows or next((create for create in connection.state.in_flight if create.follows_tools), None)
        if follows is not None:  # the answer to tool outputs is on its way already
            return follows
        body = {"instructions": instructions} if instructions is not None else None
        return connection.create(ev.ResponseCreate(event_id=connection.next_id(), response=body))

    def _must_create(self) -> bool:
        session = self._session.info
        detection = session.turn_detection if session is not None else None
        return detection is not None and detection.create_response is False

    def _acknowledged(self, turn: Turn, event_id: str) -> None:
        self._session.wait_ack(event_id, max(0.0, turn._deadline - time.monotonic()))

    def _until_committed(self, turn: Turn) -> None:
        """Send the silence without which the VAD never notices the end of speech, until it has."""
        session, connection = self._session, turn._connection
        wait_ms = vad_silence_ms(session)
        for _ in range(int((wait_ms + TAIL_MS) / CHUNK_MS) + 1):
            session.append_audio(silence(CHUNK_MS, session.input_rate))
        while True:
            # Real time from here on: the wait is the pace, and it ends as soon as the service has the turn.
            try:
                now = time.monotonic()
                connection.wait_until(turn._accepted, min(now + CHUNK_MS / 1000, turn._deadline), "the commit")
                return
            except DeadlineExceeded:
                if time.monotonic() >= turn._deadline:
                    raise DeadlineExceeded(f"the question was not taken in time: {turn._what_is_missing()}") from None
            session.append_audio(silence(CHUNK_MS, session.input_rate))

    def _until_created(self, turn: Turn, create: Create) -> None:
        """Wait for response.created; repeat the request once if the service seems to have dropped it.

        On 3.5-plus a response.create that comes before the input's transcription is complete vanishes without a word.
        """
        connection = turn._connection
        # From when it was sent, not from now: the transcription may have been completed in between.
        asked = create.sent_at if create.sent_at is not None else time.monotonic()
        repeated = False
        while True:
            due = asked + _PATIENCE_S
            heard = turn._transcribed_at
            if heard is not None and heard > asked:
                due = min(due, heard + _PATIENCE_AFTER_TRANSCRIPT_S)
            deadline = turn._deadline if repeated else min(due, turn._deadline)
            seen = heard

            def progress() -> bool:
                return create.command.settled or turn._over or (not repeated and turn._transcribed_at != seen)  # noqa: B023

            try:
                connection.wait_until(progress, deadline, "response.created")
            except DeadlineExceeded:
                if repeated or time.monotonic() >= turn._deadline:
                    raise DeadlineExceeded("the service did not begin to answer in time") from None
                if create.sent_at is None:  # it still waits for a response that runs
                    asked = time.monotonic()
                    continue
                repeated = True
                connection.repeat_create(create)
                continue
            if create.command.error is not None:
                raise create.command.error
            if create.command.settled or turn._over:
                return


class _TurnIsOver(Exception):
    """Nobody waits for the turn any more, or it has failed: nothing more of it is sent."""


def _check(turn: Turn) -> None:
    if turn.done:
        raise _TurnIsOver
    if time.monotonic() >= turn._deadline:
        raise DeadlineExceeded("the question's audio had not ended when the turn's time was up")
