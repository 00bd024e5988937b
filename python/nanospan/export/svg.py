"""Draw charts as inline SVG: the distribution of durations, and samples over time.

Text and axes use the page's text colour, so charts suit both light and dark pages. The other
colours are from Okabe and Ito's palette ("Color Universal Design", 2008), which is also
suitable for colour-blind readers. The marks of different outcomes also differ in shape.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from nanospan._core import OUTCOMES, escape_name
from nanospan.export.axes import LogAxis, TimeAxis
from nanospan.export.bars import bars_of
from nanospan.values.units import count_text, counted, duration_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nanospan._core import Samples, Snapshot
    from nanospan.export.bars import Bar

WIDTH, HEIGHT = 520, 190
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 34, 26
"""Margins around the plot area, in pixels, with room for the labels of axes and lines."""

INSET = 5
"""Distance between the first or last sample and the nearer end of the time axis, in pixels."""

CHARACTER = 6.5
"""Estimated width of one character in a label, in pixels; common fonts are no wider."""

QUANTILES = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))

MARKS = {
    # A zero-length stroke with round ends is drawn as a dot.
    "ok": "h0",
    "error": "m-3-3l6 6m0-6l-6 6",
    "cancelled": "m-3.5 0l3.5-3.5l3.5 3.5l-3.5 3.5z",
}
"""SVG paths of the shapes that mark samples, relative to the centre, keyed by outcome."""

STYLE = (
    ".ns{font:11px system-ui,sans-serif;font-variant-numeric:tabular-nums;overflow:visible}"
    ".ns text{fill:currentColor}"
    ".ns .grid{stroke:currentColor;stroke-opacity:.14}"
    ".ns .axis{stroke:currentColor;stroke-opacity:.45}"
    ".ns .tick{fill-opacity:.72}"
    ".ns .mark{stroke:currentColor;fill:none;stroke-opacity:.75}"
    ".ns .limit{stroke:#d55e00;fill:none;stroke-dasharray:5 3;stroke-width:1.5}"
    ".ns .bar{fill:#3a87bd}.ns .over{fill:#e69f00}"
    ".ns .ok{stroke:#3a87bd;stroke-width:3.2;stroke-linecap:round;stroke-opacity:.7}"
    ".ns .error{stroke:#d55e00;stroke-width:1.6;fill:none}"
    ".ns .cancelled{stroke:#8c8c8c;stroke-width:1.4;fill:none}"
)
"""The CSS for charts; each page with charts must include it once."""


def distribution(histogram: Snapshot, threshold: float | None = None, name: str = "") -> str:
    """Draw the distribution of durations on a logarithmic axis.

    Args:
        histogram: The histogram of durations.
        threshold: The operation's threshold in seconds; bars above it have a different colour.
        name: The operation's name, for screen readers.

    Returns:
        An ``<svg>`` element that needs :data:`STYLE`.
    """
    bars = bars_of(histogram)
    if not bars:
        return _empty("no samples", name)
    ends = [bars[0].low, bars[-1].high, *([threshold] if threshold else [])]
    axis = LogAxis.around(min(ends), max(ends))
    highest = max(bar.count for bar in bars)
    plot = HEIGHT - TOP - BOTTOM

    def x(seconds: float) -> float:
        return LEFT + axis.share(seconds) * (WIDTH - LEFT - RIGHT)

    quantiles = _quantiles(histogram)
    marks = [
        (x(max(at, bars[0].low)), f"{label} {duration_text(at)}", "mark") for at, label in quantiles
    ]
    if threshold is not None:
        marks.append((x(threshold), f"threshold {duration_text(threshold)}", "limit"))
    parts = [
        _horizontal_grid(_count_ticks(highest), lambda at: HEIGHT - BOTTOM - plot * at / highest),
        *_bars(bars, x, plot / highest, threshold),
        _bottom_axis([(x(at), text) for at, text in axis.ticks(7)]),
        *_top_marks(marks),
    ]
    spoken = f"{_of(name)}: {counted(histogram.count)}, " + ", ".join(
        f"{label} {duration_text(at)}" for at, label in quantiles
    )
    return _svg("Distribution", spoken, parts)


def snapshot_html(histogram: Snapshot) -> str:
    """Return a histogram's chart and summary statistics as HTML, for notebooks."""
    dot = " \N{MIDDLE DOT} "
    facts = [counted(histogram.count)]
    if histogram.count and histogram.min is not None and histogram.max is not None:
        facts += [
            f"mean {duration_text(histogram.sum / histogram.count)}",
            f"min {duration_text(histogram.min)}",
            f"max {duration_text(histogram.max)}",
        ]
    return (
        f'<div style="max-width:{WIDTH + 80}px"><style>{STYLE}</style>'
        f'<div style="opacity:.75;margin:4px 0 8px">{dot.join(facts)}</div>'
        f"{distribution(histogram)}</div>"
    )


