"""What a connection and whoever owns it say to each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from ..errors import CloseInfo
from .frames import Message
from .outbox import Outgoing
from .transport import Dialing


class Backlog(Protocol):
    """What was handed over and is not consumed yet.

    Attributes:
        full: It is too much: the socket is left alone.
    """

    full: bool


class Owner(Protocol):
    """What a connection reports to; every call comes on the thread that dials or serves it, and must not block.

    Attributes:
        unheard: What waits for `hand_over`; a list for life.
    """

    unheard: list[Any]

    @property
    def inbox(self) -> Backlog:
        """What callbacks have not heard of yet."""

    def meanwhile(self) -> None:
        """The last request is on its way: get ready for the answer."""

    def connected(self) -> None:
        """The WebSocket is open."""

    @property
    def opening(self) -> bool:
        """Whether the session is not open yet."""

    def received(self, messages: Iterator[Message]) -> float:
        """Whole messages came, TEXT or BINARY, to be taken to the last; taking one may raise ProtocolError.

        May raise RealtimeError or UnicodeDecodeError to end the connection. Returns when `tick` must be called at the
        latest (monotonic seconds).
        """

    def hand_over(self, *, may_wait: bool) -> None:
        """Let the callbacks hear of what was received; with ``may_wait`` it may wait a moment while they are behind."""

    def sent(self, items: list[Outgoing], now: float) -> None:
        """These events were handed to the operating system."""

    def tick(self, now: float) -> float | None:
        """Do what is due; returns when to be called again (monotonic seconds), or None."""

    def ended(self, info: CloseInfo, *, planned: bool) -> Redial | None:
        """The connection is over, or never came about. Returns how to go on; None: nothing else is called after this.

        Args:
            info: Who ended it and why.
            planned: The end was asked for with `Link.rotate`.
        """


class Redial(NamedTuple):
    """Try again after ``delay`` seconds with what ``dialing`` then gives."""

    delay: float
    dialing: Callable[[], Dialing]
