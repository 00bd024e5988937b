"""Show the demo's progress: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLAIN_WIDTH = 100
"""The width in characters of tables that are written to a file or pipe."""


class Screen:
    """Prints lines and progress to standard output, which may be a terminal, file or pipe."""

    def __init__(self) -> None:
        self.console = Console()
        if not self.console.is_terminal:
            self.console.width = PLAIN_WIDTH

    def say(self, line: str) -> None:
        """Print a line without markup or wrapping."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def progress(self) -> Iterator[Callable[[str, int], Callable[[], None]]]:
        """Show the progress of each stage of the demo while the ``with`` block executes.

        Yields:
            A function that begins a stage, given the stage's name and number of steps. It
            returns a function to call after each step.
        """
        bars = Progress(
            TextColumn("{task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
            disable=not self.console.is_terminal,
        )

        def begin(name: str, steps: int) -> Callable[[], None]:
            bar = bars.add_task(name, total=steps)
            started = time.perf_counter()
            done = 0

            def step() -> None:
                nonlocal done
                done += 1
                bars.advance(bar)
                if done == steps and not self.console.is_terminal:
                    self.say(f"{name}: {steps:,} requests in {time.perf_counter() - started:.1f} s")

            return step

        with bars:
            yield begin
