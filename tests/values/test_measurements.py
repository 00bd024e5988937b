"""Tests for measurements reported by sources other than operations."""

import logging

import pytest

from nanospan import Measurement, Snapshot


def gauge(value):
    return Measurement("queue.length", "gauge", value, "{item}")


def test_every_source_is_asked(monitor):
    """A monitor queries each of its sources once, in the order in which they were added."""
    first, second = lambda: [gauge(1)], lambda: (gauge(n) for n in (2, 3))
    for source in (first, second, first):
        monitor.add_source(source)
    assert monitor.measurements() == [gauge(1), gauge(2), gauge(3)]
    monitor.remove_source(first)
    monitor.remove_source(print)
    assert monitor.measurements() == [gauge(2), gauge(3)]


def test_a_failing_source_does_not_silence_the_others(monitor, caplog):
    """An exception from one source is logged, and the other sources still report."""

    def broken():
        yield gauge(1)
        raise RuntimeError("no figures today")

    monitor.add_source(broken)
    monitor.add_source(lambda: [gauge(2)])
    with caplog.at_level(logging.ERROR, logger="nanospan"):
        assert gauge(2) in monitor.measurements()
    assert "no figures today" in caplog.text


def test_a_source_must_be_callable(monitor):
    """Adding a source that is not callable raises an error."""
    with pytest.raises(TypeError, match="source must be callable, got int"):
        monitor.add_source(3)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"kind": "summary"}, ValueError, "kind must be one of counter, .*, got 'summary'"),
        ({"value": None}, TypeError, "value must be a number, got NoneType"),
        ({"value": "3"}, TypeError, "value must be a number, got str"),
        ({"value": 10**400}, ValueError, "value must be within the range of a float"),
        ({"name": ""}, ValueError, "name and attribute names must not be empty"),
        ({"name": 3}, TypeError, "name, unit, .* attribute names must be str, got int"),
        ({"unit": None}, TypeError, "must be str, got NoneType"),
        ({"description": b"x"}, TypeError, "must be str, got bytes"),
        ({"attributes": {"": "x"}}, ValueError, "name and attribute names must not be empty"),
        ({"attributes": {1: "x"}}, TypeError, "must be str, got int"),
    ],
)
def test_invalid_measurements_are_rejected(fields, error, message):
    """Creating a measurement that no exporter can represent raises an error."""
    good = {"name": "x", "kind": "gauge", "value": 1}
    assert Measurement(**good)
    with pytest.raises(error, match=message):
        Measurement(**(good | fields))


@pytest.mark.parametrize(("kind", "value"), [("histogram", 1.0), ("gauge", "snapshot")])
def test_only_histograms_have_snapshots(monitor, kind, value):
    """Creating a measurement whose value does not fit its kind raises an error."""
    if value == "snapshot":
        value = monitor.operation("op").snapshot()
    with pytest.raises(TypeError, match=r"'x': value must be a Snapshot for a histogram"):
        Measurement("x", kind, value)
    assert isinstance(monitor.operation("op").snapshot(), Snapshot)
