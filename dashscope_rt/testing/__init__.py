"""The realtime service on this machine, for tests, demonstrations and work without a key. No model is running.

    from dashscope_rt.testing import Answer, Emulator, Heard

    with Emulator(answer=lambda heard: Answer(text="Sunny.")) as emulator:
        client = dashscope_rt.RealtimeClient(api_key="sk-any", url=emulator.url)

With pytest there is the fixture ``dashscope_emulator``. It needs ``pip install "dashscope_rt[emulator]"``.
"""

from __future__ import annotations

from ._answers import Answer, FunctionCall, Heard
from ._hooks import Ending, Hooks, Raw, Reply
from ._records import Handshake, Received
from ._variants import Variants
from .emulator import Emulator

__all__ = [
    "Answer",
    "Emulator",
    "Ending",
    "FunctionCall",
    "Handshake",
    "Heard",
    "Hooks",
    "Raw",
    "Received",
    "Reply",
    "Variants",
]
