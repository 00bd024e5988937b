"""Write to standard output and standard error, which may be closed, full, or a closed pipe."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys
from typing import IO, TYPE_CHECKING, NoReturn

from nanospan.values.messages import LONGEST_SHOWN, describe, shorten
from nanospan.values.whole_writes import whole_writes

if TYPE_CHECKING:
    from typing import TextIO

BAD_INPUT = 2
"""The exit status for invalid input."""

LONGEST_MESSAGE = 10 * LONGEST_SHOWN
"""The maximum length of an error in the arguments, which may quote several of them."""


def replace_closed_streams() -> None:
    """Replace standard streams that were closed before the start, and are therefore None.

    Standard error then discards what is written to it. Standard output reports an error, so that a
    command does not succeed although its result was lost.
    """
    if sys.stderr is None:
        sys.stderr = _open(os.O_WRONLY)
    if sys.stdout is None:
        # A descriptor that is open for reading: writing fails, as it does where none is open.
        sys.stdout = _open(os.O_RDONLY)


def _open(flags: int) -> TextIO:
    return os.fdopen(os.open(os.devnull, flags), "w", closefd=False)


def write_out(text: str, *, is_result: bool = True) -> None:
    """Write text to standard output. A reader may close the pipe early, as ``head`` does.

    Args:
        text: The text; characters that the output's encoding lacks become question marks.
        is_result: Whether the text is the command's result; if the exit status is, standard output
            may be closed.

    Raises:
        SystemExit: If the text cannot be written. The exit status is that of invalid input,
            because the status of an uncaught exception, 1, would mean that something regressed.
    """
    stream = sys.stdout
    encoding = stream.encoding or "utf-8"
    data = text.encode(encoding, "replace")
    try:
        stream.flush()
        buffer: IO[bytes] | None = getattr(stream, "buffer", None)
        if buffer is None:  # a replacement by a program that calls main()
            stream.write(data.decode(encoding))
        else:
            # Text streams ignore what an unbuffered file did not take (PYTHONUNBUFFERED).
            with whole_writes(buffer) as file:
                file.write(data)
                file.flush()
    except OSError as exc:
        discard_output()
        is_closed = isinstance(exc, BrokenPipeError) or (exc.errno == errno.EBADF and not is_result)
        if not is_closed:
            raise SystemExit(report_error(f"standard output: {exc.strerror}")) from None


def discard_output() -> None:
    """Discard what is left in the buffer of standard output, after a write to it has failed.

    Otherwise the interpreter would try to write the rest at exit, and fail again.
    """
    with contextlib.suppress(OSError):
        output = sys.stdout.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, output)
        os.close(null)


def report_error(problem: str | OSError | ValueError) -> int:
    """Print an error message about the input; return the exit status for invalid input."""
    if isinstance(problem, OSError):
        problem = describe(problem)
    write_error(f"nanospan: {problem}\n")
    return BAD_INPUT


def write_error(text: str) -> None:
    """Write text to standard error, if that is possible; there is no other place to report to."""
    with contextlib.suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


class ArgumentParser(argparse.ArgumentParser):
    """A parser whose help is written like any output, and whose errors have a limited length."""

    def print_help(self, file: IO[str] | None = None) -> None:  # type: ignore[override]
        """Write the help to ``file``, or to standard output."""
        if file is None:
            write_out(self.format_help())
        else:
            super().print_help(file)

    def error(self, message: str) -> NoReturn:
        """Report an error in the arguments, with its values shortened, and exit."""
        words = " ".join(map(shorten, message.split(" ")))
        if len(words) > LONGEST_MESSAGE:
            words = f"{words[:LONGEST_MESSAGE]}... ({len(message):,} characters)"
        self.exit(BAD_INPUT, f"{self.format_usage()}{self.prog}: error: {words}\n")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Write ``message`` to standard error and exit."""
        if message:
            write_error(message)
        sys.exit(status)
