"""What `session.on_sent` hands out."""

from __future__ import annotations

import json
from typing import Any

import attrs


@attrs.frozen
class Sent:
    """A client event that was handed to the operating system.

    Attributes:
        type: The wire type.
        event_id: Its id.
        payload: The JSON text as it went out, UTF-8.
        at: When, in ``time.monotonic()`` seconds.
    """

    type: str
    event_id: str
    payload: bytes = attrs.field(repr=lambda payload: f"<{len(payload)} bytes>")
    at: float = 0.0

    @property
    def event(self) -> dict[str, Any]:
        """The event as a dict, audio and pictures in Base64."""
        event: dict[str, Any] = json.loads(self.payload)
        return event