def _bars(
    bars: Sequence[Bar],
    x: Callable[[float], float],
    pixels_per_sample: float,
    threshold: float | None,
) -> Iterator[str]:
    """Yield an SVG path for the bars within the threshold, and another for the bars over it."""
    paths: dict[str, list[str]] = {"bar": [], "over": []}
    for bar in bars:
        left, right = x(bar.low), x(bar.high)
        gap = min(0.6, (right - left) / 4)
        # Even a bar for a single sample must be visible.
        tall = max(pixels_per_sample * bar.count, 1.2)
        over = threshold is not None and bar.low >= threshold
        path = f"M{_n(left + gap / 2)} {HEIGHT - BOTTOM}v{_n(-tall)}h{_n(right - left - gap)}"
        paths["over" if over else "bar"].append(f"{path}v{_n(tall)}z")
    for kind, path_of in paths.items():
        if path_of:
            yield f'<path class="{kind}" d="{"".join(path_of)}"/>'


def timeline(samples: Samples | None, threshold: float | None = None, name: str = "") -> str:
    """Draw samples over time: a mark for each sample, positioned by its end time and duration.

    A mark's shape shows the sample's outcome. Samples with the same outcome at the same pixel share
    a mark.

    Args:
        samples: The samples to draw. If there are no samples, or their times are unknown, the chart
            contains only a note.
        threshold: The operation's threshold in seconds, drawn as a line.
        name: The operation's name, for screen readers.

    Returns:
        An ``<svg>`` element that needs :data:`STYLE`.
    """
    extent = None if samples is None else samples.extent()
    outcomes = None if samples is None else samples.outcomes
    if samples is None or extent is None or outcomes is None:
        return _empty("this source has no samples with timestamps", name)
    (first, last), durations = extent
    shown = [seconds for seconds in (*durations, threshold) if seconds]
    vertical = LogAxis.around(min(shown, default=1e-9), max(shown, default=1e-9))
    horizontal = TimeAxis(first / 1e9, last / 1e9)
    wide, tall = WIDTH - LEFT - RIGHT - 2 * INSET, HEIGHT - TOP - BOTTOM

    def x(time: float) -> float:
        return LEFT + INSET + horizontal.share(time) * wide

    def y(seconds: float) -> float:
        return HEIGHT - BOTTOM - vertical.share(seconds) * tall

    edges = (vertical.low, vertical.high)
    pixels = samples.pixels((wide, tall), (first, last), edges)
    parts = [_horizontal_grid(vertical.ticks(5), y)]
    for outcome, of_outcome in zip(OUTCOMES, pixels, strict=True):
        if of_outcome:
            path = "".join(
                f"M{LEFT + INSET + column} {HEIGHT - BOTTOM - height}{MARKS[outcome]}"
                for column, height in of_outcome
            )
            parts.append(f'<path class="{outcome}" d="{path}"/>')
    parts.append(_bottom_axis([(x(at), text) for at, text in _time_ticks(horizontal, wide)]))
    if threshold is not None:
        height = _n(y(threshold))
        parts.append(f'<path class="limit" d="M{LEFT} {height}H{WIDTH - RIGHT}"/>')
    counts = [outcomes.count(number) for number in range(len(OUTCOMES))]
    parts.append(_legend(counts, threshold))
    spoken = f"{_of(name)}: " + ", ".join(
        f"{count_text(count)} {outcome}" for outcome, count in zip(OUTCOMES, counts, strict=True)
    )
    return _svg("Samples over time", spoken, parts)


def _quantiles(histogram: Snapshot) -> list[tuple[float, str]]:
    found = [(histogram.quantile(q), label) for q, label in QUANTILES]
    return [(value, label) for value, label in found if value is not None]


