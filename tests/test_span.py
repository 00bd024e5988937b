"""Tests for spans: ``with``, ``async with``, outcomes, metadata and threads."""

import asyncio
import contextlib
import inspect
import pydoc
import threading
import time
import traceback

import pytest

from nanospan import Span


def only_sample(monitor, operation="op"):
    [sample] = monitor.export_metrics(operation)[operation]
    return sample


class TestWith:
    def test_the_block_is_timed(self, monitor):
        """A sample's duration is the block's run time, measured with a monotonic clock."""
        before = time.perf_counter()
        with monitor.track_operation("op"):
            time.sleep(0.01)
        outside = time.perf_counter() - before
        assert 0.0099 <= only_sample(monitor)["duration"] <= outside * 1.001

    def test_as_gives_the_span(self, monitor):
        """``with ... as`` binds the span itself."""
        context = monitor.track_operation("op")
        with context as span:
            assert span is context
        assert span.operation == "op"

    def test_elapsed_grows_until_the_end(self, monitor):
        """``elapsed`` is 0 before the block, grows within it, and ends as the sample's duration."""
        span = monitor.track_operation("op")
        assert span.elapsed == 0.0
        with span:
            first = span.elapsed
            time.sleep(0.001)
            assert 0 < first < span.elapsed
        assert span.elapsed == only_sample(monitor)["duration"]

    def test_blocks_can_be_nested(self, monitor):
        """Nested spans of the same operation are recorded as separate samples."""
        with monitor.track_operation("op"), monitor.track_operation("op"):
            pass
        assert monitor.get_stats("op").count == 2

    def test_a_span_can_be_entered_once(self, monitor):
        """Entering a span twice raises a RuntimeError and adds no sample."""
        span = monitor.track_operation("op")
        with span, pytest.raises(RuntimeError, match="'op' was already entered"):
            span.__enter__()
        with pytest.raises(RuntimeError, match="already entered"), span:
            pass
        assert monitor.get_stats("op").count == 1

    def test_leaving_without_entering_is_an_error(self, monitor):
        """Calling __exit__ on a span that was not entered raises a RuntimeError."""
        with pytest.raises(RuntimeError, match="is not running"):
            monitor.track_operation("op").__exit__(None, None, None)
        assert monitor.get_stats("op") is None

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [((), TypeError), ((1,), TypeError), (("",), ValueError), (("op", 5), TypeError)],
    )
    def test_invalid_arguments_are_rejected_at_once(self, monitor, arguments, error):
        """track_operation() rejects invalid arguments before the block is entered."""
        with pytest.raises(error):
            monitor.track_operation(*arguments)


class TestSteps:
    """Tests that ``__enter__`` and similar native methods behave like Python methods."""

    NAMES = ("__enter__", "__exit__", "__aenter__", "__aexit__")

    @pytest.mark.parametrize("name", NAMES)
    def test_they_have_the_attributes_of_methods(self, monitor, name):
        """The native methods have the name, qualified name and signature of Python methods."""
        method = getattr(Span, name)
        bound = getattr(monitor.track_operation("op"), name)
        for described in (method, bound):
            assert (described.__name__, described.__qualname__) == (name, f"Span.{name}")
        assert inspect.isroutine(method)
        expected = ["self", "exc_type", "exc_value", "traceback"] if "exit" in name else ["self"]
        assert list(inspect.signature(method).parameters) == expected
        assert name in pydoc.plain(pydoc.render_doc(Span))

    def test_they_work_unbound_and_bound(self, monitor):
        """A span's methods work when called on the instance, on the class, or by ExitStack."""
        span = monitor.track_operation("op")
        assert Span.__enter__(span) is span
        leave = span.__exit__
        assert leave.__self__ is span
        del span
        assert leave(None, None, None) is None
        with contextlib.ExitStack() as stack:
            stack.enter_context(monitor.track_operation("op"))
        assert monitor.get_stats("op").count == 2

    def test_wrong_calls_are_rejected(self, monitor):
        """Calling a span's method with a wrong instance or wrong arguments raises a TypeError."""
        span = monitor.track_operation("op")
        for wrong in (
            Span.__enter__,
            lambda: Span.__enter__(42),
            lambda: Span.__enter__.__get__(42),
            lambda: span.__enter__(1),
            lambda: span.__exit__(None),
            lambda: span.__exit__(None, None, exc=None),
            lambda: Span.__exit__(span, None, None, None, None),
        ):
            with pytest.raises(TypeError):
                wrong()
        assert monitor.get_stats("op") is None

    def test_any_number_can_be_bound_at_once(self, monitor):
        """Many bound methods can exist at once, and each acts on its own span."""
        spans = [monitor.track_operation(f"op{i}") for i in range(200)]
        entered = [span.__enter__ for span in spans]
        left = [span.__exit__ for span in spans]
        assert all(enter() is span for enter, span in zip(entered, spans, strict=True))
        for leave in reversed(left):
            leave(None, None, None)
        assert len(monitor.get_all_stats()) == 200


