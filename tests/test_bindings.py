"""Tests for how the compiled core is bound to the Python package and handles panics."""

import subprocess
import sys
import textwrap
from typing import get_args

import pytest

from nanospan import PerformanceMonitor, _core
from nanospan.regression import Verdict


def run(code):
    """Run ``code`` in a fresh interpreter; return its output."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


UNBOUND = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("_core", {_core.__file__!r})
core = importlib.util.module_from_spec(spec)
spec.loader.exec_module(core)
"""


def test_nothing_is_imported_from_python_before_it_is_bound():
    """Without the package, the core imports no nanospan module, and its errors say to import it."""
    code = """
    import sys
    monitor = core.Monitor(10, 10, None)
    monitor.record_metric("op", 0.1)
    for use in (lambda: monitor.get_stats("op"), lambda: core.compare([1.0], [1.0])):
        try:
            use()
        except RuntimeError as error:
            print(error)
    print(any(name.startswith("nanospan") for name in sys.modules))
    """
    missing = "nanospan._core must be initialised with bind() before it is used"
    assert run(UNBOUND + textwrap.dedent(code)).splitlines() == [
        f"{missing}; import nanospan",
        f"{missing}; import nanospan",
        "False",
    ]


def test_binding_again_replaces_the_classes():
    """After a second bind(), as on reloading the package, the core uses the new classes."""
    code = """
    def give(name):
        kinds = ["process_recorder", "decorate", "wrap", "performance_stats", "comparison"]
        kinds += ["alarm", "quantile_change", "change_point", "snapshot_html"]
        core.bind(**{kind: lambda *given, kind=kind: (name, kind, len(given)) for kind in kinds})
    monitor = core.Monitor(10, 10, None)
    monitor.record_metric("op", 0.1)
    for name in ("first", "second"):
        give(name)
        print(*monitor.get_stats("op"))
    """
    assert run(UNBOUND + textwrap.dedent(code)).splitlines() == [
        "first performance_stats 24",
        "second performance_stats 24",
    ]


def test_drawing_and_comparing_are_imported_only_when_needed():
    """The modules for charts and comparisons are imported on first use, not with nanospan."""
    code = """
    import sys, nanospan
    from nanospan import _core
    monitor = nanospan.PerformanceMonitor()
    monitor.record_metric("op", 0.1)
    lazy = {"nanospan.export.svg", "nanospan.values.comparisons"}
    print(lazy & set(sys.modules))
    print("<svg" in monitor.operation("op").snapshot()._repr_html_())
    print(type(_core.compare([1.0], [1.0])).__name__, lazy - set(sys.modules))
    """
    assert run(code).splitlines() == ["set()", "True", "Comparison set()"]


def test_without_events_violations_and_overflows_are_only_counted():
    """A core monitor without an event handler still counts violations and refused names."""
    monitor = _core.Monitor(1, 1, None)
    monitor.set_threshold("op", 0.1)
    monitor.record_metric("op", 0.2)
    monitor.record_metric("another", 0.2)
    assert monitor.snapshot().operations["op"].violation_count == 1
    assert monitor.refused_names == 1


def test_values_that_both_sides_name_are_written_once():
    """Constants that both the Python code and the Rust core define are equal."""
    assert get_args(Verdict) == _core.VERDICTS
    assert _core.OUTCOMES == ("ok", "error", "cancelled")
    snapshot = PerformanceMonitor().snapshot().to_bytes()
    assert snapshot.startswith(_core.SNAPSHOT_MAGIC)


PANIC = """
import asyncio, sys, types
from nanospan import PerformanceMonitor, _core
from nanospan.tracking import decorate

# An exception of the class that PyO3 turns panics into makes PyO3 panic again where it is fetched.
def first():
    raise ValueError
try:
    decorate(first, _core.OperationRef("op"))()
except ValueError:
    pass
[Panic] = [cls for cls in BaseException.__subclasses__() if cls.__name__ == "PanicException"]
monitor = PerformanceMonitor()
span = monitor.track_operation("op")

def fail():
    raise Panic("boom")

async def fail_later():
    fail()

@types.coroutine
def wait():
    yield

async def wait_and_fail():
    await wait()
    fail()

async def fail_when_closed():
    try:
        await wait()
    finally:
        fail()

def started(function):
    coroutine = span(function)()
    coroutine.send(None)
    return coroutine

def unfinished():
    coroutine = started(fail_when_closed)
    del coroutine

def report(unraisable):
    print("unraisable", type(unraisable.exc_value).__name__)
sys.unraisablehook = report
"""


@pytest.mark.parametrize(
    "slot",
    [
        "span(fail)()",
        "span(fail_later)().send(None)",
        "next(span(fail_later)().__await__())",
        "asyncio.run(span(fail_later)())",
        "started(wait_and_fail).throw(Panic('boom'))",
        "started(fail_when_closed).close()",
    ],
)
def test_a_panic_becomes_an_exception(slot):
    """If a method of a native object panics, the caller gets a RuntimeError."""
    code = f"""
try:
    {slot}
except RuntimeError as error:
    print(error)
"""
    assert run(PANIC + code).strip() == "a bug in nanospan; please report it"
