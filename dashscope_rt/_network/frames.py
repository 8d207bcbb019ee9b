"""WebSocket frames, without a socket: bytes in, whole messages out; payload in, one masked frame out.

Why not websocket-client's own reader: it takes three ``recv`` calls and several objects per frame, checks UTF-8 in pure
Python (1 to 2 ms per audio frame), allocates whatever length a frame announces, and throws away a close reason of more
than 123 bytes, which DashScope does send. Its ``ABNF`` still builds and masks what goes out.

Not thread-safe; the network thread owns it.
"""

from __future__ import annotations

import os
import struct

from .. import _speed
from ..errors import MessageTooLarge, ProtocolError

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

_FIRST_ROOM = 16 * 1024  # bytes of a reader's buffer to begin with: all that an idle session needs
_ROOM = 128 * 1024  # and what it grows to, by doubling, when reads fill it
_LONG = struct.Struct("!Q").unpack_from
_KNOWN = frozenset((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))
_CONTROL_LIMIT = 125  # bytes of payload in a ping or pong, RFC 6455 §5.5
_CLOSE_LIMIT = 4096  # DashScope's close reasons go over the 125 bytes of the RFC; keep them, but not without end


# One whole message or control frame: opcode (TEXT, BINARY, CLOSE, PING or PONG; fragments are joined, so never
# CONTINUATION) and payload as it came; text is not decoded yet. A plain tuple, because there are so many.
Message = tuple[int, bytes]


class FrameReader:
    """Cuts a byte stream from a server into messages, wherever the stream itself is cut.

    The socket reads straight into `room`, and `took` parses in place, so that a byte is copied once on its way into a
    message; what is left of an unfinished frame moves to the front.

    Args:
        max_message_bytes: A message that announces more is refused before it is read.
    """

    def __init__(self, max_message_bytes: int) -> None:
        self._limit = max_message_bytes
        self._buffer = memoryview(bytearray(_FIRST_ROOM))
        self._filled = 0
        self._parts: list[bytes] = []  # fragments of the message under way
        self._parts_size = 0
        self._opcode = CONTINUATION  # of the message under way; CONTINUATION = none

    def room(self) -> memoryview:
        """Return where the next bytes of the stream belong; never empty."""
        return self._buffer[self._filled :]

    def took(self, size: int, messages: list[Message]) -> None:
        """Parse after ``size`` more bytes were put into `room`; adds every message they complete, in order.

        Raises:
            ProtocolError: The server broke RFC 6455; nothing after it can be read.
            MessageTooLarge: A message over the limit was announced.
        """
        buffer = self._buffer
        end = self._filled + size
        start = need = 0
        try:
            while end - start >= 2:
                first, second = buffer[start], buffer[start + 1]
                size, at = second & 0x7F, start + 2
                if size == 126:
                    if end - start < 4:
                        break
                    size, at = buffer[start + 2] << 8 | buffer[start + 3], start + 4
                elif size == 127:
                    if end - start < 10:
                        break
                    size, at = _LONG(buffer, at)[0], start + 10
                # The common case, a whole text message, needs none of the checks but its size.
                simple = first == 0x81 and second < 0x80 and not self._opcode and size <= self._limit
                if not simple:
                    self._check(first, second, first & 0x0F, size)
                if end - at < size:
                    need = at - start + size
                    break
                payload = bytes(buffer[at : at + size])
                start = at + size
                if simple:
                    messages.append((TEXT, payload))
                    continue
                message = self._complete(first, first & 0x0F, payload)
                if message is not None:
                    messages.append(message)
        finally:
            self._keep(start, end, need)

    def _keep(self, start: int, end: int, need: int) -> None:
        left = end - start
        old = self._buffer
        if need > len(old) or (left == 0 and len(old) > _ROOM):
            # A frame larger than the buffer gets one of its own, in steps: a header may announce more than ever comes.
            self._buffer = memoryview(bytearray(max(_ROOM, min(need, 2 * len(old)))))
        elif end == len(old) < _ROOM:  # a read that filled it: more is waiting than fits
            self._buffer = memoryview(bytearray(2 * len(old)))
        if left and (start or self._buffer is not old):
            self._buffer[:left] = bytes(old[start:end]) if self._buffer is old else old[start:end]
        self._filled = left

    def feed(self, data: bytes | memoryview, messages: list[Message] | None = None) -> list[Message]:
        """Take bytes that came some other way, as if the socket had put them into `room`; raises what `took` raises."""
        messages = [] if messages is None else messages
        rest = memoryview(data)
        while rest:
            room = self.room()
            size = min(len(room), len(rest))
            room[:size] = rest[:size]
            rest = rest[size:]
            self.took(size, messages)
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
            return opcode, payload
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


def frame(opcode: int, payload: bytes) -> bytes:
    """Return one masked client frame; the mask is fresh randomness from the system for every frame."""
    size = len(payload)
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
