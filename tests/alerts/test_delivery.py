"""Delivery: each sink for itself, with bounded queues and in bounded time."""

import logging
import threading
import time

import pytest
from alerting import PATIENCE, make_alert, wait_until

from nanospan.alerts import DeliveryError, Sink, StatisticRule
from nanospan.alerts.delivery import Courier


class Held(Sink):
    """Takes alerts only while the gate is open."""

    def __init__(self, **filters):
        super().__init__(**filters)
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.got = []
        self.closed = False

    def deliver(self, alert, pause):
        self.entered.set()
        assert self.gate.wait(PATIENCE)
        self.got.append(alert.rule)

    def close(self):
        self.closed = True


@pytest.fixture
def courier():
    """A courier to a sink that is held, with room for three."""
    courier = Courier(Held(), capacity=3)
    yield courier
    courier.sink.gate.set()
    finish(courier)


def finish(courier, seconds=PATIENCE):
    courier.end(time.monotonic() + seconds)
    courier.join()


def test_alerts_arrive_in_order(courier):
    """What was put is delivered, one after another, and counted."""
    courier.sink.gate.set()
    for number in range(3):
        courier.put(make_alert(rule=str(number)))
    assert courier.flush(PATIENCE)
    assert courier.sink.got == ["0", "1", "2"]
    report = courier.report()
    assert (report.queued, report.delivered, report.lost) == (0, 3, 0)


def test_a_full_queue_loses_the_oldest_and_counts_them(courier, caplog):
    """`put` never waits: what does not fit is lost, counted and logged at 1, 2, 4, 8 ..."""
    courier.put(make_alert(rule="first"))
    assert courier.sink.entered.wait(PATIENCE)
    for number in range(8):
        courier.put(make_alert(rule=str(number)))
    report = courier.report()
    assert (report.queued, report.lost) == (4, 5)
    losses = [record.args[2] for record in caplog.records]
    assert losses == [1, 2, 4]
    courier.sink.gate.set()
    assert courier.flush(PATIENCE)
    assert courier.sink.got == ["first", "5", "6", "7"]


def test_flush_says_whether_all_was_delivered(courier):
    """It gives up after its time."""
    courier.put(make_alert())
    assert not courier.flush(0.05)
    courier.sink.gate.set()
    assert courier.flush(PATIENCE)


def test_the_end_delivers_what_waits(courier):
    """Ending waits for the queue, closes the sink, and takes nothing more."""
    for number in range(3):
        courier.put(make_alert(rule=str(number)))
    courier.sink.gate.set()
    finish(courier)
    assert courier.sink.got == ["0", "1", "2"]
    assert courier.sink.closed
    courier.put(make_alert())
    assert courier.report().lost == 1


def test_the_end_comes_in_time_whatever_the_sink_does(courier, caplog):
    """A sink that hangs is left behind; what it did not take is lost, and said so."""
    courier.put(make_alert())
    assert courier.sink.entered.wait(PATIENCE)
    courier.put(make_alert())
    began = time.monotonic()
    finish(courier, 0.1)
    assert time.monotonic() - began < PATIENCE
    assert courier.report().lost == 2
    assert caplog.messages == ["Held did not take 2 alerts before the end; they are lost"]


@pytest.mark.parametrize("error", [ValueError("odd"), SystemExit("odd"), KeyboardInterrupt()])
def test_whatever_a_sink_raises_the_next_alert_is_delivered(error, caplog):
    """The alert is lost and counted, and the error is logged with its traceback."""

    class Failing(Sink):
        def __init__(self):
            super().__init__()
            self.got = []

        def deliver(self, alert, pause):
            if alert.rule == "bad":
                raise error
            self.got.append(alert.rule)

    courier = Courier(Failing())
    for name in ("bad", "good"):
        courier.put(make_alert(rule=name))
    assert courier.flush(PATIENCE)
    assert courier.sink.got == ["good"]
    report = courier.report()
    assert (report.delivered, report.lost) == (1, 1)
    assert report.last_error == type(error).__name__
    assert any(record.exc_info for record in caplog.records)
    finish(courier)


def test_whatever_else_a_sink_raises_the_others_and_its_next_alerts_are_delivered(monitor):
    """None of its methods ends a look, a thread or another sink, nor does it run hot."""
    told, taken, refreshed = [], [], []

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
    monitor.alerts.add_sink(lambda alert: told.append(alert.state))
    monitor.alerts.add(
        StatisticRule(name="r", operation="op", statistic="in_flight", above=0, window=0.1)
    )
    with monitor.track_operation("op"):
        wait_until(lambda: len(refreshed) == 2)
        assert told == ["firing"]
    wait_until(lambda: told == taken == ["firing", "resolved"])
    assert refreshed[1] - refreshed[0] >= 1
    picky, restless, _ = monitor.alerts.deliveries()
    assert (picky.lost, restless.lost) == (2, 2)
    thread = monitor.alerts._couriers[1]._thread
    monitor.alerts.close()
    wait_until(lambda: not thread.is_alive())


def test_pausing_ends_with_the_program():
    """A sink that waits between attempts is told when there is no time for another."""
    paused = threading.Event()
    answers = []

    class Patient(Sink):
        def deliver(self, alert, pause):
            answers.append(pause(0.001))
            paused.set()
            answers.append(pause(1000))
            raise DeliveryError("gave up")

    courier = Courier(Patient())
    courier.put(make_alert())
    assert paused.wait(PATIENCE)
    finish(courier)
    assert answers == [True, False]
    assert courier.report().last_error == "gave up"


def test_a_slow_sink_delays_no_other(monitor):
    """While one sink hangs, another hears of everything at once."""
    held, told = Held(), []
    monitor.alerts.add_sink(held)
    monitor.alerts.add_sink(lambda alert: told.append(alert.rule))
    for number in range(50):
        monitor.alerts._publish(make_alert(rule=str(number)), True)
    wait_until(lambda: len(told) == 50)
    assert held.got == []
    reports = monitor.alerts.deliveries()
    assert [(r.sink, r.queued, r.delivered) for r in reports] == [
        ("Held", 50, 0),
        (reports[1].sink, 0, 50),
    ]
    held.gate.set()
    monitor.alerts.close(PATIENCE)
    assert len(held.got) == 50


def test_without_a_sink_alerts_go_to_the_log(monitor, caplog):
    """Whoever adds a rule and nothing else hears of it all the same."""
    with caplog.at_level(logging.INFO, "nanospan.alerts"):
        monitor.alerts._publish(make_alert(), True)
        assert monitor.alerts.flush(PATIENCE)
    assert "firing: slow: op is slow" in caplog.messages
    monitor.alerts.close()
