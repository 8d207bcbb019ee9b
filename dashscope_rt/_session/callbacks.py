"""User code runs here and nowhere else: the registry of callbacks, the inbox, and the reader thread.

The contract, for every callback:

* It runs on the session's reader thread, one at a time, in the order in which the events came.
* The session's state is ahead of it or equal, never behind: state is folded before the event is queued.
* It may block: the socket is served by another thread, so only later callbacks wait. It may send, wait, and close.
* If it raises, the error is logged with the callback's name and the event's type, counted, given to
  ``on_callback_error``, and the next callback runs. No state depends on it.
* ``on_close`` is the last one and comes exactly once.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import queue
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FunctionType
from typing import Any, Final, TypeVar

from .. import events as ev
from ..errors import CloseInfo
from ..responses import CALLBACK, InputTranscript
from .playing import LATE, Cut
from .rounds import Approval, Call, ToolFailed
from .sent import Sent
from .state import Done, Failure, Notice, Opened, Reopened, Retrying

_log = logging.getLogger("dashscope_rt")
Callback = Callable[..., object]
CallbackT = TypeVar("CallbackT", bound=Callback)

# Friendly name -> what the callback gets. The order is that of the documentation.
FRIENDLY: Final[Mapping[str, str]] = {
    "on_open": "SessionCreated: the session is ready, its configuration applied",
    "on_audio_delta": "ResponseAudioDelta: a piece of the spoken answer, PCM in .audio",
    "on_text_delta": "ResponseTextDelta or ResponseAudioTranscriptDelta: a piece of the answer's text in .delta",
    "on_input_transcript": "InputTranscript: what the service understood of the user, preview and final",
    "on_speech_started": "InputAudioBufferSpeechStarted: the user began to speak; stop playback",
    "on_speech_stopped": "InputAudioBufferSpeechStopped: the user stopped",
    "on_interrupted": "Interruption: an answer was cut off; what of it was heard",
    "on_function_call": "FunctionCall that no tool of the session takes: answer it with .respond(...)",
    "on_tool_error": "ToolFailure: a tool raised, took too long, was called wrongly, or its result came too late",
    "on_mcp_approval": "McpApproval: a call of an MCP server's tool waits for .approve() or .deny()",
    "on_done": "Response: an answer is over",
    "on_error": "APIError: the service reported an error; the session may well go on",
    "on_sent": "Sent: a client event has left",
    "on_reconnecting": "Reconnecting: the connection was lost, a new one is about to be tried",
    "on_reconnected": "Lost: the session goes on over a new connection; what did not survive",
    "on_close": "CloseInfo: the session is over; comes last, once",
    "on_callback_error": "(exception, callback's name, what it was called with): a callback raised",
}
_BY_CLASS: Final[Mapping[type, str]] = {
    ev.ResponseAudioDelta: "on_audio_delta",
    ev.ResponseTextDelta: "on_text_delta",
    ev.ResponseAudioTranscriptDelta: "on_text_delta",
    ev.InputAudioBufferSpeechStarted: "on_speech_started",
    ev.InputAudioBufferSpeechStopped: "on_speech_stopped",
}


class Registry:
    """Which callbacks want what. Registering and calling may happen at the same time, from any thread.

    Keys are a friendly name, ``event <wire type>``, or an event class; a frame's ``type`` can therefore never reach a
    friendly callback, whatever it says.
    """

    def __init__(self) -> None:
        # Guards replacing a tuple; readers take whatever tuple is there, so user code never runs under the lock.
        self._lock = threading.Lock()
        self._by_key: dict[object, tuple[Callback, ...]] = {}
        self.by_class: dict[type, tuple[Wanted, ...]] = {}  # what wanted_by found; emptied by every change

    def add(self, key: str | type, callback: CallbackT) -> CallbackT:
        """Register a callback under a key and return it.

        Raises:
            TypeError: It cannot be called, or is a coroutine function.
        """
        name = key if isinstance(key, str) else key.__name__
        if not callable(callback):
            raise TypeError(f"{name} needs a function, not {type(callback).__name__}")
        if _is_coroutine(callback):
            raise TypeError(
                f"{name} cannot be a coroutine function: callbacks run on a thread, not in an event loop; use a plain"
                " function that calls asyncio.run_coroutine_threadsafe(...)"
            )
        with self._lock:
            self._by_key[key] = (*self._by_key.get(key, ()), callback)
            self.by_class = {}
        return callback

    def remove(self, callback: Callback) -> bool:
        """Take a callback out wherever it is registered; returns whether it was anywhere."""
        found = False
        with self._lock:
            for key, callbacks in list(self._by_key.items()):
                if callback in callbacks:
                    found = True
                    self._by_key[key] = tuple(other for other in callbacks if other != callback)
            self.by_class = {}
        return found

    def wanted_by(self, event: ev.ServerEvent) -> tuple[Wanted, ...]:
        """Return the callbacks for a wire event, in the order AnyEvent, class, wire type, friendly name."""
        kind = type(event)
        found = self.by_class.get(kind)
        if found is None:
            by_class = self.by_class  # taken first: a change meanwhile puts another one in its place
            # A malformed event claims a type whose fields it does not have, so it comes under its class only.
            names = [] if kind is ev.MalformedEvent else [f"event {event.type}", _BY_CLASS.get(kind, "")]
            keys: list[str | type] = [ev.AnyEvent, kind, *names]
            found = tuple(
                (callback, key if isinstance(key, str) else key.__name__) for key in keys for callback in self.get(key)
            )
            if kind is not ev.UnknownEvent:  # whose type differs from one to the next
                by_class[kind] = found
        return found

    def has(self, key: str | type) -> bool:
        """Whether anybody wants this."""
        return bool(self._by_key.get(key))

    def get(self, key: object) -> tuple[Callback, ...]:
        """Return the callbacks under a key, oldest first."""
        return self._by_key.get(key, ())


def _is_coroutine(callback: Callback) -> bool:
    if type(callback) is FunctionType and not callback.__dict__:  # the common case, at a tenth of the price
        return bool(callback.__code__.co_flags & inspect.CO_COROUTINE)
    call = callback if inspect.isroutine(callback) else getattr(callback, "__call__", callback)  # noqa: B004
    return inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(call)


def warn_of_misspelling(name: str, stacklevel: int) -> None:
    """Warn of an event's name that this version does not know and that is nearly one it knows; new ones may come."""
    if name in ev.SERVER_EVENTS:
        return
    import difflib  # only for a message

    close = difflib.get_close_matches(name, ev.SERVER_EVENTS, n=1, cutoff=0.7)
    if close:
        warnings.warn(
            f"this version knows no event {name!r} and may wait for it in vain; did you mean {close[0]!r}?",
            stacklevel=stacklevel,
        )


