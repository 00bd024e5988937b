"""Tests for operation handles, which avoid looking up the operation by name."""

import gc
import weakref

import pytest

from nanospan import PerformanceMonitor


def test_a_handle_records_into_its_operation(monitor):
    """Samples recorded through a handle are stored under the operation's name."""
    operation = monitor.operation("op")
    with operation.track():
        pass
    with operation.track({"k": 1}) as span:
        span.set(rows=2)
    operation.record(0.5, success=False, metadata={"k": 3})
    assert operation.name == "op"
    assert operation.stats() == monitor.get_stats("op")
    samples = monitor.export_metrics("op")["op"]
    assert [s["metadata"] for s in samples] == [{}, {"k": 1, "rows": 2}, {"k": 3}]
    assert [s["success"] for s in samples] == [True, True, False]


async def test_spans_of_a_handle_are_like_others(monitor):
    """A handle's spans also work with ``async with`` and as decorators."""
    operation = monitor.operation("op")
    async with operation.track():
        pass

    @operation.track()
    def work():
        return 5

    assert work() == work() == 5
    assert operation.stats().count == 3


def test_a_name_has_one_handle(monitor):
    """operation() always returns the same handle for the same name."""
    monitor.record_metric("op", 0.1)
    assert monitor.operation("op") is monitor.operation("op")
    assert monitor.operation("op").stats().count == 1


def test_without_samples_there_are_no_statistics(monitor):
    """Creating a handle without recording a sample adds no statistics."""
    assert monitor.operation("op").stats() is None
    assert monitor.get_all_stats() == {}


def test_settings_of_the_monitor_apply_to_handles(monitor):
    """Disabling or clearing a monitor, and its thresholds, also affect its handles."""
    seen = []
    monitor.add_alert_callback(lambda _event, metric: seen.append(metric.duration))
    operation = monitor.operation("op")
    monitor.set_threshold("op", 0.1)
    operation.record(0.2)
    monitor.disable()
    operation.record(0.3)
    monitor.enable()
    assert seen == [0.2]
    monitor.clear_metrics("op")
    assert operation.stats() is None


def test_a_handle_outlives_its_monitor():
    """A handle can still record after its monitor has been freed."""
    monitor = PerformanceMonitor()
    operation = monitor.operation("op")
    gone = weakref.ref(monitor)
    del monitor
    gc.collect()
    assert gone() is None
    operation.record(0.1)
    assert operation.stats().count == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [((), TypeError), ((-1.0,), ValueError), (("x",), TypeError), ((1.0, 2, 3, 4), TypeError)],
)
def test_invalid_arguments_are_rejected(monitor, arguments, error):
    """A handle's record() raises an error for invalid arguments, as record_metric() does."""
    with pytest.raises(error):
        monitor.operation("op").record(*arguments)


@pytest.mark.parametrize(("name", "error"), [("", ValueError), (5, TypeError)])
def test_invalid_names_are_rejected(monitor, name, error):
    """operation() raises an error if the name is not a non-empty string."""
    with pytest.raises(error):
        monitor.operation(name)


def test_past_the_bound_the_handle_is_the_overflow_operation():
    """For new names beyond max_operations, operation() returns the ``__overflow__`` handle."""
    monitor = PerformanceMonitor(max_operations=1)
    monitor.operation("a")
    assert monitor.operation("b").name == "__overflow__"
    assert repr(monitor.operation("a")) == "<Operation 'a'>"


def test_a_cancelled_execution_measured_elsewhere(monitor):
    """record_cancelled() records a given duration as a cancelled execution, not as an error."""
    metadata = {"k": 1}
    monitor.operation("op").record_cancelled(0.1, metadata)
    monitor.operation("op").record_cancelled(0.2)
    stats = monitor.get_stats("op")
    assert (stats.cancelled_count, stats.error_count, stats.success_rate) == (2, 0, 1)
    first, second = monitor.export_metrics("op")["op"]
    assert (first["duration"], second["duration"]) == (0.1, 0.2)
    assert first["metadata"] == {"k": 1, "outcome": "cancelled"}
    assert second["metadata"] == {"outcome": "cancelled"}
    assert metadata == {"k": 1}
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="operation 'op'"):
            monitor.operation("op").record_cancelled(wrong)
    with pytest.raises(TypeError, match="operation 'op'"):
        monitor.operation("op").record_cancelled("0.1")
    with pytest.raises(TypeError):
        monitor.operation("op").record_cancelled(0.1, 1)
    assert monitor.get_stats("op").count == 2
