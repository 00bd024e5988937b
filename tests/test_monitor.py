"""Tests for the monitor's public methods."""

import dataclasses
import math
import time
from fractions import Fraction

import numpy as np
import pytest

import nanospan
from nanospan import PerformanceMetric, PerformanceMonitor, PerformanceStats
from nanospan._core import MAX_DURATION

TOO_LONG = math.nextafter(MAX_DURATION, math.inf)


def durations(monitor, operation):
    return [sample["duration"] for sample in monitor.export_metrics(operation)[operation]]


class TestRecordMetric:
    @pytest.mark.parametrize("duration", [0.1, 0.0, 5e-324, 1e-9, 123456.789, MAX_DURATION, 3])
    def test_durations_come_back_bit_for_bit(self, monitor, duration):
        """A recorded duration is exported without rounding, bit for bit."""
        monitor.record_metric("op", duration)
        assert durations(monitor, "op") == [duration]

    def test_success_and_metadata_are_kept(self, monitor):
        """An exported sample has the success flag and the metadata that were recorded."""
        monitor.record_metric("op", 0.1, success=False, metadata={"k": 1})
        [sample] = monitor.export_metrics("op")["op"]
        assert (sample["success"], sample["metadata"]) == (False, {"k": 1})

    def test_arguments_may_be_positional(self, monitor):
        """record_metric() accepts positional arguments in the same order as MemFuse's monitor."""
        monitor.record_metric("op", 0.1, False, {"k": 1})
        assert monitor.get_stats("op").success_rate == 0.0

    def test_metadata_is_copied(self, monitor):
        """Changing the caller's metadata dict after recording does not change the sample."""
        metadata = {"k": 1}
        monitor.record_metric("op", 0.1, metadata=metadata)
        metadata["k"] = 2
        assert monitor.export_metrics("op")["op"][0]["metadata"] == {"k": 1}

    def test_any_mapping_can_be_metadata(self, monitor):
        """Metadata may be any mapping, not only a dict."""
        from types import MappingProxyType

        monitor.record_metric("op", 0.1, metadata=MappingProxyType({"k": 1}))
        assert monitor.export_metrics("op")["op"][0]["metadata"] == {"k": 1}

    @pytest.mark.parametrize("bad", [-0.001, -math.inf, math.inf, math.nan, 1e308, TOO_LONG, 2**64])
    def test_invalid_durations_are_rejected(self, monitor, bad):
        """A negative, NaN or too long duration raises a ValueError that names the operation."""
        message = r"'op'.*between 0 and 18446744073\.7\d* \(584 years\), got [^ ]{2,25}$"
        operation = monitor.operation("op")
        for record in (
            lambda: monitor.record_metric("op", bad),
            lambda: operation.record(bad),
            lambda: operation.record_cancelled(bad),
        ):
            with pytest.raises(ValueError, match=message):
                record()
        assert monitor.get_stats("op") is None

    def test_success_may_be_0_or_1(self, monitor):
        """``success`` may also be 0, 1 or a NumPy bool."""
        for success in (1, 0, np.True_, np.False_):
            monitor.record_metric("op", 0.1, success)
        exported = monitor.export_metrics("op")["op"]
        assert [sample["success"] for sample in exported] == [True, False, True, False]

    @pytest.mark.parametrize("duration", [10**400, -(10**400)])
    def test_integers_beyond_floats_are_rejected(self, monitor, duration):
        """An int that is too large for a float raises a ValueError that names the operation."""
        with pytest.raises(ValueError, match="'op'"):
            monitor.record_metric("op", duration)
        with pytest.raises(ValueError, match="'op'"):
            monitor.set_threshold("op", duration)

    @pytest.mark.parametrize(
        "arguments",
        [
            (b"op", 0.1),
            (None, 0.1),
            (1, 0.1),
            (["op"], 0.1),
            ("op", "0.1"),
            ("op", None),
            ("op", 0.1, "yes"),
            ("op", 0.1, True, "metadata"),
            ("op", 0.1, True, 5),
        ],
    )
    def test_wrong_types_are_type_errors(self, monitor, arguments):
        """An argument of the wrong type raises a TypeError and records nothing."""
        with pytest.raises(TypeError):
            monitor.record_metric(*arguments)
        assert monitor.get_all_stats() == {}

    def test_an_empty_name_is_rejected(self, monitor):
        """Recording under an empty name raises a ValueError."""
        with pytest.raises(ValueError, match="non-empty"):
            monitor.record_metric("", 0.1)

    @pytest.mark.parametrize("name", ["ü", "日本", "a\0b", "\udc80", "x" * 10_000, "__overflow__"])
    def test_any_other_name_works(self, monitor, name):
        """Names may contain any characters, including lone surrogates."""
        monitor.record_metric(name, 0.1)
        monitor.set_threshold(name, 0.5)
        assert monitor.get_stats(name).operation == name
        assert list(monitor.get_all_stats()) == [name]
        assert monitor.thresholds[name] == 0.5

    def test_a_string_subclass_names_the_same_operation(self, monitor):
        """A name may be a str subclass, and is equivalent to the plain str with the same text."""

        class Name(str):
            __slots__ = ()

        monitor.record_metric(Name("op"), 0.1)
        monitor.record_metric("op", 0.1)
        [name] = monitor.get_all_stats()
        assert type(name) is str
        assert monitor.get_stats("op").count == 2


