"""Tests that post alerts to a real HTTP server, which may respond slowly, wrongly or never."""

from __future__ import annotations

import contextlib
import email.utils
import json
import logging
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from alerting import PATIENCE, make_alert, wait_until
from servers import free_port

from nanospan.alerts import AlertmanagerSink, StatisticRule, WebhookSink
from nanospan.alerts.delivery import SinkWorker

SECRET = "s3cret"


class Server:
    """Responds to requests as the test tells it to, and records them."""

    def __init__(self):
        self.requests = []
        self.answers = []  # (status, headers) of the next responses; then status 200
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Semaphore(0)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((time.monotonic(), self.path, dict(self.headers), body))
                status, headers = outer.answers.pop(0) if outer.answers else (200, {})
                outer.arrived.release()
                outer.gate.wait(PATIENCE)
                with contextlib.suppress(OSError):  # The client may have disconnected.
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"ok")

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/{SECRET}"

    def close(self):
        self.gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server():
    """Yield a new HTTP server for one test."""
    server = Server()
    yield server
    server.close()


@pytest.fixture
def deliver():
    """Yield a function that queues alerts for a sink in a new worker; stop it after the test."""
    workers = []

    def deliver(sink, *alerts):
        worker = SinkWorker(sink)
        workers.append(worker)
        for alert in alerts:
            worker.put(alert)
        return worker

    yield deliver
    for worker in workers:
        worker.end(time.monotonic() + PATIENCE)
        worker.join()


def test_an_alert_arrives_with_its_headers(server, deliver, monkeypatch):
    """A webhook's URL and headers may come from the environment; its body is the alert as JSON."""
    monkeypatch.setenv("TEST_HOOK_URL", server.url)
    monkeypatch.setenv("TEST_HOOK_TOKEN", SECRET)
    sink = WebhookSink("env:TEST_HOOK_URL", headers={"Authorization": "Bearer env:TEST_HOOK_TOKEN"})
    worker = deliver(sink, make_alert(), make_alert(state="resolved"))
    assert worker.flush(PATIENCE)
    assert [json.loads(body)["state"] for *_, body in server.requests] == ["firing", "resolved"]
    _, path, headers, body = server.requests[0]
    assert path == f"/{SECRET}"
    assert headers["Authorization"] == f"Bearer {SECRET}"
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == make_alert().to_dict()
    assert worker.report().delivered == 2


def test_server_errors_are_retried(server, deliver):
    """An alert that is refused with status 500, 503 and 429 is retried and delivered once."""
    server.answers = [(500, {}), (503, {}), (429, {})]
    worker = deliver(WebhookSink(server.url), make_alert())
    assert worker.flush(PATIENCE)
    assert len(server.requests) == 4
    report = worker.report()
    assert (report.delivered, report.lost, report.last_error) == (1, 0, "")


def test_each_alert_is_posted_once_to_an_alertmanager(server, deliver):
    """Each post contains only the new alert; a refresh re-posts all alerts at once."""
    alerts = [make_alert(operation=f"op{number}") for number in range(100)]
    worker = deliver(AlertmanagerSink(server.url, repeat=3600), *alerts)
    assert worker.flush(PATIENCE)
    posted = [json.loads(body) for *_, body in server.requests]
    assert [len(each) for each in posted] == [1] * 100
    worker.sink.refresh(lambda _: False)
    assert len(json.loads(server.requests[-1][-1])) == 100


def test_an_unavailable_alertmanager_does_not_fill_the_queue(server, deliver):
    """After a failed post, only the latest state of each alert is kept for the next post."""
    server.answers = [(500, {})]
    worker = deliver(AlertmanagerSink(server.url, repeat=3600, attempts=1), make_alert())
    assert worker.flush(PATIENCE)
    for _ in range(1000):
        for state in ("firing", "resolved"):
            worker.put(make_alert(state=state))
            assert worker.flush(PATIENCE)
    report = worker.report()
    assert (len(server.requests), report.lost, report.last_error) == (
        1,
        0,
        "status 500 after 1 attempt",
    )
    worker.sink.refresh(lambda _: False)
    [told] = json.loads(server.requests[-1][-1])
    assert told["labels"]["operation"] == "op"
    assert worker.sink.refresh_in() is None


def test_an_alert_is_lost_if_every_attempt_fails(server, deliver, caplog):
    """An alert whose every attempt fails is counted and logged as lost; the next is delivered."""
    server.answers = [(500, {})] * 2
    worker = deliver(WebhookSink(server.url, attempts=2), make_alert(), make_alert(rule="next"))
    assert worker.flush(PATIENCE)
    report = worker.report()
    assert (report.delivered, report.lost) == (1, 1)
    assert report.last_error == "status 500 after 2 attempts"
    assert any("lost the alert of rule 'slow'" in message for message in caplog.messages)


