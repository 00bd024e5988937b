"""Open files for reading, but not devices, and pipes only if they were asked for."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from io import BufferedReader


def open_input(path: str | os.PathLike[str], *, pipes: bool = False) -> BufferedReader:
    """Open a regular file for reading in binary mode.

    Opening or reading anything else may block for ever, as a named pipe without a writer does, or
    never end, as ``/dev/zero`` does.

    Args:
        path: The file's path.
        pipes: Whether to open pipes as well, and to wait for a writer. Set it only if the user
            named the file on a command line, where Ctrl-C is at hand.

    Raises:
        OSError: If the file cannot be opened, or is neither a regular file nor, if ``pipes`` is
            set, a pipe.
    """
    # O_NONBLOCK has no effect on regular files, and pipes without a writer do not block.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        mode = os.fstat(descriptor).st_mode
        _check_kind(path, mode, pipes=pipes)
        if stat.S_ISFIFO(mode):
            # A descriptor that does not block would read as empty until there is a writer.
            blocking = os.open(path, os.O_RDONLY)
            os.close(descriptor)
            descriptor = blocking
        return open(descriptor, "rb")  # noqa: PTH123 - an open file
    except BaseException:
        os.close(descriptor)
        raise


def _check_kind(path: str | os.PathLike[str], mode: int, *, pipes: bool) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    is_pipe = stat.S_ISFIFO(mode)
    if not stat.S_ISREG(mode) and not (is_pipe and pipes):
        problem = (
            f"must be a regular file{' or a pipe' if pipes else ''}, "
            f"got a {'pipe' if is_pipe else 'device'}"
        )
        raise OSError(errno.EINVAL, problem, os.fspath(path))
