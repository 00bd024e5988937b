"""``PerformanceMonitor``, the package's central class, and its process-wide instance."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from nanospan import _core
from nanospan.recorder import Recorder, process_recorder
from nanospan.values.messages import describe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from nanospan.alerts import Alerts
    from nanospan.values.baselines import Baseline
    from nanospan.values.comparisons import Comparison
    from nanospan.values.statistics import PerformanceStats

logger = logging.getLogger("nanospan")


class PerformanceMonitor(Recorder):
    """Records how long operations take, and provides their statistics, comparisons and alerts.

    ```python
    monitor = PerformanceMonitor()
    with monitor.track_operation("parse"):
        ...
    monitor.get_stats("parse").p99_duration
    ```

    Every method may be called from any thread, task, signal handler or finaliser, even in one that
    has interrupted another method. Recording never blocks, and never raises except for invalid
    arguments. Only the first use of a method that imports a module, such as ``alerts``, must not be
    in a handler that has interrupted that very import. A forked child counts from zero, with the
    parent's thresholds, callbacks and handles.

    Args:
        max_metrics_per_operation: The size of each operation's window: the number of its latest
            samples to keep.
        max_operations: The maximum number of operations. Samples for any further names are recorded
            under the operation ``__overflow__``, and one warning is logged.
        thresholds: The initial thresholds in seconds, keyed by operation; ``{}`` for none. By
            default, the six of MemFuse's monitor: ``connection_pool_access`` and
            ``service_access`` 0.010, ``buffer_flush`` 0.050, ``m0_operation`` 0.100,
            ``m1_operation`` and ``m2_operation`` 0.150.

    Raises:
        TypeError: If ``thresholds`` is not a mapping of names to numbers.
        ValueError: If a number of samples or operations is below 1, the window is longer than
            16,777,216 samples, or a threshold is negative, longer than 584 years or NaN.
    """

    def __init__(
        self,
        max_metrics_per_operation: int = 1000,
        *,
        max_operations: int = 10_000,
        thresholds: Mapping[str, float | None] | None = None,
    ) -> None:
        super().__init__(
            max_metrics_per_operation, max_operations=max_operations, thresholds=thresholds
        )
        self._alerts: _core.Atomic[Alerts | None] = _core.Atomic(None)

    @property
    def alerts(self) -> Alerts:
        """This monitor's alert rules and the sinks that receive the alerts.

        No evaluation thread runs while there are no rules. After ``alerts.close()``, the next
        access creates a new ``Alerts`` object.
        """
        from nanospan.alerts import Alerts  # noqa: PLC0415 - not loaded unless used

        while (alerts := self._alerts.get()) is None or alerts.closed:
            self._alerts.replace(alerts, Alerts(self))
        return alerts

    def detect_regressions(self, baseline_stats: Mapping[str, PerformanceStats]) -> list[str]:
        """Report every operation whose mean duration is more than 1.2 times its baseline mean.

        Args:
            baseline_stats: An earlier result of :meth:`get_all_stats`. Operations that have no
                samples now, or whose baseline mean is zero, are skipped.

        Returns:
            One line for each regressed operation. Each line is also logged as a warning.
        """
        from nanospan.regression.live import mean_regressions  # noqa: PLC0415 - as above

        regressions = mean_regressions(self, baseline_stats)
        for line in regressions:
            logger.warning("%s", line)
        return regressions

    def baseline(self, labels: Mapping[str, str] | None = None) -> Baseline:
        """Create a baseline of every operation that has samples, for later comparisons.

        Args:
            labels: Strings to store with the baseline, keyed by label name, such as
                ``{"commit": "4f2a91c"}``.

        Returns:
            A baseline with each operation's histogram and the durations in its window. Samples
            that are recorded during the call may or may not be included.

        Raises:
            TypeError: If the name or value of a label is not a str.
        """
        from nanospan.values.baselines import Baseline  # noqa: PLC0415 - as above

        return Baseline.from_monitor(self, labels)

    def compare(
        self,
        baseline: Baseline,
        *,
        fdr: float = _core.FALSE_DISCOVERY_RATE,
        min_effect: float = _core.MIN_EFFECT,
        tail_min_effect: float | None = None,
    ) -> dict[str, Comparison]:
        """Compare the durations in each operation's window with the durations in a baseline.

        Args:
            baseline: The baseline to compare with.
            fdr: The limit on the expected share of false positives among the reported changes,
                between 0 and 1.
            min_effect: The smallest change to report in the median, as a fraction of the median.
            tail_min_effect: The smallest change to report in a tail quantile, as a fraction of the
                quantile; by default 0.10 or ``min_effect``, whichever is larger.

        Returns:
            A comparison for each operation that has samples in both the baseline and the monitor.

        Raises:
            TypeError: If ``baseline`` is not a Baseline.
            ValueError: If a setting is out of range.
        """
        from nanospan.regression.live import compare_windows  # noqa: PLC0415 - as above

        return compare_windows(
            self, baseline, fdr=fdr, min_effect=min_effect, tail_min_effect=tail_min_effect
        )

    def plot(self, operation: str) -> Figure:
        """Plot an operation's durations with matplotlib (requires the ``plot`` extra).

        See :func:`nanospan.export.plot.plot`.
        """
        from nanospan.export.plot import plot  # noqa: PLC0415 - as above

        return plot(self, operation)

    def report(
        self,
        path: str | os.PathLike[str],
        title: str = "nanospan report",
        baseline: Baseline | None = None,
    ) -> None:
        """Write a report on every operation as one self-contained HTML page.

        With a baseline, the report also compares each operation with the baseline. See
        :func:`nanospan.export.report.write_report`.
        """
        from nanospan.export.report import write_report  # noqa: PLC0415 - as above

        write_report(self, path, title, None if baseline is None else self.compare(baseline))

    def _became_process_recorder(self) -> None:
        path = os.environ.get("NANOSPAN_ALERTS")
        if not path:
            return
        try:
            self.alerts.load(path)
        except Exception as exc:  # noqa: BLE001 - a broken file must not break the program
            # The message locates the fault and contains no secrets; a traceback would add nothing.
            text = describe(exc) if isinstance(exc, OSError) else exc
            logger.error("NANOSPAN_ALERTS: no alerts were loaded: %s", text)  # noqa: TRY400


def get_performance_monitor() -> PerformanceMonitor:
    """Return the process-wide monitor, creating it on the first call. Thread-safe."""
    return process_recorder()  # type: ignore[return-value]  # made by `wiring`
