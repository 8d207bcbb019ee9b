"""The part of a session where callbacks are registered: ``on``, ``off`` and the friendly names.

Every method takes the function and returns it, so that it serves as a decorator and as a call alike. What a callback
may do and on which thread it runs is written in `_callbacks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from .. import events as ev
from ..errors import APIError, CloseInfo
from ..responses import FunctionCall, InputTranscript, Interruption, McpApproval, Response
from ..tools import ToolFailure
from .callbacks import Callback, Registry, key_of
from .recovery import Lost, Reconnecting
from .sent import Sent

_C = TypeVar("_C", bound=Callback)
_Open = TypeVar("_Open", bound=Callable[[ev.SessionCreated], object])
_Audio = TypeVar("_Audio", bound=Callable[[ev.ResponseAudioDelta], object])
_Text = TypeVar(
    "_Text", bound=Callable[[ev.ResponseTextDelta], object] | Callable[[ev.ResponseAudioTranscriptDelta], object]
)
_Transcript = TypeVar("_Transcript", bound=Callable[[InputTranscript], object])
_Started = TypeVar("_Started", bound=Callable[[ev.InputAudioBufferSpeechStarted], object])
_Stopped = TypeVar("_Stopped", bound=Callable[[ev.InputAudioBufferSpeechStopped], object])
_Interrupted = TypeVar("_Interrupted", bound=Callable[[Interruption], object])
_Call = TypeVar("_Call", bound=Callable[[FunctionCall], object])
_Failed = TypeVar("_Failed", bound=Callable[[ToolFailure], object])
_Approval = TypeVar("_Approval", bound=Callable[[McpApproval], object])
_Done = TypeVar("_Done", bound=Callable[[Response], object])
_Error = TypeVar("_Error", bound=Callable[[APIError], object])
_Sent = TypeVar("_Sent", bound=Callable[[Sent], object])
_Retrying = TypeVar("_Retrying", bound=Callable[[Reconnecting], object])
_Reopened = TypeVar("_Reopened", bound=Callable[[Lost], object])
_Close = TypeVar("_Close", bound=Callable[[CloseInfo], object])
_Raised = TypeVar("_Raised", bound=Callable[[BaseException, str, object], object])


class Listening:
    """Registration of callbacks; any thread, before or after the session is open."""

    def __init__(self, callbacks: Mapping[str, Callback]) -> None:
        self._registry = Registry()
        for name, callback in callbacks.items():
            self._registry.add(name, callback)

    def on(self, event: str | type[ev.ServerEvent]) -> Callable[[_C], _C]:
        """Register a callback for a wire event: ``@session.on("response.output_item.done")``.

        Args:
            event: The wire type, its class, or ``AnyEvent`` for all; unknown and malformed events come under their
                own type and under ``UnknownEvent`` or ``MalformedEvent``.

        Raises:
            ValueError: It is the name of a method of its own, such as ``on_done``.
            TypeError: It is neither a name nor an event class, or the callback cannot be called.
        """
        key = key_of(event)
        return lambda callback: self._registry.add(key, callback)

    def off(self, callback: Callback) -> bool:
        """Take a callback out wherever it is registered; returns whether it was anywhere."""
        return self._registry.remove(callback)

    def on_open(self, callback: _Open) -> _Open:
        """Called with `events.SessionCreated` when the session is ready and its configuration applied."""
        return self._registry.add("on_open", callback)

    def on_audio_delta(self, callback: _Audio) -> _Audio:
        """Called with `events.ResponseAudioDelta` for every piece of speech; ``event.audio`` is PCM.

        What still comes of an answer that was interrupted is left out, because it must not sound; it comes under
        ``on("response.audio.delta")``.
        """
        return self._registry.add("on_audio_delta", callback)

    def on_text_delta(self, callback: _Text) -> _Text:
        """Called for every piece of the answer's text, written or spoken; ``event.delta`` is the text."""
        return self._registry.add("on_text_delta", callback)

    def on_input_transcript(self, callback: _Transcript) -> _Transcript:
        """Called with `InputTranscript`: what the service understood of the user, previews and the final text."""
        return self._registry.add("on_input_transcript", callback)

    def on_speech_started(self, callback: _Started) -> _Started:
        """Called when the user begins to speak (VAD): stop playback. The service may repeat it."""
        return self._registry.add("on_speech_started", callback)

    def on_speech_stopped(self, callback: _Stopped) -> _Stopped:
        """Called when the user stops (VAD)."""
        return self._registry.add("on_speech_stopped", callback)

    def on_interrupted(self, callback: _Interrupted) -> _Interrupted:
        """Called with `Interruption` when an answer is cut off: by the user's speech, by you, or by the service.

        With a `Speaker` (`RealtimeSession.play_on`, `Conversation`) it is silent by now and the interruption says what
        was heard; without one, stop your own playback here.
        """
        return self._registry.add("on_interrupted", callback)

    def on_function_call(self, callback: _Call) -> _Call:
        """Called with `FunctionCall` for every call of a completed response that no tool of the session takes.

        Answer it with ``call.respond(...)``, here or later, on any thread. Calls of registered functions
        (`RealtimeSession.tool`, ``tools=[…]``) go to these and do not come here; names the model made up do.
        """
        return self._registry.add("on_function_call", callback)

    def on_tool_error(self, callback: _Failed) -> _Failed:
        """Called with `ToolFailure` when a tool raised, took too long, was called wrongly, or its result came too late.

        The model has been told already (``failure.told``), so this is for logs and screens; it is logged anyway.
        """
        return self._registry.add("on_tool_error", callback)

    def on_mcp_approval(self, callback: _Approval) -> _Approval:
        """Called with `McpApproval` when a call of an MCP server's tool waits for ``approve()`` or ``deny()`` (3.8)."""
        return self._registry.add("on_mcp_approval", callback)

    def on_done(self, callback: _Done) -> _Done:
        """Called with `Response` when an answer is over, once for each, also when the service never says so."""
        return self._registry.add("on_done", callback)

    def on_error(self, callback: _Error) -> _Error:
        """Called with an `APIError` (of its own class) for every ``error`` event; the session may well go on."""
        return self._registry.add("on_error", callback)

    def on_sent(self, callback: _Sent) -> _Sent:
        """Called with `Sent` for every client event that was handed to the operating system: to record, to count."""
        return self._registry.add("on_sent", callback)

    def on_reconnecting(self, callback: _Retrying) -> _Retrying:
        """Called with `Reconnecting` before every try to replace a lost connection (``reconnect=``)."""
        return self._registry.add("on_reconnecting", callback)

    def on_reconnected(self, callback: _Reopened) -> _Reopened:
        """Called with `Lost` when the session goes on over a new connection: what did not survive."""
        return self._registry.add("on_reconnected", callback)

    def on_close(self, callback: _Close) -> _Close:
        """Called with `CloseInfo` when the session is over: last, and exactly once for each opening."""
        return self._registry.add("on_close", callback)

    def on_callback_error(self, callback: _Raised) -> _Raised:
        """Called with the exception, the callback's name and what it was called with, when a callback raised."""
        return self._registry.add("on_callback_error", callback)
