"""Close an asynchronous pool from any event loop."""

from __future__ import annotations

import asyncio
import logging
from asyncio import get_running_loop
from time import monotonic
from typing import TYPE_CHECKING

from nanospan.values.messages import shorten

if TYPE_CHECKING:
    from nanospan.pool.vector_pool import VectorPool

__all__ = ["close_in_its_loop"]

logger = logging.getLogger("nanospan.pool")

CLOSE_TIMEOUT = 10.0
"""Seconds to wait for another thread's event loop to close its pool."""
LOOP_CHECK_INTERVAL = 0.1
"""Seconds between checks of whether the other thread's event loop is still running."""


async def close_in_its_loop(pool: VectorPool, loop: asyncio.AbstractEventLoop | None) -> None:
    """Close a pool in the event loop it belongs to, or abandon it if that loop is not running."""
    if loop is get_running_loop():
        await pool.close()
        return
    if loop is not None and loop.is_running():
        closing = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(pool.close(), loop))
        deadline = monotonic() + CLOSE_TIMEOUT
        while not closing.done() and loop.is_running() and monotonic() < deadline:
            await asyncio.wait({closing}, timeout=LOOP_CHECK_INTERVAL)
        if closing.done() and not closing.cancelled():
            closing.result()
            return
        if loop.is_running():
            logger.warning(
                "pool %s could not be closed: its event loop is blocked", shorten(pool.name)
            )
            return
    pool.abandon()  # its loop is not running
