"""A spoken conversation: microphone, speaker and session put together.

device thread       microphone ─► queue                                        jitter buffer ─► speaker
microphone thread   queue ─► muted or ducked, resampled ─► session.append_audio
network thread                                    session ─► speaker.write, speaker.stop
reader thread                                     session ─► your callbacks
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Iterator
from types import TracebackType

from .audio.devices import ECHO_MODES, Echo, Microphone, Speaker
from .audio.pcm import duration_ms, stereo
from .audio.resampling import Resampler
from .audio.wav_stream import WavWriter
from .errors import ConnectionClosed, DeadlineExceeded, RealtimeError
from .session import RealtimeSession
from .turns import Turn

__all__ = ["Conversation"]

_log = logging.getLogger("dashscope_rt")
_SEND_MS = 40.0  # of audio in one event: short, because it delays the interruption
_SHORTEST_MS = 300.0  # of speech that is worth a question; the service refuses shorter turns
_PRESS_TIMEOUT = 600.0  # s for one push-to-talk turn, speaking included


class Conversation:
    """Talk with a model. With voice activity detection it is hands-free; in manual mode it is push-to-talk.

        session = RealtimeClient().session("qwen3.5-omni-flash-realtime")
        with Conversation(session, echo="headset") as talk:
            talk.wait()

    Hands-free, the service hears everything and finds the turns; speaking into an answer interrupts it. With
    ``turn_detection=None`` nothing is sent but what is said between `press` and `release`; pressing interrupts.

    Callbacks belong to the session and are registered there (``session.on_text_delta``, ``on_interrupted``, …).

    Args:
        session: A session, open already or not. One that is opened here is closed here.
        microphone: A `Microphone`; None is the machine's own.
        speaker: A `Speaker`; None is the machine's own.
        echo: What to do about the speaker's sound in the microphone, see `Microphone.guard`: ``mute`` (nobody can
            interrupt by voice), ``duck``, or ``headset`` for headphones and devices that cancel echo.
        record: A path: the conversation is recorded there as a stereo WAV file, left what the service heard of you,
            right what came out of the speaker, both as they met in time.

    Raises:
        ValueError: ``echo`` is none of the three.

    Attributes:
        session: The session.
        microphone: The microphone; ``microphone.muted = True`` to be private for a while.
        speaker: The speaker.
        error: Why it ended, when it ended by itself.
    """

    def __init__(
        self,
        session: RealtimeSession,
        *,
        microphone: Microphone | None = None,
        speaker: Speaker | None = None,
        echo: Echo = "mute",
        record: str | os.PathLike[str] | None = None,
    ) -> None:
        if echo not in ECHO_MODES:
            raise ValueError(f"echo must be one of {', '.join(ECHO_MODES)}, not {echo!r}")
        self.session = session
        self.microphone = microphone if microphone is not None else Microphone(rate=session.input_rate)
        self.speaker = speaker if speaker is not None else Speaker()
        self.error: RealtimeError | None = None
        self._echo: Echo = echo
        self._record = record
        self._recorder: _Recorder | None = None
        self._opened: list[Microphone | Speaker | RealtimeSession] = []
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        # Guards `_press`; held only to exchange it.
        self._pressing = threading.Lock()
        self._press: _Press | None = None

    # ---- life -------------------------------------------------------------------------------------------------

    def start(self) -> Conversation:
        """Open what is not open yet, and begin to listen.

        Raises:
            RealtimeError: As `RealtimeSession.connect`.
            ImportError: The extra ``audio`` is needed and not installed.
            LookupError: There is no such device.
            OSError: A device cannot be opened, or the recording cannot be written.
        """
        if self._thread is not None:
            raise RuntimeError("the conversation has started already")
        try:
            for part in (self.speaker, self.microphone):
                if not part.is_open:
                    part.open()
                    self._opened.append(part)
            self._feeds = Resampler(self.microphone.rate, self.session.input_rate)
            if self._record is not None:
                self._recorder = _Recorder(self._record, self.session.input_rate, self.speaker)
            self.microphone.guard(self.speaker, self._echo)
            self.session.play_on(self.speaker)
            if not self.session.is_open:
                self.session.connect()
                self._opened.append(self.session)
        except BaseException:
            self._let_go()
            raise
        self._ended.clear()
        self._thread = threading.Thread(target=self._listen, name="dashscope_rt-microphone", daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        """End it: let go of the devices, close the session if it was opened here. May be called again."""
        self.microphone.close()  # the thread's iteration ends
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(self.session.timeouts.close)
        self._let_go()
        self._ended.set()

    def _let_go(self) -> None:
        self.microphone.gate = None
        opened, self._opened = self._opened, []
        for part in reversed(opened):
            part.close()
        self.session.play_on(None)
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.close()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the conversation is over: by `close`, or because the session ended (`error` says why).

        Args:
            timeout: Seconds; None waits as long as it takes. Ctrl-C ends the wait.

        Returns:
            Whether it is over.
        """
        return self._ended.wait(threading.TIMEOUT_MAX if timeout is None else timeout)

    def __enter__(self) -> Conversation:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        mode = "hands-free" if self.hands_free else "push-to-talk"
        return f"<Conversation {mode} {'over' if self._ended.is_set() else 'on'} {self.session!r}>"

    @property
    def hands_free(self) -> bool:
        """Whether the service finds the turns; False is push-to-talk."""
        return self.session.uses_vad

    # ---- push-to-talk -----------------------------------------------------------------------------------------

    def press(self) -> None:
        """Begin to speak: what sounds falls silent, the running answer is cancelled. Returns at once.

        Raises:
            RuntimeError: The conversation is hands-free, or is pressed already.
            ConnectionClosed: The session is over.
        """
        if self.hands_free:
            raise RuntimeError(
                "this conversation is hands-free: the service finds the turns; open the session with"
                " turn_detection=None for push-to-talk"
            )
        with self._pressing:
            if self._press is not None:
                raise RuntimeError("it is pressed already; release() comes first")
            self.session.interrupt()
            self._press = _Press(self.session)

    def release(self) -> Turn | None:
        """Have spoken: ask for the answer, which the speaker plays as it comes.

        Returns:
            The `Turn`, which goes on: ``wait()`` for its end, or read it later. None if less than 300 ms were spoken,
            which is a slip of the finger; nothing was asked then.

        Raises:
            RuntimeError: It was not pressed.
            RealtimeError: The question could not be asked.
        """
        with self._pressing:
            press, self._press = self._press, None
        if press is None:
            raise RuntimeError("it was not pressed; press() comes first")
        return press.finish()

    # ---- the microphone's thread ------------------------------------------------------------------------------

    def _listen(self) -> None:
        try:
            pending = bytearray()
            least = self.session.input_rate * _SEND_MS / 1000 * 2
            for block in self.microphone:
                pcm = self._feeds.feed(block)
                press = self._press
                heard = self.hands_free or press is not None
                if self._recorder is not None:
                    self._recorder.mine(pcm if heard else bytes(len(pcm)))
                if press is not None:
                    press.put(pcm)
                elif heard:
                    pending += pcm
                    if len(pending) >= least:
                        self._send(bytes(pending))
                        pending.clear()
                if self.session.close_info is not None:  # push-to-talk sends nothing that would tell
                    raise ConnectionClosed(f"the session is over: {self.session.close_info}", self.session.close_info)
        except RealtimeError as error:
            self.error = error
            _log.info("the conversation is over: %s", error)
        finally:
            press = self._press
            if press is not None:
                press.end()
            self._ended.set()

    def _send(self, pcm: bytes) -> None:
        try:
            self.session.append_audio(pcm)
        except DeadlineExceeded as error:  # the line is too slow; what was said meanwhile is lost, the rest is not
            _log.warning(
                "%.0f ms of the microphone are lost: %s", duration_ms(len(pcm), self.session.input_rate), error
            )


