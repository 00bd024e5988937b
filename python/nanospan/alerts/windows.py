"""Sliding time windows, computed as differences between snapshots of watched operations."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanospan.alerts.rules import SLICES
from nanospan.reentrant import LazyProperty

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanospan._core import MonitorSnapshot, OperationSnapshot, Snapshot

__all__ = ["Window", "Windows"]


class Window:
    """The samples that an operation recorded between two moments.

    Attributes:
        elapsed: The time between the two moments, in seconds.
        is_full: Whether ``elapsed`` is at least the requested length of the window.
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

    def _difference(self, part: Callable[[OperationSnapshot], Snapshot]) -> Snapshot | None:
        if self._current is None:
            return None
        current = part(self._current)
        if self._earlier is None:
            return current
        try:
            return current.since(part(self._earlier))
        except ValueError:
            # The operation was cleared, though its age did not show it: all its samples are new.
            return current

    @LazyProperty
    def durations(self) -> Snapshot | None:
        """The durations of all samples in the window, including failed and cancelled ones.

        None if the operation does not exist.
        """
        return self._difference(lambda operation: operation.all)

    def _count(self, part: Callable[[OperationSnapshot], Snapshot]) -> int:
        difference = self._difference(part)
        return 0 if difference is None else difference.count

    @property
    def count(self) -> int:
        """The number of samples in the window, including failed and cancelled ones."""
        return 0 if self.durations is None else self.durations.count

    @property
    def rate(self) -> float | None:
        """The number of samples per second; None if no time has elapsed."""
        return self.count / self.elapsed if self.elapsed > 0 else None

    @property
    def error_rate(self) -> float | None:
        """The share of failures among the samples that were not cancelled.

        None if the window contains no such samples.
        """
        errors = self._count(lambda operation: operation.error)
        finished = errors + self._count(lambda operation: operation.ok)
        return errors / finished if finished else None

    @property
    def cancelled_rate(self) -> float | None:
        """The share of cancelled samples; None if the window contains no samples."""
        cancelled = self._count(lambda operation: operation.cancelled)
        return cancelled / self.count if self.count else None

    @property
    def in_flight(self) -> int:
        """The number of spans that were open at the end of the window."""
        return 0 if self._current is None else self._current.in_flight


@dataclass(slots=True)
class _Ring:
    entries: deque[tuple[float, OperationSnapshot | None]]
    age: float | None = None  # the operation's age in seconds, when last evaluated
    used: bool = True


class Windows:
    """Ring buffers of snapshots, one for each watched operation and window length.

    A ring buffer holds at most 14 snapshots, however long its window is. Not thread-safe.
    """

    def __init__(self) -> None:
        self._rings: dict[tuple[str, float], _Ring] = {}
        self._cache: dict[tuple[str, float], Window] = {}
        self._seen: frozenset[str] = frozenset()
        self._first: float | None = None
        self._last = 0.0

    def advance(self, snapshot: MonitorSnapshot, now: float) -> None:
        """Start a new evaluation, in which all windows end at ``now``.

        Args:
            snapshot: A snapshot of all operations, taken at ``now``.
            now: The current time in seconds, on a monotonic clock.
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
        """Return the operation's window over the last ``seconds``.

        The window is shorter if the operation has been watched for less time.
        """
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
                # The operation appeared after the previous evaluation: all its samples are new.
                ring.entries.append((self._previous, None))
        ring.used = True
        entries = ring.entries
        # Setting the system clock shifts all Unix times, past ones included, but changes no age.
        # A smaller age therefore means that the operation was cleared; its earlier samples are
        # unknown, so the window starts again.
        age = None if current is None else self._taken - current.created
        if ring.age is not None and (age is None or age < ring.age):
            entries.clear()
            entries.append((self._previous, None))
        ring.age = age
        if not entries or now - entries[-1][0] >= seconds / SLICES:
            entries.append((now, current))
        # The window begins at the newest entry that is old enough; older entries are not needed.
        while len(entries) > 1 and entries[1][0] <= now - seconds:
            entries.popleft()
        began, earlier = entries[0]
        elapsed = now - began
        return Window(earlier, current, elapsed, is_full=elapsed >= seconds)