class TestGetStats:
    def test_an_unknown_operation_has_no_statistics(self, monitor):
        """get_stats() returns None for an operation without samples."""
        assert monitor.get_stats("op") is None
        assert monitor.get_all_stats() == {}

    def test_every_figure_of_a_known_window(self, monitor):
        """Every field of the statistics is correct for a window of known samples."""
        before = time.time()
        for milliseconds in range(1, 101):
            monitor.record_metric("op", milliseconds / 1000, milliseconds > 10)
        stats = monitor.get_stats("op")
        expected = PerformanceStats(
            operation="op",
            count=100,
            avg_duration=pytest.approx(0.0505, rel=1e-15),
            min_duration=0.001,
            max_duration=0.1,
            p95_duration=pytest.approx(0.09505),
            p99_duration=pytest.approx(0.09901),
            success_rate=0.9,
            last_updated=stats.last_updated,
            p50_duration=pytest.approx(0.0505),
            p999_duration=pytest.approx(0.099901),
            stddev_duration=pytest.approx(0.0288660700477),
            error_count=10,
            cancelled_count=0,
            total_count=100,
            violation_count=0,
            lifetime_avg=stats.avg_duration,
            lifetime_min=0.001,
            lifetime_max=0.1,
            lifetime_p50=stats.p50_duration,
            lifetime_p95=stats.p95_duration,
            lifetime_p99=stats.p99_duration,
            lifetime_p999=stats.p999_duration,
            lifetime_success_rate=0.9,
        )
        assert stats == expected
        assert before - 0.1 <= stats.last_updated <= time.time() + 0.1

    def test_percentiles_are_numpys_linear_ones(self, monitor):
        """Percentiles equal NumPy's default percentiles to within one unit in the last place."""
        values = np.random.default_rng(7).lognormal(-7, 1, 997)
        for value in values:
            monitor.record_metric("op", value)
        stats = monitor.get_stats("op")
        ours = [stats.p50_duration, stats.p95_duration, stats.p99_duration, stats.p999_duration]
        theirs = np.quantile(values, [0.5, 0.95, 0.99, 0.999])
        np.testing.assert_array_max_ulp(np.array(ours), theirs, maxulp=1)

    def test_the_mean_is_exact_where_a_plain_sum_is_not(self, monitor):
        """The mean is exact even if a plain sum would lose small durations to rounding."""
        values = [1e9, 1e-9] * 500
        for value in values:
            monitor.record_metric("op", value)
        exact = float(sum(map(Fraction, values)) / len(values))
        assert monitor.get_stats("op").avg_duration == exact

    def test_lifetime_figures_cover_samples_that_left_the_window(self, monitor):
        """Lifetime figures include samples that have left the window; the others do not."""
        for _ in range(4000):
            monitor.record_metric("op", 0.5, success=False)
        for _ in range(1000):
            monitor.record_metric("op", 0.001)
        stats = monitor.get_stats("op")
        assert (stats.count, stats.total_count) == (1000, 5000)
        assert (stats.p99_duration, stats.max_duration, stats.success_rate) == (0.001, 0.001, 1.0)
        assert stats.lifetime_p50 == stats.lifetime_p99 == pytest.approx(0.5, rel=0.0055)
        assert stats.lifetime_avg == pytest.approx((4000 * 0.5 + 1) / 5000)
        assert (stats.lifetime_min, stats.lifetime_max) == (0.001, 0.5)
        assert stats.lifetime_success_rate == 0.2
        handle = monitor.operation("op")
        assert handle.stats() == stats
        assert stats.lifetime_p999 == handle.snapshot().quantile(0.999)
        monitor.clear_metrics("op")
        monitor.record_metric("op", 0.25)
        stats = monitor.get_stats("op")
        assert stats.lifetime_min == stats.lifetime_max == stats.lifetime_p50 == 0.25
        assert stats.lifetime_success_rate == 1.0

    def test_lifetime_figures_of_every_outcome(self):
        """Lifetime figures cover all outcomes; cancelled samples do not lower the success rate."""
        monitor = PerformanceMonitor(1)
        operation = monitor.operation("op")
        operation.record(0.0)
        operation.record(4.0, success=False)
        for _ in range(8):
            operation.record_cancelled(2.0)
        stats = operation.stats()
        assert (stats.count, stats.cancelled_count, stats.success_rate) == (1, 1, 1.0)
        assert (stats.lifetime_min, stats.lifetime_avg, stats.lifetime_max) == (0.0, 2.0, 4.0)
        assert stats.lifetime_p50 == pytest.approx(2.0, rel=0.0055)
        assert stats.lifetime_p99 == pytest.approx(4.0, rel=0.0055)
        assert stats.lifetime_success_rate == 0.5

    def test_statistics_cover_the_window_and_the_total_covers_all(self):
        """Statistics cover the last max_metrics_per_operation samples; total_count covers all."""
        monitor = PerformanceMonitor(max_metrics_per_operation=10)
        assert monitor.max_metrics_per_operation == 10
        for i in range(25):
            monitor.record_metric("op", float(i))
        stats = monitor.get_stats("op")
        assert (stats.count, stats.total_count) == (10, 25)
        assert (stats.min_duration, stats.max_duration) == (15.0, 24.0)

    def test_a_large_window_has_the_same_statistics(self):
        """Statistics are also correct for windows so large that computing them releases the GIL."""
        monitor = PerformanceMonitor(max_metrics_per_operation=20_000)
        for i in range(20_000):
            monitor.record_metric("op", float(i))
        stats = monitor.get_stats("op")
        assert (stats.count, stats.p50_duration, stats.avg_duration) == (20_000, 9999.5, 9999.5)

    def test_all_statistics_equal_the_single_ones(self, monitor):
        """get_all_stats() has the result of get_stats() for each operation that has samples."""
        for name in ("b", "a", "c"):
            monitor.record_metric(name, 0.1)
        monitor.clear_metrics("c")
        assert monitor.get_all_stats() == {n: monitor.get_stats(n) for n in ("b", "a")}

    def test_results_are_dataclasses(self, monitor):
        """Results are dataclasses, and the fields that MemFuse's classes lack have defaults."""
        monitor.record_metric("op", 0.1)
        assert dataclasses.asdict(monitor.get_stats("op"))["operation"] == "op"
        old = PerformanceStats("op", 1, 0.1, 0.1, 0.1, 0.1, 0.1, 1.0, 0.0)
        assert old.total_count == 0
        assert PerformanceMetric("op", 0.1, 0.0, True).metadata == {}


