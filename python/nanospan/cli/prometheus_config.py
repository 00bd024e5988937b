"""The command ``nanospan prometheus-config``, which prints a scrape job for Prometheus."""

from __future__ import annotations

import argparse

from nanospan.cli.text import print_lines
from nanospan.export.prometheus.scrape_config import (
    FEATURE_FLAG,
    FIRST_WITH_SETTING,
    Version,
    scrape_config,
    version_of,
)
from nanospan.export.prometheus.server import DEFAULT_HOST, DEFAULT_PORT

DESCRIPTION = f"""\
Print a configuration with which Prometheus scrapes nanospan's metrics, including native histograms,
whose percentiles are within 1 %. It is valid as it is; to add the job to a configuration that you
have, copy it into that file's scrape_configs.

Prometheus scrapes native histograms only if its configuration says so: from 3.8 on, with
scrape_native_histograms, which is printed; before, with {FEATURE_FLAG} on its
command line.
"""

EPILOG = """\
A TARGET is what "nanospan serve" and start_http_server() report, or HOST:PORT.

  nanospan prometheus-config > prometheus.yml && prometheus --config.file=prometheus.yml
  nanospan prometheus-config --job shop --interval 5s 10.0.0.5:9464 10.0.0.6:9464
  nanospan prometheus-config --job api https://api.example.org/metrics
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``prometheus-config`` to the command line."""
    parser = commands.add_parser(
        "prometheus-config",
        help="print a scrape job for Prometheus",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = f"{DEFAULT_HOST}:{DEFAULT_PORT}"
    parser.add_argument(
        "targets",
        nargs="*",
        metavar="TARGET",
        default=[default],
        help=f"where the metrics are: HOST:PORT or a URL (default: {default})",
    )
    parser.add_argument(
        "--job",
        default="nanospan",
        metavar="NAME",
        help='the job\'s name, which becomes the label "job" (default: %(default)s)',
    )
    parser.add_argument(
        "--interval",
        default="15s",
        metavar="DURATION",
        help="the time between scrapes, such as 5s or 1m30s (default: %(default)s)",
    )
    parser.add_argument(
        "--prometheus-version",
        type=_version,
        default=FIRST_WITH_SETTING,
        dest="version",
        metavar="VERSION",
        help="the version that reads the configuration; needed if it is older than "
        f"{'.'.join(map(str, FIRST_WITH_SETTING))}",
    )
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the configuration and return the exit status."""
    try:
        config = scrape_config(
            arguments.targets, arguments.job, arguments.interval, arguments.version
        )
    except ValueError as exc:
        arguments.parser.error(str(exc))
    print_lines(config.splitlines())
    return 0


def _version(text: str) -> Version:
    try:
        return version_of(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None
