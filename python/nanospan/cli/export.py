"""The command ``nanospan export``, which converts saved recordings to other formats."""

from __future__ import annotations

import functools
import importlib.util
import signal
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

from nanospan.cli import options
from nanospan.cli.status import run_with_status
from nanospan.cli.streams import discard_output, write_error
from nanospan.export.parquet import INSTALL
from nanospan.export.recording_files import KINDS, read_recording
from nanospan.export.write import FORMATS, write
from nanospan.values.messages import describe, shorten
from nanospan.values.units import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from nanospan.values.recordings import Recording

PIPE_CLOSED = 128 + signal.SIGPIPE
"""The exit status that a shell reports for a program ended by SIGPIPE."""

DESCRIPTION = """\
Convert a saved recording to a file that other programs can open. JSON lines, CSV and Parquet
contain a row for each sample (Unix time of its end, duration in seconds, outcome, metadata) or, for
a snapshot, a row for each operation (counts, extremes, quantiles). A trace is a timeline for
https://ui.perfetto.dev and chrome://tracing.
"""

EPILOG = """\
Save a recording in the monitored program, with nanospan.export.write.write(monitor,
"samples.jsonl") or with monitor.snapshot().to_bytes(). The output file is replaced only once it is
complete. The exit status is 141 if the reader of the output closes the pipe.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand ``export`` to the command line."""
    parser = commands.add_parser(
        "export",
        help="write a saved recording as JSON lines, CSV, Parquet, or a trace for Perfetto",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("format", choices=FORMATS, metavar="FORMAT", help=", ".join(FORMATS))
    add_source(parser)
    parser.add_argument(
        "--output",
        "-o",
        default="-",
        metavar="FILE",
        help="the file to write, or - for standard output (default: -)",
    )
    parser.add_argument(
        "--summaries",
        action="store_true",
        help="write a row for each operation instead of for each sample; a snapshot is always "
        "written this way",
    )
    parser.set_defaults(run=run, parser=parser)


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--from``, which names the recording to read, and ``--max-bytes``."""
    parser.add_argument(
        "--from", dest="source", type=Path, required=True, metavar="SOURCE", help=KINDS
    )
    options.add_max_bytes(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the file and return the exit status."""
    if arguments.format == "parquet" and arguments.output == "-" and sys.stdout.isatty():
        arguments.parser.error("Parquet is binary; use --output FILE")
    if arguments.format == "parquet" and importlib.util.find_spec("pyarrow") is None:
        write_error(f"nanospan: {INSTALL}\n")
        return 1
    if arguments.format == "trace" and arguments.summaries:
        arguments.parser.error("a trace shows samples, not summaries; leave out --summaries")

    def export(recording: Recording, target: str | IO[bytes]) -> None:
        has_samples = any(each.samples() is not None for each in recording.operations)
        summaries = arguments.summaries or (arguments.format != "trace" and not has_samples)
        write(recording, target, arguments.format, "summaries" if summaries else "samples")

    return convert(arguments, export)


def convert(
    arguments: argparse.Namespace, writer: Callable[[Recording, str | IO[bytes]], None]
) -> int:
    """Read a recording and write it in another format.

    Args:
        arguments: The command's arguments: ``source``, the file that contains the recording;
            ``max_bytes``, its maximum size; and ``output``, the path of the file to write, or
            ``-`` for standard output.
        writer: A function that writes a recording to a path or a binary file.

    Returns:
        The exit status.
    """
    source, output = arguments.source, arguments.output
    try:
        reading = functools.partial(read_recording, source, max_bytes=arguments.max_bytes)
        recording = run_with_status(f"reading {shorten(printable(str(source)))}", reading)
        writer(recording, sys.stdout.buffer if output == "-" else output)
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        return PIPE_CLOSED
    except OSError as failed:
        if output == "-" and failed.filename is None:
            discard_output()
        target = "standard output" if output == "-" else output
        write_error(f"nanospan: {describe(failed, target)}\n")
        return 1
    except (ValueError, ModuleNotFoundError) as failed:
        write_error(f"nanospan: {failed}\n")
        return 1
    return 0
