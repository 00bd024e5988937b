"""Convert OpenTelemetry names, units and attributes to Prometheus names and labels.

The conversion follows the OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility".
Names are escaped to ASCII letters, digits and underscores, which every Prometheus server can
read. The specification allows a gauge's name to end in ``_count``, but promtool and OpenMetrics
reject such a name, so ``_current`` is appended to it.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from nanospan._core import escape_name

if TYPE_CHECKING:
    from collections.abc import Mapping

# UCUM unit symbols that are common in measurements, and their names.
_UNITS = {
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "kBy": "kilobytes",
    "MBy": "megabytes",
    "GBy": "gigabytes",
    "bit": "bits",
    "%": "percent",
    "Hz": "hertz",
}
# Suffixes that promtool and OpenMetrics reserve for the series of histograms, counters and infos.
_RESERVED = ("_bucket", "_count", "_sum", "_total", "_info", "_created")
_PER = {"s": "second", "min": "minute", "h": "hour", "d": "day"}


@functools.lru_cache(maxsize=1024)
def family_name(name: str, unit: str, kind: str) -> tuple[str, str]:
    """Return the Prometheus name for a metric, and the unit that the name ends in.

    Args:
        name: A dotted name such as ``db.client.connection.wait_time``.
        unit: A unit in UCUM notation. Annotations, which are in braces, are dropped.
        kind: The measurement's kind; see :class:`nanospan.Measurement`.

    Returns:
        The metric family's name and the unit's full name, for example
        ``("db_client_connection_wait_time_seconds", "seconds")``; the unit may be ``""``. A
        counter's family name does not end in ``_total``; only the names of its series do. If a
        gauge's name ends in a reserved suffix such as ``_count``, ``_current`` is appended.
    """
    words = _snake(name)
    if kind == "counter":
        words = words.removesuffix("_total")
    suffix = "ratio" if unit == "1" and kind == "gauge" else _unit(unit)
    if words == suffix:  # in OpenMetrics, only an end of the name after "_" is a unit
        suffix = ""
    if suffix and not words.endswith(f"_{suffix}"):
        words = f"{words}_{suffix}"
    if kind in {"gauge", "up_down_counter"} and words.endswith(_RESERVED):
        return f"{words}_current", ""
    return words, suffix


def label_pairs(attributes: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Convert attributes to Prometheus labels: pairs of name and value, sorted by name.

    If several attribute names map to the same label, their values are joined with ``;``, as the
    specification requires. Labels with empty values are left out.
    """
    pairs: dict[str, str] = {}
    for key in sorted(attributes):
        label = _label(key)
        value = escape_name(str(attributes[key]))
        pairs[label] = f"{pairs[label]};{value}" if label in pairs else value
    # To Prometheus, a label with an empty value is the same as no label.
    return tuple(sorted((label, value) for label, value in pairs.items() if value))


@functools.lru_cache(maxsize=1024)
def _label(key: str) -> str:
    label = _snake(key)
    # Prometheus reserves these two labels for the series of histograms and summaries.
    return f"key_{label}" if label in {"le", "quantile"} else label


def _unit(unit: str) -> str:
    bare = re.sub(r"\{[^}]*\}", "", unit)
    amount, _, per = bare.partition("/")
    words = "" if amount == "1" else _UNITS.get(amount, _snake(amount) if amount else "")
    if not per:
        return words
    per = _PER.get(per, _snake(per))
    return f"{words}_per_{per}" if words else f"per_{per}"


def _snake(name: str) -> str:
    words = re.sub(r"[^A-Za-z0-9]+", "_", name)
    return f"_{words}" if words[:1].isdigit() else words
