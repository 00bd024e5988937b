"""Templates for alert texts. Placeholders cannot access attributes or items of their values."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING, Literal

from nanospan.values.messages import shorten
from nanospan.values.units import duration_text, share_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

__all__ = ["PLACEHOLDERS", "Quantity", "Unit", "check_template", "render", "unit_of"]

Unit = Literal["s", "share", "/s", "count", "ratio"]

PLACEHOLDERS = frozenset({"rule", "operation", "severity", "statistic", "value", "limit", "window"})
_NUMBERS = frozenset({"value", "limit", "window"})
# Widths have at most two digits, so that a template cannot request a gigabyte of padding.
_FORMAT = re.compile(r"[^\d{}]{0,4}\d{0,2}[,_]?(\.\d{1,2})?[a-zA-Z%]?")

_UNIT_OF: dict[str, Unit] = {
    "rate": "/s",
    "error_rate": "share",
    "cancelled_rate": "share",
    "in_flight": "count",
    "absent": "s",
    "regression": "ratio",
    "change": "ratio",
}


def unit_of(statistic: str) -> Unit:
    """Return the unit of a statistic's values."""
    return _UNIT_OF.get(statistic, "s")


class Quantity(float):
    """A float that is formatted with its unit, unless a format specification is given."""

    __slots__ = ("unit",)

    def __new__(cls, value: float, unit: Unit) -> Quantity:  # noqa: D102, PYI034 - no Self in 3.10
        quantity = super().__new__(cls, value)
        quantity.unit = unit
        return quantity

    unit: Unit

    def __str__(self) -> str:
        number = float(self)
        if self.unit == "share":
            return share_text(number)
        if self.unit == "/s":
            return f"{_three_digits(number)}/s"
        if self.unit == "ratio":
            return f"{_three_digits(number)} x"
        if self.unit == "count":
            return f"{number:g}"
        return duration_text(number)

    def __format__(self, spec: str) -> str:
        return format(float(self), spec) if spec else str(self)


def _three_digits(number: float) -> str:
    # The format ``.3g`` alone would show 1500 as 1.5e+03.
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"  # noqa: PLR2004


class _Formatter(string.Formatter):
    """A formatter that accepts only plain names as placeholders, no attributes or items."""

    def get_field(
        self, name: str, _args: object, values: Mapping[str, object]
    ) -> tuple[object, str]:
        return values[name], name


_formatter = _Formatter()


def check_template(template: str, names: AbstractSet[str]) -> None:
    """Raise ValueError unless ``template`` is valid and uses only placeholders from ``names``."""
    for literal, name, spec, conversion in _formatter.parse(template):
        del literal
        if name is None:
            continue
        if name not in names:
            known = shorten(", ".join(sorted(names)))
            raise ValueError(
                f"unknown placeholder {{{shorten(name)}}}; use one of {known}, "
                "or {{ for a literal brace"
            )
        if conversion is not None:
            raise ValueError(
                f"placeholder {{{shorten(name)}!{conversion}}}: conversions are not supported"
            )
        if spec:
            if not _FORMAT.fullmatch(spec):
                raise ValueError(f"placeholder {{{name}:{shorten(spec)}}}: unsupported format")
            format(1.5 if name in _NUMBERS else "text", spec)


def render(template: str, values: Mapping[str, object]) -> str:
    """Fill in a template that passed ``check_template``; a value of None is shown as a dash."""
    return _formatter.vformat(template, (), _Known(values))


class _Known(dict[str, object]):
    def __init__(self, values: Mapping[str, object]) -> None:
        super().__init__({name: _Unknown() if v is None else v for name, v in values.items()})


class _Unknown:
    def __format__(self, _spec: str) -> str:
        return "-"
