"""Tests that open the HTML report in a real browser."""

import pytest
from browser import browsing
from servers import server_path

from nanospan import PerformanceMonitor

HOSTILE = "</script><img src=http://192.0.2.1/x onerror=alert(1)>\u2028\N{BELL}"
NAMES = [*(f"operation {number}" for number in range(12)), HOSTILE]


@pytest.fixture(scope="module")
def browser_and_url(tmp_path_factory):
    """Yield a browser and the URL of a report, in which one operation has a malicious name."""
    folder = tmp_path_factory.mktemp("browser")
    before, monitor = PerformanceMonitor(), PerformanceMonitor()
    for number in range(50):
        for place, name in enumerate(NAMES):
            spread = number * 17 % 50 / 1e5  # no trend, because a trend would delay the verdict
            before.record_metric(name, (place + 1) / 1000 + spread)
            slower = 2 if place == 3 else 1
            seconds = slower * (place + 1) / 1000 + spread
            monitor.record_metric(name, seconds, success=number % 10 > 0)
    monitor.set_threshold(NAMES[5], 0.001)
    monitor.report(folder / "report.html", "A <b>report</b>", before.baseline())
    with browsing(server_path("chromium"), folder) as browser:
        yield browser, (folder / "report.html").as_uri()


@pytest.fixture
def page(browser_and_url):
    """Open the report at the default screen size; return the browser."""
    browser, url = browser_and_url
    browser.command("Emulation.clearDeviceMetricsOverride")
    browser.open(url)
    return browser


def test_every_operation_is_shown(page):
    """The report has a table row and a section with two visible charts for each operation."""
    shown = page.value("[...document.querySelectorAll('tbody th')].map(e => e.textContent)")
    sections = page.value("[...document.querySelectorAll('h2')].map(e => e.textContent)")
    assert shown == sections
    # HTML cannot contain control characters; all other characters are shown literally.
    assert set(NAMES[:-1]) < set(shown)
    assert any(name.startswith("</script><img src=http://192.0.2.1/x onerror=") for name in shown)
    pictures = "[...document.querySelectorAll('section svg')].map(e => e.getBoundingClientRect())"
    sizes = page.value(f"{pictures}.map(r => [r.width, r.height])")
    assert len(sizes) == 2 * len(NAMES)
    assert all(width > 100 and height > 100 for width, height in sizes)


def test_operations_that_need_attention_come_first(page):
    """The table lists regressed operations first, then operations over their threshold."""
    rows = page.value("[...document.querySelectorAll('tbody tr')].map(e => e.innerText)")
    assert NAMES[3] in rows[0]
    assert "regressed" in rows[0]
    assert NAMES[5] in rows[1]
    assert "over" in rows[1]
    assert "1 regressed" in page.value("document.querySelector('.about').innerText")
    assert page.value("document.querySelector('h1').textContent") == "A <b>report</b>"


def test_the_table_can_be_sorted_and_filtered(page):
    """Clicking a column heading sorts the table, and the search field filters by name."""
    by_mean = "[...document.querySelectorAll('thead button')].find(b => b.textContent == 'mean')"
    page.value(f"{by_mean}.click()")
    means = "[...document.querySelectorAll('tbody tr')].map(r => +r.cells[6].dataset.v)"
    found = page.value(means)
    assert found == sorted(found, reverse=True)
    narrow = "const f = document.querySelector('.filter'); f.value = 'operation 11'; "
    page.value(f"{narrow} f.dispatchEvent(new Event('input')); f.value")
    visible = "[...document.querySelectorAll('section')].filter(e => !e.hidden).length"
    assert page.value(visible) == 1


def test_the_page_fits_a_narrow_screen(page):
    """On a narrow screen, the page does not scroll sideways."""
    page.command(
        "Emulation.setDeviceMetricsOverride",
        width=390,
        height=800,
        deviceScaleFactor=2,
        mobile=True,
    )
    assert page.value("document.documentElement.scrollWidth <= window.innerWidth")


def test_nothing_else_is_loaded_and_the_console_is_empty(page):
    """The browser loads only the report's file and logs no console messages."""
    assert len(page.requests) == 1, page.requests
    assert page.requests[0].startswith("file:")
    assert page.complaints == []
