"""Where misbehaviour is put in: every handshake, message, frame and byte of a connection passes one method here.

    TCP accept  -> accepted
    request     -> replying -> 101 or a refusal, or nothing at all
    frames in   -> receiving -> Session
    Session     -> sending -> frames -> framing -> bytes -> writing -> socket
    close frame -> framing too (ours and the answer to the client's), and pongs

All of it runs on the connection's own thread. What a hook can do besides: `Connection.write_raw`, `end`, `reset`,
`half_close`, `pause_reading`, `drip`, `call_later`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ._context import Ending
from ._records import Handshake
from ._variants import Variants
from ._wire import Event

if TYPE_CHECKING:
    from websockets.frames import Frame

    from ._connection import Connection

__all__ = ["Ending", "Hooks", "Raw", "Reply"]


@dataclass(frozen=True)
class Raw:
    """Bytes that go on the connection as they are, in place of an event's frame (inside TLS, if there is TLS)."""

    data: bytes


@dataclass(frozen=True)
class Reply:
    """How the handshake is answered.

    Attributes:
        status: 101 lets the client in.
        body: JSON text of a refusal.
        headers: More headers.
    """

    status: int = 101
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)


class Hooks:
    """Lets everything pass unchanged; override what is to go wrong. One object per connection."""

    def accepted(self, connection: Connection) -> None:
        """The TCP connection is there; nothing was read."""

    def replying(self, connection: Connection, handshake: Handshake, reply: Reply) -> Reply | None:
        """The handshake was judged. None: it is never answered."""
        return reply

    def varying(self, variants: Variants) -> Variants:
        """The client is let in: how the service behaves towards it."""
        return variants

    def receiving(self, connection: Connection, message: str | bytes) -> str | bytes | None:
        """A whole message came in. None: it is lost."""
        return message

    def sending(self, connection: Connection, event: Event) -> Iterable[Event | Raw | Ending]:
        """An event is to be sent: what goes out in its place, in order."""
        return (event,)

    def framing(self, connection: Connection, frame: Frame) -> bool:
        """A frame is to be sent: text, ping, pong or close. False: it is not."""
        return True

    def writing(self, connection: Connection, data: bytes) -> bytes:
        """Bytes are to be written; what is written in their place."""
        return data
