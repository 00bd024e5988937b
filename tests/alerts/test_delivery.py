"""Tests for alert delivery: sinks are independent, and queues and waiting times are bounded."""

import logging
import threading
import time

import pytest
from alerting import PATIENCE, make_alert, wait_until

from nanospan.alerts import DeliveryError, Sink, StatisticRule
from nanospan.alerts.delivery import SinkWorker


class Gated(Sink):
    """A sink that blocks until its gate is opened, then accepts alerts."""

    def __init__(self, **filters):
        super().__init__(**filters)
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.delivered = []
        self.closed = False

    def deliver(self, alert, pause):
        self.entered.set()
        assert self.gate.wait(PATIENCE)
        self.delivered.append(alert.rule)

    def close(self):
        self.closed = True


@pytest.fixture
def worker():
    """A worker with a queue of three alerts, whose sink blocks until its gate is opened."""
    worker = SinkWorker(Gated(), capacity=3)
    yield worker
    worker.sink.gate.set()
    finish(worker)


def finish(worker, seconds=PATIENCE):
    worker.end(time.monotonic() + seconds)
    worker.join()


def test_alerts_are_delivered_in_order(worker):
    """Queued alerts are delivered one at a time, in order, and counted."""
    worker.sink.gate.set()
    for number in range(3):
        worker.put(make_alert(rule=str(number)))
    assert worker.flush(PATIENCE)
    assert worker.sink.delivered == ["0", "1", "2"]
    report = worker.report()
    assert (report.queued, report.delivered, report.lost) == (0, 3, 0)


def test_a_full_queue_drops_the_oldest_alerts(worker, caplog):
    """A full queue drops its oldest alert; drops are counted, and logged at 1, 2, 4, 8 ..."""
    worker.put(make_alert(rule="first"))
    assert worker.sink.entered.wait(PATIENCE)
    for number in range(8):
        worker.put(make_alert(rule=str(number)))
    report = worker.report()
    assert (report.queued, report.lost) == (4, 5)
    losses = [record.args[2] for record in caplog.records]
    assert losses == [1, 2, 4]
    worker.sink.gate.set()
    assert worker.flush(PATIENCE)
    assert worker.sink.delivered == ["first", "5", "6", "7"]


def test_flush_returns_whether_all_alerts_were_delivered(worker):
    """``flush`` returns True once all alerts are delivered, and False if it times out first."""
    worker.put(make_alert())
    assert not worker.flush(0.05)
    worker.sink.gate.set()
    assert worker.flush(PATIENCE)


def test_ending_delivers_queued_alerts(worker):
    """Ending a worker delivers its queued alerts, closes its sink and rejects new alerts."""
    for number in range(3):
        worker.put(make_alert(rule=str(number)))
    worker.sink.gate.set()
    finish(worker)
    assert worker.sink.delivered == ["0", "1", "2"]
    assert worker.sink.closed
    worker.put(make_alert())
    assert worker.report().lost == 1


def test_ending_does_not_wait_for_a_sink_that_hangs(worker, caplog):
    """If a sink hangs, ending its worker stops at the deadline and logs the undelivered alerts."""
    worker.put(make_alert())
    assert worker.sink.entered.wait(PATIENCE)
    worker.put(make_alert())
    began = time.monotonic()
    finish(worker, 0.1)
    assert time.monotonic() - began < PATIENCE
    assert worker.report().lost == 2
    assert caplog.messages == ["Gated lost 2 alerts: not delivered before the deadline"]


