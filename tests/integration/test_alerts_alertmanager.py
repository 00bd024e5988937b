"""Tests that post alerts to a real Prometheus Alertmanager."""

from __future__ import annotations

import datetime as dt
import json
import time
import urllib.request
from pathlib import Path

import pytest
from alerting import PATIENCE, make_alert, wait_until
from servers import free_port, running, server_path

from nanospan.alerts import AlertmanagerSink, StatisticRule
from nanospan.alerts.delivery import SinkWorker

CONFIGURATION = """
route:
  receiver: none
  group_by: [alertname, operation]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 1h
receivers:
  - name: none
"""


# Debian's Alertmanager reads its templates from here, even if it was unpacked elsewhere.
TEMPLATES = Path("/usr/share/prometheus/alertmanager")
SEE_AS_INSTALLED = (
    'mount -t overlay -o lowerdir="$0":/usr/share overlay /usr/share || exit; exec "$@"'
)


def command_of(program):
    """Return the command that runs the Alertmanager ``program``.

    If the program was only unpacked, the command runs it in a mount namespace in which the unpacked
    files appear under ``/usr/share``, as if they were installed.
    """
    share = Path(program).parents[1] / "share"
    if TEMPLATES.exists() or not (share / TEMPLATES.relative_to("/usr/share")).exists():
        return [program]
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", SEE_AS_INSTALLED, share, program]


class Alertmanager:
    """A client for a running Alertmanager."""

    def __init__(self, url):
        self.url = url

    def alerts(self):
        """Return the active alerts."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts?active=true", timeout=30) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Return a function of a port, whose result is a context manager that runs an Alertmanager."""
    program = server_path("prometheus-alertmanager")

    def start(port):
        folder = tmp_path_factory.mktemp("alertmanager")
        (folder / "alertmanager.yml").write_text(CONFIGURATION)
        url = f"http://127.0.0.1:{port}"
        command = [
            *command_of(program),
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ]
        return running(command, f"{url}/-/ready", folder / "log")

    return start


@pytest.fixture(scope="module")
def alertmanager(start):
    """Yield a client for the Alertmanager that the tests in this file share."""
    port = free_port()
    with start(port):
        yield Alertmanager(f"http://127.0.0.1:{port}")


@pytest.fixture
def worker():
    """Yield a function that creates sink workers; stop the workers after the test."""
    workers = []

    def make(url, **settings):
        workers.append(SinkWorker(AlertmanagerSink(url, **settings)))
        return workers[-1]

    yield make
    for each in workers:
        each.end(time.monotonic())
        each.join()


def seconds(timestamp):
    return dt.datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()


def test_an_alert_goes_pending_firing_and_resolved(alertmanager, monitor):
    """A slow operation causes an active alert in the Alertmanager, and the alert later resolves."""
    alerts = monitor.alerts
    alerts.add_sink(AlertmanagerSink(alertmanager.url))
    alerts.add(
        StatisticRule(
            name="SlowStore",
            operation="m1_*",
            statistic="p95",
            above=0.150,
            window=3,  # longer than the interval between two polls
            for_seconds=0.5,
            severity="critical",
            labels={"team": "memory"},
            summary="{operation} takes {value}",
        )
    )

    before = time.time()

    def firing():
        monitor.record_metric("m1_operation", 0.2)
        # A pending alert is not posted: the Alertmanager lists the alert only once it fires.
        known = alertmanager.alerts()
        states = [alert.state for alert in alerts.history()]
        assert not known or states == ["pending", "firing"]
        return known

    wait_until(firing)
    [known] = alertmanager.alerts()
    [alert] = alerts.active()
    assert known["labels"] == {
        "alertname": "SlowStore",
        "operation": "m1_operation",
        "severity": "critical",
        "instance": alert.instance,
        "team": "memory",
    }
    assert known["annotations"]["summary"].startswith("m1_operation takes ")
    assert float(known["annotations"]["limit"]) == 0.150
    assert float(known["annotations"]["value"]) == pytest.approx(0.2, rel=0.0056)
    assert known["status"]["state"] == "active"
    assert seconds(known["startsAt"]) == pytest.approx(alert.fired_at, abs=0.002)
    assert before + 200 < seconds(known["endsAt"]) <= time.time() + 240

    wait_until(lambda: not alertmanager.alerts())
    history = [alert.state for alert in alerts.history()]
    assert history == ["pending", "firing", "resolved"]
    assert alerts.flush(PATIENCE)
    [report] = alerts.deliveries()
    assert (report.delivered, report.lost, report.last_error) == (2, 0, "")
    alerts.close()


