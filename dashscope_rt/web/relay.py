"""One browser on one side, one session on the other. Framework-free.

    relay's thread    socket.receive ─► microphone, text, commit, interrupt, played ─► session     (whoever calls run())
    network thread    session's audio, interruptions ─► ear ─► outgoing; speech begins, ends       (never waits)
    reader thread     session's events ─► messages ─► outgoing                                     (never waits)
    writer thread     outgoing ─► socket.send                                         ("dashscope_rt-web-writer")

The relay's own callbacks are registered before the application's, and audio does not pass through callbacks at all, so
a slow callback of the application makes nothing late that the browser hears.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from .. import events as ev
from ..errors import ConnectionClosed, RealtimeError
from ..session import RealtimeSession
from . import messages, telling
from .ear import Ear
from .messages import Unreadable, text_frame
from .microphone import Line
from .outgoing import End, Outgoing
from .sockets import BrowserSocket, Gone

__all__ = ["Bounds", "Prepared", "Relay"]

_log = logging.getLogger("dashscope_rt.web")
_DROPPING = "the line to the service is slow: what the microphone hears is dropped meanwhile"
_SHORTEST_MS = 300.0  # of speech that is worth a question; the service refuses shorter turns


@attrs.frozen(kw_only=True)
class Bounds:
    """What one browser may take of this server.

    Attributes:
        max_message: Bytes of one message from the browser; more ends the connection with 1009.
        start_s: Seconds a browser has for its ``start``.
        microphone_ms: Audio of the microphone that may wait when the line to the service is slow; what comes then is
            dropped, counted and told.
        output_ms: Speech that may wait for a slow browser, in ms; more ends the connection with 1008.
        output_bytes: The same for everything that waits, in bytes.
        ahead_ms: Speech that has left and has not sounded, in ms, as the browser reports it: answers come faster than
            they are spoken. More ends the connection with 1008.
        quiet_s: Seconds without an event until server-sent events get a comment, which shows whether anybody listens.
        close_s: Seconds for the end: of the session, and of what the browser is still to be told.
    """

    max_message: int = 1024 * 1024
    start_s: float = 10.0
    microphone_ms: float = 10_000.0
    output_ms: float = 120_000.0
    output_bytes: int = 8 * 1024 * 1024
    ahead_ms: float = 600_000.0
    quiet_s: float = 3.0
    close_s: float = 2.0


@attrs.frozen
class Prepared:
    """A session that is not open yet, and the application's callbacks for it by their names (``on_done``, …)."""

    session: RealtimeSession
    callbacks: Mapping[str, Callable[..., object]] = attrs.field(factory=dict)