class TestClearAndExport:
    def test_clearing_one_operation_keeps_the_others_and_its_threshold(self, monitor):
        """clear_metrics(name) drops only that operation's samples."""
        monitor.set_threshold("a", 0.05)
        for name in ("a", "b"):
            monitor.record_metric(name, 0.1, metadata={"k": name})
        monitor.clear_metrics("a")
        monitor.clear_metrics("unknown")
        assert monitor.get_stats("a") is None
        assert monitor.get_stats("b").count == 1
        assert monitor.thresholds["a"] == 0.05
        monitor.record_metric("a", 0.1)
        stats = monitor.get_stats("a")
        assert (stats.count, stats.total_count, stats.violation_count) == (1, 1, 1)
        assert monitor.export_metrics("a")["a"][0]["metadata"] == {}

    def test_clearing_all(self, monitor):
        """clear_metrics() drops every sample."""
        for name in ("a", "b"):
            monitor.record_metric(name, 0.1)
        monitor.clear_metrics()
        assert monitor.export_metrics() == {}

    def test_export_is_oldest_first_with_five_keys(self, monitor):
        """Exported samples are dicts with five keys, ordered from oldest to newest."""
        for i in range(3):
            monitor.record_metric("op", i / 10, i != 1, {"i": i})
        exported = monitor.export_metrics()
        assert list(exported) == ["op"]
        timestamps = [sample.pop("timestamp") for sample in exported["op"]]
        assert timestamps == sorted(timestamps)
        assert exported["op"] == [
            {"operation": "op", "duration": i / 10, "success": i != 1, "metadata": {"i": i}}
            for i in range(3)
        ]

    def test_an_unknown_operation_exports_nothing(self, monitor):
        """Exporting an unknown operation returns an empty dict."""
        monitor.record_metric("op", 0.1)
        assert monitor.export_metrics("unknown") == {}

    def test_exported_dicts_are_copies(self, monitor):
        """Changing exported metadata does not change the recorded sample."""
        monitor.record_metric("op", 0.1, metadata={"k": 1})
        monitor.export_metrics()["op"][0]["metadata"]["k"] = 2
        assert monitor.export_metrics()["op"][0]["metadata"] == {"k": 1}

    def test_metadata_stays_with_its_sample_in_the_window(self):
        """After the window has wrapped around, each sample still has its own metadata."""
        monitor = PerformanceMonitor(max_metrics_per_operation=7)
        for i in range(50):
            monitor.record_metric("op", float(i), metadata={"i": i} if i % 3 else None)
        for sample in monitor.export_metrics("op")["op"]:
            i = int(sample["duration"])
            assert sample["metadata"] == ({"i": i} if i % 3 else {})


