"""The limits that a target must keep for every input."""

from __future__ import annotations

import time
import tracemalloc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nanospan_fuzz.targets import Target

LONGEST = 1.0
"""The processor time that one input may take, in seconds."""

ALLOWANCE = 3 * 1024 * 1024
"""The memory that any input may take in addition, in bytes.

The values of every data file may take 1 MB, however short it is, and so may its operations, or the
text of an alerts file; the rest is for buffers, error messages and caches.
"""

MAX_BYTES = 1024 * 1024
"""The size limit of data files while fuzzing, in bytes; with the default, which is much greater,
even the values of a short file may take 64 MB."""


class LimitError(AssertionError):
    """Raised when a target takes too much time or memory for an input."""


def run(target: Target, data: bytes) -> None:
    """Run a target on an input; check the memory if it is being traced, and else the time.

    Memory is traced where :func:`tracemalloc.start` has been called. It makes Python several times
    slower, so the time is then not checked. Only Python's own allocations are counted; those of the
    extension are counted by the targets in Rust.

    Raises:
        LimitError: If the target takes more than ``LONGEST``, or is a reader of files and takes
            more than ``memory_factor`` times the input and ``ALLOWANCE``.
    """
    if tracemalloc.is_tracing():
        _check_memory(target, data)
        return
    start = time.process_time()
    target.run(data)
    took = time.process_time() - start
    if took > LONGEST:
        raise LimitError(f"{len(data):,} bytes took {took:.1f} s")


def _check_memory(target: Target, data: bytes) -> None:
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    target.run(data)
    memory = tracemalloc.get_traced_memory()[1] - before
    most = target.memory_factor * len(data) + ALLOWANCE
    if memory > most:
        raise LimitError(f"{len(data):,} bytes took {memory:,} bytes of memory, more than {most:,}")
