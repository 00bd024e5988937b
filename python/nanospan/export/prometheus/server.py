"""A small HTTP server for metrics, for programs that do not already run an HTTP server."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
import time
import weakref
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from nanospan.export.prometheus.apps import exposition_of
from nanospan.export.prometheus.hosts import AllowedHosts, split_target
from nanospan.export.prometheus.response import METRICS_PATH, Request, Response, plain, respond

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
"""Maximum time to receive a whole request or to send one piece of a response, in seconds."""

MAX_CONNECTIONS = 64
"""Maximum number of connections, each with its own thread; further connections are closed."""


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
        TypeError: If ``allow_hosts`` is a str.
        ValueError: If ``port`` is not from 0 to 65535, or one of ``allow_hosts`` is not a host name
            or address.
    """
    if not 0 <= port <= 65535:  # noqa: PLR2004 - ports have 16 bits
        raise ValueError(f"port must be from 0 to 65535, got {port}")
    return MetricsServer(_Server(host, port, exposition_of(source), allow_hosts))


class MetricsServer:
    """A running HTTP server for metrics, as returned by :func:`start_http_server`.

    It serves until :meth:`close` is called, or until the end of its ``with`` block. All methods are
    thread-safe.

    Attributes:
        host: The address that the server listens on.
        port: The port that the server listens on, never 0.
        url: The URL of the metrics.
    """

    def __init__(self, server: _Server) -> None:
        self._server = server
        self.host: str = server.server_address[0]  # type: ignore[assignment]
        self.port: int = server.server_address[1]
        shown = f"[{self.host}]" if ":" in self.host else self.host
        self.url = f"http://{shown}:{self.port}{METRICS_PATH}"
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = threading.Thread(
            target=server.serve_forever,
            kwargs={"poll_interval": 0.1},
            name="nanospan-metrics",
            daemon=True,
        )
        self._thread.start()
        _running.add(self)

    def close(self) -> None:
        """Stop the server, and wait for its thread to end. Further calls do nothing."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._server.shutdown()
                thread.join()
                self._server.server_close()

    def _reset_in_child(self) -> None:
        """Close a forked child's copy of the socket, because only the parent serves requests."""
        self._lock = threading.Lock()
        self._thread = None
        self._server.server_close()

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
        state = "closed" if self._thread is None else "serving"
        return f"<MetricsServer {self.url}, {state}>"


_running: weakref.WeakSet[MetricsServer] = weakref.WeakSet()


def _after_fork() -> None:
    for server in list(_running):
        server._reset_in_child()  # noqa: SLF001 - in this module
    _running.clear()


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
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        # Deadlines for incomplete requests, keyed by connection.
        self._reading: dict[socket.socket, float] = {}
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            self.address_family, _, _, _, address = found[0]
            self.hosts = AllowedHosts(host, str(address[0]), allow_hosts)
            super().__init__(address, _Handler)  # type: ignore[arg-type]
        except OSError as exc:
            raise OSError(
                exc.errno, f"cannot listen on {host} port {port}: {exc.strerror}"
            ) from exc

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

    def begin_reading(self, connection: socket.socket) -> None:
        """Start the time limit within which a connection's whole request must arrive."""
        self._reading[connection] = time.monotonic() + REQUEST_TIMEOUT

    def end_reading(self, connection: socket.socket) -> None:
        """Lift a connection's time limit, once its request is complete or the connection closes."""
        self._reading.pop(connection, None)

    def service_actions(self) -> None:
        """Close connections whose request is overdue; called by the serving thread every 0.1 s."""
        # The socket's timeout does not suffice, because every byte restarts it.
        now = time.monotonic()
        for connection, deadline in list(self._reading.items()):
            if now >= deadline:
                self.end_reading(connection)
                with contextlib.suppress(OSError):  # the connection may be closed already
                    connection.shutdown(socket.SHUT_RDWR)

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


class _Handler(BaseHTTPRequestHandler):
    # This handler speaks HTTP/1.0, so each connection, and its thread, ends after one request.
    server: _Server
    timeout = REQUEST_TIMEOUT
    server_version = "nanospan"
    sys_version = ""

    def handle(self) -> None:
        """Read and answer one request; the request must arrive within the time limit."""
        self.server.begin_reading(self.connection)
        try:
            super().handle()
        finally:
            self.server.end_reading(self.connection)

    def _answer(self) -> None:
        self.server.end_reading(self.connection)
        try:
            response = self._response()
        except Exception as exc:  # noqa: BLE001 - a failed scrape must not end the server
            self.server.log_failure(self.client_address[0], exc)
            self.send_error(500, "encoding the metrics failed; see the program's log")
            return
        self.send_response(int(response.status[:3]))
        for name, value in response.headers:
            self.send_header(name, value)
        self.end_headers()
        for piece in response.body:
            self.wfile.write(piece)

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

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - overridden
        """Log nothing, to keep requests out of the program's standard error."""
