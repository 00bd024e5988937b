"""Tests for the collector that can be registered with ``prometheus_client``."""

import sys

import pytest
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

import nanospan.export.prometheus
from nanospan.export.prometheus import Exposition, NanospanCollector
from nanospan.values.measurements import Measurement


@pytest.fixture
def exposition(monitor):
    for name in ("op", 'odd "name"\n'):
        monitor.record_metric(name, 0.25)
        monitor.record_metric(name, 3.0, success=False)
    monitor.set_threshold("op", 1.0)
    monitor.add_source(lambda: [Measurement("pool.size", "gauge", 3.0, "{connection}")])
    return Exposition(monitor)


def _samples(text):
    """Return each sample's name, labels and value, except for creation times."""
    samples = [sample for family in parse(text) for sample in family.samples]
    return sorted(
        (name, sorted((k, float(v) if k == "le" else v) for k, v in labels.items()), value)
        for name, labels, value, *_ in samples
        if not name.endswith("_created")
    )


def test_a_registry_shows_the_samples_of_the_exposition(exposition):
    """``prometheus_client`` renders the same samples as nanospan's encoder."""
    registry = CollectorRegistry()
    registry.register(NanospanCollector(exposition))
    assert _samples(generate_latest(registry).decode()) == _samples(exposition.render().decode())
    openmetrics = generate_openmetrics(registry).decode()
    assert "# UNIT nanospan_operation_duration_seconds seconds" in openmetrics
    assert 'le="+Inf"' in openmetrics


def test_names_are_registered_and_freed(exposition):
    """A registry rejects a duplicate name; unregistering the collector frees its names."""
    registry = CollectorRegistry()
    collector = NanospanCollector(exposition)
    registry.register(collector)
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(NanospanCollector(exposition))
    with pytest.raises(ValueError, match="Duplicated"):
        Gauge("pool_size", "Taken.", registry=registry)
    registry.unregister(collector)
    Gauge("pool_size", "Free again.", registry=registry)
    assert [metric.name for metric in registry.collect()] == ["pool_size"]


def test_the_error_without_the_client_names_the_extra(monkeypatch):
    """The ImportError for a missing ``prometheus_client`` names the extra to install."""
    monkeypatch.delitem(sys.modules, "nanospan.export.prometheus.collector", raising=False)
    monkeypatch.delattr(nanospan.export.prometheus, "collector", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client.core", None)
    with pytest.raises(ImportError, match=r"pip install 'nanospan\[prometheus\]'"):
        _ = nanospan.export.prometheus.NanospanCollector
    with pytest.raises(AttributeError, match="nothing"):
        _ = nanospan.export.prometheus.nothing