def test_a_firing_alert_is_repeated_before_it_expires(alertmanager, worker):
    """Each post of a firing alert sets its end time to four times ``repeat`` from now."""
    sender = worker(alertmanager.url, repeat=1)
    sender.put(make_alert(rule="Repeated", fired_at=time.time()))
    wait_until(alertmanager.alerts)
    first = seconds(alertmanager.alerts()[0]["endsAt"])
    assert first - time.time() <= 4
    wait_until(
        lambda: any(seconds(alert["endsAt"]) >= first + 2 for alert in alertmanager.alerts())
    )
    sender.put(make_alert(rule="Repeated", state="resolved", since=time.time()))
    wait_until(lambda: not alertmanager.alerts())


def test_an_alert_of_a_process_that_died_expires(alertmanager, worker):
    """The Alertmanager ends an alert that its process no longer repeats."""
    sender = worker(alertmanager.url, repeat=1)
    sender.put(make_alert(rule="Orphan", fired_at=time.time()))
    wait_until(alertmanager.alerts)
    sender.end(time.monotonic())
    sender.join()
    wait_until(lambda: not alertmanager.alerts())


def test_an_alert_resolves_even_if_the_clock_was_set_back(alertmanager, worker):
    """An alert is resolved even if its end time would be earlier than its start time."""
    sender = worker(alertmanager.url)
    now = time.time()
    sender.put(make_alert(rule="Back", fired_at=now))
    wait_until(alertmanager.alerts)
    sender.put(make_alert(rule="Back", state="resolved", fired_at=now, since=now - 3600))
    wait_until(lambda: not alertmanager.alerts())
    assert sender.report().last_error == ""


def test_processes_do_not_resolve_each_others_alerts(alertmanager, worker):
    """Two processes with the same rule and operation have separate alerts in the Alertmanager."""
    now = time.time()
    sender = worker(alertmanager.url)
    for instance in ("host:1", "host:2"):
        sender.put(make_alert(rule="Shared", instance=instance, fired_at=now))
    wait_until(lambda: len(alertmanager.alerts()) == 2)
    sender.put(make_alert(rule="Shared", instance="host:1", state="resolved", since=time.time()))
    wait_until(lambda: len(alertmanager.alerts()) == 1)
    sender.put(make_alert(rule="Shared", instance="host:2", state="resolved", since=time.time()))
    wait_until(lambda: not alertmanager.alerts())


def test_alerts_are_posted_once_the_alertmanager_is_back(start, worker, caplog):
    """Alerts are kept while the Alertmanager is down, and later posted in their latest state."""
    port = free_port()
    sender = worker(f"http://127.0.0.1:{port}", repeat=1, attempts=1)
    now = time.time()
    sender.put(make_alert(rule="Still", fired_at=now))
    sender.put(make_alert(rule="Over", fired_at=now))
    sender.put(make_alert(rule="Over", fired_at=now, state="resolved", since=now + 0.1))
    assert sender.flush(PATIENCE)
    assert sender.report().lost == 0
    assert sender.report().last_error.startswith("connection failed")
    with start(port):
        alertmanager = Alertmanager(f"http://127.0.0.1:{port}")
        wait_until(alertmanager.alerts)
        assert [alert["labels"]["alertname"] for alert in alertmanager.alerts()] == ["Still"]
        warnings = [record for record in caplog.records if record.levelname == "WARNING"]
        assert len(warnings) == 1
        sender.put(make_alert(rule="Still", state="resolved", since=time.time()))
        wait_until(lambda: not alertmanager.alerts())


def test_unusual_names_are_accepted(alertmanager, worker):
    """Operation names with any characters can be posted; labels with empty values are omitted."""
    sender = worker(alertmanager.url)
    name = 'été "quoted"\n\\ {x="y"} \ud800'
    sender.put(make_alert(rule="Odd", operation=name, labels={"empty": ""}, fired_at=time.time()))
    wait_until(alertmanager.alerts)
    [known] = alertmanager.alerts()
    assert known["labels"]["operation"].startswith('été "quoted"\n\\ {x="y"}')
    assert "empty" not in known["labels"]
    state = {"state": "resolved", "since": time.time(), "labels": {}}
    sender.put(make_alert(rule="Odd", operation=name, **state))
    wait_until(lambda: not alertmanager.alerts())


def test_alerts_of_different_operations_remain_apart(alertmanager, worker):
    """Operations whose names differ only in lone surrogates have separate alerts."""
    sender = worker(alertmanager.url)
    names = ("\ud800", "\udfff", r"\ud800")
    for name in names:
        sender.put(make_alert(rule="Odd", operation=name, fired_at=time.time()))
    wait_until(lambda: len(alertmanager.alerts()) == len(names))
    state = {"state": "resolved", "since": time.time()}
    for name in names:
        sender.put(make_alert(rule="Odd", operation=name, **state))
    wait_until(lambda: not alertmanager.alerts())
