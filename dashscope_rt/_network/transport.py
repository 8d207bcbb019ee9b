"""The socket: dialled within one deadline, then non-blocking. The only client-side user of ``websocket``'s handshake.

`Dialing.run` goes through DNS, proxy, TCP, TLS and the WebSocket upgrade, on the caller's thread. Every step gets what
is left of one deadline, and what the system gives none for (DNS) runs on a thread of its own that may be left behind;
`Dialing.abort` ends it from any other thread. `Transport` then moves bytes; after the dialling the network thread alone
touches it, except for `Transport.abort`, which only shuts the file descriptor down.
"""

from __future__ import annotations

import base64
import contextlib
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

import attrs
from websocket import WebSocket, WebSocketException, WebSocketTimeoutException

from ..errors import ConnectionFailed, DeadlineExceeded, RealtimeError
from .crew import READ, WRITE
from .frames import FrameReader, Message
from .secret import Secret
from .upgrade import HandshakeSocket, NotSwitched, refusal

_T = TypeVar("_T")
_LONGEST = 3600.0  # s of one wait
_PROXY_LIMIT = 64 * 1024  # bytes of a proxy's answer
_OTHER_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


@attrs.frozen(kw_only=True)
class Endpoint:
    """Where to connect and what to say there.

    Attributes:
        url: ``ws`` or ``wss`` URL with the model in its query.
        headers: Plain request headers.
        api_key: Goes out as ``Authorization: Bearer …``, added to the bytes on the wire only.
        ssl_context: For ``wss``; shared by all sessions of a client, because loading the CA bundle costs 30 ms.
        proxy: ``http://``, ``socks5://`` … URL with optional credentials, or None for a direct connection.
    """

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    api_key: Secret
    ssl_context: ssl.SSLContext | None = None
    proxy: Secret | None = None


