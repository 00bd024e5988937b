"""What other parts report beside operations: the state of pools, of the runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import isnan
from typing import Literal, TypeAlias, get_args

from nanospan._core import Snapshot

Kind: TypeAlias = Literal["counter", "gauge", "up_down_counter", "histogram"]
_KINDS = frozenset(get_args(Kind))


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure that a source reports at one moment.

    Attributes:
        name: OpenTelemetry's dotted name, such as ``db.client.connection.count``.
        kind: ``counter`` only ever grows, ``up_down_counter`` adds up over processes, ``gauge``
            does not, ``histogram`` is a distribution of durations.
        value: A number; for a histogram a :class:`nanospan.Snapshot`.
        unit: In the notation of UCUM: ``s``, ``{connection}``.
        description: One line on what it counts.
        attributes: What tells it from others of the same name. Never a credential.

    Raises:
        TypeError: If a field is of another type, or value and kind do not belong together.
        ValueError: If the kind is unknown, a number has no ``float``, or a name is empty.
    """

    name: str
    kind: Kind
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
        # What is refused here, its source alone goes without; in an export everybody would.
        if self.kind not in _KINDS:
            raise ValueError(f"measurement {self.name!r}: there is no kind {self.kind!r}")
        for text in (self.name, self.unit, self.description, *self.attributes):
            if not isinstance(text, str):
                raise TypeError(f"measurement {self.name!r}: {text!r} is no str")
        if not self.name or "" in self.attributes:
            raise ValueError(f"measurement {self.name!r}: a name is empty")
        if not isinstance(self.value, Snapshot):
            self._check_number()

    def _check_number(self) -> None:
        try:
            isnan(self.value)  # type: ignore[arg-type]
        except TypeError:
            raise TypeError(
                f"measurement {self.name!r}: the value is no number: {self.value!r}"
            ) from None
        except OverflowError:
            raise ValueError(
                f"measurement {self.name!r}: the value is beyond a float's range"
            ) from None


MeasurementSource: TypeAlias = Callable[[], Iterable[Measurement]]
"""Reports its measurements when called: quickly, from any thread."""
