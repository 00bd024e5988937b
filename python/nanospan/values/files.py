"""Writing files that are at no moment half written."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["replacing", "write_atomically"]


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` when the block ends without an exception.

    Until then, and after an exception, a reader of `path` sees what was there before. The content
    is on the disk before the name leads to it, so that a crash, too, leaves one of the two. A link
    is followed; a device or a pipe is written to as it is.

    Args:
        path: The file. It keeps its permissions if it exists, and gets those of any new file
            otherwise.

    Raises:
        OSError: If the folder does not exist or cannot be written to, or the disk is full; `path`
            is then as it was.
    """
    goal = Path(os.path.realpath(path))
    if goal.exists() and not goal.is_file():
        with goal.open("wb") as file:
            yield file
        return
    # Next to its goal, because only within one file system is a rename atomic.
    temporary = goal.with_name(f".nanospan-{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            temporary.chmod(goal.stat().st_mode & 0o777)
        temporary.replace(goal)
    except BaseException as exc:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(exc, OSError) and exc.filename in {None, str(temporary)}:
            # Of the temporary name its reader knows nothing.
            exc.filename, exc.filename2 = str(goal), None
        raise
    _sync_folder(goal.parent)


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write all of `content` to `path`, by :func:`replacing` it; text is written as UTF-8.

    Raises:
        OSError: As there.
    """
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def _sync_folder(folder: Path) -> None:
    """Put the rename itself on the disk, where folder and file system allow it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
