"""A single sample, as passed to callbacks; :class:`nanospan._core.Samples` holds many."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class PerformanceMetric:
    """A finished execution of an operation.

    Attributes:
        operation: The operation's name.
        duration: The duration in seconds.
        timestamp: The Unix time at which the execution ended, in seconds.
        success: Whether the execution succeeded. A cancelled one did not, and its metadata
            contains ``{"outcome": "cancelled"}``.
        metadata: The metadata of the caller and the span, with the key ``"error"`` if the
            execution failed.
    """

    operation: str
    duration: float
    timestamp: float
    success: bool
    metadata: dict[str, Any] = field(default_factory=dict)
