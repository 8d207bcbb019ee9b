"""What a fault does, in general: the methods that `FaultHooks` (`faults.py`) calls, on the connection's own thread.

reply       the handshake is about to be answered        faults that strike with the connection
strike      the trigger has come
replaced    a triggering event of the server goes out: what goes out in its place
passing     any event of the server goes out, once struck
frame       any frame goes out, once struck: may it?
writing     any bytes go out, once struck
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, ClassVar

from ._context import Ending
from ._fault_grammar import EVERY, Kind, Trigger
from ._hooks import Raw, Reply
from ._records import Handshake
from ._variants import Variants
from ._wire import Event

if TYPE_CHECKING:
    from websockets.frames import Frame

    from ._connection import Connection

Items = list["Event | Raw | Ending"]
CREATED = Trigger("sent", "session.created")
EVERY_EVENT = Trigger("sent", "", EVERY)
ALWAYS: tuple[Kind, ...] = ("connect", "sent", "received", "time")
LATER: tuple[Kind, ...] = ("sent", "received", "time")
EVENTS: tuple[Kind, ...] = ("sent", "received")
ONLY_CONNECT: tuple[Kind, ...] = ("connect",)
ONLY_SENT: tuple[Kind, ...] = ("sent",)
ONLY_RECEIVED: tuple[Kind, ...] = ("received",)


class Action:
    """One fault on one connection; this one does nothing.

    Args:
        arguments: As `read_arguments` gave them.

    Attributes:
        about: One line for the list of faults.
        usage: Its arguments, for the list.
        default: When it strikes unless the script says so.
        triggers: Kinds of trigger it can have.
        first: At an event of the server it comes before the event, and so with it; otherwise when it has gone out.
        swallows: The client's event that triggers it is not seen by the session.
    """

    about: ClassVar[str] = ""
    usage: ClassVar[str] = ""
    default: ClassVar[Trigger] = CREATED
    triggers: ClassVar[tuple[Kind, ...]] = LATER
    first: ClassVar[bool] = False
    swallows: ClassVar[bool] = False

    def __init__(self, arguments: tuple[str, ...]) -> None:
        self.arguments = arguments
        self.struck = False

    @classmethod
    def read_arguments(cls, text: str | None) -> tuple[str, ...]:
        """Check what stands behind the ``=`` and take it apart.

        Raises:
            ValueError: What is allowed.
        """
        if text is not None:
            raise ValueError("it takes no arguments")
        return ()

    def varying(self, variants: Variants) -> Variants:
        """Change how the service behaves on this connection."""
        return variants

    def reply(self, connection: Connection, handshake: Handshake, reply: Reply | None) -> Reply | None:
        """Change the answer to the handshake; None: there is none."""
        return reply

    def strike(self, connection: Connection, message: Mapping[str, object] | None = None) -> None:
        """Do it; ``message`` is the client's event that triggered it."""

    def replaced(self, connection: Connection, items: Items) -> Items:
        """Change what goes out when an event of the server triggers it."""
        return items

    def passing(self, connection: Connection, items: Items) -> Items:
        """Change what goes out, once struck."""
        return items

    def frame(self, connection: Connection, frame: Frame) -> bool:
        """Let a frame go out, once struck, or not."""
        return True

    def writing(self, data: bytes) -> bytes:
        """Change the bytes that go out, once struck."""
        return data


def whole(text: str, low: int, high: int, what: str) -> int:
    if not re.fullmatch(r"\d{1,12}", text, re.ASCII) or not low <= int(text) <= high:
        raise ValueError(f"{what} must be a whole number from {low} to {high}, not {text!r}")
    return int(text)


def nearest(name: str, names: Collection[str], what: str) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"there is no {what} {name!r}; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}")


def frame_of(opcode: int, data: bytes, *, fin: bool = True) -> bytes:
    size = len(data)
    if size < 126:
        length = bytes([size])
    else:
        length = b"\x7e" + size.to_bytes(2, "big") if size < 65536 else b"\x7f" + size.to_bytes(8, "big")
    return bytes([(0x80 if fin else 0) | opcode]) + length + data
