"""What a user holds: connect, send, listen, wait, ask, close.

    in    socket -> _transport -> codec.decode -> _state.fold -> inbox   ||  inbox -> _callbacks -> your callback
          |-------------------- network thread ---------------------|       |--------- reader thread ---------|

    out   session.append_audio(...) -> codec.encode -> _outbox.put       ||  _outbox.get -> _transport.send -> socket
          |------------- your thread, any number of them --------|       |------------ network thread ----------|

The network thread owns the sockets, both ways: one thread for all sessions of a process, from the first to the last
(`_network.crew`). The reader thread runs a session's callbacks, one at a time, in order; it begins with the first thing
that one is to hear. ``connect()`` dials on its caller's thread. Both threads are daemons, have names, and end within
the close deadline. State is folded before user code sees the event, so every waiting method works on every thread,
callbacks included.

The class is made of four parts: what is known (`_session.held`), what is heard (`_session.listening`), what is said
(`_session.saying`) and what is waited for (`_session.waiting`); here they are opened, asked and closed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, TypeVar, overload

from . import config
from ._display import bundle
from ._session.asking import Floor, TurnTaking
from ._session.display import of_session
from ._session.saying import Saying
from ._session.sources import pictures
from ._session.waiting import Expected, Waiting
from .images import Image
from .tools import Tool
from .tools import named as tool_name
from .turns import Turn

_S = TypeVar("_S", bound="RealtimeSession")
_F = TypeVar("_F", bound=Callable[..., object])


class RealtimeSession(Saying, Waiting):
    """One conversation with a model over one WebSocket; made by `RealtimeClient.session`.

    Use it as a context manager, or call `connect` and `close`. After the end it can be opened again: configuration and
    callbacks stay, the service's memory of the conversation does not. All methods may be called from any thread and
    from callbacks; sending methods return the id of the event they sent, and raise:

    * `ConnectionClosed` when the session is over (its ``info`` says why) or was never open,
    * `DeadlineExceeded` when the network did not take the event within ``Timeouts.send``,
    * `ForkedSessionError` in a child process of the one that opened it.
    """

    def __init__(self, *args: Any, **named: Any) -> None:  # as `Held` has it; `RealtimeClient.session` calls it
        super().__init__(*args, **named)
        self._floor = Floor()

    # ---- life -------------------------------------------------------------------------------------------------

    def connect(self: _S) -> _S:
        """Open the session; returns it once the service has accepted the key and the configuration.

        Raises:
            AuthenticationError: The service refused the key; at once, with status, body and request id.
            APIError: It refused something else: model, workspace, quota, a value of the configuration.
            ConnectionFailed: DNS, TCP, TLS, proxy, or no WebSocket there.
            DeadlineExceeded: ``Timeouts.connect`` seconds were not enough for all of it.
            RuntimeError: The session is open already.
        """
        if self._connection is not None and self._pid == os.getpid() and self._connection.info is None:
            raise RuntimeError("the session is open already; close() it first, or make a second session")
        if not self._connecting.acquire(blocking=False):
            raise RuntimeError("the session is being opened by another thread")
        try:
            connection = self._new_connection()
        finally:
            self._connecting.release()
        connection.open()
        return self

    def close(self, timeout: float | None = None, *, code: int = 1000, reason: str = "") -> None:
        """End the session: what is queued goes out, then a close frame; never longer than ``timeout``.

        Callbacks for what came before the end still run, ``on_close`` last. Works from any thread, from a callback,
        twice, and against a peer that has stopped reading. On families that know it, ``session.finish`` goes first.

        Args:
            timeout: Seconds; None takes ``Timeouts.close``.
            code: Close code for the service, 1000 or 3000 to 4999.
            reason: At most 123 bytes of UTF-8.

        Raises:
            ForkedSessionError: The session belongs to the parent process.
            ValueError: A code or a reason that no close frame of a client may carry.
        """
        if code != 1000 and not 3000 <= code <= 4999:
            raise ValueError(f"a client may close with code 1000 or 3000 to 4999, not {code}")
        if len(reason.encode("utf-8", "replace")) > 123:
            raise ValueError("the reason of a close may have 123 bytes of UTF-8 at the most")
        connection = self._connection
        if connection is None:
            return
        self._check_process()
        timeout = self.timeouts.close if timeout is None else timeout
        connection.close(timeout, code=code, reason=reason, finish=self.model.session_finish)

    def __enter__(self: _S) -> _S:
        return self.connect()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pid == os.getpid():  # a forked child that leaves the block has nothing to close
            self.close()

    def __repr__(self) -> str:
        connection = self._connection
        phase = "not connected" if connection is None else connection.phase
        return f"<RealtimeSession {self.model.name} {phase}{' ' + self.id if self.id else ''}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Show state, model and statistics in a notebook."""
        return bundle(of_session(self))

    # ---- tools ------------------------------------------------------------------------------------------------

    @overload
    def tool(self, function: _F, /) -> _F: ...
    @overload
    def tool(
        self,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Callable[[_F], _F]: ...
    def tool(
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Let the model call a function: ``@session.tool``, or ``@session.tool(timeout=5)``.

        The model learns its name, its docstring and its parameters from it (see `Tool`); the calls run on threads of
        their own, and what the function returns is the answer (the whole contract is written in `_session.calling`).
        When the session is open already, a ``session.update`` with all tools is sent at once. A tool of the same name
        is replaced.

        Args:
            function: The function; returned as it is.
            name: What the model calls it by; None takes the function's own.
            description: What it does and when to call it; None takes the docstring.
            parameters: A JSON Schema of your own; None makes one of the signature.
            timeout: Seconds for one call; None takes `ToolPolicy.timeout`.

        Raises:
            TypeError: No schema can be made of it; the message names function and parameter.
            ValueError: The name is none the service takes.
            UnsupportedByModel: This model calls no functions, or not together with search.
            ConnectionClosed: The session ended while the update was being sent.
        """
        options: dict[str, Any] = {
            "name": name, "description": description, "parameters": parameters, "timeout": timeout,
        }  # fmt: skip
        if function is None:
            return lambda inner: self._add_tool(Tool(inner, **options), inner)
        return self._add_tool(Tool(function, **options), function)

    def _add_tool(self, tool: Tool, function: _F) -> _F:
        others = [other for other in self._declared_tools() if tool_name(other) != tool.name]
        tools = [*others, tool.config]
        self._toolbox.add([tool])
        if self._connection is not None and self._connection.info is None and self._pid == os.getpid():
            self.update(tools=tools)
            return function
        wanted = config.merge(self._config, tools=tools)
        if not self._allow_unsupported:
            config.check(wanted, self.model)
        self._config = wanted
        return function

    # ---- blocking ---------------------------------------------------------------------------------------------

    def ask(
        self,
        audio: str | os.PathLike[str] | bytes | Iterable[bytes] | None = None,
        *,
        text: str | None = None,
        images: Iterable[Image] = (),
        stream: bool = False,
        timeout: float | None = None,
    ) -> Turn:
        """Ask one question and get the answer; works in manual and in VAD mode, on any thread.

        Without any input it asks for a response to what the conversation holds. When the model calls functions and
        somebody answers them (tools, ``on_function_call``), the turn goes on until the answer that follows.

        Args:
            audio: Path or bytes of an audio file, a `Wav`, raw samples in the session's format, or an iterable of
                pieces of raw samples (sent as they come); files as in `stream_audio`.
            text: Sent as a text item where the model takes them (3.5, 3.8); as the instructions of this response on
                older models, which is not quite the same: it is not remembered.
            images: A list, or one alone; each as in `append_image`. Without audio, a second of silence goes first,
                because the service wants audio before pictures.
            stream: Return at once; iterate over the turn to get its pieces as they come.
            timeout: Seconds for the whole turn; None takes ``Timeouts.turn``.

        Returns:
            The `Turn`; finished unless ``stream`` is set.

        Raises:
            APIError: The service refused the input or failed; the partial turn is the error's ``turn``.
            DeadlineExceeded: It took too long; what came so far is the error's ``turn``.
            ConnectionClosed: The session ended first.
            WaitInCallbackError: Called in a callback, and only another callback could end the wait.
            ValueError: The audio or a picture does not fit; nothing was sent.
        """
        turn = TurnTaking(self, self._floor).begin(
            audio=audio,
            text=text,
            images=pictures(images),
            timeout=self.timeouts.turn if timeout is None else timeout,
            background=stream,
        )
        return turn if stream else turn.wait()


__all__ = ["Expected", "RealtimeSession"]
