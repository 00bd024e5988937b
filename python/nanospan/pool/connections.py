"""Connection classes used by the pools, with methods to check and close a connection quickly."""

from __future__ import annotations

import os
import select
import selectors
import socket
import threading
from contextlib import suppress
from functools import cache, partial
from time import monotonic
from typing import TYPE_CHECKING, Any, cast, get_origin

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.pq import TransactionStatus

from nanospan.pool.host_shares import HostShares, limited
from nanospan.reentrant import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sized

    from psycopg._preparing import PrepareManager
    from psycopg.adapt import AdaptersMap
    from psycopg.pq.abc import PGconn
    from psycopg_pool.base import BasePool
    from typing_extensions import Self

    from nanospan.pool.session_attrs import SessionAttrs
    from nanospan.pool.session_state import SessionState

__all__ = [
    "Hangup",
    "Pooled",
    "SyncVectorConnection",
    "VectorConnection",
    "hang_up",
    "pooled_class",
]

IDLE = TransactionStatus.IDLE
INERROR = TransactionStatus.INERROR


class Pooled:
    """Mixin that adds the pools' bookkeeping to a psycopg connection.

    Attributes:
        generation: Generation number of the pgvector types registered on the connection; 0 until
            the result of a look-up has been applied.
        alive_at: Monotonic time, in seconds, at which the connection was last known to work.
        session_attrs: What the connection requires of its server; ``None`` if nothing.
        used: Whether anything was sent to the server since the connection was last leased.
        initial: The state in which the connection is leased.
    """

    generation: int = 0
    alive_at: float = 0.0
    session_attrs: SessionAttrs | None = None
    used: bool = False
    initial: SessionState
    adapters: AdaptersMap
    closed: bool
    pgconn: PGconn
    _pool: BasePool | None = None
    _closed: bool
    _created_at: float
    _expire_at: float
    _poll: Callable[[], Sized] | None = None
    _prepared: PrepareManager
    _pipeline: Any
    lock: Any
    _begin_statement: bytes

    @classmethod
    def _connect_gen(cls, *args: Any, **kwargs: Any) -> Any:
        """Return psycopg's generator of an attempt at one host, limited to the host's share."""
        attempt = super()._connect_gen(*args, **kwargs)  # type: ignore[misc]  # psycopg's class
        shares = HostShares.of_context()
        return attempt if shares is None else limited(attempt, shares.next_deadline(monotonic()))

    def wait(self, *args: Any, **kwargs: Any) -> Any:
        """Wait as psycopg's ``wait`` does, through which everything passes that is sent."""
        self.used = True
        return super().wait(*args, **kwargs)  # type: ignore[misc]  # psycopg's class is the next

    def close(self) -> Any:
        """Close the connection; with the pool's ``close_returns``, return it instead if leased.

        psycopg's method returns none that has broken, so that it would stay leased, and before
        version 3.3 none at all.
        """
        pool: Any = self._pool
        if pool is not None and pool.close_returns and self in pool.leases:
            return pool.putconn(self)
        return super().close()  # type: ignore[misc]  # psycopg's class is the next

    def is_expired(self, now: float, drained_at: float = 0.0) -> bool:
        """Return True if the connection has expired or predates the pool's last ``drain``."""
        return self._expire_at <= now or self._created_at <= drained_at

    def drop(self) -> None:
        """Close the connection as ``close`` does, but without awaiting anything."""
        self._pool = None
        self._closed = True
        self.pgconn.finish()

    def watch(self) -> None:
        """Prepare for calls of ``has_unread_input``; call once, after connecting."""
        socket = self.pgconn.socket
        if hasattr(select, "poll"):
            poller = select.poll()
            poller.register(socket, select.POLLIN)
            self._poll = partial(poller.poll, 0)
        else:  # eventlet, for one, removes it
            selector = selectors.DefaultSelector()
            selector.register(socket, selectors.EVENT_READ)
            self._poll = partial(selector.select, 0)

    def is_in_use(self) -> bool:
        """Return True if a pipeline, or something that waits for the server, has not ended.

        psycopg locks the connection meanwhile, such as for ``notifies()``.
        """
        return self._pipeline is not None or self.lock.locked()

    def has_unread_input(self) -> bool:
        """Return True if the connection is closed or in a transaction, or has unsolicited input.

        Makes one system call, and no round trip to the server. Unsolicited input is usually the
        server's message that it is ending the connection.
        """
        return self._poll is None or self.pgconn.transaction_status != IDLE or bool(self._poll())


class VectorConnection(Pooled, AsyncConnection[Any]):
    """A connection of a ``VectorPool``."""


class SyncVectorConnection(Pooled, Connection[Any]):
    """A connection of a ``SyncVectorPool``."""


@cache
def pooled_class(kind: type[Any]) -> type[Any]:
    """Return a subclass of a psycopg connection class that has the pools' bookkeeping.

    Args:
        kind: A subclass of ``Connection`` or ``AsyncConnection``; generic ones may be
            parametrized.
    """
    plain = get_origin(kind) or kind
    if issubclass(plain, Pooled):
        return cast("type[Any]", plain)
    if plain is AsyncConnection:
        return VectorConnection
    if plain is Connection:
        return SyncVectorConnection
    return type(f"Pooled{plain.__name__}", (Pooled, plain), {"__module__": plain.__module__})


def hang_up(connection: Pooled) -> None:
    """Shut down a connection's socket, so that code waiting for the server fails at once.

    When a query is cancelled, psycopg asks the server to stop the query and waits for confirmation,
    which an unresponsive server never sends. This function does not close the connection; its owner
    must still do so.
    """
    with suppress(psycopg.Error, OSError):  # it may be closed already
        copy = os.dup(connection.pgconn.socket)
        with socket.socket(fileno=copy) as both_ways:
            both_ways.shutdown(socket.SHUT_RDWR)


class Hangup:
    """Shuts down a connection's socket if the ``with`` block takes longer than ``seconds``.

    A timer thread calls ``hang_up``, so this works while the block is waiting for the server. If no
    thread can be started, as while the interpreter is ending, the socket is shut down at once.
    """

    def __init__(self, connection: Pooled, seconds: float) -> None:
        self._connection = connection
        self._ended = False
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._hang_up)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        try:
            start_thread(self._timer)
        except RuntimeError:
            # Without a time limit, a server that does not answer would block this thread.
            self._hang_up()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._ended = True
        if self._timer.is_alive():
            self._timer.cancel()
            self._timer.join()

    def _hang_up(self) -> None:
        with self._lock:
            if not self._ended:
                hang_up(self._connection)
