"""The command ``nanospan compare``, which compares durations with a baseline."""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nanospan.cli import options, text
from nanospan.cli.status import run_with_status
from nanospan.cli.streams import report_error
from nanospan.export.sample_files import read_samples
from nanospan.regression import compare_many
from nanospan.regression.effects import FDR, tail_min_effect_beside
from nanospan.values.messages import shorten
from nanospan.values.units import (
    NO_FIGURE,
    change_text,
    counted,
    figure_text,
    interval_text,
    printable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanospan.export.sample_files import SampleFile
    from nanospan.regression import Comparison

DESCRIPTION = """\
Compare the durations of each operation in CURRENT with those in BASELINE, and print a verdict:
regressed or improved if the difference is significant and large enough to matter, unchanged if it
is not, and insufficient if there are too few independent values to tell.

Each file is a baseline saved by nanospan, pytest-benchmark's JSON (from --benchmark-json), a JSON
list of durations, a JSON object of such lists keyed by operation, or a CSV file of one column.
Durations must be in the order in which they were measured. A file may be a pipe, such as
/dev/stdin or <(COMMAND).
"""

EPILOG = """\
exit status: 0 if nothing regressed, 1 if at least one operation regressed, 2 for bad input
"""

ORDER = ("regressed", "insufficient", "improved", "unchanged")
"""The order of verdicts in a report: those that need attention come first."""

HEADINGS = ("operation", "verdict", "baseline", "current", "shift", "interval", "p95", "p99")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``compare`` to the command line."""
    parser = commands.add_parser(
        "compare",
        help="report whether operations have become slower since a baseline",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("baseline", metavar="BASELINE", help="the file with the baseline durations")
    parser.add_argument("current", metavar="CURRENT", help="the file with the durations to check")
    parser.add_argument(
        "--fdr",
        type=options.share,
        default=FDR,
        metavar="SHARE",
        help="expected share of false positives among the reported changes (default: %(default)s)",
    )
    options.add_min_effect(parser)
    options.add_format(parser)
    options.add_max_bytes(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare the files and return the exit status."""
    read = functools.partial(_read, arguments.max_bytes)
    try:
        baseline, current = map(read, (arguments.baseline, arguments.current))
    except (OSError, ValueError) as exc:
        return report_error(exc)
    common = [name for name in baseline.operations if name in current.operations]
    if not common:
        return report_error(
            f"no operation is in both files: {shorten(baseline.path)} has {_some(baseline)}; "
            f"{shorten(current.path)} has {_some(current)}"
        )
    comparisons = run_with_status(
        f"comparing {counted(len(common), 'operation')}",
        functools.partial(
            compare_many,
            {name: (baseline.operations[name], current.operations[name]) for name in common},
            fdr=arguments.fdr,
            min_effect=arguments.min_effect,
            tail_min_effect=tail_min_effect_beside(arguments.min_effect),
        ),
    )
    ordered = sorted(comparisons.items(), key=lambda item: ORDER.index(item[1].verdict))
    report = _Report(baseline, current, dict(ordered), arguments.fdr, arguments.min_effect)
    if arguments.format == "json":
        text.print_json(report.to_dict(), is_result=False)
    else:
        lines = report.markdown() if arguments.format == "markdown" else report.plain()
        text.print_lines(lines, is_result=False)
    return 1 if any(c.verdict == "regressed" for c in comparisons.values()) else 0


def _read(max_bytes: int | None, file: str) -> SampleFile:
    reading = functools.partial(read_samples, file, max_bytes=max_bytes, pipes=True)
    return run_with_status(f"reading {shorten(printable(file))}", reading)


def _some(file: SampleFile) -> str:
    names = [shorten(printable(operation)) for operation in list(file.operations)[:5]]
    more = f" and {len(file.operations) - 5} more" if len(file.operations) > 5 else ""  # noqa: PLR2004
    return (", ".join(names) or "none") + more


@dataclass(frozen=True)
class _Report:
    baseline: SampleFile
    current: SampleFile
    comparisons: dict[str, Comparison]
    fdr: float
    min_effect: float

    def plain(self) -> list[str]:
        rows = [
            [printable(name), *self._figures(name, comparison)]
            for name, comparison in self.comparisons.items()
        ]
        lines = text.plain_table(HEADINGS, rows, words=2)
        if text.use_colour(sys.stdout):
            verdicts = [comparison.verdict for comparison in self.comparisons.values()]
            painted = [text.paint(v, line) for v, line in zip(verdicts, lines[1:], strict=True)]
            lines = [lines[0], *painted]
        return [*lines, "", *self._closing(printable)]

    def markdown(self) -> list[str]:
        rows = []
        for name, comparison in self.comparisons.items():
            verdict, *figures = self._figures(name, comparison)
            bold = f"**{verdict}**" if verdict in ("regressed", "improved") else verdict
            rows.append([text.markdown_name(name), bold, *figures])
        closing = [f"{line}  " for line in self._closing(text.markdown_name)]
        return [*text.markdown_table(HEADINGS, rows, words=2), "", *closing]

    def _figures(self, name: str, comparison: Comparison) -> list[str]:
        known = "numbers" not in (self.baseline.kind, self.current.kind)
        figure = text.fixed_duration if known else figure_text
        tails = [comparison.quantiles.get(q) for q in (0.95, 0.99)]
        return [
            comparison.verdict,
            *(figure(median) for median in self._medians(name)),
            change_text(comparison.shift),
            interval_text(comparison.shift_ci),
            *(NO_FIGURE if tail is None else change_text(tail.change) for tail in tails),
        ]

    def _medians(self, name: str) -> list[float]:
        return [statistics.median(file.operations[name]) for file in (self.baseline, self.current)]

    def _closing(self, show: Callable[[str], str]) -> list[str]:
        """Return the lines below the table: the count of each verdict, and notes on the files."""
        counts = self._counts()
        verdicts = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ORDER if counts[verdict])
        lines = [
            f"{counted(len(self.comparisons), 'operation')}: {verdicts}",
            f"Medians, and the shift with its {100 * (1 - self.fdr):g} % interval.",
        ]
        for side, names in (("baseline", self._only(0)), ("current", self._only(1))):
            if names:
                lines.append(f"Only in {side}: {', '.join(map(show, names))}")
        hosts = self.baseline.host, self.current.host
        if None not in hosts and hosts[0] != hosts[1]:
            before, now = (printable(str(host)) for host in hosts)
            lines.append(
                f"The files come from different machines, {before} and {now}, which may explain "
                "the differences; `nanospan ab` compares on one machine."
            )
        return lines

    def _counts(self) -> Counter[str]:
        return Counter(comparison.verdict for comparison in self.comparisons.values())

    def _only(self, side: int) -> list[str]:
        one = (self.baseline, self.current)[side].operations
        return [name for name in one if name not in self.comparisons]

    def to_dict(self) -> dict[str, Any]:
        return {
            "verdict": "regressed" if self._counts()["regressed"] else "passed",
            "verdicts": {verdict: self._counts()[verdict] for verdict in ORDER},
            "fdr": self.fdr,
            "min_effect": self.min_effect,
            **{
                side: {
                    "file": str(file.path),
                    "kind": file.kind,
                    "time": file.time,
                    "host": file.host,
                }
                for side, file in (("baseline", self.baseline), ("current", self.current))
            },
            "operations": {
                name: {**comparison.to_dict(), "medians": self._medians(name)}
                for name, comparison in self.comparisons.items()
            },
            "only_in_baseline": self._only(0),
            "only_in_current": self._only(1),
        }