class Dialing:
    """One attempt to connect.

    Args:
        endpoint: Where to.
        deadline: ``time.monotonic()`` value by which everything must have happened.
        max_message_bytes: For the frame reader of the transport.
    """

    def __init__(self, endpoint: Endpoint, deadline: float, max_message_bytes: int) -> None:
        self._endpoint = endpoint
        self._deadline = deadline
        self._max_message_bytes = max_message_bytes
        # Guards the two below: abort() may come between the making of a socket and its first use.
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._aborted = False
        self._elsewhere_over: threading.Event | None = None  # what is waited for while something runs elsewhere
        self._failure: RealtimeError | None = None
        self._step = "DNS and TCP"  # for the message when time is up

    @classmethod
    def failed(cls, error: RealtimeError) -> Dialing:
        """Return an attempt that fails with ``error`` when it is run."""
        dialing = cls(Endpoint(url="", api_key=Secret("")), 0.0, 0)
        dialing._failure = error
        return dialing

    def abort(self) -> None:
        """End the attempt from any thread; `run` then raises soon, and no connection appears later."""
        with self._lock:
            self._aborted = True
            if self._socket is not None:
                _shut_down(self._socket)
            if self._elsewhere_over is not None:
                self._elsewhere_over.set()

    def run(self, meanwhile: Callable[[], object] = lambda: None) -> Transport:
        """Connect; called once.

        Args:
            meanwhile: Called when the last request is on its way, to do something useful until the answer comes.

        Raises:
            APIError: The service refused the upgrade; the class says why.
            ConnectionFailed: DNS, TCP, TLS, proxy, or no WebSocket on the other side.
            DeadlineExceeded: Out of time.
        """
        if self._failure is not None:
            raise self._failure
        parts = urlsplit(self._endpoint.url)
        host = parts.hostname or ""
        secure = parts.scheme == "wss"
        port = parts.port or (443 if secure else 80)
        try:
            sock = self._open(host, port)
            if secure:
                context = self._endpoint.ssl_context or ssl.create_default_context()
                sock.settimeout(self._left())
                # The handshake comes after _own(), so that abort() can end it too.
                secured = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
                sock = self._own(secured)
                self._step = "the TLS handshake"
                secured.do_handshake()
            self._step = "the WebSocket upgrade"
            leftover = self._upgrade(sock, meanwhile)
            self._left()  # what comes about after the deadline must not stay
            sock.setblocking(False)
            with self._lock:  # from here on abort() has nothing to break: the transport has an owner
                self._check_aborted()
                self._socket = None
            transport = Transport(sock, FrameReader(self._max_message_bytes), leftover)
        except BaseException as error:
            self._drop()
            if isinstance(error, RealtimeError) or not isinstance(error, Exception):
                raise
            raise self._explained(error, host, port) from error
        return transport

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _check_aborted(self) -> None:
        if self._aborted:
            raise ConnectionFailed("the attempt to connect was given up")

    def _own(self, sock: socket.socket) -> socket.socket:
        with self._lock:
            self._socket = sock
        self._check_aborted()
        return sock

    def _drop(self) -> None:
        with self._lock:
            sock, self._socket = self._socket, None
        if sock is not None:
            sock.close()

    def _open(self, host: str, port: int) -> socket.socket:
        proxy = self._endpoint.proxy
        if proxy is None:
            return self._tcp(host, port)
        parts = urlsplit(proxy.reveal())
        if parts.scheme == "http":
            return self._through_http_proxy(parts, host, port)
        return self._through_socks(proxy, host, port)

    def _elsewhere(self, call: Callable[[], _T], late: Callable[[_T], object] = lambda result: None) -> _T:
        """Return what ``call`` does, on a thread left behind at the deadline; ``late`` gets what comes too late.

        Raises:
            TimeoutError: Out of time.
            ConnectionFailed: Given up.
        """
        over = threading.Event()
        results: list[_T] = []
        errors: list[BaseException] = []
        left_behind = False

        def run() -> None:
            try:
                results.append(call())
            except BaseException as error:  # noqa: BLE001 — raised below, on the thread that waits
                errors.append(error)
            with self._lock:
                over.set()
                unwanted = left_behind and bool(results)
            if unwanted:
                late(results[0])

        with self._lock:
            self._elsewhere_over = over
        self._check_aborted()
        threading.Thread(target=run, name="dashscope_rt-network-lookup", daemon=True).start()
        try:
            over.wait(self._left())
        finally:  # Ctrl-C, too
            with self._lock:
                self._elsewhere_over = None
                left_behind = not results and not errors
        if errors:
            raise errors[0]
        if self._aborted and results:
            late(results[0])
        self._check_aborted()
        if not results:
            raise TimeoutError
        return results[0]

    def _addresses(self, host: str, port: int) -> list[tuple[Any, ...]]:
        # A name may take as long as the name servers like; an address needs none of them.
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                socket.inet_pton(family, host)
            except (OSError, ValueError):
                continue
            return [(family, socket.SOCK_STREAM, 0, "", (host, port))]
        return self._elsewhere(lambda: socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM))

    def _tcp(self, host: str, port: int) -> socket.socket:
        found = self._addresses(host, port)
        failure: OSError = ConnectionFailed(f"{host} has no address")
        for family, kind, protocol, _, address in found:
            self._check_aborted()
            sock = self._own(socket.socket(family, kind, protocol))
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                sock.settimeout(self._left())
                sock.connect(address)
            except OSError as error:
                failure = error
                self._drop()
                continue
            return sock
        raise failure

    def _through_http_proxy(self, proxy: SplitResult, host: str, port: int) -> socket.socket:
        place = f"{proxy.hostname}:{proxy.port or 80}"
        try:
            sock = self._tcp(proxy.hostname or "", proxy.port or 80)
        except TimeoutError:
            raise
        except OSError as error:
            self._check_aborted()
            raise ConnectionFailed(f"the proxy {place} cannot be reached: {error.strerror or error}") from error
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if proxy.username:
            pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
            lines.append("Proxy-Authorization: Basic " + base64.b64encode(pair).decode())
        sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        answer = b""
        while b"\r\n\r\n" not in answer and len(answer) < _PROXY_LIMIT:
            sock.settimeout(self._left())
            piece = sock.recv(1)  # byte by byte: what follows the empty line belongs to TLS
            if not piece:
                break
            answer += piece
        status = answer.split(b"\r\n", 1)[0].decode("latin-1", "replace")
        if not re.match(r"HTTP/1\.[01] 2\d\d", status):
            raise ConnectionFailed(f"the proxy {place} does not connect to {target}: {status or 'no answer'}")
        return sock

    def _through_socks(self, proxy: Secret, host: str, port: int) -> socket.socket:
        try:
            from python_socks.sync import Proxy
        except ImportError as error:
            raise ConnectionFailed(
                'a SOCKS proxy needs the package python-socks: pip install "dashscope_rt[socks]"', retryable=False
            ) from error
        left = self._left()
        return self._own(
            self._elsewhere(  # its time-out is for each step, and it asks the name servers
                lambda: Proxy.from_url(proxy.reveal()).connect(host, port, timeout=left), late=socket.socket.close
            )
        )

    def _upgrade(self, sock: socket.socket, meanwhile: Callable[[], object]) -> bytes:
        """Do the WebSocket upgrade; returns bytes of the first frames that came along with its answer."""
        headers = tuple(f"{name}: {value}" for name, value in self._endpoint.headers)
        line = HandshakeSocket(sock, self._deadline, self._endpoint.api_key, headers, meanwhile)
        client = WebSocket()
        try:
            client.connect(  # type: ignore[no-untyped-call]
                self._endpoint.url,
                socket=line,
                header=list(headers),
                suppress_origin=True,
                redirect_limit=0,  # websocket-client would follow with the Authorization header still on
            )
        except NotSwitched:
            raise refusal(line) from None
        except WebSocketException as error:
            if isinstance(error, WebSocketTimeoutException):
                raise TimeoutError from error
            raise
        finally:
            client.frame_buffer = client.sock = None  # type: ignore[assignment]  # it holds the client, and that this
        return line.leftover()

    def _explained(self, error: Exception, host: str, port: int) -> RealtimeError:
        where = f"{host}:{port}"
        if self._aborted:
            return ConnectionFailed(f"the attempt to connect to {where} was given up")
        if isinstance(error, TimeoutError):
            return DeadlineExceeded(
                f"connecting to {where} took longer than allowed (Timeouts.connect): {self._step} did not end"
            )
        if isinstance(error, socket.gaierror):
            return ConnectionFailed(f"the host {host} was not found: {error.strerror}; check region, workspace or url")
        if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _OTHER_NAME:
            return ConnectionFailed(
                f"the certificate of {where} belongs to another host: {error.verify_message}; check url and region",
                retryable=False,
            )
        if isinstance(error, ssl.SSLCertVerificationError):
            return ConnectionFailed(
                f"the certificate of {where} is not trusted: {error.verify_message}; for a CA of your own pass"
                " ca_file=… to RealtimeClient",
                retryable=False,
            )
        if isinstance(error, ConnectionRefusedError):
            return ConnectionFailed(f"{where} refused the connection: nothing listens there")
        return ConnectionFailed(f"connecting to {where} failed: {error or type(error).__name__}")


