"""Default settings for regression verdicts: smallest significant changes and false-positive rates.

``benches/regression.py`` measures the accuracy of the verdicts; the results ("the measurements"
below) are in ``docs/regression-method.md`` under "How often it is right". The compiled functions'
signatures repeat some of these defaults, and a test checks that they are equal.
"""

from __future__ import annotations

from nanospan import _core

FDR = _core.FALSE_DISCOVERY_RATE
"""The expected share of false positives among the changes reported for many operations.

Five per cent is the usual choice. The rows "200 operations" of the measurements stay within it.
"""

ALERT_FDR = 0.001
"""The expected share of false positives for an alert rule, which compares every 30 seconds.

At 0.05 a rule would soon raise a false alarm, since it compares 2,880 times a day. The
rate of false alarms at 0.001 was not measured, and because consecutive windows overlap, it cannot
be derived.
"""

ALPHA = _core.ALPHA
"""The probability of reporting a change in a single operation when nothing has changed.

The rows "false positives" of the measurements give the rate actually observed.
"""

MIN_EFFECT = _core.MIN_EFFECT
"""The smallest change to report in the median, as a fraction of the median.

Smaller differences can be statistically significant in large samples without mattering in practice.
"""

TAIL_MIN_EFFECT = _core.TAIL_MIN_EFFECT
"""The smallest change to report in a tail quantile, as a fraction of the quantile.

It is larger than ``MIN_EFFECT`` because tails vary more.
"""

BUDGET_MAX_INCREASE = 0.10
"""The increase over a baseline that a test's budget tolerates, as a fraction of the baseline."""

PENALTY = 3.0
"""The penalty for each additional change point in a history.

A higher penalty reports fewer changes. The rows "history" of the measurements show how many true
and how many false changes are found.
"""

MIN_SIZE = 3
"""The minimum number of values between two changes in a history.

With fewer values, a new level could not be distinguished from an outlier.
"""

DETECTOR_WARMUP = 400
"""The number of samples from which an online detector learns the initial level.

The detector tolerates the standard error of the level in addition to ``DETECTOR_K``, so a shorter
warm-up would hide small changes until more samples have made its estimate of the level precise.
"""

DETECTOR_BATCH = 10
"""The number of samples that an online detector averages into one step."""

DETECTOR_K = 0.3
"""The deviation that an online detector always tolerates.

The unit is the long-run standard deviation of a batch's mean.
"""

DETECTOR_H = 13.0
"""The sum of deviations beyond ``DETECTOR_K`` that raises an alarm, in the unit of ``DETECTOR_K``.

Combined with a ``DETECTOR_K`` of 0.3, this gives the detector a long memory: it finds small changes
that a shorter memory would miss and raises fewer false alarms, but reports a large change a few
batches later. The rows "online" of the measurements give the false alarms and the changes found.
"""


def tail_min_effect_beside(min_effect: float) -> float:
    """Return the smallest change to report in a tail quantile.

    This is ``min_effect`` or ``TAIL_MIN_EFFECT``, whichever is larger. If changes of up to 50 %
    in the median are tolerated, for example, changes of up to 50 % in the tail are tolerated too.

    Args:
        min_effect: The smallest significant change in the median, as a fraction of the median.
    """
    return max(min_effect, TAIL_MIN_EFFECT)
