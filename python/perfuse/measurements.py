"""What other parts report beside operations: the state of pools, of the runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from perfuse._core import Snapshot


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure that a source reports at one moment.

    Attributes:
        name: OpenTelemetry's dotted name, such as ``db.client.connection.count``.
        kind: ``counter`` only ever grows, ``up_down_counter`` adds up over processes, ``gauge``
            does not, ``histogram`` is a distribution of durations.
        value: A number; for a histogram a :class:`perfuse.Snapshot`.
        unit: In the notation of UCUM: ``s``, ``{connection}``.
        description: One line on what it counts.
        attributes: What tells it from others of the same name. Never a credential.
    """

    name: str
    kind: Literal["counter", "gauge", "up_down_counter", "histogram"]
    value: float | Snapshot
    unit: str = ""
    description: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.value, Snapshot) != (self.kind == "histogram"):
            raise TypeError(
                f"measurement {self.name!r}: a histogram's value is a Snapshot, that of other "
                f"kinds a number; got {self.kind} and {type(self.value).__name__}"
            )


Source: TypeAlias = Callable[[], Iterable[Measurement]]
"""Reports its measurements when called: quickly, from any thread."""
