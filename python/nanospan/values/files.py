"""Write files so that readers never see half-written content."""

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
    """Open a temporary file that replaces ``path`` if the block ends without an exception.

    Until then, and after an exception, readers of ``path`` see its previous content. The new
    content is flushed to disk before the file is renamed, so that even a crash leaves either the
    old or the new content. Symbolic links are followed; devices and pipes are written to directly.

    Args:
        path: The file to replace. An existing file keeps its permissions; a new file gets the
            default permissions.

    Raises:
        OSError: If the folder does not exist or is not writable, or the disk is full; ``path`` is
            then unchanged.
    """
    goal = Path(os.path.realpath(path))
    if goal.exists() and not goal.is_file():
        with goal.open("wb") as file:
            yield file
        return
    # It is in the same folder, because a rename is atomic only within one file system.
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
            # Name the target, because the caller does not know the temporary file.
            exc.filename, exc.filename2 = str(goal), None
        raise
    _sync_folder(goal.parent)


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Replace the content of ``path`` atomically; text is written as UTF-8.

    Raises:
        OSError: If the file cannot be replaced; see :func:`replacing`.
    """
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def _sync_folder(folder: Path) -> None:
    """Flush renames in ``folder`` to disk, if its permissions and the file system allow this."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
