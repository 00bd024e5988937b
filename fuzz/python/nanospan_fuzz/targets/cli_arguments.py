"""Arguments of the command ``nanospan``, for the commands that neither wait nor run programs."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanospan import PerformanceMonitor
from nanospan.cli import ab, demo, main, serve
from nanospan_fuzz.inputs import InvalidInput, as_text

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 40
"""The most arguments to pass."""


def _do_nothing(_arguments: object) -> int:
    return 0


@functools.cache
def _folder() -> Path:
    """Make a folder with a file of each kind, which arguments can name."""
    folder = Path(tempfile.mkdtemp(prefix="nanospan-fuzz-"))
    monitor = PerformanceMonitor()
    for number in range(20):
        monitor.operation("op").record(0.001 * (number + 1))
    (folder / "s.nsm").write_bytes(monitor.snapshot().to_bytes())
    monitor.baseline().save(folder / "b.json")
    rows = '{"operation":"op","timestamp":1.0,"duration":0.5,"outcome":"ok","metadata":{}}\n'
    (folder / "r.jsonl").write_text(rows * 3)
    (folder / "n.csv").write_text("values\n1\n2\n3\n")
    rule = '[[rule]]\nname = "a"\noperation = "*"\nstatistic = "p95"\nabove = 1\n'
    (folder / "a.toml").write_text(rule)
    return folder


GIVEN = frozenset({"s.nsm", "b.json", "r.jsonl", "n.csv", "a.toml"})


def target(data: bytes) -> None:
    """Any arguments end the command with a status that its documentation names."""
    arguments = [each for each in as_text(data).split("\n") if each]
    # A file may be written only in the folder.
    if len(arguments) > MOST or any("/" in each or "\0" in each for each in arguments):
        raise InvalidInput
    with _in_folder(), _captured() as errors:
        try:
            status = main(arguments)
        except SystemExit as exc:
            status = exc.code if isinstance(exc.code, int) else 1
    text = errors.getvalue().decode()
    assert status in {0, 1, 2}, text
    assert "Traceback" not in text


@contextlib.contextmanager
def _in_folder() -> Iterator[None]:
    before = Path.cwd()
    modules: list[Any] = [ab, demo, serve]
    runs = [module.run for module in modules]
    os.chdir(_folder())
    for module in modules:
        module.run = _do_nothing
    try:
        yield
    finally:
        os.chdir(before)
        for module, run in zip(modules, runs, strict=True):
            module.run = run
        for path in _folder().iterdir():
            if path.name not in GIVEN:
                path.unlink()


@contextlib.contextmanager
def _captured() -> Iterator[io.BytesIO]:
    """Capture what is written to standard output and error, as bytes."""
    errors = io.BytesIO()
    streams = [
        io.TextIOWrapper(buffer, "utf-8", errors=policy, write_through=True)
        for buffer, policy in ((io.BytesIO(), "strict"), (errors, "backslashreplace"))
    ]
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = streams
    try:
        yield errors
    finally:
        sys.stdout, sys.stderr = before
        for stream in streams:
            stream.detach()
