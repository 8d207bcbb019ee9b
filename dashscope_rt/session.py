"""What a user holds: connect, send, listen, wait, ask, close.

    in    socket -> _transport -> codec.decode -> _state.fold -> inbox   ||  inbox -> _callbacks -> your callback
          |-------------------- network thread ---------------------|       |--------- reader thread ---------|

    out   session.append_audio(...) -> codec.encode -> _outbox.put       ||  _outbox.get -> _transport.send -> socket
          |------------- your thread, any number of them --------|       |------------ network thread ----------|

The network thread owns the socket, both ways; the reader thread runs the callbacks, one at a time, in order. Both are
daemons, have names, start in ``connect()`` and end within the close deadline. State is folded before user code sees
the event, so every waiting method works on every thread, callbacks included.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from . import codec, config
from . import events as ev
from ._network.transport import Endpoint
from ._session.asking import TurnTaking
from ._session.callbacks import Callback
from ._session.calling import Toolbox
from ._session.connection import ENDED, OPEN, Connection
from ._session.listening import Listening
from ._session.playing import Outlet
from ._session.sources import Progress
from ._session.stats import Stats
from ._session.streaming import stream
from .audio.pacing import Pacer
from .audio.pcm import silence
from .audio.wav import Wav, is_wav
from .config import UNSET, Keepalive, Limits, Reconnect, SessionConfig, Timeouts
from .errors import (
    APIError,
    CloseInfo,
    ConnectionClosed,
    DeadlineExceeded,
    ForkedSessionError,
    UnsupportedByModel,
)
from .images import Image, prepare
from .models import ModelInfo
from .tools import Tool, ToolPolicy, divided
from .tools import named as tool_name
from .turns import Turn

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

_APPEND_LIMIT = 1024 * 1024  # bytes of raw audio in one event; the service's own limit is 15 MiB of Base64
_log = logging.getLogger("dashscope_rt")
_S = TypeVar("_S", bound="RealtimeSession")
_F = TypeVar("_F", bound=Callable[..., object])


class RealtimeSession(Listening):
    """One conversation with a model over one WebSocket; made by `RealtimeClient.session`.

    Use it as a context manager, or call `connect` and `close`. After the end it can be opened again: configuration and
    callbacks stay, the service's memory of the conversation does not. All methods may be called from any thread and
    from callbacks; sending methods return the id of the event they sent, and raise:

    * `ConnectionClosed` when the session is over (its ``info`` says why) or was never open,
    * `DeadlineExceeded` when the network did not take the event within ``Timeouts.send``,
    * `ForkedSessionError` in a child process of the one that opened it.
    """

    def __init__(
        self,
        endpoint: Callable[[], Endpoint],
        model: ModelInfo,
        session_config: SessionConfig,
        *,
        callbacks: Mapping[str, Callback],
        timeouts: Timeouts,
        keepalive: Keepalive,
        limits: Limits,
        reconnect: Reconnect | None = None,
        tools: Iterable[Tool] = (),
        tool_policy: ToolPolicy | None = None,
        allow_unsupported: bool = False,
    ) -> None:
        super().__init__(callbacks)
        self._endpoint = endpoint
        self._config = session_config
        self._allow_unsupported = allow_unsupported
        self._keepalive = keepalive
        self._limits = limits
        self._reconnect = reconnect
        self._connection: Connection | None = None
        self._pid = 0
        self._connecting = threading.Lock()  # held while a connection is made and not yet known as ours
        self._turns = TurnTaking(self)
        self._toolbox = Toolbox(
            tool_policy or ToolPolicy(), self._declared_tools, lambda: self._registry.has("on_function_call")
        )
        self._toolbox.add(tools)
        self._outlet: Outlet | None = None
        self.model = model
        self.timeouts = timeouts
        if not allow_unsupported:
            config.check(session_config, model)

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

    def _new_connection(self) -> Connection:
        connection = Connection(
            self._endpoint,
            configuration=self._first_update,
            audio_rates=(self.input_rate, self._configured_rate("output") or self.model.default_output_rate),
            takes_text=self.model.text_input,
            registry=self._registry,
            toolbox=self._toolbox,
            timeouts=self.timeouts,
            keepalive=self._keepalive,
            limits=self._limits,
            reconnect=self._reconnect,
        )
        connection.state.playing.outlet = self._outlet
        self._connection, self._pid = connection, os.getpid()
        return connection

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

    # ---- what is known ----------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The service's session id; "" before session.created."""
        session = self.info
        return (session.id or "") if session is not None else ""

    @property
    def info(self) -> ev.SessionObject | None:
        """The configuration as the service last reported it (session.created, session.updated)."""
        return self._connection.state.session if self._connection is not None else None

    @property
    def is_open(self) -> bool:
        """Whether events can be sent."""
        return self._connection is not None and self._connection.phase == OPEN and self._pid == os.getpid()

    @property
    def close_info(self) -> CloseInfo | None:
        """How the session ended; None while it lives."""
        return self._connection.info if self._connection is not None else None

    @property
    def config(self) -> SessionConfig:
        """What was configured from this side, updates included."""
        return self._config

    @property
    def input_rate(self) -> int:
        """Hz of the audio the service expects."""
        return self._configured_rate("input") or self.model.default_input_rate

    @property
    def output_rate(self) -> int:
        """Hz of the model's speech."""
        return self._open_connection().state.audio_rate

    @property
    def uses_vad(self) -> bool:
        """Whether the service finds the turns (VAD); False is manual mode."""
        session = self.info
        raw = session.raw if session is not None else {}
        if "turn_detection" in raw:
            return raw["turn_detection"] is not None
        return self._config.turn_detection is not None

    @property
    def has_audio(self) -> bool:
        """Whether audio was appended since the last turn was committed or cleared, so that a picture may follow."""
        return self._connection is not None and self._connection.has_audio

    @property
    def stats(self) -> Stats:
        """What went where since the session was opened: `Stats`, a snapshot."""
        connection = self._connection
        return connection.stats() if connection is not None else Stats()

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

    def _declared_tools(self) -> tuple[Any, ...]:
        tools = self._config.tools
        return tools if isinstance(tools, tuple) else ()

    # ---- sending ----------------------------------------------------------------------------------------------

    def append_audio(self, audio: Buffer) -> str:
        """Send a piece of the user's audio. Source: client events, input_audio_buffer.append.

        Args:
            audio: Bytes, or anything with a buffer (array, numpy): raw samples in the configured format (default:
                signed 16-bit little-endian, mono, 16,000 Hz);
                100 ms, 3,200 bytes, is customary. Never Base64. In VAD mode keep sending silence between utterances,
                or the service never notices the end of one.

        Returns:
            The event's id, of the last event if the piece was so large that it was cut.

        Raises:
            TypeError: A str was given.
            ValueError: It is empty, ends in the middle of a sample, or is a whole WAV file.
        """
        view = _bytes_of(audio)
        if not view:
            raise ValueError("append_audio got no bytes; leave the call out, or send silence")
        if self._input_type() != "wav" and is_wav(view[:12]):
            raise ValueError(
                "append_audio takes raw samples, and this is a WAV file: use session.ask(audio=path) or read_wav"
            )
        if len(view) % 2 and self._input_type() in ("pcm", "pcm16"):
            raise ValueError(f"append_audio got {len(view)} bytes, which ends in the middle of a 16-bit sample")
        connection = self._open_connection()
        if len(view) <= _APPEND_LIMIT:
            return connection.put_audio(view)
        return connection.put_audio_pieces([view[at : at + _APPEND_LIMIT] for at in range(0, len(view), _APPEND_LIMIT)])

    def stream_audio(
        self,
        source: str | os.PathLike[str] | bytes | Wav | Iterable[bytes],
        *,
        pace: bool = True,
        tail_ms: float | None = None,
        progress: Progress | None = None,
    ) -> float:
        """Send audio as if it were spoken, and return when all of it is on its way.

        Args:
            source: An audio file's path or bytes (16-bit WAV; FLAC, OGG, MP3 and more with the extra ``audio``), a
                `Wav`, raw samples, an iterable of raw samples, or an open `Microphone` (until that is closed). Stereo
                becomes mono, and another rate is converted with the extra ``audio``.
            pace: In real time; False sends as fast as the network takes it. A microphone has a pace of its own.
            tail_ms: Silence after it. None takes what the service needs to notice the end of speech in VAD mode (the
                configured silence and half a second), and nothing in manual mode.
            progress: Called after every piece, on the calling thread, with the ms sent so far and the ms in all (None
                where the length is not known). It may raise to stop.

        Returns:
            How much was sent, in ms, silence included.

        Raises:
            ValueError: It cannot be read, or needs the extra ``audio``; nothing was sent.
            OSError: A file cannot be read.
        """
        self._open_connection()
        return stream(self, source, pace=pace, tail_ms=tail_ms, progress=progress, pacer=Pacer())

    def append_image(self, image: Image, *, newest_only: bool = False) -> str:
        """Send a picture or a video frame. Source: client events, input_image_buffer.append.

        It is looked at together with the audio of the same turn, which must come first: where none was appended since
        the last turn was committed or cleared, silence is sent first (and logged at INFO).

        Args:
            image: A file's bytes, its path, a binary file object, a Pillow image, or a numpy array (uint8; height x
                width, or with 3 RGB or 4 RGBA channels); about one per second at the most. JPEG up to 1080p goes as it
                is; the extra ``images`` makes everything else into that and honours EXIF orientation.
            newest_only: For video: a picture that has not left yet makes room for this one (``stats.frames_replaced``).

        Raises:
            UnsupportedByModel: This model takes no pictures.
            ValueError: Not a JPEG, or too large, and without the extra ``images``; or no picture at all.
        """
        if not self.model.images and not self._allow_unsupported:
            raise UnsupportedByModel(f"{self.model.name} takes no pictures; use a model of the Omni family")
        connection = self._open_connection()
        jpeg = prepare(image, self.model.max_image_base64_bytes)
        event = ev.InputImageBufferAppend(event_id=connection.next_id(), image=jpeg)
        if not connection.has_audio:
            # A turn of nothing but pictures must be long enough to be committed; the VAD commits only speech.
            lead_ms = 100 if self.uses_vad else 1000
            _log.info("no audio yet in this turn: %d ms of silence go before the picture, which must not lead", lead_ms)
            connection.put_audio(silence(lead_ms, self.input_rate))
        return connection.send(event, newest_only=newest_only)

    def commit(self) -> str:
        """End the user's turn (manual mode). Source: client events, input_audio_buffer.commit.

        Creates the user's item; ask for an answer with `create_response`. In VAD mode the service does this itself,
        and answers a commit with an internal error.
        """
        connection = self._open_connection()
        return connection.send(ev.InputAudioBufferCommit(event_id=connection.next_id()))

    def clear_audio(self) -> str:
        """Throw away what was appended and not committed. Source: client events, input_audio_buffer.clear."""
        connection = self._open_connection()
        return connection.send(ev.InputAudioBufferClear(event_id=connection.next_id()))

    def create_response(
        self, *, instructions: str | None = None, modalities: Iterable[str] | None = None, **fields: Any
    ) -> str:
        """Ask for an answer. Source: client events, response.create.

        It goes out at once, or as soon as the running response is over and the user does not speak: the service
        refuses overlapping ones.

        Args:
            instructions: For this answer only.
            modalities: ``["text"]`` or ``["text", "audio"]``, for this answer only.
            **fields: Further fields of the wire's ``response`` object, sent as they are.

        Raises:
            UnsupportedByModel: This family answers by itself.
        """
        if not self.model.creates_responses and not self._allow_unsupported:
            raise UnsupportedByModel(f"{self.model.name} has no response.create: it answers by itself")
        connection = self._open_connection()
        body: dict[str, Any] = dict(fields)
        if instructions is not None:
            body["instructions"] = instructions
        if modalities is not None:
            body["modalities"] = list(modalities)
        event = ev.ResponseCreate(event_id=connection.next_id(), response=body or None)
        return connection.create(event).command.event_id

    def cancel_response(self, timeout: float | None = None) -> bool:
        """Stop the running answer. Source: client events, response.cancel.

        Waits until the service has taken it: some models never send the ``response.done`` of a cancelled response,
        then it counts as over after ``Timeouts.cancel`` and ``on_done`` gets it with the status ``cancelled``.

        Args:
            timeout: Seconds to wait; None takes ``Timeouts.cancel``, 0 does not wait.

        Returns:
            Whether something was cancelled; False (and no error) when nothing ran.
        """
        return self._open_connection().cancel(self.timeouts.cancel if timeout is None else timeout)

    def interrupt(self, *, cancel: bool | None = None) -> bool:
        """Let the user have the word: nothing more is heard of any answer, whatever else the service sends of it.

        The `Speaker` of `play_on` is silent within one block of its device, and ``on_interrupted`` is called. In VAD
        mode the same happens by itself when the service hears speech.

        Args:
            cancel: Also stop the answer at the service, without waiting for that; None does so in manual mode and
                leaves it to the service in VAD mode.

        Returns:
            Whether there was an answer to interrupt.
        """
        return self._open_connection().interrupt(cancel=not self.uses_vad if cancel is None else cancel)

    def play_on(self, speaker: Outlet | None) -> None:
        """Let a speaker play the answers as they come, and fall silent when the user interrupts.

        It is fed before callbacks run, so no callback can make it late. `Response.heard_ms` and `Turn.heard_ms` then
        say how much was really heard. The speaker stays yours: open it and close it.

        Args:
            speaker: A `Speaker`, or anything with its ``write``, ``end``, ``stop``, ``unheard``, ``heard_ms`` and
                ``given_ms``, none of which may wait; None: nobody plays any more.
        """
        self._outlet = speaker
        connection = self._connection
        if connection is not None and self._pid == os.getpid():
            with connection.changed:
                connection.state.playing.outlet = speaker

    def create_item(self, item: Mapping[str, Any]) -> str:
        """Add an item to the conversation. Source: client events, conversation.item.create.

        Args:
            item: As the wire wants it, for example ``{"type": "function_call_output", "call_id": …, "output": …}``.
                Omni replaces ids chosen by the client.
        """
        connection = self._open_connection()
        return connection.send(ev.ConversationItemCreate(event_id=connection.next_id(), item=dict(item)))

    def send_text(self, text: str) -> str:
        """Say something in writing, as the user; ask for the answer with `create_response`.

        Source: realtime guide (plain text input), verified by third parties on 3.5 and 3.8.

        Raises:
            UnsupportedByModel: This model takes no text items; `ask` knows the way for it.
        """
        if not self.model.text_input and not self._allow_unsupported:
            raise UnsupportedByModel(
                f"{self.model.name} takes no text items; use session.ask(text=…), which gives it as instructions, or"
                " a model of the 3.5 or 3.8 family"
            )
        content = [{"type": "input_text", "text": text}]
        return self.create_item({"type": "message", "role": "user", "content": content})

    def update(self, changes: SessionConfig | None = None, **fields: Any) -> str:
        """Change the configuration; sends only what is named. Source: client events, session.update.

        Args:
            changes: A `SessionConfig`, or
            **fields: its fields: ``session.update(instructions="Be brief.")``; None is sent as null. ``tools`` is the
                whole list, functions among them; what is not in it is not called any more.

        Returns:
            The event's id; ``session.wait_ack(event_id)`` waits for ``session.updated`` or raises what was refused.

        Raises:
            ValueError: A value is outside its documented range; nothing was sent.
            UnsupportedByModel: The model cannot do that; nothing was sent.
            TypeError: There is no such field; the message names the nearest.
        """
        functions: list[Tool] = []
        if fields.get("tools") is not None:
            fields["tools"], functions = divided(fields["tools"])
        named = changes if changes is not None and not fields else SessionConfig.of(**fields)
        if changes is not None and fields:
            named = config.merge(changes, named)
        merged = config.merge(self._config, named)
        if not self._allow_unsupported:
            config.check(merged, self.model)
        wire = codec.config_to_wire(named, self.model)
        if not wire:
            raise ValueError("update() names no field; nothing was sent")
        connection = self._open_connection()
        self._toolbox.add(functions)
        before, self._config = self._config, merged

        def undo() -> None:  # network thread: a refused change must not be repeated by the next connection
            if self._config is merged:
                self._config = before

        return connection.send(ev.SessionUpdate(event_id=connection.next_id(), session=wire), on_refusal=undo)

    def finish(self, timeout: float | None = None) -> None:
        """Say that no more input comes, and wait for what is still to come. Source: session.finish.

        For LiveTranslate, ASR and TTS; the session stays open for reading until ``session.finished``, then `close` it.

        Raises:
            UnsupportedByModel: Omni has no session.finish: just close.
            DeadlineExceeded: ``session.finished`` did not come in time (None takes ``Timeouts.finish``).
        """
        if not self.model.session_finish and not self._allow_unsupported:
            raise UnsupportedByModel(f"{self.model.name} has no session.finish; close() the session")
        connection = self._open_connection()
        deadline = time.monotonic() + (self.timeouts.finish if timeout is None else timeout)
        connection.send(ev.SessionFinish(event_id=connection.next_id()))
        connection.wait_until(lambda: connection.state.finished, deadline, "session.finished")

    def send(self, event: ev.ClientEvent) -> str:
        """Send any client event; an id is added when it has none.

        ``response.create`` waits its turn like `create_response`.
        """
        connection = self._open_connection()
        if not event.event_id:
            import attrs

            event = attrs.evolve(event, event_id=connection.next_id())
        if isinstance(event, ev.ResponseCreate):
            return connection.create(event).command.event_id
        return connection.send(event)

    def send_raw(self, event: Mapping[str, Any]) -> str:
        """Send a dict as it is, for events this package does not know; an ``event_id`` is added when it has none.

        Raises:
            ValueError: It has no ``type``, or cannot be written as JSON.
        """
        connection = self._open_connection()
        whole = {**event} if event.get("event_id") else {**event, "event_id": connection.next_id()}
        return connection.put(codec.encode_raw(whole), str(whole.get("type", "")), str(whole["event_id"]))

    # ---- waiting ----------------------------------------------------------------------------------------------

    def wait_for(
        self, event: str | type[ev.ServerEvent] | Callable[[ev.ServerEvent], object], timeout: float | None = None
    ) -> ev.ServerEvent:
        """Wait for the next event of a kind that comes after this call. To send first, use `expect`.

        Args:
            event: Wire type, event class, ``AnyEvent``, or a function that says whether an event is the one
                (it runs on the network thread: quick and without side effects).
            timeout: Seconds; None takes ``Timeouts.turn``.

        Raises:
            DeadlineExceeded: It did not come in time.
            ConnectionClosed: The session ended first.
        """
        with self.expect(event) as expected:
            event_: ev.ServerEvent = expected.wait(timeout)
            return event_

    def expect(self, event: str | type[ev.ServerEvent] | Callable[[ev.ServerEvent], object]) -> Expected:
        """Begin to listen now and wait later, so that no fast answer is missed.

        with session.expect("input_audio_buffer.committed") as committed:
            session.commit()
            item_id = committed.wait().item_id
        """
        return Expected(self._open_connection(), _matcher(event), str(event), self.timeouts.turn)

    def wait_ack(self, event_id: str, timeout: float | None = None) -> None:
        """Wait until the service has taken an event it acknowledges (update, commit, clear, create_item, …).

        Raises:
            APIError: The service refused it.
            DeadlineExceeded: No acknowledgement came in time (None takes ``Timeouts.acknowledge``).
            ConnectionClosed: The session ended first.
        """
        connection = self._open_connection()
        command = connection.command(event_id)
        if command is None:
            error = connection.state.commands.refused(event_id)
            if error is not None:
                raise error
            return
        deadline = time.monotonic() + (self.timeouts.acknowledge if timeout is None else timeout)
        connection.wait_until(lambda: command.settled, deadline, f"the answer to {command.type}")
        if command.error is not None:
            raise command.error

    def wait_closed(self, timeout: float | None = None) -> CloseInfo:
        """Wait until the session is over, and all callbacks but the calling one have run.

        Args:
            timeout: Seconds; None waits as long as the session lives.

        Raises:
            DeadlineExceeded: The session still lives.
            APIError: Never: how it ended is the result.
        """
        connection = self._connection
        if connection is None:
            raise ConnectionClosed("the session was never open; call connect() or use it in a with statement")
        self._check_process()
        deadline = time.monotonic() + (timeout if timeout is not None else 10 * 365 * 86400)
        if not connection.wait_ended(deadline):
            raise DeadlineExceeded(f"the session is still open after {timeout:g} s")
        connection.reader.join(deadline - time.monotonic() if timeout is not None else self.timeouts.close)
        info = connection.info
        return info if info is not None else CloseInfo(who="network", code=1006)

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
            images: As in `append_image`. Without audio, a second of silence goes first, because the service wants
                audio before pictures.
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
        turn = self._turns.begin(
            audio=audio,
            text=text,
            images=tuple(images),
            timeout=self.timeouts.turn if timeout is None else timeout,
            background=stream,
        )
        return turn if stream else turn.wait()

    # ---- inside -----------------------------------------------------------------------------------------------

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise ForkedSessionError(
                f"the session was opened by process {self._pid} and this is {os.getpid()}: its threads and its socket"
                " stayed there; open a session of its own in the child"
            )

    def _open_connection(self) -> Connection:
        connection = self._connection
        if connection is None:
            raise ConnectionClosed("the session is not open; call connect() or use it in a with statement")
        if self._pid != os.getpid():
            self._check_process()
        if connection.phase == ENDED and connection.info is not None:
            raise ConnectionClosed(f"the session is over: {connection.info}", connection.info)
        return connection

    def _first_update(self) -> dict[str, Any]:
        wanted = self._config
        wire = codec.config_to_wire(wanted, self.model)
        if wire and wanted.voice is UNSET and self.model.needs_voice and self.model.default_voice:
            # Some models otherwise pick a voice they then refuse, even for text-only sessions.
            wire = codec.config_to_wire(config.merge(wanted, SessionConfig(voice=self.model.default_voice)), self.model)
        return wire

    def _configured_rate(self, side: str) -> int | None:
        form = self._config.input_audio_format if side == "input" else self._config.output_audio_format
        rate = getattr(form, "sample_rate", None)
        if isinstance(rate, int):
            return rate
        flat = self._config.sample_rate
        return flat if isinstance(flat, int) and (side == "input") != (self.model.family == "tts") else None

    def _input_type(self) -> str:
        kind = getattr(self._config.input_audio_format, "type", None)
        return kind if isinstance(kind, str) else "pcm"


