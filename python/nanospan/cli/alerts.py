"""The command ``nanospan alerts``, which checks files of alert rules."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from nanospan.cli.streams import BAD_INPUT, report_error, write_error
from nanospan.cli.text import print_lines
from nanospan.values.messages import shorten
from nanospan.values.units import counted, printable

if TYPE_CHECKING:
    import argparse

CHECK = """\
Check a file of alert rules, as used by NANOSPAN_ALERTS and monitor.alerts.load, without sending
any alert. Print the number of rules, sinks and silences, or the line, key and value of every error.
Environment variables that the file refers to need not be set; any that are not set are listed. A
package that the file's sinks need must be installed, because they could not start without it.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``alerts`` to the command line."""
    parser = commands.add_parser("alerts", help="check a file of alert rules")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    check = actions.add_parser(
        "check",
        help="report the errors in a file of alert rules",
        description=CHECK,
        epilog="Exit status: 0 if the file can be used, 1 if a package is missing, 2 if the file "
        "is not valid.",
    )
    check.add_argument("file", type=Path, metavar="FILE", help="the TOML file to check")
    check.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check the file and return the exit status."""
    # Imported here, because no other command needs these modules.
    from nanospan.alerts import AlertsFileError, RegressionRule, load  # noqa: PLC0415
    from nanospan.alerts.sinks.http import MISSING, is_installed  # noqa: PLC0415
    from nanospan.alerts.sinks.webhook import HttpSink  # noqa: PLC0415

    path: Path = arguments.file
    try:
        loaded = load(path, check=False)
    except AlertsFileError as exc:
        write_error(f"{exc}\n")
        return BAD_INPUT
    except OSError as exc:
        return report_error(exc)
    except ImportError as exc:
        write_error(f"nanospan: {exc}\n")
        return 1
    counts = (
        counted(len(loaded.rules), "rule"),
        counted(len(loaded.sinks), "sink"),
        counted(len(loaded.silences), "silence"),
    )
    shown = shorten(path)
    lines = [f"{shown}: {', '.join(counts)}"]
    http_sinks = [sink for sink in loaded.sinks if isinstance(sink, HttpSink)]
    unset = sorted({name for sink in http_sinks for name in sink.unset_variables})
    lines += [f"{shown}: {shorten(name)} is not set in this environment" for name in unset]
    for rule in loaded.rules:
        if isinstance(rule, RegressionRule):
            baseline = str(rule.baseline)
            # Unlike Path.is_file, it returns False if the path is too long.
            if not os.path.isfile(baseline):  # noqa: PTH113
                lines.append(f"{shown}: {shorten(printable(baseline))} does not exist")
    print_lines(lines, is_result=False)
    if http_sinks and not is_installed():
        for sink in http_sinks:
            write_error(f"{shown}: {sink} {MISSING}\n")
        return 1
    return 0
