"""Tests for periodic exports in the background: schedule, failures, flush and close."""

import contextlib
import gc
import logging
import os
import signal
import sys
import threading
import time

import pytest
from interruption import AmidEveryLine

from nanospan.export import periodic
from nanospan.export import schedule as schedule_module
from nanospan.export.periodic import export_periodically
from nanospan.values.measurements import Measurement

PATIENCE = 30  # seconds
SELDOM = 3600.0


class Sink:
    """An exporter that stores the snapshots and measurements passed to it."""

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
    """Check after the test that no export threads remain."""
    yield
    deadline = time.monotonic() + PATIENCE
    while left := [t.name for t in threading.enumerate() if t.name.startswith("nanospan-export")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def test_exports_run_periodically(monitor):
    """Snapshots and measurements are exported repeatedly, on a background thread."""
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
    """The first ``close()`` exports the latest samples and closes the exporter."""
    sink = Sink()
    export = export_periodically(sink, monitor, interval=SELDOM)
    monitor.record_metric("op", 0.1)
    assert export.close()
    assert sink.counts() == [{"op": 1}]
    assert export.close()
    assert (len(sink.given), sink.closed) == (1, 1)


def test_flush_exports_now(monitor):
    """``flush()`` returns once all samples recorded before the call have been exported."""
    sink = Sink()
    with export_periodically(sink, monitor, interval=SELDOM) as export:
        monitor.record_metric("op", 0.1)
        assert export.flush()
        assert sink.counts() == [{"op": 1}]
        assert sink.closed == 0


def test_one_thread_keeps_the_schedule_of_all(monitor):
    """Twenty exports that wait for their next turn share one thread."""
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(export_periodically(Sink(), monitor, interval=SELDOM))
        names = [t.name for t in threading.enumerate() if t.name.startswith("nanospan-export")]
        assert names == ["nanospan-export"]
        [thread] = [t for t in threading.enumerate() if t.name == "nanospan-export"]
        assert thread.daemon


def test_an_exporter_that_hangs_does_not_stall_others(monitor, caplog):
    """A hanging exporter is logged once and skipped until it returns; others keep exporting."""
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
    """``close()`` gives up after its timeout, and there are no further exports."""
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
    """Each cause of failure is logged once, with a traceback, until an export succeeds again."""
    failing = True

    def exporter(_snapshot, _measurements):
        if failing == "differently":
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
        failing = "differently"
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


def test_logged_causes_are_limited(monitor, caplog):
    """If every failure has a different cause, only the first ``MAX_CAUSES`` causes are logged."""
    classes = iter([type(f"Failure{i}", (Exception,), {}) for i in range(50)])

    def exporter(_snapshot, _measurements):
        raise next(classes)

    export = export_periodically(exporter, monitor, interval=SELDOM)
    for _ in range(49):
        export.flush()
    export.close()
    assert export.error_count == 50
    assert len(caplog.records) == periodic.MAX_CAUSES


def test_exports_continue_after_any_exception(monitor):
    """A SystemExit raised by an exporter stops neither the schedule nor the process."""

    def exporter(_snapshot, _measurements):
        sys.exit(3)

    with export_periodically(exporter, monitor, interval=0.01) as export:
        wait_until(lambda: export.error_count >= 3)


def test_a_failing_close_is_logged(monitor, caplog):
    """If the exporter's ``close()`` raises, that is logged, and the last export still succeeds."""
    sink = Sink()
    sink.close = lambda: 1 / 0
    assert export_periodically(sink, monitor, interval=SELDOM).close()
    assert "closing exporter" in caplog.text


def test_waits_vary(monitor, monkeypatch):
    """Each wait varies at random by up to 10 % of the interval."""
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
def test_invalid_arguments_are_rejected(monitor, option):
    """Interval and timeouts must be positive and finite, and the exporter must be callable."""
    for wrong in (0, -1, float("inf"), float("nan"), 10**5000):
        with pytest.raises(ValueError, match=option):
            export_periodically(Sink(), monitor, **{option: wrong})
    for wrong in ("1", None, True):
        with pytest.raises(TypeError, match=option):
            export_periodically(Sink(), monitor, **{option: wrong})
    with pytest.raises(TypeError, match="callable"):
        export_periodically("sink", monitor)


def test_an_interval_may_be_longer_than_locks_can_wait(monitor):
    """An interval longer than the maximum lock timeout works and does not delay other exports."""
    rare = Sink()
    with export_periodically(rare, monitor, interval=1e12, timeout=1e12) as rarely:
        for _ in range(3):  # for a while, the export with the huge interval is the only one
            often = Sink()
            with export_periodically(often, monitor, interval=0.01):
                often.wait_for(2)
            assert rarely.flush(1e12)


def test_signal_handlers_are_left_alone(monitor):
    """Periodic exports neither install nor replace signal handlers."""
    before = [signal.getsignal(number) for number in signal.valid_signals()]
    with export_periodically(Sink(), monitor, interval=0.01) as export:
        export.flush()
        assert [signal.getsignal(number) for number in signal.valid_signals()] == before


def test_an_export_fails_if_its_thread_cannot_start(monitor, monkeypatch, caplog):
    """If no thread can start, exports fail with a single warning, and recover later."""
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


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_nothing_is_exported_after_the_end(monitor):
    """After ``close()``, ``flush()`` exports nothing and returns False."""
    sink = Sink()
    export = export_periodically(sink, monitor, interval=SELDOM)
    assert export.close()
    assert not export.flush()
    assert export.close()
    assert (len(sink.given), sink.closed, export.export_count) == (1, 1, 1)


def test_an_exporter_can_close_itself(monitor):
    """``close()`` within the exporter does not wait: the export in progress is the last one."""
    returned = []

    class ClosesItself(Sink):
        def __call__(self, snapshot, measurements):
            super().__call__(snapshot, measurements)
            returned.append([export.close(), export.flush(), export.close()])

    sink = ClosesItself()
    export = export_periodically(sink, monitor, interval=SELDOM)
    assert export.flush()
    assert export.close()
    assert returned == [[False, False, False]]
    assert (len(sink.given), sink.closed) == (1, 1)


def test_exporters_that_use_each_other_do_not_wait(monitor):
    """Two exporters that flush and close each other end, although each would wait for the other."""
    exports, returned = [], []

    def exporter(other):
        return lambda *_: returned.append([exports[other].flush(), exports[other].close()])

    exports += [export_periodically(exporter(n), monitor, interval=SELDOM) for n in (1, 0)]
    assert exports[0].flush()
    assert [export.close() for export in exports] == [True, True]
    assert {flushed for flushed, _ in returned} == {False}


def test_calls_of_close_wait_for_the_same_export(monitor):
    """Every ``close()`` that is called while the last export runs returns its outcome."""
    began, go_on, calls = threading.Event(), threading.Event(), []

    def exporter(_snapshot, _measurements):
        calls.append(1)
        began.set()
        assert go_on.wait(PATIENCE)
        raise LookupError

    export = export_periodically(exporter, monitor, interval=SELDOM)
    outcomes = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(export.close(PATIENCE))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    assert began.wait(PATIENCE)
    assert not export.flush()
    go_on.set()
    for thread in threads:
        thread.join()
    # A thread that calls close() after the end gets True.
    assert False in outcomes
    assert calls == [1]


def test_an_exporter_is_closed_although_close_gave_up(monitor):
    """If ``close()`` gives up, the exporter is closed when it returns, without another export."""
    began, go_on, sink = threading.Event(), threading.Event(), Sink()

    class Hanging(Sink):
        def __call__(self, snapshot, measurements):
            super().__call__(snapshot, measurements)
            began.set()
            assert go_on.wait(PATIENCE)

    sink = Hanging()
    export = export_periodically(sink, monitor, interval=0.01)
    assert began.wait(PATIENCE)
    assert not export.close(0.05)
    go_on.set()
    assert export.close()
    assert (len(sink.given), sink.closed) == (1, 1)


def test_an_error_without_a_text_is_counted(monitor):
    """An exception whose ``str()`` fails is counted under its class; exports go on."""

    class TextlessError(Exception):
        def __str__(self):
            raise ValueError

    def exporter(_snapshot, _measurements):
        raise TextlessError

    with export_periodically(exporter, monitor, interval=SELDOM) as export:
        assert not export.flush()
        assert not export.flush()
        assert (export.error_count, export.last_error) == (2, "TextlessError")


def test_a_finaliser_on_an_exporting_thread_does_not_wait(monitor):
    """A finaliser that runs while its own export does may flush and close it."""

    class Closes:
        def __del__(self):
            returned.append([export.flush(), export.close()])

    def exporter(_snapshot, _measurements):
        cycle = [Closes()]
        cycle.append(cycle)
        del cycle
        gc.collect()

    returned = []
    export = export_periodically(exporter, monitor, interval=SELDOM)
    assert export.flush()
    assert export.close()
    assert returned == [[False, False]]


@pytest.mark.parametrize("has_ident", [False, True])
@pytest.mark.parametrize("name", ["nanospan-export", "nanospan-export-Sink"])
def test_a_finaliser_on_a_thread_that_is_starting_does_not_wait(
    monitor, monkeypatch, name, has_ident
):
    """A finaliser may use exports on a new thread on which they depend, before its first line."""
    monkeypatch.setattr(schedule_module, "STARTING_TIME", 0.1)
    bootstrap, outcomes, exports = threading.Thread._bootstrap_inner, [], []

    def interrupted(thread):
        if thread.name == name and not outcomes:
            if has_ident:
                thread._set_ident()
            outcomes.append(None)
            outcomes[:] = [other.flush(), *[export.close() for export in (other, *exports)]]
        bootstrap(thread)

    sink = Sink()
    other = export_periodically(lambda *_: None, monitor, interval=SELDOM)
    if name == "nanospan-export":
        other.close()  # the schedule's thread ends, and is started again by the next export
        wait_until(lambda: name not in [thread.name for thread in threading.enumerate()])
    monkeypatch.setattr(threading.Thread, "_bootstrap_inner", interrupted)
    began = time.monotonic()
    exports.append(export_periodically(sink, monitor, interval=SELDOM))
    exports[0].flush()
    wait_until(exports[0].close)  # other callers may give up, too, while the thread is stuck
    assert time.monotonic() - began < PATIENCE / 2
    assert outcomes
    assert not outcomes[0]
    assert other.close()


def _use(monitor, *, use):
    """Use an export once, in one of all ways."""
    export = export_periodically(lambda *_: None, monitor, interval=SELDOM)
    if use == "flush":
        export.flush()
    elif use == "read":
        repr(export)
        _ = export.error_count, export.last_error
    with export:
        pass


@pytest.mark.parametrize("interrupted", ["start", "flush", "close"])
def test_a_signal_handler_may_use_exports_amid_their_use(monitor, interrupted):
    """A handler that interrupts any line may start, flush and close exports, the same one too."""
    exports = []

    def handler():
        began = time.monotonic()
        for export in exports:
            export.flush()
        _use(monitor, use="flush")
        for export in exports:
            repr(export)
            export.close()
        assert time.monotonic() - began < PATIENCE / 2, "the handler waited in vain"

    amid = AmidEveryLine(handler)
    while amid.was_amid:
        exports.clear()
        if interrupted == "start":
            with amid:
                export = export_periodically(lambda *_: None, monitor, interval=SELDOM)
        else:
            export = export_periodically(lambda *_: None, monitor, interval=SELDOM)
            exports.append(export)
            with amid:
                getattr(export, interrupted)()
        assert export.close()
        assert not export.flush()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("interrupted", ["flush", "close"])
def test_a_child_forked_amid_any_line_goes_on(monitor, interrupted):
    """A child forked by a handler amid ``flush()`` or ``close()`` returns from it and exports."""
    children, is_child = [], []

    def handler():
        child = os.fork()
        if child == 0:
            signal.alarm(2 * PATIENCE)  # ends a child that is stuck
            is_child.append(True)
        children.append(child)

    def go_on():
        began = time.monotonic()
        export.flush()
        closed = export.close()
        _use(monitor, use="flush")
        return closed and not export.flush() and time.monotonic() - began < PATIENCE / 2

    amid = AmidEveryLine(handler)
    while amid.was_amid:
        export = export_periodically(lambda *_: None, monitor, interval=SELDOM, timeout=PATIENCE)
        status = 1
        try:
            with amid:
                getattr(export, interrupted)()
            status = 0 if go_on() else 1
        finally:
            if is_child:
                os._exit(status)
        assert status == 0
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)
