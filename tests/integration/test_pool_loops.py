"""Tests of asynchronous pools that are used in another event loop than their own."""

from __future__ import annotations

import asyncio
import inspect
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest
from pool_checks import LIMIT, backends, settles_here
from psycopg_pool import PoolClosed

from nanospan.pool import GlobalConnectionManager, VectorNullPool, VectorPool
from nanospan.pool.lease_table import Holder

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

KINDS = [VectorPool, VectorNullPool]
NOT_OF_THE_LOOP = {
    "check_connection",  # of a connection, with no pool
    "schedule_task",  # the next two are called by psycopg_pool's own tasks
    "worker",
}
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "__aexit__": (None, None, None),
    "check_health": (LIMIT,),
    "fill": (LIMIT,),
    "getconn": (LIMIT,),
    "lease": (Holder(), LIMIT),
    "resize": (1, 2),
    "wait": (LIMIT,),
}


class LoopThread:
    """An event loop that runs in another thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(LIMIT)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(LIMIT)
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                self.loop.run_until_complete(task)
        self.loop.close()


@pytest.fixture
def other() -> Iterator[LoopThread]:
    """Yield an event loop that runs in another thread."""
    thread = LoopThread()
    yield thread
    if not thread.loop.is_closed():
        thread.close()


@contextmanager
def refused(home: asyncio.AbstractEventLoop, state: str) -> Iterator[None]:
    """Assert that the block raises an error that names both event loops, and the first's state."""
    with pytest.raises(RuntimeError) as caught:
        yield
    message = str(caught.value)
    assert f"at {id(home):#x}>, which {state}, and cannot be used in" in message
    assert f"at {id(asyncio.get_running_loop()):#x}>; open a pool in each event loop" in message


async def opened(url: str) -> VectorPool[Any]:
    """Return a pool that belongs to the running event loop, with an idle connection."""
    pool = VectorPool(url, min_size=1, open=False)
    await pool.open(wait=True, timeout=LIMIT)
    return pool


def awaited_methods(kind: type[Any]) -> set[str]:
    """Return the names of the public methods that are awaited."""
    names = {name for name, _ in inspect.getmembers(kind, inspect.iscoroutinefunction)}
    return {name for name in names if not name.startswith("_") or name.startswith("__a")}


@pytest.mark.parametrize("kind", KINDS)
async def test_every_method_in_another_loop(
    kind: type[VectorPool[Any]], database: str, other: LoopThread
) -> None:
    """Every method that is awaited refuses another loop at once; the pool goes on in its own."""

    async def opened_empty() -> VectorPool[Any]:
        pool = kind(database, open=False, timeout=LIMIT)
        await pool.open()
        return pool

    pool = other.run(opened_empty())
    leased = other.run(pool.getconn())
    before = pool.get_stats()["requests_num"]
    methods = awaited_methods(kind) - NOT_OF_THE_LOOP
    assert {"getconn", "putconn", "open", "close", "drain", "__aenter__"} <= methods
    for name in methods:
        arguments = (leased,) if name == "putconn" else ARGUMENTS.get(name, ())
        with refused(other.loop, "runs in another thread"):
            await getattr(pool, name)(*arguments)
    with refused(other.loop, "runs in another thread"):
        async with pool.connection(timeout=LIMIT):
            pass
    assert pool.get_stats()["requests_num"] == before
    other.run(pool.putconn(leased))
    connection = other.run(pool.getconn())
    other.run(pool.putconn(connection))
    other.run(pool.close())
    with pytest.raises(PoolClosed):
        await pool.getconn()


async def test_a_loop_that_does_not_run(database: str) -> None:
    """A pool whose loop has stopped refuses other loops until its own goes on."""
    loop = asyncio.new_event_loop()
    pool = await asyncio.to_thread(loop.run_until_complete, opened(database))
    with refused(loop, "is not running now"):
        await pool.getconn()
    with refused(loop, "is not running now"):
        await pool.close()
    await asyncio.to_thread(loop.run_until_complete, pool.close())
    loop.close()


async def test_a_loop_that_is_in_the_middle_of_a_task(database: str, other: LoopThread) -> None:
    """A pool refuses other loops also while it runs a task itself, however often they try."""
    pool = other.run(opened(database))
    leased = other.run(pool.getconn())
    began, ended = threading.Event(), threading.Event()

    async def work() -> None:
        began.set()
        ended.wait(LIMIT)

    task = asyncio.run_coroutine_threadsafe(work(), other.loop)
    began.wait(LIMIT)
    lease = pool.connection()
    for _ in range(2):
        with refused(other.loop, "runs in another thread"):
            await lease.__aenter__()
    with refused(other.loop, "runs in another thread"):
        await pool.putconn(leased)
    ended.set()
    task.result(LIMIT)
    other.run(pool.putconn(leased))
    other.run(pool.close())


def test_a_loop_that_moves_to_another_thread(database: str) -> None:
    """A pool goes with its loop, and refuses the next loop of the thread it was opened in."""
    home = asyncio.new_event_loop()
    began, ended = threading.Event(), threading.Event()

    async def used() -> None:
        async with pool.connection() as connection:
            await connection.execute("SELECT 1")

    async def used_for_long() -> None:
        await used()
        began.set()
        ended.wait(LIMIT)

    async def used_elsewhere() -> None:
        with refused(home, "is not running now"):
            await used()
        thread = threading.Thread(target=home.run_until_complete, args=(used_for_long(),))
        thread.start()
        began.wait(LIMIT)
        with refused(home, "runs in another thread"):
            await used()
        ended.set()
        thread.join(LIMIT)

    pool = home.run_until_complete(opened(database))
    asyncio.run(used_elsewhere())
    home.run_until_complete(pool.close())
    home.close()


def test_a_loop_that_is_closed(bare_database: str) -> None:
    """A pool whose loop is closed refuses others, gives up what it leased, and can be closed."""

    async def open_and_leave() -> tuple[VectorPool[Any], Any, asyncio.AbstractEventLoop]:
        pool = VectorPool(bare_database, min_size=2, open=False)
        await pool.open(wait=True, timeout=LIMIT)
        return pool, await pool.getconn(), asyncio.get_running_loop()

    pool, leased, home = asyncio.run(open_and_leave())

    async def use() -> None:
        with refused(home, "is closed"):
            await pool.getconn()
        with refused(home, "is closed"):
            await pool.putconn(leased)
        assert leased.closed
        await pool.close()
        assert pool.closed

    asyncio.run(use())
    assert settles_here(lambda: backends(bare_database) == 0)


async def test_pools_of_a_manager(
    manager: GlobalConnectionManager, database: str, other: LoopThread
) -> None:
    """A shared pool refuses other loops, which get their own from the manager."""
    theirs = other.run(manager.get_connection_pool(database))
    with refused(other.loop, "runs in another thread"):
        await theirs.getconn()
    ours = await manager.get_connection_pool(database)
    assert cast("object", ours) is not theirs
    async with ours.connection(), manager.lease(database):
        pass
    assert not await manager.is_pool_healthy(theirs, database)
    await manager.close_all_pools()
    assert theirs.closed
    assert ours.closed
