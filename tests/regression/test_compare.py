"""Tests for the verdicts of ``compare`` and ``compare_many`` on samples."""

from __future__ import annotations

import array
import itertools
import math
import random
import threading

import numpy as np
import pytest

from nanospan.regression import compare, compare_many


def lognormal(source: random.Random, count: int, median: float = 1.0) -> list[float]:
    return [source.lognormvariate(math.log(median), 0.05) for _ in range(count)]


@pytest.mark.parametrize("count", [8, 10, 15, 19])
def test_short_samples_that_lie_wholly_apart_differ(count: int) -> None:
    """Short samples that do not overlap are a regression, in whatever order their values are."""
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
    """Few pairs of short samples from the same distribution are reported as changed."""
    source = random.Random(7)
    verdicts = [
        compare(lognormal(source, count), lognormal(source, count)).verdict for _ in range(2000)
    ]
    assert sum(verdict != "unchanged" for verdict in verdicts) <= 30


def test_a_tail_is_judged_by_the_same_limit_beside_a_clearer_median() -> None:
    """A median change below the threshold does not hide a larger change in the tail."""
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
def test_values_that_are_not_finite_are_rejected(value: float) -> None:
    """The error for a NaN or infinite value names its index."""
    with pytest.raises(ValueError, match="index 1"):
        compare([1.0, value], [1.0])


def test_a_comparison_is_the_same_each_time() -> None:
    """Comparing the same samples again gives the same result."""
    source = random.Random(1)
    before, after = lognormal(source, 500), lognormal(source, 500, 1.1)
    assert repr(compare(before, after)) == repr(compare(before, after))


def test_constant_and_empty_samples_get_a_verdict() -> None:
    """Equal constants are unchanged, and an empty sample is insufficient."""
    assert compare([1.0] * 20, [1.0] * 20).verdict == "unchanged"
    assert compare([], [1.0]).verdict == "insufficient"


def correlated(source: random.Random, count: int, rho: float) -> list[float]:
    values, level = [], source.gauss(0, 1)
    for _ in range(count):
        level = rho * level + math.sqrt(1 - rho * rho) * source.gauss(0, 1)
        values.append(math.exp(0.3 * level))
    return values


@pytest.mark.parametrize(("rho", "most"), [(0.0, 12), (0.5, 15), (0.8, 18)])
def test_correlated_values_without_a_change_are_left_alone(rho: float, most: int) -> None:
    """Comparing the halves of correlated series rarely reports a change."""
    source, flagged = random.Random(11), 0
    for _ in range(500):
        values = correlated(source, 400, rho)
        flagged += compare(values[:200], values[200:]).verdict != "unchanged"
    assert flagged <= most


def test_random_walks_are_hardly_ever_called_changed() -> None:
    """Comparing the halves of random walks, which drift apart, rarely reports a change."""
    source, flagged = random.Random(19), 0
    for _ in range(300):
        steps = (source.gauss(0, 0.1) for _ in range(200))
        values = [math.exp(level) for level in itertools.accumulate(steps)]
        flagged += compare(values[:100], values[100:]).verdict in {"regressed", "improved"}
    assert flagged <= 9


def test_extreme_values_and_settings_are_judged() -> None:
    """Extreme values of either sign and a tiny alpha get a verdict, not an error."""
    large = [1.7e308 * (-1) ** at for at in range(20)]
    assert compare(large, large).verdict == "unchanged"
    assert compare([1e308] * 20, [-1e308] * 20).verdict == "improved"
    assert compare([1.0, 2.0] * 20, [9.0, 8.0] * 20, alpha=1e-300).verdict == "insufficient"


def test_a_trend_alone_is_insufficient() -> None:
    """The verdict on samples that are straight lines is "insufficient"."""
    line = [1 + at / 100 for at in range(50)]
    assert compare(line, [2 * value for value in line]).verdict == "insufficient"


def test_correlated_values_that_lie_wholly_apart_differ() -> None:
    """Tripling 200 strongly correlated values is reported as a regression."""
    source, found = random.Random(18), 0
    for _ in range(20):
        before, after = correlated(source, 200, 0.9), correlated(source, 200, 0.9)
        found += compare(before, [3 * v for v in after]).verdict == "regressed"
    assert found >= 18


