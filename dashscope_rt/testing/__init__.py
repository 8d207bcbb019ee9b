"""The realtime service on this machine, for tests, demonstrations and work without a key. No model is running.

    from dashscope_rt.testing import Answer, Emulator, Heard

    with Emulator(answer=lambda heard: Answer(text="Sunny.")) as emulator:
        client = dashscope_rt.RealtimeClient(api_key="sk-any", url=emulator.url)

With pytest there is the fixture ``dashscope_emulator``. It needs ``pip install "dashscope_rt[emulator]"``.

    you       Emulator, Answer, Heard, Variants      emulator.py, _answers.py, _variants.py, fixtures.py, command.py
    edges     handshake, socket, TLS                 _connection.py, _layers.py, _handshake.py, _hooks.py, _records.py
    faults    what goes wrong, as a script           faults.py, _fault_grammar.py, _fault_actions.py, _error_rows.py
    middle    the protocol, without socket or clock  _session.py -> _turns.py, _responses.py -> _response.py
    values    checks, sound, pictures, tokens        _validation.py, _configuration.py, _buffer.py, _vad.py, _sound.py …

It shares nothing with the client but the table of models, because it is there to judge the client.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._answers import Answer, FunctionCall, Heard
    from ._fault_grammar import Fault
    from ._hooks import Ending, Hooks, Raw, Reply
    from ._records import Handshake, Received
    from ._replay import replaying
    from ._variants import Variants
    from .emulator import Emulator

# Loaded when first asked for, because pytest loads the fixtures, and so this package, in every run.
_HOMES = {
    "Answer": "_answers",
    "Emulator": "emulator",
    "Ending": "_hooks",
    "Fault": "_fault_grammar",
    "FunctionCall": "_answers",
    "Handshake": "_records",
    "Heard": "_answers",
    "Hooks": "_hooks",
    "Raw": "_hooks",
    "Received": "_records",
    "Reply": "_hooks",
    "Variants": "_variants",
    "replaying": "_replay",
}

__all__ = [
    "Answer",
    "Emulator",
    "Ending",
    "Fault",
    "FunctionCall",
    "Handshake",
    "Heard",
    "Hooks",
    "Raw",
    "Received",
    "Reply",
    "Variants",
    "replaying",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
