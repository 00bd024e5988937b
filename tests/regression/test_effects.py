"""Tests that default settings for verdicts agree wherever a signature repeats them."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from nanospan import PerformanceMonitor
from nanospan.alerts import ChangeRule
from nanospan.regression import OnlineDetector, change_points, compare, compare_many, effects

if TYPE_CHECKING:
    from collections.abc import Callable

DETECTOR = {
    "warmup": effects.DETECTOR_WARMUP,
    "batch": effects.DETECTOR_BATCH,
    "k": effects.DETECTOR_K,
    "h": effects.DETECTOR_H,
}


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (
            compare,
            {
                "alpha": effects.ALPHA,
                "min_effect": effects.MIN_EFFECT,
                "tail_min_effect": effects.TAIL_MIN_EFFECT,
            },
        ),
        (
            compare_many,
            {
                "fdr": effects.FDR,
                "min_effect": effects.MIN_EFFECT,
                "tail_min_effect": effects.TAIL_MIN_EFFECT,
            },
        ),
        (
            PerformanceMonitor.compare,
            {"fdr": effects.FDR, "min_effect": effects.MIN_EFFECT, "tail_min_effect": None},
        ),
        (change_points, {"penalty": effects.PENALTY, "min_size": effects.MIN_SIZE}),
        (OnlineDetector, DETECTOR),
    ],
)
def test_functions_that_repeat_the_defaults_agree(
    function: Callable[..., Any], expected: dict[str, float]
) -> None:
    """The native functions and ``PerformanceMonitor`` have the defaults in ``effects``."""
    parameters = inspect.signature(function).parameters
    assert {name: parameters[name].default for name in expected} == expected


def test_change_rules_have_the_detectors_defaults() -> None:
    """A change rule without settings uses the defaults of ``OnlineDetector``."""
    defaults = {field.name: field.default for field in fields(ChangeRule)}
    assert {name: defaults[name] for name in DETECTOR} == DETECTOR
