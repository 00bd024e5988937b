"""Tests for the report's content and the escaping of markup."""

import io
import re
from html.parser import HTMLParser

import pytest

from nanospan import PerformanceMonitor
from nanospan.export.report import ABSENT, write_report
from nanospan.values.recordings import record_of

HOSTILE = "</script><b onclick=\"x\">&amp; 'é'"


class Texts(HTMLParser):
    """An HTML parser that collects a page's elements and text."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


def page_of(source, **options):
    file = io.BytesIO()
    write_report(source, file, **options)
    return file.getvalue().decode("utf-8")


def parsed(page):
    parser = Texts()
    parser.feed(page)
    return parser


def rows_of(page):
    """Return the text of the cells in each operation's row of the page."""
    return [
        [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)]
        for row in re.findall(r"<tr>(<th scope=\"row\">.*?)</tr>", page)
    ]


def test_rows_hold_the_figures_of_the_monitor(recorded):
    """Rows show the numbers of samples, errors, cancellations and violations, and the verdict."""
    rows = {row[0]: row[1:] for row in rows_of(page_of(recorded))}
    assert rows["query"][:5] == ["▲ over", "4", "1", "1", "25 %"]
    assert rows["query"][-2:] == ["100 ms", "1"]
    assert rows["parse"][:5] == [ABSENT, "1", "0", "0", "0 %"]


def test_names_are_escaped(monitor):
    """Markup in a name is shown as text and adds no elements."""
    monitor.record_metric("plain", 0.1)
    plain = [tag for tag, _ in parsed(page_of(monitor)).tags]
    other = PerformanceMonitor()
    other.record_metric(HOSTILE, 0.1)
    found = parsed(page_of(other, title=HOSTILE))
    assert [tag for tag, _ in found.tags] == plain
    assert found.texts.count(HOSTILE) >= 3


def test_the_page_refers_to_nothing_outside(recorded):
    """The page refers to no external URL, and its content security policy forbids loading any."""
    page = page_of(recorded)
    found = parsed(page)
    targets = [a[k] for _, a in found.tags for k in ("src", "href", "action", "data") if k in a]
    assert all(target.startswith(("#", "data:,")) for target in targets), targets
    assert "url(" not in page
    assert "@import" not in page
    policy = next(a["content"] for _, a in found.tags if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; ")


def test_verdicts_against_a_baseline(monitor):
    """The column of baseline verdicts appears only if comparisons are passed."""
    before = PerformanceMonitor()
    for number in range(40):
        spread = number * 17 % 40 / 1e6  # no trend, which would make verdicts cautious
        for name, factor in (("same", 1), ("slower", 2), ("faster", 0.5)):
            before.record_metric(name, 0.001 + spread)
            monitor.record_metric(name, (0.001 + spread) * factor)
    monitor.record_metric("new", 1.0)
    page = page_of(monitor, comparisons=monitor.compare(before.baseline()))
    said = {row[0]: row[2] for row in rows_of(page)}
    assert said["slower"].startswith("▲ regressed +")
    assert said["faster"].startswith("✓ improved \N{MINUS SIGN}")
    assert said["same"].startswith("unchanged")
    assert said["new"] == ABSENT
    assert rows_of(page)[0][0] == "slower"
    assert "since baseline" not in page_of(monitor)


def test_a_snapshot_has_no_timelines(recorded):
    """For a source without individual samples, a note replaces the timeline."""
    page = page_of(recorded.snapshot())
    assert parsed(page).texts.count("this source has no samples with timestamps") == 2


def test_an_empty_monitor_gives_a_page(monitor):
    """The report on an empty monitor says that there are no operations and has no table."""
    page = page_of(monitor)
    assert "0 operations" in page
    assert "<table" not in page


def test_the_file_is_replaced_at_the_end(recorded, tmp_path):
    """A report that fails half-way leaves the previous file unchanged."""
    path = tmp_path / "report.html"
    recorded.report(path, title="first")
    first = path.read_bytes()
    recording = record_of(recorded)

    class Broken:
        verdict = "regressed"

        @property
        def shift(self):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        write_report(recording, path, comparisons={"query": Broken()})
    assert path.read_bytes() == first
    assert [each.name for each in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("wrong", [None, "nanospan", 3])
def test_other_sources_are_rejected(wrong):
    """The error for an unsupported source lists the types that can be exported."""
    with pytest.raises(
        TypeError, match="must be a PerformanceMonitor, MonitorSnapshot or Recording, got"
    ):
        page_of(wrong)
