"""Tests for coalescing concurrent requests into one task, and for strict time limits."""

from __future__ import annotations

import asyncio

import pytest

from nanospan.pool.tasks import SingleFlight, within


class Work:
    """A callable that counts its calls; each call waits until ``gate`` is set."""

    def __init__(self) -> None:
        self.runs = 0
        self.gate = asyncio.Event()

    async def __call__(self) -> int:
        """Count this call, wait for ``gate``, and return the number of calls so far."""
        self.runs += 1
        await self.gate.wait()
        return self.runs


async def test_concurrent_callers_share() -> None:
    """Concurrent callers with the same key share a result; a later caller starts a new task."""
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    calls = [asyncio.create_task(flights.do("key", work)) for _ in range(5)]
    await asyncio.sleep(0)
    work.gate.set()
    assert await asyncio.gather(*calls) == [1] * 5
    assert await flights.do("key", work) == 2


@pytest.mark.parametrize("cancelled", [0, 1])
async def test_cancelling_one_caller(cancelled: int) -> None:
    """If one caller is cancelled, even the first, the other callers still get the result."""
    flights: SingleFlight[str, int] = SingleFlight()
    work = Work()
    calls = [asyncio.create_task(flights.do("key", work)) for _ in range(2)]
    await asyncio.sleep(0)
    calls[cancelled].cancel()
    await asyncio.sleep(0)
    work.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await calls[cancelled]
    assert await calls[1 - cancelled] == 1


async def test_errors_reach_everyone() -> None:
    """If the work raises an error, every caller gets the error, and the next caller retries."""
    flights: SingleFlight[str, int] = SingleFlight()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise KeyError

    outcomes = await asyncio.gather(
        flights.do("key", fail), flights.do("key", fail), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [KeyError, KeyError]
    work = Work()
    work.gate.set()
    assert await flights.do("key", work) == 1


async def test_settled_waits_for_the_chosen() -> None:
    """`settled` waits only for tasks whose key satisfies the predicate."""
    flights: SingleFlight[str, int] = SingleFlight()
    work, other = Work(), Work()
    calls = [asyncio.create_task(flights.do(k, w)) for k, w in (("a", work), ("b", other))]
    await asyncio.sleep(0)
    waiting = asyncio.create_task(flights.settled(lambda key: key == "a"))
    await asyncio.sleep(0)
    assert not waiting.done()
    work.gate.set()
    await waiting
    assert not calls[1].done()
    other.gate.set()
    await asyncio.gather(*calls)


async def test_deadline_holds_against_stubborn_work() -> None:
    """`within` times out promptly even if the work ignores its cancellation."""
    released = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await released.wait()

    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(asyncio.TimeoutError):
        await within(0.05, stubborn())
    assert loop.time() - started < 30  # half the time that the work would take
    released.set()
    await asyncio.sleep(0.01)


async def test_deadline_passes_results_and_errors() -> None:
    """`within` returns the work's result or raises the work's exception."""

    async def divide(divisor: int) -> float:
        return 1 / divisor

    assert await within(1, divide(2)) == 0.5
    with pytest.raises(ZeroDivisionError):
        await within(1, divide(0))
