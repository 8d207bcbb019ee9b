"""Record a session into one file and play it back: into callbacks here, or through the emulator on a socket.

    with Recorder("call.jsonl").attach(session), session:      # everything that goes over the wire
        session.ask("question.wav")

    replay = Replay(Recording.read("call.jsonl"), on_text_delta=lambda event: print(event.delta))
    replay.run(speed=0)                                         # 0 at once, 1 as it was, 4 four times as fast

Keys, tokens and the addresses and credentials of MCP servers are never written. ``texts=False`` writes dots for what
was said and written, ``audio=False`` only the lengths of audio and pictures, ``ids=False`` numbers for the identifiers.
The same recording behind a socket: `dashscope_rt.testing.replaying`, or the pytest fixture ``dashscope_replay``.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from datetime import datetime, timezone
from types import TracebackType
from typing import Any

from . import codec
from . import events as ev
from ._recording.file import Entry, Recording, Writer
from ._session.callbacks import Callback, Heard, Inbox, Reader, as_heard, check_names
from ._session.listening import Listening
from ._session.sent import Sent
from ._session.state import Opened, SessionState
from ._version import __version__
from .errors import CloseInfo
from .models import lookup
from .responses import FunctionCall
from .session import RealtimeSession

__all__ = ["Entry", "Recorder", "Recording", "Replay"]

_log = logging.getLogger("dashscope_rt")


class Recorder:
    """Writes one session into one file, from `attach` until `close`; a crash leaves what was written so far.

    Callbacks on the session's reader thread do the work. When the file cannot be written any more the session goes on
    without, `error` says why, and a warning is logged.

    Args:
        path: The file; by custom it ends in ``.jsonl``. Made with rights for its owner only.
        texts: Keep what was said and written.
        audio: Keep audio and pictures.
        ids: Keep the service's identifiers.
        overwrite: Write over a file that is there; otherwise it is refused.

    Attributes:
        error: Why the recording ended early; None if it did not.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        texts: bool = True,
        audio: bool = True,
        ids: bool = True,
        overwrite: bool = False,
    ) -> None:
        self.path = path
        self._options = {"texts": texts, "audio": audio, "ids": ids, "overwrite": overwrite}
        self._writer: Writer | None = None
        self._session: RealtimeSession | None = None
        self._began = 0.0
        self._last = 0.0
        self._lock = threading.Lock()  # guards the writer: lines come on the reader thread, close() from any
        self.error: OSError | None = None

    def attach(self, session: RealtimeSession) -> Recorder:
        """Begin to record; before ``connect()`` nothing is missed. Returns itself.

        Raises:
            FileExistsError: There is such a file already.
            OSError: It cannot be written.
            RuntimeError: It records a session already.
        """
        if self._session is not None:
            raise RuntimeError("a recorder records one session; make another one")
        header = {
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "sdk": __version__,
            "python": ".".join(map(str, sys.version_info[:3])),
            "model": session.model.name,
        }
        self._began = time.monotonic()
        self._writer = Writer(self.path, header, **self._options)
        self._session = session
        session.on(ev.AnyEvent)(self._received)
        session.on_sent(self._sent)
        session.on_close(self._closed)
        return self

    def close(self) -> None:
        """Stop recording; the session is left as it is. May be called again, from any thread."""
        if self._session is not None:
            for callback in (self._received, self._sent, self._closed):
                self._session.off(callback)
        with self._lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Reader thread.

    def _received(self, event: ev.ServerEvent) -> None:
        raw = dict(event.raw) if event.raw else {"type": event.type}
        if isinstance(event, ev.MalformedEvent):
            raw["problem"] = event.problem
        lag = self._session.stats.callback_lag_ms / 1000 if self._session is not None else 0.0
        self._add(time.monotonic() - lag, "received", raw)

    def _sent(self, sent: Sent) -> None:
        self._add(sent.at, "sent", sent.event)

    def _closed(self, info: CloseInfo) -> None:
        why = str(info.error) if info.error is not None else ""
        self._add(time.monotonic(), "closed", {"who": info.who, "code": info.code, "reason": info.reason, "error": why})

    def _add(self, at: float, way: Any, event: dict[str, Any]) -> None:
        with self._lock:
            if self._writer is None or self.error is not None:
                return
            try:
                self._last = max(self._last, at - self._began)  # what is known of time differs by microseconds
                self._writer.add(self._last, way, event)
            except OSError as error:
                self.error = error
                _log.warning("the recording %s ends here: %s", os.fspath(self.path), error)


class Replay(Listening):
    """Plays a recording into callbacks, registered here like on a session: by keyword, by decorator, by ``on``.

    Events are folded exactly like live ones, so ``on_done`` gets its `Response` and ``on_function_call`` its call (to
    which ``respond`` sends nothing). Callbacks run on a thread of their own, one at a time, in order.

    Args:
        recording: A `Recording`, or the path of one.
        **callbacks: ``on_audio_delta=…`` and the others.

    Raises:
        ValueError: The file is no recording.
        OSError: It cannot be read.
        TypeError: There is no such callback.
    """

    def __init__(self, recording: Recording | str | os.PathLike[str], **callbacks: Callback) -> None:
        unknown = [name for name in callbacks if not name.startswith("on_")]
        if unknown:
            raise TypeError(f"Replay takes callbacks only (on_…), not {unknown[0]}")
        super().__init__(check_names(callbacks))
        self.recording = recording if isinstance(recording, Recording) else Recording.read(recording)
        self._stop = threading.Event()

    def run(self, speed: float = 1.0) -> None:
        """Play it once; returns when every callback has run.

        Args:
            speed: 1 as it was, 2 twice as fast, 0 as fast as the callbacks take it.

        Raises:
            ValueError: A negative speed.
        """
        if not speed >= 0:
            raise ValueError(f"speed must be 0 (at once) or more (1 is as it was), not {speed}")
        self._stop.clear()
        inbox = Inbox(2**62, lambda: None)
        reader = Reader(self._registry, inbox, name="dashscope_rt-replay")
        state = SessionState(lookup(self.recording.model).default_output_rate, 2.0, _answer)
        reader.start()
        try:
            began, opened = time.monotonic(), False
            for entry in self.recording.entries:
                if speed and self._stop.wait(max(0.0, began + entry.at / speed - time.monotonic())):
                    break
                now = time.monotonic()
                if entry.way != "received":
                    told = _other(entry, now)
                else:
                    event = codec.decode(codec.encode_raw(entry.event) if entry.type else b"{}")
                    notices = tuple(state.fold(event, now))
                    if isinstance(event, ev.SessionCreated) and not opened:
                        opened = True
                        notices += (Opened(event),)
                    told = as_heard(event, notices)
                inbox.put(told, 0, now)
        finally:
            inbox.end()
            reader.join(threading.TIMEOUT_MAX if not self._stop.is_set() else 1.0)

    def stop(self) -> None:
        """End `run` early, from any thread."""
        self._stop.set()


def _answer(_call: FunctionCall, _output: str) -> str:
    return "replayed"


def _other(entry: Entry, now: float) -> list[Heard]:
    if entry.way == "sent":
        payload = codec.encode_raw(entry.event)
        return [Sent(entry.type, str(entry.facts.get("event_id") or ""), payload, now)]
    if entry.way != "closed":
        return []
    facts = entry.facts
    who = facts.get("who")
    code = facts.get("code")
    info = CloseInfo(
        who=who if who in ("client", "server", "network") else "network",
        code=code if isinstance(code, int) else 1006,
        reason=str(facts.get("reason") or ""),
    )
    return [info]
