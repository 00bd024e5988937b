"""Draw an operation's durations with matplotlib, for notebooks and papers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nanospan._core import OUTCOMES, escape_name
from nanospan.export.axes import LogAxis
from nanospan.export.bars import bars_of
from nanospan.values.extras import needs
from nanospan.values.messages import shorten, shown
from nanospan.values.recordings import Recordable, RecordedOperation, record_of
from nanospan.values.units import count_text, counted, duration_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from nanospan._core import Samples

MOST_NAMES = 10
"""Maximum number of operations listed in an error message."""

INSTALL = f"plotting {needs('matplotlib', 'plot')}"

QUANTILES = ((0.5, "p50", "-"), (0.95, "p95", "--"), (0.99, "p99", ":"))

BLUE, ORANGE, AMBER, GREY = "#3a87bd", "#d55e00", "#e69f00", "#8c8c8c"
"""The HTML report's colours, from Okabe and Ito's palette for colour-blind readers."""

MARKERS: dict[str, dict[str, Any]] = {
    "ok": {"marker": ".", "color": BLUE, "alpha": 0.6, "linewidths": 0},
    "error": {"marker": "x", "color": ORANGE, "s": 24, "linewidths": 1.4},
    "cancelled": {"marker": "D", "edgecolors": GREY, "facecolors": "none", "s": 18},
}


def plot(source: Recordable, operation: str) -> Figure:
    """Draw the distribution of an operation's durations, and its samples over time.

    ```python
    monitor.plot("query").savefig("query.png")
    ```

    The figure is not registered with pyplot, so it need not be closed, and it works on any thread
    and without a display. A notebook shows the figure if it is the last expression in a cell.

    Args:
        source: A monitor, a monitor's snapshot (which has no individual samples) or a recording.
        operation: The operation's name.

    Returns:
        A figure with two plots. The left plot shows the distribution of all durations since the
        operation was first recorded or last cleared, on a logarithmic axis, with quantiles and the
        threshold. The right plot shows each sample in the operation's window at its end time (UTC),
        with a marker for its outcome.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
        ValueError: If the operation has no samples.
        TypeError: If ``source`` is not a monitor, snapshot or recording.
    """
    recording = record_of(source)
    recorded = {each.operation: each for each in recording.operations}.get(operation)
    if recorded is None or not recorded.histogram.count:
        names = [each.operation for each in recording.operations]
        known = ", ".join(shorten(escape_name(name)) for name in names[:MOST_NAMES]) or "none"
        if len(names) > MOST_NAMES:
            known += f" and {len(names) - MOST_NAMES:,} more"
        raise ValueError(
            f"operation {shown(operation)} has no samples; operations with samples: {known}"
        )
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(INSTALL, name=missing.name) from missing
    figure = Figure(figsize=(11, 4), layout="constrained")
    # Otherwise matplotlib would read dollar signs in a name as the start of a formula.
    figure.suptitle(escape_name(operation), fontweight="bold").set_parse_math(False)
    left, right = figure.subplots(1, 2)
    _distribution(left, recorded)
    _timeline(right, recorded)
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


def _timeline(axes: Axes, recorded: RecordedOperation) -> None:
    samples = recorded.samples()
    if samples is None or not samples.timed or not len(samples):
        axes.text(0.5, 0.5, "no samples with timestamps", ha="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    _scatter(axes, samples)
    _threshold(axes.axhline, recorded.threshold)
    axes.set_yscale("log")
    _durations(axes.yaxis)
    axes.grid(axis="y", which="major", alpha=0.25)
    axes.set_title(f"The last {counted(len(samples))}", fontsize="medium", pad=22)
    axes.set_xlabel("end, UTC")
    axes.legend(frameon=False, fontsize="small", ncols=4, loc="lower left", bbox_to_anchor=(0, 1))


def _scatter(axes: Axes, samples: Samples) -> None:
    import numpy as np  # noqa: PLC0415 - matplotlib depends on it
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415

    ends = np.frombuffer(samples.ends or b"", np.uint64).astype("datetime64[ns]")
    # A logarithmic axis cannot show 0, so durations of 0 are drawn as 1 ns.
    durations = np.maximum(np.frombuffer(samples.durations, np.float64), 1e-9)
    outcomes = np.frombuffer(samples.outcomes or b"", np.uint8)
    for number, outcome in enumerate(OUTCOMES):
        chosen = outcomes == number
        if chosen.any():
            label = f"{outcome} {count_text(int(chosen.sum()))}"
            axes.scatter(ends[chosen], durations[chosen], label=label, **MARKERS[outcome])
    first, last = ends.min(), ends.max()
    if last - first < np.timedelta64(1, "ms"):  # too short for AutoDateLocator
        margin = np.timedelta64(500, "ms")
        axes.set_xlim(first - margin, last + margin)
    locator = AutoDateLocator(maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _threshold(draw_line: Callable[..., Line2D], threshold: float | None) -> None:
    if threshold:
        label = f"threshold {duration_text(threshold)}"
        draw_line(threshold, color=ORANGE, linestyle=(0, (5, 3)), linewidth=1.4, label=label)


def _durations(axis: Axis) -> None:
    """Label a logarithmic axis with durations such as ``10 ms``; its limits must already be set."""
    from matplotlib.ticker import NullLocator  # noqa: PLC0415

    axis.set_minor_locator(NullLocator())
    low, high = axis.get_view_interval()
    ticks = LogAxis(low, high).ticks(7)
    axis.set_ticks([at for at, _ in ticks], [text for _, text in ticks])
