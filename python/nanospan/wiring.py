"""Hand lower layers what they need from upper ones, once, when the package is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanospan import _core
from nanospan.monitor import PerformanceMonitor
from nanospan.recorder import make_process_recorder_by, process_recorder
from nanospan.tracking import decorate
from nanospan.values.comparisons import Alarm, ChangePoint, Comparison, QuantileChange
from nanospan.values.statistics import PerformanceStats

if TYPE_CHECKING:
    from nanospan._core import Snapshot


def _snapshot_html(snapshot: Snapshot) -> str:
    from nanospan.export.svg import snapshot_html  # noqa: PLC0415 - drawing is rarely needed

    return snapshot_html(snapshot)


make_process_recorder_by(PerformanceMonitor)
_core.bind(
    process_recorder=process_recorder,
    decorate=decorate,
    performance_stats=PerformanceStats,
    comparison=Comparison,
    quantile_change=QuantileChange,
    change_point=ChangePoint,
    alarm=Alarm,
    snapshot_html=_snapshot_html,
)
