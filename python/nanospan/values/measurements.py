"""Measurements other than durations of operations, such as the state of connection pools."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import isnan
from typing import Literal, TypeAlias, get_args

from nanospan._core import Snapshot
from nanospan.values.messages import shorten, shown

Kind: TypeAlias = Literal["counter", "gauge", "up_down_counter", "histogram"]
_KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A value that a measurement source reports at one point in time.

    Attributes:
        name: A dotted name in OpenTelemetry's style, such as ``db.client.connection.count``.
        kind: ``counter`` for a value that never decreases, ``up_down_counter`` for a value that
            goes up and down and can be summed over processes, ``gauge`` for a value that cannot be
            summed, or ``histogram`` for a distribution of durations.
        value: A number, or a :class:`nanospan.Snapshot` for a histogram.
        unit: The unit in UCUM notation, such as ``s`` or ``{connection}``.
        description: One line that describes what is measured.
        attributes: The attributes that distinguish the measurement from others with the same
            name; they must not contain credentials.

    Raises:
        TypeError: If a field has the wrong type, or ``value`` does not fit ``kind``.
        ValueError: If ``kind`` is unknown, ``value`` is beyond the range of a float, or ``name`` or
            the name of an attribute is empty.
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
                f"measurement {shown(self.name)}: value must be a Snapshot for a histogram and a "
                f"number for other kinds, got {type(self.value).__name__} for {shorten(self.kind)}"
            )
        # Raising here makes only the source of the invalid measurement fail, not the whole export.
        if self.kind not in _KINDS:
            raise ValueError(
                f"measurement {shown(self.name)}: kind must be one of {', '.join(_KINDS)}, "
                f"got {shown(self.kind)}"
            )
        for text in (self.name, self.unit, self.description, *self.attributes):
            if not isinstance(text, str):
                raise TypeError(
                    f"measurement {shown(self.name)}: name, unit, description and attribute "
                    f"names must be str, got {type(text).__name__}"
                )
        if not self.name or "" in self.attributes:
            raise ValueError(
                f"measurement {shown(self.name)}: name and attribute names must not be empty"
            )
        if not isinstance(self.value, Snapshot):
            self._check_number()

    def _check_number(self) -> None:
        try:
            isnan(self.value)  # type: ignore[arg-type]
        except TypeError:
            raise TypeError(
                f"measurement {shown(self.name)}: value must be a number, got "
                f"{type(self.value).__name__}"
            ) from None
        except OverflowError:
            raise ValueError(
                f"measurement {shown(self.name)}: value must be within the range of a float"
            ) from None


MeasurementSource: TypeAlias = Callable[[], Iterable[Measurement]]
"""A function that returns measurements; it must not block, and may be called on any thread."""
