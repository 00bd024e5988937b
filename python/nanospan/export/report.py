"""Write an HTML report on the operations that a monitor has recorded."""

from __future__ import annotations

import base64
import hashlib
import math
import os
from datetime import datetime, timezone
from html import escape
from importlib import resources
from typing import IO, TYPE_CHECKING, Literal, Protocol, TypeVar

from nanospan._core import __version__, escape_name
from nanospan.export.summary import Summary, summarise
from nanospan.export.svg import STYLE, distribution, timeline
from nanospan.values.files import replacing
from nanospan.values.recordings import record_of
from nanospan.values.units import count_text, duration_text, share_text
from nanospan.values.whole_writes import whole_writes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from nanospan.values.recordings import Recordable, RecordedOperation, Recording

Verdict = Literal["within", "over", "none"]

Number = TypeVar("Number", int, float)


class Compared(Protocol):
    """The parts of :class:`nanospan.regression.Comparison` that the report shows."""

    @property
    def verdict(self) -> str:
        """The result: ``regressed``, ``improved``, ``unchanged`` or ``insufficient``."""

    @property
    def shift(self) -> float:
        """The typical duration divided by the baseline's typical duration (1.0 = unchanged)."""


MARKS = {"regressed": "\N{BLACK UP-POINTING TRIANGLE} ", "improved": "\N{CHECK MARK} "}

NOTE = (
    "All figures cover the time since start or the last clear. Counts, mean and extremes are "
    "exact; quantiles are within 0.55 %. Recent samples are those in the operation's window. The "
    "verdict compares the 95th percentile with the threshold."
)

COMPARED_NOTE = (
    "Since baseline: whether the durations differ from the baseline's by more than chance and "
    "enough to matter, and the typical change."
)

ABSENT = "\N{EN DASH}"
"""The text shown in place of a missing value."""

FIGURES = (
    "samples",
    "errors",
    "cancelled",
    "cancelled rate",
    "mean",
    "p50",
    "p95",
    "p99",
    "max",
    "threshold",
    "violations",
)


def write_report(
    source: Recordable,
    target: str | os.PathLike[str] | IO[bytes],
    title: str = "nanospan report",
    comparisons: Mapping[str, Compared] | None = None,
) -> None:
    """Write a report on a recording: a single, self-contained HTML page.

    The page has a table of all operations and, for each operation, the distribution of its
    durations, its recent samples over time, its threshold and whether it is within that threshold.
    Operations are sorted by total duration, the largest first, but operations over their threshold
    come before all others. This function is thread-safe, and recording continues while it runs.

    Args:
        source: A monitor, a monitor's snapshot (which has no samples for the timelines) or a
            recording.
        target: A path or an open binary file. An existing file at the path is replaced only once
            the page is complete.
        title: The page's heading.
        comparisons: The results of ``monitor.compare(baseline)``, keyed by operation. If given, the
            page shows them, and operations that regressed come first.

    Raises:
        OSError: If the file cannot be written; an existing file is left unchanged.
        TypeError: If ``source`` is not a monitor, snapshot or recording.
    """
    page = _page(record_of(source), title, comparisons)
    if isinstance(target, (str, os.PathLike)):
        with replacing(target) as file:
            file.writelines(part.encode("utf-8") for part in page)
    else:
        with whole_writes(target) as file:
            file.writelines(part.encode("utf-8") for part in page)


def verdict_of(summary: Summary) -> Verdict:
    """Return the result of comparing an operation's 95th percentile with its threshold.

    Returns:
        ``within``, ``over``, or ``none`` if there is no threshold or no sample.
    """
    if summary.threshold is None or summary.p95 is None:
        return "none"
    return "within" if summary.p95 <= summary.threshold else "over"


def _page(
    recording: Recording, title: str, comparisons: Mapping[str, Compared] | None
) -> Iterator[str]:
    known = comparisons or {}

    def urgency(pair: tuple[RecordedOperation, Summary]) -> tuple[bool, bool, float]:
        _, summary = pair
        compared = known.get(summary.operation)
        regressed = compared is not None and compared.verdict == "regressed"
        return not regressed, verdict_of(summary) != "over", -summary.sum

    judged = [(each, summarise(each)) for each in recording.operations]
    judged.sort(key=urgency)
    summaries = [summary for _, summary in judged]
    style = _asset("report.css") + STYLE
    script = _asset("report.js")
    # Even if an operation's name injected markup, the browser would run only this script.
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    heading = escape(escape_name(title))
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="generator" content="nanospan {__version__}">\n'
        f'<title>{heading}</title>\n<link rel="icon" href="data:,">\n'
        f"<style>{style}</style>\n</head>\n<body>\n<main>\n<h1>{heading}</h1>\n"
        f'<p class="about">{_about(recording, summaries, known)}</p>\n'
    )
    if summaries:
        yield from _table(summaries, comparisons)
    for number, (recorded, summary) in enumerate(judged, start=1):
        yield _section(number, recorded, summary, known.get(summary.operation))
    note = NOTE if comparisons is None else f"{NOTE} {COMPARED_NOTE}"
    yield f'<p class="note">{note}</p>\n</main>\n'
    if summaries:
        yield f"<script>{script}</script>\n"
    yield "</body>\n</html>\n"


def _asset(name: str) -> str:
    return resources.files("nanospan.export").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
    return f"'sha256-{digest}'"


