"""A small HTTP server for metrics, for programs that do not already run an HTTP server."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from math import inf
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from nanospan.export.prometheus.apps import SEND_TIMEOUT, exposition_of
from nanospan.export.prometheus.hosts import AllowedHosts, split_target
from nanospan.export.prometheus.response import METRICS_PATH, Request, Response, plain, respond
from nanospan.reentrant import Bell, start_thread
from nanospan.values.messages import shorten, shown

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from typing_extensions import Self

    from nanospan.export.prometheus.exposition import Exposition
    from nanospan.recorder import Recorder

logger = logging.getLogger("nanospan")

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 9464
"""The default port of OpenTelemetry's Prometheus exporters."""

REQUEST_TIMEOUT = 10.0
"""Maximum time to receive a whole request, in seconds; see also ``SEND_TIMEOUT``."""

LINGER = 1.0
"""How long to read what a client is still sending after its request was refused, in seconds."""

MAX_LINE = 65_536
"""Maximum length of a request line in bytes; ``http.client`` limits headers to as much."""

MAX_CONNECTIONS = 64
"""Maximum number of connections, each with its own thread; further connections are closed."""

POLL = 0.1
"""The time between checks for overdue connections and for the end of the server, in seconds."""

REST = 1.0
"""The pause before the next attempt if connections cannot be accepted or served, in seconds."""

LOG_INTERVAL = 60.0
"""Minimum time between log entries about connections that cannot be accepted, in seconds."""


def start_http_server(
    port: int = DEFAULT_PORT,
    host: str = DEFAULT_HOST,
    source: Recorder | Exposition | None = None,
    *,
    allow_hosts: Iterable[str] = (),
) -> MetricsServer:
    """Start an HTTP server for ``/metrics`` on a daemon thread.

    A server on a loopback address answers only requests whose ``Host`` is ``localhost``, a loopback
    address, ``host`` or one of ``allow_hosts``, so that web pages cannot read the metrics through
    another name that resolves to this machine. Other requests get a 421.

    A process forked later does not serve its parent's port. It has its own metrics, and may start
    another server on a different port.

    Args:
        port: The port to listen on; 0 picks a free port, available as the result's ``port``.
        host: The address to listen on. Unless it is a loopback address, other machines may be able
            to read the names and durations of all operations.
        source: A monitor or an :class:`Exposition`; by default, the process-wide monitor.
        allow_hosts: Further names by which the server may be reached, without ports, such as the
            name that a reverse proxy passes on. If given, a server on any other address checks
            ``Host`` as well.

    Raises:
        OSError: If the server cannot listen on ``host`` and ``port``; the message names both.
        RuntimeError: If no thread can be started, as while the interpreter is ending.
        TypeError: If ``allow_hosts`` is a str.
        ValueError: If ``port`` is not from 0 to 65535, or one of ``allow_hosts`` is not a host name
            or address.
    """
    if not 0 <= port <= 65535:  # noqa: PLR2004 - ports have 16 bits
        raise ValueError(f"port must be from 0 to 65535, got {shown(port)}")
    return MetricsServer(_Server(host, port, exposition_of(source), allow_hosts))


class MetricsServer:
    """A running HTTP server for metrics, as returned by :func:`start_http_server`.

    It serves until :meth:`close` is called, or until the end of its ``with`` block. All methods may
    be called from any thread, signal handler and finaliser.

    Attributes:
        host: The address that the server listens on.
        port: The port that the server listens on, never 0.
        url: The URL of the metrics.
    """

    def __init__(self, server: _Server) -> None:
        self._server = server
        self.host: str = server.server_address[0]  # type: ignore[assignment]
        self.port: int = server.server_address[1]
        host = f"[{self.host}]" if ":" in self.host else self.host
        self.url = f"http://{host}:{self.port}{METRICS_PATH}"
        self._is_over = False
        self._over = Bell()
        self._thread = threading.Thread(target=self._serve, name="nanospan-metrics", daemon=True)
        _serving[self] = None
        try:
            start_thread(self._thread)
        except BaseException:
            self._end()
            raise

    def _serve(self) -> None:
        try:
            self._server.serve()
        finally:
            self._end()

    def _end(self) -> None:
        self._server.server_close()
        _serving.pop(self, None)
        self._is_over = True
        self._over.ring()

    def close(self) -> None:
        """Stop the server, and wait for its thread to end. Further calls do nothing."""
        self._server.is_stopping = True
        if self._thread.ident == threading.get_ident():  # a finaliser that runs on it
            return
        if sys.is_finalizing():  # the thread has ended with the interpreter
            self._end()
            return
        self._over.wait_for(lambda: self._is_over)
        # In CPython up to 3.12, a join that a signal handler calls amid a join of the same thread
        # can wait in vain. All that is left to wait for is a few instructions.
        self._thread.join(POLL)

    def _reset_in_child(self) -> None:
        """Close a forked child's copy of the socket, because only the parent serves requests."""
        self._server.is_stopping = True
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._server.is_stopping else "serving"
        return f"<MetricsServer {self.url}, {state}>"


