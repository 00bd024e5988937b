"""Exporting in the background: on time, each by itself, to the end."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from nanospan.export import periodic
from nanospan.export.periodic import export_periodically
from nanospan.values.measurements import Measurement

PATIENCE = 30  # seconds, generous: machines are shared
SELDOM = 3600.0


class Sink:
    """An exporter that keeps what it is given."""

    def __init__(self):
        self.given = []
        self.threads = []
        self.closed = 0
        self.arrived = threading.Condition()

    def __call__(self, snapshot, measurements):
        with self.arrived:
            self.given.append((snapshot, measurements))
            self.threads.append(threading.current_thread())
            self.arrived.notify_all()

    def close(self):
        self.closed += 1

    def wait_for(self, count):
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.given) >= count, PATIENCE)

    def counts(self):
        return [
            {name: operation.all.count for name, operation in snapshot.operations.items()}
            for snapshot, _ in self.given
        ]


@pytest.fixture(autouse=True)
def leaves_no_thread():
    """Once all exports are closed, no thread of theirs is left."""
    yield
    deadline = time.monotonic() + PATIENCE
    while left := [t.name for t in threading.enumerate() if t.name.startswith("nanospan-export")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def test_exports_come_by_themselves(monitor):
    """What was recorded and what sources report arrives again and again, on another thread."""
    monitor.record_metric("op", 0.1)
    reported = Measurement("pool.size", "gauge", 3.0)
    monitor.add_source(lambda: [reported])
    sink = Sink()
    with export_periodically(sink, monitor, interval=0.01) as export:
        sink.wait_for(3)
        monitor.record_metric("op", 0.1)
        sink.wait_for(len(sink.given) + 2)
    assert sink.counts()[0] == {"op": 1}
    assert sink.counts()[-1] == {"op": 2}
    assert sink.given[0][1] == [reported]
    assert threading.current_thread() not in sink.threads
    assert export.export_count == len(sink.given)
    assert (export.error_count, export.last_error) == (0, None)


def test_closing_exports_for_the_last_time(monitor):
    """close() exports what came last, closes the exporter, and only once."""
    sink = Sink()
    export = export_periodically(sink, monitor, interval=SELDOM)
    monitor.record_metric("op", 0.1)
    assert export.close()
    assert sink.counts() == [{"op": 1}]
    assert export.close()
    assert (len(sink.given), sink.closed) == (1, 1)


def test_flush_exports_now(monitor):
    """flush() returns when what was recorded before it has been exported."""
    sink = Sink()
    with export_periodically(sink, monitor, interval=SELDOM) as export:
        monitor.record_metric("op", 0.1)
        assert export.flush()
        assert sink.counts() == [{"op": 1}]
        assert sink.closed == 0


def test_one_thread_keeps_the_schedule_of_all(monitor):
    """However many exporters wait for their time, there is one thread for them."""
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(export_periodically(Sink(), monitor, interval=SELDOM))
        names = [t.name for t in threading.enumerate() if t.name.startswith("nanospan-export")]
        assert names == ["nanospan-export"]
        [thread] = [t for t in threading.enumerate() if t.name == "nanospan-export"]
        assert thread.daemon


def test_an_exporter_that_hangs_stalls_no_other(monitor, caplog):
    """It is reported once, passed over until it returns, and others go on meanwhile."""
    release, other, calls = threading.Event(), Sink(), []

    def hanging(_snapshot, _measurements):
        calls.append(1)
        assert release.wait(PATIENCE)

    export = export_periodically(hanging, monitor, interval=0.02, timeout=1.0)
    try:
        with export_periodically(other, monitor, interval=0.02):
            other.wait_for(3)
            wait_until(lambda: export.skipped_count >= 3 and export.error_count == 1)
            seen = len(other.given)
            other.wait_for(seen + 3)
        assert len(calls) == 1
        assert export.last_error == "still running after 1 s"
        [record] = caplog.records
        assert "hanging is still running after 1 s" in record.getMessage()
        assert not export.flush(0.05)
    finally:
        release.set()
    wait_until(lambda: len(calls) > 1)
    assert export.close()
    assert export.error_count == 1


def test_closing_an_exporter_that_hangs_does_not_hang(monitor):
    """close() gives up after its time, and nothing is exported after that."""
    release, calls = threading.Event(), []

    def hanging(_snapshot, _measurements):
        calls.append(1)
        assert release.wait(PATIENCE)

    export = export_periodically(hanging, monitor, interval=0.01, timeout=0.05)
    wait_until(lambda: calls)
    before = time.monotonic()
    assert not export.close(0.05)
    assert time.monotonic() - before < PATIENCE / 2
    release.set()
    assert calls == [1]


def test_failures_are_counted_and_logged_once_per_cause(monitor, caplog):
    """Each cause is logged once, with its traceback, until an export succeeds again."""
    failing = True

    def exporter(_snapshot, _measurements):
        if failing == "otherwise":
            raise OSError(f"cannot reach port {time.monotonic_ns()}")
        if failing:
            raise LookupError(f"at {time.monotonic_ns()}")

    with export_periodically(exporter, monitor, interval=SELDOM) as export:
        for _ in range(5):
            assert not export.flush()
        assert (export.error_count, export.export_count) == (5, 0)
        assert export.last_error.startswith("LookupError: at ")
        assert len(caplog.records) == 1
        assert caplog.records[0].exc_info
        failing = "otherwise"
        for _ in range(5):
            assert not export.flush()
        assert len(caplog.records) == 2
        failing = False
        with caplog.at_level(logging.INFO, "nanospan"):
            assert export.flush()
        assert caplog.records[-1].getMessage().endswith("succeeded again after 10 failures")
        failing = True
        export.flush()
        assert len(caplog.records) == 4
        failing = False
    assert export.error_count == 11


def test_logs_are_bounded_however_many_causes_there_are(monitor, caplog):
    """Of an exporter with ever new kinds of failure, so many are logged and no more."""
    classes = iter([type(f"Failure{i}", (Exception,), {}) for i in range(50)])

    def exporter(_snapshot, _measurements):
        raise next(classes)

    export = export_periodically(exporter, monitor, interval=SELDOM)
    for _ in range(49):
        export.flush()
    export.close()
    assert export.error_count == 50
    assert len(caplog.records) == periodic.MAX_CAUSES


def test_whatever_an_exporter_raises_the_next_export_comes(monitor):
    """SystemExit from an exporter ends neither the schedule nor the process."""

    def exporter(_snapshot, _measurements):
        sys.exit(3)

    with export_periodically(exporter, monitor, interval=0.01) as export:
        wait_until(lambda: export.error_count >= 3)


def test_a_failing_close_is_logged(monitor, caplog):
    """What an exporter's close() raises is logged; the last export has succeeded all the same."""
    sink = Sink()
    sink.close = lambda: 1 / 0
    assert export_periodically(sink, monitor, interval=SELDOM).close()
    assert "closing exporter" in caplog.text