class TestSwitch:
    def test_nothing_is_recorded_while_disabled(self, monitor):
        """A disabled monitor records neither samples nor violations."""
        seen = []
        monitor.add_alert_callback(lambda *arguments: seen.append(arguments))
        monitor.set_threshold("op", 0)
        monitor.disable()
        assert not monitor.enabled
        monitor.record_metric("op", 0.1)
        with monitor.track_operation("op") as span:
            span.set(k=1)
        assert span.elapsed == 0.0
        assert (monitor.get_stats("op"), seen) == (None, [])

    def test_a_span_counts_if_enabled_from_start_to_end(self, monitor):
        """A span is recorded only if the monitor is enabled when its block begins and ends."""
        monitor.disable()
        with monitor.track_operation("op"):
            monitor.enable()
        with monitor.track_operation("op"):
            monitor.disable()
        assert monitor.get_stats("op") is None
        monitor.enable()
        with monitor.track_operation("op"):
            pass
        assert monitor.get_stats("op").count == 1


class TestBounds:
    @pytest.mark.parametrize("window", [0, 2**24 + 1, -1, 10**30])
    def test_windows_out_of_range_are_rejected(self, window):
        """A window size below 1 or above 2**24 raises a ValueError."""
        with pytest.raises(ValueError, match=str(window)):
            PerformanceMonitor(window)

    @pytest.mark.parametrize("arguments", [("5",), (5.0,), (None,)])
    def test_bounds_are_integers(self, arguments):
        """A window size that is not an int raises a TypeError that names the parameter."""
        with pytest.raises(TypeError, match="max_metrics_per_operation must be an int"):
            PerformanceMonitor(*arguments)

    @pytest.mark.parametrize("attribute", dir(PerformanceMonitor))
    def test_every_public_attribute_is_documented(self, attribute):
        """help(PerformanceMonitor) documents every public attribute."""
        if not attribute.startswith("_"):
            assert getattr(PerformanceMonitor, attribute).__doc__

    def test_a_limit_of_zero_operations_is_rejected(self):
        """A max_operations of 0 raises a ValueError."""
        with pytest.raises(ValueError, match="max_operations must be at least 1, got 0"):
            PerformanceMonitor(max_operations=0)

    def test_names_past_the_bound_share_one_operation(self, caplog):
        """New names beyond max_operations are recorded as ``__overflow__``, with one warning."""
        monitor = PerformanceMonitor(max_operations=3)
        for i in range(10):
            monitor.record_metric(f"op{i}", 0.1, metadata={"i": i})
            with monitor.track_operation(f"op{i}"):
                pass
        counts = {name: stats.count for name, stats in monitor.get_all_stats().items()}
        assert counts == {"op0": 2, "op1": 2, "op2": 2, "__overflow__": 14}
        assert monitor.refused_names == 14
        assert len(caplog.records) == 1
        assert "'op3' exceeds max_operations=3" in caplog.text


class TestSubclassing:
    def test_subclasses_may_have_other_arguments(self):
        """A subclass of the monitor may have a constructor with different parameters."""

        class Mine(PerformanceMonitor):
            def __init__(self, label):
                super().__init__(max_metrics_per_operation=5)
                self.label = label

        mine = Mine("x")
        assert (mine.label, mine.max_metrics_per_operation) == ("x", 5)

    def test_a_forgotten_super_call_is_reported(self):
        """Using a subclass that does not call super().__init__() raises an error that says so."""

        class Mine(PerformanceMonitor):
            def __init__(self):
                pass

        with pytest.raises(RuntimeError, match="__init__ was not called"):
            Mine().track_operation("op")


def test_the_version_has_one_source():
    """nanospan.__version__ is the installed distribution's version."""
    from importlib.metadata import version

    assert nanospan.__version__ == version("nanospan")


def test_the_repr_of_a_monitor(monitor):
    """A monitor's repr shows the class, the number of operations, and whether it is enabled."""
    monitor.record_metric("op", 0.1)
    assert repr(monitor) == "<PerformanceMonitor of 1 operations, enabled>"
