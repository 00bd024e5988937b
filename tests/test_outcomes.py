"""Tests for the outcome that is recorded for each kind of exception, wherever it is decided."""

import asyncio
import sys

import pytest
import trio
import trio.testing

from nanospan import _core, track_performance

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup


def group(*parts):
    """Return a group of exceptions; an exception class stands for an instance of it."""
    return BaseExceptionGroup(
        "several", [part() if isinstance(part, type) else part for part in parts]
    )


ERRORS = {
    "an Exception": ValueError("broken"),
    "a group of Exceptions": group(ValueError),
    "a group of a cancellation and an Exception": group(asyncio.CancelledError, ValueError),
    "an Exception in a nested group": group(
        KeyboardInterrupt, group(GeneratorExit, group(ValueError))
    ),
    "an exit with a status": SystemExit(2),
    "an exit with a message": SystemExit("no such file"),
    "an exit with the status True": SystemExit(True),
    "a failed exit in a group": group(asyncio.CancelledError, SystemExit(1)),
}

CANCELLATIONS = {
    "a cancellation": asyncio.CancelledError(),
    "an interrupt": KeyboardInterrupt(),
    "a closed generator": GeneratorExit(),
    "an exit without a status": SystemExit(),
    "an exit with the status 0": SystemExit(0),
    "an exit with the status False": SystemExit(False),
    "a group of cancellations": group(asyncio.CancelledError, KeyboardInterrupt),
    "a nested group of cancellations": group(group(asyncio.CancelledError), SystemExit(0)),
}

OUTCOMES = [
    pytest.param(exception, outcome, id=name)
    for outcome, exceptions in (("error", ERRORS), ("cancelled", CANCELLATIONS))
    for name, exception in exceptions.items()
]


def through_with(monitor, error):
    with monitor.track_operation("op"):
        raise error


def through_with_and_details(monitor, error):
    with monitor.track_operation("op", {"k": 1}) as span:
        span.set(more=2)
        raise error


def drive(coroutine):
    """Run a coroutine that does not wait. An event loop would handle some of the exceptions."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


def through_async_with(monitor, error):
    async def work():
        async with monitor.track_operation("op"):
            raise error

    drive(work())


def through_a_function(_monitor, error):
    @track_performance("op")
    def work():
        raise error

    work()


def through_a_coroutine(_monitor, error):
    @track_performance("op")
    async def work():
        raise error

    drive(work())


def through_a_generator(_monitor, error):
    @track_performance("op")
    def work():
        yield 1
        raise error

    list(work())


def through_an_async_generator(_monitor, error):
    @track_performance("op")
    async def work():
        raise error
        yield 1

    async def consume():
        async for _ in work():
            pass

    drive(consume())


@pytest.mark.parametrize(
    "leave",
    [
        through_with,
        through_with_and_details,
        through_async_with,
        through_a_function,
        through_a_coroutine,
        through_a_generator,
        through_an_async_generator,
    ],
)
@pytest.mark.parametrize(("error", "outcome"), OUTCOMES)
def test_an_exception_has_the_same_outcome_everywhere(process_monitor, leave, error, outcome):
    """An execution failed if any exception in the group, or the exit's status, is an error."""
    with pytest.raises(type(error)) as caught:
        leave(process_monitor, error)
    assert caught.value is error
    (sample,) = process_monitor.export_metrics("op")["op"]
    stats = process_monitor.get_stats("op")
    if outcome == "error":
        assert (stats.error_count, stats.cancelled_count, stats.success_rate) == (1, 0, 0.0)
        assert sample["metadata"]["error"] == str(error)
    else:
        assert (stats.error_count, stats.cancelled_count, stats.success_rate) == (0, 1, 1.0)
        assert sample["metadata"]["outcome"] == "cancelled"
    assert _core.outcome_of(error) == outcome


def test_a_group_class_without_an_instance_is_a_cancellation(monitor):
    """A span that is left by hand with only an exception's class has no parts to look at."""
    for class_ in (BaseExceptionGroup, SystemExit):
        span = monitor.track_operation("op")
        span.__enter__()
        span.__exit__(class_, None, None)
    assert monitor.get_stats("op").cancelled_count == 2


def test_unusual_groups_do_not_disturb_the_program(monitor):
    """An exception whose parts or status cannot be read propagates, and has an outcome."""

    class Unreadable(BaseException):
        @property
        def exceptions(self):
            raise RuntimeError

    class Misleading(BaseException):
        exceptions = ("no exception", 3, None)

    class Legacy(BaseException):
        """Like trio's former MultiError, not derived from BaseExceptionGroup."""

        def __init__(self, *exceptions):
            self.exceptions = list(exceptions)

    class UnreadableExit(SystemExit):
        @property
        def code(self):
            raise RuntimeError

    class Growing(BaseException):
        @property
        def exceptions(self):
            return [Growing(), Growing()]

    circle = Legacy()
    circle.exceptions = [circle]
    cancelled = [Unreadable(), Misleading(), Legacy(), Legacy(KeyboardInterrupt())]
    cancelled += [circle, Growing()]
    failed = [Legacy(KeyboardInterrupt(), ValueError()), UnreadableExit()]
    for error in cancelled + failed:
        with pytest.raises(type(error)), monitor.track_operation("op"):
            raise error
    stats = monitor.get_stats("op")
    assert (stats.cancelled_count, stats.error_count) == (len(cancelled), len(failed))


@pytest.mark.parametrize("errors", [[], [ValueError]])
def test_a_cancelled_nursery_fails_only_if_a_task_fails(monitor, errors):
    """A trio nursery that is cancelled while a task fails raises a mixed group: an error."""

    async def fail_when_cancelled(error):
        try:
            await trio.sleep_forever()
        finally:
            raise error

    async def main():
        with trio.CancelScope() as scope:
            async with monitor.track_operation("op"), trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                for error in errors:
                    nursery.start_soon(fail_when_cancelled, error)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
                await trio.sleep_forever()

    if errors:
        with pytest.raises(BaseExceptionGroup):
            trio.run(main)
    else:
        trio.run(main)
    stats = monitor.get_stats("op")
    assert (stats.error_count, stats.cancelled_count) == (len(errors), 1 - len(errors))
