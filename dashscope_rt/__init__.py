"""dashscope_rt: talk to Alibaba Cloud's Qwen-Omni-Realtime models from ordinary synchronous Python.

    in    socket -> _transport -> codec.decode -> _state.fold -> inbox   ||  inbox -> _callbacks -> your callback
          |-------------------- network thread ---------------------|       |--------- reader thread ---------|

    out   session.append_audio(...) -> codec.encode -> _outbox.put       ||  _outbox.get -> _transport.send -> socket
          |------------- your thread, any number of them --------|       |------------ network thread ----------|

Start with `RealtimeClient`; its ``session`` gives a `RealtimeSession`, whose ``ask`` gives a `Turn`. Every wire event is
a class in `dashscope_rt.events`, every exception stands in `dashscope_rt.errors`.
"""

import logging

from . import errors, events
from ._connection import Limits
from ._recovery import Lost, Reconnecting
from ._stats import Stats
from ._version import __version__
from .client import RealtimeClient
from .config import (
    UNSET,
    AudioFormat,
    Keepalive,
    Reconnect,
    SemanticVad,
    ServerVad,
    SessionConfig,
    Timeouts,
    Transcription,
)
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
from .responses import FunctionCall, InputTranscript, Response
from .session import Expected, RealtimeSession
from .turns import Piece, Timing, Turn

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
    "DeadlineExceeded",
    "Expected",
    "ForkedSessionError",
    "FunctionCall",
    "InputTranscript",
    "Keepalive",
    "Limits",
    "Lost",
    "MessageTooLarge",
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
    "ServerVad",
    "ServiceBusyError",
    "Stats",
    "SessionConfig",
    "Timeouts",
    "Timing",
    "Transcription",
    "Turn",
    "UnsupportedByModel",
    "WaitInCallbackError",
    "__version__",
    "errors",
    "events",
    "lookup",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())
