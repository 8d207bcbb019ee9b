"""Faults of the messages: wrong ones, too many, too few, in another order, and the service's errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ._context import Ending
from ._error_rows import ERRORS
from ._fault_action import EVENTS, EVERY_EVENT, ONLY_RECEIVED, ONLY_SENT, Action, Items, frame_of, nearest
from ._fault_grammar import Trigger
from ._hooks import Raw
from ._wire import Event, make

if TYPE_CHECKING:
    from ._connection import Connection

_REORDER_S = 0.1  # until an event that was to follow another goes out alone
_CLOSE_DELAY_S = 0.05  # from an error that announces the end until the end


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
        return [Raw(frame_of(0x1, b'{"type":"response.text.delta","delta":"\xff\xfe\xc3"}'))]


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
        return [Raw(frame_of(0x1, text.encode("utf-8", "surrogatepass")))]


class Binary(Insert):
    """See ``about``."""

    about = "a binary message, which the service never sends"

    def made(self) -> Items:
        """See `Insert.made`."""
        return [Raw(frame_of(0x2, b"\x00\x01\x02\x03"))]


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
    default = EVERY_EVENT

    def made(self) -> Items:
        """See `Insert.made`."""
        return [make("response.hologram.delta", response_id="resp_?", delta={"x": [1, None]}, output_index=0)]


class UnknownIds(Insert):
    """See ``about``."""

    about = "events for a response and an item that never were: deltas, ends, a transcript"
    default = EVERY_EVENT

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
    default = EVERY_EVENT
    triggers = ONLY_SENT

    def replaced(self, connection: Connection, items: Items) -> Items:
        """See `Action.replaced`."""
        return [*items, *items[-1:]]


class Reorder(Action):
    """See ``about``."""

    about = "the event is sent after the one that follows it"
    triggers = ONLY_SENT

    def __init__(self, arguments: tuple[str, ...]) -> None:
        super().__init__(arguments)
        self._held: Items = []

    def passing(self, connection: Connection, items: Items) -> Items:
        """See `Action.passing`."""
        held, self._held = self._held, []
        return [*items, *held]

    def replaced(self, connection: Connection, items: Items) -> Items:
        """See `Action.replaced`."""
        if len(items) != 1:  # another one has just followed this one
            return items
        self._held = items
        connection.call_later(_REORDER_S, lambda: self._release(connection))
        return []

    def _release(self, connection: Connection) -> None:
        held, self._held = self._held, []
        for item in held:
            if isinstance(item, dict):
                connection.send_event(item)


class Lose(Action):
    """See ``about``."""

    about = "the event is lost: an event of the server is not sent, one of the client not seen"
    default = Trigger("sent", "response.done")
    triggers = EVENTS
    swallows = True

    def replaced(self, connection: Connection, items: Items) -> Items:
        """See `Action.replaced`."""
        return items[:-1]


class NoDoneAfterCancel(Action):
    """See ``about``."""

    about = "after a response.cancel the cancelled response has no response.done"
    default = Trigger("received", "response.cancel")
    triggers = ONLY_RECEIVED

    def passing(self, connection: Connection, items: Items) -> Items:
        """See `Action.passing`."""
        return [item for item in items if not (isinstance(item, dict) and _cancelled(item))]


def _cancelled(event: Event) -> bool:
    return bool(event["type"] == "response.done" and event["response"].get("status") == "cancelled")


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
            raise ValueError(nearest(name, ERRORS, "error"))
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
