"""The texts of alerts: templates with placeholders."""

from __future__ import annotations

from nanospan.alerts.templates import PLACEHOLDERS, Quantity, check_template, render
from nanospan_fuzz.inputs import as_text, check_message

LONGEST = 100
"""The most characters that a placeholder can give: widths have two digits."""


def target(data: bytes) -> None:
    """A template gives a ValueError, or a text for any values, whose length is in proportion."""
    template = as_text(data)
    try:
        check_template(template, PLACEHOLDERS)
    except ValueError as error:
        check_message(error)
        return
    for number in (0.0, 1.5, 1e300, -1e-300, float("inf"), float("nan")):
        values: dict[str, object] = dict.fromkeys(PLACEHOLDERS, "text")
        for name, unit in (("value", "s"), ("limit", "share"), ("window", "ratio")):
            values[name] = Quantity(number, unit)  # type: ignore[arg-type]  # all are units
        text = render(template, values)
        # A number of 300 digits is longer than its placeholder, but not without limit.
        assert len(text) <= len(template) + 4 * LONGEST * (1 + template.count("{"))
    render(template, dict.fromkeys(PLACEHOLDERS))
