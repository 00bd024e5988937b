"""Tests for thresholds, their violations, and detect_regressions()."""

import logging
import math
from types import MappingProxyType

import pytest

from nanospan import PerformanceMonitor, PerformanceStats


class TestThresholds:
    def test_the_defaults(self, monitor):
        """A new monitor has default thresholds for the operations that MemFuse's monitor knows."""
        assert monitor.thresholds == {
            "connection_pool_access": 0.010,
            "m0_operation": 0.100,
            "m1_operation": 0.150,
            "m2_operation": 0.150,
            "buffer_flush": 0.050,
            "service_access": 0.010,
        }

    def test_only_samples_strictly_over_it_violate(self, monitor):
        """A duration violates its threshold only if it is larger, even by one float step."""
        monitor.set_threshold("op", 0.1)
        monitor.record_metric("op", 0.1)
        assert monitor.get_stats("op").violation_count == 0
        monitor.record_metric("op", math.nextafter(0.1, 1))
        assert monitor.get_stats("op").violation_count == 1

    def test_none_removes_a_threshold(self, monitor):
        """Setting a threshold to None removes it, so that no duration is a violation."""
        monitor.set_threshold("buffer_flush", None)
        monitor.record_metric("buffer_flush", 100.0)
        assert monitor.get_stats("buffer_flush").violation_count == 0
        assert "buffer_flush" not in monitor.thresholds

    def test_the_mapping_of_thresholds_is_read_only(self, monitor):
        """The ``thresholds`` mapping is read-only."""
        with pytest.raises(TypeError):
            monitor.thresholds["op"] = 0.1

    def test_a_monitor_may_have_other_thresholds_from_the_start(self):
        """``thresholds`` replaces the default thresholds, and works for operations used later."""
        monitor = PerformanceMonitor(thresholds=MappingProxyType({"op": 0.1, "m0_operation": 1}))
        assert monitor.thresholds == {"op": 0.1, "m0_operation": 1.0}
        monitor.record_metric("op", 0.2)
        monitor.record_metric("buffer_flush", 100.0)
        counts = {name: s.violation_count for name, s in monitor.get_all_stats().items()}
        assert counts == {"op": 1, "buffer_flush": 0}

    def test_a_monitor_may_have_no_thresholds(self):
        """An empty mapping and None for an operation mean no thresholds; None alone, the six."""
        assert PerformanceMonitor(thresholds={}).thresholds == {}
        assert PerformanceMonitor(thresholds={"op": None}).thresholds == {}
        default = PerformanceMonitor(thresholds=None).thresholds
        assert default == PerformanceMonitor().thresholds != {}

    @pytest.mark.parametrize(
        ("thresholds", "error", "message"),
        [
            ([("op", 0.1)], TypeError, "thresholds must be a mapping .* got list; pass {} for no"),
            (0.1, TypeError, "got float"),
            ({"op": "0.1"}, TypeError, "threshold of operation 'op' must be a number.*got str"),
            ({1: 0.1}, TypeError, "an operation's name must be a str, got int"),
            ({"": 0.1}, ValueError, "name must be a non-empty str"),
            ({"op": -1}, ValueError, "threshold of operation 'op'.*got -1"),
        ],
    )
    def test_invalid_initial_thresholds_are_rejected(self, thresholds, error, message):
        """Initial thresholds that are no mapping of names to seconds raise a clear error."""
        with pytest.raises(error, match=message):
            PerformanceMonitor(thresholds=thresholds)

    @pytest.mark.parametrize("bad", [-1.0, math.inf, math.nan, 1e308, 18446744073.71])
    def test_invalid_thresholds_are_rejected(self, monitor, bad):
        """A negative, NaN or too long threshold raises a ValueError and changes nothing."""
        with pytest.raises(ValueError, match=r"threshold of operation 'm0_operation'.*got"):
            monitor.set_threshold("m0_operation", bad)
        assert monitor.thresholds["m0_operation"] == 0.1

    @pytest.mark.parametrize("arguments", [(1, 0.1), ("op", "0.1"), ("op", [])])
    def test_wrong_types_are_type_errors(self, monitor, arguments):
        """A name that is not a str or a threshold that is not a number raises a TypeError."""
        with pytest.raises(TypeError):
            monitor.set_threshold(*arguments)


class TestDetectRegressions:
    def test_the_line_and_its_warning(self, monitor, caplog):
        """detect_regressions() returns and logs one line for a mean that regressed."""
        monitor.record_metric("op", 0.1)
        baseline = monitor.get_all_stats()
        monitor.clear_metrics()
        monitor.record_metric("op", 0.15)
        line = "Performance regression in op: 0.100s -> 0.150s (50.0% increase)"
        assert monitor.detect_regressions(baseline) == [line]
        assert [(r.levelno, r.message) for r in caplog.records] == [(logging.WARNING, line)]

    @pytest.mark.parametrize(("mean", "reported"), [(1.0, 0), (1.2, 0), (1.21, 1), (0.5, 0)])
    def test_only_means_over_the_factor_are_reported(self, monitor, mean, reported):
        """A mean has regressed only if it is more than 1.2 times the baseline's mean."""
        baseline = {"op": PerformanceStats("op", 1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0)}
        monitor.record_metric("op", mean)
        assert len(monitor.detect_regressions(baseline)) == reported

    def test_operations_that_cannot_be_compared_are_skipped(self, monitor):
        """Operations without samples, or with a baseline mean of zero, are not reported."""
        monitor.record_metric("zero", 1.0)
        baseline = {
            name: PerformanceStats(name, 1, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
            for name in ("zero", "unseen")
        }
        assert monitor.detect_regressions(baseline) == []