class TestOutcomes:
    def test_an_exception_is_recorded_and_propagates(self, monitor):
        """An exception in the block is recorded and propagates with its original traceback."""
        error = ValueError("broken")

        def fails():
            raise error

        with pytest.raises(ValueError, match="broken") as caught, monitor.track_operation("op"):
            fails()
        assert caught.value is error
        names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert names[-1] == "fails"
        sample = only_sample(monitor)
        assert (sample["success"], sample["metadata"]) == (False, {"error": "broken"})
        assert monitor.get_stats("op").error_count == 1

    @pytest.mark.parametrize(
        "error", [asyncio.CancelledError(), KeyboardInterrupt(), GeneratorExit(), SystemExit(0)]
    )
    def test_a_cancelled_block_does_not_count_against_success(self, monitor, error):
        """A BaseException that is not an Exception is recorded as a cancellation."""
        with monitor.track_operation("op"):
            pass
        with pytest.raises(type(error)), monitor.track_operation("op"):
            raise error
        stats = monitor.get_stats("op")
        assert (stats.success_rate, stats.error_count, stats.cancelled_count) == (1.0, 0, 1)
        cancelled = monitor.export_metrics("op")["op"][1]
        assert (cancelled["success"], cancelled["metadata"]) == (False, {"outcome": "cancelled"})

    def test_an_exception_without_text_does_not_break_the_record(self, monitor):
        """An exception whose str() fails is still recorded as an error and propagates."""

        class Mute(Exception):  # noqa: N818
            def __str__(self):
                raise RuntimeError

        with pytest.raises(Mute), monitor.track_operation("op"):
            raise Mute
        assert "Mute" in only_sample(monitor)["metadata"]["error"]

    def test_fail_marks_a_block_without_an_exception(self, monitor):
        """fail() marks the sample as an error with the given text, without raising."""
        with monitor.track_operation("op") as span:
            span.fail("no rows")
        sample = only_sample(monitor)
        assert (sample["success"], sample["metadata"]) == (False, {"error": "no rows"})

    def test_fail_needs_no_text(self, monitor):
        """fail() without arguments marks the sample as an error without a text."""
        with monitor.track_operation("op") as span:
            span.fail()
        assert only_sample(monitor)["success"] is False
        assert only_sample(monitor)["metadata"] == {}

    def test_fail_accepts_an_exception(self, monitor):
        """fail() accepts an exception and records the exception's text."""
        with monitor.track_operation("op") as span:
            span.fail(ValueError("bad"))
        assert only_sample(monitor)["metadata"] == {"error": "bad"}


class TestMetadata:
    def test_the_callers_dict_is_never_modified(self, monitor):
        """The caller's metadata dict is not modified by set(), fail() or an exception."""
        metadata = {"k": 1}

        def work():
            with monitor.track_operation("op", metadata) as span:
                span.set(rows=3)
                span.fail("x")
                raise ValueError("broken")

        with pytest.raises(ValueError, match="broken"):
            work()
        assert metadata == {"k": 1}
        assert only_sample(monitor)["metadata"] == {"k": 1, "rows": 3, "error": "broken"}

    def test_entries_added_in_the_block_are_kept(self, monitor):
        """Entries that the block adds to the caller's metadata dict are part of the sample."""
        metadata = {"k": 1}
        with monitor.track_operation("op", metadata):
            metadata["rows"] = 3
        metadata["late"] = True
        assert only_sample(monitor)["metadata"] == {"k": 1, "rows": 3}

    def test_set_adds_and_replaces(self, monitor):
        """set() adds entries to the metadata and replaces entries with the same key."""
        with monitor.track_operation("op", {"a": 1}) as span:
            span.set(a=2, b=2)
            span.set(b=3)
            span.set()
        assert only_sample(monitor)["metadata"] == {"a": 2, "b": 3}

    def test_set_before_the_block(self, monitor):
        """set() also works before the span is entered."""
        span = monitor.track_operation("op")
        span.set(k=1)
        with span:
            pass
        assert only_sample(monitor)["metadata"] == {"k": 1}

    @pytest.mark.parametrize("call", [lambda s: s.set(k=1), lambda s: s.fail()])
    def test_changes_after_the_block_are_errors(self, monitor, call):
        """set() and fail() raise a RuntimeError if the block has already ended."""
        with monitor.track_operation("op") as span:
            pass
        with pytest.raises(RuntimeError, match="'op' has ended"):
            call(span)

    def test_a_finished_span_holds_no_metadata(self, monitor):
        """A finished span does not keep its sample's metadata alive."""
        import weakref

        class Big:
            pass

        big = Big()
        alive = weakref.ref(big)
        with monitor.track_operation("op", {"big": big}) as span:
            span.set(also=big)
        del big
        monitor.clear_metrics()
        assert alive() is None
        assert span.elapsed > 0


