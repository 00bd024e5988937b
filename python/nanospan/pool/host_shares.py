"""Share the time for connecting among the hosts that psycopg tries one after another."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

__all__ = ["HostShares", "limited"]


class HostShares:
    """The time for one call of psycopg's ``connect``, which tries each of several hosts in turn.

    psycopg would try each for the whole ``connect_timeout``, in whole seconds and at least two, so
    that the first that does not answer would leave the next ones no time.

    Args:
        hosts: How many hosts, or addresses of them, psycopg tries if none accepts.
        deadline: Monotonic time, in seconds, by which the last of them must have been tried.
    """

    _current: ContextVar[HostShares | None] = ContextVar("host_shares", default=None)

    def __init__(self, hosts: int, deadline: float) -> None:
        self._left = hosts
        self._deadline = deadline

    def next_deadline(self, now: float) -> float:
        """Return until when to try the next host: for an equal share of what is left."""
        share = (self._deadline - now) / max(self._left, 1)
        self._left -= 1
        return now + share

    @classmethod
    def of_context(cls) -> HostShares | None:
        """Return the shares that apply to the running call of ``connect``, if any."""
        return cls._current.get()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Make the attempts of the block, which calls ``connect``, end at their deadlines."""
        token = self._current.set(self)
        try:
            yield
        finally:
            self._current.reset(token)


def limited(attempt: Generator[Any, Any, Any], deadline: float) -> Generator[Any, Any, Any]:
    """Run one of psycopg's attempts to connect, and end it at a deadline.

    psycopg resumes an attempt whenever its socket is ready, and in any case several times a second.

    Args:
        attempt: The generator of the attempt.
        deadline: Monotonic time, in seconds.

    Raises:
        psycopg.errors.ConnectionTimeout: If the attempt takes longer.
    """
    try:
        wanted = next(attempt)
        while True:
            ready = yield wanted
            if monotonic() >= deadline:
                raise psycopg.errors.ConnectionTimeout("connection timeout expired")
            wanted = attempt.send(ready)
    except StopIteration as end:
        return end.value
    finally:
        attempt.close()
