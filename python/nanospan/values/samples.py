"""A single sample, as passed to callbacks; :class:`nanospan._core.Samples` holds many."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class PerformanceMetric:
    """One finished execution of an operation.

    Attributes:
        operation: The operation's name.
        duration: The duration in seconds.
        timestamp: The Unix time at which the execution ended, in seconds.
        success: Whether the execution succeeded. Also False for a cancelled execution, whose
            metadata contains ``{"outcome": "cancelled"}``.
        metadata: The metadata given by the caller or set on the span, with the key ``"error"``
            added if the execution failed.
    """

    operation: str
    duration: float
    timestamp: float
    success: bool
    metadata: dict[str, Any] = field(default_factory=dict)
