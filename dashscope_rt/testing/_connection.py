"""One client's connection. Its thread owns the socket both ways and drives the session; nobody else touches either.

    socket -> layer (TLS) -> protocol -> frames -> message -> Session
    socket <- layer (TLS) <- protocol <- frames <- event   <- Session

One thread and non-blocking reads and writes, because two threads on one TLS connection are a data race, and because a
client that has stopped reading must not keep anybody waiting: what it does not take stays in ``_outgoing``, and the
session is not driven on while much is left there.
"""

from __future__ import annotations

import contextlib
import json
import logging
import selectors
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State

from ._answers import Answer, Answers
from ._context import Ending
from ._handshake import SERVER, SWITCHING, describe, judge, response_of
from ._hooks import Hooks, Raw
from ._inputs import Question
from ._layers import Plain, Protocol, Tls
from ._outgoing import Outgoing
from ._session import Session
from ._wire import Event

if TYPE_CHECKING:
    from .emulator import Emulator

logger = logging.getLogger("dashscope_rt.testing")

_READ = 65536
_HIGH_WATER = 262_144  # bytes not taken by the client, above which no more is made for it
_CLOSE_S = 2.0  # for the client to answer our close frame, or to hang up after its own
_GOING_AWAY_S = 1.0  # the same when the emulator is closed
_NEVER_SENT = frozenset({1006, 1015})


