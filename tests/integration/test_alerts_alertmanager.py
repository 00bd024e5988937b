"""Alerts in a real Prometheus Alertmanager."""

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
from nanospan.alerts.delivery import Courier

CONFIGURATION = """
route:
  receiver: nobody
  group_by: [alertname, operation]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 1h
receivers:
  - name: nobody
"""


# Debian's build reads its templates from there, wherever it was unpacked to itself.
TEMPLATES = Path("/usr/share/prometheus/alertmanager")
SEE_AS_INSTALLED = (
    'mount -t overlay -o lowerdir="$0":/usr/share overlay /usr/share || exit; exec "$@"'
)


def command_of(program):
    """The command that runs the Alertmanager, unpacked or installed.

    An unpacked one runs in a mount namespace of its own, in which its files lie over those of the
    machine as if it was installed.
    """
    share = Path(program).parents[1] / "share"
    if TEMPLATES.exists() or not (share / TEMPLATES.relative_to("/usr/share")).exists():
        return [program]
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", SEE_AS_INSTALLED, share, program]


class Alertmanager:
    """What there is to ask of a running one."""

    def __init__(self, url):
        self.url = url

    def alerts(self):
        """The alerts that it holds as active."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts?active=true", timeout=30) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Runs an Alertmanager on a port for the length of a block."""
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
    """One for the tests of this file."""
    port = free_port()
    with start(port):
        yield Alertmanager(f"http://127.0.0.1:{port}")


@pytest.fixture
def courier():
    """Makes couriers, and ends them afterwards."""
    couriers = []

    def make(url, **settings):
        couriers.append(Courier(AlertmanagerSink(url, **settings)))
        return couriers[-1]

    yield make
    for each in couriers:
        each.end(time.monotonic())
        each.join()


def seconds(timestamp):
    return dt.datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()


def test_an_alert_goes_pending_firing_and_resolved(alertmanager, monitor):
    """From a slow operation in the monitor to the Alertmanager, and back to silence."""
    alerts = monitor.alerts
    alerts.add_sink(AlertmanagerSink(alertmanager.url))
    alerts.add(
        StatisticRule(
            name="SlowStore",
            operation="m1_*",
            statistic="p95",
            above=0.150,
            window=1,
            for_seconds=0.5,
            severity="critical",
            labels={"team": "memory"},
            summary="{operation} takes {value}",
        )
    )

    def firing():
        monitor.record_metric("m1_operation", 0.2)
        # Pending is known here only: the Alertmanager hears of nothing before it fires.
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
    assert 200 < seconds(known["endsAt"]) - time.time() <= 240

    wait_until(lambda: not alertmanager.alerts())
    history = [alert.state for alert in alerts.history()]
    assert history == ["pending", "firing", "resolved"]
    assert alerts.flush(PATIENCE)
    [report] = alerts.deliveries()
    assert (report.delivered, report.lost, report.last_error) == (2, 0, "")
    alerts.close()


def test_what_fires_is_repeated_before_it_expires(alertmanager, courier):
    """Each repetition moves the end on; without one the alert would be over after four."""
    told = courier(alertmanager.url, repeat=1)
    told.put(make_alert(rule="Repeated", fired_at=time.time()))
    wait_until(alertmanager.alerts)
    first = seconds(alertmanager.alerts()[0]["endsAt"])
    assert first - time.time() <= 4
    wait_until(lambda: seconds(alertmanager.alerts()[0]["endsAt"]) >= first + 2)
    told.put(make_alert(rule="Repeated", state="resolved", since=time.time()))
    wait_until(lambda: not alertmanager.alerts())


def test_an_alert_of_a_process_that_died_expires(alertmanager, courier):
    """Without repetitions it is over by itself."""
    told = courier(alertmanager.url, repeat=1)
    told.put(make_alert(rule="Orphan", fired_at=time.time()))
    wait_until(alertmanager.alerts)
    told.end(time.monotonic())
    told.join()
    wait_until(lambda: not alertmanager.alerts())


def test_a_clock_that_was_set_back_does_not_keep_an_alert(alertmanager, courier):
    """It may end before it began, and is over all the same."""
    told = courier(alertmanager.url)
    now = time.time()
    told.put(make_alert(rule="Back", fired_at=now))
    wait_until(alertmanager.alerts)
    told.put(make_alert(rule="Back", state="resolved", fired_at=now, since=now - 3600))
    wait_until(lambda: not alertmanager.alerts())
    assert told.report().last_error == ""


def test_processes_do_not_resolve_each_others_alerts(alertmanager, courier):
    """The same rule and operation in two processes are two alerts."""
    now = time.time()
    told = courier(alertmanager.url)
    for instance in ("host:1", "host:2"):
        told.put(make_alert(rule="Shared", instance=instance, fired_at=now))
    wait_until(lambda: len(alertmanager.alerts()) == 2)
    told.put(make_alert(rule="Shared", instance="host:1", state="resolved", since=time.time()))
    wait_until(lambda: len(alertmanager.alerts()) == 1)
    told.put(make_alert(rule="Shared", instance="host:2", state="resolved", since=time.time()))
    wait_until(lambda: not alertmanager.alerts())


def test_one_that_was_away_is_told_how_it_stands(start, courier, caplog):
    """What could not be posted is kept, not lost, and posted in its latest state."""
    port = free_port()
    told = courier(f"http://127.0.0.1:{port}", repeat=1, attempts=1)
    now = time.time()
    told.put(make_alert(rule="Still", fired_at=now))
    told.put(make_alert(rule="Over", fired_at=now))
    told.put(make_alert(rule="Over", fired_at=now, state="resolved", since=now + 0.1))
    assert told.flush(PATIENCE)
    assert told.report().lost == 0
    assert told.report().last_error.startswith("no connection")
    with start(port):
        alertmanager = Alertmanager(f"http://127.0.0.1:{port}")
        wait_until(alertmanager.alerts)
        assert [alert["labels"]["alertname"] for alert in alertmanager.alerts()] == ["Still"]
        warnings = [record for record in caplog.records if record.levelname == "WARNING"]
        assert len(warnings) == 1
        told.put(make_alert(rule="Still", state="resolved", since=time.time()))
        wait_until(lambda: not alertmanager.alerts())


def test_odd_names_are_taken(alertmanager, courier):
    """Operations of any spelling reach it; an empty label is left out."""
    told = courier(alertmanager.url)
    name = 'été "quoted"\n\\ {x="y"} \ud800'
    told.put(make_alert(rule="Odd", operation=name, labels={"empty": ""}, fired_at=time.time()))
    wait_until(alertmanager.alerts)
    [known] = alertmanager.alerts()
    assert known["labels"]["operation"].startswith('été "quoted"\n\\ {x="y"}')
    assert "empty" not in known["labels"]
    state = {"state": "resolved", "since": time.time(), "labels": {}}
    told.put(make_alert(rule="Odd", operation=name, **state))
    wait_until(lambda: not alertmanager.alerts())
