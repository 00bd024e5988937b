"""The command ``nanospan version``, which prints the versions of nanospan and Python."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from nanospan import __version__
from nanospan.cli.streams import write_out

if TYPE_CHECKING:
    import argparse


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``version`` to the command line."""
    parser = commands.add_parser("version", help="print the versions of nanospan and Python")
    parser.set_defaults(run=run)


def run(_arguments: argparse.Namespace) -> int:
    """Print the versions and return the exit status."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    write_out(f"nanospan {__version__}\n{python}, {platform.platform()}\n")
    return 0
