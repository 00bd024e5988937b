"""Connections as the pools keep them: with what is known of their health."""

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
    from typing_extensions import Self

__all__ = ["Hangup", "Pooled", "SyncVectorConnection", "VectorConnection", "hang_up"]

IDLE = TransactionStatus.IDLE
INERROR = TransactionStatus.INERROR


class Pooled:
    """What a pool knows of a connection.

    Attributes:
        generation: Of the types it was given.
        alive_at: Moment of the monotonic clock at which it last worked.
    """

    generation: int = 0
    alive_at: float = 0.0
    pgconn: Any
    _pool: Any
    _closed: bool
    _created_at: float
    _expire_at: float
    _poller: select.poll | None = None

    def is_expired(self, now: float, drained_at: float = 0.0) -> bool:
        """Whether its lifetime is over, or it is from before its pool was drained."""
        return self._expire_at <= now or self._created_at <= drained_at

    def enter(self, pool: object) -> None:
        """Notes which pool leased it, so that leaving its block does not close it."""
        self._pool = pool

    def leave(self) -> None:
        """Ends that; in the pool it must not refer to the pool."""
        self._pool = None

    def drop(self) -> None:
        """Closes it as `close` does, which never has to wait."""
        self._pool = None
        self._closed = True
        self.pgconn.finish()

    def watch(self) -> None:
        """Prepares `has_news`; once, after connecting."""
        self._poller = select.poll()
        self._poller.register(self.pgconn.socket, select.POLLIN)

    def has_news(self) -> bool:
        """Whether an idle connection is closed, or has received what nobody asked for.

        One system call and no round trip. What a server sends unasked is mostly its farewell.
        """
        return (
            self._poller is None
            or self.pgconn.transaction_status != IDLE
            or bool(self._poller.poll(0))
        )


class VectorConnection(Pooled, AsyncConnection[Any]):
    """A connection of a `VectorPool`."""


class SyncVectorConnection(Pooled, Connection[Any]):
    """A connection of a `SyncVectorPool`."""


def hang_up(connection: Pooled) -> None:
    """Ends what is waiting for the server's answer, with an error, at once.

    A query that is cancelled first asks the server to stop it and waits for that, which a server
    that has gone silent never confirms. Here the socket reports its end; it is closed by its owner.
    """
    with suppress(Exception):
        copy = os.dup(connection.pgconn.socket)
        with socket.socket(fileno=copy) as both_ways:
            both_ways.shutdown(socket.SHUT_RDWR)


class Hangup:
    """Hangs up after a while, from a thread of its own, unless the block has ended.

    Attributes:
        happened: Whether it did.
    """

    def __init__(self, connection: Pooled, seconds: float) -> None:
        """Prepares it; the time runs from the block's beginning."""
        self.happened = False
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
                self.happened = True
                hang_up(self._connection)
