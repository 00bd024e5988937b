"""Connections of the pools, with what is known about their health."""

from __future__ import annotations

import os
import select
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from psycopg import AsyncConnection, Connection
from psycopg.pq import TransactionStatus

if TYPE_CHECKING:
    from psycopg.adapt import AdaptersMap
    from psycopg.pq.abc import PGconn
    from psycopg_pool.base import BasePool
    from typing_extensions import Self

__all__ = ["Hangup", "Pooled", "SyncVectorConnection", "VectorConnection", "hang_up"]

IDLE = TransactionStatus.IDLE
INERROR = TransactionStatus.INERROR


class Pooled:
    """Adds to a connection of psycopg what the pools record about it.

    Attributes:
        generation: Generation of the types it was given; 0 for none.
        alive_at: Monotonic time at which it last worked.
    """

    generation: int = 0
    alive_at: float = 0.0
    adapters: AdaptersMap
    closed: bool
    pgconn: PGconn
    _pool: BasePool | None
    _closed: bool
    _created_at: float
    _expire_at: float
    _poller: select.poll | None = None

    def is_expired(self, now: float, drained_at: float = 0.0) -> bool:
        """Return True if its lifetime is over, or it is older than the pool's last ``drain``."""
        return self._expire_at <= now or self._created_at <= drained_at

    def drop(self) -> None:
        """Close it, as ``close`` does, without awaiting anything."""
        self._pool = None
        self._closed = True
        self.pgconn.finish()

    def watch(self) -> None:
        """Prepare ``has_unread_input``; once, after connecting."""
        self._poller = select.poll()
        self._poller.register(self.pgconn.socket, select.POLLIN)

    def has_unread_input(self) -> bool:
        """Return True if it is closed, in a transaction, or received something unasked.

        One system call and no round trip. What a server sends unasked is mostly its reason for
        ending the connection.
        """
        return (
            self._poller is None
            or self.pgconn.transaction_status != IDLE
            or bool(self._poller.poll(0))
        )


class VectorConnection(Pooled, AsyncConnection[Any]):
    """A connection of a ``VectorPool``."""


class SyncVectorConnection(Pooled, Connection[Any]):
    """A connection of a ``SyncVectorPool``."""


def hang_up(connection: Pooled) -> None:
    """Make whatever waits for the server's answer fail at once.

    psycopg, cancelled in a query, asks the server to stop and waits for that, which a server that
    has gone silent never confirms. This shuts the socket down instead; its owner closes it.
    """
    with suppress(Exception):
        copy = os.dup(connection.pgconn.socket)
        with socket.socket(fileno=copy) as both_ways:
            both_ways.shutdown(socket.SHUT_RDWR)


class Hangup:
    """Hangs up on a connection, from another thread, if the block takes longer than ``seconds``."""

    def __init__(self, connection: Pooled, seconds: float) -> None:
        self._connection = connection
        self._ended = False
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._hang_up)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._ended = True
        self._timer.cancel()
        self._timer.join()

    def _hang_up(self) -> None:
        with self._lock:
            if not self._ended:
                hang_up(self._connection)
