"""Single samples as callbacks get them, and many as columns."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


@dataclass
class PerformanceMetric:
    """One finished execution of an operation.

    Attributes:
        operation: The operation's name.
        duration: How long it took, in seconds.
        timestamp: When it ended, as Unix time in seconds.
        success: Whether it returned. ``False`` also for a cancelled execution, whose metadata
            says ``{"outcome": "cancelled"}``.
        metadata: What the caller and the span attached, and ``"error"`` where one was raised.
    """

    operation: str
    duration: float
    timestamp: float
    success: bool
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples as columns of native numbers, oldest first, as `numpy.frombuffer` reads them.

    Attributes:
        durations: How long each took: ``float64`` seconds.
        ends: When each ended: ``uint64`` nanoseconds of Unix time; `None` where that is not known.
        outcomes: How each ended: ``uint8``, an index of :data:`OUTCOMES`; `None` where not known.
        metadata: What was attached to each, which must not be changed; empty if nothing was to any.
    """

    durations: bytes
    ends: bytes | None = None
    outcomes: bytes | None = None
    metadata: Sequence[Mapping[Any, Any] | None] = ()

    def __len__(self) -> int:
        return len(self.durations) // 8

    @property
    def columns(self) -> tuple[bytes, bytes, bytes] | None:
        """Ends, durations and outcomes, if all are known."""
        if self.ends is None or self.outcomes is None:
            return None
        return self.ends, self.durations, self.outcomes

    def take(self, rows: Sequence[int]) -> Samples:
        """Return the samples of some rows, which ascend."""
        return Samples(
            _take("d", self.durations, rows),
            None if self.ends is None else _take("Q", self.ends, rows),
            None if self.outcomes is None else _take("B", self.outcomes, rows),
            [self.metadata[row] for row in rows] if self.metadata else (),
        )

    def chunks(self, rows: int) -> Iterator[Samples]:
        """Yield the samples in portions of at most `rows`."""
        for start in range(0, len(self), rows):
            stop = start + rows
            yield Samples(
                self.durations[start * 8 : stop * 8],
                None if self.ends is None else self.ends[start * 8 : stop * 8],
                None if self.outcomes is None else self.outcomes[start:stop],
                self.metadata[start:stop],
            )


def _take(kind: Literal["B", "Q", "d"], column: bytes, rows: Sequence[int]) -> bytes:
    values = array(kind, column)
    return array(kind, [values[row] for row in rows]).tobytes()
