"""Connect to one of an endpoint's hosts, within a time limit that they share."""

from __future__ import annotations

from contextlib import nullcontext
from time import monotonic
from typing import TYPE_CHECKING, Any

from nanospan.pool.addresses import find_addresses, find_addresses_async
from nanospan.pool.host_shares import HostShares

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from nanospan.pool.addresses import Addresses
    from nanospan.pool.endpoint import ConnectArguments, Endpoint

__all__ = ["Route", "find_route", "find_route_async"]


class Route:
    """Where and how to connect now. Used for one connection.

    Attributes:
        has_own_limit: Whether the connection string, or ``kwargs``, has a ``connect_timeout``,
            which psycopg applies to each host instead of the limit that they share.
    """

    def __init__(
        self, given: ConnectArguments, addresses: Addresses, deadline: float, *, firm: bool
    ) -> None:
        self._conninfo = given.conninfo
        self._keywords = {**given.keywords, **addresses.parameters}
        self.has_own_limit = "connect_timeout" in given.target.params
        self._shares = (
            None if self.has_own_limit and not firm else HostShares(addresses.tries, deadline)
        )

    def connect(self, kind: type[Any]) -> Any:
        """Return a new connection of a synchronous class."""
        with self._applied():
            return kind.connect(self._conninfo, **self._keywords)

    async def connect_async(self, kind: type[Any]) -> Any:
        """Return a new connection of an asynchronous class."""
        with self._applied():
            return await kind.connect(self._conninfo, **self._keywords)

    def _applied(self) -> AbstractContextManager[None]:
        return nullcontext() if self._shares is None else self._shares.applied()


def find_route(endpoint: Endpoint, seconds: float, *, firm: bool = False) -> Route:
    """Return how to connect; see ``find_route_async``.

    Nothing can end a synchronous function, so unless a lease waits, the time limit begins after it.
    """
    deadline = monotonic() + seconds
    given = endpoint.arguments()
    if not firm:
        deadline = monotonic() + seconds
    addresses = find_addresses(given.target, deadline - monotonic())
    return Route(given, addresses, deadline, firm=firm)


async def find_route_async(endpoint: Endpoint, seconds: float, *, firm: bool = False) -> Route:
    """Return how to connect: call the endpoint's functions, and look its hosts' names up.

    Args:
        endpoint: The database to connect to, with its settings.
        seconds: Time limit for this and for connecting.
        firm: Whether the limit applies to all hosts together even if the connection string has a
            ``connect_timeout``, because a lease waits for the connection.
    """
    deadline = monotonic() + seconds
    given = await endpoint.arguments_async(seconds)
    addresses = await find_addresses_async(given.target, deadline - monotonic())
    return Route(given, addresses, deadline, firm=firm)
