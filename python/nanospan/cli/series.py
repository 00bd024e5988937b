"""Running two commands in turn, and saying how far it is."""

from __future__ import annotations

import shlex
import signal
import statistics
from typing import TYPE_CHECKING

from nanospan.cli import text
from nanospan.cli.child import Execution, Interrupts, execute
from nanospan.cli.status import Status
from nanospan.values.units import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = ("A", "B")


class FailedError(Exception):
    """A command did not do what it should; the text says what."""


class Series:
    """Executions of two commands in turn.

    Args:
        commands: Program and arguments of either.
        runs: How often to run each.
        warmup: How often to run each before that, without counting.
        timeout: Seconds one execution may take.
        interrupts: What may come between.
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
        """Return the seconds of each counted execution of A, and of B, in the order of time.

        Raises:
            FailedError: If a command does not start, fails, or takes too long.
        """
        times: tuple[list[float], list[float]] = ([], [])
        self.progress.times = times
        with self.progress.status:
            for number in range(self.rounds):
                # Who goes first finds the machine as the other left it; so they take turns in that.
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
            raise FailedError(f"command {NAMES[which]} does not start: {exc}") from None
        if execution.status == 0:
            return execution.seconds
        raise FailedError(
            f"command {NAMES[which]} {_how_it_ended(execution, self.timeout)} in run "
            f"{number + 1} of {self.rounds}: {shlex.join(command)}{_last_words(execution)}"
        )


def _how_it_ended(execution: Execution, timeout: float) -> str:
    if execution.status is None:
        return f"took longer than {timeout:g} s"
    if execution.status > 0:
        return f"ended with status {execution.status}"
    try:
        return f"was ended by {signal.Signals(-execution.status).name}"
    except ValueError:
        return f"was ended by signal {-execution.status}"


def _last_words(execution: Execution) -> str:
    lines = execution.errors.rstrip().splitlines()[-10:]
    if not lines:
        return "\nIt wrote nothing to its standard error output."
    return "\nThe end of its standard error output:\n" + "\n".join(
        f"  {printable(line)}" for line in lines
    )


class _Progress:
    """How far it is, in executions of either command."""

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
