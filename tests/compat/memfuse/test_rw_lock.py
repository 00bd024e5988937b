"""Tests of the lock that many readers or one writer may hold."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from nanospan.compat.memfuse.rw_lock import AsyncRWLock


async def settle() -> None:
    """Let every task that can run reach its next wait."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_readers_share() -> None:
    """Several readers hold the lock at the same time; a writer waits for the last of them."""
    lock = AsyncRWLock()
    async with AsyncExitStack() as readers:
        await readers.enter_async_context(lock.reader())
        await readers.enter_async_context(lock.reader())
        writing = asyncio.create_task(lock.acquire_write())
        await settle()
        assert not writing.done()
    await writing
    assert (lock._readers, lock._writers) == (0, 1)


async def test_writer_excludes() -> None:
    """While a writer holds the lock, others wait, and then enter in order of arrival."""
    lock = AsyncRWLock()
    async with lock.writer():
        others = [
            asyncio.create_task(lock.acquire_read()),
            asyncio.create_task(lock.acquire_write()),
        ]
        await settle()
        assert not any(task.done() for task in others)
    await others[0]
    await settle()
    assert not others[1].done()
    await lock.release_read()
    await others[1]


async def test_cancelled_waiter() -> None:
    """A cancelled waiter holds nothing, and does not keep others out."""
    lock = AsyncRWLock()
    async with lock.writer():
        waiting = asyncio.create_task(lock.acquire_write())
        await settle()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with lock.writer():
        pass
    assert (lock._readers, lock._writers, lock._waiting) == (0, 0, {})


async def test_error_releases() -> None:
    """The lock is released when the block raises."""
    lock = AsyncRWLock()
    for hold in (lock.reader, lock.writer):
        with pytest.raises(ValueError, match="broken"):
            async with hold():
                raise ValueError("broken")
    assert (lock._readers, lock._writers) == (0, 0)
