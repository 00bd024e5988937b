"""The command ``nanospan serve``, which serves metrics to Prometheus."""

from __future__ import annotations

import argparse
import importlib.util
import runpy
import signal
import sys
import threading
from pathlib import Path

from nanospan.cli.streams import write_error
from nanospan.export.prometheus.saved import SavedExposition
from nanospan.export.prometheus.server import DEFAULT_HOST, DEFAULT_PORT, start_http_server
from nanospan.values.messages import describe

DESCRIPTION = """\
Serve /metrics for Prometheus, either for a Python program, which is run unchanged in this process,
or for saved snapshots, such as those of jobs that end before they can be scraped.
"""

EPILOG = """\
Everything after --run belongs to the program: a script and its arguments, or -m, a module and its
arguments. The endpoint serves what the program records with get_performance_monitor() and
track_performance. The endpoint stops when the program ends, and the exit status is the program's.

To write a FILE, use Path(FILE).write_bytes(monitor.snapshot().to_bytes()). A file is reread when it
changes. Its series have the label "snapshot", whose value is the file's name without the suffix.
Files are served until Ctrl-C.

  nanospan serve --run -m uvicorn shop:app
  nanospan serve --port 9465 nightly.snapshot weekly.snapshot
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``serve`` to the command line."""
    parser = commands.add_parser(
        "serve",
        help="serve metrics to Prometheus",
        usage="nanospan serve [--host HOST] [--port PORT] [--allow-host NAME] "
        "(--run PROGRAM [ARG ...] | FILE ...)",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--host",
        default=DEFAULT_HOST,
        help="address to listen on; anyone who can reach it can read the metrics "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=DEFAULT_PORT,
        help="port to listen on; 0 picks a free port (default: %(default)s)",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        dest="allow_hosts",
        metavar="NAME",
        help="also answer requests for the host NAME; may be repeated. On a loopback address, only "
        "localhost and loopback addresses are answered otherwise, so that web pages cannot read "
        "the metrics; on other addresses, all names are, unless this option is given",
    )
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="a saved snapshot to serve"
    )
    parser.add_argument(
        "--run",
        nargs=argparse.REMAINDER,
        dest="program",
        metavar="PROGRAM",
        help="the script to run, or -m followed by a module name; everything after it is passed on "
        "as its arguments",
    )
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until the program ends or Ctrl-C is pressed; return the exit status."""
    program: list[str] | None = arguments.program
    if bool(program) == bool(arguments.files):
        arguments.parser.error("specify either snapshot files, or --run followed by a program")
    exposition = None
    try:
        if program:
            _check_program(program)
        else:
            exposition = SavedExposition(arguments.files)
    except OSError as exc:
        arguments.parser.error(describe(exc))
    except ValueError as exc:
        arguments.parser.error(str(exc))
    try:
        server = start_http_server(
            arguments.port, arguments.host, exposition, allow_hosts=arguments.allow_hosts
        )
    except ValueError as exc:
        arguments.parser.error(str(exc))
    except OSError as exc:
        write_error(f"nanospan: {exc.strerror}\n")
        return 1
    with server:
        write_error(f"nanospan: serving {server.url}\n")
        if program:
            _run_program(program)
        else:
            threading.Event().wait()
    return 0


def _check_program(program: list[str]) -> None:
    """Raise ValueError unless the script or module to run exists."""
    if program[0] != "-m":
        if not Path(program[0]).is_file():
            raise ValueError(f"script not found: {program[0]}")
        return
    if len(program) == 1:
        raise ValueError("-m requires the name of a module")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.util.find_spec(program[1])
    except ImportError:
        found = None
    if found is None:
        raise ValueError(f"module not found: {program[1]}")


def _run_program(program: list[str]) -> None:
    """Run a program in this process as Python would; let all its exceptions propagate."""
    # Restore the signal handlers that the program would find if it were run directly.
    for number, default in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGTERM, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, default)
    if program[0] == "-m":
        sys.argv = program[1:]
        runpy.run_module(program[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = program
        sys.path.insert(0, str(Path(program[0]).resolve().parent))
        runpy.run_path(program[0], run_name="__main__")
