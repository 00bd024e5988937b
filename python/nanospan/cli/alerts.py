"""`nanospan alerts`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

CHECK = """\
Read a file of alert rules as NANOSPAN_ALERTS and monitor.alerts.load do, and say what is in it, or
name the line, key and value of everything that is wrong. Nothing is sent. Environment variables
that the file names need not be set here; those that are not are listed.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("alerts", help="check a file of alert rules")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    check = actions.add_parser(
        "check",
        help="say what is wrong in a file of alert rules",
        description=CHECK,
        epilog="Exit status: 0 if the file can be used, 2 if not.",
    )
    check.add_argument("file", type=Path, metavar="FILE", help="the file, TOML")
    check.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check the file and return the exit status."""
    from nanospan.alerts import AlertsFileError, load  # noqa: PLC0415 - for this command only

    path: Path = arguments.file
    try:
        loaded = load(path, check=False)
    except AlertsFileError as exc:
        print(exc, file=sys.stderr)
        return 2
    except (OSError, ImportError) as exc:
        print(f"nanospan: {exc}", file=sys.stderr)
        return 2
    counts = (
        _count(len(loaded.rules), "rule"),
        _count(len(loaded.sinks), "sink"),
        _count(len(loaded.silences), "silence"),
    )
    print(f"{path}: {', '.join(counts)}")
    unset = {name for sink in loaded.sinks for name in getattr(sink, "unset_variables", ())}
    for name in sorted(unset):
        print(f"{path}: {name} is not set in this environment")
    for rule in loaded.rules:
        baseline = getattr(rule, "baseline", None)
        if isinstance(baseline, Path) and not baseline.is_file():
            print(f"{path}: {baseline} is not there")
    return 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
