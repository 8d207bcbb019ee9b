"""Who runs the tools: `Toolbox`, what a session has registered; `Calling`, one connection's calls on their threads.

    state.fold -> Call -> Calling.fold -> job   ||  job -> function -> call.respond -> outbox
    |------------- network thread -----------|      |----- dashscope_rt-tool-N -----------|

The contract, for every tool:

* It runs on a thread of the session's pool, never on that of the socket nor on that of the callbacks; calls of one
  response run at the same time. A tool may send, wait, and close; it must not `ask` while the turn that called it runs.
* Only calls of a completed response run, each call id once.
* The model gets what the function returns, or one line about what went wrong, without a traceback. What went wrong is
  logged and given to ``on_tool_error`` too, which runs where callbacks run.
* A call that takes longer than its timeout counts as failed. Its thread is a daemon, so a function that never returns
  keeps neither the session nor the interpreter from ending.
* A result that comes after the user has gone on to something else, after a reconnect or after the end is dropped and
  reported as ``late``.
"""

from __future__ import annotations

import functools
import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable

import attrs

from .. import events as ev
from ..errors import RealtimeError
from ..responses import CALLBACK, NOBODY, TOOL, FunctionCall
from ..tools import ArgumentsError, ResultError, Tool, ToolFailure, ToolPolicy, named
from .rounds import Call, Rounds, ToolFailed

_log = logging.getLogger("dashscope_rt")
_numbers = itertools.count(1)
_MOST_THREADS = 64  # of one connection, those included whose function never returns


class Toolbox:
    """The functions of a session. Any thread.

    Args:
        policy: Time and number.
        callbacks: Says whether ``on_function_call`` takes the other calls.

    Attributes:
        declared: What the service is told of the tools now; a function that is not among it is not called.
    """

    def __init__(self, policy: ToolPolicy, callbacks: Callable[[], bool]) -> None:
        self.policy = policy
        self.declared: tuple[object, ...] = ()
        self._callbacks = callbacks
        self._tools: dict[str, Tool] = {}

    def add(self, tools: Iterable[Tool]) -> None:
        """Register functions; one of the same name is replaced."""
        self._tools = {**self._tools, **{tool.name: tool for tool in tools}}  # in one step: others may be reading

    def names(self) -> list[str]:
        """The names of all functions the model was told of."""
        return list(filter(None, map(named, self.declared)))

    def find(self, name: str) -> Tool | None:
        """Return the function of this name, if the model was told of it."""
        tool = self._tools.get(name)
        return tool if tool is not None and name in self.names() else None

    def taker(self, name: str) -> str:
        """Say who answers a call: a registered function first, then ``on_function_call``.

        A name the model made up is answered here too, with what there is, unless a callback takes it.
        """
        if self.find(name) is not None:
            return TOOL
        if self._callbacks():
            return CALLBACK
        names = self.names()
        made_up = name not in names and any(known in self._tools for known in names)
        return TOOL if made_up else NOBODY


@attrs.define(eq=False)
class _Run:
    call: FunctionCall
    tool: Tool
    timeout: float | None
    due: float | None
    over: bool = False