class _Press:
    """One push of the button: pieces of audio on their way into one question.

    The question is asked on a thread of its own (``dashscope_rt-press``), because it may have to wait for the end of a
    cancelled answer, while the user speaks already. What is said meanwhile is kept.
    """

    def __init__(self, session: RealtimeSession) -> None:
        self._session = session
        self._pieces: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._turn: Turn | None = None
        self._error: RealtimeError | None = None
        self._asked = threading.Event()
        threading.Thread(target=self._ask, name="dashscope_rt-press", daemon=True).start()

    def put(self, pcm: bytes) -> None:
        """Add what was said."""
        self._pieces.put(pcm)

    def end(self) -> None:
        """Nothing more is said."""
        self._pieces.put(None)

    def finish(self) -> Turn | None:
        """Nothing more is said; return the turn, None if it was too short for one."""
        self.end()
        self._asked.wait()  # bounded by the turn before, which ends within Timeouts.cancel after press() cancelled it
        if self._error is not None:
            raise self._error
        return self._turn

    def _ask(self) -> None:
        try:
            first = self._enough()
            if first is not None:
                self._turn = self._session.ask(self._all(first), stream=True, timeout=_PRESS_TIMEOUT)
        except RealtimeError as error:
            self._error = error
        finally:
            self._asked.set()

    def _enough(self) -> bytes | None:
        first = bytearray()
        while duration_ms(len(first), self._session.input_rate) < _SHORTEST_MS:
            piece = self._pieces.get()
            if piece is None:
                return None
            first += piece
        return bytes(first)

    def _all(self, first: bytes) -> Iterator[bytes]:
        yield first
        while (piece := self._pieces.get()) is not None:
            yield piece


class _Recorder:
    """Both sides into one stereo WAV file, at the speaker's rate; written on a thread of its own."""

    def __init__(self, path: str | os.PathLike[str], input_rate: int, speaker: Speaker) -> None:
        self._speaker = speaker
        rate = speaker.device_rate
        self._left = Resampler(input_rate, rate)
        self._writer = WavWriter(path, rate, 2)
        self._blocks: queue.SimpleQueue[tuple[str, bytes] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="dashscope_rt-recorder", daemon=True)
        self._thread.start()
        speaker.tap = self._theirs

    def mine(self, pcm: bytes) -> None:
        """What the service hears; the microphone's thread."""
        self._blocks.put(("left", pcm))

    def _theirs(self, pcm: bytes) -> None:  # the device's thread
        self._blocks.put(("right", pcm))

    def close(self) -> None:
        """Write the rest."""
        self._speaker.tap = None
        self._blocks.put(None)
        self._thread.join()

    def _write(self) -> None:
        sides = {"left": bytearray(), "right": bytearray()}
        with contextlib.closing(self._writer) as writer:
            try:
                while (item := self._blocks.get()) is not None:
                    side, pcm = item
                    sides[side] += self._left.feed(pcm) if side == "left" else pcm
                    both = min(map(len, sides.values()))
                    if both:
                        writer.write(stereo(bytes(sides["left"][:both]), bytes(sides["right"][:both])))
                        del sides["left"][:both], sides["right"][:both]
                sides["left"] += self._left.end()
                writer.write(stereo(bytes(sides["left"]), bytes(sides["right"])))
            except (OSError, ValueError):  # a full disk must not end the conversation
                _log.exception("the recording stops here")
                while self._blocks.get() is not None:
                    pass
