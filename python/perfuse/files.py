"""Writing files that are at no moment half written."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write to `path`, so that its readers see all of `content` or what was there before.

    The content is on the disk before the name leads to it, so that a crash, too, leaves one of the
    two. A link is followed; a device or a pipe is written to as it is.

    Args:
        path: The file. It keeps its permissions if it exists, and gets those of any new file
            otherwise.
        content: What it is to hold; text is written as UTF-8.

    Raises:
        OSError: If the folder does not exist or cannot be written to, or the disk is full; `path`
            is then as it was.
    """
    data = content.encode() if isinstance(content, str) else content
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    # Next to its goal, because only within one file system is a rename atomic.
    temporary = path.with_name(f".perfuse-{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            temporary.chmod(path.stat().st_mode & 0o777)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Put the rename itself on the disk, where folder and file system allow it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