_serving: dict[MetricsServer, None] = {}
"""The servers whose thread has not ended."""


def _after_fork() -> None:
    for server in list(_serving):
        server._reset_in_child()  # noqa: SLF001 - in this module


os.register_at_fork(after_in_child=_after_fork)


class _Server(ThreadingMixIn, TCPServer):
    # http.server's HTTPServer is not used, because it looks up the host's name when it starts.
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 32

    def __init__(
        self, host: str, port: int, exposition: Exposition, allow_hosts: Iterable[str]
    ) -> None:
        self.exposition = exposition
        self.is_stopping = False
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        # Deadlines for connections, and which direction to shut down then.
        self._deadlines: dict[socket.socket, tuple[float, int]] = {}
        self._has_logged_failure = False  # since a connection was last accepted
        self._logged = -inf  # when that was, on the monotonic clock
        self._rests_until = -inf  # on the monotonic clock
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            self.address_family, _, _, _, address = found[0]
            self.hosts = AllowedHosts(host, str(address[0]), allow_hosts)
            super().__init__(address, _Handler)  # type: ignore[arg-type]
        except OSError as exc:
            raise OSError(
                exc.errno, f"cannot listen on {shorten(host)} port {port}: {exc.strerror}"
            ) from exc
        # A connection that is gone again when it is accepted must not block the serving thread.
        self.socket.settimeout(0)

    def serve(self) -> None:
        """Accept connections until ``is_stopping`` is set.

        This replaces ``serve_forever()``, which tries again at once if accepting fails, and whose
        ``shutdown()`` may not be called by a signal handler.
        """
        with _Selector() as selector:
            selector.register(self, selectors.EVENT_READ)
            while not self.is_stopping:
                try:
                    if time.monotonic() < self._rests_until:
                        time.sleep(POLL)
                    elif selector.select(POLL) and not self.is_stopping:
                        self._accept()
                    self._cut_overdue()
                except Exception as exc:  # noqa: BLE001 - such as MemoryError; the server goes on
                    self._rest(exc)

    def _accept(self) -> None:
        try:
            connection, address = self.socket.accept()
        except (BlockingIOError, ConnectionError):
            return  # the client has gone
        try:
            self.process_request(connection, address)
        except BaseException:
            self.shutdown_request(connection)
            raise
        if self._has_logged_failure:
            self._has_logged_failure = False
            logger.info("the metrics server on port %d works again", self.server_address[1])

    def _rest(self, error: Exception) -> None:
        """Pause after an error that is likely to recur, such as the lack of a free descriptor."""
        now = time.monotonic()
        self._rests_until = now + REST
        if not self._has_logged_failure and now >= self._logged + LOG_INTERVAL:
            self._logged = now
            self._has_logged_failure = True
            logger.warning(
                "the metrics server on port %d cannot serve a connection (%s: %s); it tries again "
                "every %g s",
                self.server_address[1],
                type(error).__name__,
                error,
                REST,
            )

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            # A failed scrape harms the program less than an unlimited number of threads would.
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def set_deadline(self, connection: socket.socket, seconds: float, direction: int) -> None:
        """Shut down one or both directions of a connection after a time, in seconds.

        A socket's timeout does not suffice, because every byte restarts it.
        """
        self._deadlines[connection] = (time.monotonic() + seconds, direction)

    def lift_deadline(self, connection: socket.socket) -> bool:
        """Lift a connection's deadline; return False if it has passed, or if there is none."""
        return self._deadlines.pop(connection, None) is not None

    def _cut_overdue(self) -> None:
        now = time.monotonic()
        for connection, (deadline, direction) in list(self._deadlines.items()):
            if now >= deadline and self.lift_deadline(connection):
                with contextlib.suppress(OSError):  # the connection may be closed already
                    connection.shutdown(direction)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, _request: Any, client_address: Any) -> None:
        # An OSError means that the scraper went away, which is not the program's fault.
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            self.log_failure(client_address[0], error)

    def log_failure(self, client: str, error: BaseException) -> None:
        """Log the error that caused a client's request for metrics to fail."""
        logger.error("metrics request from %s failed", client, exc_info=error)


