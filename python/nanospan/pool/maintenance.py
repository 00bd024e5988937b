"""Tasks in the background of a pool."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from psycopg_pool import pool, pool_async

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["AsyncSweep", "Sweep", "until_cancelled"]


class AsyncSweep(pool_async.MaintenanceTask):
    """Has a pool look after itself again and again, as psycopg_pool's `ShrinkPool` does."""

    async def _run(self, pool: Any) -> None:
        await pool.schedule_task(self, pool.policy.sweep_interval)
        await pool.sweep()


class Sweep(pool.MaintenanceTask):
    """The same for a synchronous pool."""

    def _run(self, pool: Any) -> None:
        pool.schedule_task(self, pool.policy.sweep_interval)
        pool.sweep()


async def until_cancelled(work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` so that one cancellation ends it.

    psycopg_pool's worker takes a cancellation during a task for a failure of that task, and its
    scheduler, before Python 3.12, may lose one to `asyncio.wait_for`. Both then go on, and
    `asyncio.run` would wait for ever for a pool that was left open.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=0.1)
        raise