class Relay:
    """Joins a browser's WebSocket to a session. `run` does all of it and returns when it is over.

    Args:
        socket: The browser's, open.
        prepare: Makes the session, given the ``options`` of the browser's ``start`` (which nobody has checked). Called
            on the thread of `run`. What it raises ends the connection with 1011; a `RealtimeError` is told as such.
        bounds: `Bounds`.
        clock: Seconds.

    Attributes:
        active_at: When something last happened (speech, text, an answer or the sound of one), on the clock; for idle
            reapers.
        session: The session, once there is one.
    """

    def __init__(
        self,
        socket: BrowserSocket,
        prepare: Callable[[Mapping[str, Any]], Prepared],
        *,
        bounds: Bounds | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._socket = socket
        self._prepare = prepare
        self._bounds = bounds or Bounds()
        self._clock = clock
        self._outgoing = Outgoing(self._bounds.output_ms, self._bounds.output_bytes)
        self._ear = Ear(self._outgoing, self._too_slow, clock, ahead_ms=self._bounds.ahead_ms)
        self._thread: threading.Thread | None = None  # of run()
        self._deadline: threading.Timer | None = None
        self._losing = False
        self._texts: dict[str, str] = {}  # of running responses; reader thread
        self._asked_at: float | None = None  # end of the user's last question; relay's and network thread, a float
        self.session: RealtimeSession | None = None
        self.active_at = clock()

    # ---- life -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve the browser until either side is gone; never raises for what they do."""
        self._thread = threading.current_thread()
        writer = threading.Thread(target=self._write, name="dashscope_rt-web-writer", daemon=True)
        writer.start()
        try:
            session, line = self._open()
            while True:
                frame = self._socket.receive()
                if frame is not None:
                    self._take(frame, session, line)
        except Gone as gone:
            _log.debug("%s", gone)
        except _Over:
            pass
        except Unreadable as error:
            self._fail("bad_message", str(error), messages.POLICY)
        except ImportError as error:  # soxr: the administrator's affair, but the page shows it to the developer
            _log.error("%s", error)
            self._fail("not_installed", str(error), messages.FAILED)
        except ConnectionClosed as error:
            if error.info is not None:  # as on_close says it, which may be a moment behind
                self._on_close(error.info)
        except RealtimeError as error:
            _log.warning("a browser's session failed: %s", error)
            self._fail(*telling.error(error), messages.FAILED)
        except Exception:  # noqa: BLE001 — the application's hooks, and the last line before a thread that nobody sees die
            _log.exception("a relay failed")
            self._fail("internal", "this server failed; its log says why", messages.FAILED)
        finally:
            self.end(messages.NORMAL, "")
            if self.session is not None:
                self.session.play_on(None)
                self.session.close(self._bounds.close_s)
            writer.join(self._bounds.close_s)
            self._drain(time.monotonic() + self._bounds.close_s)
            self._socket.abort()
            writer.join(self._bounds.close_s)
            if self._deadline is not None:
                self._deadline.cancel()

    def end(self, code: int, reason: str) -> None:
        """End it from outside: the browser is told, then `run` returns. Any thread; returns at once; once is enough."""
        payload = text_frame("closed", code=code, reason=reason)
        if not self._outgoing.end(payload, End(code, reason)):
            return
        _log.debug("a relay ends: %d %s", code, reason)
        if threading.current_thread() is not self._thread:  # it may wait for whom is not there
            timer = self._deadline = threading.Timer(self._bounds.close_s, self._give_up)
            timer.name, timer.daemon = "dashscope_rt-web-deadline", True
            timer.start()

    def _give_up(self) -> None:  # deadline thread
        self._socket.abort()
        if self.session is not None and not self.session.is_open:
            self.session.close(0)  # it is being opened; an open one is closed by run(), which takes its time for it

    def _fail(self, code: str, message: str, close: int) -> None:
        self._outgoing.put(text_frame("error", code=code, message=message, fatal=True))
        self.end(close, message)

    def _decline(self, code: str, message: str) -> None:
        self._tell("error", code=code, message=message, fatal=False)

    def _too_slow(self) -> None:  # network thread
        self.end(messages.POLICY, "client too slow")

    def _write(self) -> None:
        try:
            while not isinstance(item := self._outgoing.take(), End):
                self._socket.send(item)
            self._socket.close(item.code, item.reason)
        except Gone as gone:
            _log.debug("%s", gone)
            self._outgoing.end(None, End(gone.code, gone.reason))  # the relay's thread finds out by itself

    def _drain(self, deadline: float) -> None:
        # The browser's answer to the close frame; what it still sends must be read, or the close frame may be lost.
        try:
            while (left := deadline - time.monotonic()) > 0:
                self._socket.receive(left)
        except Gone:
            pass

    # ---- opening, relay's thread ------------------------------------------------------------------------------

    def _open(self) -> tuple[RealtimeSession, Line]:
        frame = self._socket.receive(self._bounds.start_s)
        if frame is None:
            raise Unreadable(f"no start came within {self._bounds.start_s:g} s")
        if not isinstance(frame, str):
            raise Unreadable("the first message is start")
        rate, options = messages.read_start(messages.read_text(frame))
        prepared = self._prepare(options)
        session = self.session = prepared.session
        self._listen_to(session)
        for name, callback in prepared.callbacks.items():
            getattr(session, name)(callback)
        session.play_on(self._ear)
        session.connect()
        session.expect(self._in_order)  # as long as the session lives
        bounds = self._bounds
        line = Line(session, rate, max_ms=bounds.microphone_ms)
        self.active_at = self._clock()
        self._outgoing.put(
            text_frame(
                "ready",
                version=messages.VERSION,
                model=session.model.name,
                voice=telling.voice(session),
                mode="vad" if session.uses_vad else "manual",
                input_rate=session.input_rate,
                output_rate=session.output_rate,
                images=session.model.images,
                max_message=bounds.max_message,
            )
        )
        return session, line

    def _listen_to(self, session: RealtimeSession) -> None:
        session.on_input_transcript(
            lambda transcript: self._tell(
                "input_transcript", key=("said", transcript.item_id), **telling.transcript(transcript)
            )
        )
        session.on_text_delta(self._on_text)
        session.on_done(self._on_done)
        session.on_error(lambda error: self._tell("error", **telling.refusal(error)))
        session.on_reconnecting(
            lambda retry: self._tell("reconnecting", attempt=retry.attempt, delay_ms=round(retry.delay * 1000))
        )
        session.on_reconnected(lambda lost: self._tell("reconnected", **telling.lost(lost)))
        session.on_close(self._on_close)

    # ---- from the service, network thread -----------------------------------------------------------------------

    def _in_order(self, event: ev.ServerEvent) -> bool:
        """Tell what sound must not overtake: sound comes on this thread, too, and waits for no callback."""
        if isinstance(event, ev.InputAudioBufferSpeechStarted):
            self.active_at = self._clock()
            self._tell("speech_started")
        elif isinstance(event, ev.InputAudioBufferSpeechStopped):
            self.active_at = self._asked_at = self._clock()
            self._tell("speech_stopped")
        elif isinstance(event, ev.ResponseCreated) and event.response is not None:
            self._ear.turn(event.response.id or "")
        return False

    # ---- from the service, reader thread ------------------------------------------------------------------------

    def _tell(self, kind: str, *, key: object = None, **fields: Any) -> None:
        if not self._outgoing.put(text_frame(kind, **fields), key):
            self._too_slow()

    def _on_text(self, event: Any) -> None:
        self.active_at = self._clock()
        response_id = event.response_id or ""
        turn = self._ear.turn(response_id)
        text = self._texts[response_id] = self._texts.get(response_id, "") + (event.delta or "")
        self._tell("transcript", key=("transcript", turn), turn=turn, text=text, final=False)

    def _on_done(self, response: Any) -> None:
        self.active_at = self._clock()
        turn = self._ear.turn(response.id)
        self._texts.pop(response.id, None)
        if response.text:
            self._tell("transcript", turn=turn, text=response.text, final=True)
        for call in response.function_calls:
            self._tell("function_call", turn=turn, **telling.call(call))
        self._tell("response_done", turn=turn, **telling.done(response, self._asked_at))

    def _on_close(self, info: Any) -> None:
        if info.error is not None:
            code, message = telling.error(info.error)
            self._tell("error", code=code, message=message, fatal=True)
        self.end(*telling.close(info))

    # ---- from the browser, relay's thread -----------------------------------------------------------------------

    def _take(self, frame: str | bytes, session: RealtimeSession, line: Line) -> None:
        if isinstance(frame, bytes):
            kind, payload = messages.read_binary(frame)
            if kind == messages.AUDIO:
                self._hear(line, payload)
            else:
                self._try(lambda: session.append_image(payload, newest_only=True))
            return
        message = messages.read_text(frame)
        kind_of = message["type"]
        if kind_of == "played":
            self._played(message)
        elif kind_of == "text":
            self._say(session, message.get("text"))
        elif kind_of == "commit":
            self._commit(session, line)
        elif kind_of == "interrupt":
            self._try(lambda: session.interrupt(cancel=True))
        elif kind_of == "stop":
            self.end(messages.NORMAL, "stopped")
            raise _Over
        else:  # a newer page
            self._decline("unknown_type", f"no such message: {kind_of[:40]}")

    def _hear(self, line: Line, pcm: bytes) -> None:
        dropped = not line.put(pcm)
        if dropped != self._losing:  # told when it begins, and when it is over
            self._losing = dropped
            self._tell(
                "error",
                code="audio_dropped",
                message=_DROPPING if dropped else f"{line.dropped_ms:.0f} ms of the microphone were lost so far",
                dropped_ms=round(line.dropped_ms),
                fatal=False,
            )

    def _say(self, session: RealtimeSession, text: object) -> None:
        if not isinstance(text, str) or not text.strip():
            self._decline("bad_text", '"text" is what was typed, and not empty')
            return

        def say() -> None:
            session.interrupt(cancel=True)  # who types does not listen to the last answer any more
            if session.model.text_input:
                session.send_text(text)
                session.create_response()
            else:  # older models take it as the instructions of one answer
                session.create_response(instructions=text)
            self.active_at = self._asked_at = self._clock()

        self._try(say)

    def _commit(self, session: RealtimeSession, line: Line) -> None:
        if session.uses_vad:
            self._decline("vad_mode", "the service finds the turns; commit is for manual mode")
            return

        def commit() -> None:
            line.finish()
            spoken = line.fed_ms
            line.restart()
            if spoken < _SHORTEST_MS:
                session.clear_audio()
                self._decline("too_short", "that was too short; hold the button while you speak")
                return
            session.commit()
            session.create_response()
            self.active_at = self._asked_at = self._clock()

        self._try(commit)

    def _played(self, message: Mapping[str, Any]) -> None:
        turn, ms = message.get("turn"), message.get("ms")
        if isinstance(turn, int) and isinstance(ms, (int, float)) and 0 <= ms < float("inf"):
            self._ear.played(turn, float(ms))
            self.active_at = self._clock()  # somebody listens
        else:
            raise Unreadable('played has "turn", a whole number, and "ms", a number of at least 0')

    def _try(self, call: Callable[[], object]) -> None:
        """Do what the browser asks; what cannot be done is told, and only the session's end is the end."""
        try:
            call()
        except ValueError as error:  # UnsupportedByModel, a picture that is none
            self._decline("not_possible", str(error))
        except RealtimeError as error:
            session = self.session
            if session is None or session.close_info is not None:
                raise
            self._decline(*telling.error(error))


class _Over(Exception):
    """The browser said stop."""
