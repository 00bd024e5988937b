"""Tests that programs written for psycopg_pool work with the pools as they are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from pool_checks import LIMIT

from nanospan.pool import SyncVectorPool


def test_leases_beside_the_sweep(database: str) -> None:
    """A connection can be leased while the sweep of the pool looks at it."""

    def lease(times: int) -> None:
        for _ in range(times):
            with pool.connection():
                pass

    with (
        SyncVectorPool(database, min_size=2, timeout=LIMIT) as pool,
        ThreadPoolExecutor(2) as threads,
    ):
        leases = [threads.submit(lease, 1000) for _ in range(2)]
        while not all(each.done() for each in leases):
            pool.sweep()
        assert [each.exception() for each in leases] == [None, None]
        assert pool.idle_connections == pool.get_stats()["pool_size"] == 2