def _count_ticks(highest: int) -> list[tuple[float, str]]:
    """Return a few ticks at round counts up to ``highest``, as pairs of count and label."""
    step = 10 ** math.floor(math.log10(highest))
    step = next((each for each in (step, step // 2, step // 5) if each and highest / each >= 2), 1)  # noqa: PLR2004
    step *= max(1, math.ceil(highest / step / 4))
    return [(float(count), count_text(count)) for count in range(step, highest + 1, step)]


def _time_ticks(axis: TimeAxis, wide: float) -> list[tuple[float, str]]:
    """Return up to five ticks, few enough for their labels to fit into ``wide`` pixels."""
    for most in (5, 4, 3, 2):
        ticks = axis.ticks(most)
        longest = max((len(text) for _, text in ticks), default=0)
        if len(ticks) * (longest * CHARACTER + 10) <= wide:
            break
    return ticks


def _horizontal_grid(ticks: Sequence[tuple[float, str]], y: Callable[[float], float]) -> str:
    lines = "".join(f"M{LEFT} {_n(y(at))}H{WIDTH - RIGHT}" for at, _ in ticks)
    texts = "".join(
        f'<text class="tick" x="{LEFT - 6}" y="{_n(y(at) + 3.5)}" text-anchor="end">{label}</text>'
        for at, label in ticks
    )
    return f'<path class="grid" d="{lines}"/>{texts}'


def _bottom_axis(ticks: Sequence[tuple[float, str]]) -> str:
    base = HEIGHT - BOTTOM
    small = "".join(f"M{_n(at)} {base}v4" for at, _ in ticks)
    texts = "".join(
        f'<text class="tick" x="{_n(at)}" y="{base + 17}" text-anchor="middle">{label}</text>'
        for at, label in ticks
    )
    return f'<path class="axis" d="M{LEFT} {base}H{WIDTH - RIGHT}{small}"/>{texts}'


def _top_marks(marks: list[tuple[float, str, str]]) -> list[str]:
    """Return SVG for labelled vertical lines; overlapping labels are moved apart."""
    marks.sort()
    widths = [len(text) * CHARACTER + 8 for _, text, _ in marks]
    middles = [at for at, _, _ in marks]
    # Move labels right until none overlap, then move labels beyond the right edge back left.
    edge = 0.0
    for i, width in enumerate(widths):
        middles[i] = max(middles[i], edge + width / 2)
        edge = middles[i] + width / 2
    edge = float(WIDTH)
    for i in reversed(range(len(widths))):
        middles[i] = min(middles[i], edge - widths[i] / 2)
        edge = middles[i] - widths[i] / 2
    return [
        f'<path class="{kind}" d="M{_n(middle)} 15L{_n(at)} {TOP - 6}V{HEIGHT - BOTTOM}"/>'
        f'<text x="{_n(middle)}" y="11" text-anchor="middle">{text}</text>'
        for (at, text, kind), middle in zip(marks, middles, strict=True)
    ]


def _legend(counts: list[int], threshold: float | None) -> str:
    """Return SVG for a legend that explains the threshold and the outcomes, with their counts."""
    parts = []
    at = float(LEFT)
    for outcome, count in zip(OUTCOMES, counts, strict=True):
        if not count:
            continue
        text = f"{outcome} {count_text(count)}"
        parts.append(f'<path class="{outcome}" d="M{_n(at + 4)} 8{MARKS[outcome]}"/>')
        parts.append(f'<text x="{_n(at + 13)}" y="11">{text}</text>')
        at += 13 + len(text) * CHARACTER + 16
    if threshold is not None:
        parts.append(f'<path class="limit" d="M{_n(at)} 8h16"/>')
        parts.append(f'<text x="{_n(at + 22)}" y="11">threshold {duration_text(threshold)}</text>')
    return "".join(parts)


def _of(name: str) -> str:
    return escape_name(name) or "durations"


def _empty(note: str, name: str) -> str:
    text = f'<text class="tick" x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">{note}</text>'
    return _svg("Empty picture", f"{_of(name)}: {note}", [text])


def _svg(title: str, spoken: str, parts: list[str]) -> str:
    label = escape(f"{title} of {spoken}")
    return (
        f'<svg class="ns" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )


def _n(number: float) -> str:
    """Format a coordinate to a tenth of a pixel; readers cannot see finer differences."""
    return f"{number:.1f}".removesuffix(".0")
