"""The results of comparisons: verdicts, change points and alarms."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

Verdict: TypeAlias = Literal["regressed", "improved", "unchanged", "insufficient"]


class QuantileChange(NamedTuple):
    """The change of a tail quantile.

    Attributes:
        change: The current value as a multiple of the baseline's: 2.0 means doubled.
        p_value: The probability of a change at least this large if nothing differs, 0 to 1.
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
        p_value: The probability of a difference at least as clear as the clearest one, in the bulk
            of the values or in their tails, if nothing differs; 0 to 1.
        shift: The typical current value as a multiple of the baseline's: 1.2 is 20 % slower. NaN
            if either side has no values.
        shift_ci: The interval that contains the true shift with probability ``1 - alpha``.
        quantiles: The changes of the quantiles 0.9, 0.95 and 0.99 for which there are enough
            values.
        effective_n: The number of independent values that the less informative side is worth. It
            is lower than the number of values if neighbours resemble one another.
        counts: The number of values of the baseline and of the current side.
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
        """The confidence that something differs: ``1 - p_value``."""
        return 1.0 - self.p_value

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON values.

        Quantiles have keys such as ``"0.99"``; NaN and infinity become None.
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
    """A change of the level in a history.

    Attributes:
        index: The index of the first value at the new level, from 0.
        before: The median since the previous change point.
        after: The median from here to the next change point.
        ratio: The level after as a multiple of the level before.
        ci: The interval that contains the true ratio with probability 0.99.
        p_value: The probability of a difference at least this large if nothing changed, 0 to 1.
    """

    index: int
    before: float
    after: float
    ratio: float
    ci: tuple[float, float]
    p_value: float

    def to_dict(self) -> dict[str, Any]:
        """Return the change point as JSON values, NaN and infinity as None."""
        low, high = self.ci
        return {
            **asdict(self),
            "ratio": _finite(self.ratio),
            "ci": [_finite(low), _finite(high)],
        }


@dataclass(frozen=True, slots=True)
class Alarm:
    """A change that a detector noticed.

    Attributes:
        index: The index of the value that raised the alarm, from 0 for the detector's first.
        since: The approximate start of the change: the first value of the run that raised it.
        before: The level that the detector had learned, in the unit of the values.
        after: The level since the change began.
        ratio: The level after as a multiple of the level before: over 1 is slower.
    """

    index: int
    since: int
    before: float
    after: float
    ratio: float

    def to_dict(self) -> dict[str, Any]:
        """Return the alarm as JSON values, NaN and infinity as None."""
        return {**asdict(self), "ratio": _finite(self.ratio)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _percent(ratio: float) -> str:
    return f"{(ratio - 1) * 100:+.1f} %" if math.isfinite(ratio) else str(ratio)
