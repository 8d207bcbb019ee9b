"""dashscope_rt: talk to Alibaba Cloud's Qwen-Omni-Realtime models from ordinary synchronous Python.

    in    socket -> _transport -> codec.decode -> _state.fold -> inbox   ||  inbox -> _callbacks -> your callback
          |-------------------- network thread ---------------------|       |--------- reader thread ---------|

    out   session.append_audio(...) -> codec.encode -> _outbox.put       ||  _outbox.get -> _transport.send -> socket
          |------------- your thread, any number of them --------|       |------------ network thread ----------|

Importing the package loads next to nothing; each name is loaded, with what it needs, when it is first used.

Start with `RealtimeClient`; its ``session`` gives a `RealtimeSession`, whose ``ask`` gives a `Turn`. Every wire event
is a class in `dashscope_rt.events`, every exception stands in `dashscope_rt.errors`.
"""

import importlib
import logging
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from . import audio, config, errors, events, models
    from ._session.recovery import Lost, Reconnecting
    from ._session.sent import Sent
    from ._session.stats import Stats
    from .audio import Microphone, Speaker
    from .client import RealtimeClient
    from .config import (
        UNSET,
        AudioFormat,
        FunctionTool,
        Keepalive,
        Limits,
        McpTool,
        Reconnect,
        SemanticVad,
        ServerVad,
        SessionConfig,
        SmartTurn,
        SpeakerDetection,
        Timeouts,
        Transcription,
        Translation,
    )
    from .conversation import Conversation
    from .errors import (
        APIError,
        AuthenticationError,
        BadRequestError,
        CloseInfo,
        ConnectionClosed,
        ConnectionFailed,
        DeadlineExceeded,
        ForkedSessionError,
        MessageTooLarge,
        ModelNotFoundError,
        PermissionDeniedError,
        ProtocolError,
        QuotaExceededError,
        RateLimitError,
        RealtimeError,
        ServiceBusyError,
        UnsupportedByModel,
        WaitInCallbackError,
    )
    from .events import AnyEvent
    from .models import MODELS, REGIONS, VOICES, ModelInfo, lookup
    from .responses import FunctionCall, InputTranscript, Interruption, McpApproval, Response
    from .session import Expected, RealtimeSession
    from .tools import Tool, ToolFailure, ToolPolicy
    from .turns import Piece, Timing, Turn
    from .video import VideoFeed

# Where each name of the public surface lives.
_HOMES: dict[str, tuple[str, ...]] = {
    "audio": ("Microphone", "Speaker"),
    "client": ("RealtimeClient",),
    "config": (
        "UNSET",
        "AudioFormat",
        "FunctionTool",
        "Keepalive",
        "Limits",
        "McpTool",
        "Reconnect",
        "SemanticVad",
        "ServerVad",
        "SessionConfig",
        "SmartTurn",
        "SpeakerDetection",
        "Timeouts",
        "Transcription",
        "Translation",
    ),
    "conversation": ("Conversation",),
    "errors": (
        "APIError",
        "AuthenticationError",
        "BadRequestError",
        "CloseInfo",
        "ConnectionClosed",
        "ConnectionFailed",
        "DeadlineExceeded",
        "ForkedSessionError",
        "MessageTooLarge",
        "ModelNotFoundError",
        "PermissionDeniedError",
        "ProtocolError",
        "QuotaExceededError",
        "RateLimitError",
        "RealtimeError",
        "ServiceBusyError",
        "UnsupportedByModel",
        "WaitInCallbackError",
    ),
    "events": ("AnyEvent",),
    "models": (
        "MODELS",
        "REGIONS",
        "VOICES",
        "ModelInfo",
        "lookup",
    ),
    "responses": (
        "FunctionCall",
        "InputTranscript",
        "Interruption",
        "McpApproval",
        "Response",
    ),
    "session": (
        "Expected",
        "RealtimeSession",
    ),
    "tools": (
        "Tool",
        "ToolFailure",
        "ToolPolicy",
    ),
    "turns": (
        "Piece",
        "Timing",
        "Turn",
    ),
    "video": ("VideoFeed",),
    "_session.recovery": (
        "Lost",
        "Reconnecting",
    ),
    "_session.sent": ("Sent",),
    "_session.stats": ("Stats",),
}
_MODULES = ("audio", "config", "errors", "events", "models")
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "MODELS",
    "REGIONS",
    "UNSET",
    "VOICES",
    "APIError",
    "AnyEvent",
    "AudioFormat",
    "AuthenticationError",
    "BadRequestError",
    "CloseInfo",
    "ConnectionClosed",
    "ConnectionFailed",
    "Conversation",
    "DeadlineExceeded",
    "Expected",
    "ForkedSessionError",
    "FunctionCall",
    "FunctionTool",
    "InputTranscript",
    "Interruption",
    "Keepalive",
    "Limits",
    "Lost",
    "McpApproval",
    "McpTool",
    "MessageTooLarge",
    "Microphone",
    "ModelInfo",
    "ModelNotFoundError",
    "PermissionDeniedError",
    "Piece",
    "ProtocolError",
    "QuotaExceededError",
    "RateLimitError",
    "RealtimeClient",
    "RealtimeError",
    "RealtimeSession",
    "Reconnect",
    "Reconnecting",
    "Response",
    "SemanticVad",
    "Sent",
    "ServerVad",
    "ServiceBusyError",
    "SessionConfig",
    "SmartTurn",
    "Speaker",
    "SpeakerDetection",
    "Stats",
    "Timeouts",
    "Timing",
    "Tool",
    "ToolFailure",
    "ToolPolicy",
    "Transcription",
    "Translation",
    "Turn",
    "UnsupportedByModel",
    "VideoFeed",
    "WaitInCallbackError",
    "__version__",
    "audio",
    "config",
    "errors",
    "events",
    "lookup",
    "models",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value  # from now on without this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
