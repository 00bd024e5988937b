"""Tests of what finalisers may do at the end of the interpreter, when no thread can start."""

import subprocess
import sys

PROGRAM = """
import os, socket, sys
from types import SimpleNamespace
from nanospan import PerformanceMonitor
from nanospan.alerts import FunctionSink, StatisticRule
from nanospan.alerts.alert import Alert
from nanospan.alerts.delivery import SinkWorker
from nanospan.pool import SyncVectorPool
from nanospan.pool.addresses import _look_up, _Place
from nanospan.pool.connections import Hangup
from nanospan.pool.threads import start_in_thread
from nanospan.values.timed_calls import TimedCalls

alert = Alert(
    rule="slow", operation="op", state="firing", severity="info", statistic="p95", value=1.0,
    limit=0.1, window=60, summary="", labels={}, since=0.0, fired_at=0.0, silenced=False,
    instance="here",
)
"localhost".encode("idna")  # a codec that a later call needs could not be imported
ours, theirs = (each.detach() for each in socket.socketpair())
connection = SimpleNamespace(pgconn=SimpleNamespace(socket=ours))

def put():
    worker.put(alert)
    return worker.flush(0.01), worker.report().queued

def hang_up():
    with Hangup(connection, 3600):
        return os.read(theirs, 1)

alerts = PerformanceMonitor(thresholds={}).alerts
worker = SinkWorker(FunctionSink(print))
pool = SyncVectorPool("host=127.0.0.1 port=1", open=False)
rule = StatisticRule(name="slow", operation="op", statistic="p95", above=0.1)
calls = {
    "rule": lambda: alerts.add(rule),
    "sink": put,
    "request": lambda: TimedCalls("call").run(lambda connections: "done here", 3600),
    "work": lambda: start_in_thread(lambda: "done here").result(),
    "name": lambda: bool(_look_up(_Place("localhost", "", "1")).result()),
    "time limit": hang_up,
    "pool": pool.open,
}

class Finalised:
    def __del__(self):
        os.write(1, f"finalising: {sys.is_finalizing()}\\n".encode())
        for name, call in calls.items():
            try:
                result = call()
            except RuntimeError:
                result = "refused"
            os.write(1, f"{name}: {result}\\n".encode())

finalised = Finalised()
"""


def test_finalisers_do_not_wait_for_threads_while_the_interpreter_is_ending():
    """Nothing hangs: a call that needs a thread is refused, or done by the finaliser itself."""
    program = [sys.executable, "-c", PROGRAM]
    finished = subprocess.run(program, capture_output=True, text=True, check=True, timeout=120)
    assert finished.stdout.splitlines() == [
        "finalising: True",
        "rule: refused",
        "sink: (False, 1)",
        "request: done here",
        "work: done here",
        "name: True",
        "time limit: b''",
        "pool: refused",
    ], finished.stderr
