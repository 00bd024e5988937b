"""Handles: an operation without the look-up of its name."""

import gc
import weakref

import pytest

from nanospan import PerformanceMonitor


def test_a_handle_records_into_its_operation(monitor):
    """Spans and records through the handle are the operation's own."""
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


async def test_a_handles_span_is_any_span(monitor):
    """Spans of a handle serve `async with` and decorate, too."""
    operation = monitor.operation("op")
    async with operation.track():
        pass

    @operation.track()
    def work():
        return 5

    assert work() == work() == 5
    assert operation.stats().count == 3


def test_a_name_has_one_handle(monitor):
    """Asking again gives the same object; the name may have been recorded before."""
    monitor.record_metric("op", 0.1)
    assert monitor.operation("op") is monitor.operation("op")
    assert monitor.operation("op").stats().count == 1


def test_without_samples_there_are_no_statistics(monitor):
    """A handle to an operation that was never recorded has no statistics, and is not listed."""
    assert monitor.operation("op").stats() is None
    assert monitor.get_all_stats() == {}


def test_switch_thresholds_and_clearing_reach_the_handle(monitor):
    """What is set on the monitor holds for its handles."""
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
    """A handle goes on by itself when its monitor is gone."""
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
def test_bad_arguments_are_refused(monitor, arguments, error):
    """A handle checks what record_metric checks."""
    with pytest.raises(error):
        monitor.operation("op").record(*arguments)


@pytest.mark.parametrize(("name", "error"), [("", ValueError), (5, TypeError)])
def test_bad_names_are_refused(monitor, name, error):
    """A handle's name is any non-empty string."""
    with pytest.raises(error):
        monitor.operation(name)


def test_past_the_bound_the_handle_is_the_overflow_operation():
    """There is always a handle; past the bound it says so by its name."""
    monitor = PerformanceMonitor(max_operations=1)
    monitor.operation("a")
    assert monitor.operation("b").name == "__overflow__"
    assert repr(monitor.operation("a")) == "<Operation 'a'>"


def test_a_cancelled_execution_measured_elsewhere(monitor):
    """A cancelled duration comes back bit for bit, says what it is, and is no failure."""
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
