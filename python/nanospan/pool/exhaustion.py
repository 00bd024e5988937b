"""Build the error for an exhausted pool: it lists the lease holders and suggests a fix."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nanospan.pool.errors import PoolExhausted, PoolOverloaded
from nanospan.pool.policy import UNLIMITED
from nanospan.values.messages import shorten

if TYPE_CHECKING:
    from nanospan.pool.endpoint import Endpoint
    from nanospan.pool.lease_table import LeaseHolder
    from nanospan.pool.policy import PoolCounts

__all__ = ["Failure", "exhausted_error"]

HOLDERS_NAMED = 5
"""Maximum number of leases listed in the error."""


class Failure(NamedTuple):
    """The last failure on the way to a connection: of what, how long ago, and why."""

    what: str
    age: float
    """Seconds since it failed."""
    text: str
    """The error message, without secrets."""


def exhausted_error(
    endpoint: Endpoint,
    counts: PoolCounts,
    holders: tuple[LeaseHolder, ...],
    waited: float | None,
    failure: Failure | None,
) -> PoolExhausted:
    """Return the error to raise for a lease that could not get a connection.

    Args:
        endpoint: The pool's database and settings.
        counts: The pool's current sizes, which may differ from the settings, and the number of
            waiting leases.
        holders: All current leases, the longest-held first.
        waited: Seconds the failed lease waited; ``None`` if it failed at once because
            ``max_waiting`` leases were already waiting.
        failure: The last attempt to connect, or the last check, if it failed, otherwise ``None``.
    """
    pool, config = shorten(endpoint.target.masked), endpoint.config
    min_size, max_size = counts.min_size, counts.max_size
    waiting, leased = counts.waiting, len(holders)
    named = holders[:HOLDERS_NAMED]
    limit = "any number of" if max_size == UNLIMITED else f"at most {max_size}"
    if waited is None:
        kind: type[PoolExhausted] = PoolOverloaded
        lines = [f"pool {pool} is exhausted: {waiting} leases are already waiting (max_waiting)"]
    else:
        kind = PoolExhausted
        lines = [f"no connection from pool {pool} within {waited:.2f} s"]
    lines.append(
        f"  {leased} of {limit} connections are leased "
        f"(min_size {min_size}), {waiting} other leases are waiting"
    )
    lines += [f"  held for {holder}" for holder in named]
    if leased > len(named):
        lines.append(f"  and {leased - len(named)} more")
    if failure is not None and leased < max_size:
        attrs = endpoint.target.session_attrs
        server = "the server" if attrs is None else f"a server with target_session_attrs={attrs}"
        lines += [
            f"  the last {failure.what} failed {failure.age:.1f} s ago: {failure.text}",
            f"  to fix: bring {server} back, or raise its max_connections",
        ]
    else:
        hint = "" if config.capture_stacks else "; capture_stacks=True shows where they were taken"
        lines.append(
            "  to fix: hold connections for a shorter time, or raise max_size "
            f"({max_size}) or timeout ({config.timeout:g} s){hint}"
        )
    error = kind("\n".join(lines))
    error.pool = pool
    error.min_size, error.max_size = min_size, max_size
    error.leased, error.waiting, error.holders = leased, waiting, named
    return error
