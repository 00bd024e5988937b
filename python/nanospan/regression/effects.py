"""The default settings of verdicts: how large a change must be, and how often one may be wrong.

``benches/regression.py`` measures how good the verdicts are; the results ("the measurements" below)
are in ``docs/regression-method.md`` under "How often it is right". The compiled functions and
``PerformanceMonitor.compare`` repeat some of these defaults, and a test checks that they are equal.
"""

from __future__ import annotations

from nanospan import _core

FDR = _core.FALSE_DISCOVERY_RATE
"""The expected share of false positives among the reported changes of many operations.

Five per cent is the convention. The rows "200 operations" of the measurements keep to it.
"""

ALERT_FDR = 0.001
"""The same share for an alert rule, which compares every 30 seconds.

At 0.05 a rule would soon raise a false alarm, since it gets 2,880 chances a day. How many false
alarms 0.001 leaves was not measured; consecutive windows overlap, so it cannot be derived.
"""

ALPHA = _core.ALPHA
"""The probability of reporting a change of one operation where nothing differs.

The rows "false positives" of the measurements hold the share actually found.
"""

MIN_EFFECT = _core.MIN_EFFECT
"""The least change of the median that counts, as a share of it.

Smaller differences can be significant in large samples without mattering to anyone.
"""

TAIL_MIN_EFFECT = _core.TAIL_MIN_EFFECT
"""The least change of a tail quantile that counts, as a share of it: tails vary more."""

BUDGET_MAX_INCREASE = 0.10
"""The increase over a baseline that a budget in a test tolerates, as a share."""

PENALTY = 3.0
"""How much a further change of a history must explain to be reported; higher reports fewer.

The rows "history" of the measurements hold the changes found and the false ones.
"""

MIN_SIZE = 3
"""The fewest values between two changes of a history.

Fewer could not tell a new level from an outlier.
"""

DETECTOR_WARMUP = 400
"""The number of samples from which an online detector learns the level.

The standard error of the level is tolerated on top of ``DETECTOR_K``, so a shorter warm-up would
hide small changes until more samples have made the level surer.
"""

DETECTOR_BATCH = 10
"""The number of samples that an online detector averages into one step."""

DETECTOR_K = 0.3
"""The deviation that an online detector always tolerates, in long-run standard deviations."""

DETECTOR_H = 13.0
"""The sum of deviations beyond ``DETECTOR_K`` that raises an alarm, in the same units.

Together with a ``DETECTOR_K`` of 0.3 this is a long memory: it finds small changes that shorter
ones never see, with fewer false alarms, but reports a large change a few batches later. The rows
"online" of the measurements hold the false alarms and the changes found.
"""


def tail_min_effect_beside(min_effect: float) -> float:
    """Return the least change of a tail quantile that counts beside ``min_effect`` for the median.

    Tolerating 50 % in the median implies as much in the tail.
    """
    return max(min_effect, TAIL_MIN_EFFECT)
