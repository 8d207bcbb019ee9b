"""The sending half of a connection: any thread, in an order that the answers can be matched by."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable

import attrs

from .. import codec
from .. import events as ev
from .._network.link import Link, closed_error
from .._network.outbox import Outbox, Outgoing
from ..config import Timeouts
from ..errors import BadRequestError, CloseInfo, ConnectionClosed, DeadlineExceeded, RealtimeError
from ..responses import TOOL, FunctionCall
from .commands import Command, Commands
from .opening import OPEN
from .state import Create, Notice, SessionState


class Ids:
    """Event ids that nobody else gives. Any thread."""

    def __init__(self) -> None:
        self._prefix = f"event_{os.urandom(8).hex()}_"
        self._numbers = itertools.count(1)

    def __call__(self) -> str:
        """Return the next one."""
        return f"{self._prefix}{next(self._numbers)}"


class Sending:
    """What `Connection` sends with; the attributes are set there.

    `changed` guards the state, the phase and the info. ``_send_lock`` is held from noting a command until it is in the
    outbox, so that answers come in the order of the notes; nothing waits for the service under it.
    """

    changed: threading.Condition
    state: SessionState
    info: CloseInfo | None
    network: Link
    _outbox: Outbox
    _timeouts: Timeouts

    def __init__(self) -> None:
        self.next_id = Ids()  # gives a fresh event id
        self._send_lock = threading.Lock()
        self.has_audio = False  # some was appended since the last turn was committed or cleared
        self._own_commits = 0  # sent, and not answered yet
        self._told: list[Notice] = []  # for callbacks, from other threads; under `changed`

    @property
    def phase(self) -> str:
        """Where on the way from DIALLING to ENDED it is; see `_opening`."""
        raise AssertionError  # the connection says it

    def _wait(self, ready: Callable[[], object], deadline: float) -> bool:
        raise AssertionError  # the connection waits

    def send(
        self,
        event: ev.ClientEvent,
        *,
        timeout: float | None = None,
        newest_only: bool = False,
        on_refusal: Callable[[], None] | None = None,
    ) -> str:
        """Queue one event and return its id; `create` is the way for ``response.create``."""
        key = None
        if isinstance(event, ev.ConversationItemCreate):
            key = event.item.get("call_id") or event.item.get("approval_request_id")
        if isinstance(event, ev.InputAudioBufferAppend):
            return self.put_audio(event.audio, event.event_id)
        return self.put(
            codec.encode(event),
            event.type,
            event.event_id or "",
            key=key,
            timeout=timeout,
            newest_only=newest_only,
            on_refusal=on_refusal,
        )

    def put(
        self,
        payload: bytes,
        event_type: str,
        event_id: str,
        *,
        key: str | None = None,
        timeout: float | None = None,
        newest_only: bool = False,
        on_refusal: Callable[[], None] | None = None,
    ) -> str:
        """Queue one encoded event; notes it as a command when the service answers its kind."""
        deadline = time.monotonic() + (self._timeouts.send if timeout is None else timeout)
        self._until_usable(event_type, deadline)
        item = Outgoing(payload, event_type, event_id)
        if event_type == "input_audio_buffer.append":
            self._outbox.put(item, deadline - time.monotonic())
            self._audio_went()
            return event_id
        if event_type.startswith("input_audio_buffer."):
            self.has_audio = False
            self._own_commits += event_type == "input_audio_buffer.commit"
        if not Commands.expects_answer(event_type):
            self._outbox.put(item, deadline - time.monotonic())
            return event_id
        command = Command(event_type, event_id, key, on_refusal=on_refusal)
        if not self._send_lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise DeadlineExceeded(
                f"{event_type} was not sent: other senders have been waiting for the network for too long"
            )
        try:
            with self.changed:
                self.state.commands.add(command)
            (self._outbox.put_newest if newest_only else self._outbox.put)(item, deadline - time.monotonic())
        except RealtimeError as error:
            with self.changed:
                self.state.commands.drop(command, error)
            raise
        finally:
            self._send_lock.release()
        return event_id

    def put_audio(self, pcm: bytes | bytearray | memoryview, event_id: str | None = None) -> str:
        """Queue one piece of audio: the hot path; during a reconnect it goes into the bounded buffer."""
        event_id = event_id or self.next_id()
        payload = codec.encode_audio_append(pcm, event_id)
        self._outbox.put(Outgoing(payload, "input_audio_buffer.append", event_id, len(pcm)), self._timeouts.send)
        if not self.has_audio:
            self._audio_went()
        return event_id

    def _audio_went(self) -> None:
        # Only when it stands in the outbox: a picture that waits for it must not come before it.
        with self.changed:
            self.has_audio = True
            self.changed.notify_all()

    def put_audio_pieces(self, pieces: list[memoryview]) -> str:
        """Queue pieces of audio, all of them or none; returns the id of the last."""
        items = []
        for pcm in pieces:
            event_id = self.next_id()
            payload = codec.encode_audio_append(pcm, event_id)
            items.append(Outgoing(payload, "input_audio_buffer.append", event_id, len(pcm)))
        self._outbox.put_all(items, self._timeouts.send)
        self._audio_went()
        return items[-1].event_id

    def create(self, event: ev.ResponseCreate) -> Create:
        """Ask for a response as soon as none runs."""
        self._until_usable(event.type, time.monotonic() + self._timeouts.send)
        create = Create(Command("response.create", event.event_id or ""), event)
        with self.changed:
            self._check_open()
            self.state.add_create(create)
            self._release_creates(time.monotonic())
        return create

    def repeat_create(self, create: Create) -> None:
        """Send a ``response.create`` again that the service seems to have dropped; a refusal of it means nothing."""
        command = Command("response.create", self.next_id(), benign=True)
        with self.changed:
            if create.command.settled:
                return
            self.state.commands.add(command)
        event = attrs.evolve(create.event, event_id=command.event_id)
        self._outbox.put(Outgoing(codec.encode(event), event.type, command.event_id), self._timeouts.send)

    def cancel(self, timeout: float) -> bool:
        """Cancel what runs or was asked for; returns whether there was anything."""
        deadline = time.monotonic() + timeout
        with self.changed:
            self._check_open()
            unsent = list(self.state.waiting)
            self.state.waiting.clear()
            for create in unsent:
                create.command.fail(BadRequestError("cancelled before it was sent"))
            self.changed.notify_all()
            # The service refuses a cancel before response.created, so wait for that first.
            self._wait(lambda: not self.state.in_flight or self.info is not None, deadline)
            running = list(self.state.active.values())
            self._told += self.state.playing.cut(running, "client", sounding=False)
            if not running:
                return bool(unsent)
            command = self._send_cancel(time.monotonic())
        self.network.wake()  # its next deadline changed
        if timeout > 0:
            with self.changed:
                self._wait(
                    lambda: command.settled or self.info is not None or all(r.stopped for r in running), deadline
                )
        return command.error is None

    def _send_cancel(self, now: float) -> Command:
        # Under `changed`.
        self.state.cancelling(now)
        command = Command("response.cancel", self.next_id(), benign=True)
        self.state.commands.add(command)
        event = ev.ResponseCancel(event_id=command.event_id)
        self._outbox.put_now(Outgoing(codec.encode(event), event.type, command.event_id))
        return command

    def interrupt(self, *, cancel: bool) -> bool:
        """Let nothing more sound of any answer; returns whether there was one to silence or to cancel."""
        with self.changed:
            self._check_open()
            cuts = self.state.playing.cut(self.state.active.values(), "client")
            self._told += cuts
            asked_for = cancel and bool(self.state.in_flight)
            for create in self.state.in_flight if cancel else ():
                create.unwanted = True
        self.network.wake()  # it tells the callbacks
        return (self.cancel(0.0) if cancel else False) or asked_for or bool(cuts)

    def answer_call(self, call: FunctionCall, output: str) -> str:
        """Send a function's output; the follow-up is asked for when all outputs of the round are acknowledged.

        Returns:
            The event's id; "" when it is a tool's and comes too late, and so is not sent.
        """
        with self.changed:
            self._check_open()
            if call._taker == TOOL and not self.state.rounds.waits_for(call):
                return ""  # the user has gone on to something else
            self.state.answering(call.call_id)
        item = {"type": "function_call_output", "call_id": call.call_id, "output": output}
        return self.send(ev.ConversationItemCreate(event_id=self.next_id(), item=item))

    def decide(self, approval_id: str, approve: bool) -> str:
        """Send the answer to an MCP server's request for approval."""
        item = {"type": "mcp_approval_response", "approval_request_id": approval_id, "approve": approve}
        return self.send(ev.ConversationItemCreate(event_id=self.next_id(), item=item))

    def tell(self, notice: Notice) -> None:
        """Have a notice given to the callbacks; not under `changed`."""
        with self.changed:
            self._told.append(notice)
        self.network.wake()

    def command(self, event_id: str) -> Command | None:
        """Return the open command with this id."""
        with self.changed:
            return self.state.commands.find(event_id) or self.state.create_command(event_id)

    def _until_usable(self, event_type: str, deadline: float) -> None:
        # While a lost connection is being replaced, everything but audio waits for the new one.
        if self.phase == OPEN:
            return
        with self.changed:
            usable = self._wait(lambda: self.phase == OPEN or self.info is not None, deadline)
            self._check_open()
        if not usable:
            raise DeadlineExceeded(f"{event_type} was not sent: the session is still reconnecting")

    def _check_open(self) -> None:
        # Under `changed`.
        if self.info is not None:
            raise closed_error(self.info)

    def _release_creates(self, now: float) -> None:
        if self.state.to_cancel:
            self.state.to_cancel = False
            with contextlib.suppress(ConnectionClosed):
                self._send_cancel(now)
        # Under `changed`, so that creates enter the outbox in the order in which their answers are expected.
        while self.state.follow_ups_wanted:
            self.state.follow_ups_wanted -= 1
            event = ev.ResponseCreate(event_id=self.next_id())
            command = Command("response.create", event.event_id or "")
            self.state.add_create(Create(command, event, follows_tools=True))
        create = self.state.releasable() if self.phase == OPEN else None
        if create is None:
            return
        self.state.sent_create(create, now)
        self.state.commands.add(create.command)
        with contextlib.suppress(ConnectionClosed):  # the waiter learns of the end anyway
            self._outbox.put_now(Outgoing(codec.encode(create.event), create.event.type, create.command.event_id))
