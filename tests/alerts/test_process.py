"""Tests for alerts in a whole process: import, environment variable, fork and exit."""

import json
import os
import subprocess
import sys
import time

import pytest

RULES = """
[[rule]]
name = "busy"
operation = "op"
statistic = "max"
above = 0.5
window = 1
[[sink]]
type = "json_lines"
path = "alerts.jsonl"
"""


def run(code, folder, **environment):
    """Run ``code`` in a new interpreter and return its standard output and error output."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={**os.environ, **environment},
        timeout=120,
    )
    return done.stdout, done.stderr


WAIT = """
import time
def wait(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
"""


def test_importing_nanospan_imports_no_alerts(tmp_path):
    """``nanospan.alerts`` is imported on first use, and imports no third-party package."""
    code = """
import sys
import nanospan
nanospan.get_performance_monitor()
assert "nanospan.alerts" not in sys.modules
nanospan.get_performance_monitor().alerts
assert not {"httpx", "tomllib", "psycopg", "rich"} & set(sys.modules)
"""
    assert run(code, tmp_path) == ("", "")


def test_nanospan_alerts_is_loaded_with_the_process_monitor(tmp_path):
    """The process-wide monitor loads the file named by ``NANOSPAN_ALERTS``."""
    (tmp_path / "alerts.toml").write_text(RULES)
    code = (
        WAIT
        + """
import os, nanospan
monitor = nanospan.get_performance_monitor()
def told():
    monitor.record_metric("op", 1.0)
    return os.path.exists("alerts.jsonl")
wait(told)
"""
    )
    run(code, tmp_path, NANOSPAN_ALERTS="alerts.toml")
    [line] = (tmp_path / "alerts.jsonl").read_text().splitlines()
    assert json.loads(line)["state"] == "firing"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[rule]]\nname = 'r'\n", "alerts.toml:1: rule[0] lacks operation"),
        (None, "No such file"),
    ],
)
def test_an_unusable_file_is_logged(tmp_path, text, message):
    """If the file in ``NANOSPAN_ALERTS`` is unusable, that is logged and no alerts are loaded."""
    if text is not None:
        (tmp_path / "alerts.toml").write_text(text)
    code = "import nanospan; print(nanospan.get_performance_monitor().alerts.rules())"
    out, err = run(code, tmp_path, NANOSPAN_ALERTS="alerts.toml")
    assert out == "[]\n"
    assert err.startswith("NANOSPAN_ALERTS: no alerts were loaded: ")
    assert message in err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_has_alerts_of_its_own(tmp_path):
    """A forked child has the parent's rules and sinks, but none of its alerts or samples."""
    (tmp_path / "alerts.toml").write_text(RULES)
    code = (
        WAIT
        + """
import os, nanospan
monitor = nanospan.get_performance_monitor()
alerts = monitor.alerts
def fired():
    monitor.record_metric("op", 1.0)
    return [a.state for a in alerts.active()] == ["firing"]
wait(fired)
assert alerts.flush(60)
for _ in range(5):
    child = os.fork()
    if child == 0:
        assert alerts.history() == [] and len(alerts.rules()) == 1
        wait(lambda: alerts._state.get().engine._evaluator._windows._first is not None)
        # The child starts with no samples of the parent, so it must be slow itself to fire.
        assert alerts.active() == []
        wait(fired)
        assert alerts.flush(60)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
assert [a.state for a in alerts.history()][:1] == ["firing"]
"""
    )
    run(code, tmp_path, NANOSPAN_ALERTS="alerts.toml")
    lines = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    fired = [line["instance"] for line in lines if line["state"] == "firing"]
    assert len(set(fired)) == 6


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_fork_amid_a_change_completes_it_in_both_processes(tmp_path):
    """A call that is interrupted by a fork goes on in the child as in the parent."""
    code = (
        WAIT
        + """
import os, signal, nanospan
from nanospan.alerts import Sink, StatisticRule
children = []
class Forking(Sink):
    def __init__(self):
        super().__init__()
        self.received = []
    def __str__(self):
        if not children:
            children.append(os.fork())
            signal.alarm(60)
        return "Forking"
    def deliver(self, alert, pause):
        self.received.append(alert.state)
alerts = nanospan.get_performance_monitor().alerts
rule = StatisticRule(name="r", operation="op", statistic="in_flight", above=0, window=0.1)
alerts.add(rule)
sink = alerts.add_sink(Forking())
assert [delivery.sink for delivery in alerts.deliveries()] == ["Forking"]
with nanospan.get_performance_monitor().track_operation("op"):
    wait(lambda: sink.received == ["firing"])
wait(lambda: sink.received == ["firing", "resolved"])
if children[0] == 0:
    os._exit(0)
assert os.waitpid(children[0], 0)[1] == 0
"""
    )
    assert run(code, tmp_path) == ("", "")


def test_queued_alerts_are_delivered_at_exit(tmp_path):
    """An alert that fires just before the interpreter exits is still delivered."""
    code = """
import time, nanospan
from nanospan.alerts import StatisticRule
monitor = nanospan.get_performance_monitor()
def slow(alert):
    time.sleep(0.3)
    print(alert.state, flush=True)
monitor.alerts.add_sink(slow)
monitor.alerts.add(StatisticRule(name="r", operation="op", statistic="in_flight", above=0))
with monitor.track_operation("op"):
    while not monitor.alerts.active():
        monitor.alerts._state.get().engine.wake()
        time.sleep(0.01)
"""
    assert run(code, tmp_path) == ("firing\n", "")


def test_exit_does_not_wait_for_a_sink_that_hangs(tmp_path):
    """If a sink hangs at exit, the interpreter still exits and logs the number of lost alerts."""
    code = """
import threading, nanospan
from nanospan.alerts import StatisticRule
monitor = nanospan.get_performance_monitor()
entered = threading.Event()
def hang(alert):
    entered.set()
    threading.Event().wait()
monitor.alerts.add_sink(hang)
monitor.alerts.add(StatisticRule(name="r", operation="op", statistic="absent", window=0.1))
assert entered.wait(60)
"""
    began = time.monotonic()
    out, err = run(code, tmp_path)
    assert time.monotonic() - began < 60
    assert out == ""
    assert "lost 1 alert: not delivered before the deadline" in err