class Transport:
    """A connected, non-blocking socket and the frame reader behind it; the network thread's own.

    Attributes:
        control: Control frames that came so far, see `FrameReader`.
        opaque: What a selector says of the socket is not all there is to know, see `more_to_read`.
    """

    def __init__(self, sock: socket.socket, reader: FrameReader, leftover: bytes) -> None:
        self._sock = sock
        self._reader = reader
        self._leftover = leftover
        self.bytes_received = 0
        self._secure = isinstance(sock, ssl.SSLSocket)
        self.opaque = self._secure or bool(leftover)
        self.control = reader.control
        self.at_end = False  # the peer has ended the stream
        self.filled = False  # by the last read, so that there may be more
        self._failure: OSError | None = None  # comes after the messages that were read before it
        self.read_wants_write = False  # TLS may need to write before it can read (key update), and the reverse
        self.write_wants_read = False

    def fileno(self) -> int:
        """Return the file descriptor, for a selector."""
        return self._sock.fileno()

    def take_control(self) -> list[Message]:
        """Return the control frames that came so far, once."""
        taken = self.control.copy()
        self.control.clear()
        return taken

    def receive(self) -> Iterator[Message] | None:
        """Read what is there, without waiting, as far as it fits into the reader's room.

        Returns:
            The messages it completes, to be exhausted before the next call; see `FrameReader.took`. None when there was
            nothing to read, or nothing but the end of the stream (`at_end`).

        Raises:
            OSError: The connection broke.
            ProtocolError: What came is no WebSocket stream.
        """
        if self._leftover:
            room = self._reader.room()
            piece, self._leftover = self._leftover[: len(room)], self._leftover[len(room) :]
            room[: len(piece)] = piece
            return self._reader.took(len(piece))
        room = self._reader.room()
        if self._secure:
            size = self._fill(room)
        else:
            try:
                size = self._sock.recv_into(room)
            except BlockingIOError:
                self.filled = False
                return None
            self.at_end = not size
        # The system gives all it has, so a short read says that there is no more; TLS gives one record at a time.
        self.filled = size == len(room)
        if not size:
            return None
        self.bytes_received += size
        return self._reader.took(size)

    def _fill(self, room: memoryview) -> int:
        # TLS gives one record at a time, and has more where the selector does not see it.
        self.read_wants_write = False
        size = 0
        while size < len(room):
            if self._failure is not None:
                raise self._failure
            try:
                got = self._sock.recv_into(room[size:])
            except ssl.SSLWantReadError:
                break
            except ssl.SSLWantWriteError:
                self.read_wants_write = True
                break
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                got = 0
            except OSError as error:
                if not size:
                    raise
                self._failure = error  # it comes after what was read before it
                break
            if not got:
                self.at_end = True
                break
            size += got
        return size

    def more_to_read(self) -> bool:
        """Whether something waits inside TLS, from the handshake or after a failure, where a selector cannot see it."""
        if self._failure is not None or self._leftover:
            return True
        return self._secure and self._sock.pending() > 0  # type: ignore[attr-defined]

    def send(self, data: bytes | memoryview) -> int:
        """Write what fits, without waiting; returns how many bytes went, 0 when there is no room.

        After a 0 the same bytes must be offered again (TLS insists on it).

        Raises:
            OSError: The connection broke.
        """
        self.write_wants_read = False
        try:
            return self._sock.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError):
            return 0
        except ssl.SSLWantReadError:
            self.write_wants_read = True
            return 0

    def wait(self, events: int, seconds: float) -> int:
        """Wait until the socket is ready; returns for what, 0 when the time is up. Whoever serves it alone."""
        if self.more_to_read():
            return READ
        write = (self._sock,) if events & WRITE else ()
        if hasattr(select, "poll"):  # select cannot wait for descriptors over 1023
            poll = select.poll()
            poll.register(self._sock, select.POLLIN | (select.POLLOUT if write else 0))
            found = poll.poll(min(seconds, _LONGEST) * 1000)
            return (WRITE if found[0][1] & select.POLLOUT else 0) | READ if found else 0
        readable, writable, _ = select.select((self._sock,), write, (), min(seconds, _LONGEST))
        return (READ if readable else 0) | (WRITE if writable else 0)

    def stop_reading(self) -> None:
        """Let the end of the stream come now, from any thread; what is still to be sent can be sent."""
        with contextlib.suppress(OSError, ValueError):
            socket.socket.shutdown(self._sock, socket.SHUT_RD)

    def abort(self) -> None:
        """Break the connection at once, from any thread: the network thread wakes up and ends."""
        _shut_down(self._sock)

    def close(self) -> None:
        """Give the file descriptor back; the network thread only."""
        self._sock.close()


def _shut_down(sock: socket.socket) -> None:
    # The base class's method: SSLSocket.shutdown() would take the TLS object away under the network thread's feet.
    with contextlib.suppress(OSError, ValueError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
