"""Write all of the given bytes to unbuffered files, whose writes may be cut short."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer


@contextlib.contextmanager
def whole_writes(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Return a file whose ``write`` writes everything or raises, for use in the ``with`` block.

    Buffered files do, and are returned as they are. A raw file may take only a part of the data, as
    when a disk becomes full, and returns the number of bytes that it took.
    """
    yield cast("IO[bytes]", _WholeWrites(file)) if isinstance(file, io.RawIOBase) else file


class _WholeWrites(io.BufferedIOBase):
    """Writes to a raw file, without a buffer, until it has taken all of the data."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest:
            count = self._raw.write(rest)
            if not count:  # None: a non-blocking file would block
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), size - len(rest))
            rest = rest[count:]
        return size

    def flush(self) -> None:
        if not self.closed:
            self._raw.flush()
