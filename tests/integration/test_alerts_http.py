"""Webhooks to a real HTTP server that answers well, slowly, with errors, and not at all."""

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
from nanospan.alerts.delivery import Courier

SECRET = "s3cret"


class Server:
    """Answers requests as the test tells it, and remembers them."""

    def __init__(self):
        self.requests = []
        self.answers = []  # (status, headers), first come first; then 200
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
                with contextlib.suppress(OSError):  # the client may be tired of waiting
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
    """A server of the test's own."""
    server = Server()
    yield server
    server.close()


@pytest.fixture
def deliver():
    """Puts alerts on their way, and ends the couriers afterwards."""
    couriers = []

    def deliver(sink, *alerts):
        courier = Courier(sink)
        couriers.append(courier)
        for alert in alerts:
            courier.put(alert)
        return courier

    yield deliver
    for courier in couriers:
        courier.end(time.monotonic() + PATIENCE)
        courier.join()


def test_an_alert_arrives_with_its_headers(server, deliver, monkeypatch):
    """URL and headers from the environment, the alert as JSON."""
    monkeypatch.setenv("TEST_HOOK_URL", server.url)
    monkeypatch.setenv("TEST_HOOK_TOKEN", SECRET)
    sink = WebhookSink("env:TEST_HOOK_URL", headers={"Authorization": "Bearer env:TEST_HOOK_TOKEN"})
    courier = deliver(sink, make_alert(), make_alert(state="resolved"))
    assert courier.flush(PATIENCE)
    assert [json.loads(body)["state"] for *_, body in server.requests] == ["firing", "resolved"]
    _, path, headers, body = server.requests[0]
    assert path == f"/{SECRET}"
    assert headers["Authorization"] == f"Bearer {SECRET}"
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == make_alert().to_dict()
    assert courier.report().delivered == 2


def test_errors_of_the_server_are_tried_again(server, deliver):
    """After 500, 503 and 429 the alert arrives in the end, once."""
    server.answers = [(500, {}), (503, {}), (429, {})]
    courier = deliver(WebhookSink(server.url), make_alert())
    assert courier.flush(PATIENCE)
    assert len(server.requests) == 4
    report = courier.report()
    assert (report.delivered, report.lost, report.last_error) == (1, 0, "")


def test_an_alertmanager_is_told_of_each_alert_once(server, deliver):
    """A hundred alerts are a hundred posts of one, not of all that came before; then all again."""
    alerts = [make_alert(operation=f"op{number}") for number in range(100)]
    courier = deliver(AlertmanagerSink(server.url, repeat=3600), *alerts)
    assert courier.flush(PATIENCE)
    posted = [json.loads(body) for *_, body in server.requests]
    assert [len(each) for each in posted] == [1] * 100
    courier.sink.refresh(lambda _: False)
    assert len(json.loads(server.requests[-1][-1])) == 100


def test_an_alertmanager_that_is_away_fills_no_queue(server, deliver):
    """After the first failure alerts are kept, the latest of each, until a post is due again."""
    server.answers = [(500, {})]
    courier = deliver(AlertmanagerSink(server.url, repeat=3600, attempts=1), make_alert())
    assert courier.flush(PATIENCE)
    for _ in range(1000):
        for state in ("firing", "resolved"):
            courier.put(make_alert(state=state))
            assert courier.flush(PATIENCE)
    report = courier.report()
    assert (len(server.requests), report.lost, report.last_error) == (
        1,
        0,
        "status 500, in 1 attempt",
    )
    courier.sink.refresh(lambda _: False)
    [told] = json.loads(server.requests[-1][-1])
    assert told["labels"]["operation"] == "op"
    assert courier.sink.refresh_in() is None


