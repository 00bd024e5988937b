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
    flags = os.O_RDONLY | os.O_NOCTTY
    if not (pipes and stat.S_ISFIFO(os.stat(path).st_mode)):  # noqa: PTH116 - as it was passed
        # It has no effect on regular files, and pipes without a writer do not block.
        flags |= os.O_NONBLOCK
    descriptor = os.open(path, flags)
    try:
        _check_kind(path, os.fstat(descriptor).st_mode, pipes=pipes)
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
