"""What each fault does: one small class each, and the table by which `Fault.parse` knows them.

An action belongs to one connection and runs on that connection's thread. `FaultHooks` (`faults.py`) calls it:

    reply       the handshake is about to be answered        faults that strike with the connection
    strike      the trigger has come
    replaced    a triggering event of the server goes out: what goes out in its place
    passing     any event of the server goes out, once struck
    frame       any frame goes out, once struck: may it?
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar

from websockets.frames import Frame, Opcode

from ._context import Ending
from ._error_rows import ERRORS, FREE_TIER
from ._fault_grammar import AT_CONNECT, EVERY, Fault, Kind, Trigger, parse
from ._hooks import Raw, Reply
from ._records import Handshake
from ._variants import Variants
from ._wire import Event, make, new_id

if TYPE_CHECKING:
    from ._connection import Connection

__all__ = ["ACTIONS", "Action", "read"]

Items = list["Event | Raw | Ending"]
_CREATED = Trigger("sent", "session.created")
_EVERY_EVENT = Trigger("sent", "", EVERY)
_ALL: Collection[Kind] = ("connect", "sent", "received", "time")
_LATER: Collection[Kind] = ("sent", "received", "time")
_REORDER_S = 0.1  # until an event that was to follow another goes out alone
_CLOSE_DELAY_S = 0.05  # from an error that announces the end until the end


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
    default: ClassVar[Trigger] = _CREATED
    triggers: ClassVar[Collection[Kind]] = _LATER
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


def _number(text: str, low: int, high: int, what: str) -> int:
    if not re.fullmatch(r"\d{1,12}", text, re.ASCII) or not low <= int(text) <= high:
        raise ValueError(f"{what} must be a whole number from {low} to {high}, not {text!r}")
    return int(text)


def _near(name: str, names: Collection[str], what: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, names, n=1)
    return f"there is no {what} {name!r}; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}")


# The handshake


class Refuse(Action):
    """See ``about``."""

    about = "answer the handshake with this status; body flat (default), nested, empty ({}), or none; and an error code"
    usage = "STATUS[,BODY[,CODE]]"
    default = AT_CONNECT
    triggers = ("connect",)
    _bodies: ClassVar[tuple[str, ...]] = ("flat", "nested", "empty", "none")
    _texts: ClassVar[Mapping[int, tuple[str, str]]] = {
        400: ("InvalidParameter", "Required parameter 'model' is missing or empty."),
        401: ("InvalidApiKey", "Invalid API-key provided."),
        403: ("AccessDenied", "Access denied."),
        404: ("ModelNotFound", "Model not exist."),
        429: ("Throttling.RateQuota", "Requests rate limit exceeded, please try again later."),
        500: ("InternalError", "An internal error has occured."),
        503: ("ServiceUnavailable", "The service is busy, please try again later."),
    }

    @classmethod
    def read_arguments(cls, text: str | None) -> tuple[str, ...]:
        """See `Action.read_arguments`."""
        status, _, rest = (text or "").partition(",")
        _number(status, 400, 599, "the status")
        body, _, code = rest.partition(",")
        if body and body not in cls._bodies:
            raise ValueError(f"the body must be one of {', '.join(cls._bodies)}, not {body!r}")
        return tuple(part for part in (status, body or "flat", code) if part)

    def reply(self, connection: Connection, handshake: Handshake, reply: Reply | None) -> Reply | None:
        """See `Action.reply`."""
        status, body, *code = int(self.arguments[0]), *self.arguments[1:]
        known, message = self._texts.get(status, (f"Http{status}", "The request was refused."))
        name = code[0] if code else known
        request_id = new_id("req")
        bodies = {
            "flat": json.dumps({"code": name, "message": message, "request_id": request_id}),
            "nested": json.dumps({"error": {"code": name, "message": message}, "request_id": request_id}),
            "empty": "{}",
            "none": "",
        }
        header = {"flat": "X-Request-Id", "nested": "X-DashScope-Request-Id"}.get(body, "X-Acs-Request-Id")
        return Reply(status, bodies[body], {header: request_id})


class Redirect(Action):
    """See ``about``."""

    about = "answer the handshake with 302 to the same place, where a client would show its key again"
    default = AT_CONNECT
    triggers = ("connect",)

    def reply(self, connection: Connection, handshake: Handshake, reply: Reply | None) -> Reply | None:
        """See `Action.reply`."""
        place = f"//{handshake.headers.get('host', '')}{handshake.path}?model={handshake.model}"
        return Reply(HTTPStatus.FOUND, "", {"Location": place})


class Stall(Action):
    """See ``about``."""

    about = "never answer the handshake; with half: stop in the middle of the answer"
    usage = "[half]"
    default = AT_CONNECT
    triggers = ("connect",)

    @classmethod
    def read_arguments(cls, text: str | None) -> tuple[str, ...]:
        """See `Action.read_arguments`."""
        if text not in (None, "half"):
            raise ValueError(f"it takes half or nothing, not {text!r}")
        return (text,) if text else ()

    def __init__(self, arguments: tuple[str, ...]) -> None:
        super().__init__(arguments)
        self._written = False

    def reply(self, connection: Connection, handshake: Handshake, reply: Reply | None) -> Reply | None:
        """See `Action.reply`."""
        return reply if self.arguments else None

    def writing(self, data: bytes) -> bytes:
        """See `Action.writing`."""
        if not self.arguments:
            return data
        written, self._written = self._written, True
        return b"" if written else data[: len(data) // 2]


class NeverCreated(Action):
    """See ``about``."""

    about = "let the client in and never send session.created, nor anything else"
    default = AT_CONNECT
    triggers = ("connect",)

    def passing(self, connection: Connection, items: Items) -> Items:
        """See `Action.passing`."""
        return []


# The end


class CloseIt(Action):
    """See ``about``."""

    about = "close with any code (none: without one, 1006: hang up without a close frame) and any reason, however long"
    usage = "CODE[,REASON]"

    @classmethod
    def read_arguments(cls, text: str | None) -> tuple[str, ...]:
        """See `Action.read_arguments`."""
        code, _, reason = (text or "").partition(",")
        if code != "none":
            _number(code, 0, 65535, "the close code")
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
    triggers = _ALL

    def strike(self, connection: Connection, message: Mapping[str, object] | None = None) -> None:
        """See `Action.strike`."""
        connection.reset()


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
    triggers = _ALL

    def frame(self, connection: Connection, frame: Frame) -> bool:
        """See `Action.frame`."""
        return frame.opcode is not Opcode.CLOSE


class Idle(Action):
    """See ``about``."""

    about = "the idle timeout of 300 s takes so many ms"
    usage = "MS"
    default = AT_CONNECT
    triggers = ("connect",)
    _field: ClassVar[str] = "response_idle_s"

    @classmethod
    def read_arguments(cls, text: str | None) -> tuple[str, ...]:
        """See `Action.read_arguments`."""
        return (str(_number(text or "", 1, 10_000_000, "its length in ms")),)

    def varying(self, variants: Variants) -> Variants:
        """See `Action.varying`."""
        seconds = int(self.arguments[0]) / 1000
        if self._field == "response_idle_s":
            return dataclasses.replace(variants, response_idle_s=seconds)
        return dataclasses.replace(variants, session_limit_s=seconds)


class Limit(Idle):
    """See ``about``."""

    about = "the longest session of 120 minutes takes so many ms"
    _field = "session_limit_s"


# A bad line


class Silence(Action):
    """See ``about``."""

    about = "send nothing any more: no events, no pongs, no close frame; reading goes on"
    triggers = _ALL

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
    triggers = _ALL
    _pace: ClassVar[tuple[int, int]] = (1, 0)

    @classmethod
    def read_arguments(cls, text: str | None) -> tuple[str, ...]:
        """See `Action.read_arguments`."""
        if text is None:
            return ()
        count, _, pause = text.partition(",")
        _number(count, 1, 1_000_000, "the number of bytes")
        if pause:
            _number(pause, 0, 60_000, "the pause in ms")
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
    triggers = _ALL

    @classmethod
    def read_arguments(cls, text: str | None) -> tuple[str, ...]:
        """See `Action.read_arguments`."""
        return () if text is None else (str(_number(text, 1, 1_000_000, "the number of bytes")),)

    def frame(self, connection: Connection, frame: Frame) -> bool:
        """See `Action.frame`."""
        size = int(self.arguments[0]) if self.arguments else 100
        data = bytes(frame.data)
        if frame.opcode is not Opcode.TEXT or len(data) <= size:
            return True
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        for index, piece in enumerate(pieces):
            last = index == len(pieces) - 1
            connection.write_raw(_frame(0x1 if index == 0 else 0x0, piece, fin=last))
            if index == 0:
                connection.write_raw(_frame(0x9, b"between"))
        return False


# Messages that are wrong, or more, or fewer, or in another order


class Insert(Action):
    """Sends something of its own; before the event that triggers it, if the server sends that."""

    first = True

    def made(self) -> Items:
        """What it sends."""
        return []

    def strike(self, connection: Connection, message: Mapping[str, object] | None = None) -> None:
        """See `Action.strike`."""
        for item in self.made():
            if isinstance(item, Raw):
                connection.write_raw(item.data)
            elif isinstance(item, dict):
                connection.send_event(item)

    def replaced(self, connection: Connection, items: Items) -> Items:
        """See `Action.replaced`."""
        return [*self.made(), *items]


class BadUtf8(Insert):
    """See ``about``."""

    about = "a text message that is no UTF-8"

    def made(self) -> Items:
        """See `Insert.made`."""
        return [Raw(_frame(0x1, b'{"type":"response.text.delta","delta":"\xff\xfe\xc3"}'))]


class BadJson(Insert):
    """See ``about``."""

    about = "a message that is no JSON, or the one given"
    usage = "[TEXT]"

    @classmethod
    def read_arguments(cls, text: str | None) -> tuple[str, ...]:
        """See `Action.read_arguments`."""
        return () if text is None else (text,)

    def made(self) -> Items:
        """See `Insert.made`."""
        text = self.arguments[0] if self.arguments else '{"type":"response.audio.delta","delta":'
        return [Raw(_frame(0x1, text.encode("utf-8", "surrogatepass")))]


class Binary(Insert):
    """See ``about``."""

    about = "a binary message, which the service never sends"

    def made(self) -> Items:
        """See `Insert.made`."""
        return [Raw(_frame(0x2, b"\x00\x01\x02\x03"))]


class Huge(Insert):
    """See ``about``."""

    about = "the head of a frame of 2^40 bytes, and no more than that"

    def made(self) -> Items:
        """See `Insert.made`."""
        return [Raw(b"\x81\x7f" + (1 << 40).to_bytes(8, "big"))]


class RawBytes(Insert):
    """See ``about``."""

    about = "any bytes, in hex, where a frame should begin"
    usage = "HEX"

    @classmethod
    def read_arguments(cls, text: str | None) -> tuple[str, ...]:
        """See `Action.read_arguments`."""
        if not text or not re.fullmatch(r"(?:[0-9a-fA-F]{2}){1,100000}", text):
            raise ValueError("it takes bytes in hex, for example 8a00")
        return (text,)

    def made(self) -> Items:
        """See `Insert.made`."""
        return [Raw(bytes.fromhex(self.arguments[0]))]


class UnknownEvent(Insert):
    """See ``about``."""

    about = "an event of a type nobody knows"
    default = _EVERY_EVENT

    def made(self) -> Items:
        """See `Insert.made`."""
        return [make("response.hologram.delta", response_id="resp_?", delta={"x": [1, None]}, output_index=0)]


class UnknownIds(Insert):
    """See ``about``."""

    about = "events for a response and an item that never were: deltas, ends, a transcript"
    default = _EVERY_EVENT

    def made(self) -> Items:
        """See `Insert.made`."""
        place = {"response_id": "resp_nobody", "item_id": "item_nobody", "output_index": 7, "content_index": 7}
        item = {"id": "item_nobody", "object": "realtime.item", "type": "message", "status": "completed"}
        response = {"id": "resp_nobody", "object": "realtime.response", "status": "completed", "output": []}
        return [
            make("response.text.delta", delta="nobody says this", **place),
            make("response.audio_transcript.delta", delta="nobody says this", **place),
            make("response.audio.delta", delta="AAAA", **place),
            make("response.audio_transcript.done", transcript="nobody says this", **place),
            make("response.audio.done", **place),
            make("response.output_item.done", response_id="resp_nobody", output_index=7, item=item),
            make("response.done", response=response),
        ]


class Duplicate(Action):
    """See ``about``."""

    about = "the event is sent twice, with the same id"
    default = _EVERY_EVENT
    triggers = ("sent",)

    def replaced(self, connection: Connection, items: Items) -> Items:
        """See `Action.replaced`."""
        return [*items, *items[-1:]]


class Reorder(Action):
    """See ``about``."""

    about = "the event is sent after the one that follows it"
    triggers = ("sent",)

    def __init__(self, arguments: tuple[str, ...]) -> None:
        super().__init__(arguments)
        self._held: Items = []

    def passing(self, connection: Connection, items: Items) -> Items:
        """See `Action.passing`."""
        held, self._held = self._held, []
        return [*items, *held]

    def replaced(self, connection: Connection, items: Items) -> Items:
        """See `Action.replaced`."""
        self._held = items[-1:]
        connection.call_later(_REORDER_S, lambda: self._release(connection))
        return items[:-1]

    def _release(self, connection: Connection) -> None:
        held, self._held = self._held, []
        for item in held:
            if isinstance(item, dict):
                connection.send_event(item)


class Lose(Action):
    """See ``about``."""

    about = "the event is lost: an event of the server is not sent, one of the client not seen"
    default = Trigger("sent", "response.done")
    triggers = ("sent", "received")
    swallows = True

    def replaced(self, connection: Connection, items: Items) -> Items:
        """See `Action.replaced`."""
        return items[:-1]


class NoDoneAfterCancel(Action):
    """See ``about``."""

    about = "after a response.cancel no response.done comes"
    default = Trigger("received", "response.cancel")
    triggers = ("received",)

    def passing(self, connection: Connection, items: Items) -> Items:
        """See `Action.passing`."""
        return [item for item in items if not (isinstance(item, dict) and item["type"] == "response.done")]


class ServiceError(Action):
    """See ``about``."""

    about = (
        "an error of the catalogue; at an event of the client it takes the place of that event's answer."
        " id: it names that event, open: it does not end the connection"
    )
    usage = "NAME[,id][,open]"
    swallows = True

    @classmethod
    def read_arguments(cls, text: str | None) -> tuple[str, ...]:
        """See `Action.read_arguments`."""
        name, *flags = (text or "").split(",")
        if name not in ERRORS:
            raise ValueError(_near(name, ERRORS, "error"))
        for flag in flags:
            if flag not in ("id", "open"):
                raise ValueError(f"behind the name it takes id and open, not {flag!r}")
        return (name, *flags)

    def strike(self, connection: Connection, message: Mapping[str, object] | None = None) -> None:
        """See `Action.strike`."""
        row = ERRORS[self.arguments[0]]
        given = message.get("event_id") if message is not None else None
        event = row.event(given if "id" in self.arguments and isinstance(given, str) else None)
        if event is not None:
            connection.send_event(event)
        if row.close is not None and "open" not in self.arguments:
            ending = Ending(*row.close)
            if event is None:
                connection.end(ending)
            else:
                connection.call_later(_CLOSE_DELAY_S, lambda: connection.end(ending))


ACTIONS: Mapping[str, type[Action]] = {
    "refuse": Refuse,
    "redirect": Redirect,
    "stall": Stall,
    "never-created": NeverCreated,
    "close": CloseIt,
    "free-tier": FreeTier,
    "reset": Reset,
    "half-close": HalfClose,
    "no-close-answer": NoCloseAnswer,
    "idle": Idle,
    "limit": Limit,
    "silence": Silence,
    "stop-reading": StopReading,
    "drip": Drip,
    "split": Split,
    "fragment": Fragment,
    "bad-utf8": BadUtf8,
    "bad-json": BadJson,
    "binary": Binary,
    "huge": Huge,
    "raw": RawBytes,
    "unknown-event": UnknownEvent,
    "unknown-ids": UnknownIds,
    "duplicate": Duplicate,
    "reorder": Reorder,
    "lose": Lose,
    "no-done-after-cancel": NoDoneAfterCancel,
    "error": ServiceError,
}
_SPOKEN: Mapping[Kind, str] = {
    "connect": "connect",
    "sent": "an event of the server",
    "received": "an event of the client",
    "time": "a time such as 200ms",
}


def read(text: str) -> Fault:
    """Read a fault; see `Fault.parse`."""

    def complete(name: str, arguments: str | None, trigger: Trigger | None) -> tuple[tuple[str, ...], Trigger]:
        action = ACTIONS.get(name)
        if action is None:
            raise ValueError(_near(name, ACTIONS, "fault"))
        made = action.read_arguments(arguments)
        trigger = action.default if trigger is None else trigger
        if trigger.kind not in action.triggers:
            allowed = " or ".join(_SPOKEN[kind] for kind in action.triggers)
            raise ValueError(f"{name} cannot strike at {trigger}; its trigger can be {allowed}")
        return made, trigger

    return parse(text, complete)


def _frame(opcode: int, data: bytes, *, fin: bool = True) -> bytes:
    size = len(data)
    if size < 126:
        length = bytes([size])
    else:
        length = b"\x7e" + size.to_bytes(2, "big") if size < 65536 else b"\x7f" + size.to_bytes(8, "big")
    return bytes([(0x80 if fin else 0) | opcode]) + length + data


