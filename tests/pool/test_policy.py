"""Tests for every decision of PoolPolicy, without a server."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest

from nanospan.pool import ConnectionPoolConfig
from nanospan.pool.policy import (
    Fitness,
    PoolCounts,
    PoolPolicy,
    Reconnection,
    SessionPolicy,
    connect_parameters,
    is_missing_type,
)
from nanospan.pool.session_attrs import SessionAttrs
from nanospan.pool.vector_types import DatabaseTypes

ROWS = (("vector", 70_000, 70_001, "vector", ","),)
OTHER_ROWS = (("vector", 80_000, 80_001, "vector", ","),)
NOW = 1000.0
CONFIG = ConnectionPoolConfig(
    min_size=2,
    max_size=5,
    connection_timeout=10.0,
    health_check_interval=300.0,
    type_cache_ttl=600.0,
)
COUNTS = PoolCounts(min_size=2, max_size=5, total=3, opening=0, idle=1, waiting=0)


@dataclass
class Idle:
    """A fake idle connection with the attributes that PoolPolicy reads."""

    generation: int = 1
    alive_at: float = NOW - 1
    unread_input: bool = False
    expired: bool = False
    session_attrs: SessionAttrs | None = None

    def has_unread_input(self) -> bool:
        return self.unread_input

    def is_expired(self, now: float) -> bool:
        assert now == NOW
        return self.expired


def types(asked_at: float = NOW - 1) -> DatabaseTypes:
    """Return a database's types, which were last looked up at ``asked_at``."""
    known = DatabaseTypes("a database")
    known.publish(ROWS, asked_at)
    return known


def fitness(idle: Idle, known: DatabaseTypes, doubted_at: float = 0.0) -> Fitness:
    return PoolPolicy(CONFIG).fitness(idle, known, doubted_at, NOW)


def test_a_connection_that_worked_just_now_is_fit() -> None:
    """A connection that has the current types and worked recently is leased without a check."""
    assert fitness(Idle(), types()) is Fitness.FIT


@pytest.mark.parametrize(
    ("idle", "doubted_at"),
    [
        (Idle(unread_input=True), 0.0),
        (Idle(alive_at=NOW - 1), NOW - 1),
        (Idle(alive_at=NOW - 2), NOW - 1),
        (Idle(alive_at=NOW - 301), 0.0),
    ],
    ids=["unread input", "alive as the doubt came", "alive before the doubt", "idle for long"],
)
def test_a_doubtful_connection_is_unsure(idle: Idle, doubted_at: float) -> None:
    """A connection that may be lost must be checked before it is leased."""
    assert fitness(idle, types(), doubted_at) is Fitness.UNSURE


def test_signs_of_life_end_doubts() -> None:
    """A connection is fit if it worked after the last doubt and within `health_check_interval`."""
    assert fitness(Idle(alive_at=NOW - 1), types(), NOW - 1.5) is Fitness.FIT
    assert fitness(Idle(alive_at=NOW - 300), types()) is Fitness.FIT


def test_stale_types_make_a_connection_unsure() -> None:
    """A connection must be checked if its types are distrusted or older than `type_cache_ttl`."""
    assert fitness(Idle(), types(NOW - 600)) is Fitness.FIT
    assert fitness(Idle(), types(NOW - 601)) is Fitness.UNSURE
    distrusted = types()
    distrusted.distrust(NOW)
    assert fitness(Idle(), distrusted) is Fitness.UNSURE


@pytest.mark.parametrize("idle", [Idle(), Idle(unread_input=True), Idle(expired=True)])
def test_a_connection_with_other_types_is_unfit(idle: Idle) -> None:
    """A connection with outdated types is replaced without being checked."""
    changed = types()
    changed.publish(OTHER_ROWS, NOW)
    unknown = DatabaseTypes("a database")
    for known in (changed, unknown):
        assert fitness(idle, known) is Fitness.UNFIT
        assert PoolPolicy(CONFIG).sweep_fitness(idle, known, NOW) is Fitness.UNFIT


@pytest.mark.parametrize(
    ("idle", "expected"),
    [
        (Idle(), Fitness.FIT),
        (Idle(alive_at=NOW - 10_000), Fitness.FIT),
        (Idle(unread_input=True), Fitness.UNSURE),
        (Idle(expired=True), Fitness.UNFIT),
        (Idle(expired=True, unread_input=True), Fitness.UNFIT),
    ],
    ids=["just used", "idle for long", "unread input", "expired", "expired with unread input"],
)
def test_sweeps(idle: Idle, expected: Fitness) -> None:
    """A sweep replaces expired connections and checks connections that have unread input."""
    assert PoolPolicy(CONFIG).sweep_fitness(idle, types(NOW - 10_000), NOW) is expected


