"""Temporary files that replace another file at the end, and the removal of abandoned ones."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import stat
from pathlib import Path

NAME = re.compile(r"\.nanospan-[0-9a-f]{16}\.tmp")


class TemporaryFile:
    """A new file in a folder, to be moved to its final path once it is complete.

    Where the file system supports it, the file has no name until then, so that nothing remains of
    it if the process is killed. Elsewhere it has a name that ``remove_abandoned`` knows. While the
    file has a name, it is locked (``flock``), and the lock ends with the process.

    Args:
        folder: The folder.
        mode: The permissions to create the file with; the umask applies.

    Raises:
        OSError: If the file cannot be created.
    """

    def __init__(self, folder: Path, mode: int) -> None:
        self._folder = folder
        self._mode = mode
        self._path: Path | None = None
        try:
            self.descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR, mode)
        except OSError:  # file systems and kernels that lack O_TMPFILE report various errors
            self._create_named()
        else:
            _lock(self.descriptor)

    def _create_named(self) -> None:
        while True:
            path = self._folder / _new_name()
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, self._mode)
            # Before it was locked, another process may have taken the file for an abandoned one.
            if _lock(descriptor) and os.fstat(descriptor).st_nlink:
                self.descriptor, self._path = descriptor, path
                return
            os.close(descriptor)

    def give_name(self) -> None:
        """Give the file a name in its folder, unless it has one; ``descriptor`` may change.

        Raises:
            OSError: If that fails.
        """
        if self._path is not None:
            return
        path = self._folder / _new_name()
        try:
            folder = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
            try:
                # The link to the descriptor is followed only if a folder's descriptor is passed.
                source = f"/proc/self/fd/{self.descriptor}"
                os.link(source, path.name, src_dir_fd=folder, dst_dir_fd=folder)
            finally:
                os.close(folder)
        except OSError:  # /proc is not mounted, or a sandbox does not permit links
            self._copy_to_named()
        else:
            self._path = path

    def _copy_to_named(self) -> None:
        source = self.descriptor
        self._create_named()
        try:
            with open(self.descriptor, "wb", closefd=False) as target:
                position = 0
                while part := os.pread(source, 1 << 20, position):
                    target.write(part)
                    position += len(part)
                target.flush()
                os.fsync(self.descriptor)
        finally:
            os.close(source)

    def move_to(self, path: Path) -> None:
        """Move the file, which must have a name, to its final path.

        Raises:
            OSError: If that fails.
        """
        if self._path is not None:
            self._path.replace(path)
            self._path = None

    def close(self) -> None:
        """Close the file, and remove it unless it was moved."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
        os.close(self.descriptor)

    @staticmethod
    def is_named(path: object) -> bool:
        """Return whether ``path`` is a temporary file's, as in an error's ``filename``."""
        return isinstance(path, str) and NAME.fullmatch(Path(path).name) is not None


def remove_abandoned(folder: Path, owners: set[int]) -> None:
    """Remove temporary files in ``folder`` whose writers were killed; errors are ignored.

    Only files that this module named, that belong to one of ``owners``, and that no living process
    has locked are removed. On file systems without locks, none are.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if NAME.fullmatch(entry.name):
                _remove_unless_locked(entry.path, owners)


def _remove_unless_locked(path: str, owners: set[int]) -> None:
    with contextlib.suppress(OSError):
        # NFS locks only files that are open for writing.
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode) and status.st_uid in owners:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                Path(path).unlink()
        finally:
            os.close(descriptor)


def _new_name() -> str:
    return f".nanospan-{secrets.token_hex(8)}.tmp"


def _lock(descriptor: int) -> bool:
    """Lock the file; return False if another process holds the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # on a file system without locks, no process removes temporary files
        pass
    return True
