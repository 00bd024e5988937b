"""Run a target on saved inputs: ``python -m nanospan_fuzz.replay TARGET FILE...``."""

from __future__ import annotations

import logging
import sys
import tempfile
import tracemalloc
from pathlib import Path

from nanospan_fuzz import limits
from nanospan_fuzz.inputs import InvalidInput
from nanospan_fuzz.targets import Target, load


def replay(target: Target, data: bytes, *, memory: bool = True) -> None:
    """Run a target on an input, and check the time that it takes, and then the memory.

    Args:
        target: The target.
        data: The input.
        memory: Whether to check the memory as well, by running the target again.

    Raises:
        LimitError: If it exceeds a limit.
        Exception: If it fails in another way.
    """
    for traced in (False, True) if memory else (False,):
        if traced:
            tracemalloc.start()
        try:
            limits.run(target, data)
        except InvalidInput:
            return
        finally:
            if traced:
                tracemalloc.stop()


def warm_up(target: Target) -> None:
    """Let a target import what it needs and fill caches, which take more than most inputs."""
    for data in (b"", b"{}", b"[]"):
        try:
            target.run(data)
        except Exception:  # noqa: BLE001, S112 - it will fail again when it matters
            continue


def main() -> None:
    """Replay the files named on the command line; raise the first failure."""
    name, *files = sys.argv[1:]
    logging.getLogger("nanospan").addHandler(logging.NullHandler())
    logging.getLogger("nanospan").propagate = False
    with tempfile.TemporaryDirectory(prefix="nanospan-fuzz-") as folder:
        tempfile.tempdir = folder
        target = load(name)
        warm_up(target)
        for file in files:
            replay(target, Path(file).read_bytes())
            print(f"{file}: ok")


if __name__ == "__main__":
    main()
