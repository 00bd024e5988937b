"""Tests for track_performance on generators and async generators."""

import asyncio
import inspect
import time

import pytest

from nanospan import track_performance


class TestGenerators:
    def test_it_is_timed_from_its_first_step_to_its_end(self, stats):
        """A generator is recorded once it ends, and timed from its first step."""

        @track_performance("op")
        def numbers():
            for i in range(3):
                time.sleep(0.002)
                yield i
            return "done"

        assert inspect.isgeneratorfunction(numbers)
        generator = numbers()
        assert stats() is None
        assert list(generator) == [0, 1, 2]
        assert (stats().count, stats().min_duration >= 0.0059) == (1, True)

    def test_send_throw_and_return_reach_it(self, stats):
        """A tracked generator passes on what is sent, thrown and returned."""

        @track_performance("op")
        def echo():
            got = yield "first"
            try:
                yield got
            except KeyError:
                yield "caught"
            return "end"

        generator = echo()
        assert next(generator) == "first"
        assert generator.send("x") == "x"
        assert generator.throw(KeyError()) == "caught"
        with pytest.raises(StopIteration) as stopped:
            next(generator)
        assert stopped.value.value == "end"
        assert stats().success_rate == 1.0

    def test_closing_early_is_a_cancellation(self, stats):
        """A generator that is closed before it ends is recorded as cancelled."""

        @track_performance("op")
        def numbers():
            yield 1
            yield 2

        generator = numbers()
        next(generator)
        generator.close()
        assert (stats().cancelled_count, stats().error_count) == (1, 0)

    def test_an_error_inside_is_an_error(self, stats):
        """An exception raised in a generator is recorded as an error and propagates."""

        @track_performance("op")
        def fails():
            yield 1
            raise ValueError("broken")

        with pytest.raises(ValueError, match="broken"):
            list(fails())
        assert stats().error_count == 1


class TestAsyncGenerators:
    async def test_it_is_timed_from_its_first_step_to_its_end(self, stats):
        """An async generator is recorded as one sample, timed from its first step to its end."""

        @track_performance("op")
        async def numbers():
            for i in range(3):
                await asyncio.sleep(0.002)
                yield i

        assert inspect.isasyncgenfunction(numbers)
        assert [i async for i in numbers()] == [0, 1, 2]
        assert (stats().count, stats().min_duration >= 0.0059) == (1, True)

    async def test_send_and_throw_reach_it(self, stats):
        """A tracked async generator passes on what is sent and thrown."""

        @track_performance("op")
        async def echo():
            got = yield "first"
            try:
                yield got
            except KeyError:
                yield "caught"

        generator = echo()
        assert await generator.asend(None) == "first"
        assert await generator.asend("x") == "x"
        assert await generator.athrow(KeyError()) == "caught"
        with pytest.raises(StopAsyncIteration):
            await generator.asend(None)
        assert stats().success_rate == 1.0

    async def test_closing_early_closes_it_and_is_a_cancellation(self, stats):
        """Closing an async generator early runs its clean-up and is recorded as cancelled."""
        closed = []

        @track_performance("op")
        async def numbers():
            try:
                yield 1
                yield 2
            finally:
                closed.append(True)

        generator = numbers()
        assert await generator.asend(None) == 1
        await generator.aclose()
        assert (closed, stats().cancelled_count) == ([True], 1)

    async def test_an_error_inside_is_an_error(self, stats):
        """An exception raised in an async generator is recorded as an error and propagates."""

        @track_performance("op")
        async def fails():
            yield 1
            raise ValueError("broken")

        with pytest.raises(ValueError, match="broken"):
            [i async for i in fails()]
        assert stats().error_count == 1