@pytest.mark.parametrize(
    ("leak_after", "interval"), [(None, 1.0), (60.0, 1.0), (0.4, 0.4), (0.001, 0.05)]
)
def test_sweep_interval(leak_after: float | None, interval: float) -> None:
    """The sweep interval equals `leak_after`, but is at least 0.05 s and at most 1 s."""
    assert PoolPolicy(replace(CONFIG, leak_after=leak_after)).sweep_interval == interval


@dataclass
class Standby:
    """A fake libpq connection whose server reports that it is a standby, or reports nothing."""

    reports: bool

    def parameter_status(self, _: bytes) -> bytes | None:
        return b"on" if self.reports else None


def requiring(required: str, age: float, *, reports: bool = False) -> Idle:
    """Return a connection to a standby that met the requirement ``age`` seconds ago."""
    attrs = SessionAttrs(Standby(reports), required, NOW - age)  # type: ignore[arg-type]
    return Idle(session_attrs=attrs)


@pytest.mark.parametrize(
    ("idle", "at_the_lease", "at_the_sweep"),
    [
        (Idle(), Fitness.FIT, Fitness.FIT),
        (requiring("standby", 0.4), Fitness.FIT, Fitness.FIT),
        (requiring("standby", 0.6), Fitness.FIT, Fitness.UNSURE),
        (requiring("standby", 1.1), Fitness.UNSURE, Fitness.UNSURE),
        (requiring("standby", 0.4, reports=True), Fitness.FIT, Fitness.FIT),
        (requiring("primary", 0.4, reports=True), Fitness.UNSURE, Fitness.UNSURE),
        (replace(requiring("standby", 0.4), generation=2), Fitness.UNFIT, Fitness.UNFIT),
        (replace(requiring("standby", 1.1), unread_input=True), Fitness.UNSURE, Fitness.UNSURE),
    ],
    ids=["none", "known", "half known", "known no more", "right", "wrong", "unfit", "doubtful"],
)
def test_requirements_of_the_server(
    idle: Idle, at_the_lease: Fitness, at_the_sweep: Fitness
) -> None:
    """The server is asked once per sweep, and before a lease if it was not asked for that long."""
    policy = SessionPolicy(CONFIG)
    assert policy.fitness(idle, types(), 0.0, NOW) is at_the_lease
    assert policy.sweep_fitness(idle, types(), NOW) is at_the_sweep


@pytest.mark.parametrize(
    ("remaining", "seconds"), [(4.0, 2.0), (100.0, 10.0), (0.001, 0.01), (-1.0, 0.01)]
)
def test_patience(remaining: float, seconds: float) -> None:
    """A check's time limit is half the remaining time, from 0.01 s to `connection_timeout`."""
    assert PoolPolicy(CONFIG).patience(remaining) == seconds


@pytest.mark.parametrize(("waited", "replaced"), [(0.1, False), (2.0, True), (2.5, True)])
def test_silence(waited: float, replaced: bool) -> None:
    """If a check takes as long as its time limit, all idle connections are replaced."""
    assert PoolPolicy(CONFIG).replaces_all_idle(waited, 2.0) is replaced


@pytest.mark.parametrize(
    ("changes", "growth"),
    [
        ({}, 0),
        ({"waiting": 1}, 1),
        ({"waiting": 9}, 2),
        ({"waiting": 2, "opening": 1}, 1),
        ({"waiting": 2, "opening": 2}, 0),
        ({"waiting": 1, "opening": 2}, 0),
        ({"waiting": 1, "total": 5}, 0),
        ({"waiting": 1, "total": 6}, 0),
    ],
)
def test_growth(changes: dict[str, int], growth: int) -> None:
    """A pool opens one connection per waiting lease, minus those being opened, up to `max_size`."""
    assert PoolPolicy(CONFIG).growth(COUNTS._replace(**changes)) == growth


@pytest.mark.parametrize(("total", "missing"), [(0, 2), (1, 1), (2, 0), (5, 0)])
def test_missing(total: int, missing: int) -> None:
    """A pool opens as many connections as it needs to reach `min_size`."""
    assert PoolPolicy(CONFIG).missing(COUNTS._replace(total=total)) == missing