def test_a_server_that_always_fails_loses_the_alert(server, deliver, caplog):
    """After all attempts it is lost, counted and logged, and the next one is tried."""
    server.answers = [(500, {})] * 2
    courier = deliver(WebhookSink(server.url, attempts=2), make_alert(), make_alert(rule="next"))
    assert courier.flush(PATIENCE)
    report = courier.report()
    assert (report.delivered, report.lost) == (1, 1)
    assert report.last_error == "status 500, in 2 attempts"
    assert any("did not get alert 'slow'" in message for message in caplog.messages)


@pytest.mark.parametrize("status", [400, 401, 404, 302])
def test_a_refusal_is_final(server, deliver, status):
    """What will not be accepted later either is not sent again; redirects are not followed."""
    server.answers = [(status, {"Location": "/elsewhere"})]
    courier = deliver(WebhookSink(server.url), make_alert())
    assert courier.flush(PATIENCE)
    assert len(server.requests) == 1
    assert courier.report().last_error == f"refused with status {status}"


def test_the_server_says_when_to_come_back(server, deliver):
    """`Retry-After` is honoured, as seconds and as a date; nonsense is not."""
    not_before = time.monotonic() + 3  # a date has whole seconds
    date = email.utils.formatdate(time.time() + 4, usegmt=True)
    server.answers = [
        (503, {"Retry-After": "2"}),
        (429, {"Retry-After": date}),
        (503, {"Retry-After": "soon"}),
    ]
    courier = deliver(WebhookSink(server.url), make_alert())
    assert courier.flush(PATIENCE)
    times = [at for at, *_ in server.requests]
    assert len(times) == 4
    assert times[1] - times[0] >= 2
    assert times[2] >= not_before


def test_a_slow_server_is_given_up_and_tried_again(server, deliver):
    """An answer that takes longer than the time-out counts as none."""
    server.gate.clear()
    courier = deliver(WebhookSink(server.url, timeout=0.2, attempts=2), make_alert())
    assert courier.flush(PATIENCE)
    wait_until(lambda: len(server.requests) == 2)  # it may have given up before the server looked
    assert courier.report().last_error == "no answer in time (ReadTimeout), in 2 attempts"


def test_nobody_there(deliver):
    """A port without a listener is tried again, then given up."""
    courier = deliver(WebhookSink(f"http://127.0.0.1:{free_port()}", attempts=2), make_alert())
    assert courier.flush(PATIENCE)
    assert courier.report().last_error == "no connection (ConnectError), in 2 attempts"


def test_a_server_that_takes_connections_and_says_nothing(deliver):
    """A listener that never answers, not even to the connection's first byte, ends in time."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        courier = deliver(WebhookSink(url, timeout=0.2, attempts=1), make_alert())
        assert courier.flush(PATIENCE)
    assert courier.report().lost == 1


def test_a_dead_webhook_delays_neither_rules_nor_other_sinks(server, monitor):
    """While the webhook hangs, alerts go on and another sink hears of all of them."""
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
    """With every logger at DEBUG, neither URL nor header shows, however the request ends."""
    monkeypatch.setenv("TEST_HOOK_TOKEN", SECRET)
    caplog.set_level(logging.DEBUG)
    headers = {"Authorization": "Bearer env:TEST_HOOK_TOKEN"}
    server.answers = [(500, {}), (400, {})]
    courier = deliver(WebhookSink(server.url, headers=headers), make_alert(), make_alert())
    assert courier.flush(PATIENCE)
    dead = f"http://{SECRET}:{SECRET}@127.0.0.1:{free_port()}/{SECRET}"
    lost = deliver(WebhookSink(dead, headers=headers, attempts=1), make_alert())
    assert lost.flush(PATIENCE)
    monkeypatch.delenv("TEST_HOOK_TOKEN")
    unset = deliver(WebhookSink(server.url), make_alert())
    unset.sink._poster._headers = courier.sink._poster._headers
    assert unset.flush(PATIENCE)
    assert unset.report().lost == 1
    reports = [str(each.report()) for each in (courier, lost, unset)]
    assert len(caplog.records) > 5
    shown = caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert SECRET not in shown + str(reports)
