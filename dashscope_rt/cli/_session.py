"""A session as the commands open it: recorded when asked for, shown as JSON when asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dashscope_rt as rt

from . import _request
from ._options import Settings
from ._output import json_line, note, warn


@contextlib.contextmanager
def opened(
    chosen: Settings,
    request: _request.Request,
    *,
    timeout: float,
    allow_unsupported: bool = False,
    record: Path | None = None,
    json_events: bool = False,
    reconnect: bool = False,
    **callbacks: Any,
) -> Iterator[rt.RealtimeSession]:
    """Open a session and close it afterwards.

    Raises:
        RealtimeError: What `RealtimeSession.connect` raises.
        FileExistsError: There is a recording of this name.
    """
    session = chosen.client(turn=timeout).session(
        request.model, request.config, allow_unsupported=allow_unsupported, reconnect=reconnect, **callbacks
    )
    with contextlib.ExitStack() as stack:
        if record is not None:
            from dashscope_rt.recording import Recorder

            recorder = stack.enter_context(Recorder(record).attach(session))
            stack.callback(_recorded, recorder)
        if json_events:
            session.on(rt.AnyEvent)(lambda event: json_line(dict(event.raw) or {"type": event.type}))
        stack.enter_context(session)
        yield session


def _recorded(recorder: Any) -> None:
    if recorder.error is not None:
        warn(f"the recording {recorder.path} is not whole: {recorder.error}")
    else:
        note(f"recorded in {recorder.path}")
