"""Enforce duration budgets for operations in tests; see ``nanospan.pytest_plugin``."""

from __future__ import annotations

import math
import time
from array import array
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from nanospan._core import MAX_DURATION, compare
from nanospan.recorder import Recorder, process_recorder
from nanospan.regression.effects import BUDGET_MAX_INCREASE, tail_min_effect_beside
from nanospan.values.baselines import Baseline
from nanospan.values.messages import shorten, shown
from nanospan.values.units import counted, duration_text

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from pathlib import Path


class BudgetExceededError(AssertionError):
    """Raised when an operation exceeds its budget; the message states by how much."""


class PerfBudget:
    """The value of the fixture ``perf_budget``.

    Calling it returns a context manager that enforces a budget.

    Args:
        root: The folder against which relative paths of baseline files are resolved.
        update: Whether to rewrite baseline files instead of comparing with them.
    """

    def __init__(self, root: Path, *, update: bool = False) -> None:
        self._root = root
        self._update = update

    @contextmanager
    def __call__(  # noqa: PLR0913 - one argument for each limit
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
        """Check the samples of an operation that the process-wide monitor records during the block.

        All samples recorded under the operation's name during the block are checked, regardless of
        which thread or task records them. If they do not all fit into the monitor's window, only
        the most recent ones are checked. If there are none, the whole block is timed and recorded
        as one execution.

        Nothing is checked if the block raises an exception.

        Args:
            operation: The operation's name.
            mean: The maximum permitted mean, in seconds.
            p50: The maximum permitted median, in seconds.
            p95: The maximum permitted 95th percentile, in seconds.
            p99: The maximum permitted 99th percentile, in seconds.
            p999: The maximum permitted 99.9th percentile, in seconds.
            max: The maximum permitted duration of any execution, in seconds.
            baseline: A baseline to compare with, or the path of its file; see
                :func:`nanospan.regression.compare`. With ``pytest --perf-update``, the
                operation is written to that file instead of being compared with it.
            max_increase: The tolerated increase in the median, as a fraction of the baseline's
                median; 0.1 (10 %) by default. Requires ``baseline``. In tail quantiles, an increase
                of up to 10 % is always tolerated.

        Raises:
            BudgetExceededError: (an ``AssertionError``) After the block, if a limit is exceeded,
                the operation has regressed, or there are too few independent samples to judge.
            ValueError: Before the block, if neither a limit nor a baseline is given, a limit is not
                a positive number, or the baseline cannot be used.
            OSError: If the baseline's file cannot be read or written.
        """
        __tracebackhide__ = True
        limits = _validated(
            operation, {"mean": mean, "p50": p50, "p95": p95, "p99": p99, "p999": p999, "max": max}
        )
        if max_increase is not None:
            if baseline is None:
                raise ValueError(
                    f"the budget of {shown(operation)}: max_increase requires a baseline"
                )
            if not 0 <= max_increase < math.inf:
                raise ValueError(
                    f"the budget of {shown(operation)}: max_increase must be finite and at least "
                    f"0, got {shown(max_increase)}"
                )
        if not limits and baseline is None:
            raise ValueError(f"the budget of {shown(operation)} must have a limit or a baseline")
        file = None
        if baseline is not None and not isinstance(baseline, Baseline):
            file = self._root / baseline
            baseline = None if self._update else _load(file)
        if baseline is not None and operation not in baseline.operations:
            known = ", ".join(map(shown, list(baseline.operations)[:5])) or "none"
            raise ValueError(f"the baseline has no operation {shown(operation)}; it has {known}")

        block = _Block(operation)
        yield
        samples = block.samples()

        problems = list(_exceeded_limits(limits, samples))
        if file is not None and self._update:
            _save(file, operation, samples)
        elif baseline is not None:
            increase = BUDGET_MAX_INCREASE if max_increase is None else max_increase
            problems += _regressions(operation, baseline, samples, increase)
        if problems:
            heading = (
                f"{shorten(operation)} is over its budget ({block.description(len(samples))}):"
            )
            raise BudgetExceededError("\n  ".join([heading, *problems]))


def _load(file: Path) -> Baseline:
    try:
        return Baseline.load(file)
    except FileNotFoundError as exc:
        hint = "there is no baseline yet; `pytest --perf-update` writes one"
        raise FileNotFoundError(exc.errno, hint, str(file)) from None


class _Block:
    """Collects the samples that are recorded for an operation after this object is created."""

    def __init__(self, operation: str) -> None:
        self.operation = operation
        self._monitor = process_recorder()
        self._handle = self._monitor.operation(operation)
        self._count_before = self._handle.snapshot().count
        self._is_whole = False  # whether the whole block is the only sample
        self._begin = time.perf_counter()

    def samples(self) -> array[float]:
        """Return the durations recorded in the block.

        If there are none, record the duration of the whole block, and return that.
        """
        elapsed = time.perf_counter() - self._begin
        now = self._handle.snapshot().count
        # A lower count means that the operation was cleared, so that all its samples are new.
        recorded = now - self._count_before if now >= self._count_before else now
        if recorded:
            return self._monitor.durations(self.operation)[-recorded:]
        self._is_whole = True
        self._handle.record(elapsed)
        return array("d", [elapsed])

    def description(self, count: int) -> str:
        """Return a phrase that describes the samples that were checked."""
        if self._is_whole:
            return f"the whole block, because nothing in it recorded {shown(self.operation)}"
        return f"{counted(count)} recorded in the block"


def _validated(operation: str, limits: dict[str, float | None]) -> dict[str, float]:
    given = {name: limit for name, limit in limits.items() if limit is not None}
    for name, limit in given.items():
        if not isinstance(limit, (int, float)) or not 0 < limit <= MAX_DURATION:
            raise ValueError(
                f"the budget of {shown(operation)}: {name} must be a positive number of seconds, "
                f"at most {MAX_DURATION} (584 years), got {shown(limit)}"
            )
    return given


def _exceeded_limits(limits: dict[str, float], samples: array[float]) -> Iterator[str]:
    """Yield a line for each limit that the samples exceed."""
    recorder = Recorder(len(samples))
    operation = recorder.operation("samples")
    for sample in samples:
        operation.record(sample)
    stats = operation.stats()
    for name, limit in limits.items():
        value = getattr(stats, "avg_duration" if name == "mean" else f"{name}_duration")
        if value > limit:
            yield f"{name} is {duration_text(value)}, the limit is {duration_text(limit)}"


def _regressions(
    operation: str, baseline: Baseline, samples: array[float], max_increase: float
) -> Iterator[str]:
    """Yield a line if the samples have regressed from the baseline or are too few to judge."""
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
    """Write the operation to a baseline file, keeping the file's other operations."""
    baseline = Baseline.from_samples({operation: samples})
    if file.exists():
        before = Baseline.load(file)
        operations = {**before.operations, **baseline.operations}
        baseline = replace(baseline, operations=operations, labels=before.labels)
    file.parent.mkdir(parents=True, exist_ok=True)
    baseline.save(file)
