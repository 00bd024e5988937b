"""Windows over time: differences of snapshots, kept only for what rules watch."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from nanospan.alerts.rules import SLICES

if TYPE_CHECKING:
    from nanospan._core import MonitorSnapshot, OperationSnapshot, Snapshot

__all__ = ["Window", "Windows"]


class Window:
    """What an operation recorded between two moments.

    Attributes:
        elapsed: Seconds between them.
        is_full: Whether they lie as far apart as the window is long.
    """

    def __init__(
        self,
        earlier: OperationSnapshot | None,
        current: OperationSnapshot | None,
        elapsed: float,
        *,
        is_full: bool,
    ) -> None:
        self._earlier = earlier
        self._current = current
        self.elapsed = elapsed
        self.is_full = is_full

    def _difference(self, outcome: str) -> Snapshot | None:
        if self._current is None:
            return None
        current: Snapshot = getattr(self._current, outcome)
        if self._earlier is None:
            return current
        earlier: Snapshot = getattr(self._earlier, outcome)
        try:
            return current.since(earlier)
        except ValueError:
            # Cleared, and not noticed by its age: all that it holds is new.
            return current

    @cached_property
    def durations(self) -> Snapshot | None:
        """The durations of the samples of all outcomes."""
        return self._difference("all")

    def _count(self, outcome: str) -> int:
        difference = self._difference(outcome)
        return 0 if difference is None else difference.count

    @property
    def count(self) -> int:
        """Samples of any outcome."""
        return 0 if self.durations is None else self.durations.count

    @property
    def rate(self) -> float | None:
        """Samples per second."""
        return self.count / self.elapsed if self.elapsed > 0 else None

    @property
    def error_rate(self) -> float | None:
        """Share of failures among the samples that were not cancelled."""
        errors = self._count("error")
        judged = errors + self._count("ok")
        return errors / judged if judged else None

    @property
    def in_flight(self) -> int:
        """Spans under way at the later moment."""
        return 0 if self._current is None else self._current.in_flight


@dataclass(slots=True)
class _Ring:
    entries: deque[tuple[float, OperationSnapshot | None]]
    age: float | None = None  # for how long the operation had counted at the last look
    used: bool = True


class Windows:
    """Rings of coarse snapshots, one for each operation and length that is asked for.

    A ring holds at most 14 snapshots however long its window is. Not thread-safe.
    """

    def __init__(self) -> None:
        self._rings: dict[tuple[str, float], _Ring] = {}
        self._cache: dict[tuple[str, float], Window] = {}
        self._seen: frozenset[str] = frozenset()
        self._first: float | None = None
        self._last = 0.0

    def advance(self, snapshot: MonitorSnapshot, now: float) -> None:
        """Begin a round of looking at windows that end at `now`.

        Args:
            snapshot: The state of all operations then.
            now: The time in seconds, on a clock that never goes back.
        """
        operations = snapshot.operations
        self._rings = {key: ring for key, ring in self._rings.items() if ring.used}
        for ring in self._rings.values():
            ring.used = False
        self._cache.clear()
        self._operations = operations
        self._taken = snapshot.time
        self._previous_seen, self._seen = self._seen, frozenset(operations)
        self._previous, self._last = (self._last, now) if self._first is not None else (now, now)
        if self._first is None:
            self._first = now
            self._previous_seen = self._seen

    def last(self, operation: str, seconds: float) -> Window:
        """The window of the last `seconds`, or of as long as has been watched."""
        key = (operation, seconds)
        window = self._cache.get(key)
        if window is None:
            window = self._cache[key] = self._look(key, self._operations.get(operation))
        return window

    def _look(self, key: tuple[str, float], current: OperationSnapshot | None) -> Window:
        operation, seconds = key
        now = self._last
        ring = self._rings.get(key)
        if ring is None:
            ring = self._rings[key] = _Ring(deque())
            if operation not in self._previous_seen:
                # It appeared since the last round: all it holds is of the time since then.
                ring.entries.append((self._previous, None))
        ring.used = True
        entries = ring.entries
        # Setting the clock moves Unix times, those of the past as well, but no age. Nothing is
        # known of the time before a clearing, so that the window begins anew.
        age = None if current is None else self._taken - current.created
        if ring.age is not None and (age is None or age < ring.age):
            entries.clear()
            entries.append((self._previous, None))
        ring.age = age
        if not entries or now - entries[-1][0] >= seconds / SLICES:
            entries.append((now, current))
        # The latest that is old enough is where the window begins; what is older has served.
        while len(entries) > 1 and entries[1][0] <= now - seconds:
            entries.popleft()
        began, earlier = entries[0]
        elapsed = now - began
        return Window(earlier, current, elapsed, is_full=elapsed >= seconds)
