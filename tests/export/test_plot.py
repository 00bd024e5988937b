"""Tests for matplotlib figures, and for the histogram chart in a notebook."""

import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest

from nanospan import PerformanceMonitor


def texts_of(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_distribution_and_timeline(recorded):
    """Bars count every sample, lines mark quantiles and threshold, and markers show outcomes."""
    figure = recorded.plot("query")
    left, right = figure.axes
    assert sum(bar.get_height() for bar in left.patches) == 4
    assert left.get_xscale() == right.get_yscale() == "log"
    assert {text.split()[0] for text in texts_of(left)} == {"p50", "p95", "p99", "threshold"}
    assert {"ok 2", "error 1", "cancelled 1"} < set(texts_of(right))
    assert sum(len(points.get_offsets()) for points in right.collections) == 4


def test_a_figure_can_be_saved_without_a_display(recorded, tmp_path):
    """Saving a figure needs neither a window system nor pyplot."""
    recorded.plot("query").savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_names_are_not_read_as_formulas(monitor, tmp_path):
    """Dollar signs and backslashes in an operation's name are drawn literally."""
    monitor.record_metric(r"$\frac{", 0.1)
    figure = monitor.plot(r"$\frac{")
    figure.savefig(tmp_path / "plot.png")
    assert figure.get_suptitle() == r"$\frac{"


def test_durations_of_zero_are_drawn(monitor, tmp_path):
    """Durations of zero are drawn as 1 ns, because a logarithmic axis cannot show zero."""
    monitor.record_metric("op", 0.0)
    monitor.plot("op").savefig(tmp_path / "plot.png")


@pytest.mark.parametrize("decades", [0, 0.5, 3, 7, 13])
def test_durations_of_any_range_are_labelled(monitor, tmp_path, decades):
    """Both duration axes have between one and seven labels, whatever the durations."""
    monitor.record_metric("op", 1e-9)
    monitor.record_metric("op", 10 ** (decades - 9))
    figure = monitor.plot("op")
    figure.savefig(tmp_path / "plot.png")
    left, right = figure.axes
    for labels in (left.get_xticklabels(), right.get_yticklabels()):
        assert 1 <= len([label for label in labels if label.get_text()]) <= 7


def test_an_operation_without_samples_is_an_error(recorded):
    """The error for an operation without samples lists some that have samples."""
    for number in range(20):
        recorded.record_metric(f"operation {number}", 0.1)
    with pytest.raises(ValueError, match=r"with samples: query, parse, .* and 12 more"):
        recorded.plot("absent")


def test_few_operations_are_all_named(recorded):
    """The error for an unknown operation lists all operations if there are only a few."""
    with pytest.raises(ValueError, match=r"'absent' has no samples; .* with samples: .*query"):
        recorded.plot("absent")


def test_matplotlib_is_imported_only_by_plot():
    """Only ``plot()`` imports matplotlib; if it is missing, the error names what to install."""
    program = """
import io, sys
sys.modules["matplotlib"] = None
from nanospan import PerformanceMonitor
from nanospan.export.report import write_report
monitor = PerformanceMonitor()
monitor.record_metric("op", 0.1)
write_report(monitor, io.BytesIO())
try:
    monitor.plot("op")
except ModuleNotFoundError as missing:
    print(missing)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "nanospan[plot]" in done.stdout


def test_a_notebook_draws_a_snapshot(recorded):
    """A snapshot's HTML is well formed and self-contained, and has a text description."""
    html = recorded.operation("query").snapshot()._repr_html_()
    root = ET.fromstring(f"<div>{html}</div>")
    (picture,) = root.iter("svg")
    assert picture.get("role") == "img"
    assert "4" in picture.get("aria-label")
    assert "http" not in html
    empty = PerformanceMonitor().operation("op").snapshot()._repr_html_()
    ET.fromstring(f"<div>{empty}</div>")