def key_of(event: str | type) -> str | type:
    """Return the registry's key for a wire type's name or an event class.

    Raises:
        ValueError: It is the name of a method of its own.
        TypeError: It is neither a name nor an event class.
    """
    if isinstance(event, type) and issubclass(event, ev.ServerEvent):
        return event
    if isinstance(event, str):
        if event in FRIENDLY:
            raise ValueError(f"{event!r} is a method of its own: use session.{event}(...)")
        warn_of_misspelling(event, 4)
        return f"event {event}"
    raise TypeError(f"on() takes a wire type such as 'response.done', an event class or AnyEvent, not {event!r}")


Wanted = tuple[Callback, str]  # a callback, and what for


class LateAudio:
    """Audio of an answer that was interrupted: a wire event like any other, but it must not sound."""

    __slots__ = ("event",)

    def __init__(self, event: ev.ServerEvent) -> None:
        self.event = event


Heard = ev.ServerEvent | Notice | CloseInfo | LateAudio  # what callbacks are told of
Batch = tuple[list[Heard], int, float]  # what came together, how many bytes it was, and when


def as_heard(event: ev.ServerEvent, notices: Sequence[Notice]) -> list[Heard]:
    """Return what callbacks are told, in order, of an event that means something."""
    first = LateAudio(event) if LATE in notices else event
    return [first, *notices]


_FAR_BEHIND = 256 * 1024  # bytes
_BRAKE = 0.005  # s
_SLOW = 5.0  # s after which a callback that still runs is named in a warning


