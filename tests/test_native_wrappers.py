"""Tests that tracked functions and coroutines behave like the originals as objects."""

import asyncio
import collections.abc
import contextlib
import copy
import functools
import gc
import inspect
import io
import pickle
import pydoc
import sys
import weakref

import pytest

from nanospan import get_performance_monitor, track_performance


@pytest.fixture(autouse=True)
def stats():
    """Yield a function that gets the statistics of ``op``, the operation used in this file."""
    monitor = get_performance_monitor()
    monitor.clear_metrics()
    yield lambda: monitor.get_stats("op")
    monitor.set_threshold("op", None)
    monitor.clear_metrics()


@track_performance("op")
def plain(a, b=2):
    """Add two numbers."""
    return a + b


@track_performance("op")
async def coroutine_function(a, b=2):
    """Add two numbers after a pause."""
    await asyncio.sleep(0)
    return a + b


@get_performance_monitor().operation("op").wrap
def wrapped(a, b=2):
    """Add two numbers natively."""
    return a + b


@pytest.fixture(params=["track_performance", "Operation.wrap"])
def tracked(request):
    """Return a decorator that tracks functions in one of the two ways."""
    if request.param == "track_performance":
        return track_performance("op", {"k": []})
    operation = get_performance_monitor().operation("op")
    return lambda function: operation.wrap(function, {"k": []})


class TestFunctions:
    @pytest.mark.parametrize("function", [plain, coroutine_function, wrapped])
    def test_it_is_pickled_and_copied_by_name(self, function):
        """Unpickling or copying a decorated function returns the same object."""
        assert pickle.loads(pickle.dumps(function)) is function
        assert copy.copy(function) is function
        assert copy.deepcopy(function) is function

    def test_help_shows_signature_and_docstring(self):
        """help() on a wrapper shows the signature and docstring of the original function."""
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            pydoc.help(plain)
        assert "plain(a, b=2)" in shown.getvalue()
        assert "Add two numbers." in shown.getvalue()

    def test_inspect_sees_the_original(self):
        """The inspect module reports the original function's kind, signature and source."""
        assert inspect.iscoroutinefunction(coroutine_function)
        assert not inspect.iscoroutinefunction(plain)
        assert str(inspect.signature(plain)) == "(a, b=2)"
        assert "return a + b" in inspect.getsource(plain)
        assert inspect.unwrap(plain) is plain.__wrapped__
        assert plain.__code__.co_varnames == plain.__wrapped__.__code__.co_varnames
        assert plain.__defaults__ == (2,)

    def test_attributes_may_be_set(self, tracked):
        """Attributes can be set on a wrapper, without setting them on the original function."""

        @tracked
        def function():
            pass

        function.marker = 5
        assert function.marker == 5
        assert not hasattr(function.__wrapped__, "marker")
        assert weakref.ref(function)() is function
        with pytest.raises(AttributeError, match="nothing"):
            function.nothing  # noqa: B018

    def test_wrappers_can_be_stacked(self, tracked, stats):
        """A function decorated twice records two samples per call, and works with lru_cache."""

        @functools.lru_cache
        @tracked
        @tracked
        def function(x):
            return x

        assert (function(1), function(1)) == (1, 1)
        assert stats().count == 2

    def test_a_bound_method_is_a_method(self, tracked):
        """Accessing a decorated method through an instance gives a bound method."""

        class Service:
            @tracked
            def method(self, x):
                return x

        service = Service()
        assert inspect.ismethod(service.method)
        assert service.method.__self__ is service
        assert service.method(5) == Service.method(service, 5) == 5

    def test_exceptions_keep_their_traceback(self, tracked):
        """An exception from a decorated function has the original traceback and no context."""

        @tracked
        def fails():
            raise ValueError("broken")

        with pytest.raises(ValueError, match="broken") as caught:
            fails()
        assert caught.traceback[-1].name == "fails"
        assert caught.value.__context__ is None

    def test_wrong_arguments_raise_the_error_of_the_original(self):
        """A call with wrong arguments raises the original function's TypeError."""
        with pytest.raises(TypeError, match=r"plain\(\) missing 1 required positional argument"):
            plain()
        with pytest.raises(TypeError, match=r"wrapped\(\) missing 1 required positional"):
            wrapped()

    def test_infinite_recursion_is_a_recursion_error(self, tracked):
        """Infinite recursion through a wrapper raises a RecursionError instead of crashing."""

        @tracked
        def down():
            return down()

        with pytest.raises(RecursionError):
            down()

    def test_arguments_and_results_are_not_kept(self, tracked):
        """A wrapper keeps neither its arguments nor its results alive."""

        class Big:
            pass

        @tracked
        def identity(x):
            return x

        big = Big()
        alive = weakref.ref(big)
        before = sys.getrefcount(big)
        assert identity(big) is big
        assert sys.getrefcount(big) == before
        del big
        assert alive() is None

    def test_a_wrapper_in_a_cycle_is_collected(self, tracked):
        """The garbage collector frees a decorated closure that refers to itself."""

        def make():
            @tracked
            def function():
                return function

            function.itself = function
            return weakref.ref(function)

        gone = make()
        gc.collect()
        assert gone() is None

    def test_ctrl_c_in_an_alert_callback_keeps_the_sample(self, stats):
        """A KeyboardInterrupt in an alert callback propagates, and the sample is recorded."""
        monitor = get_performance_monitor()

        def interrupted(*_):
            raise KeyboardInterrupt

        monitor.set_threshold("op", 0)
        monitor.add_alert_callback(interrupted)
        try:
            with pytest.raises(KeyboardInterrupt):
                plain(1)
        finally:
            monitor.remove_alert_callback(interrupted)
        assert stats().count == 1


