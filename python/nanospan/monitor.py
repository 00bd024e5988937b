"""The performance monitor: what is recorded, and every question that can be asked about it."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from nanospan.recorder import Recorder, creation, process_recorder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from nanospan.alerts import Alerts
    from nanospan.values.baselines import Baseline
    from nanospan.values.comparisons import Comparison
    from nanospan.values.statistics import PerformanceStats

logger = logging.getLogger("nanospan")


class PerformanceMonitor(Recorder):
    """Records how long operations take and answers questions about them.

    ```python
    monitor = PerformanceMonitor()
    with monitor.track_operation("parse"):
        ...
    monitor.get_stats("parse").p99_duration
    ```

    Every method may be called from any thread, task, signal handler or finaliser. Recording never
    blocks, and never raises except for bad arguments.

    Args:
        max_metrics_per_operation: The length of each operation's window, in samples.
        max_operations: How many operation names are kept apart. Samples of further names go to
            the operation ``__overflow__``; one warning is logged.

    Raises:
        ValueError: If a bound is below 1, or the window longer than 16,777,216.
    """

    def __init__(
        self, max_metrics_per_operation: int = 1000, *, max_operations: int = 10_000
    ) -> None:
        super().__init__(max_metrics_per_operation, max_operations=max_operations)
        self._alerts: Alerts | None = None

    @property
    def alerts(self) -> Alerts:
        """The rules on this monitor, and who is told when they hold.

        Without rules there is no thread, and nothing is looked at. After ``alerts.close()`` the
        next access gives new ones.
        """
        from nanospan.alerts import Alerts  # noqa: PLC0415 - costs nothing unless used

        with creation:
            if self._alerts is None or self._alerts.closed:
                self._alerts = Alerts(self)
            return self._alerts

    def detect_regressions(self, baseline_stats: Mapping[str, PerformanceStats]) -> list[str]:
        """Compare every operation's mean with its baseline's.

        Args:
            baseline_stats: Earlier results of :meth:`get_all_stats`. Operations without samples
                now, and baselines whose mean is zero, cannot be compared and are passed over.

        Returns:
            A line for each mean over 1.2 times its baseline's; each is also logged as a warning.
        """
        from nanospan.regression.live import mean_regressions  # noqa: PLC0415 - as above

        regressions = mean_regressions(self, baseline_stats)
        for line in regressions:
            logger.warning("%s", line)
        return regressions

    def baseline(self, labels: Mapping[str, str] | None = None) -> Baseline:
        """Take a baseline of every operation that has samples, to save and to compare with later.

        Args:
            labels: Texts to keep with it, by name: commit, branch, and the like.

        Returns:
            Of each operation the durations in its window, and its histogram. Recording goes on
            meanwhile; what is recorded during the call may be in or not.

        Raises:
            TypeError: If a label is no text.
        """
        from nanospan.values.baselines import Baseline  # noqa: PLC0415 - as above

        return Baseline.from_monitor(self, labels)

    def compare(
        self,
        baseline: Baseline,
        *,
        fdr: float = 0.05,
        min_effect: float = 0.03,
        tail_min_effect: float | None = None,
    ) -> dict[str, Comparison]:
        """Compare the durations in the windows with those of a baseline.

        Args:
            baseline: What to compare with.
            fdr: How many of the operations called changed are not, on average, at most: a share.
            min_effect: The least change of the median that counts, as a share of it.
            tail_min_effect: The least change of a tail quantile that counts, as a share of it;
                unless given, 0.10 or ``min_effect``, whichever is more.

        Returns:
            A comparison for each operation that the baseline has, and the monitor has samples of.

        Raises:
            TypeError: If ``baseline`` is none.
            ValueError: If a setting is out of range.
        """
        from nanospan.regression.live import compare_windows  # noqa: PLC0415 - as above

        return compare_windows(
            self, baseline, fdr=fdr, min_effect=min_effect, tail_min_effect=tail_min_effect
        )

    def plot(self, operation: str) -> Figure:
        """Draw an operation with matplotlib (extra ``plot``).

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
        """Write a report on every operation: an HTML page that loads nothing from anywhere.

        With a baseline, it shows how each operation compares with it. See
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
            # The text says what is wrong and where; it holds no secret.
            logger.error("NANOSPAN_ALERTS: no alerts are loaded: %s", exc)  # noqa: TRY400


def get_performance_monitor() -> PerformanceMonitor:
    """Return the monitor of this process, the same whichever thread asks first."""
    return process_recorder()  # type: ignore[return-value]  # made by `wiring`
