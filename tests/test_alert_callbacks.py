"""Tests for callbacks on threshold violations."""

import logging
import time

import pytest

from nanospan import PerformanceMetric


def test_a_violation_is_reported_before_the_record_returns(monitor):
    """Before record_metric() returns, callbacks have been called with the event and the metric."""
    seen = []
    monitor.add_alert_callback(lambda event, metric: seen.append((event, metric)))
    monitor.set_threshold("op", 0.1)
    before = time.time()
    monitor.record_metric("op", 0.2, metadata={"k": 1})
    [(event, metric)] = seen
    assert event == "threshold_violation"
    assert before - 0.1 <= metric.timestamp <= time.time() + 0.1
    expected = PerformanceMetric("op", 0.2, metric.timestamp, success=True, metadata={"k": 1})
    assert metric == expected


def test_a_span_reports_before_its_block_is_left(monitor):
    """Callbacks for a span are called before the statement after its block runs."""
    seen = []
    monitor.add_alert_callback(lambda _event, metric: seen.append(metric.operation))
    monitor.set_threshold("op", 0)
    with monitor.track_operation("op"):
        time.sleep(0.001)
    assert seen == ["op"]


def test_the_sample_is_readable_from_the_callback(monitor):
    """A callback can query the monitor and sees the sample that violated the threshold."""
    seen = []
    monitor.add_alert_callback(lambda *_: seen.append(monitor.get_stats("op").count))
    monitor.set_threshold("op", 0.1)
    monitor.record_metric("op", 0.2)
    assert seen == [1]


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(3)])
def test_a_broken_callback_is_logged_and_the_others_run(monitor, caplog, error):
    """If a callback raises, the exception is logged and the other callbacks still run."""

    def broken(_event, _metric):
        raise error

    seen = []
    monitor.add_alert_callback(broken)
    monitor.add_alert_callback(lambda *arguments: seen.append(arguments))
    monitor.set_threshold("op", 0.1)
    monitor.record_metric("op", 0.2)
    assert len(seen) == 1
    [record] = caplog.records
    assert "alert callback" in record.message
    assert record.exc_info[1] is error


def test_callbacks_cannot_modify_each_others_metric(monitor):
    """Each callback gets its own metric with a copy of the metadata."""
    seen = []

    def spoil(_event, metric):
        metric.metadata["spoilt"] = True

    monitor.add_alert_callback(spoil)
    monitor.add_alert_callback(lambda _event, metric: seen.append(metric.metadata))
    monitor.set_threshold("op", 0.1)
    monitor.record_metric("op", 0.2, metadata={"k": 1})
    assert seen == [{"k": 1}]
    assert monitor.export_metrics("op")["op"][0]["metadata"] == {"k": 1}


def test_a_removed_callback_is_not_called(monitor):
    """remove_alert_callback() removes one registration and ignores unknown callbacks."""
    seen = []

    def callback(*arguments):
        seen.append(arguments)

    monitor.add_alert_callback(callback)
    monitor.add_alert_callback(callback)
    monitor.remove_alert_callback(callback)
    monitor.remove_alert_callback(print)
    monitor.set_threshold("op", 0.1)
    monitor.record_metric("op", 0.2)
    assert len(seen) == 1


def test_a_callback_may_remove_itself(monitor):
    """A callback may remove itself while it runs."""
    seen = []

    def once(*arguments):
        monitor.remove_alert_callback(once)
        seen.append(arguments)

    monitor.add_alert_callback(once)
    monitor.set_threshold("op", 0.1)
    monitor.record_metric("op", 0.2)
    monitor.record_metric("op", 0.2)
    assert len(seen) == 1


def test_ctrl_c_in_a_callback_is_not_swallowed(monitor):
    """A KeyboardInterrupt raised in a callback propagates to the recording code."""

    def interrupted(*_):
        raise KeyboardInterrupt

    monitor.add_alert_callback(interrupted)
    monitor.set_threshold("op", 0.1)
    with pytest.raises(KeyboardInterrupt):
        monitor.record_metric("op", 0.2)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_broken_logging_does_not_reach_the_program(monitor):
    """If logging a callback's exception fails, the block's own exception still propagates."""

    def broken(_):
        raise RuntimeError

    def fails(*_):
        raise ValueError

    monitor.add_alert_callback(fails)
    monitor.set_threshold("op", 0)
    logger = logging.getLogger("nanospan")
    logger.addFilter(broken)
    try:
        with pytest.raises(KeyError), monitor.track_operation("op"):
            raise KeyError
    finally:
        logger.removeFilter(broken)


def test_only_callables_are_accepted(monitor):
    """Adding a callback that is not callable raises a TypeError."""
    with pytest.raises(TypeError, match="callback must be callable, got int"):
        monitor.add_alert_callback(5)
