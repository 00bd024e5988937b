"""Single samples, which callbacks receive; :class:`nanospan._core.Samples` holds many."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class PerformanceMetric:
    """A finished execution of an operation.

    Attributes:
        operation: The operation's name.
        duration: The duration in seconds.
        timestamp: The Unix time in seconds at which it ended.
        success: Whether it succeeded. False also for a cancelled execution, whose metadata has
            ``{"outcome": "cancelled"}``.
        metadata: The metadata of the caller and the span, with ``"error"`` if it failed.
    """

    operation: str
    duration: float
    timestamp: float
    success: bool
    metadata: dict[str, Any] = field(default_factory=dict)
