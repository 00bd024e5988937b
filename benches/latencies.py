"""Latencies for testing verdicts: models of many distributions, and recordings of real operations.

``Source.values(random, count)`` returns positive durations in chronological order. Their
distribution does not change over time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    Random = np.random.Generator
    Array = np.ndarray

TURN = 30
RECORDED = Path(__file__).parent / "recorded" / "noise.npz"


@dataclass(frozen=True)
class Source:
    """A source of latencies.

    Attributes:
        name: The name to print.
        kind: ``"independent"``, ``"correlated"``, ``"bursty"`` or ``"recorded"``.
        values: A function that draws consecutive latencies.
        in_turn: A function that draws two samples measured alternately. If None, a pair of samples
            is the two halves of a series of consecutive latencies.
    """

    name: str
    kind: str
    values: Callable[[Random, int], Array]
    in_turn: Callable[[Random, int], tuple[Array, Array]] | None = None

    def pair(self, random: Random, count: int) -> tuple[Array, Array]:
        """Draw two samples of ``count`` values each from the same, unchanged source."""
        if self.in_turn is not None:
            return self.in_turn(random, count)
        values = self.values(random, 2 * count)
        return values[:count], values[count:]


def autoregressive(random: Random, count: int, rho: float) -> Array:
    """Draw standard normal values, each correlated with the previous value by ``rho``."""
    steps = random.normal(size=count) * np.sqrt(1 - rho * rho)
    values = np.empty(count)
    last = random.normal()
    for index, step in enumerate(steps.tolist()):
        last = rho * last + step
        values[index] = last
    return values


def lognormal(sigma: float) -> Source:
    """Return a lognormal source, the most common shape of latencies: symmetric on a log scale."""
    return Source(
        f"lognormal {sigma}", "independent", lambda random, n: random.lognormal(0, sigma, n)
    )


def gamma(shape: float) -> Source:
    """Return a source that resembles queueing: each latency is a sum of exponential waits."""
    return Source(
        f"gamma {shape:g}", "independent", lambda random, n: random.gamma(shape, 1 / shape, n)
    )


def bimodal(misses: float) -> Source:
    """Return a source of cache hits and misses; a miss takes eight times as long as a hit."""

    def values(random: Random, n: int) -> Array:
        missed = random.random(n) < misses
        return random.lognormal(0, 0.15, n) * np.where(missed, 8.0, 1.0)

    return Source(f"bimodal {misses:.0%}", "independent", values)


def pareto(share: float, exponent: float) -> Source:
    """Return a source of mostly similar latencies, with a few of unbounded duration."""

    def values(random: Random, n: int) -> Array:
        late = random.random(n) < share
        return random.lognormal(0, 0.2, n) * np.where(late, 1.5 + random.pareto(exponent, n), 1.0)

    return Source(f"pareto {share:.0%}", "independent", values)


def correlated(rho: float, sigma: float = 0.3) -> Source:
    """Return a lognormal source in which each value is correlated with the previous value."""
    return Source(
        f"AR(1) {rho}",
        "correlated",
        lambda random, n: np.exp(sigma * autoregressive(random, n, rho)),
    )


def correlated_bursts(rho: float) -> Source:
    """Return a skewed, correlated source whose slow values come in groups of two or three."""

    def values(random: Random, n: int) -> Array:
        body = np.exp(0.2 * autoregressive(random, n, rho)) * random.gamma(20, 1 / 20, n)
        begins = random.random(n) < 0.01
        late = begins | np.roll(begins, 1) | (np.roll(begins, 2) & (random.random(n) < 0.5))
        return body * np.where(late, 2 + random.exponential(2, n), 1.0)

    return Source(f"AR(1) {rho} with bursts", "bursty", values)


def steadied(taken: Array, window: int = 201) -> Array:
    """Divide durations by their running median, which removes slow changes in speed.

    The recording machine's speed changed over seconds, by a quarter and once tenfold. These
    changes are real but were not injected, so they are removed. The noise of the operations
    remains: its distribution, its slow outliers, and the correlation of neighbours.
    """
    padded = np.pad(taken, window // 2, mode="reflect")
    return taken / np.median(np.lib.stride_tricks.sliding_window_view(padded, window), axis=1)


def recorded(path: Path = RECORDED) -> list[Source]:
    """Return a source for each recorded operation; it draws stretches from random positions."""

    def source(name: str, taken: Array) -> Source:
        def values(random: Random, n: int) -> Array:
            start = random.integers(0, len(taken) - n + 1)
            return taken[start : start + n]

        def pair(random: Random, n: int) -> tuple[Array, Array]:
            stretch = values(random, 2 * n + 2 * TURN)
            turns = np.arange(len(stretch)) // TURN % 2
            return stretch[turns == 0][:n], stretch[turns == 1][:n]

        return Source(name, "recorded", values, pair)

    with np.load(path) as recordings:
        return [source(name, steadied(recordings[name].astype(float))) for name in recordings]


def models() -> list[Source]:
    """Return all modelled sources."""
    return [
        *map(lognormal, (0.1, 0.3, 0.6)),
        *map(gamma, (4, 16)),
        *map(bimodal, (0.1, 0.3)),
        pareto(0.03, 1.5),
        pareto(0.1, 2.5),
        *map(correlated, (0.3, 0.5, 0.7, 0.9)),
        *map(correlated_bursts, (0.5, 0.8)),
    ]
