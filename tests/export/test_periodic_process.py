"""Tests for periodic exports when a process exits or forks."""

import json
import os
import subprocess
import sys
import time

import pytest

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
    """Run a program; return its reports, its run time in seconds, and its stderr output."""
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


def test_all_exporters_export_when_the_interpreter_exits():
    """Exporters that are still open export the latest samples when the interpreter exits."""
    reports, _, errors = run("""
export_periodically(report("a"), interval=3600)
export_periodically(report("b"), interval=3600)
monitor.record_metric("op", 0.1)
""")
    assert sorted(reports) == [["a", {"op": 1}], ["b", {"op": 1}]]
    assert not errors


def test_an_exporter_that_hangs_delays_the_exit_by_its_exit_timeout():
    """A hanging exporter delays the exit by ``exit_timeout`` only; other exporters still export."""
    reports, seconds, errors = run("""
export_periodically(lambda *_: time.sleep(600), interval=3600, exit_timeout=0.2)
export_periodically(report("other"), interval=3600)
monitor.record_metric("op", 0.1)
""")
    assert reports == [["other", {"op": 1}]]
    assert seconds < 60
    assert "did not finish within 0.2 s of interpreter exit" in errors


def test_the_last_export_works_without_a_new_thread():
    """If no thread can be started during exit, the last export runs on the main thread."""
    reports, _, errors = run("""
export_periodically(report("a"), interval=3600)
monitor.record_metric("op", 0.1)
def refuse(thread):
    raise RuntimeError("can't create new thread at interpreter shutdown")
threading.Thread.start = refuse
""")
    assert reports == [["a", {"op": 1}]]
    assert not errors


def test_an_export_under_way_at_exit_is_followed_by_the_last_one():
    """If an export is running at exit, another one exports the samples recorded since it began."""
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_exports_its_own_samples():
    """A forked child exports only samples recorded since the fork; the parent is unaffected."""
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_forks_while_exports_are_under_way():
    """Children forked while the parent is exporting can record, export and exit."""
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
        signal.alarm(60)  # kills a child that hangs
        monitor.record_metric("first seen by the child", 0.1)
        os._exit(0 if handle.flush(60) and handle.close(60) else 1)
    children.append(child)
    time.sleep(0.001)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)
""")
    assert reports == []
    assert not errors


def test_a_flush_during_exit_is_not_mistaken_for_the_last_export():
    """A flush after the last export exports nothing, and does not delay the exit or log a warning.

    The exit is kept waiting by one exporter while another thread flushes the other one.
    """
    reports, _, errors = run("""
flushed, flush = threading.Event(), threading.Event()
def a(snapshot, measurements):
    while not b.export_count:
        time.sleep(0.01)
    flush.set()
    flushed.wait(60)
def only_once(snapshot, measurements):
    report("b")(snapshot, measurements)
    while b.export_count:
        time.sleep(60)
def flusher():
    flush.wait()
    b.flush(0.1)
    flushed.set()
threading.Thread(target=flusher, daemon=True).start()
export_periodically(a, interval=3600, exit_timeout=60)
b = export_periodically(only_once, interval=3600, exit_timeout=0.5)
""")
    assert reports == [["b", {}]]
    assert not errors


def test_a_finaliser_at_the_end_of_the_interpreter_does_not_wait():
    """When threads have ended, exports and servers neither start nor wait, and no error is hidden.

    The handle is of an export that was started after the last exports at exit.
    """
    reports, _, errors = run("""
import atexit
from nanospan.export.prometheus import start_http_server
class AtTheEnd:
    def __del__(self):
        outcomes = [self.late.flush(), self.late.close(), self.server.close()]
        for start in (self.start_export, self.start_server):
            try:
                start()
            except RuntimeError as error:
                outcomes.append(type(error).__name__)
        self.write(1, self.dumps(outcomes).encode())
end = AtTheEnd()
end.write, end.dumps = os.write, json.dumps
end.start_export = lambda export=export_periodically: export(print)
end.start_server = lambda start=start_http_server: start(0)
end.server = start_http_server(0)
atexit.register(lambda: setattr(end, "late", end.start_export()))
export_periodically(lambda *_: None, interval=3600)
""")
    assert reports == [[False, False, None, "RuntimeError", "RuntimeError"]]
    assert not errors
