"""Output of commands under comparison, on standard error."""

from __future__ import annotations

import os

from nanospan.cli.child import Execution, _Tail
from nanospan.cli.series import _end_of_errors


def target(data: bytes) -> None:
    """The end of any output is shown in at most twelve printable lines."""
    reading, writing = os.pipe()
    try:
        os.write(writing, data[: 32 * 1024])
        os.close(writing)
        tail = _Tail(reading)
        while tail.read():
            pass
    finally:
        os.close(reading)
    shown = _end_of_errors(Execution(1.0, 1, tail.text()))
    lines = shown.split("\n")
    assert len(lines) <= 12
    assert all(line.isprintable() for line in lines)