def test_waits_vary(monitor, monkeypatch):
    """Each wait is drawn anew from 10 % around the interval."""
    drawn = []
    monkeypatch.setattr(
        periodic.random, "uniform", lambda low, high: drawn.append((low, high)) or low
    )
    sink = Sink()
    with export_periodically(sink, monitor, interval=0.01):
        sink.wait_for(5)
    assert len(drawn) >= 5
    assert set(drawn) == {(0.9, 1.1)}


@pytest.mark.parametrize("option", ["interval", "timeout", "exit_timeout"])
def test_bad_arguments_are_refused(monitor, option):
    """A time is a positive, finite number of seconds, and an exporter can be called."""
    for wrong in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=option):
            export_periodically(Sink(), monitor, **{option: wrong})
    for wrong in ("1", None, True):
        with pytest.raises(TypeError, match=option):
            export_periodically(Sink(), monitor, **{option: wrong})
    with pytest.raises(TypeError, match="callable"):
        export_periodically("sink", monitor)


def test_an_interval_may_be_longer_than_locks_can_wait(monitor):
    """Who wants none but the last may say so by any number; no other export stops for it."""
    rare = Sink()
    with export_periodically(rare, monitor, interval=1e12, timeout=1e12) as rarely:
        for _ in range(3):  # in between, the schedule waits for that one alone
            often = Sink()
            with export_periodically(often, monitor, interval=0.01):
                often.wait_for(2)
            assert rarely.flush(1e12)


def test_signal_handlers_stay_as_they_are(monitor):
    """No handler is installed or replaced."""
    before = [signal.getsignal(number) for number in signal.valid_signals()]
    with export_periodically(Sink(), monitor, interval=0.01) as export:
        export.flush()
        assert [signal.getsignal(number) for number in signal.valid_signals()] == before


PROGRAM = """
import json, os, sys, threading, time
from nanospan import get_performance_monitor
from nanospan.export.periodic import export_periodically
monitor = get_performance_monitor()
def report(who):
    def export(snapshot, measurements):
        counts = {name: each.all.count for name, each in snapshot.operations.items()}
        os.write(1, (json.dumps([who, counts]) + "\\n").encode())
    return export
"""


