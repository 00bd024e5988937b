"""Single samples, as callbacks get them; many are :class:`nanospan._core.Samples`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
