"""Tests for the online detection of changes in a stream of values."""

from __future__ import annotations

import math
import random
import statistics
from typing import TYPE_CHECKING

import pytest

from nanospan.regression import OnlineDetector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nanospan.regression import Alarm


def alarms(values: Iterable[float]) -> list[Alarm]:
    detector = OnlineDetector()
    raised = (detector.update(value) for value in values)
    return [alarm for alarm in raised if alarm is not None]


def stream(seed: int, count: int, changed: float = 1.0, after: int = 0) -> list[float]:
    source = random.Random(seed)
    values = [source.lognormvariate(0, 0.3) for _ in range(count)]
    return values[:after] + [changed * value for value in values[after:]]


def test_a_stream_without_a_change_hardly_raises_alarms() -> None:
    """In 200,000 values without a change, at most four alarms are raised."""
    assert sum(len(alarms(stream(seed, 10_000))) for seed in range(20)) <= 4


@pytest.mark.parametrize(("ratio", "least"), [(1.5, 39), (1.2, 36), (0.7, 39)])
def test_a_change_is_detected_within_500_values(ratio: float, least: int) -> None:
    """In nearly every stream that changes, an alarm is raised within 500 values."""
    found = 0
    for seed in range(40):
        late = [a for a in alarms(stream(seed, 1500, ratio, 1000)) if a.index >= 1000]
        found += bool(late) and (late[0].ratio > 1) == (ratio > 1)
    assert found >= least


def test_a_change_of_correlated_values_is_detected() -> None:
    """In most streams of correlated values, a slowdown of 50 % raises an alarm."""
    found = 0
    for seed in range(40):
        source, level, values = random.Random(seed), 0.0, []
        for _ in range(1500):
            level = 0.9 * level + math.sqrt(1 - 0.81) * source.gauss(0, 1)
            values.append(math.exp(0.3 * level) * (1.5 if len(values) >= 1000 else 1))
        found += any(alarm.index >= 1000 for alarm in alarms(values))
    assert found >= 28


def test_an_alarm_describes_the_change() -> None:
    """An alarm has the index and start of the change, and the levels before and after it."""
    [alarm] = alarms(stream(1, 1300, 2.0, 1000))
    assert 1000 <= alarm.index < 1100
    assert 900 <= alarm.since <= alarm.index
    assert alarm.ratio == pytest.approx(2.0, rel=0.25)
    assert alarm.after / alarm.before == pytest.approx(alarm.ratio, rel=1e-6)


def test_an_alarm_describes_a_small_change() -> None:
    """The median ratio and start of alarms for many 10 % increases are accurate."""
    found = []
    for seed in range(60):
        source = random.Random(seed)
        values = [source.lognormvariate(0, 0.2) * (1.1 if at >= 1000 else 1) for at in range(2000)]
        found += [alarm for alarm in alarms(values) if alarm.index >= 1000][:1]
    assert len(found) >= 55
    assert statistics.median(alarm.ratio for alarm in found) == pytest.approx(1.1, abs=0.025)
    assert abs(statistics.median(alarm.since for alarm in found) - 1000) <= 50


def test_the_new_level_is_learned() -> None:
    """After an alarm the new level counts as normal, and leaving it raises another alarm."""
    values = [*stream(2, 3000, 2.0, 1000), *stream(3, 500)]
    found = alarms(values)
    assert [alarm.ratio > 1 for alarm in found] == [True, False]


def test_outliers_raise_no_alarm() -> None:
    """Multiplying one value in 50 by a thousand raises no alarm."""
    values = [1000 * v if at % 50 == 7 else v for at, v in enumerate(stream(4, 5000))]
    assert alarms(values) == []


@pytest.mark.parametrize("level", [1.0, 0.0, -2.0, 1e-300, 1e300])
def test_constants_raise_no_alarm_until_they_change(level: float) -> None:
    """A constant stream raises no alarm until its value changes."""
    assert alarms([level] * 2000) == []
    assert len(alarms([level] * 1000 + [level + 1 + abs(level)] * 100)) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_rejected_and_ignored(value: float) -> None:
    """A NaN or infinite value raises an error and does not affect the detector."""
    values = stream(5, 1300, 2.0, 1000)
    wanted, detector, found = alarms(values), OnlineDetector(), []
    for each in values:
        with pytest.raises(ValueError, match="finite"):
            detector.update(value)
        found.append(detector.update(each))
    assert [alarm for alarm in found if alarm is not None] == wanted


@pytest.mark.parametrize(
    "setting", [{"batch": 0}, {"warmup": 79}, {"k": -1.0}, {"h": math.nan}, {"k": math.inf}]
)
def test_settings_out_of_range_are_rejected(setting: dict[str, float]) -> None:
    """The error for a setting out of range names the setting."""
    with pytest.raises(ValueError, match=next(iter(setting))):
        OnlineDetector(**setting)  # type: ignore[arg-type]
