"""What a session consists of and what is known about it; sending, waiting and opening are built on top."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from .. import codec, config
from .. import events as ev
from .._network.transport import Endpoint
from ..config import UNSET, Keepalive, Limits, Reconnect, SessionConfig, Timeouts
from ..errors import CloseInfo, ConnectionClosed, ForkedSessionError
from ..models import ModelInfo
from ..tools import Tool, ToolPolicy
from .callbacks import Callback
from .calling import Toolbox
from .connection import ENDED, OPEN, Connection
from .listening import Listening
from .playing import Outlet
from .stats import Stats


class Held(Listening):
    """The parts of a session; any thread may read what is known."""

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
        self._allow_unsupported = allow_unsupported
        self._keepalive = keepalive
        self._limits = limits
        self._reconnect = reconnect
        self._connection: Connection | None = None
        self._pid = 0
        self._connecting = threading.Lock()  # held while a connection is made and not yet known as ours
        # Nothing that a session holds holds the session: it is gone as soon as nobody needs it.
        self._toolbox = Toolbox(
            tool_policy or ToolPolicy(), functools.partial(self._registry.has, "on_function_call")
        )
        self._config = session_config
        self._toolbox.add(tools)
        self._outlet: Outlet | None = None
        self.model = model
        self.timeouts = timeouts
        if not allow_unsupported:
            config.check(session_config, model)

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
    def state(self) -> Literal["new", "connecting", "open", "reconnecting", "closed"]:
        """Where the session is in its life; ``reconnecting`` while a lost connection is being replaced."""
        connection = self._connection
        if connection is None:
            return "new"
        if connection.phase == ENDED or self._pid != os.getpid():
            return "closed"
        if connection.phase == OPEN:
            return "open"
        return "reconnecting" if connection.reconnecting else "connecting"

    @property
    def close_info(self) -> CloseInfo | None:
        """How the session ended; None while it lives."""
        return self._connection.info if self._connection is not None else None

    @property
    def config(self) -> SessionConfig:
        """What was configured from this side, updates included."""
        return self._given

    @property
    def _config(self) -> SessionConfig:
        return self._given

    @_config.setter
    def _config(self, given: SessionConfig) -> None:
        self._given = given
        self._toolbox.declared = self._declared_tools()

    @property
    def input_rate(self) -> int:
        """Hz of the audio the service expects."""
        return self._configured_rate("input") or self.model.default_input_rate

    @property
    def output_rate(self) -> int:
        """Hz of the model's speech: as the service says, and before and after that as far as it is known."""
        connection = self._connection
        if connection is not None:
            return connection.state.audio_rate
        return self._configured_rate("output") or self.model.default_output_rate

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

    # ---- inside -------------------------------------------------------------------------------------------

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

    def _first_update(self) -> dict[str, Any]:
        wanted = self._config
        wire = codec.config_to_wire(wanted, self.model)
        if wire and wanted.voice is UNSET and self.model.needs_voice and self.model.default_voice:
            # Some models otherwise pick a voice they then refuse, even for text-only sessions.
            wire = codec.config_to_wire(config.merge(wanted, SessionConfig(voice=self.model.default_voice)), self.model)
        return wire

    def _declared_tools(self) -> tuple[Any, ...]:
        tools = self._config.tools
        return tools if isinstance(tools, tuple) else ()

    def _wake(self) -> None:
        """Let everybody who waits look again."""
        connection = self._connection
        if connection is not None and self._pid == os.getpid():
            with connection.changed:
                connection.changed.notify_all()

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
        if connection.info is not None:
            raise ConnectionClosed(f"the session is over: {connection.info}", connection.info)
        return connection

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
