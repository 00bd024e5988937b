"""Whole requests to the metrics server, as bytes on a connection."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, cast

from nanospan import PerformanceMonitor
from nanospan.export.prometheus.exposition import Exposition
from nanospan.export.prometheus.hosts import AllowedHosts
from nanospan.export.prometheus.server import _Handler, _Server

if TYPE_CHECKING:
    import socket

STATUSES = frozenset({200, 400, 404, 405, 406, 408, 411, 413, 414, 421, 431, 505})


class _FakeServer:
    """The part of a server that a handler uses, without a port."""

    exposition = Exposition(PerformanceMonitor())
    hosts = AllowedHosts("127.0.0.1", "127.0.0.1")

    def __getattr__(self, name: str) -> Any:
        return lambda *_args: None

    def log_failure(self, _client: str, error: BaseException) -> None:
        raise error


class _FakeConnection:
    """The part of a socket that a handler uses, without the system's."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.sent = b""

    def __getattr__(self, name: str) -> Any:
        return lambda *_args: None

    def makefile(self, *_args: object) -> io.BytesIO:
        return io.BytesIO(self._data)

    def sendall(self, data: bytes) -> None:
        self.sent += data


SERVER = cast("_Server", _FakeServer())


def target(data: bytes) -> None:
    """Any bytes get an answer with a status that says what is wrong, or none."""
    connection = _FakeConnection(data)
    _Handler(cast("socket.socket", connection), ("127.0.0.1", 1), SERVER)
    if status := re.match(rb"HTTP/1\.[01] (\d{3}) ", connection.sent):
        assert int(status[1]) in STATUSES, connection.sent[:200]
