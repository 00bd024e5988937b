"""Translate OpenTelemetry's names, units and attributes to those of Prometheus.

The rules are those of the OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility",
with escaping to legacy names (ASCII letters, digits and underscores), which every server reads.
They allow a gauge's name to end in ``_count``, which promtool and OpenMetrics reject; such a name
gets the suffix ``_current``.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# The UCUM symbols that measurements of programs use.
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
# Endings that promtool and OpenMetrics reserve for the series of histograms, counters and infos.
_RESERVED = ("_bucket", "_count", "_sum", "_total", "_info", "_created")
_PER = {"s": "second", "min": "minute", "h": "hour", "d": "day"}


@functools.lru_cache(maxsize=1024)
def family_name(name: str, unit: str, kind: str) -> tuple[str, str]:
    """Return a metric family's name and the unit that it ends with.

    Args:
        name: A dotted name such as ``db.client.connection.wait_time``.
        unit: A unit in UCUM notation. Text in braces is an annotation and is dropped.
        kind: The kind of a :class:`nanospan.Measurement`.

    Returns:
        The name without the suffix ``_total``, which a counter's series have, and the unit in full
        or ``""``: ``("db_client_connection_wait_time_seconds", "seconds")``. A gauge's name that
        would end like a histogram's or counter's series gets the suffix ``_current``.
    """
    words = _snake(name)
    if kind == "counter":
        words = words.removesuffix("_total")
    suffix = "ratio" if unit == "1" and kind == "gauge" else _unit(unit)
    if suffix and words != suffix and not words.endswith(f"_{suffix}"):
        words = f"{words}_{suffix}"
    if kind in {"gauge", "up_down_counter"} and words.endswith(_RESERVED):
        return f"{words}_current", ""
    return words, suffix


def label_pairs(attributes: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return attributes as sorted label names and values.

    Where several names become the same label, the values are joined with ``;``, as the
    specification requires.
    """
    pairs: dict[str, str] = {}
    for key in sorted(attributes):
        label = _label(key)
        value = readable(attributes[key])
        pairs[label] = f"{pairs[label]};{value}" if label in pairs else value
    return tuple(sorted(pairs.items()))


def readable(value: object) -> str:
    r"""Return a value as text that UTF-8 can encode: a lone surrogate becomes ``\xed\xa0\x80``."""
    return str(value).encode("utf-8", "surrogatepass").decode("utf-8", "backslashreplace")


@functools.lru_cache(maxsize=1024)
def _label(key: str) -> str:
    label = _snake(key)
    # Histograms and summaries use these two labels themselves.
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
