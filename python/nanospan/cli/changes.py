"""The command ``nanospan changes``, which finds changes in the level of histories."""

from __future__ import annotations

import argparse
import functools
import importlib.util
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanospan.cli import options, text
from nanospan.cli.sparkline import sparkline
from nanospan.cli.status import run_with_status
from nanospan.cli.streams import report_error
from nanospan.export.sample_files import read_histories
from nanospan.regression import change_points
from nanospan.regression.effects import MIN_SIZE, PENALTY
from nanospan.values.extras import needs
from nanospan.values.files import write_atomically
from nanospan.values.messages import shorten
from nanospan.values.units import change_text, counted, figure_text, interval_text, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nanospan.export.sample_files import History
    from nanospan.regression import ChangePoint

Changes = dict[str, list["ChangePoint"]]

PLAIN_WIDTH = 80
"""The number of columns for output to a file or a pipe."""

DESCRIPTION = """\
Find where the level of a history changed. A history is, for example, the times of a benchmark over
many commits.

A single FILE contains whole histories: a JSON list of numbers, a JSON object of such lists, a CSV
file of one column, a baseline saved by nanospan, or pytest-benchmark's JSON. If there are several
files, each adds one point to the histories, the median of each operation:
nanospan changes .benchmarks/*/*.json
"""

EPILOG = """\
exit status: 0 even if there are changes, 2 for bad input
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``changes`` to the command line."""
    parser = commands.add_parser(
        "changes",
        help="find where the level of a history changed",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="one file that contains whole histories, or several files that contain one run each",
    )
    parser.add_argument(
        "--operation",
        action="append",
        default=[],
        metavar="NAME",
        help="show only this operation; may be repeated",
    )
    parser.add_argument(
        "--penalty",
        type=options.non_negative,
        default=PENALTY,
        metavar="P",
        help="penalty for each additional change; a higher one finds fewer (default: %(default)s)",
    )
    parser.add_argument(
        "--min-size",
        type=options.whole_number(1, 1_000_000),
        default=MIN_SIZE,
        metavar="N",
        help="minimum number of values between two changes (default: %(default)s)",
    )
    options.add_format(parser)
    options.add_max_bytes(parser)
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="PNG",
        help="also plot the histories to the file PNG (needs nanospan[plot])",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Find and print the changes, and return the exit status."""
    if arguments.plot is not None and importlib.util.find_spec("matplotlib") is None:
        return report_error(f"--plot {needs('matplotlib', 'plot')}")
    try:
        histories = run_with_status(
            f"reading {counted(len(arguments.files), 'file')}",
            functools.partial(
                read_histories, arguments.files, max_bytes=arguments.max_bytes, pipes=True
            ),
        )
        histories = _selected(histories, arguments.operation)
        changes = run_with_status(
            f"looking for changes in {counted(_length(histories), 'value')}",
            functools.partial(_find, histories, arguments.penalty, arguments.min_size),
        )
        if arguments.plot is not None:
            _plot(arguments.plot, histories, changes)
    except (OSError, ValueError) as exc:
        return report_error(exc)
    if arguments.format == "json":
        text.print_json(_to_dict(histories, changes))
    else:
        write = _markdown if arguments.format == "markdown" else _plain
        for number, (name, history) in enumerate(histories.items()):
            block = write(name, history, changes[name])
            text.print_lines(["", *block] if number else block)
    return 0


def _length(histories: Mapping[str, History]) -> int:
    return sum(len(history.values) for history in histories.values())


def _find(histories: Mapping[str, History], penalty: float, min_size: int) -> Changes:
    return {
        name: change_points(history.values, penalty=penalty, min_size=min_size)
        for name, history in histories.items()
    }


def _selected(histories: dict[str, History], operations: Sequence[str]) -> dict[str, History]:
    missing = [name for name in operations if name not in histories]
    if missing:
        known = ", ".join(shorten(printable(name)) for name in list(histories)[:5])
        raise ValueError(
            f"no operation is named {shorten(printable(missing[0]))}; use one of {known}"
        )
    return {name: histories[name] for name in operations} if operations else histories


def _plot(path: Path, histories: Mapping[str, History], changes: Changes) -> None:
    from nanospan.cli import plot  # noqa: PLC0415 - needs the extra, for which run() has checked

    if len(histories) > plot.MOST_PLOTS:
        raise ValueError(
            f"--plot can draw at most {plot.MOST_PLOTS} histories, got {len(histories)}; "
            "choose some with --operation"
        )
    draw = functools.partial(plot.plot_histories, histories, changes)
    write_atomically(path, run_with_status("drawing", draw))


def _plain(name: str, history: History, points: Sequence[ChangePoint]) -> list[str]:
    columns = shutil.get_terminal_size((PLAIN_WIDTH, 0)).columns if sys.stdout.isatty() else 0
    bars, marks = sparkline(history.values, [p.index for p in points], columns or PLAIN_WIDTH)
    lines = [_heading(printable(name), history, points), bars, *([marks] if points else [])]
    if points:
        words = 2 if history.files else 0
        table = text.plain_table(*_table(history, points), words=words)
        # If the unit is unknown, it is also unknown whether higher or lower is better.
        if history.in_seconds and text.use_colour(sys.stdout):
            verdicts = ["regressed" if p.after > p.before else "improved" for p in points]
            painted = [text.paint(v, line) for v, line in zip(verdicts, table[1:], strict=True)]
            table = [table[0], *painted]
        lines += table
    return lines


def _markdown(name: str, history: History, points: Sequence[ChangePoint]) -> list[str]:
    lines = [_heading(text.markdown_name(name), history, points)]
    if points:
        words = 2 if history.files else 0
        lines += ["", *text.markdown_table(*_table(history, points), words=words)]
    return lines


def _heading(name: str, history: History, points: Sequence[ChangePoint]) -> str:
    count = counted(len(points), "change") if points else "no change"
    return f"{name}: {counted(len(history.values), 'value')}, {count}"


def _table(
    history: History, points: Sequence[ChangePoint]
) -> tuple[tuple[str, ...], list[list[str]]]:
    """Return the headings and a row for each change point."""
    figure = text.fixed_duration if history.in_seconds else figure_text
    headings = ("from", *(["file"] if history.files else []), "before", "after", "change")
    rows = [
        [
            str(point.index),
            *([printable(history.files[point.index].name)] if history.files else []),
            figure(point.before),
            figure(point.after),
            change_text(point.ratio),
            interval_text(point.ci),
            f"{point.p_value:.1g}",
        ]
        for point in points
    ]
    return (*headings, "interval", "p"), rows


def _to_dict(histories: Mapping[str, History], changes: Changes) -> dict[str, Any]:
    return {
        "operations": {
            name: {
                "values": len(history.values),
                "in_seconds": history.in_seconds,
                "changes": [
                    {
                        **point.to_dict(),
                        **({"file": str(history.files[point.index])} if history.files else {}),
                    }
                    for point in changes[name]
                ],
            }
            for name, history in histories.items()
        }
    }
