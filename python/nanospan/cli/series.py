"""Run two commands alternately, timing each run and showing progress."""

from __future__ import annotations

import shlex
import signal
import statistics
from typing import TYPE_CHECKING

from nanospan.cli import text
from nanospan.cli.child import Execution, Interrupts, execute
from nanospan.cli.status import Status
from nanospan.values.messages import describe, shorten
from nanospan.values.units import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = ("A", "B")


class CommandFailedError(Exception):
    """Raised when a command cannot be started, fails or times out; the message says why."""


class Series:
    """A series of alternating executions of two commands.

    Args:
        commands: The two commands, each as a program and its arguments.
        runs: How many times to run each command.
        warmup: How many times to run each command first without counting the durations.
        timeout: Maximum duration of one execution, in seconds.
        interrupts: The deferred signals. If a signal is received, the series ends early.
    """

    def __init__(
        self,
        commands: Sequence[Sequence[str]],
        *,
        runs: int,
        warmup: int,
        timeout: float,
        interrupts: Interrupts,
    ) -> None:
        self.commands = commands
        self.timeout = timeout
        self.warmup = warmup
        self.rounds = warmup + runs
        self.interrupts = interrupts
        self.progress = _Progress(self.rounds * len(NAMES))

    def run(self) -> tuple[list[float], list[float]]:
        """Run both commands; return the durations of each command's runs, in seconds.

        The durations of the warm-up runs are not included.

        Raises:
            CommandFailedError: If a command cannot be started, fails or takes too long.
        """
        times: tuple[list[float], list[float]] = ([], [])
        self.progress.times = times
        with self.progress.status:
            for number in range(self.rounds):
                # Each execution is affected by the state in which the previous one left the
                # machine, so the commands take turns at going first.
                for which in (0, 1) if number % 2 == 0 else (1, 0):
                    seconds = self._once(which, number)
                    if number >= self.warmup:
                        times[which].append(seconds)
                    self.progress.step()
        return times

    def _once(self, which: int, number: int) -> float:
        command = self.commands[which]
        try:
            execution = execute(command, self.timeout, self.interrupts, self.progress.show)
        except OSError as exc:
            raise CommandFailedError(
                f"command {NAMES[which]} failed to start: {describe(exc)}"
            ) from None
        if execution.status == 0:
            return execution.seconds
        raise CommandFailedError(
            f"command {NAMES[which]} {_failure(execution, self.timeout)} in run "
            f"{number + 1} of {self.rounds}: {shorten(shlex.join(command))}"
            f"{_end_of_errors(execution)}"
        )


def _failure(execution: Execution, timeout: float) -> str:
    if execution.status is None:
        return f"took longer than {timeout:g} s"
    if execution.status > 0:
        return f"exited with status {execution.status}"
    try:
        return f"was ended by {signal.Signals(-execution.status).name}"
    except ValueError:
        return f"was ended by signal {-execution.status}"


def _end_of_errors(execution: Execution) -> str:
    lines = execution.errors.rstrip().splitlines()[-10:]
    if not lines:
        return "\nIts standard error output is empty."
    return "\nIts standard error output ends with:\n" + "\n".join(
        f"  {printable(line)}" for line in lines
    )


class _Progress:
    """Shows how many of a series' runs, of both commands together, are done."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.done = 0
        self.times: Sequence[list[float]] = ([], [])
        self.status = Status(at_once=True)

    def step(self) -> None:
        self.done += 1
        self.show()

    def show(self) -> None:
        self.status.show(self._text)

    def _text(self) -> str:
        medians = "".join(
            f", {name} {text.fixed_duration(statistics.median(each))}"
            for name, each in zip(NAMES, self.times, strict=True)
            if each
        )
        so_far = f"{self.done} of {self.steps} runs{medians}"
        if self.done == 0:
            return f"{so_far}, {self.status.elapsed:.0f} s into the first"
        left = self.status.elapsed / self.done * (self.steps - self.done)
        return f"{so_far}, about {left:.0f} s left"
