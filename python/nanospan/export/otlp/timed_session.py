"""The HTTP session of OpenTelemetry's exporter, with a time limit for each whole request."""

from __future__ import annotations

import functools
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter

from nanospan.values.timed_calls import TimedCalls

if TYPE_CHECKING:
    import socket

    from nanospan.values.timed_calls import Connections

__all__ = ["TimedSession"]

MAX_RESPONSE = 1_000_000
"""Maximum size of a response's body, in bytes; a collector's answer is much shorter."""

_connections: ContextVar[Connections | None] = ContextVar("connections", default=None)
"""What to cut when the request that is being made is given up."""


class TimedSession(requests.Session):
    """A session whose ``timeout`` limits a whole request, and not each byte of the response."""

    def __init__(self) -> None:
        super().__init__()
        self._calls = TimedCalls("nanospan-otlp")
        for prefix in ("http://", "https://"):
            self.mount(prefix, _Adapter())

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a request and read the response, within its timeout.

        Raises:
            requests.Timeout: If that takes longer.
            requests.RequestException: If the request fails, or the response is too long.
        """
        timeout = kwargs.get("timeout")
        # A request that follows a redirect is sent in the call of the first one.
        if not isinstance(timeout, (int, float)) or _connections.get() is not None:
            return super().send(request, **kwargs)

        def call(connections: Connections) -> requests.Response:
            _connections.set(connections)  # in this thread's own context
            return self._send_and_read(request, kwargs)

        try:
            return self._calls.run(call, timeout)
        except TimeoutError:
            pass
        raise requests.Timeout(f"no complete response within {timeout:g} s")

    def _send_and_read(
        self, request: requests.PreparedRequest, kwargs: dict[str, Any]
    ) -> requests.Response:
        response = super().send(request, **{**kwargs, "stream": True})
        body = b""
        with response:
            for piece in response.iter_content(65_536):
                body += piece
                if len(body) > MAX_RESPONSE:
                    raise requests.RequestException(f"a response of over {MAX_RESPONSE} bytes")
        response._content = body  # noqa: SLF001 - requests would read it without a limit
        return response


class _Adapter(HTTPAdapter):
    """Makes connections that can be cut."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _note_connections(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        _note_connections(manager)
        return manager


class _Noted:
    """Mixin for urllib3's connections: their sockets are cut when the request is given up."""

    sock: socket.socket | None

    def _new_conn(self) -> socket.socket:
        """Connect; the socket is noted before the TLS handshake."""
        connection: socket.socket = super()._new_conn()  # type: ignore[misc]  # urllib3's class
        _note(connection)
        return connection

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        """Begin a request, maybe on a connection that an earlier request has left open."""
        _note(self.sock)
        super().putrequest(*args, **kwargs)  # type: ignore[misc]  # urllib3's class


def _note(connection: socket.socket | None) -> None:
    if connection is not None and (connections := _connections.get()) is not None:
        connections.add(connection)


def _note_connections(manager: Any) -> None:
    """Make a pool manager's connections note their sockets."""
    classes = manager.pool_classes_by_scheme.items()
    manager.pool_classes_by_scheme = {scheme: _noting(pool) for scheme, pool in classes}


@functools.cache
def _noting(pool: Any) -> Any:
    """Return a subclass of a class of urllib3's pools; SOCKS proxies have their own."""
    if issubclass(pool.ConnectionCls, _Noted):
        return pool
    connection = type(pool.ConnectionCls.__name__, (_Noted, pool.ConnectionCls), {})
    return type(pool.__name__, (pool,), {"ConnectionCls": connection})