class Inbox:
    """Events that came and were not given to callbacks yet: bounded in bytes, first in first out.

    The network thread puts, a whole read at a time; the reader thread takes. When it is full the network thread leaves
    the socket alone until half of it is consumed; the peer then waits, and nothing is dropped.

    Attributes:
        full: Whether the network thread should leave the socket alone for now.
    """

    def __init__(self, max_bytes: int, resume: Callable[[], None]) -> None:
        self._max = max_bytes
        self._resume = resume
        self._batches: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._came = 0  # bytes; written by the network thread only
        self._gone = 0  # bytes; written by the reader thread only
        self.full = False
        # Held while the network thread has nothing to wait for; the reader lets it go after a batch. See brake().
        self._progress = threading.Lock()
        self._progress.acquire()
        self._braking = False

    @property
    def idle(self) -> bool:
        """Whether nothing waits for the reader thread."""
        return self._batches.empty()

    def put(self, heard: list[Heard], size: int, now: float) -> None:
        """Queue what came together ``now``, ``size`` bytes of it; never waits."""
        self._came += size
        if self._came - self._gone > self._max:
            self.full = True
            if self._came - self._gone <= self._max // 2:  # consumed just now, by a reader that did not see it full
                self.full = False
        self._batches.put((heard, size, now))

    def brake(self) -> None:
        """Give the reader a moment to catch up, when it is far behind; the network thread calls it between reads.

        Left alone, the network thread outruns the reader by tens of megabytes, which then are no longer in the
        processor's caches when their turn comes. A callback that blocks costs 5 ms for each quarter of a megabyte.
        """
        if self._came - self._gone > _FAR_BEHIND:
            self._braking = True
            self._progress.acquire(timeout=_BRAKE)
            self._braking = False

    def end(self) -> None:
        """Nothing comes any more; the reader ends when it has consumed what is there."""
        self._resume = _nothing_to_resume
        self._batches.put(None)

    def __iter__(self) -> Iterator[Batch]:
        while (batch := self._batches.get()) is not None:
            yield batch
            self._gone += batch[1]
            if self.full and self._came - self._gone <= self._max // 2:
                self.full = False
                self._resume()
            if self._braking:
                self._braking = False
                with contextlib.suppress(RuntimeError):  # the network thread gave up waiting in this very moment
                    self._progress.release()
            del batch  # nothing holds the last events while the thread waits for the next


def _nothing_to_resume() -> None:
    """The socket is closed."""


