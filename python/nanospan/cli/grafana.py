"""The command ``nanospan grafana``, which prints a Grafana dashboard."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.resources import files

DESCRIPTION = """\
Print a Grafana dashboard for the metrics that nanospan exposes to Prometheus: rates, errors,
percentiles, violations and executions under way for each operation, and the state of connection
pools. Percentiles come from native histograms if the server scrapes them, otherwise from classic
histograms.
"""

EPILOG = """\
In Grafana, choose Dashboards, New, Import, and upload the file. No settings are needed; the data
source is chosen at the top of the dashboard.

  nanospan grafana > dashboard.json
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``grafana`` to the command line."""
    parser = commands.add_parser(
        "grafana",
        help="print a Grafana dashboard",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)


def run(_arguments: argparse.Namespace) -> int:
    """Print the dashboard and return the exit status."""
    dashboard = files("nanospan.export.prometheus") / "dashboard.json"
    try:
        print(dashboard.read_text(encoding="utf-8"), end="", flush=True)
    except BrokenPipeError:
        # The reader closed the pipe, so the rest must not be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
