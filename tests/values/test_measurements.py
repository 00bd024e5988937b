"""What sources report beside operations."""

import logging

import pytest

from nanospan import Measurement, Snapshot


def gauge(value):
    return Measurement("queue.length", "gauge", value, "{item}")


def test_every_source_is_asked(monitor):
    """A monitor returns what its sources report, in the order they were added, each once."""
    first, second = lambda: [gauge(1)], lambda: (gauge(n) for n in (2, 3))
    for source in (first, second, first):
        monitor.add_source(source)
    assert monitor.measurements() == [gauge(1), gauge(2), gauge(3)]
    monitor.remove_source(first)
    monitor.remove_source(print)
    assert monitor.measurements() == [gauge(2), gauge(3)]


def test_a_failing_source_does_not_silence_the_others(monitor, caplog):
    """What a source raises is logged, and the others still report."""

    def broken():
        yield gauge(1)
        raise RuntimeError("no figures today")

    monitor.add_source(broken)
    monitor.add_source(lambda: [gauge(2)])
    with caplog.at_level(logging.ERROR, logger="nanospan"):
        assert gauge(2) in monitor.measurements()
    assert "no figures today" in caplog.text


def test_a_source_must_be_callable(monitor):
    """Anything else is refused when it is added."""
    with pytest.raises(TypeError, match="a source is callable, got 3"):
        monitor.add_source(3)


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"kind": "summary"}, ValueError, "there is no kind 'summary'"),
        ({"value": None}, TypeError, "no number: None"),
        ({"value": "3"}, TypeError, "no number: '3'"),
        ({"value": 10**400}, ValueError, "beyond a float's range"),
        ({"name": ""}, ValueError, "a name is empty"),
        ({"name": 3}, TypeError, "3 is no str"),
        ({"unit": None}, TypeError, "None is no str"),
        ({"description": b"x"}, TypeError, "b'x' is no str"),
        ({"attributes": {"": "x"}}, ValueError, "a name is empty"),
        ({"attributes": {1: "x"}}, TypeError, "1 is no str"),
    ],
)
def test_what_no_export_could_show_is_refused(fields, error, message):
    """A measurement that would spoil an exposition fails where it is made, and its source alone."""
    good = {"name": "x", "kind": "gauge", "value": 1}
    assert Measurement(**good)
    with pytest.raises(error, match=message):
        Measurement(**(good | fields))


@pytest.mark.parametrize(("kind", "value"), [("histogram", 1.0), ("gauge", "snapshot")])
def test_only_histograms_have_snapshots(monitor, kind, value):
    """A measurement whose value does not fit its kind is refused."""
    if value == "snapshot":
        value = monitor.operation("op").snapshot()
    with pytest.raises(TypeError, match=r"'x': a histogram's value is a Snapshot"):
        Measurement("x", kind, value)
    assert isinstance(monitor.operation("op").snapshot(), Snapshot)