def test_slowdowns_are_found() -> None:
    """Nearly every 20 % slowdown of 200 values is found, and its interval contains 1.2."""
    source, found, held = random.Random(12), 0, 0
    for _ in range(100):
        before, after = correlated(source, 200, 0.0), correlated(source, 200, 0.0)
        comparison = compare(before, [1.2 * value for value in after])
        found += comparison.verdict == "regressed"
        held += comparison.shift_ci[0] <= 1.2 <= comparison.shift_ci[1]
    assert found >= 95
    assert held >= 95


def test_a_doubled_p99_is_found_beside_an_equal_median() -> None:
    """Doubling the slowest 2 % of 1,000 values is nearly always found."""
    source, found = random.Random(13), 0
    for _ in range(60):
        before, after = lognormal(source, 1000), lognormal(source, 1000)
        limit = sorted(after)[980]
        late = [2 * value if value > limit else value for value in after]
        found += compare(before, late).verdict == "regressed"
    assert found >= 54


def test_false_discoveries_are_limited_across_operations() -> None:
    """Of 200 operations, nearly all of the 20 slower ones are reported, and few others."""
    source = random.Random(14)
    pairs = {
        name: (
            correlated(source, 200, 0.3),
            [v * (1.4 if name < 20 else 1) for v in correlated(source, 200, 0.3)],
        )
        for name in range(200)
    }
    changed = {n for n, c in compare_many(pairs).items() if c.verdict != "unchanged"}
    assert len(changed & set(range(20))) >= 19
    assert len(changed - set(range(20))) <= 3


def test_every_kind_of_sequence_gives_the_same_comparison() -> None:
    """Lists, arrays, and strided and read-only buffers give the same comparison."""
    source = random.Random(15)
    before, after = lognormal(source, 300), lognormal(source, 300, 1.1)
    wanted = repr(compare(before, after))
    frozen = np.array(after)
    frozen.flags.writeable = False
    forms = (
        array.array("d", after),
        np.repeat(after, 3)[::3],
        np.array(after[::-1])[::-1],
        frozen,
        memoryview(array.array("d", after)),
        tuple(after),
    )
    for form in forms:
        assert repr(compare(before, form)) == wanted


def test_integers_and_single_precision_are_converted() -> None:
    """Integers and single-precision floats give the same result as equal doubles."""
    numbers = [100 + n % 17 for n in range(60)]
    wanted = repr(compare([float(n) for n in numbers], [2.0 * n for n in numbers]))
    assert repr(compare(numbers, [2 * n for n in numbers])) == wanted
    single = np.array(numbers, np.float32)
    assert repr(compare(single, 2 * single)) == wanted


@pytest.mark.parametrize(
    "given", [(x for x in (1.0, 2.0)), "12", b"12", {1.0}, {1.0: 2}, 3.0, None]
)
def test_arguments_that_are_not_sequences_are_rejected(given: object) -> None:
    """A generator, text, a set or a number raises a TypeError that names the argument."""
    with pytest.raises(TypeError, match="current"):
        compare([1.0], given)  # type: ignore[arg-type]


def test_zeros_and_negatives_are_not_compared_on_a_log_scale() -> None:
    """A shift is found even among zeros and negative values."""
    source = random.Random(16)
    before = [source.gauss(-10, 1) for _ in range(100)]
    assert compare(before, [value + 5 for value in before]).verdict == "regressed"
    assert compare([0.0] * 50, [0.0] * 50).verdict == "unchanged"


def test_ties_are_not_evidence_of_a_change() -> None:
    """Samples with only three distinct values are rarely reported as changed."""
    source = random.Random(17)
    pairs = [[[float(source.randint(1, 3)) for _ in range(200)] for _ in "ab"] for _ in range(200)]
    assert sum(compare(*pair).verdict != "unchanged" for pair in pairs) <= 6


def test_other_threads_run_during_a_comparison() -> None:
    """A thread can keep counting while another runs a large comparison."""
    values = np.random.default_rng(1).lognormal(size=400_000)
    done, counted = threading.Event(), 0

    def work() -> None:
        compare(values, values[::-1].copy())
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.is_set():
        counted += 1
    thread.join()
    assert counted > 100
