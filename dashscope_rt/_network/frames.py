"""WebSocket frames, without a socket: bytes in, whole messages out; payload in, one masked frame out.

Why not websocket-client's own reader: it takes three ``recv`` calls and several objects per frame, checks UTF-8 in pure
Python (1 to 2 ms per audio frame), allocates whatever length a frame announces, and throws away a close reason of more
than 123 bytes, which DashScope does send.

Not thread-safe; the network thread owns it.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator

from .. import _speed
from ..errors import MessageTooLarge, ProtocolError

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

_FIRST_ROOM = 16 * 1024  # bytes of a thread's buffer to begin with
_MARGIN = 2  # bytes behind the room, so that a header can be looked at where only its beginning has come
_ROOM = 256 * 1024  # and what it grows to, by doubling, when reads fill it
_LARGE_FRAME = 64 * 1024  # bytes from which on an unfinished frame gets a buffer of its own
_HEAD = struct.Struct("!BBH").unpack_from  # first byte, second byte, and the length that may follow
_LONG = struct.Struct("!Q").unpack_from
_KNOWN = frozenset((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))
_CONTROL_LIMIT = 125  # bytes of payload in a ping or pong, RFC 6455 §5.5
_CLOSE_LIMIT = 4096  # DashScope's close reasons go over the 125 bytes of the RFC; keep them, but not without end


# One whole message or control frame: opcode (TEXT, BINARY, CLOSE, PING or PONG; fragments are joined, so never
# CONTINUATION) and payload as it came; text is not decoded yet. A plain tuple, because there are so many.
Message = tuple[int, bytes]


class _Room(threading.local):
    """The buffer that all reads of a thread go through: with hundreds of sessions, memory that is in the caches."""

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(_FIRST_ROOM + _MARGIN))

    def grow(self) -> memoryview:
        """Make it twice as large, up to a bound."""
        room = len(self.buffer) - _MARGIN
        if room < _ROOM:
            self.buffer = memoryview(bytearray(2 * room + _MARGIN))
        return self.buffer


_room = _Room()


class FrameReader:
    """Cuts a byte stream from a server into messages, wherever the stream itself is cut.

    The socket reads straight into `room`, and `took` parses in place, so that a byte is copied once on its way into a
    message. The room is the thread's; what is left of an unfinished frame is taken out of it, and put in front of what
    comes next.

    Args:
        max_message_bytes: A message that announces more is refused before it is read.

    Attributes:
        control: Control frames that came between the messages, in their order; whoever looks empties it. Nothing is
            read after a close frame.
    """

    def __init__(self, max_message_bytes: int) -> None:
        self._limit = max_message_bytes
        self._rest = b""  # of the stream: the beginning of a frame
        self._own: memoryview | None = None  # the buffer of a large frame, whose beginning is in it
        self._buffer = memoryview(b"")  # the one in use, from `room` to the end of `took`
        self._filled = 0  # bytes in it
        self._parts: list[bytes] = []  # fragments of the message under way
        self._parts_size = 0
        self._opcode = CONTINUATION  # of the message under way; CONTINUATION = none
        self._closed = False
        self.control: list[Message] = []

    def room(self) -> memoryview:
        """Return where the next bytes of the stream belong; never empty.

        Not before `took` is through, for any reader of the thread.
        """
        if self._own is None:
            rest = self._rest
            size = len(rest)
            buffer = _room.buffer
            if size:
                while size >= len(buffer) - _MARGIN:
                    buffer = _room.grow()
                buffer[:size] = rest
            self._buffer, self._filled = buffer, size
        return self._buffer[self._filled : -_MARGIN]

    def took(self, size: int) -> Iterator[Message]:
        """Yield the messages completed by ``size`` more bytes in `room`: TEXT and BINARY, in order.

        Each is cut out when it is asked for: it can be done with before the next is made, in memory that is still in
        the processor's caches.

        Raises:
            ProtocolError: The server broke RFC 6455; nothing after it can be read.
            MessageTooLarge: A message over the limit was announced.
        """
        buffer, limit = self._buffer, self._limit
        end = self._filled + size
        start = end if self._closed else 0
        need = 0
        try:
            while end - start >= 2:
                first, second, size = _HEAD(buffer, start)  # the length may lie beyond what has come
                if second == 126:
                    at = start + 4
                elif second == 127:
                    at = start + 10
                    size = _LONG(buffer, start + 2)[0] if at <= end else 0
                else:
                    at = start + 2
                    size = second & 0x7F
                if at > end:
                    break
                stop = at + size
                # The common case, a whole text message, needs none of the checks but its size.
                if first == 0x81 and second < 0x80 and size <= limit and not self._opcode:
                    if stop > end:
                        need = stop - start
                        break
                    start = stop
                    yield TEXT, buffer[at:stop].tobytes()
                    continue
                self._check(first, second, first & 0x0F, size)
                if stop > end:
                    need = stop - start
                    break
                start = stop
                message = self._complete(first, first & 0x0F, buffer[at:stop].tobytes())
                if message is not None:
                    yield message
                if self._closed:
                    start = end
        finally:
            if start == end and not need and end < len(buffer) - _MARGIN:  # nothing is left, as nearly always
                self._own = None
                self._rest = b""
            else:
                self._keep(start, end, need)

    def _keep(self, start: int, end: int, need: int) -> None:
        buffer = self._buffer
        if need > _LARGE_FRAME:
            self._keep_large(buffer, start, end, need)
            return
        self._own = None
        self._rest = bytes(buffer[start:end]) if start < end else b""
        if end == len(buffer) - _MARGIN:  # a read that filled it: more is waiting than fits
            _room.grow()

    def _keep_large(self, buffer: memoryview, start: int, end: int, need: int) -> None:
        # In steps: a header may announce more than ever comes.
        room = len(buffer) - _MARGIN
        left = end - start
        if self._own is None or need > room:
            self._own = self._buffer = memoryview(bytearray(max(_ROOM, min(need, 2 * room)) + _MARGIN))
            self._own[:left] = buffer[start:end]
        elif start:
            buffer[:left] = bytes(buffer[start:end])
        self._rest = b""
        self._filled = left

    def feed(self, data: bytes | memoryview) -> list[Message]:
        """Take bytes that came some other way, as if the socket had put them into `room`; raises what `took` raises."""
        messages: list[Message] = []
        rest = memoryview(data)
        while rest:
            room = self.room()
            size = min(len(room), len(rest))
            room[:size] = rest[:size]
            rest = rest[size:]
            messages += self.took(size)
        return messages

    def _check(self, first: int, second: int, opcode: int, size: int) -> None:
        if first & 0x70 or opcode not in _KNOWN:
            raise ProtocolError(f"the server sent a frame with reserved bits or opcode {opcode:#x}")
        if second & 0x80:
            raise ProtocolError("the server sent a masked frame, which only clients may do")
        if opcode >= CLOSE:
            if not first & 0x80:
                raise ProtocolError("the server sent a control frame in fragments")
            if size > (_CLOSE_LIMIT if opcode == CLOSE else _CONTROL_LIMIT):
                raise ProtocolError(f"the server sent a control frame of {size:,} bytes")
            return
        if opcode == CONTINUATION and self._opcode == CONTINUATION:
            raise ProtocolError("the server sent a continuation of a message that never began")
        if opcode != CONTINUATION and self._opcode != CONTINUATION:
            raise ProtocolError("the server began a message inside another one")
        if self._parts_size + size > self._limit:
            raise MessageTooLarge(
                f"the server announced a message of {self._parts_size + size:,} bytes; the limit is"
                f" {self._limit:,} bytes (limits=Limits(max_message_bytes=…) of RealtimeClient raises it)"
            )

    def _complete(self, first: int, opcode: int, payload: bytes) -> Message | None:
        if opcode >= CLOSE:
            self.control.append((opcode, payload))
            self._closed = opcode == CLOSE
            return None
        if first & 0x80 and self._opcode == CONTINUATION:
            return opcode, payload
        self._parts.append(payload)
        self._parts_size += len(payload)
        if opcode != CONTINUATION:
            self._opcode = opcode
        if not first & 0x80:
            return None
        whole = self._opcode, b"".join(self._parts)
        self._parts, self._parts_size, self._opcode = [], 0, CONTINUATION
        return whole


class Masks:
    """Where a connection's frames get their masks from: the system's randomness, four bytes for every frame, used once.

    Asking the system gives up the interpreter's lock, and with many threads the way back costs more than all the rest
    of a frame, so it is asked for 64 masks at a time. Not thread-safe; the network thread owns it.
    """

    def __init__(self) -> None:
        self._left: list[bytes] = []

    def next(self) -> bytes:
        """Return four bytes nobody can foresee."""
        if not self._left:
            pool = os.urandom(256)
            self._left = [pool[at : at + 4] for at in range(0, 256, 4)]
        return self._left.pop()


def frame(opcode: int, payload: bytes, mask: bytes | None = None) -> bytes:
    """Return one client frame, masked with four bytes that nobody can foresee; fresh ones by default."""
    size = len(payload)
    if mask is None:
        mask = os.urandom(4)
    if size < 126:
        head = _SHORT(0x80 | opcode, 0x80 | size, mask)
    elif size < 65536:
        head = _MIDDLE(0x80 | opcode, 0xFE, size, mask)
    else:
        head = _LARGE(0x80 | opcode, 0xFF, size, mask)
    return head + _speed.apply_mask(payload, mask)


_SHORT = struct.Struct("!BB4s").pack
_MIDDLE = struct.Struct("!BBH4s").pack
_LARGE = struct.Struct("!BBQ4s").pack


def close_frame(code: int, reason: str = "") -> bytes:
    """Return a masked close frame; the reason is cut at a character so that it fits the 123 bytes of RFC 6455."""
    text = reason.encode()[:123].decode("utf-8", "ignore").encode()
    return frame(CLOSE, struct.pack("!H", code) + text)


def read_close(payload: bytes) -> tuple[int, str]:
    """Return the code and the reason of a server's close frame; 1005 when it carries none."""
    if len(payload) < 2:
        return 1005, ""
    return struct.unpack_from("!H", payload)[0], payload[2:].decode("utf-8", "replace")