class Reader:
    """The reader thread: takes from the inbox, runs the callbacks, survives them.

    It begins with the first thing that a callback is to hear.
    """

    def __init__(self, registry: Registry, inbox: Inbox, *, name: str) -> None:
        self._registry = registry
        self._inbox = inbox
        self.callback_errors = 0
        self.lag = 0.0  # s from the arrival of the last event to its callbacks
        self.lag_max = 0.0
        self._running: Wanted | None = None  # which callback runs, for what
        self._since = 0.0  # and since when
        self._warned = 0.0
        self._name = name
        self._thread: threading.Thread | None = None
        self.runs = False  # from its start on

    def start(self) -> None:
        """Begin; every attribute exists by now.

        Raises:
            RuntimeError: The system has no more threads.
        """
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()
        self.runs = True

    def start_for(self, batches: Sequence[Batch]) -> bool:
        """Begin if any of this is for a callback; returns whether it runs. A session without callbacks needs no thread.

        Raises:
            RuntimeError: The system has no more threads.
        """
        if not self.runs and any(self._is_wanted(what) for heard, _, _ in batches for what in heard):
            self.start()
        return self.runs

    def is_current(self) -> bool:
        """Whether the caller is a callback of this session."""
        return threading.current_thread() is self._thread

    def join(self, timeout: float) -> bool:
        """Wait until all callbacks have run, never from inside one; returns whether they have."""
        thread = self._thread
        if thread is None or thread.ident is None:
            return True
        if not self.is_current():
            thread.join(max(0.0, timeout))
        return not thread.is_alive()

    def watch(self, now: float) -> float | None:
        """Warn, once, of a callback that runs too long; the network thread calls it and gets when to look again."""
        running, since = self._running, self._since
        if running is None:
            return None if self._inbox.idle else now + _SLOW
        if since == self._warned:
            return None
        if now < since + _SLOW:
            return since + _SLOW
        self._warned = since
        callback, key = running
        frame = sys._current_frames().get((self._thread and self._thread.ident) or 0)
        stack = "".join(traceback.format_stack(frame)[-8:]) if frame is not None else "(its stack is not known)\n"
        _log.warning(
            "the callback %s for %s has been running for %.0f s; callbacks after it wait, everything else goes on:\n%s",
            _name(callback), key, now - since, stack,
        )  # fmt: skip
        return None

    def _is_wanted(self, what: Heard) -> bool:
        if isinstance(what, LateAudio):
            what = what.event
        if isinstance(what, ev.ServerEvent):
            return bool(self._registry.wanted_by(what))
        if isinstance(what, Approval):  # without a callback there is a warning
            return True
        name = "on_close" if isinstance(what, CloseInfo) else _TOLD.get(type(what), ("on_function_call", ""))[0]
        return self._registry.has(name)

    def _run(self) -> None:
        registry = self._registry
        for heard, _, came in self._inbox:
            for what in heard:
                wanted = registry.by_class.get(type(what))  # a notice's class is not there
                if wanted is None:
                    self._rare(what, came)
                elif wanted:
                    self._call_each(wanted, what, came)
            heard = what = None  # type: ignore[assignment]  # see Inbox.__iter__

    def _rare(self, what: Heard, came: float) -> None:
        if isinstance(what, ev.ServerEvent):
            self._call_each(self._registry.wanted_by(what), what, came)
        elif isinstance(what, LateAudio):
            event = what.event
            others = tuple(wanted for wanted in self._registry.wanted_by(event) if wanted[1] != "on_audio_delta")
            self._call_each(others, event, came)
        elif isinstance(what, CloseInfo):
            self._call_all("on_close", what)
        else:
            self._notice(what)

    def _call_each(self, wanted: tuple[Wanted, ...], event: Heard, came: float) -> None:
        for one in wanted:
            self._since = now = time.monotonic()
            self.lag = lag = now - came
            if lag > self.lag_max:
                self.lag_max = lag
            self._running = one
            try:
                one[0](event)
            except BaseException as error:  # noqa: BLE001 — see _call
                self._complain(error, one, event)
        self._running = None

    def _notice(self, notice: Notice) -> None:
        told = _TOLD.get(type(notice))
        if told is not None:
            name, what = told
            self._call_all(name, getattr(notice, what) if what else notice)
        elif isinstance(notice, Call):
            if notice.call._taker == CALLBACK:
                self._call_all("on_function_call", notice.call)
        elif isinstance(notice, Approval):
            if not self._registry.has("on_mcp_approval"):
                _log.warning("an MCP server's tool waits for approval, and there is no on_mcp_approval callback")
            self._call_all("on_mcp_approval", notice.approval)

    def _call_all(self, key: str, what: object) -> None:
        for callback in self._registry.get(key):
            self._since = time.monotonic()
            self._call((callback, key), what)

    def _call(self, wanted: Wanted, what: object) -> None:
        self._running = wanted
        try:
            wanted[0](what)
        except BaseException as error:  # noqa: BLE001 — even sys.exit(): it would end this thread, not the process
            self._complain(error, wanted, what)
        finally:
            self._running = None

    def _complain(self, error: BaseException, wanted: Wanted, what: object) -> None:
        self.callback_errors += 1
        name = _name(wanted[0])
        _log.error("the callback %s for %s raised", name, wanted[1], exc_info=error)
        for listener in self._registry.get("on_callback_error"):
            try:
                listener(error, name, what)
            except BaseException:  # noqa: BLE001 — the one place that must not call itself
                _log.exception("on_callback_error itself raised")


# Which callback is told of a notice, and with which attribute of it; "" means the notice itself.
_TOLD: Final[Mapping[type, tuple[str, str]]] = {
    InputTranscript: ("on_input_transcript", ""),
    ToolFailed: ("on_tool_error", "failure"),
    Done: ("on_done", "response"),
    Failure: ("on_error", "error"),
    Cut: ("on_interrupted", "interruption"),
    Opened: ("on_open", "event"),
    Sent: ("on_sent", ""),
    Retrying: ("on_reconnecting", "about"),
    Reopened: ("on_reconnected", "lost"),
}


def _name(callback: Callback) -> str:
    return getattr(callback, "__qualname__", None) or type(callback).__name__


def check_names(given: Mapping[str, Any]) -> dict[str, Callback]:
    """Split ``on_…`` keyword arguments off and refuse unknown ones with the nearest name.

    Raises:
        TypeError: A name that begins with ``on_`` is no callback.
    """
    chosen: dict[str, Callback] = {}
    for name, callback in given.items():
        if not name.startswith("on_"):
            continue
        if name not in FRIENDLY:
            import difflib

            near = difflib.get_close_matches(name, FRIENDLY, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(FRIENDLY)}"
            raise TypeError(f"there is no callback {name}; {hint}")
        if callback is not None:
            chosen[name] = callback
    return chosen
