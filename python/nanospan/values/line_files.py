"""Append lines to a file that other processes may append to as well: whole lines or none."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Wait = Callable[[float], bool]
    """A function that waits some seconds; it returns False at once if there is no time for it."""

__all__ = ["LineFile"]

LOCK_WAITS = [min(0.001 * 2**number, 0.1) for number in range(25)]
"""The pauses, in seconds, between attempts to lock a file: two seconds in total.

An append takes microseconds, so a lock that is held for longer is another program's.
"""

STREAM_SECONDS = 10.0
"""The time that the reader of a pipe has to take a line, in seconds."""


class LineFile:
    """A file to append lines to. It is opened for each line, so it may be rotated at any time.

    A line that does not fit on the disk is removed again, and a line that is appended to half a
    line, such as one left by a crash, starts on a new line. Appends hold a lock (``flock``), so
    that lines of other processes that use this class are never removed. Lines that other programs
    append are not removed either: if one follows the half line, the half line is blanked instead.

    Not thread-safe; use one object for each thread.

    Args:
        path: The file's path. A new file is readable and writable only by its owner. The path of a
            pipe or device is written to without a lock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_half = False  # a pipe got only a part of the last line

    def append(self, line: bytes, wait: Wait) -> None:
        """Append a line, which must end with a line break.

        Args:
            line: The line.
            wait: A function that waits the given number of seconds, for another process's lock or
                for the reader of a pipe. If it returns False, the line is appended without the
                lock, and the reader is not waited for.

        Raises:
            OSError: If the line was not appended, because the disk is full, nothing reads the pipe,
                or the file cannot be opened.
        """
        # O_NONBLOCK affects only pipes and devices, whose readers must not block this thread.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY
        descriptor = os.open(self._path, flags, 0o600)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                self._append_to_file(descriptor, line, wait)
            else:
                self._append_to_stream(descriptor, line, wait)
        finally:
            os.close(descriptor)

    def _append_to_file(self, descriptor: int, line: bytes, wait: Wait) -> None:
        is_locked = _lock(descriptor, wait)
        try:
            data = b"\n" + line if self._ends_in_half_a_line(descriptor) else line
            # A single call, because lines appended without the lock must not come in between.
            count = os.write(descriptor, data)
            if count < len(data):
                _remove(descriptor, data[:count], truncate=is_locked)
                problem = f"only {count} of {len(data)} bytes of a line fitted; none were kept"
                raise OSError(errno.ENOSPC, problem, str(self._path))
        finally:
            if is_locked:
                # Closing does not suffice: a child that was just forked has the descriptor, too.
                fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _ends_in_half_a_line(self, descriptor: int) -> bool:
        size = os.fstat(descriptor).st_size
        if not size:
            return False
        try:
            reader = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:  # writing may be permitted where reading is not
            return False
        try:
            is_same = os.path.sameopenfile(reader, descriptor)  # not if the file was just rotated
            return is_same and os.pread(reader, 1, size - 1) not in {b"\n", b""}
        finally:
            os.close(reader)

    def _append_to_stream(self, descriptor: int, line: bytes, wait: Wait) -> None:
        rest = memoryview(b"\n" + line if self._is_half else line)
        whole = len(rest)
        deadline = time.monotonic() + STREAM_SECONDS
        try:
            while rest:
                try:
                    rest = rest[os.write(descriptor, rest) :]
                except BlockingIOError:
                    if time.monotonic() >= deadline or not wait(0.05):
                        raise
        finally:
            self._is_half = 0 < len(rest) < whole or (self._is_half and bool(rest))


def _lock(descriptor: int, wait: Wait) -> bool:
    """Lock a file; return False if another program keeps it locked or it cannot be locked."""
    for pause in LOCK_WAITS:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait(pause):
                return False
        except OSError:  # the file system has no locks
            return False
        else:
            return True
    return False


def _remove(descriptor: int, part: bytes, *, truncate: bool) -> None:
    """Remove ``part``, which was just appended; blank it if other lines may follow it.

    If neither is possible, as in a file that can only be appended to, the next line starts on a
    new line.
    """
    end = os.lseek(descriptor, 0, os.SEEK_CUR)
    with contextlib.suppress(OSError):
        if truncate and os.fstat(descriptor).st_size == end:
            os.ftruncate(descriptor, end - len(part))
        elif part:
            # Linux would append here, too, if the descriptor was still in the mode for appending.
            flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_APPEND)
            blank = re.sub(rb"[^\n]", b" ", part)[:-1] + b"\n"
            os.pwrite(descriptor, blank, end - len(part))