def _bytes_of(audio: Buffer) -> memoryview:
    try:
        return memoryview(audio).cast("B")
    except TypeError:
        kind = "text, and never Base64" if isinstance(audio, str) else f"{type(audio).__name__} of this layout"
        raise TypeError(f"audio must be bytes of samples in one piece, not {kind}") from None


class Expected:
    """An event somebody waits for, listening since it was made; see `RealtimeSession.expect`."""

    def __init__(
        self, connection: Connection, matches: Callable[[ev.ServerEvent], object], what: str, timeout: float
    ) -> None:
        self._connection = connection
        self._matches = matches
        self._what = what
        self._timeout = timeout
        self._event: ev.ServerEvent | None = None
        self._error: Exception | None = None
        connection.add_sink(self._look)

    def _look(self, event: ev.ServerEvent | None, _notices: object, _now: float) -> None:
        if event is None or self._event is not None:
            return
        try:
            if self._matches(event):
                self._event = event
        except Exception as error:  # noqa: BLE001 — the caller's function: its error belongs to the caller
            self._error = error

    def wait(self, timeout: float | None = None) -> Any:
        """Return the first matching event since this began; see `RealtimeSession.wait_for` for what it raises."""
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        self._connection.wait_until(lambda: self._event or self._error, deadline, self._what)
        if self._error is not None:
            raise self._error
        return self._event

    def __enter__(self) -> Expected:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.remove_sink(self._look)


def _matcher(
    event: str | type[ev.ServerEvent] | Callable[[ev.ServerEvent], object],
) -> Callable[[ev.ServerEvent], object]:
    if isinstance(event, str):
        name = event
        return lambda came: came.type == name
    if isinstance(event, type):
        kind = event
        return lambda came: isinstance(came, kind)
    return event


__all__ = ["APIError", "Expected", "RealtimeSession"]
