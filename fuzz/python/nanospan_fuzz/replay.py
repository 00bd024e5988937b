"""Run a target on saved inputs: ``python -m nanospan_fuzz.replay TARGET FILE...``."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import tracemalloc
from pathlib import Path

from nanospan_fuzz import limits
from nanospan_fuzz.inputs import InvalidInput
from nanospan_fuzz.targets import Target, load


def replay(target: Target, data: bytes) -> None:
    """Run a target on an input, and check the time; then the memory, if it is a reader of files.

    Raises:
        LimitError: If it exceeds a limit.
        Exception: If it fails in another way.
    """
    for traced in (False, True) if target.reads_files else (False,):
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


def prepare() -> None:
    """Set up a process for targets: a small size limit of files, and no log."""
    os.environ["NANOSPAN_MAX_BYTES"] = str(limits.MAX_BYTES)
    logging.getLogger("nanospan").addHandler(logging.NullHandler())
    logging.getLogger("nanospan").propagate = False


def main() -> None:
    """Replay the files named on the command line; raise the first failure."""
    name, *files = sys.argv[1:]
    prepare()
    with tempfile.TemporaryDirectory(prefix="nanospan-fuzz-") as folder:
        tempfile.tempdir = folder
        target = load(name)
        warm_up(target)
        for file in files:
            replay(target, Path(file).read_bytes())
            print(f"{file}: ok")


if __name__ == "__main__":
    main()
