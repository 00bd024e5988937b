"""The command ``nanospan grafana``, which prints a Grafana dashboard."""

from __future__ import annotations

import argparse
from importlib.resources import files

from nanospan.cli.streams import write_out

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
    write_out(dashboard.read_text(encoding="utf-8"))
    return 0
