"""Measurements of other libraries and of programs, as text for Prometheus."""

from __future__ import annotations

from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text

from nanospan import PerformanceMonitor
from nanospan.export.prometheus.exposition import Exposition
from nanospan.values.measurements import Measurement
from nanospan_fuzz.inputs import InvalidInput, as_json

IS_JSON = True
FIELDS = frozenset({"name", "kind", "value", "unit", "description", "attributes"})


class _Fixed(Exposition):
    def __init__(self, given: list[Measurement], names: list[str]) -> None:
        monitor = PerformanceMonitor()
        for name in names:
            monitor.operation(name).record(0.25)
        super().__init__(monitor)
        self._given = given

    def measurements(self) -> list[Measurement]:
        return self._given


def target(data: bytes) -> None:
    """Prometheus' own parsers read the text of any measurements, and no series appears twice."""
    given = as_json(data)
    if not isinstance(given, list):
        raise InvalidInput
    names = [each for each in given if isinstance(each, str) and each]
    exposition = _Fixed([m for each in given if (m := _measurement(each))], names[:20])
    _check(text(exposition.render("text").decode()))
    _check(openmetrics(exposition.render("openmetrics").decode()))  # type: ignore[no-untyped-call]
    exposition.render("protobuf")


def _measurement(given: Any) -> Measurement | None:
    if not isinstance(given, dict) or not given.keys() <= FIELDS:
        return None
    attributes = given.get("attributes")
    if not isinstance(attributes, dict | None):
        return None
    value = given.get("value")
    if given.get("kind") == "counter" and not (isinstance(value, (int, float)) and value >= 0):
        return None  # Prometheus accepts it, but the official client's parser does not
    try:
        return Measurement(**{**given, "attributes": attributes or {}})
    except (TypeError, ValueError):
        return None


def _check(families: Any) -> None:
    seen = set()
    for family in families:
        for sample in family.samples:
            series = (sample.name, tuple(sorted(sample.labels.items())))
            assert series not in seen, series
            seen.add(series)
