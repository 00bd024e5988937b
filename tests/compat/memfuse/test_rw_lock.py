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


async def test_another_loop() -> None:
    """While the lock is held, another event loop is refused at once; afterwards it may have it."""
    lock = AsyncRWLock()
    home = asyncio.get_running_loop()
    async with lock.reader():
        for work in (lock.acquire_read, lock.acquire_write, lock.release_read):
            with pytest.raises(RuntimeError, match=f"{id(home):#x}>, which runs in another thread"):
                await asyncio.to_thread(lambda work=work: asyncio.run(work()))
    await asyncio.to_thread(lambda: asyncio.run(lock.acquire_write()))


def test_a_closed_loop() -> None:
    """A lock that a closed event loop has left held is free in the next loop."""
    lock = AsyncRWLock()
    asyncio.run(lock.acquire_write())
    asyncio.run(lock.acquire_read())
    assert (lock._readers, lock._writers) == (1, 0)
    asyncio.run(lock.release_read())
    asyncio.run(lock.release_read())
    assert lock._readers == 0
