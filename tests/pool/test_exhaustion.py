"""Tests for the error that an exhausted pool raises, without a server."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from nanospan.pool import ConnectionPoolConfig, LeaseHolder, PoolExhausted, PoolOverloaded
from nanospan.pool.conninfo import Target
from nanospan.pool.endpoint import Endpoint
from nanospan.pool.exhaustion import Failure, exhausted_error
from nanospan.pool.policy import PoolCounts
from nanospan.pool.vector_types import DatabaseTypes

CONFIG = ConnectionPoolConfig(min_size=1, max_size=2, timeout=0.5)
ENDPOINT = Endpoint(Target.parse("postgresql://u:S3cr3t@h/d"), CONFIG, DatabaseTypes("d"))
COUNTS = PoolCounts(min_size=1, max_size=2, total=2, opening=0, idle=0, waiting=3)
HOLDERS = (
    LeaseHolder("import", "task 'Task-1'", 0.75, ("main.py:1 in main", "main.py:12 in load")),
    LeaseHolder(None, "thread 'MainThread'", 0.5),
)
REMEDY = "  to fix: hold connections for a shorter time, or raise max_size (2) or timeout (0.5 s)"


def lines(error: PoolExhausted) -> list[str]:
    return str(error).splitlines()


def test_held_connections() -> None:
    """The error's message has the pool's name and sizes, the lease holders and a suggested fix."""
    error = exhausted_error(ENDPOINT, COUNTS, HOLDERS, 0.5, None)
    assert type(error) is PoolExhausted
    assert lines(error) == [
        "no connection from pool postgresql://u:***@h/d within 0.50 s",
        "  2 of at most 2 connections are leased (min_size 1), 3 other leases are waiting",
        "  held for 0.75 s by 'import', task 'Task-1', at main.py:12 in load",
        "  held for 0.50 s by thread 'MainThread'",
        f"{REMEDY}; capture_stacks=True shows where they were taken",
    ]
    assert (error.pool, error.min_size, error.max_size) == ("postgresql://u:***@h/d", 1, 2)
    assert (error.leased, error.waiting, error.holders) == (2, 3, HOLDERS)


def test_the_error_survives_pickling() -> None:
    """The error keeps its message when it is pickled, for example to reach another process."""
    error = exhausted_error(ENDPOINT, COUNTS, HOLDERS, 0.5, None)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_captured_stacks_need_no_hint() -> None:
    """The error's message suggests `capture_stacks` only if that setting is off."""
    config = replace(CONFIG, capture_stacks=True)
    endpoint = Endpoint(ENDPOINT.target, config, ENDPOINT.types)
    assert "capture_stacks" not in str(exhausted_error(endpoint, COUNTS, HOLDERS, 0.5, None))


def test_overload() -> None:
    """If a lease is rejected because of `max_waiting`, the error's message names that setting."""
    error = exhausted_error(ENDPOINT, COUNTS, HOLDERS, None, None)
    assert type(error) is PoolOverloaded
    assert lines(error)[0] == (
        "pool postgresql://u:***@h/d is exhausted: 3 leases are already waiting (max_waiting)"
    )


def test_many_holders() -> None:
    """The error's message lists the five longest leases and says how many more there are."""
    holders = tuple(LeaseHolder(f"holder-{n}", "a task", 9.0 - n) for n in range(7))
    error = exhausted_error(ENDPOINT, COUNTS._replace(max_size=7), holders, 0.5, None)
    assert [line for line in lines(error) if "held for" in line][-1].startswith("  held for 5.00 s")
    assert "  and 2 more" in lines(error)
    assert error.holders == holders[:5]
    assert error.leased == 7


@pytest.mark.parametrize(("leased", "blamed"), [(0, True), (1, True), (2, False)])
def test_failed_connects(leased: int, blamed: bool) -> None:
    """The error blames a failed connection attempt only if fewer than `max_size` are leased."""
    failure = Failure("attempt to connect", 1.25, "connection refused")
    text = lines(exhausted_error(ENDPOINT, COUNTS, HOLDERS[:leased], 0.5, failure))
    reason = "  the last attempt to connect failed 1.2 s ago: connection refused"
    assert (reason in text) is blamed
    assert ("  to fix: bring the server back, or raise its max_connections" in text) is blamed
    assert ("raise max_size" in text[-1]) is not blamed


def test_servers_of_the_wrong_kind() -> None:
    """If no server is of the kind that the connection string requires, the error says so."""
    target = Target.parse("postgresql://u@h/d?target_session_attrs=read-write")
    endpoint = Endpoint(target, CONFIG, DatabaseTypes("d"))
    failure = Failure("attempt to connect", 1.0, "session is read-only")
    text = lines(exhausted_error(endpoint, COUNTS, (), 0.5, failure))
    assert text[-1] == (
        "  to fix: bring a server with target_session_attrs=read-write back, "
        "or raise its max_connections"
    )