def _about(
    recording: Recording, summaries: Sequence[Summary], known: Mapping[str, Compared]
) -> str:
    taken = datetime.fromtimestamp(recording.time, timezone.utc)
    samples = sum(summary.count for summary in summaries)
    over = sum(verdict_of(summary) == "over" for summary in summaries)
    operations = len(summaries)
    parts = [
        f'<time datetime="{taken:%Y-%m-%dT%H:%M:%SZ}">{taken:%Y-%m-%d %H:%M:%S} UTC</time>',
        f"{operations:,} operation{'s' * (operations != 1)}",
        f"{samples:,} sample{'s' * (samples != 1)}",
    ]
    if any(summary.threshold is not None for summary in summaries):
        parts.append(
            f'<span class="over">{over:,} over threshold</span>' if over else "none over threshold"
        )
    if known:
        regressed = sum(compared.verdict == "regressed" for compared in known.values())
        text = f"{regressed:,} regressed" if regressed else "none regressed"
        parts.append(f'<span class="over">{text}</span>' if regressed else text)
    return " · ".join(parts)


def _table(
    summaries: Sequence[Summary], comparisons: Mapping[str, Compared] | None
) -> Iterator[str]:
    judgements = ["verdict"] if comparisons is None else ["verdict", "since baseline"]
    headings = '<th scope="col">operation</th>'
    headings += "".join(f'<th scope="col" class="word">{each}</th>' for each in judgements)
    headings += "".join(f'<th scope="col">{figure}</th>' for figure in FIGURES)
    yield (
        '<div class="table" tabindex="0" role="region" aria-label="Operations">'
        "<table>\n<caption>Operations: durations, thresholds and verdicts</caption>\n"
        f"<thead><tr>{headings}</tr></thead>\n<tbody>\n"
    )
    for number, summary in enumerate(summaries, start=1):
        cells = [
            *(
                _cell(count, count_text)
                for count in (summary.count, summary.error_count, summary.cancelled_count)
            ),
            _cell(summary.cancelled_rate, share_text),
            *(
                _cell(seconds, duration_text)
                for seconds in (
                    summary.mean,
                    summary.p50,
                    summary.p95,
                    summary.p99,
                    summary.max,
                    summary.threshold,
                )
            ),
            _cell(summary.violation_count, count_text),
        ]
        words = [_verdict(summary, none=ABSENT)]
        if comparisons is not None:
            compared = comparisons.get(summary.operation)
            words.append(ABSENT if compared is None else _compared(compared))
        verdicts = "".join(f'<td class="word">{word}</td>' for word in words)
        yield (
            f'<tr><th scope="row"><a href="#operation-{number}">{_name(summary)}</a></th>'
            f"{verdicts}{''.join(cells)}</tr>\n"
        )
    yield "</tbody>\n</table></div>\n"


def _cell(value: Number | None, text_of: Callable[[Number], str]) -> str:
    if value is None:
        return f'<td class="none" data-v="">{ABSENT}</td>'
    none = ' class="none"' if value == 0 else ""
    return f'<td{none} data-v="{value!r}">{text_of(value)}</td>'


def _name(summary: Summary) -> str:
    return escape(escape_name(summary.operation))


def _verdict(summary: Summary, none: str = "no threshold") -> str:
    verdict = verdict_of(summary)
    text = {"within": "✓ within", "over": "▲ over", "none": none}[verdict]
    return f'<span class="{verdict}">{text}</span>'


def _compared(compared: Compared) -> str:
    verdict = escape(compared.verdict)
    kind = {"regressed": "over", "improved": "within"}.get(compared.verdict, "none")
    is_known = math.isfinite(compared.shift) and compared.verdict != "insufficient"
    change = f" {compared.shift - 1:+.1%}".replace("-0.0%", "+0.0%") if is_known else ""
    change = change.replace("-", "\N{MINUS SIGN}").replace("%", "\N{NO-BREAK SPACE}%")
    return f'<span class="{kind}">{MARKS.get(compared.verdict, "")}{verdict}{change}</span>'


def _section(
    number: int, recorded: RecordedOperation, summary: Summary, compared: Compared | None
) -> str:
    facts = [("samples", f"{summary.count:,}")]
    facts += [
        (name, f"{count:,}")
        for name, count in (
            ("errors", summary.error_count),
            ("cancelled", summary.cancelled_count),
            ("violations", summary.violation_count),
        )
        if count
    ]
    facts += [
        (name, duration_text(seconds))
        for name, seconds in (
            ("min", summary.min),
            ("mean", summary.mean),
            ("p99.9", summary.p999),
            ("max", summary.max),
            ("sum", summary.sum if summary.count else None),
        )
        if seconds is not None
    ]
    listed = "".join(f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in facts)
    verdicts = _verdict(summary)
    if compared is not None:
        verdicts += f" · {_compared(compared)}"
    threshold = recorded.threshold
    pictures = (
        f"<figure><figcaption>Distribution</figcaption>"
        f"{distribution(recorded.histogram, threshold, recorded.operation)}</figure>"
        f"<figure><figcaption>Recent samples, in UTC</figcaption>"
        f"{timeline(recorded.samples(), threshold, recorded.operation)}</figure>"
    )
    return (
        f'<section id="operation-{number}"><header><h2>{_name(summary)}</h2><p>{verdicts}</p>'
        f'</header>\n<dl>{listed}</dl>\n<div class="pictures">{pictures}</div></section>\n'
    )