class TestAsyncWith:
    async def test_the_block_is_timed_and_as_gives_the_span(self, monitor):
        """``async with`` times the block and binds the span, as ``with`` does."""
        context = monitor.track_operation("op", {"k": 1})
        async with context as span:
            assert span is context
            await asyncio.sleep(0.01)
        assert only_sample(monitor)["duration"] >= 0.0099
        assert only_sample(monitor)["metadata"] == {"k": 1}

    async def test_entering_and_leaving_never_yield(self, monitor):
        """Entering and leaving an ``async with`` block do not yield to the event loop."""
        ran = []
        asyncio.get_running_loop().call_soon(ran.append, 1)
        async with monitor.track_operation("op"):
            assert ran == []
        assert ran == []

    async def test_concurrent_tasks_are_separate(self, monitor):
        """Overlapping tasks that track the same operation record separate, correct durations."""

        async def task(i):
            async with monitor.track_operation("op", {"i": i}) as span:
                await asyncio.sleep(0.001 * (i % 10 + 1))
                span.set(j=i)
            return span.elapsed

        elapsed = await asyncio.gather(*map(task, range(100)))
        samples = monitor.export_metrics("op")["op"]
        assert len(samples) == 100
        for sample in samples:
            i = sample["metadata"]["i"]
            assert sample["metadata"] == {"i": i, "j": i}
            assert sample["duration"] == elapsed[i] >= 0.001 * (i % 10 + 1) * 0.99

    async def test_a_cancelled_task_is_recorded_as_cancelled(self, monitor):
        """If a task is cancelled within a block, the block's sample is recorded as cancelled."""

        async def forever():
            async with monitor.track_operation("op"):
                await asyncio.sleep(60)

        task = asyncio.create_task(forever())
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert monitor.get_stats("op").cancelled_count == 1

    async def test_a_timeout_is_a_cancellation_inside_and_an_error_outside(self, monitor):
        """On a wait_for() timeout, the inner block is cancelled and the outer block fails."""

        async def inner():
            async with monitor.track_operation("inner"):
                await asyncio.sleep(60)

        with pytest.raises(asyncio.TimeoutError):
            async with monitor.track_operation("outer"):
                await asyncio.wait_for(inner(), 0.005)
        assert monitor.get_stats("inner").cancelled_count == 1
        assert monitor.get_stats("outer").error_count == 1

    async def test_a_second_entry_is_an_error(self, monitor):
        """Re-entering a span raises a RuntimeError, for ``with`` and ``async with``."""
        span = monitor.track_operation("op")
        async with span:
            pass
        with pytest.raises(RuntimeError, match="already entered"):
            async with span:
                pass
        with pytest.raises(RuntimeError, match="already entered"), span:
            pass

    async def test_spans_work_without_a_loop(self, monitor):
        """A span's ``__aenter__`` needs no event loop and finishes without suspending."""
        coroutine = monitor.track_operation("op").__aenter__()
        with pytest.raises(StopIteration):
            next(coroutine.__await__())


class TestThreads:
    def test_threads_lose_nothing(self, monitor):
        """If eight threads record into the same operations, every sample is counted."""
        each = 2_000

        def work(i):
            for _ in range(each):
                with monitor.track_operation(f"op{i % 2}", {"i": i}):
                    pass
                monitor.record_metric("shared", 0.001)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        totals = {name: stats.total_count for name, stats in monitor.get_all_stats().items()}
        assert totals == {"op0": 4 * each, "op1": 4 * each, "shared": 8 * each}
        for samples in monitor.export_metrics().values():
            assert len(samples) == monitor.max_metrics_per_operation

    def test_statistics_during_recording_are_consistent(self, monitor):
        """Statistics computed while threads record contain only values that were recorded."""
        stop = threading.Event()

        def work():
            while not stop.is_set():
                monitor.record_metric("op", 0.25, metadata={"k": 0.25})

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(200):
                stats = monitor.get_stats("op")
                if stats is not None:
                    assert stats.min_duration == stats.max_duration == 0.25
                for sample in monitor.export_metrics("op").get("op", []):
                    assert sample["metadata"] == {"k": 0.25}
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def test_the_repr_of_a_span(monitor):
    """A span's repr shows its operation and state."""
    span = monitor.track_operation("op")
    assert repr(span).startswith("<Span of 'op', new")
    with span:
        assert "under way" in repr(span)
    assert "ended" in repr(span)
