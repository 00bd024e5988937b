"""Pictures with matplotlib, for notebooks and papers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nanospan.export.axes import LogAxis
from nanospan.export.bars import bars_of
from nanospan.export.safe_json import clean
from nanospan.values.outcomes import OUTCOMES
from nanospan.values.recordings import Recordable, RecordedOperation, record_of
from nanospan.values.units import count_text, counted, duration_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure


MOST_NAMES = 10
"""How many operations an error names."""

INSTALL = "plotting needs matplotlib: pip install 'nanospan[plot]'"

QUANTILES = ((0.5, "p50", "-"), (0.95, "p95", "--"), (0.99, "p99", ":"))

BLUE, ORANGE, AMBER, GREY = "#3a87bd", "#d55e00", "#e69f00", "#8c8c8c"
"""As in the report: of Okabe and Ito's palette, which any kind of colour vision tells apart."""

MARKERS: dict[str, dict[str, Any]] = {
    "ok": {"marker": ".", "color": BLUE, "alpha": 0.6, "linewidths": 0},
    "error": {"marker": "x", "color": ORANGE, "s": 24, "linewidths": 1.4},
    "cancelled": {"marker": "D", "edgecolors": GREY, "facecolors": "none", "s": 18},
}


def plot(source: Recordable, operation: str) -> Figure:
    """Draw the distribution of an operation and its samples over time.

    ```python
    monitor.plot("query").savefig("query.png")
    ```

    The figure is on no global list: it need not be closed, works on any thread and without a
    display, and a notebook shows it where it is the value of a cell.

    Args:
        source: A monitor, a snapshot of one (which has no samples over time) or a recording.
        operation: The operation's name.

    Returns:
        A figure of two axes: on the left how often durations occurred since start, on a
        logarithmic axis, with quantiles and threshold; on the right the samples in the window by
        the time of their end in UTC, by outcome.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
        ValueError: If the operation has no samples.
        TypeError: If `source` is none.
    """
    recording = record_of(source)
    recorded = {each.operation: each for each in recording.operations}.get(operation)
    if recorded is None or not recorded.histogram.count:
        names = [clean(each.operation) for each in recording.operations]
        known = ", ".join(names[:MOST_NAMES]) or "none"
        if len(names) > MOST_NAMES:
            known += f" and {len(names) - MOST_NAMES:,} more"
        raise ValueError(f"operation {operation!r} has no samples; recorded are: {known}")
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(INSTALL, name=missing.name) from missing
    figure = Figure(figsize=(11, 4), layout="constrained")
    # A name is no formula, whatever dollar signs it holds.
    figure.suptitle(clean(operation), fontweight="bold").set_parse_math(False)
    left, right = figure.subplots(1, 2)
    _distribution(left, recorded)
    _time_line(right, recorded)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    return figure


def _distribution(axes: Axes, recorded: RecordedOperation) -> None:
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    histogram, threshold = recorded.histogram, recorded.threshold
    bars = bars_of(histogram)
    axes.bar(
        [bar.low for bar in bars],
        [bar.count for bar in bars],
        [bar.high - bar.low for bar in bars],
        align="edge",
        color=[BLUE if threshold is None or bar.low < threshold else AMBER for bar in bars],
        edgecolor="white",
        linewidth=0.4,
    )
    axes.set_xscale("log")
    ends = [bars[0].low, bars[-1].high, *([threshold] if threshold else [])]
    axis = LogAxis.around(min(ends), max(ends))
    axes.set_xlim(axis.low, axis.high)
    for q, label, style in QUANTILES:
        value = histogram.quantile(q)
        if value is not None:
            axes.axvline(
                max(value, bars[0].low),
                color="#333",
                linestyle=style,
                linewidth=1.2,
                label=f"{label} {duration_text(value)}",
            )
    _threshold(axes.axvline, threshold)
    _durations(axes.xaxis)
    axes.set_title(f"Distribution of {counted(histogram.count)}", fontsize="medium")
    axes.set_xlabel("duration")
    axes.set_ylabel("samples")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize="small")


def _time_line(axes: Axes, recorded: RecordedOperation) -> None:
    samples = recorded.samples()
    columns = None if samples is None else samples.columns
    if samples is None or columns is None or not len(samples):
        axes.text(0.5, 0.5, "no samples with their times", ha="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    _scatter(axes, columns)
    _threshold(axes.axhline, recorded.threshold)
    axes.set_yscale("log")
    _durations(axes.yaxis)
    axes.grid(axis="y", which="major", alpha=0.25)
    axes.set_title(f"The last {counted(len(samples))}", fontsize="medium", pad=22)
    axes.set_xlabel("end, UTC")
    axes.legend(frameon=False, fontsize="small", ncols=4, loc="lower left", bbox_to_anchor=(0, 1))


def _scatter(axes: Axes, columns: tuple[bytes, bytes, bytes]) -> None:
    import numpy as np  # noqa: PLC0415 - matplotlib brings it
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415

    ends = np.frombuffer(columns[0], np.uint64).astype("datetime64[ns]")
    # What took no time at all is drawn as 1 ns, the shortest there is.
    durations = np.maximum(np.frombuffer(columns[1], np.float64), 1e-9)
    outcomes = np.frombuffer(columns[2], np.uint8)
    for number, outcome in enumerate(OUTCOMES):
        chosen = outcomes == number
        if chosen.any():
            label = f"{outcome} {count_text(int(chosen.sum()))}"
            axes.scatter(ends[chosen], durations[chosen], label=label, **MARKERS[outcome])
    first, last = ends.min(), ends.max()
    if last - first < np.timedelta64(1, "ms"):  # too short for the calendar's ticks
        air = np.timedelta64(500, "ms")
        axes.set_xlim(first - air, last + air)
    locator = AutoDateLocator(maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _threshold(line: Any, threshold: float | None) -> None:
    if threshold:
        label = f"threshold {duration_text(threshold)}"
        line(threshold, color=ORANGE, linestyle=(0, (5, 3)), linewidth=1.4, label=label)


def _durations(axis: Axis) -> None:
    """Label a logarithmic axis of seconds, whose limits are set, with durations."""
    from matplotlib.ticker import NullLocator  # noqa: PLC0415

    axis.set_minor_locator(NullLocator())
    low, high = axis.get_view_interval()
    ticks = LogAxis(low, high).ticks(7)
    axis.set_ticks([at for at, _ in ticks], [text for _, text in ticks])
