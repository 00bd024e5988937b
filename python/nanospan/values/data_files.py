"""Open untrusted data files with limits for their size and for the memory of their values."""

from __future__ import annotations

import codecs
import contextlib
import functools
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nanospan.values.inputs import open_input
from nanospan.values.messages import shorten

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader

MAX_BYTES = 256 * 1024 * 1024
"""The default size limit in bytes; 10,000 operations with full windows take half of it."""

VARIABLE = "NANOSPAN_MAX_BYTES"
"""The environment variable that sets another size limit."""

REMEDY = f"raise the limit with --max-bytes, max_bytes or {VARIABLE}"

MEMORY_SHARE = 3
"""How many times the size of a file its values may take in memory."""

FREE_SHARE = 4
"""The values of a small file may take a quarter of the limit, regardless of the file's size."""

LEAST_MEMORY = 1 << 20
"""The memory that the values of every file may take, in bytes."""

CHUNK = 1 << 16
"""The number of bytes to read at a time."""


class DataFileError(ValueError):
    """Raised when a file has invalid content.

    The message names the file, the location in the file, and what was expected and found there.

    Attributes:
        path: The file.
        place: The location in the file, such as ``operations.parse.samples[3]`` or ``line 7``;
            empty if the error concerns the whole file.
    """

    def __init__(self, path: str | os.PathLike[str], place: str, problem: str) -> None:
        self.path = Path(path)
        self.place = place
        super().__init__(": ".join(part for part in (shorten(path), place, problem) if part))


def size_limit(max_bytes: int | None = None) -> int:
    """Return the size limit of data files in bytes.

    Args:
        max_bytes: The limit that the caller was given, if any.

    Raises:
        ValueError: If the limit, or the environment variable that sets it, is not a whole number
            of at least 1.
    """
    given: object = os.environ.get(VARIABLE) or MAX_BYTES if max_bytes is None else max_bytes
    try:
        limit = int(given)  # type: ignore[call-overload]  # anything else is an error
    except (TypeError, ValueError):
        limit = 0
    if limit < 1:
        name = VARIABLE if max_bytes is None else "max_bytes"
        raise ValueError(f"{name} must be a whole number of at least 1, got {str(given)[:40]!r}")
    return int(limit)


@dataclass(slots=True)
class DataFile:
    """An open data file, and the memory that its values may still take.

    Attributes:
        path: The file's path.
        file: The open file.
        limit: The size limit in bytes.
        size: The file's size in bytes, or what has been read of a pipe.
        spent: The memory of the values read so far, in bytes.
        spent_on_operations: The memory of the operations so far, without their samples, in bytes.
    """

    path: Path
    file: BufferedReader
    limit: int
    size: int
    position: int = 0
    spent: int = 0
    spent_on_operations: int = 0

    @property
    def longest_text(self) -> int:
        """The maximum length of a line or string; 1 MiB by default."""
        return max(self.limit // 256, CHUNK)

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes; return fewer only at the end of the file.

        Raises:
            DataFileError: If the file is longer than the limit.
        """
        data = self.file.read(size)
        self._count(len(data))
        return data

    def read_all(self) -> bytes:
        """Read the rest of the file.

        Raises:
            DataFileError: If the file is longer than the limit.
        """
        chunk = max(self.size - self.position + 1, CHUNK)
        return b"".join(iter(functools.partial(self.read, chunk), b""))

    def read_line(self) -> bytes:
        """Read a line with its line break; return an empty string at the end of the file.

        Raises:
            DataFileError: If the file or the line is longer than its limit.
        """
        line = self.file.readline(self.longest_text + 1)
        self._count(len(line))
        if len(line) > self.longest_text:
            problem = f"a line must be at most {self.longest_text:,} bytes long; {REMEDY}"
            raise DataFileError(self.path, "", problem)
        return line

    def _count(self, count: int) -> None:
        self.position += count
        self.size = max(self.size, self.position)
        if self.size > self.limit:
            raise DataFileError(
                self.path, "", f"the file must be at most {self.limit:,} bytes long; {REMEDY}"
            )

    def spend(self, memory: int) -> None:
        """Count the memory of a value that was read, in bytes.

        Raises:
            DataFileError: If the values take more memory than is appropriate for the file.
        """
        self.spent += memory
        allowed = max(MEMORY_SHARE * self.size, self.limit // FREE_SHARE, LEAST_MEMORY)
        if self.spent > allowed:
            raise DataFileError(
                self.path,
                "",
                f"the values of the file must fit into {allowed:,} bytes of memory "
                f"({MEMORY_SHARE} times its size, or 1/{FREE_SHARE} of the limit); {REMEDY}",
            )

    def spend_on_operation(self, memory: int, place: str = "") -> None:
        """Count the memory of an operation without its samples, in bytes.

        It does not depend on the size of the file, as a few bytes name an operation.

        Raises:
            DataFileError: If all operations take more memory than the limit.
        """
        self.spent_on_operations += memory
        if self.spent_on_operations > self.limit:
            problem = f"the operations must fit into {self.limit:,} bytes of memory; {REMEDY}"
            raise DataFileError(self.path, place, problem)

    def text(self) -> Iterator[str]:
        """Yield the text of the file, decoded from UTF-8, in chunks with ``LF`` as line break.

        Raises:
            DataFileError: If the file is not UTF-8, or longer than the limit.
        """
        utf_8 = codecs.getincrementaldecoder("utf-8")()
        decoder = io.IncrementalNewlineDecoder(utf_8, translate=True)
        first = True
        while True:
            data = self.read(CHUNK)
            if first:
                data, first = data.removeprefix(codecs.BOM_UTF8), False
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeDecodeError as exc:
                byte = self.position - len(exc.object) + exc.start
                raise DataFileError(self.path, f"byte {byte}", "expected UTF-8 text") from None
            yield text
            if not data:
                return


@contextlib.contextmanager
def open_data_file(
    path: Path, max_bytes: int | None = None, *, pipes: bool = False
) -> Iterator[DataFile]:
    """Open a data file for reading.

    Args:
        path: The file's path.
        max_bytes: The maximum size of the file; see :func:`size_limit` for the default.
        pipes: Whether the file may be a pipe, which is waited for.

    Raises:
        OSError: If the file cannot be opened, or is not a regular file.
        DataFileError: If the file is longer than the limit.
        ValueError: If the limit is invalid.
    """
    limit = size_limit(max_bytes)
    with open_input(path, pipes=pipes) as file:
        data_file = DataFile(path, file, limit, os.fstat(file.fileno()).st_size)
        data_file._count(0)  # noqa: SLF001 - defined in this module
        yield data_file


def read_bytes(path: Path, max_bytes: int | None = None) -> bytes:
    """Read a whole binary file; see :func:`open_data_file`."""
    with open_data_file(path, max_bytes) as file:
        return file.read_all()
