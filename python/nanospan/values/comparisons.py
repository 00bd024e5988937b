"""Results of the regression analysis: comparisons, change points and alarms."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

Verdict: TypeAlias = Literal["regressed", "improved", "unchanged", "insufficient"]


class QuantileChange(NamedTuple):
    """The change in a tail quantile between a baseline and the current values.

    Attributes:
        change: The current quantile divided by the baseline quantile: 2.0 means twice as large.
        p_value: The probability of a change at least this large if the two distributions are
            equal, from 0 to 1.
    """

    change: float
    p_value: float


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """The comparison of an operation's current values with its baseline.

    Attributes:
        verdict: ``"regressed"`` or ``"improved"`` for a difference that is both significant and
            large enough to matter, ``"unchanged"`` otherwise; ``"insufficient"`` if there are too
            few independent values for any difference to be significant.
        p_value: The p-value of the clearest difference, in the bulk of the values or in a tail:
            the probability, from 0 to 1, of a difference at least as clear if the two distributions
            are equal.
        shift: The typical current value divided by the typical baseline value: 1.2 means 20 %
            slower. NaN if either side has no values.
        shift_ci: The lower and upper bounds of the confidence interval of ``shift``. Its confidence
            level is ``1 - alpha`` or ``1 - fdr``, depending on which of the two was given to the
            comparing function.
        quantiles: The changes in the quantiles 0.9, 0.95 and 0.99, keyed by quantile. Quantiles
            for which there are too few values are absent.
        effective_n: The effective size of the less informative side: how many independent values
            would be as informative. Smaller than the number of values if consecutive values are
            correlated.
        counts: The number of baseline values and the number of current values.
    """

    verdict: Verdict
    p_value: float
    shift: float
    shift_ci: tuple[float, float]
    quantiles: dict[float, QuantileChange]
    effective_n: float
    counts: tuple[int, int]

    @property
    def confidence(self) -> float:
        """The confidence that the two sides differ: ``1 - p_value``."""
        return 1.0 - self.p_value

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as a JSON-serialisable dict.

        The keys of ``quantiles`` become strings such as ``"0.99"``; NaN and infinity become None.
        """
        low, high = self.shift_ci
        return {
            "verdict": self.verdict,
            "p_value": self.p_value,
            "confidence": self.confidence,
            "shift": _finite(self.shift),
            "shift_ci": [_finite(low), _finite(high)],
            "quantiles": {
                str(q): {"change": _finite(tail.change), "p_value": tail.p_value}
                for q, tail in self.quantiles.items()
            },
            "effective_n": self.effective_n,
            "counts": list(self.counts),
        }

    def __repr__(self) -> str:
        low, high = self.shift_ci
        parts = [
            f"shift {_percent(self.shift)} ({_percent(low)} to {_percent(high)})",
            f"p={self.p_value:.2g}",
            *(f"p{q * 100:g} {_percent(tail.change)}" for q, tail in self.quantiles.items()),
            "n={} and {}".format(*self.counts),
        ]
        return f"<Comparison {self.verdict}: {', '.join(parts)}>"


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """A point in a history of values at which the level of the values changes.

    Attributes:
        index: The zero-based index of the first value at the new level.
        before: The median of the values between the previous change point and this one.
        after: The median of the values from this change point to the next.
        ratio: The new level divided by the old level.
        ci: The lower and upper bounds of the 99 % confidence interval of ``ratio``.
        p_value: The probability of a difference at least this large if the level did not change,
            from 0 to 1.
    """

    index: int
    before: float
    after: float
    ratio: float
    ci: tuple[float, float]
    p_value: float

    def to_dict(self) -> dict[str, Any]:
        """Return the change point as a JSON-serialisable dict; NaN and infinity become None."""
        low, high = self.ci
        return {
            **asdict(self),
            "ratio": _finite(self.ratio),
            "ci": [_finite(low), _finite(high)],
        }


@dataclass(frozen=True, slots=True)
class Alarm:
    """A change of level that an online detector has found in a stream of values.

    Attributes:
        index: The zero-based index, in the detector's stream, of the value that raised the alarm.
        since: The approximate index at which the change began: the index of the first value in
            the run of deviating values that raised the alarm.
        before: The level that the detector had learned, in the unit of the values.
        after: The level since the change began, in the same unit.
        ratio: The new level divided by the old level; above 1 means slower.
    """

    index: int
    since: int
    before: float
    after: float
    ratio: float

    def to_dict(self) -> dict[str, Any]:
        """Return the alarm as a JSON-serialisable dict; NaN and infinity become None."""
        return {**asdict(self), "ratio": _finite(self.ratio)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _percent(ratio: float) -> str:
    return f"{(ratio - 1) * 100:+.1f} %" if math.isfinite(ratio) else str(ratio)
