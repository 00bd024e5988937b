"""Tests that track_performance records one sample per execution of any callable."""

import asyncio
import functools
import inspect
import time
import types
from unittest.mock import AsyncMock

import pytest

import nanospan
from nanospan import _core, get_performance_monitor, track_performance

pytestmark = pytest.mark.usefixtures("process_monitor")


def test_a_function_is_timed_and_keeps_its_result(stats):
    """A decorated function is timed and returns the original function's result."""

    @track_performance("op")
    def add(a, b=2, *more, c, **rest):
        time.sleep(0.002)
        return (a, b, more, c, rest)

    assert add(1, 3, 4, c=5, d=6) == (1, 3, (4,), 5, {"d": 6})
    assert stats().count == 1
    assert stats().min_duration >= 0.0019


def test_metadata_is_kept_with_every_sample(process_monitor):
    """Each sample has the decorator's metadata, and the caller's dict is not modified."""
    metadata = {"k": 1}

    @track_performance("op", metadata)
    def fails():
        raise ValueError("broken")

    for _ in range(2):
        with pytest.raises(ValueError):
            fails()
    assert metadata == {"k": 1}
    samples = process_monitor.export_metrics("op")["op"]
    assert [s["metadata"] for s in samples] == [{"k": 1, "error": "broken"}] * 2


async def test_a_coroutine_function_is_timed_to_its_end(stats):
    """A coroutine function's duration includes the time it spends awaiting."""

    @track_performance("op")
    async def work(x):
        await asyncio.sleep(0.01)
        return x

    assert inspect.iscoroutinefunction(work)
    assert await work(5) == 5
    assert stats().min_duration >= 0.0099


async def test_overlapping_calls_are_separate(process_monitor):
    """Overlapping calls of a decorated coroutine function are timed separately."""

    @track_performance("op")
    async def work(seconds):
        await asyncio.sleep(seconds)

    await asyncio.gather(*(work(0.001 * i) for i in range(1, 21)))
    found = sorted(s["duration"] for s in process_monitor.export_metrics("op")["op"])
    assert all(0.001 * i * 0.99 <= d for i, d in enumerate(found, start=1))
    assert len(found) == 20


async def test_a_cancelled_coroutine_is_cancelled(stats):
    """Cancelling a tracked coroutine cancels the original, and is recorded as cancelled."""
    seen = []

    @track_performance("op")
    async def work():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled"]
    assert stats().cancelled_count == 1


class TestClasses:
    def test_methods_of_every_kind(self, stats):
        """Methods, class methods and static methods can be tracked, in either decorator order."""

        class Service:
            @track_performance("op")
            def method(self):
                return self

            @track_performance("op")
            @classmethod
            def outside(cls):
                return cls

            @classmethod
            @track_performance("op")
            def inside(cls):
                return cls

            @track_performance("op")
            @staticmethod
            def static(x):
                return x

        service = Service()
        assert service.method() is service
        assert service.outside() is Service.inside() is Service
        assert service.static(3) == Service.static(3) == 3
        assert stats().count == 5

    async def test_callable_objects_of_every_kind(self, stats):
        """Callable objects can be tracked, and are awaited if ``__call__`` is asynchronous."""

        class Plain:
            def __call__(self, x):
                return x

        class Asynchronous:
            async def __call__(self, x):
                await asyncio.sleep(0.002)
                return x

        assert track_performance("op")(Plain())(1) == 1
        tracked = track_performance("op")(Asynchronous())
        assert inspect.iscoroutinefunction(tracked)
        assert await tracked(2) == 2
        partial = track_performance("op")(functools.partial(Asynchronous.__call__, Asynchronous()))
        assert await partial(3) == 3
        assert (stats().count, stats().max_duration >= 0.0019) == (3, True)


async def test_marked_coroutine_functions_are_timed_to_their_end(stats):
    """Generator-based coroutines and async mocks are timed like coroutine functions."""

    @track_performance("op")
    @types.coroutine
    def generator_based():
        yield from asyncio.sleep(0.002).__await__()
        return 5

    assert await generator_based() == 5

    async def later():
        await asyncio.sleep(0.002)

    mock = track_performance("op")(AsyncMock(side_effect=later))
    assert inspect.iscoroutinefunction(mock)
    await mock()
    assert (stats().count, stats().min_duration >= 0.0019) == (2, True)


def test_decorating_alone_records_and_registers_nothing(process_monitor):
    """Decorating a function creates no operation until the function is called."""
    track_performance("never called")(lambda: None)
    assert "never called" not in process_monitor.get_all_stats()


def test_names_signature_and_docstring_are_kept():
    """A wrapper has the original's name, module, docstring and signature."""

    def original(a: int, *, b: str = "x") -> str:
        """The docstring."""

    tracked = track_performance("op")(original)
    assert tracked.__name__ == "original"
    assert tracked.__qualname__ == original.__qualname__
    assert tracked.__doc__ == "The docstring."
    assert tracked.__module__ == __name__
    assert tracked.__wrapped__ is original
    assert inspect.signature(tracked) == inspect.signature(original)


def test_the_process_wide_monitor_is_looked_up_once(monkeypatch):
    """A decorated function looks up the process-wide monitor only on its first call."""
    asked = []
    look = _core.process_monitor

    def ask():
        asked.append(look())
        return asked[-1]

    before = look()
    monkeypatch.setattr(_core, "process_monitor", ask)
    _core.set_process_monitor(None)
    try:
        tracked = track_performance("op")(lambda: None)
        tracked()
        known = len(asked)
        for _ in range(10):
            tracked()
        assert len(asked) == known > 0
        assert look().get_stats("op").count == 11
    finally:
        _core.set_process_monitor(before)


def test_the_monitor_is_looked_up_when_called(process_monitor):
    """Decorated functions record into the current process-wide monitor, even after it changes."""

    @track_performance("op")
    def work():
        pass

    work()
    other = nanospan.PerformanceMonitor()
    _core.set_process_monitor(other)
    try:
        assert get_performance_monitor() is other
        work()
        work()
    finally:
        _core.set_process_monitor(process_monitor)
    work()
    assert other.get_stats("op").count == 2
    assert process_monitor.get_stats("op").count == 2


@pytest.mark.parametrize(
    ("arguments", "error"), [((5,), TypeError), (("",), ValueError), (("op", 5), TypeError)]
)
def test_invalid_arguments_are_rejected_when_decorating(arguments, error):
    """track_performance() rejects invalid arguments immediately, not at the first call."""
    with pytest.raises(error):
        track_performance(*arguments)


def test_only_callables_can_be_tracked():
    """Decorating an object that is not callable raises a TypeError."""
    with pytest.raises(TypeError, match="a tracked function must be callable, got int"):
        track_performance("op")(5)


def test_a_span_is_a_decorator(monitor):
    """A span used as a decorator records one sample per call into its monitor."""

    @monitor.track_operation("op", {"k": 1})
    def work(x):
        return x

    @monitor.track_operation("op")
    async def awork(x):
        return x

    assert (work(1), work(2)) == (1, 2)
    assert asyncio.run(awork(3)) == 3
    assert monitor.get_stats("op").count == 3
    assert monitor.export_metrics("op")["op"][0]["metadata"] == {"k": 1}


def test_recursion_records_a_sample_per_call(stats):
    """A recursive function records one sample for each call."""

    @track_performance("op")
    def countdown(n):
        return n and countdown(n - 1)

    countdown(5)
    assert stats().count == 6
