"""The emulator: a DashScope realtime service without a model, on a real socket of this machine.

accept thread            "dashscope-emulator-accept"      waits for clients
one thread per client    "dashscope-emulator-<n>"         owns the socket both ways, drives the session
one per question         "dashscope-emulator-<n>-answer"  runs the answer callable, if there is one
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import logging
import selectors
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from ..models import PATH, lookup
from ._answers import Answers, AnswerSource, read_source
from ._hooks import Hooks
from ._records import Handshake, Received, Records
from ._session import Session
from ._variants import Variants

if TYPE_CHECKING:
    from ._connection import Connection
    from ._fault_grammar import Fault

__all__ = ["Emulator"]

logger = logging.getLogger("dashscope_rt.testing")

_CLOSE_S = 5.0


class Emulator:
    """A service for tests, demonstrations and work without a key. What DashScope would refuse, it refuses.

    It listens on 127.0.0.1 only. Use it as a context manager, or call `start` and `close`. All methods are thread-safe.

    Args:
        answer: What it says: a callable that gets a `Heard` and returns an `Answer`, a text, s16le bytes or None (the
            default answer); a list of answers; or the path of a JSON script. Scripts are played from the start on each
            connection, and followed by the default answer: what was heard, played back. The callable runs on a thread
            of its own and may wait.
        api_keys: The keys that are good; None: every key that is not empty.
        pace: How fast answers come: 0 as fast as the client takes them, 1.0 in real time, 0.5 twice as fast.
        tls: True: ``wss`` with a certificate made for this run, see `ca_file`. Or your own context.
        port: 0 takes a free one.
        record_limit: How many messages of each direction are kept.
        hooks: Makes a `Hooks` for each connection, by its number: where misbehaviour is put in.
        faults: What goes wrong, as a script: one fault or several, see `dashscope_rt.testing.faults`.
        **variants: The attributes of `Variants`, for example ``cancel_sends_done=False``.

    Raises:
        TypeError: An option does not exist, or ``answer`` is of no use.
        ValueError: An option's value, a script or a fault is wrong.
        OSError: A script cannot be read.
    """

    def __init__(
        self,
        answer: AnswerSource = None,
        *,
        api_keys: Iterable[str] | None = None,
        pace: float = 0.0,
        tls: bool | ssl.SSLContext = False,
        port: int = 0,
        record_limit: int = 50_000,
        hooks: Callable[[int], Hooks] | None = None,
        faults: str | Fault | Iterable[str | Fault] = (),
        **variants: Any,
    ) -> None:
        if not pace >= 0:
            raise ValueError(f"pace must be 0 (as fast as it goes) or more (1.0 is real time), not {pace}")
        self._ask, self._script = read_source(answer)
        self.api_keys = (
            frozenset([api_keys] if isinstance(api_keys, str) else api_keys) if api_keys is not None else None
        )
        self.pace = pace
        self.variants = Variants.of(**variants)
        self.records = Records(record_limit)
        self.tls_context: ssl.SSLContext | None = None
        self.ca_file: str | None = None
        self._tls = tls
        self._port = port
        if hooks is not None and faults:
            raise ValueError("give hooks or faults, not both")
        if faults:
            from .faults import scripted  # it needs websockets, which start() asks for with a better sentence

            hooks = scripted(faults)
        self._hooks = hooks or (lambda number: Hooks())
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._listener: socket.socket | None = None
        self._wake: socket.socket | None = None
        self._thread: threading.Thread | None = None
        # Guards what follows: the accept thread adds, connections take themselves out, close() reads.
        self._lock = threading.Lock()
        self._connections: dict[int, Connection] = {}
        self._lingering: list[Connection] = []  # over, but a thread of theirs may still run
        self._closed = False

    # Life

    def start(self) -> Emulator:
        """Listen; returns itself.

        Raises:
            ImportError: ``websockets`` is not installed.
            RuntimeError: It was started before.
            OSError: The port is taken.
        """
        if self._thread is not None or self._closed:
            raise RuntimeError("an emulator starts only once; make a new one")
        if importlib.util.find_spec("websockets") is None:
            raise ImportError('the emulator needs websockets: pip install "dashscope_rt[emulator]"')
        if isinstance(self._tls, ssl.SSLContext):
            self.tls_context = self._tls
        elif self._tls:
            self._make_certificate()
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._listener.setblocking(False)
        self._port = self._listener.getsockname()[1]
        waker, self._wake = socket.socketpair()
        args = (self._listener, waker)
        self._thread = threading.Thread(target=self._accept, args=args, name="dashscope-emulator-accept", daemon=True)
        self._thread.start()
        logger.info("The emulator listens at %s; no model is running", self.url)
        return self

    def close(self, timeout: float = _CLOSE_S) -> None:
        """Hang up on every client with 1001 and stop; within ``timeout`` seconds, also when a client reads nothing.

        An answer callable that does not return keeps its (daemon) thread; a warning says so. May be called again.
        """
        deadline = time.monotonic() + timeout
        with self._lock:
            self._closed = True
            connections = [*self._connections.values(), *self._lingering]
        if self._wake is not None:
            with contextlib.suppress(OSError):
                self._wake.send(b"x")
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))
        for connection in connections:
            connection.close()
        lingering = [connection for connection in connections if not connection.join(deadline)]
        if lingering:
            numbers = ", ".join(str(connection.number) for connection in lingering)
            logger.warning("The answer callable still runs for connection %s", numbers)
        if self._wake is not None:
            self._wake.close()
        if self._folder is not None:
            self._folder.cleanup()

    def __enter__(self) -> Emulator:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> Literal[False]:
        self.close()
        return False

    # What a client needs

    @property
    def port(self) -> int:
        """The port it listens on.

        Raises:
            RuntimeError: It was not started.
        """
        if self._listener is None:
            raise RuntimeError("the emulator is not started; use it in a with statement or call start()")
        return self._port

    @property
    def url(self) -> str:
        """What a client connects to, without the query."""
        port = self.port
        return f"{'ws' if self.tls_context is None else 'wss'}://127.0.0.1:{port}{PATH}"

    # What a test looks at

    @property
    def received(self) -> list[Received]:
        """Every message that came in, in order; a snapshot."""
        return self.records.received

    @property
    def sent(self) -> list[Received]:
        """Every event that went out, in order; a snapshot."""
        return self.records.sent

    @property
    def connections(self) -> list[Handshake]:
        """Every request, in order, refused ones too; a snapshot."""
        return self.records.handshakes

    def wait_for(self, kind: str, timeout: float = 5.0, connection: int | None = None, count: int = 1) -> Received:
        """Wait until the client has sent an event of this type, ``count`` times since the start.

        Raises:
            AssertionError: It has not, after ``timeout`` seconds; the message lists what came instead.
        """
        return self._wait_for(kind, timeout, connection, count, sent=False)

    def wait_for_sent(self, kind: str, timeout: float = 5.0, connection: int | None = None, count: int = 1) -> Received:
        """The same for an event of the emulator."""
        return self._wait_for(kind, timeout, connection, count, sent=True)

    def wait_for_connection(self, timeout: float = 5.0, count: int = 1) -> Handshake:
        """Wait until ``count`` handshakes have been answered; gives the last of them.

        Raises:
            AssertionError: They have not.
        """
        return self._wait_for_handshake(timeout, None, count, closed=False)

    def wait_closed(self, timeout: float = 5.0, connection: int | None = None, count: int = 1) -> Handshake:
        """Wait until a connection (``connection``, or ``count`` of them) is over.

        Raises:
            AssertionError: It is not.
        """
        return self._wait_for_handshake(timeout, connection, count, closed=True)

    def check(self) -> None:
        """See that the emulator itself did its work.

        Raises:
            AssertionError: It failed inside, or the answer callable did; with the first failure as cause.
        """
        failures = self.records.failures
        if failures:
            raise AssertionError(f"the emulator failed inside ({len(failures)} times): {failures[0]!r}") from failures[
                0
            ]

    # What a test does to it

    def send(self, event: Mapping[str, Any], connection: int | None = None) -> None:
        """Send an event by hand to one connection, or to every open one."""
        made = dict(event)
        for each in self._open(connection):
            each.post(lambda each=each: each.send_event(made))  # type: ignore[misc]

    def drop(self, code: int = 1011, reason: str = "", connection: int | None = None) -> None:
        """Close one connection, or every open one, with any code and reason; 1006 hangs up without a close frame."""
        from ._context import Ending

        for each in self._open(connection):
            each.post(lambda each=each: each.end(Ending(code, reason)))  # type: ignore[misc]

    def release(self, connection: int | None = None) -> None:
        """Let answers go on that hold (`Answer.hold_after_ms`)."""
        for each in self._open(connection):
            each.post(each.release)

    # What connections use

    def new_answers(self) -> Answers:
        """The source of one connection's answers."""
        return Answers(self._ask, self._script, self.variants.transcribe)

    def new_session(
        self, connection: int, model: str, answers: Answers, now: float, variants: Variants
    ) -> Session:
        """The protocol machine for a connection that was let in."""
        logger.info("Connection %d: this is an emulator, it only pretends to be %s", connection, model)
        return Session(
            number=connection, info=lookup(model), variants=variants, answers=answers, pace=self.pace, now=now
        )

    def ended(self, connection: Connection) -> None:
        """A connection's thread is about to end."""
        with self._lock:
            self._connections.pop(connection.number, None)
            self._lingering = [*(each for each in self._lingering if each.alive), connection]
        self.records.close(connection.number)

    # Inside

    def _accept(self, listener: socket.socket, waker: socket.socket) -> None:
        from ._connection import Connection

        number = 0
        with listener, waker, selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(waker, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if waker in ready:
                    return
                try:
                    accepted, _ = listener.accept()
                except OSError:  # the client went away before it was accepted
                    continue
                number += 1
                try:
                    connection = Connection(self, number, accepted, self._hooks(number))
                except Exception as exc:  # noqa: BLE001 - the hooks are the user's; check() raises it
                    self.records.fail(exc)
                    accepted.close()
                    continue
                with self._lock:
                    if self._closed:
                        accepted.close()
                        return
                    self._connections[number] = connection
                connection.start()

    def _open(self, connection: int | None) -> list[Connection]:
        with self._lock:
            return [each for number, each in self._connections.items() if connection in (None, number)]

    def _wait_for(self, kind: str, timeout: float, connection: int | None, count: int, *, sent: bool) -> Received:
        found = self.records.wait(
            lambda: self.records.find_message(sent=sent, kind=kind, connection=connection, count=count), timeout
        )
        if found is None:
            self.check()
            records = self.sent if sent else self.received
            groups = ((kind, len(list(group))) for kind, group in itertools.groupby(record.type for record in records))
            listed = ", ".join(f"{kind or 'no event'} x {length}" for kind, length in groups) or "nothing"
            verb = "sent" if sent else "received"
            raise AssertionError(f"{kind} was not {verb} {count} time(s) within {timeout:g} s, but {listed}")
        return found

    def _wait_for_handshake(self, timeout: float, connection: int | None, count: int, *, closed: bool) -> Handshake:
        found = self.records.wait(
            lambda: self.records.find_handshake(closed=closed, connection=connection, count=count), timeout
        )
        if found is None:
            what = "over" if closed else "answered"
            raise AssertionError(
                f"after {timeout:g} s no {count} connection(s) are {what}; there are {self.connections}"
            )
        return found

    def _make_certificate(self) -> None:
        from ._certificate import make_certificates

        self._folder = tempfile.TemporaryDirectory(prefix="dashscope-emulator-")
        folder = Path(self._folder.name)
        made = make_certificates()
        (folder / "ca.pem").write_text(made.authority)
        (folder / "server.pem").write_text(made.certificate + made.key)
        self.tls_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls_context.load_cert_chain(folder / "server.pem")
        self.ca_file = str(folder / "ca.pem")