# Unlike DefaultSelector on Linux, these need no file descriptor.
_Selector: type[selectors.BaseSelector] = getattr(
    selectors, "PollSelector", selectors.SelectSelector
)


_LATE: tuple[int, str] = (HTTPStatus.REQUEST_TIMEOUT, "The request was not complete in time")


class _Handler(BaseHTTPRequestHandler):
    # This handler speaks HTTP/1.0, so each connection, and its thread, ends after one request.
    server: _Server
    timeout = SEND_TIMEOUT  # for one call of the socket; the deadlines end before that
    server_version = "nanospan"
    sys_version = ""

    default_request_version = "HTTP/1.0"  # for responses to lines without a valid version

    def handle(self) -> None:
        """Read and answer one request within the time limits."""
        self.server.set_deadline(self.connection, REQUEST_TIMEOUT, socket.SHUT_RD)
        try:
            super().handle()
        finally:
            self.server.lift_deadline(self.connection)

    def handle_one_request(self) -> None:
        """Read and answer one request.

        The inherited method answers unknown methods with 501, and lines that are not HTTP without
        a status.
        """
        self.raw_requestline = b""
        self.command, self.requestline, self.request_version = "GET", "", "HTTP/1.0"
        self._error = _LATE
        is_read = False
        with contextlib.suppress(TimeoutError):
            is_read = self._read_request()
        is_in_time = self.server.lift_deadline(self.connection)
        if is_read and is_in_time:
            response = self._response_or_failure()
        elif not self.raw_requestline:
            return  # a client that has sent nothing
        elif is_in_time:
            response = self._refusal(*self._error)
        else:
            response = self._refusal(*_LATE)
        self.server.set_deadline(self.connection, SEND_TIMEOUT, socket.SHUT_RDWR)
        self._send(response)
        if not response.status.startswith("200"):
            self._linger()

    def _read_request(self) -> bool:
        """Read the request line and the headers; return False if they are missing or invalid."""
        self.raw_requestline = self.rfile.readline(MAX_LINE + 1)
        if self.raw_requestline in {b"\r\n", b"\n"}:  # RFC 9112, section 2.2: to be ignored
            self.raw_requestline = self.rfile.readline(MAX_LINE + 1)
        if len(self.raw_requestline) > MAX_LINE:
            text = f"A request line must have at most {MAX_LINE} bytes"
            self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG, text)
            return False
        if len(str(self.raw_requestline, "latin-1").split()) < 3:  # noqa: PLR2004 - two in HTTP/0.9
            text = "A request line must have a method, a target and a version"
            self.send_error(HTTPStatus.BAD_REQUEST, text)
            return False
        return self.parse_request()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Keep an error, such as one that ``parse_request`` has found, for the response."""
        self._error = (code, ": ".join(filter(None, [message, explain])))

    def _refusal(self, code: int, text: str) -> Response:
        request = Request(self.command or "GET", "", "", "")
        return plain(request, f"{code:d} {HTTPStatus(code).phrase}", f"{shorten(text)}.\n")

    def _response_or_failure(self) -> Response:
        try:
            return self._response()
        except Exception as exc:  # noqa: BLE001 - a failed scrape must not end the server
            self.server.log_failure(self.client_address[0], exc)
            return self._refusal(500, "Encoding the metrics failed; see the program's log")

    def _send(self, response: Response) -> None:
        self.send_response(int(response.status[:3]))
        for name, value in response.headers:
            self.send_header(name, value)
        self.end_headers()
        for piece in response.body:
            self.wfile.write(piece)

    def _linger(self) -> None:
        """Read what the client is still sending, because closing would make it lose the answer."""
        deadline = time.monotonic() + LINGER
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(LINGER)
            while time.monotonic() < deadline and self.connection.recv(MAX_LINE):
                pass

    def _response(self) -> Response:
        authority, path = split_target(self.path)
        hosts = self.headers.get_all("Host", ())
        accept, accept_encoding = (
            ",".join(self.headers.get_all(name, ())) for name in ("Accept", "Accept-Encoding")
        )
        request = Request(self.command, unquote(path), accept, accept_encoding)
        refusal = self.server.hosts.check(authority, hosts, self.request_version)
        if refusal is not None:
            return plain(request, *refusal)
        return respond(self.server.exposition, METRICS_PATH, request)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - overridden
        """Log nothing, to keep requests out of the program's standard error."""
