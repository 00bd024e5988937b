"""Tests that every public call may be made amid every other."""

import os

import public_calls
import pytest
import reentry

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is not available")


def test_every_call_may_be_made_amid_every_other(tmp_path):
    """No call of the monitor, its alerts and its exports hangs or fails, whatever it interrupts.

    Each is made in a signal handler, a collection and a finaliser that interrupt each, and in a
    child that is forked meanwhile.
    """
    results = reentry.run_program("core_calls.py", tmp_path / "progress")
    assert results["problems"] == []
    assert {"Alerts.add", "PerformanceMonitor.alerts", "PeriodicExport.close", "Span.set"} < set(
        results["calls"]
    )
    assert min(results["lines"], results["forks"]) > 50


def test_a_new_function_must_be_called_or_excluded(monkeypatch):
    """A public name that no table mentions is a complaint, and so is one that does not exist."""

    class Subject:
        def plain(self):
            return "called"

        def with_argument(self, argument):
            pass

    class Unknown:
        pass

    def function(argument):
        pass

    members = {"Subject": Subject, "Unknown": Unknown, "function": function}
    for name, member in members.items():
        monkeypatch.setattr(public_calls, name, member, raising=False)
    monkeypatch.setattr(public_calls, "__all__", list(members), raising=False)
    api = public_calls.Api(
        modules=("public_calls",),
        subjects={"Subject": Subject},
        arguments={"Subject.gone": lambda it: it.gone()},
        excluded={},
        run=print,
    )
    found = public_calls.public_calls(api)
    assert {name: call() for name, call in found.calls.items()} == {"Subject.plain": "called"}
    assert sorted(found.complaints) == [
        "Subject.gone: is not public any more",
        "Subject.with_argument: say how to call or create it, or exclude it",
        "Unknown: say how to call or create it, or exclude it",
        "function: say how to call or create it, or exclude it",
    ]
