"""Exact counts that threads, signal handlers and finalisers keep beside the monitor."""

from __future__ import annotations

import itertools


class _Counter:
    """A count whose additions are atomic, also amid another one in the same thread."""

    def __init__(self) -> None:
        self.add = itertools.count().__next__
        self._reads = 0

    def total(self) -> int:
        reads, self._reads = self._reads, self._reads + 1
        return self.add() - reads  # the only way to read the count also adds to it


class Tally:
    """Counts by name. Anything may add at any time; ``totals`` needs that nothing does."""

    def __init__(self) -> None:
        self._counters: dict[str, _Counter] = {}

    def add(self, name: str) -> None:
        """Count one more of ``name``."""
        counter = self._counters.get(name)
        if counter is None:
            counter = self._counters.setdefault(name, _Counter())
        counter.add()

    def totals(self) -> dict[str, int]:
        """Return the counts by name."""
        return {name: counter.total() for name, counter in self._counters.items()}


def differences(what: str, expected: dict[str, int], actual: dict[str, int]) -> list[str]:
    """Return a line for each name whose two counts differ."""
    return [
        f"{what}: {actual.get(name, 0):,} of {name!r} instead of {expected.get(name, 0):,}"
        for name in sorted(expected.keys() | actual.keys())
        if expected.get(name, 0) != actual.get(name, 0)
    ]
