"""What the comparisons hand out: verdicts, change points and alarms."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

Verdict: TypeAlias = Literal["regressed", "improved", "unchanged", "insufficient"]


class QuantileChange(NamedTuple):
    """How one tail quantile changed.

    Attributes:
        change: Its value now as a multiple of the baseline's: 2.0 is doubled.
        p_value: How probable so large a change is when nothing differs, 0 to 1.
    """

    change: float
    p_value: float


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """How the current values of an operation compare with its baseline.

    Attributes:
        verdict: ``"regressed"`` or ``"improved"`` for a difference that is both significant and
            large enough to matter, ``"unchanged"`` otherwise; ``"insufficient"`` where there are
            too few independent values for any difference to be significant.
        p_value: How probable a difference like the clearest one found is when nothing differs,
            in the bulk of the values or in their tails, 0 to 1.
        shift: The typical value now as a multiple of the baseline's: 1.2 is 20 % slower. NaN where
            either side has no values.
        shift_ci: The interval that holds the true shift with probability ``1 - alpha``.
        quantiles: For 0.9, 0.95 and 0.99, as far as there are values enough, how they changed.
        effective_n: How many independent values the less informative side is worth: fewer than it
            holds where neighbours resemble one another.
        counts: How many values the baseline and the current side hold.
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
        """How sure it is that something differs: ``1 - p_value``."""
        return 1.0 - self.p_value

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON can hold it: quantiles under ``"0.99"``, no number as ``None``."""
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
    """Where the level of a history changed.

    Attributes:
        index: The first value at the new level, from 0.
        before: The median since the change point before this one.
        after: The median from here to the next change point.
        ratio: The level after as a multiple of the one before.
        ci: The interval that holds the true ratio with probability 0.99.
        p_value: How probable so large a difference is when nothing changed, 0 to 1.
    """

    index: int
    before: float
    after: float
    ratio: float
    ci: tuple[float, float]
    p_value: float

    def to_dict(self) -> dict[str, Any]:
        """The change point as JSON can hold it, what is no number as ``None``."""
        low, high = self.ci
        return {
            **asdict(self),
            "ratio": _finite(self.ratio),
            "ci": [_finite(low), _finite(high)],
        }


@dataclass(frozen=True, slots=True)
class Alarm:
    """What a detector noticed.

    Attributes:
        index: Which value raised it, from 0 for the detector's first.
        since: About where the change began: the first value of the run that raised it.
        before: The level learned, in the unit of the values.
        after: The level since the change began.
        ratio: The level after as a multiple of the one before: over 1 is slower.
    """

    index: int
    since: int
    before: float
    after: float
    ratio: float

    def to_dict(self) -> dict[str, Any]:
        """The alarm as JSON can hold it, what is no number as ``None``."""
        return {**asdict(self), "ratio": _finite(self.ratio)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _percent(ratio: float) -> str:
    return f"{(ratio - 1) * 100:+.1f} %" if math.isfinite(ratio) else str(ratio)
