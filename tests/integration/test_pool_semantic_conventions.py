"""Tests for the measurements of pools, which follow OpenTelemetry's semantic conventions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from pool_checks import LIMIT, settles

from nanospan import Snapshot, get_performance_monitor
from nanospan.pool import ConnectionPoolConfig, GlobalConnectionManager, PoolExhausted

if TYPE_CHECKING:
    from nanospan.values.measurements import Measurement

PREFIX = "db.client.connection."


def by_name() -> dict[str, Measurement]:
    """Return pool measurements keyed by name, with the state appended where there is one."""
    return {
        " ".join((one.name, one.attributes.get(f"{PREFIX}state", ""))).strip(): one
        for one in get_performance_monitor().measurements()
        if one.name.startswith(PREFIX)
    }


async def test_measurements(manager: GlobalConnectionManager, database: str) -> None:
    """A pool's counts, limits, timeouts and durations are measured under OpenTelemetry's names."""
    separator = "&" if "?" in database else "?"
    url = f"{database}{separator}password=S3cr3tM4rk"
    pool = await manager.get_connection_pool(url, ConnectionPoolConfig(min_size=2, max_size=3))
    await pool.wait(LIMIT)
    async with pool.connection(), pool.connection(), pool.connection():
        waiting = asyncio.create_task(pool.getconn())
        assert await settles(lambda: pool.waiting_leases == 1)
        with pytest.raises(PoolExhausted):
            await pool.getconn(timeout=0.05)
        measured = by_name()
    await pool.putconn(await waiting)
    assert {name.removeprefix(PREFIX): m.value for name, m in measured.items()} == {
        "count idle": 0,
        "count used": 3,
        "idle.max": 3,
        "idle.min": 2,
        "max": 3,
        "pending_requests": 1,
        "timeouts": 1,
        "create_time": measured[f"{PREFIX}create_time"].value,
        "wait_time": measured[f"{PREFIX}wait_time"].value,
        "use_time": measured[f"{PREFIX}use_time"].value,
    }
    counts = {}
    for name in ("create_time", "wait_time", "use_time"):
        one = by_name()[PREFIX + name]
        assert (one.kind, one.unit) == ("histogram", "s")
        assert isinstance(one.value, Snapshot)
        counts[name] = one.value.count
    assert counts == {"create_time": 3, "wait_time": 4, "use_time": 4}
    assert {m.attributes[f"{PREFIX}pool.name"] for m in measured.values()} == {
        next(iter(manager.get_pool_statistics()))
    }
    assert "S3cr3tM4rk" not in repr(measured)


async def test_no_pool_no_measurement(manager: GlobalConnectionManager, database: str) -> None:
    """A closed pool has no measurements."""
    await manager.get_connection_pool(database)
    assert by_name()
    await manager.close_all_pools()
    assert by_name() == {}
