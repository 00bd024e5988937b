"""Inject classes and functions from upper layers into lower layers when nanospan is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nanospan import _core
from nanospan.monitor import PerformanceMonitor
from nanospan.recorder import make_process_recorder_by, process_recorder
from nanospan.tracking import decorate, wrap
from nanospan.values.statistics import PerformanceStats

if TYPE_CHECKING:
    from nanospan._core import Snapshot
    from nanospan.values.comparisons import Alarm, ChangePoint, Comparison, QuantileChange


# These import their modules only when called, which keeps `import nanospan` fast.


def _comparison(*fields: Any) -> Comparison:
    from nanospan.values.comparisons import Comparison  # noqa: PLC0415 - see above

    return Comparison(*fields)


def _quantile_change(*fields: Any) -> QuantileChange:
    from nanospan.values.comparisons import QuantileChange  # noqa: PLC0415 - see above

    return QuantileChange(*fields)


def _change_point(*fields: Any) -> ChangePoint:
    from nanospan.values.comparisons import ChangePoint  # noqa: PLC0415 - see above

    return ChangePoint(*fields)


def _alarm(*fields: Any) -> Alarm:
    from nanospan.values.comparisons import Alarm  # noqa: PLC0415 - see above

    return Alarm(*fields)


def _snapshot_html(snapshot: Snapshot) -> str:
    from nanospan.export.svg import snapshot_html  # noqa: PLC0415 - see above

    return snapshot_html(snapshot)


make_process_recorder_by(PerformanceMonitor)
_core.bind(
    process_recorder=process_recorder,
    decorate=decorate,
    wrap=wrap,
    performance_stats=PerformanceStats,
    comparison=_comparison,
    quantile_change=_quantile_change,
    change_point=_change_point,
    alarm=_alarm,
    snapshot_html=_snapshot_html,
)
