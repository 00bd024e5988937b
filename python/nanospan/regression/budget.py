"""Budgets: how long an operation may take in a test; see `nanospan.pytest_plugin`."""

from __future__ import annotations

import math
import time
from array import array
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from nanospan._core import compare
from nanospan.recorder import Recorder, process_recorder
from nanospan.regression.effects import tail_min_effect_beside
from nanospan.values.baselines import Baseline
from nanospan.values.units import duration_text

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from pathlib import Path

MAX_INCREASE = 0.10
"""The increase over a baseline that is let pass unless another is given, as a share."""


class BudgetExceededError(AssertionError):
    """An operation took longer than its budget allows; the text says by how much."""


class PerfBudget:
    """What the fixture ``perf_budget`` gives: call it for a budget to run a block under.

    Args:
        root: The folder that relative names of baseline files start from.
        update: Whether baseline files are written anew instead of compared with.
    """

    def __init__(self, root: Path, *, update: bool = False) -> None:
        self._root = root
        self._update = update

    @contextmanager
    def __call__(  # noqa: PLR0913 - each is a limit of its own
        self,
        operation: str,
        *,
        mean: float | None = None,
        p50: float | None = None,
        p95: float | None = None,
        p99: float | None = None,
        p999: float | None = None,
        max: float | None = None,  # noqa: A002 - the name of the statistic
        baseline: str | os.PathLike[str] | Baseline | None = None,
        max_increase: float | None = None,
    ) -> Iterator[None]:
        """Check what the process's monitor records of an operation while a block runs.

        Judged are the executions that the block records under the operation's name, in whatever
        thread or task; of more than the monitor's window holds, the last. If it records none, the
        block as a whole is one execution, and is recorded.

        A block that raises is not judged.

        Args:
            operation: The operation's name.
            mean: The most its mean may be, in seconds; and so for the median, the percentiles and
                the longest execution.
            p50: See ``mean``.
            p95: See ``mean``.
            p99: See ``mean``.
            p999: See ``mean``.
            max: See ``mean``.
            baseline: What to compare with, or the file it is in; see :func:`nanospan.regression.
                compare`. If baselines are to be written anew, the operation goes into that file.
            max_increase: The increase over the baseline that is let pass, as a share: 0.1 is 10 %.
                Only with a baseline. A tail may always increase by a tenth.

        Raises:
            BudgetExceededError: After the block, if a limit is exceeded, the operation regressed,
                or there are too few independent samples to tell. An `AssertionError`.
            ValueError: If there is neither a limit nor a baseline, a limit is no number over zero,
                or the baseline cannot be used; before the block.
            OSError: If the file cannot be read or written.
        """
        __tracebackhide__ = True
        limits = _checked(
            operation, {"mean": mean, "p50": p50, "p95": p95, "p99": p99, "p999": p999, "max": max}
        )
        if max_increase is not None and (baseline is None or not 0 <= max_increase < math.inf):
            raise ValueError(
                f"the budget of {operation!r}: max_increase is a share of a baseline, 0 or more, "
                f"got {max_increase} {'with' if baseline else 'without'} a baseline"
            )
        if not limits and baseline is None:
            raise ValueError(f"the budget of {operation!r} has neither a limit nor a baseline")
        file = None
        if baseline is not None and not isinstance(baseline, Baseline):
            file = self._root / baseline
            baseline = None if self._update else _load(file)
        if baseline is not None and operation not in baseline.operations:
            known = ", ".join(map(repr, list(baseline.operations)[:5])) or "none"
            raise ValueError(f"the baseline has no operation {operation!r}; it has {known}")

        recording = _Recording(operation)
        yield
        samples = recording.samples()

        problems = list(_over(limits, samples))
        if file is not None and self._update:
            _save(file, operation, samples)
        elif baseline is not None:
            increase = MAX_INCREASE if max_increase is None else max_increase
            problems += _regression(operation, baseline, samples, increase)
        if problems:
            heading = f"{operation} is over its budget ({recording.origin(len(samples))}):"
            raise BudgetExceededError("\n  ".join([heading, *problems]))


def _load(file: Path) -> Baseline:
    try:
        return Baseline.load(file)
    except FileNotFoundError as exc:
        hint = "there is no baseline yet; `pytest --perf-update` writes one"
        raise FileNotFoundError(exc.errno, hint, str(file)) from None


class _Recording:
    """What is recorded of an operation from now on."""

    def __init__(self, operation: str) -> None:
        self.operation = operation
        self._monitor = process_recorder()
        self._handle = self._monitor.operation(operation)
        self._count_before = self._handle.snapshot().count
        self.whole = False
        self._begin = time.perf_counter()

    def samples(self) -> array[float]:
        """Return the executions since, in seconds; if there is none, the time since."""
        elapsed = time.perf_counter() - self._begin
        now = self._handle.snapshot().count
        # After a clear, all there is was recorded since.
        recorded = now - self._count_before if now >= self._count_before else now
        if recorded:
            return self._monitor.durations(self.operation)[-recorded:]
        self.whole = True
        self._handle.record(elapsed)
        return array("d", [elapsed])

    def origin(self, count: int) -> str:
        """Say what was judged."""
        if self.whole:
            return f"the block as a whole, as nothing in it recorded {self.operation!r}"
        return f"{count:,} samples recorded in the block"


def _checked(operation: str, limits: dict[str, float | None]) -> dict[str, float]:
    given = {name: limit for name, limit in limits.items() if limit is not None}
    for name, limit in given.items():
        if not isinstance(limit, (int, float)) or not 0 < limit < math.inf:
            raise ValueError(
                f"the budget of {operation!r}: {name} is a number of seconds over 0, got {limit!r}"
            )
    return given


def _over(limits: dict[str, float], samples: array[float]) -> Iterator[str]:
    """Say which limits the samples exceed."""
    monitor = Recorder(len(samples))
    judged = monitor.operation("judged")
    for sample in samples:
        judged.record(sample)
    stats = judged.stats()
    for name, limit in limits.items():
        value = getattr(stats, "avg_duration" if name == "mean" else f"{name}_duration")
        if value > limit:
            yield f"{name} is {duration_text(value)}, the limit {duration_text(limit)}"


def _regression(
    operation: str, baseline: Baseline, samples: array[float], max_increase: float
) -> Iterator[str]:
    """Say how the samples compare with the baseline, unless well."""
    comparison = compare(
        baseline.operations[operation].samples,
        samples,
        min_effect=max_increase,
        tail_min_effect=tail_min_effect_beside(max_increase),
    )
    if comparison.verdict == "regressed":
        yield f"it regressed from the baseline by more than {max_increase:.0%}: {comparison!r}"
    elif comparison.verdict == "insufficient":
        yield f"there are too few independent samples to compare with the baseline: {comparison!r}"


def _save(file: Path, operation: str, samples: array[float]) -> None:
    """Put the operation into a baseline file, beside the operations that are there."""
    baseline = Baseline.from_samples({operation: samples})
    if file.exists():
        before = Baseline.load(file)
        operations = {**before.operations, **baseline.operations}
        baseline = replace(baseline, operations=operations, labels=before.labels)
    file.parent.mkdir(parents=True, exist_ok=True)
    baseline.save(file)
