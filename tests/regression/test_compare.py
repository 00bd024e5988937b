"""Verdicts on two samples, as their users would notice them."""

from __future__ import annotations

import math
import random

import pytest

from perfuse.regression import compare, compare_many


def lognormal(source: random.Random, count: int, median: float = 1.0) -> list[float]:
    return [source.lognormvariate(math.log(median), 0.05) for _ in range(count)]


@pytest.mark.parametrize("count", [8, 10, 15, 19])
def test_short_samples_that_lie_wholly_apart_differ(count: int) -> None:
    """A few values of each that do not overlap regress, however their order happens to look."""
    for seed in range(200):
        source = random.Random(seed)
        before = [1 + 0.1 * source.random() for _ in range(count)]
        after = [1.3 + 0.1 * source.random() for _ in range(count)]
        comparison = compare(before, after)
        assert comparison.verdict == "regressed"
        assert all(map(math.isfinite, comparison.shift_ci))
        assert compare(after, before).verdict == "improved"


@pytest.mark.parametrize("count", [8, 12, 16, 30])
def test_short_samples_of_one_distribution_are_left_alone(count: int) -> None:
    """Without any change hardly any pair of short samples gets a verdict."""
    source = random.Random(7)
    verdicts = [
        compare(lognormal(source, count), lognormal(source, count)).verdict for _ in range(2000)
    ]
    assert sum(verdict != "unchanged" for verdict in verdicts) <= 30


def test_a_tail_is_judged_by_the_same_limit_beside_a_clearer_median() -> None:
    """A median moved by less than matters does not hide a doubled tail from compare_many."""
    source = random.Random(3)
    found = 0
    for _ in range(40):
        before = lognormal(source, 1000)
        after = [
            value * (3 if source.random() < 0.03 else 1) for value in lognormal(source, 1000, 1.02)
        ]
        one = compare(before, after, alpha=0.05)
        many = compare_many({"op": (before, after)}, fdr=0.05)["op"]
        assert many.verdict == one.verdict
        found += many.verdict == "regressed"
    assert found >= 30


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_named(value: float) -> None:
    """What cannot be compared is refused with its place."""
    with pytest.raises(ValueError, match="index 1"):
        compare([1.0, value], [1.0])


def test_a_comparison_is_the_same_each_time() -> None:
    """Nothing in a comparison is drawn."""
    source = random.Random(1)
    before, after = lognormal(source, 500), lognormal(source, 500, 1.1)
    assert repr(compare(before, after)) == repr(compare(before, after))


def test_constants_and_no_values() -> None:
    """Equal values are unchanged, and none at all are too few."""
    assert compare([1.0] * 20, [1.0] * 20).verdict == "unchanged"
    assert compare([], [1.0]).verdict == "insufficient"
