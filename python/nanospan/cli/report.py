"""The command ``nanospan report``, which writes an HTML page about a recording."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import IO, TYPE_CHECKING

from nanospan.cli.export import add_source, convert
from nanospan.export.report import write_report
from nanospan.export.sample_files import read_samples
from nanospan.regression import compare_many
from nanospan.values.messages import shorten

if TYPE_CHECKING:
    import argparse

    from nanospan.export.sample_files import SampleFile
    from nanospan.regression import Comparison
    from nanospan.values.recordings import Recording

DESCRIPTION = """\
Write an HTML page about a saved recording: a table, and for each operation its distribution, its
samples over time, its threshold and its verdict. The page is self-contained and loads nothing from
the network. A running program can write the same page with monitor.report("report.html").
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``report`` to the command line."""
    parser = commands.add_parser(
        "report", help="write an HTML page about a saved recording", description=DESCRIPTION
    )
    parser.add_argument(
        "output", metavar="FILE.html", help="the file to write, or - for standard output"
    )
    add_source(parser)
    parser.add_argument(
        "--baseline",
        type=Path,
        metavar="BASELINE",
        help="also compare each operation with its samples in BASELINE, as nanospan compare does",
    )
    parser.add_argument(
        "--title",
        default="nanospan report",
        help="the page's heading (default: %(default)s)",
    )
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the page and return the exit status."""

    def report(recording: Recording, target: str | IO[bytes]) -> None:
        comparisons = None
        if arguments.baseline is not None:
            baseline = read_samples(arguments.baseline, max_bytes=arguments.max_bytes, pipes=True)
            comparisons = _compare(baseline, recording)
        write_report(recording, target, arguments.title, comparisons)

    return convert(arguments, report)


def _compare(baseline: SampleFile, recording: Recording) -> dict[str, Comparison]:
    pairs = {}
    for recorded in recording.operations:
        if recorded.operation in baseline.operations and (samples := recorded.samples()):
            durations = array("d", samples.durations)
            pairs[recorded.operation] = (baseline.operations[recorded.operation], durations)
    if not pairs:
        raise ValueError(
            f"the recording has no samples for any operation in {shorten(baseline.path)}; "
            "use a recording that contains samples, not a snapshot"
        )
    return compare_many(pairs)
