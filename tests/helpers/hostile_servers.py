"""TCP servers on the loopback interface that answer slowly, endlessly or not at all."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from typing_extensions import Self

DRIP = 0.02
"""The seconds between two bytes of a server that drips."""


class HostileServer:
    """Accepts connections, and treats each in a thread as ``behave`` says, until it is closed.

    Used as a context manager, at the end of which all its threads have ended.

    Args:
        behave: Called with each connection.
        address: The address and port to listen on; port 0 for any.

    Attributes:
        port: The port it listens on.
        accepted: The number of connections so far.
        closing: Set once the server is being closed.
    """

    def __init__(
        self,
        behave: Callable[[HostileServer, socket.socket], object],
        address: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self._behave = behave
        self._listener = socket.create_server(address)
        self.port: int = self._listener.getsockname()[1]
        self.accepted = 0
        self.closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(30)
        for connection in self._connections:
            connection.close()
        self._listener.close()

    def _start(self, target: Callable[..., object], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._connections.append(connection)
            self._start(self._treat, connection)

    def _treat(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self._behave(self, connection)

    def drip(self, connection: socket.socket, data: Iterable[bytes]) -> None:
        """Send each piece after a pause, until the server is closed or the client has gone."""
        for piece in data:
            if self.closing.wait(DRIP):
                return
            connection.sendall(piece)


def mute(server: HostileServer, _: socket.socket) -> None:
    """Accept, and never read or send anything."""
    server.closing.wait()


def drip_status(server: HostileServer, connection: socket.socket) -> None:
    """Send a status line that never ends."""
    server.drip(connection, itertools.chain([b"HTTP/1.1 200 "], itertools.repeat(b"x")))


def drip_headers(server: HostileServer, connection: socket.socket) -> None:
    """Send a header, one byte at a time, for ever."""
    server.drip(connection, itertools.chain([b"HTTP/1.1 200 OK\r\nX: "], itertools.repeat(b"y")))


def drip_handshake(server: HostileServer, connection: socket.socket) -> None:
    """Answer a TLS handshake with the beginning of a long record, one byte at a time."""
    server.drip(connection, itertools.chain([b"\x16\x03\x03\x40\x00"], itertools.repeat(b"x")))


def drip_interim(server: HostileServer, connection: socket.socket) -> None:
    """Send one interim response after the other."""
    server.drip(connection, itertools.repeat(b"HTTP/1.1 103 Early Hints\r\n\r\n"))


def drip_body(server: HostileServer, connection: socket.socket) -> None:
    """Send the headers, and then a body that never ends, one byte at a time."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    server.drip(connection, itertools.repeat(b"z"))


def flood_body(server: HostileServer, connection: socket.socket) -> None:
    """Send the headers, and then a body that never ends, as fast as the client reads."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while not server.closing.is_set():
        connection.sendall(bytes(65536))


def read_slowly(server: HostileServer, connection: socket.socket) -> None:
    """Read the request one byte at a time."""
    while not server.closing.wait(DRIP) and connection.recv(1):
        pass


def _postgres_startup(connection: socket.socket) -> None:
    """Read what a client of PostgreSQL sends first, and refuse to encrypt."""
    while len(connection.recv(10_000)) == 8:  # a request for TLS or GSSAPI
        connection.sendall(b"N")


def drip_postgres_login(server: HostileServer, connection: socket.socket) -> None:
    """Answer a client of PostgreSQL with a long error, one byte at a time."""
    _postgres_startup(connection)
    server.drip(connection, itertools.chain([b"E\x00\x00\x70\x00S"], itertools.repeat(b"x")))


def drip_postgres_answer(server: HostileServer, connection: socket.socket) -> None:
    """Log a client of PostgreSQL in, and answer its queries with one notice after the other."""
    _postgres_startup(connection)
    for name, value in ((b"server_version", b"18.0"), (b"client_encoding", b"UTF8")):
        body = name + b"\0" + value + b"\0"
        connection.sendall(b"S" + (len(body) + 4).to_bytes(4, "big") + body)
    ok, ready = b"R\0\0\0\x08\0\0\0\0", b"Z\0\0\0\x05I"
    connection.sendall(ok + ready)
    connection.recv(10_000)
    notice = b"SNOTICE\0C00000\0Mwait\0\0"
    message = b"N" + (len(notice) + 4).to_bytes(4, "big") + notice
    server.drip(connection, itertools.repeat(message))


@contextlib.contextmanager
def stuck_resolver(name: str, resolve: Callable[..., object]) -> Iterator[Callable[..., object]]:
    """Yield a ``getaddrinfo`` that does not return for ``name`` before the block ends.

    Args:
        name: A host name.
        resolve: The function to ask for all other names.
    """
    released = threading.Event()

    def getaddrinfo(host: object, *arguments: object, **keywords: object) -> object:
        if host in {name, name.encode()}:
            released.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve(host, *arguments, **keywords)

    try:
        yield getaddrinfo
    finally:
        released.set()