@pytest.mark.parametrize("error", [ValueError("odd"), SystemExit("odd"), KeyboardInterrupt()])
def test_an_exception_in_deliver_loses_only_that_alert(error, caplog):
    """If ``deliver`` raises, that alert counts as lost, and the traceback is logged."""

    class Failing(Sink):
        def __init__(self):
            super().__init__()
            self.delivered = []

        def deliver(self, alert, pause):
            if alert.rule == "bad":
                raise error
            self.delivered.append(alert.rule)

    worker = SinkWorker(Failing())
    for name in ("bad", "good"):
        worker.put(make_alert(rule=name))
    assert worker.flush(PATIENCE)
    assert worker.sink.delivered == ["good"]
    report = worker.report()
    assert (report.delivered, report.lost) == (1, 1)
    assert report.last_error == type(error).__name__
    assert any(record.exc_info for record in caplog.records)
    finish(worker)


def test_exceptions_in_other_methods_of_a_sink_stop_nothing(monitor):
    """If a sink's other methods raise, threads and other sinks go on, and refreshes are paced."""
    received, taken, refreshed = [], [], []

    class Picky(Sink):
        def wants(self, alert):
            raise RuntimeError

    class Restless(Sink):
        def deliver(self, alert, pause):
            taken.append(alert.state)
            raise ValueError

        def refresh_in(self):
            if not taken:
                raise RuntimeError
            return -1

        def refresh(self, pause):
            refreshed.append(time.monotonic())
            raise RuntimeError

        def explain(self, exc):
            raise RuntimeError

        def close(self):
            raise RuntimeError

    class Nameless(Sink):
        def __str__(self):
            raise RuntimeError

    monitor.alerts.add_sink(Picky())
    monitor.alerts.add_sink(Restless())
    with pytest.raises(RuntimeError):
        monitor.alerts.add_sink(Nameless())
    monitor.alerts.add_sink(lambda alert: received.append(alert.state))
    monitor.alerts.add(
        StatisticRule(name="r", operation="op", statistic="in_flight", above=0, window=0.1)
    )
    with monitor.track_operation("op"):
        wait_until(lambda: len(refreshed) == 2)
        assert received == ["firing"]
    wait_until(lambda: received == taken == ["firing", "resolved"])
    assert refreshed[1] - refreshed[0] >= 1
    picky, restless, _ = monitor.alerts.deliveries()
    assert (picky.lost, restless.lost) == (2, 2)
    thread = monitor.alerts._state.get().workers[1].thread
    monitor.alerts.close()
    wait_until(lambda: not thread.is_alive())


def test_a_pause_ends_when_the_worker_ends():
    """If a worker ends while its sink waits to retry, the sink is told that no time is left."""
    paused = threading.Event()
    answers = []

    class Patient(Sink):
        def deliver(self, alert, pause):
            answers.append(pause(0.001))
            paused.set()
            answers.append(pause(1000))
            raise DeliveryError("gave up")

    worker = SinkWorker(Patient())
    worker.put(make_alert())
    assert paused.wait(PATIENCE)
    finish(worker)
    assert answers == [True, False]
    assert worker.report().last_error == "gave up"


def test_a_slow_sink_does_not_delay_others(monitor):
    """While one sink hangs, another sink receives every alert immediately."""
    gated, received = Gated(), []
    monitor.alerts.add_sink(gated)
    monitor.alerts.add_sink(lambda alert: received.append(alert.rule))
    for number in range(50):
        monitor.alerts._publish(make_alert(rule=str(number)), True)
    wait_until(lambda: len(received) == 50)
    assert gated.delivered == []
    reports = monitor.alerts.deliveries()
    assert [(r.sink, r.queued, r.delivered) for r in reports] == [
        ("Gated", 50, 0),
        (reports[1].sink, 0, 50),
    ]
    gated.gate.set()
    monitor.alerts.close(PATIENCE)
    assert len(gated.delivered) == 50


def test_without_a_sink_alerts_go_to_the_log(monitor, caplog):
    """If no sink has been added, alerts are logged."""
    with caplog.at_level(logging.INFO, "nanospan.alerts"):
        monitor.alerts._publish(make_alert(), True)
        assert monitor.alerts.flush(PATIENCE)
    assert "firing: slow: op is slow" in caplog.messages
    monitor.alerts.close()