@pytest.mark.parametrize(
    ("total", "idle", "surplus"), [(3, 1, 0), (5, 5, 0), (7, 5, 2), (7, 1, 1), (7, 0, 0)]
)
def test_surplus(total: int, idle: int, surplus: int) -> None:
    """If a pool has more than `max_size` connections, surplus idle connections are closed."""
    counts = COUNTS._replace(total=total, idle=idle)
    assert PoolPolicy(CONFIG).surplus(counts) == surplus


def test_a_connection_over_the_maximum_is_surplus() -> None:
    """A returned connection is closed if its pool has more than `max_size` connections."""
    assert not PoolPolicy(CONFIG).is_surplus(5, 5)
    assert PoolPolicy(CONFIG).is_surplus(6, 5)


@pytest.mark.parametrize(
    ("total", "waiting", "null_pool", "replaces"),
    [
        (5, 0, False, True),
        (6, 0, False, False),
        (6, 3, False, False),
        (5, 0, True, False),
        (5, 1, True, True),
        (6, 1, True, False),
    ],
)
def test_replacing(total: int, waiting: int, null_pool: bool, replaces: bool) -> None:
    """Closed connections are replaced up to `max_size`; in null pools, only for waiting leases."""
    policy = PoolPolicy(replace(CONFIG, null_pool=null_pool))
    assert policy.replaces(COUNTS._replace(total=total, waiting=waiting)) is replaces


@pytest.mark.parametrize(
    ("total", "waiting", "retries"), [(2, 0, True), (3, 0, False), (3, 1, True), (1, 0, True)]
)
def test_retrying(total: int, waiting: int, retries: bool) -> None:
    """Connecting is retried if the pool needs the connection for `min_size` or a waiting lease."""
    counts = COUNTS._replace(total=total, waiting=waiting)
    assert PoolPolicy(CONFIG).retries(counts) is retries


def test_delays_double_up_to_a_limit_and_differ() -> None:
    """Retry delays are random, between half and all of a limit that doubles from 0.1 s to 3 s."""
    spans = [0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0]
    seen = set()
    for _ in range(20):
        attempt = Reconnection()
        for span in spans:
            attempt.update_delay(NOW)
            assert span / 2 <= attempt.delay <= span
            assert not attempt.time_to_give_up(NOW + 1e9)
            seen.add(attempt.delay)
    assert len(seen) > 100


def test_connect_parameters() -> None:
    """Settings are passed to libpq as parameters, with timeouts rounded up to whole seconds."""
    config = replace(
        CONFIG,
        connection_timeout=6.5,
        keepalives_idle=41,
        keepalives_interval=7,
        keepalives_count=4,
    )
    assert connect_parameters(config, given=()) == {
        "connect_timeout": 7,
        "keepalives": 1,
        "keepalives_idle": 41,
        "keepalives_interval": 7,
        "keepalives_count": 4,
    }


def test_parameters_of_the_connection_string_take_precedence() -> None:
    """A parameter that is set in the connection string overrides the pool's setting."""
    given = {"connect_timeout": "3", "keepalives": "0", "host": "h"}
    assert connect_parameters(CONFIG, given).keys() == {
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
    }


def test_null_pools_prepare_no_statements() -> None:
    """Null pools disable prepared statements, because a pooler may switch the server session."""
    parameters = connect_parameters(replace(CONFIG, null_pool=True), given=())
    assert parameters["prepare_threshold"] is None
    assert "prepare_threshold" not in connect_parameters(CONFIG, given=())


@pytest.mark.parametrize("null_pool", [False, True])
@pytest.mark.parametrize("threshold", [None, 0, 3])
def test_a_prepare_threshold_applies_to_both_kinds_of_pool(
    threshold: int | None, null_pool: bool
) -> None:
    """A ``prepare_threshold`` reaches psycopg as given, whether or not connections stay idle."""
    config = replace(CONFIG, null_pool=null_pool, prepare_threshold=threshold)
    assert connect_parameters(config, given=())["prepare_threshold"] == threshold


@pytest.mark.parametrize(
    ("error", "last_message", "expected"),
    [
        (psycopg.errors.InternalError_("cache lookup failed for type 7"), "", True),
        (None, "ERROR:  cache lookup failed for type 7\n", True),
        (LookupError("not stored"), "ERROR:  cache lookup failed for type 7\n", True),
        (psycopg.errors.InternalError_("out of shared memory"), "", False),
        (LookupError("cache lookup failed for type 7"), "", False),
        (None, "ERROR:  division by zero\n", False),
        (None, "", False),
    ],
)
def test_missing_types(error: Any, last_message: str, expected: bool) -> None:
    """A server error about a missing type is recognised even if the caller caught it."""
    assert is_missing_type(error, last_message) is expected
