"""What a relay asks of a browser's WebSocket; adapters bring it from whatever server there is."""

from __future__ import annotations

from typing import Protocol


class Gone(ConnectionError):
    """The browser's connection is over.

    Attributes:
        code: Close code; 1006 when it was lost without one.
        reason: The browser's text, or why it was given up.
    """

    def __init__(self, code: int = 1006, reason: str = "") -> None:
        super().__init__(f"the browser is gone (code {code}{', ' + reason if reason else ''})")
        self.code, self.reason = code, reason


class BrowserSocket(Protocol):
    """An open WebSocket. One thread receives, one sends, any may close."""

    def receive(self, timeout: float | None = None) -> str | bytes | None:
        """Wait for the next message; None when ``timeout`` seconds went by without one.

        Raises:
            Gone: The connection is over.
        """

    def send(self, message: str | bytes) -> None:
        """Send a message; returns when the server's host has it, however slow the browser is.

        Raises:
            Gone: The connection is over, or took nothing for too long.
        """

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame; ``receive`` then ends soon, also when the browser does not answer it."""

    def abort(self) -> None:
        """End it at once; what waits in ``receive`` or ``send`` raises `Gone`. May be called again."""
