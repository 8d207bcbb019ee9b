"""A session as the commands open it: recorded when asked for, shown as JSON when asked for."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import dashscope_rt as rt

from . import _request
from ._options import RECORDED, Settings
from ._output import json_line, note, warn
from ._tools import tell_calls


@contextlib.contextmanager
def opened(
    chosen: Settings,
    request: _request.Request,
    *,
    timeout: float,
    allow_unsupported: bool = False,
    record: Path | None = None,
    left_out: Collection[str] = (),
    json_events: bool = False,
    reconnect: bool = False,
    tools: list[Any] | None = None,
    by_hand: Collection[str] = (),
    say: Callable[[str], None] | None = None,
    **callbacks: Any,
) -> Iterator[rt.RealtimeSession]:
    """Open a session and close it afterwards.

    Args:
        chosen: Where.
        request: With what.
        timeout: Seconds a turn.
        allow_unsupported: Send also what the model is known not to take.
        record: Record it into this file.
        left_out: What the recording is to leave out.
        json_events: Write every event on stdout.
        reconnect: Go on when the connection is lost.
        tools: Functions the model may call; None takes those of the request.
        by_hand: Functions whose calls are shown where somebody answers them.
        say: Gets a line for every call of a function, its result, and what goes wrong with it; on the reader thread.
        **callbacks: For the session.

    Raises:
        RealtimeError: What `RealtimeSession.connect` raises.
        FileExistsError: There is a recording of this name.
        BrokenPipeError: Nobody reads the events any more.
    """
    if rt.lookup(request.model).family == "unknown":
        near = difflib.get_close_matches(request.model, rt.MODELS, 1)
        better = f"did you mean {near[0]!r}?" if near else "dashscope-rt models lists them"
        warn(f"{request.model} is no model this version knows; {better}")
    session = chosen.client(turn=timeout).session(
        request.model,
        request.config,
        allow_unsupported=allow_unsupported,
        reconnect=reconnect,
        tools=rt.UNSET if tools is None else tools,
        **callbacks,
    )
    if say is not None:
        tell_calls(session, say, but=by_hand)
        # What the model was told instead of a result is said where results are.
        session.on_tool_error(lambda failure: None if failure.told else say(f"{failure.call.name}: {failure.kind}"))
    with contextlib.ExitStack() as stack:
        if record is not None:
            from dashscope_rt.recording import Recorder

            kept = {name: name not in left_out for name in RECORDED}
            recorder = stack.enter_context(Recorder(record, **kept).attach(session))
            stack.callback(_recorded, recorder)
        events = _Events(session)
        if json_events:
            session.on(rt.AnyEvent)(events.write)
        try:
            stack.enter_context(session)
            yield session
        except rt.RealtimeError as error:
            if events.unread:
                raise BrokenPipeError from error
            raise
        if events.unread:
            raise BrokenPipeError


class _Events:
    """Events on stdout; when nobody reads them any more the session ends."""

    def __init__(self, session: rt.RealtimeSession) -> None:
        self._session = session
        self.unread = False

    def write(self, event: Any) -> None:  # reader thread
        if self.unread:
            return
        try:
            json_line(dict(event.raw) or {"type": event.type})
        except BrokenPipeError:
            self.unread = True
            self._session.close()


def _recorded(recorder: Any) -> None:
    if recorder.error is not None:
        warn(f"the recording {recorder.path} is not whole: {recorder.error}")
    else:
        note(f"recorded in {recorder.path}")
