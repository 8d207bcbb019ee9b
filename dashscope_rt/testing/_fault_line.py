"""Faults of the line: how it ends, stalls, and cuts what goes over it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from websockets.frames import Frame, Opcode

from ._context import Ending
from ._error_rows import FREE_TIER
from ._fault_action import ALWAYS, Action, frame_of, whole
from ._fault_grammar import AT_CONNECT

if TYPE_CHECKING:
    from ._connection import Connection


class CloseIt(Action):
    """See ``about``."""

    about = "close with any code (none: without one, 1006: hang up without a close frame) and any reason, however long"
    usage = "CODE[,REASON]"

    @classmethod
    def read_arguments(cls, text: str | None) -> tuple[str, ...]:
        """See `Action.read_arguments`."""
        code, _, reason = (text or "").partition(",")
        if code != "none":
            whole(code, 0, 65535, "the close code")
        elif reason:
            raise ValueError("a close frame without a code has no reason either")
        if len(reason.encode()) > 60_000:
            raise ValueError("the reason must have 60,000 bytes of UTF-8 at the most")
        return (code, reason) if reason else (code,)

    def strike(self, connection: Connection, message: Mapping[str, object] | None = None) -> None:
        """See `Action.strike`."""
        code = None if self.arguments[0] == "none" else int(self.arguments[0])
        connection.end(Ending(code, ",".join(self.arguments[1:])))


class FreeTier(Action):
    """See ``about``."""

    about = "close with 1007 and the 130-byte reason of a used-up free tier, longer than a close frame may be"

    def strike(self, connection: Connection, message: Mapping[str, object] | None = None) -> None:
        """See `Action.strike`."""
        connection.end(Ending(1007, FREE_TIER))


class Reset(Action):
    """See ``about``."""

    about = "end the TCP connection with a reset"
    triggers = ALWAYS

    def strike(self, connection: Connection, message: Mapping[str, object] | None = None) -> None:
        """See `Action.strike`."""
        connection.reset()

    def frame(self, connection: Connection, frame: Frame) -> bool:
        """See `Action.frame`."""
        return False


class HalfClose(Action):
    """See ``about``."""

    about = "end only the sending half of the TCP connection, and go on reading"

    def strike(self, connection: Connection, message: Mapping[str, object] | None = None) -> None:
        """See `Action.strike`."""
        connection.half_close()

    def frame(self, connection: Connection, frame: Frame) -> bool:
        """See `Action.frame`."""
        return False


class NoCloseAnswer(Action):
    """See ``about``."""

    about = "never answer a close frame"
    default = AT_CONNECT
    triggers = ALWAYS

    def frame(self, connection: Connection, frame: Frame) -> bool:
        """See `Action.frame`."""
        return frame.opcode is not Opcode.CLOSE


class Silence(Action):
    """See ``about``."""

    about = "send nothing any more: no events, no pongs, no close frame; reading goes on"
    triggers = ALWAYS

    def frame(self, connection: Connection, frame: Frame) -> bool:
        """See `Action.frame`."""
        return False


class StopReading(Action):
    """See ``about``."""

    about = "read nothing any more; sending goes on"

    def strike(self, connection: Connection, message: Mapping[str, object] | None = None) -> None:
        """See `Action.strike`."""
        connection.pause_reading()


class Drip(Action):
    """See ``about``."""

    about = "write one byte at a time, handshake included; BYTES at a time and MS between"
    usage = "[BYTES[,MS]]"
    default = AT_CONNECT
    triggers = ALWAYS
    _pace: ClassVar[tuple[int, int]] = (1, 0)

    @classmethod
    def read_arguments(cls, text: str | None) -> tuple[str, ...]:
        """See `Action.read_arguments`."""
        if text is None:
            return ()
        count, _, pause = text.partition(",")
        whole(count, 1, 1_000_000, "the number of bytes")
        if pause:
            whole(pause, 0, 60_000, "the pause in ms")
        return (count, pause) if pause else (count,)

    def strike(self, connection: Connection, message: Mapping[str, object] | None = None) -> None:
        """See `Action.strike`."""
        count, pause = [*map(int, self.arguments), *self._pace[len(self.arguments) :]]
        connection.drip(count, pause / 1000)


class Split(Drip):
    """See ``about``."""

    about = "cut frames anywhere: 61 bytes at a time, 1 ms between"
    _pace = (61, 1)


class Fragment(Action):
    """See ``about``."""

    about = "send each message in fragments of 100 (or BYTES) bytes, with a ping between the first two"
    usage = "[BYTES]"
    default = AT_CONNECT
    triggers = ALWAYS

    @classmethod
    def read_arguments(cls, text: str | None) -> tuple[str, ...]:
        """See `Action.read_arguments`."""
        return () if text is None else (str(whole(text, 1, 1_000_000, "the number of bytes")),)

    def frame(self, connection: Connection, frame: Frame) -> bool:
        """See `Action.frame`."""
        size = int(self.arguments[0]) if self.arguments else 100
        data = bytes(frame.data)
        if frame.opcode is not Opcode.TEXT or len(data) <= size:
            return True
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        for index, piece in enumerate(pieces):
            last = index == len(pieces) - 1
            connection.write_raw(frame_of(0x1 if index == 0 else 0x0, piece, fin=last))
            if index == 0:
                connection.write_raw(frame_of(0x9, b"between"))
        return False