def run(code):
    """Run the program, and return what it reported, its time, and what it logged."""
    before = time.monotonic()
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM + code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    reports = [json.loads(line) for line in finished.stdout.splitlines()]
    return reports, time.monotonic() - before, finished.stderr


def test_the_last_export_is_made_when_the_interpreter_exits():
    """What was recorded last leaves the process, of all exporters, without their being closed."""
    reports, _, errors = run("""
export_periodically(report("a"), interval=3600)
export_periodically(report("b"), interval=3600)
monitor.record_metric("op", 0.1)
""")
    assert sorted(reports) == [["a", {"op": 1}], ["b", {"op": 1}]]
    assert not errors


def test_an_exporter_that_hangs_holds_the_exit_up_for_a_bounded_time():
    """The exit waits as long as it was told, says so, and the others' last exports are made."""
    reports, seconds, errors = run("""
export_periodically(lambda *_: time.sleep(600), interval=3600, exit_timeout=0.2)
export_periodically(report("other"), interval=3600)
monitor.record_metric("op", 0.1)
""")
    assert reports == [["other", {"op": 1}]]
    assert seconds < 60
    assert "not done 0.2 s after the interpreter began to exit" in errors


def test_where_the_exiting_interpreter_starts_no_thread_the_last_export_is_made_all_the_same():
    """CPython 3.12.0 and 3.12.1 refuse new threads then, so the exporter runs where it can."""
    reports, _, errors = run("""
export_periodically(report("a"), interval=3600)
monitor.record_metric("op", 0.1)
def refuse(thread):
    raise RuntimeError("can't create new thread at interpreter shutdown")
threading.Thread.start = refuse
""")
    assert reports == [["a", {"op": 1}]]
    assert not errors


def test_an_export_that_gets_no_thread_is_a_failed_one(monitor, monkeypatch, caplog):
    """A process that may start no more threads goes on, and says so once."""
    sink = Sink()
    export = export_periodically(sink, monitor, interval=SELDOM)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda _thread: exec("raise RuntimeError('full')"))
        assert not export.flush()
        assert not export.flush()
    assert export.last_error == "RuntimeError: full"
    assert len(caplog.records) == 1
    assert export.close()
    assert len(sink.given) == 1


def test_an_export_under_way_at_exit_is_followed_by_the_last_one():
    """An export that began before the last samples were recorded does not pass for the last."""
    reports, _, _ = run("""
began, go_on = threading.Event(), threading.Event()
inner = report("a")
def slow(snapshot, measurements):
    began.set()
    go_on.wait(60)
    inner(snapshot, measurements)
export_periodically(slow, interval=0.01, exit_timeout=60)
began.wait(60)
monitor.record_metric("op", 0.1)
threading.Timer(0.2, go_on.set).start()
""")
    assert reports[-1] == ["a", {"op": 1}]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_exports_by_itself_what_it_recorded():
    """The child's exports begin with the fork; the parent's go on, and nothing counts twice."""
    reports, _, errors = run("""
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
who = ["parent"]
def export(snapshot, measurements):
    report(who[0])(snapshot, measurements)
handle = export_periodically(export, interval=0.05)
monitor.record_metric("op", 0.1)
handle.flush()
child = os.fork()
if child == 0:
    who[0] = "child"
    assert handle.export_count == 0
    monitor.record_metric("op", 0.1)
    monitor.record_metric("op", 0.1)
    deadline = time.monotonic() + 60
    while handle.export_count < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    monitor.record_metric("op", 0.1)
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
""")
    children = [counts for who, counts in reports if who == "child"]
    parents = [counts for who, counts in reports if who == "parent"]
    assert children[-1] == {"op": 3}
    assert parents[-1] == {"op": 1}
    assert not errors


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forks_while_exports_are_under_way():
    """Children forked at any moment of the parent's exports can record, export and end."""
    reports, _, errors = run("""
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
import signal
for i in range(50):
    monitor.record_metric(f"op{i}", 0.1)
handle = export_periodically(lambda *_: None, interval=0.0001)
children = []
for i in range(40):
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends a child that is stuck
        monitor.record_metric("first seen by the child", 0.1)
        os._exit(0 if handle.flush(60) and handle.close(60) else 1)
    children.append(child)
    time.sleep(0.001)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)
""")
    assert reports == []
    assert not errors


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
