"""Group measurements into Prometheus' metric families, so that no two series coincide."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from nanospan._core import Snapshot, escape_name
from nanospan.export.prometheus.naming import family_name, label_pairs
from nanospan.values.messages import shorten, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nanospan.values.measurements import Measurement

Labels: TypeAlias = "Sequence[tuple[str, str]]"
Series: TypeAlias = "tuple[Labels, float | Snapshot]"
Family: TypeAlias = "tuple[str, str, str, str, list[Series]]"
"""A metric family: its name without suffix, help text, unit, kind and series.

The kind is ``counter``, ``gauge``, ``info`` or ``histogram``.
"""

SUFFIXES = {
    "counter": ("", "_total", "_created"),
    "gauge": ("",),
    "info": ("", "_info"),
    "histogram": ("", "_bucket", "_count", "_sum", "_created"),
}
"""The suffixes that a family's kind adds to its name in the names of series, keyed by kind."""

OURS = "nanospan_operation_"
"""The prefix of the families that describe operations."""

OUR_NAMES = frozenset("nanospan_build" + suffix for suffix in SUFFIXES["info"])
"""The names that the family with build information takes."""


def families_of(measurements: Iterable[Measurement], warn: Callable[[str], object]) -> list[Family]:
    """Return the metric families of measurements.

    Prometheus rejects a scrape in which two series have the same name and labels. Different names
    or attributes may become the same in Prometheus' spelling: of such measurements, counters,
    up-down counters and histograms are added together. Gauges cannot be added, so only the first is
    kept. A measurement is left out if its name is reserved for a nanospan metric, if the series of
    a different family have its name, if earlier measurements with the same name have a different
    kind, or if it was reported twice.

    Args:
        measurements: The measurements, in the order in which their sources report them.
        warn: A function that is called with a message for each measurement that is added to another
            one or left out.
    """
    families: dict[str, Family] = {}
    owners: dict[str, str] = {}
    # The measurements that each series holds, and its place in the family.
    held: dict[tuple[str, Labels], tuple[list[Measurement], int]] = {}
    for measurement in measurements:
        name, unit = family_name(measurement.name, measurement.unit, measurement.kind)
        kind = "gauge" if measurement.kind == "up_down_counter" else measurement.kind
        names = [name + suffix for suffix in SUFFIXES[kind]]
        family = families.get(name)
        other = next((owners[each] for each in names if owners.get(each, name) != name), None)
        problem = ""
        if name.startswith(OURS) or not OUR_NAMES.isdisjoint(names):
            problem = "must not have the name of a nanospan metric"
        elif family is not None and family[3] != kind:
            problem = (
                f"must have the kind {family[3]}, as earlier measurements named {name} do, got "
                f"{measurement.kind}"
            )
        elif other is not None:
            problem = f"must not have the name of a series of {other}, got {shorten(name)}"
        if problem:
            warn(f"measurement {shown(measurement.name)} {problem}; the measurement is left out")
            continue
        if family is None:
            # promtool requires a help text. The original name helps readers find documentation.
            description = escape_name(measurement.description or measurement.name)
            family = families[name] = (name, description, unit, kind, [])
            owners.update(dict.fromkeys(names, name))
        labels = label_pairs(measurement.attributes)
        others, place = held.setdefault((name, labels), ([], len(family[4])))
        if not others:
            family[4].append((labels, measurement.value))
        elif problem := _conflict(others, measurement):
            warn(problem)
            continue
        else:
            family[4][place] = labels, _sum(family[4][place][1], measurement.value)
            warn(
                f"measurements {shown(others[0].name)} and {shown(measurement.name)} have the same "
                f"name and labels in Prometheus, {shorten(name)} {shown(dict(labels))}; they are "
                "added together"
            )
        others.append(measurement)
    return list(families.values())


def _conflict(held: Sequence[Measurement], new: Measurement) -> str:
    """Return why a measurement cannot be added to those of its series, or "" if it can."""
    name = new.name
    if (name, new.attributes) in [(each.name, each.attributes) for each in held]:
        return (
            f"measurement {shown(name)} was reported twice: "
            f"{shown(label_pairs(new.attributes))}; the measurement is left out"
        )
    if new.kind == "gauge" or new.kind != held[0].kind:
        return (
            f"measurements {shown(held[0].name)} and {shown(name)} have the same name and labels "
            f"in Prometheus, and gauges cannot be added; {shown(name)} is left out"
        )
    return ""


def _sum(first: float | Snapshot, second: float | Snapshot) -> float | Snapshot:
    if isinstance(first, Snapshot):
        assert isinstance(second, Snapshot)  # noqa: S101 - both are histograms
        return first.merge(second)
    assert not isinstance(second, Snapshot)  # noqa: S101 - neither is a histogram
    return float(first) + float(second)  # floats overflow to infinity, which Prometheus reads
