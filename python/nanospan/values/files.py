"""Write files so that readers never see half-written content."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path
from typing import IO, TYPE_CHECKING

from nanospan.values.permissions import adopt_permissions
from nanospan.values.temporary_files import TemporaryFile, remove_abandoned

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["replacing", "write_atomically"]

_STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces ``path`` if the block ends without an exception.

    Until then, and after an exception, readers of ``path`` see its previous content. The new
    content is flushed to disk before the file is renamed, so that even a crash leaves either the
    old or the new content. Symbolic links are followed; devices and pipes are written to directly,
    and so are open files named as ``/dev/stdout`` or ``/dev/fd/3``.

    The temporary file has the permissions of the file that it replaces from the start. It has no
    name until the end, where the file system supports that. Temporary files of processes that were
    killed are removed by the next one that writes to the folder.

    Args:
        path: The file to replace. An existing file keeps its permissions, and its owner and group
            if the process may set them; a new file gets the default permissions.

    Raises:
        OSError: If the folder does not exist or is not writable, or the disk is full; ``path`` is
            then unchanged.
    """
    if (file := _open_directly(path)) is not None:
        with file:
            yield file
        return
    goal = Path(os.path.realpath(path))
    try:
        with _replacement(goal) as file:
            yield file
    except OSError as exc:
        _name_goal(exc, goal)
        raise
    _sync_folder(goal.parent)


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Replace the content of ``path`` atomically; text is written as UTF-8.

    Raises:
        OSError: If the file cannot be replaced; see :func:`replacing`.
    """
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def _open_directly(path: str | os.PathLike[str]) -> IO[bytes] | None:
    """Open ``path`` if it is not a path to replace, because it is an open file, pipe or device."""
    name = os.path.abspath(path)  # noqa: PTH100 - the path's type may be str or PathLike
    match = _DESCRIPTOR.fullmatch(name)
    number = int(match[1]) if match else _STREAMS.get(name)
    if number is not None:
        # Opened by its path, a file would be truncated, and a socket would be refused.
        return open(os.dup(number), "wb")  # noqa: PTH123 - the caller closes it
    status = _status(path)
    if status is None or stat.S_ISREG(status.st_mode):
        return None
    return Path(path).open("wb")


@contextlib.contextmanager
def _replacement(goal: Path) -> Iterator[IO[bytes]]:
    # It is in the same folder, because a rename is atomic only within one file system.
    status = _status(goal)
    remove_abandoned(goal.parent, {os.geteuid(), *([] if status is None else [status.st_uid])})
    # Nothing is written before the permissions are set, but a process could open the file early.
    mode = 0o666 if status is None else status.st_mode & 0o600
    temporary = TemporaryFile(goal.parent, mode)
    try:
        if status is not None:
            adopt_permissions(temporary.descriptor, str(goal), status)
        with open(temporary.descriptor, "wb", closefd=False) as file:
            yield file
            file.flush()
            os.fsync(temporary.descriptor)
        temporary.give_name()
        if (status := _status(goal)) is not None:  # they may have changed in the meantime
            adopt_permissions(temporary.descriptor, str(goal), status)
        temporary.move_to(goal)
    finally:
        temporary.close()


def _status(path: str | os.PathLike[str]) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116 - takes what the caller passed
    except FileNotFoundError:
        return None


def _name_goal(exc: OSError, goal: Path) -> None:
    """Name the goal in an error, because the caller does not know the temporary file."""
    if exc.filename is None or TemporaryFile.is_named(exc.filename):
        exc.filename = str(goal)
        del exc.filename2  # None would be shown: 'goal' -> None


def _sync_folder(folder: Path) -> None:
    """Flush renames in ``folder`` to disk, if its permissions and the file system allow this."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