class TestCoroutines:
    async def test_asyncio_accepts_the_coroutine(self):
        """Tasks, gather() and wait_for() accept a tracked coroutine."""
        assert asyncio.iscoroutine(made := coroutine_function(1))
        assert isinstance(made, collections.abc.Coroutine)
        assert inspect.isawaitable(made)
        assert await made == 3
        assert await asyncio.create_task(coroutine_function(1)) == 3
        assert await asyncio.gather(coroutine_function(1), coroutine_function(2)) == [3, 4]
        assert await asyncio.wait_for(coroutine_function(1), 5) == 3

    def test_asyncio_run_accepts_the_coroutine(self):
        """asyncio.run() accepts a tracked coroutine."""
        assert asyncio.run(coroutine_function(2, b=3)) == 5

    async def test_results_of_every_kind_are_returned(self):
        """Results that StopIteration treats specially, such as tuples, are returned unchanged."""

        @track_performance("op")
        async def identity(x):
            return x

        error = ValueError("a result, not raised")
        for result in (None, (), (1, 2), error, StopIteration(3), [None]):
            assert await identity(result) is result

    async def test_results_are_not_kept(self):
        """A decorated coroutine function does not keep its results alive."""

        class Big:
            pass

        @track_performance("op")
        async def make():
            return Big()

        alive = weakref.ref(await make())
        assert alive() is None

    async def test_a_span_is_not_kept(self):
        """The awaitables of ``async with`` do not keep a finished span alive."""
        monitor = get_performance_monitor()
        async with monitor.track_operation("op") as span:
            pass
        assert sys.getrefcount(span) == 2

    def test_every_step_reaches_the_coroutine(self, stats):
        """A tracked coroutine passes on what is sent, thrown and returned."""

        class Step:
            def __await__(self):
                got = yield "first"
                try:
                    yield got
                except KeyError:
                    yield "caught"
                return "result"

        @track_performance("op")
        async def work():
            return await Step()

        made = work()
        assert made.send(None) == "first"
        assert made.send("x") == "x"
        assert made.throw(KeyError()) == "caught"
        with pytest.raises(StopIteration) as stopped:
            made.send(None)
        assert stopped.value.value == "result"
        assert stats().success_rate == 1.0
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            made.send(None)
        assert stats().count == 1

    def test_closing_is_a_cancellation(self, stats):
        """Closing a started coroutine records it as cancelled; an unstarted one is not recorded."""
        closed = []

        @track_performance("op")
        async def work():
            try:
                await Suspend()
            finally:
                closed.append(True)

        unstarted = work()
        unstarted.close()
        assert (closed, stats()) == ([], None)
        made = work()
        made.send(None)
        made.close()
        assert (closed, stats().cancelled_count) == ([True], 1)

    def test_dropped_coroutines_are_cancelled(self, stats):
        """A started coroutine that is dropped before it ends is recorded as cancelled."""

        @track_performance("op")
        async def work():
            await Suspend()

        for _ in range(3):
            made = work()
            made.send(None)
            del made
        assert stats().cancelled_count == 3

    def test_a_coroutine_in_a_cycle_is_collected(self, stats):
        """A suspended coroutine that refers to itself is freed and recorded as cancelled."""
        holder = []

        @track_performance("op")
        async def work(_held):
            await Suspend()

        made = work(holder)
        holder.append(made)
        made.send(None)
        gone = weakref.ref(made)
        del made, holder
        gc.collect()
        assert gone() is None
        assert stats().cancelled_count == 1

    @pytest.mark.filterwarnings("default::RuntimeWarning")
    def test_a_coroutine_that_is_never_awaited_warns(self, stats):
        """A coroutine that is never awaited causes the usual warning and is not recorded."""
        with pytest.warns(RuntimeWarning, match="coroutine_function' was never awaited"):
            coroutine_function(1)
        assert stats() is None

    async def test_cancellation_is_exact(self, stats):
        """A coroutine that suppresses its cancellation is recorded as a success."""

        @track_performance("op")
        async def stubborn():
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return "refused"

        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        task.cancel()
        assert await task == "refused"
        assert (stats().success_rate, stats().cancelled_count) == (1.0, 0)

    async def test_an_error_keeps_its_traceback(self, stats):
        """An exception raised in a tracked coroutine propagates with its original traceback."""
        error = ValueError("broken")

        @track_performance("op")
        async def fails():
            await asyncio.sleep(0)
            raise error

        with pytest.raises(ValueError, match="broken") as caught:
            await fails()
        assert caught.value is error
        assert caught.traceback[-1].name == "fails"
        assert stats().error_count == 1

    async def test_debuggers_see_the_coroutine(self):
        """A tracked coroutine has the original's code, name and repr, as debuggers expect."""
        made = coroutine_function(1)
        assert made.cr_code is coroutine_function.__wrapped__.__code__
        assert made.__qualname__ == "coroutine_function"
        assert "coroutine_function" in repr(made)
        await made


class Suspend:
    """An object that yields once when awaited."""

    def __await__(self):
        yield


def test_memory_is_bounded_for_a_million_names():
    """A million names use under 200 MB, because only the first 10,000 become operations."""
    code = """
import json, logging, os
from nanospan import PerformanceMonitor
warnings = []
logging.getLogger("nanospan").addHandler(type("Keep", (logging.Handler,), {
    "emit": lambda self, record: warnings.append(record.getMessage())})())
def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
monitor = PerformanceMonitor()
monitor.record_metric("first", 0.1)
before = resident()
for i in range(999_999):
    monitor.record_metric(f"name{i}", 0.1)
grown = resident() - before
stats = monitor.get_all_stats()
print(json.dumps([len(stats), stats["__overflow__"].total_count, monitor.refused_names,
                  len(warnings), grown]))
"""
    import json
    import subprocess

    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    operations, overflowed, refused, warnings, grown = json.loads(finished.stdout)
    assert (operations, overflowed, refused, warnings) == (10_001, 990_000, 990_000, 1)
    assert grown < 200e6
