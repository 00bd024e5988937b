"""Tests that ``change_points`` finds changes where a human reader would place them."""

from __future__ import annotations

import array
import math
import random
import threading

import numpy as np
import pytest

from nanospan.regression import change_points


def noise(seed: int, count: int, sigma: float = 0.1) -> list[float]:
    source = random.Random(seed)
    return [source.lognormvariate(0, sigma) for _ in range(count)]


def test_a_clear_step_is_found_in_its_place() -> None:
    """A rise of 50 % is located to within three values, and the interval contains 1.5."""
    values = noise(1, 200)
    values[120:] = [1.5 * value for value in values[120:]]
    [point] = change_points(values)
    assert abs(point.index - 120) <= 3
    assert point.ci[0] <= 1.5 <= point.ci[1]
    assert point.ratio == pytest.approx(1.5, rel=0.1)
    assert point.p_value < 1e-6


def test_nearly_all_steps_of_three_sigmas_are_found() -> None:
    """In 40 histories with three steps each, nearly all steps are found and few false ones."""
    right = points = 0
    for seed in range(40):
        values = np.log(noise(seed, 240))
        for place, step in ((60, 0.3), (120, -0.3), (180, 0.3)):
            values[place:] += step
        found = [point.index for point in change_points(np.exp(values))]
        right += sum(any(abs(f - place) <= 5 for f in found) for place in (60, 120, 180))
        points += len(found)
    assert right >= 115
    assert points <= right + 4


def test_steps_between_correlated_values_are_found() -> None:
    """Nearly all steps are found in correlated values that step every 80 values."""
    source, right = np.random.default_rng(6), 0
    for _ in range(6):
        level, values = 0.0, []
        for step in source.normal(size=800):
            level = 0.7 * level + step * math.sqrt(1 - 0.49)
            values.append(level)
        logs = 0.1 * np.array(values) + np.where(np.arange(800) // 80 % 2, 1.0, 0.0)
        found = [point.index for point in change_points(np.exp(logs))]
        right += sum(any(abs(f - place) <= 5 for f in found) for place in range(80, 800, 80))
    assert right >= 50


def test_clean_histories_have_no_change_points() -> None:
    """In 20,000 values without a change, half of them correlated, at most two are found."""
    source = np.random.default_rng(5)
    count = sum(len(change_points(noise(seed, 1000))) for seed in range(10))
    for _ in range(10):
        steps, level, values = source.normal(size=1000), 0.0, []
        for step in steps:
            level = 0.5 * level + step
            values.append(math.exp(0.1 * level))
        count += len(change_points(values))
    assert count <= 2


def test_an_outlier_is_not_a_change() -> None:
    """A single value 100 times as large as the others is not a change point."""
    values = noise(2, 200)
    values[77] *= 100
    assert change_points(values) == []


@pytest.mark.parametrize(
    "values", [[], [1.0], [1.0, 2.0], [5.0] * 300, [0.0] * 50, [-3.0] * 50, [1, 2, 1, 2]]
)
def test_constant_and_short_histories_have_no_change_points(values: list[float]) -> None:
    """Constant, short or empty histories have no change points."""
    assert change_points(values) == []


def test_negative_values_are_not_compared_on_a_log_scale() -> None:
    """A step is found even if the history contains negative values."""
    source = random.Random(3)
    values = [source.gauss(-5 if at < 100 else 5, 1) for at in range(200)]
    [point] = change_points(values)
    assert abs(point.index - 100) <= 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_rejected(value: float) -> None:
    """The error for a NaN or infinite value names its index."""
    with pytest.raises(ValueError, match="index 2"):
        change_points([1.0, 2.0, value])


@pytest.mark.parametrize(
    "setting", [{"penalty": -1.0}, {"penalty": math.nan}, {"min_size": 0}, {"z": -0.1}]
)
def test_settings_out_of_range_are_rejected(setting: dict[str, float]) -> None:
    """The error for a setting out of range names the setting."""
    with pytest.raises(ValueError, match=next(iter(setting))):
        change_points([1.0, 2.0], **setting)  # type: ignore[arg-type]


def test_every_kind_of_sequence_gives_the_same_points() -> None:
    """Lists, arrays, and strided and read-only buffers give the same change points."""
    values = noise(4, 300)
    values[150:] = [2 * value for value in values[150:]]
    wanted = change_points(values)
    assert len(wanted) == 1
    doubled = np.repeat(values, 2)
    frozen = np.array(values)
    frozen.flags.writeable = False
    for form in (
        array.array("d", values),
        np.array(values),
        doubled[::2],
        frozen,
        memoryview(array.array("d", values)),
        tuple(values),
    ):
        assert change_points(form) == wanted


def test_threads_find_the_same_points() -> None:
    """Eight threads that share one array get the same change points as a single thread."""
    values = np.array(noise(6, 2000))
    values[900:] *= 1.3
    wanted, found = change_points(values), []
    threads = [
        threading.Thread(target=lambda: found.append(change_points(values))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 8