class Calling:
    """The calls of one connection.

    Args:
        toolbox: The functions.
        answer: Sends a function's output.
        decide: Sends the answer to an MCP server's request.
        tell: Gives a notice to the callbacks; not under the connection's lock.

    Attributes:
        rounds: Which calls are not answered yet; for the state.
    """

    def __init__(
        self,
        toolbox: Toolbox,
        *,
        answer: Callable[[FunctionCall, str], str],
        decide: Callable[[str, bool], str],
        tell: Callable[[ToolFailed], None],
    ) -> None:
        self.rounds = Rounds(answer, decide, toolbox.taker)
        self._toolbox = toolbox
        self._tell = tell
        self._made: Workers | None = None
        self._ended = False
        self._lock = threading.Lock()  # guards the runs and whether each is over
        self._runs: list[_Run] = []
        self._refused: tuple[int, str | None] | None = None  # the turn and the response that went over the limit

    @property
    def _workers(self) -> Workers:
        # Made by the first call: most sessions have none. The network thread, or a worker's own.
        if self._made is None:
            self._made = Workers()
            if self._ended:
                self._made.end()
        return self._made

    # ---- network thread ---------------------------------------------------------------------------------------

    def fold(self, _event: ev.ServerEvent | None, notices: Iterable[object], now: float) -> None:
        """Take the calls that are to be made; under the connection's lock, and before anybody else sees them."""
        for notice in notices:
            if isinstance(notice, Call) and notice.call._taker == TOOL:
                self._take(notice, now)

    def _take(self, notice: Call, now: float) -> None:
        call, policy = notice.call, self._toolbox.policy
        if notice.nth > policy.max_calls:
            where = (notice.turn, call.response_id)
            if self._refused is not None and self._refused[0] == notice.turn and self._refused != where:
                call._taker = NOBODY  # it was told and goes on calling: not answering ends the loop
                self._workers.put(functools.partial(self._report, ToolFailure(kind="limit", call=call)), urgent=True)
                return
            self._refused = where
            limit = f"the limit of {policy.max_calls} calls for one question is reached; answer with what you have"
            self._refuse(call, "limit", f"{call.name} was not called: {limit}")
            return
        tool = self._toolbox.find(call.name)
        if tool is None:
            names = ", ".join(self._toolbox.names())
            self._refuse(call, "unknown", f"there is no function {call.name[:64]!r}; there are {names}")
            return
        timeout = policy.timeout if tool.timeout is None else tool.timeout
        run = _Run(call, tool, timeout, None if timeout is None else now + timeout)
        with self._lock:
            self._runs.append(run)
        if not self._workers.put(functools.partial(self._run, run)) and self._settle(run):
            self._refuse(call, "limit", f"{call.name} was not called: too many earlier calls have not ended yet")

    def _refuse(self, call: FunctionCall, kind: str, why: str) -> None:
        self._workers.put(functools.partial(self._fail, call, kind, why), urgent=True)

    def watch(self, now: float) -> float | None:
        """Let time do its work; returns when to look again."""
        if not self._runs:  # without the lock: whoever adds one wakes the network thread, or is it
            return None
        with self._lock:
            dues = [(run.due, run) for run in self._runs if run.due is not None]
        for due, run in dues:
            if now >= due and self._settle(run):
                why = f"{run.call.name} gave no result within {run.timeout:g} s"
                self._refuse(run.call, "timeout", why)
        return min((due for due, run in dues if not run.over), default=None)

    def end(self) -> None:
        """The session is over: idle threads end now, the others when their function returns. No notice is heard."""
        self._ended = True
        if self._made is not None:
            self._made.end()
        self._tell = _nobody_hears
        self.rounds.end()

    # ---- any thread -------------------------------------------------------------------------------------------

    def is_current(self) -> bool:
        """Whether the caller is a tool of this session."""
        return self._made is not None and self._made.is_current()

    def _settle(self, run: _Run) -> bool:
        # Whoever gets True answers the call; everybody else is late.
        with self._lock:
            first, run.over = not run.over, True
            if run in self._runs:
                self._runs.remove(run)
        return first

    # ---- a thread of the pool ---------------------------------------------------------------------------------

    def _run(self, run: _Run) -> None:
        call, name = run.call, run.call.name
        output: str | None = None
        kind, why = "", ""
        error: BaseException | None = None
        try:
            arguments = call.arguments
        except ValueError as broken:
            kind, why, error = "arguments", f"{name} was not called: {broken}", broken
        else:
            try:
                output = run.tool.call(arguments)
            except ArgumentsError as unfit:
                kind, why, error = "arguments", f"{name} was not called: {unfit}", unfit
            except ResultError as unfit:
                kind, why, error = "result", f"{name} ran, but its result cannot be told", unfit
            except BaseException as raised:  # noqa: BLE001 — even sys.exit(): it would end this thread, not the process
                kind, why, error = "raised", f"{name} failed: {_one_line(raised)}", raised
        if not self._settle(run):  # timed out; the model has been told so
            self._report(ToolFailure(kind="late", call=call, error=error, output=output))
        elif output is None:
            self._fail(call, kind, why, error)
        elif not self._respond(call, output):
            self._report(ToolFailure(kind="late", call=call, output=output))

    def _fail(self, call: FunctionCall, kind: str, why: str, error: BaseException | None = None) -> None:
        told = f"Error: {why}."
        sent = self._respond(call, told)
        self._report(ToolFailure(kind=kind, call=call, told=told if sent else "", error=error))  # type: ignore[arg-type]

    def _respond(self, call: FunctionCall, text: str) -> bool:
        try:
            return bool(call.respond(text))
        except (RealtimeError, RuntimeError):  # the session is over, the network stuck; or answered by hand
            return False

    def _report(self, failure: ToolFailure) -> None:
        name = failure.call.name[:64]
        if failure.kind == "raised":
            _log.error("the tool %s raised", name, exc_info=failure.error)
        else:
            _log.warning("the tool %s: %s", name, _SAID[failure.kind])
        self._tell(ToolFailed(failure))


def _nobody_hears(_notice: ToolFailed) -> None:
    """After ``on_close`` nothing comes."""


# What the log says of each kind; never with arguments or results, which hold what people said.
_SAID = {
    "timeout": "gave no result in time",
    "arguments": "the model's arguments do not fit",
    "result": "its result cannot be written as JSON",
    "unknown": "there is none of this name",
    "limit": "there were too many calls",
    "late": "its result came when nobody waited for it any more, and was dropped",
}


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).partition("\n")[0].split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Workers:
    """Threads that run jobs: made when there is something to do, named ``dashscope_rt-tool-N``, daemons.

    Not the standard library's pool: the interpreter waits for that one's threads at its end, however long they take.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())  # guards everything here; notified for a job and the end
        self._jobs: deque[Callable[[], None]] = deque()
        self._threads: set[threading.Thread] = set()
        self._free = 0
        self._ended = False

    def put(self, job: Callable[[], None], *, urgent: bool = False) -> bool:
        """Have a job run; returns False when all threads are taken (never for an urgent one) or the end has come."""
        with self._changed:
            if self._ended:
                return False
            if self._free <= len(self._jobs):
                if len(self._threads) >= _MOST_THREADS and not urgent:
                    return False
                thread = threading.Thread(target=self._work, name=f"dashscope_rt-tool-{next(_numbers)}", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the system gives no more threads
                    _log.exception("a tool call cannot run")
                    return False
                self._threads.add(thread)
            self._jobs.append(job)
            self._changed.notify()
            return True

    def end(self) -> None:
        """Let every thread end that is free; the others follow when their job is done, and begin no other."""
        with self._changed:
            self._ended = True
            self._jobs.clear()
            self._changed.notify_all()

    def is_current(self) -> bool:
        """Whether the caller is one of the threads."""
        return threading.current_thread() in self._threads

    def _work(self) -> None:
        while True:
            with self._changed:
                self._free += 1
                while not self._jobs and not self._ended:
                    self._changed.wait()  # no timeout: put() and end() both notify
                self._free -= 1
                if not self._jobs:
                    self._threads.discard(threading.current_thread())
                    return
                job = self._jobs.popleft()
            job()
            del job  # nothing holds its call while the thread waits for the next
