"""The command ``nanospan alerts``, which checks files of alert rules."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nanospan.values.units import counted

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
        print(exc, file=sys.stderr)
        return 2
    except (OSError, ImportError) as exc:
        print(f"nanospan: {exc}", file=sys.stderr)
        return 1 if isinstance(exc, ImportError) else 2
    counts = (
        counted(len(loaded.rules), "rule"),
        counted(len(loaded.sinks), "sink"),
        counted(len(loaded.silences), "silence"),
    )
    print(f"{path}: {', '.join(counts)}")
    http_sinks = [sink for sink in loaded.sinks if isinstance(sink, HttpSink)]
    for name in sorted({name for sink in http_sinks for name in sink.unset_variables}):
        print(f"{path}: {name} is not set in this environment")
    regression_rules = (rule for rule in loaded.rules if isinstance(rule, RegressionRule))
    for rule in regression_rules:
        if isinstance(rule.baseline, Path) and not rule.baseline.is_file():
            print(f"{path}: {rule.baseline} does not exist")
    if http_sinks and not is_installed():
        for sink in http_sinks:
            print(f"{path}: {sink} {MISSING}", file=sys.stderr)
        return 1
    return 0