@pytest.mark.parametrize("status", [400, 401, 404, 302])
def test_a_rejected_alert_is_not_retried(server, deliver, status):
    """An alert rejected with a 3xx or 4xx status is not retried, and redirects are not followed."""
    server.answers = [(status, {"Location": "/elsewhere"})]
    worker = deliver(WebhookSink(server.url), make_alert())
    assert worker.flush(PATIENCE)
    assert len(server.requests) == 1
    assert worker.report().last_error == f"rejected with status {status}"


def test_retry_after_is_honoured(server, deliver):
    """``Retry-After`` may be seconds or a date; an invalid value is ignored."""
    not_before = time.monotonic() + 3  # The date in the header is in whole seconds.
    date = email.utils.formatdate(time.time() + 4, usegmt=True)
    server.answers = [
        (503, {"Retry-After": "2"}),
        (429, {"Retry-After": date}),
        (503, {"Retry-After": "soon"}),
    ]
    worker = deliver(WebhookSink(server.url), make_alert())
    assert worker.flush(PATIENCE)
    times = [at for at, *_ in server.requests]
    assert len(times) == 4
    assert times[1] - times[0] >= 2
    assert times[2] >= not_before


def test_a_slow_server_times_out_and_is_retried(server, deliver):
    """A request whose response takes longer than the timeout is abandoned and retried."""
    server.gate.clear()
    worker = deliver(WebhookSink(server.url, timeout=0.2, attempts=2), make_alert())
    assert worker.flush(PATIENCE)
    # The server may read a request after the client has abandoned it.
    wait_until(lambda: len(server.requests) == 2)
    expected = "timed out while waiting for the response after 2 attempts"
    assert worker.report().last_error == expected


def test_a_port_without_a_listener_is_retried(deliver):
    """An alert is retried if nothing listens on the port, and lost after the last attempt."""
    worker = deliver(WebhookSink(f"http://127.0.0.1:{free_port()}", attempts=2), make_alert())
    assert worker.flush(PATIENCE)
    assert worker.report().last_error == "connection failed (ConnectError) after 2 attempts"


def test_a_listener_that_never_responds_times_out(deliver):
    """A request times out if the connection is accepted but no response ever arrives."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        worker = deliver(WebhookSink(url, timeout=0.2, attempts=1), make_alert())
        assert worker.flush(PATIENCE)
    assert worker.report().lost == 1


def test_a_webhook_that_hangs_delays_neither_rules_nor_other_sinks(server, monitor):
    """While a webhook hangs, rules are still evaluated and another sink gets all alerts."""
    server.gate.clear()
    told = []
    alerts = monitor.alerts
    alerts.add_sink(WebhookSink(server.url, timeout=PATIENCE))
    alerts.add_sink(lambda alert: told.append((alert.rule, alert.state)))
    for name in ("a", "b"):
        alerts.add(
            StatisticRule(name=name, operation=name, statistic="in_flight", above=0, window=1)
        )
    with monitor.track_operation("a"), monitor.track_operation("b"):
        wait_until(lambda: len(told) == 2)
    wait_until(lambda: len(told) == 4)
    assert set(told) == {(n, s) for n in "ab" for s in ("firing", "resolved")}
    assert alerts.deliveries()[0].delivered == 0
    server.gate.set()
    assert alerts.flush(PATIENCE)
    assert len(server.requests) == 4
    alerts.close()


def test_no_secret_reaches_the_log(server, deliver, caplog, monkeypatch):
    """No log record, even at DEBUG, contains a secret from the webhook's URL or headers."""
    monkeypatch.setenv("TEST_HOOK_TOKEN", SECRET)
    caplog.set_level(logging.DEBUG)
    headers = {"Authorization": "Bearer env:TEST_HOOK_TOKEN"}
    server.answers = [(500, {}), (400, {})]
    worker = deliver(WebhookSink(server.url, headers=headers), make_alert(), make_alert())
    assert worker.flush(PATIENCE)
    dead = f"http://{SECRET}:{SECRET}@127.0.0.1:{free_port()}/{SECRET}"
    lost = deliver(WebhookSink(dead, headers=headers, attempts=1), make_alert())
    assert lost.flush(PATIENCE)
    monkeypatch.delenv("TEST_HOOK_TOKEN")
    unset = deliver(WebhookSink(server.url), make_alert())
    unset.sink._poster._headers = worker.sink._poster._headers
    assert unset.flush(PATIENCE)
    assert unset.report().lost == 1
    reports = [str(each.report()) for each in (worker, lost, unset)]
    assert len(caplog.records) > 5
    shown = caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert SECRET not in shown + str(reports)
