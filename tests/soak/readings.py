"""Readings of the memory, descriptors, threads and tasks that a process at rest holds."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
from dataclasses import dataclass, fields
from typing import ClassVar

import psutil

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Reading:
    """Amounts that the process holds at one moment.

    Attributes:
        memory: Resident memory in bytes, after the C library has returned what is free.
        objects: The number of Python objects that the garbage collector tracks.
        descriptors: The number of open file descriptors.
        threads: The number of threads.
        tasks: The number of tasks of the running event loop.
        processes: The number of child processes.
    """

    memory: int
    objects: int
    descriptors: int
    threads: int
    tasks: int
    processes: int

    ALLOWED: ClassVar[dict[str, int]] = {
        # Fragments of the heap remain in use, and how many differs between runs.
        "memory": 24 * MIB,
        # The caches of the standard library and of other libraries.
        "objects": 1_000,
        "descriptors": 0,
        "threads": 0,
        "tasks": 0,
        "processes": 0,
    }
    """How much more of each a process may hold later without having leaked."""

    @classmethod
    def take(cls) -> Reading:
        """Read what this process holds. Call it from a task, while everything else is at rest."""
        for _ in range(3):  # finalisers may leave new garbage
            gc.collect()
        if sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)
        process = psutil.Process()
        return cls(
            memory=process.memory_info().rss,
            objects=len(gc.get_objects()),
            descriptors=process.num_fds(),
            threads=process.num_threads(),
            tasks=len(asyncio.all_tasks()),
            processes=len(process.children(recursive=True)),
        )

    def growth_to(self, later: Reading) -> list[str]:
        """Return a line for each thing of which ``later`` has more than is allowed."""
        return [
            f"{name} grew from {before:,} to {after:,}, by more than {self.ALLOWED[name]:,}"
            for name in (field.name for field in fields(self))
            if (after := getattr(later, name)) - (before := getattr(self, name))
            > self.ALLOWED[name]
        ]