class Connection:
    """One accepted connection.

    Args:
        owner: The emulator.
        number: 1 for the emulator's first.
        sock: The accepted socket.
        hooks: What goes wrong.
    """

    def __init__(self, owner: Emulator, number: int, sock: socket.socket, hooks: Hooks) -> None:
        self.number = number
        self.hooks = hooks
        self._owner = owner
        self._socket = sock
        self._layer = Plain() if owner.tls_context is None else Tls(owner.tls_context)
        self._protocol = Protocol(owner.variants.max_message_bytes, self._passes)
        self._session: Session | None = None
        self._answers: Answers | None = None
        self._outgoing = Outgoing(sock, self._layer)
        self._fragments: list[bytes] = []
        self._fragments_text = True
        self._reading = True
        self._mute = False  # a close frame was kept back by the hooks: as if we had never seen the client's
        self._over = False
        self._ended = False  # our close frame was sent, or what was sent in its place
        self._deadline: float | None = None
        self._next_ping: float | None = None
        self._asked: Question | None = None
        self._later: list[tuple[float, Callable[[], None]]] = []  # what hooks want done, and when
        # Filled by any thread, emptied by the connection's; a deque needs no lock for that.
        self._posted: deque[Callable[[], None]] = deque()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._threads: list[threading.Thread] = []  # those that run the answer callable
        self._thread = threading.Thread(target=self._run, name=f"dashscope-emulator-{number}", daemon=True)

    # From any thread

    def start(self) -> None:
        """Start the connection's thread."""
        self._thread.start()

    def post(self, action: Callable[[], None]) -> None:
        """Run something on the connection's thread soon; not at all when the connection is over."""
        self._posted.append(action)
        with contextlib.suppress(OSError):  # full: it wakes up anyway; closed: the connection is over
            self._wake_writer.send(b"x")

    def close(self, code: int = 1001, reason: str = "The emulator is closed.") -> None:
        """Say goodbye and hang up; bounded by a second."""
        self.post(lambda: self._go_away(code, reason))

    @property
    def alive(self) -> bool:
        """Its thread still runs, or one of the answer callable."""
        return any(thread.is_alive() for thread in [self._thread, *self._threads])

    def join(self, deadline: float) -> bool:
        """Wait for the thread, and those of the answer callable; False when one is still there at the deadline."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not self.alive

    # On the connection's thread, for hooks and for posted actions

    def send_event(self, event: Event) -> None:
        """Send an event, through the hooks."""
        for item in self.hooks.sending(self, event):
            if isinstance(item, Ending):
                self.end(item)
            elif isinstance(item, Raw):
                self.write_raw(item.data)
            elif not self._ended and self._protocol.state is State.OPEN:
                self._owner.records.add_sent(self.number, item)
                self._protocol.send_text(_encode(item))

    def write_raw(self, data: bytes) -> None:
        """Put bytes on the connection behind what was sent before, inside TLS if there is TLS."""
        self._collect()
        self._outgoing.add(data)

    def drip(self, count: int, seconds: float) -> None:
        """From now on send at most so many bytes at a time, with so many seconds between."""
        self._outgoing.drip = (count, seconds)

    def call_later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something on this thread in so many seconds, if the connection lives so long."""
        self._later.append((time.monotonic() + seconds, action))

    def end(self, ending: Ending) -> None:
        """Send a close frame with any code and reason; 1006 just hangs up. Once only, and not after the client's."""
        if self._ended or self._over or self._protocol.state is not State.OPEN:
            return
        self._ended = True
        self._owner.records.change(self.number, close_code=ending.code, close_reason=ending.reason, closed_by="server")
        if ending.code in _NEVER_SENT:
            self._flush()
            self._over = True
        else:
            self._protocol.send_any_close(ending.code, ending.reason)
            self._expire_in(_CLOSE_S)

    def reset(self) -> None:
        """End the TCP connection with RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._outgoing.drop()
        self._over = True

    def half_close(self) -> None:
        """End only the sending half of the TCP connection, after what was sent."""
        self._outgoing.finishing = True

    def pause_reading(self, paused: bool = True) -> None:
        """Leave what the client sends in the socket."""
        self._reading = not paused

    def release(self) -> None:
        """A held answer goes on."""
        if self._session is not None:
            self._session.release(time.monotonic())

    def _passes(self, frame: Frame) -> bool:
        passes = self.hooks.framing(self, frame)
        self._mute = self._mute or (frame.opcode is Opcode.CLOSE and not passes)
        return passes

    # The thread

    def _run(self) -> None:
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.hooks.accepted(self)
            self._loop()
        except Exception as exc:
            logger.exception("The emulator failed inside on connection %d", self.number)
            self._owner.records.fail(exc)
            with contextlib.suppress(Exception):
                self.end(Ending(1011, "The emulator failed inside."))
                self._flush()
        finally:
            for sock in (self._socket, self._wake_reader, self._wake_writer):
                sock.close()
            self._owner.ended(self)

    def _loop(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_reader, selectors.EVENT_READ)
            watched = 0
            while True:
                self._flush()
                if self._over:
                    return
                mask = selectors.EVENT_READ if self._reading else 0
                if self._outgoing and self._outgoing.due is None:
                    mask |= selectors.EVENT_WRITE
                if mask != watched:
                    if watched:
                        selector.unregister(self._socket)
                    if mask:
                        selector.register(self._socket, mask)
                    watched = mask
                ready = selector.select(self._timeout())
                if any(key.fileobj is self._wake_reader for key, _ in ready):
                    self._run_posted()
                if any(key.fileobj is self._socket and events & selectors.EVENT_READ for key, events in ready):
                    self._read()
                self._keep_time()

    def _timeout(self) -> float | None:
        now = time.monotonic()
        times = [self._deadline, self._next_ping, self._outgoing.due, *(when for when, _ in self._later)]
        if self._session is not None and len(self._outgoing) < _HIGH_WATER:
            times.append(self._session.due)
        known = [when for when in times if when is not None]
        return max(0.0, min(known) - now) if known else None

    def _run_posted(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_reader.recv(4096):
                pass
        while self._posted:
            self._posted.popleft()()
            self._drain()

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ)
            plain = self._layer.feed(data) if data else b""
        except BlockingIOError:
            return
        except (OSError, ssl.SSLError) as exc:
            logger.debug("Connection %d was lost: %s", self.number, exc)
            self._over = True
            return
        if not data:
            self._over = True  # a client that half-closes has gone, for this server as for most
            return
        if not plain:
            return
        self._protocol.receive_data(plain)
        for item in self._protocol.events_received():
            if isinstance(item, Request):
                self._answer_request(item)
            elif isinstance(item, Frame):
                self._take_frame(item)
            self._play()
        if self._protocol.close_expected():
            self._expire_in(_CLOSE_S)

    def _keep_time(self) -> None:
        now = time.monotonic()
        if self._deadline is not None and now >= self._deadline:
            self._over = True
        for each in [each for each in self._later if now >= each[0]]:
            self._later.remove(each)
            each[1]()
        if self._next_ping is not None and now >= self._next_ping:
            self._next_ping = now + (self._owner.variants.ping_interval_s or 0.0)
            if self._protocol.state is State.OPEN:
                self._protocol.send_ping(b"emulator")
        self._play()

    def _play(self) -> None:
        # As long as the client takes what there is, one step after the other.
        while self._session is not None and not self._over and len(self._outgoing) < _HIGH_WATER:
            now = time.monotonic()
            due = self._session.due
            if due is None or due > now:
                return
            self._session.advance(now)
            self._drain()
            self._flush()

    # Handshake

    def _answer_request(self, request: Request) -> None:
        owner = self._owner
        handshake = describe(self.number, request)
        owner.records.open(handshake)
        reply = judge(request.path, handshake.headers, owner.api_keys, owner.variants)
        decided = self.hooks.replying(self, handshake, reply)
        if decided is None:
            return
        response = self._protocol.accept(request) if decided.status == SWITCHING else response_of(decided)
        owner.records.change(self.number, status=response.status_code)
        response.headers["Server"] = SERVER
        for name, value in decided.headers.items():
            response.headers[name] = value
        self._protocol.send_response(response)
        if response.status_code != SWITCHING:
            logger.info("Connection %d was refused with %d", self.number, response.status_code)
            self._expire_in(_CLOSE_S)
            return
        now = time.monotonic()
        self._answers = owner.new_answers()
        self._session = owner.new_session(
            self.number, handshake.model or "", self._answers, now, self.hooks.varying(owner.variants)
        )
        interval = owner.variants.ping_interval_s
        self._next_ping = None if interval is None else now + interval
        self._session.open(now)
        self._drain()

    # Messages

    def _take_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self._client_closed()
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if frame.opcode is not Opcode.CONT:
                self._fragments = []
                self._fragments_text = frame.opcode is Opcode.TEXT
            self._fragments.append(bytes(frame.data))
            if frame.fin:
                self._take_message(b"".join(self._fragments))
                self._fragments = []

    def _take_message(self, data: bytes) -> None:
        try:
            message = data.decode() if self._fragments_text else data
        except UnicodeDecodeError as exc:
            self._protocol.fail(CloseCode.INVALID_DATA, f"{exc.reason} at position {exc.start}")
            return
        changed = self.hooks.receiving(self, message)
        if changed is None or self._session is None:
            return
        self._owner.records.add_received(self.number, self._session.receive(changed, time.monotonic()))
        self._drain()

    def _client_closed(self) -> None:
        received = self._protocol.close_rcvd
        if received is not None and not self._ended:
            code = None if received.code == CloseCode.NO_STATUS_RCVD else int(received.code)
            changes = {"close_code": code, "close_reason": received.reason, "closed_by": "client"}
            self._owner.records.change(self.number, **changes)
        self._session = None

    def _drain(self) -> None:
        session = self._session
        if session is None:
            return
        for item in session.take():
            if isinstance(item, Ending):
                self.end(item)
            else:
                self.send_event(item)
        question = session.question
        if question is not None and question is not self._asked:
            self._asked = question
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            name = f"dashscope-emulator-{self.number}-answer"
            thread = threading.Thread(target=self._ask, args=(question, self._answers), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _ask(self, question: Question, answers: Answers) -> None:
        # On a thread of its own: the callable belongs to the user and may wait for anything.
        answer: Answer | None = None
        try:
            answer = answers.ask(question.heard)
        except Exception as exc:
            logger.exception("The answer callable failed on connection %d", self.number)
            self._owner.records.fail(exc)
        self.post(lambda: self._answered(question, answer))

    def _answered(self, question: Question, answer: Answer | None) -> None:
        if self._session is not None:
            self._session.answered(question, answer, time.monotonic())

    # Endings

    def _go_away(self, code: int, reason: str) -> None:
        self._reading = True  # or a client that has gone already would be waited for
        if self._protocol.state is State.OPEN:
            self.end(Ending(code, reason))
            self._session = None
        else:
            self._over = True
        self._expire_in(_GOING_AWAY_S)

    def _expire_in(self, seconds: float) -> None:
        if self._mute and seconds != _GOING_AWAY_S:
            return  # until the client hangs up
        when = time.monotonic() + seconds
        self._deadline = when if self._deadline is None else min(when, self._deadline)

    # Bytes

    def _collect(self) -> None:
        for data in self._protocol.data_to_send():
            if not data:
                self._outgoing.finishing = not self._mute
            elif changed := self.hooks.writing(self, data):
                self._outgoing.add(changed)

    def _flush(self) -> None:
        self._collect()
        try:
            self._outgoing.flush()
        except OSError as exc:
            logger.debug("Connection %d cannot be written to: %s", self.number, exc)
            self._outgoing.drop()
            self._over = True


def _encode(event: Event) -> bytes:
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which a client can send as an escape
        return json.dumps(event, separators=(",", ":")).encode()
