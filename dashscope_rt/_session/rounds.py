"""The function calls of each response, and how far their answers are; and what MCP servers want approved.

A round is the calls of one completed response. When every call has its answer and the service has acknowledged them
all, one ``response.create`` is wanted. A response that the service starts by itself before that consumes the answers
instead. A round is *overtaken* when the user has spoken since its response began and the service now answers that: what
its tools have to say comes too late then. Pure; the connection's lock is held by whoever calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from .. import events as ev
from ..responses import CALLBACK, TOOL, FunctionCall, McpApproval, Response
from ..tools import ToolFailure

_REMEMBERED = 1024  # ids of calls and approvals that are not given out a second time


@attrs.frozen
class Call:
    """A function is to be called: the ``nth`` of its turn, which is the ``turn``-th."""

    call: FunctionCall
    nth: int = 1
    turn: int = 0


@attrs.frozen
class ToolFailed:
    """A tool call did not go as it should."""

    failure: ToolFailure


@attrs.frozen
class Approval:
    """A call of an MCP server's tool waits for a yes or a no."""

    approval: McpApproval


@attrs.define
class _Round:
    heard: int  # how often the user had been heard when its response began
    open: dict[str, FunctionCall]
    unacknowledged: set[str] = attrs.field(factory=set)
    accepted: int = 0


class Rounds:
    """The rounds that are not over.

    Args:
        answer: Sends a function's output; given to every `FunctionCall`.
        decide: Sends the answer to an approval; given to every `McpApproval`.
        taker: Says who answers the calls of a function: TOOL, CALLBACK or NOBODY.
    """

    def __init__(
        self,
        answer: Callable[[FunctionCall, str], str] | None = None,
        decide: Callable[[str, bool], str] | None = None,
        taker: Callable[[str], str] = lambda _: CALLBACK,
    ) -> None:
        self._answer = answer
        self._decide = decide
        self._taker = taker
        self._rounds: list[_Round] = []
        self._seen: dict[str, None] = {}  # a set that knows its oldest
        self._heard = 0
        self._heard_before: dict[str, int] = {}  # by response
        self._turn = 0
        self._calls = 0  # of this turn

    def user_spoke(self) -> None:
        """The user said something that the service took (a cough it does not), or wrote: a new turn begins."""
        self._heard += 1
        self._turn += 1
        self._calls = 0

    def response_began(self, response: Response, *, asked: bool, follows_tools: bool) -> None:
        """A response began: asked for by this side or not, to go on after tools or not."""
        if asked and not follows_tools:
            self._turn += 1
            self._calls = 0
        self._heard_before = {response.id: self._heard}
        if follows_tools:
            return
        for round_ in list(self._rounds):
            if round_.heard != self._heard:  # overtaken; what is answered by hand stays possible
                for call in [call for call in round_.open.values() if call._taker == TOOL]:
                    del round_.open[call.call_id]
                if not round_.open:
                    self._rounds.remove(round_)

    def taken_over(self) -> None:
        """The service goes on by itself with the answers it has."""
        self._rounds = [round_ for round_ in self._rounds if round_.open]

    def begin(self, response: Response) -> list[Call]:
        """Take the calls of a completed response; every call id once, however often the service names it."""
        items = [item for item in response.output if item.type == "function_call" and item.call_id]
        calls = []
        for item in items:
            if not self._is_new(f"call {item.call_id}"):
                continue
            call = FunctionCall(
                name=item.name or "",
                call_id=item.call_id or "",
                arguments_json=item.arguments or "",
                response_id=response.id,
                answer=self._answer,
            )
            call._taker = self._taker(call.name)
            calls.append(call)
        response.function_calls = tuple(calls)
        if not calls:
            return []
        heard = self._heard_before.get(response.id, self._heard)
        self._rounds.append(_Round(heard, {call.call_id: call for call in calls}))
        first = self._calls + 1
        self._calls += len(calls)
        return [Call(call, nth, self._turn) for nth, call in enumerate(calls, first)]

    def waits_for(self, call: FunctionCall) -> bool:
        """Whether an answer to this call is still of use."""
        return any(call.call_id in round_.open for round_ in self._rounds)

    def answering(self, call_id: str) -> None:
        """Note that a function's output was sent."""
        for round_ in self._rounds:
            if round_.open.pop(call_id, None) is not None:
                round_.unacknowledged.add(call_id)

    def settle(self, call_id: str, *, accepted: bool) -> bool:
        """Note that the service took or refused an output; returns whether a ``response.create`` is wanted now."""
        wanted = False
        for round_ in list(self._rounds):
            if call_id in round_.unacknowledged:
                round_.unacknowledged.discard(call_id)
                round_.accepted += accepted
                if not round_.open and not round_.unacknowledged:
                    self._rounds.remove(round_)
                    wanted = wanted or bool(round_.accepted)
        return wanted

    def end(self) -> None:
        """No call comes any more: let go of whoever answers them; a call that was given out keeps its own way."""
        self._answer = self._decide = None

    def lose(self) -> None:
        """The service that asked is gone."""
        self._rounds.clear()
        self._seen.clear()

    def approvals(self, items: Iterable[ev.Item | None], *, final: bool) -> list[Approval]:
        """Take what is new of the approvals among some items; without ``final`` only those that are whole."""
        found = []
        for item in items:
            if item is None or item.type != "mcp_approval_request" or not item.id:
                continue
            if (final or item.arguments or item.status == "completed") and self._is_new(f"approval {item.id}"):
                label = item.raw.get("server_label")
                found.append(
                    Approval(
                        McpApproval(
                            item.id,
                            server_label=label if isinstance(label, str) else "",
                            name=item.name or "",
                            arguments_json=item.arguments or "",
                            decide=self._decide,
                        )
                    )
                )
        return found

    def _is_new(self, key: str) -> bool:
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return True
