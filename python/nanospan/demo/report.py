"""Print the tables at the end of the demo, and write the figures as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from nanospan.values.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from nanospan.demo.figures import GainFigures, Report


PUBLISHED = "MemFuse 0.3.1"
"""The heading of the columns that show published figures."""


def print_report(console: Console, report: Report, window: int) -> None:
    """Print the table of operations and the table of gains over the naive implementation.

    Args:
        console: The console to print to.
        report: The figures to print.
        window: The size of each operation's window, in samples.
    """
    console.print()
    console.print(_operations_table(report))
    console.print(
        f"Statistics of the last {window:,} samples of each operation. The verdict compares p95 "
        f"with the threshold.\n{PUBLISHED}: figures published for that system.",
        style="dim",
    )
    console.print()
    console.print(_gains_table(report))
    console.print(_fairness(report), style="dim", highlight=False)


def write_json(path: Path, report: Report) -> None:
    """Write the figures to a JSON file atomically.

    Args:
        path: The file to write; an existing file is replaced.
        report: The figures to write; durations are in seconds.
    """
    write_atomically(path, json.dumps(asdict(report), indent=2) + "\n")


def _new_table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1),
        collapse_padding=True,
    )


def _operations_table(report: Report) -> Table:
    table = _new_table("Operations (times in milliseconds)")
    table.add_column("operation", no_wrap=True)
    for heading in ("count", "mean", "p50", "p95", "p99", "threshold"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column(PUBLISHED, justify="right", no_wrap=True)
    for row in report.operations:
        style = {"within": "green", "over": "bold red"}.get(row.verdict, "")
        table.add_row(
            row.operation,
            f"{row.count:,}",
            *(_milliseconds(value) for value in (row.mean, row.p50, row.p95, row.p99)),
            "" if row.threshold is None else f"{row.threshold * 1e3:g}",
            f"[{style}]{row.verdict}[/]" if style else row.verdict,
            "" if row.published is None else f"{row.published * 1e3:g}",
        )
    return table


def _gains_table(report: Report) -> Table:
    table = _new_table("Gain over the naive way")
    table.add_column("figure", no_wrap=True)
    for heading in ("naive", "nanospan", "gain", PUBLISHED):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in report.gains:
        verdict = "[green]better[/]" if row.is_better else "[bold red]not better[/]"
        table.add_row(row.figure, *_gain_cells(row), verdict)
    return table


def _gain_cells(row: GainFigures) -> tuple[str, str, str, str]:
    if row.kind == "ratio":
        values = (f"{row.naive:,.1f}/s", f"{row.nanospan:,.1f}/s")
        return (*values, f"{row.gain:.2f} x", f"{row.published:g} x")
    values = (f"{_milliseconds(row.naive)} ms", f"{_milliseconds(row.nanospan)} ms")
    return (*values, f"{-row.gain:+.1%}", f"{-row.published:+.0%}")


def _fairness(report: Report) -> str:
    setup, rows = report.setup, report.rows
    settings = ", ".join(f"{key}={value}" for key, value in setup["server_settings"].items())
    return (
        "Naive way: a connection and a type registration per request, one layer after another.\n"
        f"Both ways served the same {setup['requests']:,} requests: latency with 1 client, "
        f"throughput with {setup['clients']},\nacquisition with both.\n"
        f"Both databases hold {rows['m0_turn']:,} turns, {rows['m1_chunk']:,} chunks and "
        f"{rows['m2_fact']:,} facts, on one PostgreSQL {setup['postgresql']}"
        + (f" with {settings}." if settings else " with its default settings.")
    )


def _milliseconds(seconds: float) -> str:
    """Format a duration in milliseconds, with fewer decimals for longer durations."""
    value = seconds * 1e3
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"  # noqa: PLR2004
