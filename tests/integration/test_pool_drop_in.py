"""Tests that programs written for psycopg_pool work with the pools as they are."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pool_checks import LIMIT, settles_here

from nanospan.pool import SyncVectorPool

if TYPE_CHECKING:
    import pytest


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


def test_the_log_of_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    """An outage is logged once, even if several workers meet it at the same time."""
    pool = SyncVectorPool("host=127.0.0.1 port=1", name="shop", min_size=8, open=False)

    def all_have_failed(_: logging.LogRecord) -> bool:
        return settles_here(lambda: pool.get_stats().get("connections_errors", 0) >= 8)

    with caplog.filtering(all_have_failed), pool:
        assert settles_here(lambda: caplog.records)
    warnings = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert warnings[0].startswith("pool shop cannot connect and will keep trying: ")
