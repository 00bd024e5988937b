"""Tests for alert sinks that need no server."""

import asyncio
import json
import logging
import resource
import threading
import time

import pytest
from alerting import PATIENCE, make_alert

from nanospan import PerformanceMonitor
from nanospan.alerts import (
    AlertmanagerSink,
    DeliveryError,
    FunctionSink,
    JsonLinesSink,
    LogSink,
    RuleError,
    Sink,
    WebhookSink,
)
from nanospan.alerts.delivery import SinkWorker


def never(_seconds):
    """Pretend that no time is left for another attempt."""
    return False


def test_the_log_has_one_line_for_each_alert(caplog):
    """Firing alerts are logged at their severity, others at INFO; the log record has the alert."""
    sink = LogSink()
    with caplog.at_level(logging.DEBUG, "nanospan.alerts"):
        sink.deliver(make_alert(severity="critical"), never)
        sink.deliver(make_alert(state="resolved", severity="critical"), never)
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("CRITICAL", "firing: slow: op is slow"),
        ("INFO", "resolved: slow: op is slow"),
    ]
    assert caplog.records[0].alert == make_alert(severity="critical")


def test_json_lines_are_appended_as_whole_lines(tmp_path):
    """Alerts are appended as JSON lines to a file with mode 600, which may be rotated."""
    path = tmp_path / "alerts.jsonl"
    sink = JsonLinesSink(path)
    sink.deliver(make_alert(), never)
    sink.deliver(make_alert(state="resolved", summary="ü\n\ud800"), never)
    lines = path.read_text().splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["firing", "resolved"]
    assert json.loads(lines[0]) == make_alert().to_dict()
    assert path.stat().st_mode & 0o777 == 0o600
    path.rename(tmp_path / "old")
    sink.deliver(make_alert(), never)
    assert len(path.read_text().splitlines()) == 1


def test_an_alert_that_does_not_fit_on_the_disk_is_lost_whole(tmp_path, caplog):
    """On a full disk, no part of an alert is kept, it counts as lost, and the next is whole."""
    path = tmp_path / "alerts.jsonl"
    worker = SinkWorker(JsonLinesSink(path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    worker.put(make_alert())
    assert worker.flush(PATIENCE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))
    try:
        worker.put(make_alert(operation="unlucky"))
        assert worker.flush(PATIENCE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    worker.put(make_alert(state="resolved"))
    worker.end(time.monotonic() + PATIENCE)
    worker.join()
    states = [json.loads(line)["state"] for line in path.read_text().splitlines()]
    assert states == ["firing", "resolved"]
    report = worker.report()
    assert (report.delivered, report.lost) == (2, 1)
    assert "the alert was not appended: only 20 of " in report.last_error
    assert [record.getMessage().count("\n") for record in caplog.records] == [0]


def test_sinks_select_alerts_by_state_and_severity():
    """Sinks get firing and resolved alerts of any severity, unless configured otherwise."""
    sink = LogSink(min_severity="warning")
    assert sink.wants(make_alert())
    assert not sink.wants(make_alert(state="pending"))
    assert not sink.wants(make_alert(severity="info"))
    assert LogSink(states=["pending"]).wants(make_alert(state="pending"))
    with pytest.raises(RuleError, match="states"):
        LogSink(states=["odd"])
    with pytest.raises(RuleError, match="min_severity"):
        LogSink(min_severity="odd")


def test_a_sink_must_implement_deliver():
    """``Sink.deliver`` raises NotImplementedError unless it is overridden."""
    with pytest.raises(NotImplementedError):
        Sink().deliver(make_alert(), never)


async def test_an_async_function_runs_on_its_event_loop():
    """An async function is awaited on the loop that was running when the sink was created."""
    seen = []

    async def tell(alert):
        await asyncio.sleep(0)
        seen.append((alert.rule, asyncio.get_running_loop(), threading.current_thread()))

    sink = FunctionSink(tell)
    await asyncio.to_thread(sink.deliver, make_alert(), never)
    assert seen == [("slow", asyncio.get_running_loop(), threading.current_thread())]


async def test_an_object_with_an_async_call_is_awaited():
    """An object's async ``__call__`` runs on the event loop like an async function."""

    class Counter:
        calls = 0

        async def __call__(self, _alert):
            self.calls += 1

    counter = Counter()
    await asyncio.to_thread(FunctionSink(counter).deliver, make_alert(), never)
    assert counter.calls == 1


async def test_an_async_function_that_hangs_is_cancelled():
    """An async function that exceeds the timeout is cancelled, and delivery fails."""
    cancelled = asyncio.Event()

    async def hang(_alert):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    sink = FunctionSink(hang, timeout=0.05)
    with pytest.raises(DeliveryError, match=r"timed out after 0\.05 seconds"):
        await asyncio.to_thread(sink.deliver, make_alert(), never)
    await asyncio.wait_for(cancelled.wait(), 30)


async def test_an_exception_of_an_async_function_is_raised():
    """A TimeoutError raised inside the function is not mistaken for the sink timing out."""

    async def fail(_alert):
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await asyncio.to_thread(FunctionSink(fail).deliver, make_alert(), never)


def test_a_coroutine_that_is_never_awaited_is_an_error():
    """Delivery fails if a plain function returns a coroutine, which would never be awaited."""

    async def tell(rule):
        raise AssertionError(rule)

    decorated = PerformanceMonitor().track_operation("op")(tell)
    with pytest.raises(DeliveryError, match="returned a coroutine"):
        FunctionSink(lambda alert: decorated(alert.rule)).deliver(make_alert(), never)
    with pytest.raises(DeliveryError, match="returned a coroutine"):
        FunctionSink(lambda alert: tell(alert.rule)).deliver(make_alert(), never)


def test_an_async_function_needs_a_loop():
    """An async function needs a running loop or ``loop``; with a closed loop, delivery fails."""

    async def tell(_alert):
        raise AssertionError

    with pytest.raises(ValueError, match=r"use FunctionSink\(function, loop=...\)"):
        FunctionSink(tell)
    loop = asyncio.new_event_loop()
    sink = FunctionSink(tell, loop=loop)
    loop.close()
    with pytest.raises(DeliveryError, match="event loop is closed"):
        sink.deliver(make_alert(), never)
    with pytest.raises(TypeError, match="callable"):
        FunctionSink("tell")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hooks.example/services/s3cret", "https://hooks.example/***"),
        ("https://user:s3cret@hooks.example:8443", "https://hooks.example:8443"),
        ("http://127.0.0.1:9/?token=s3cret", "http://127.0.0.1:9/***"),
        ("env:TEST_URL", "https://from.example/***"),
        ("https://hooks.example/env:TEST_TOKEN", "https://hooks.example/***"),
    ],
)
def test_urls_and_headers_are_not_shown(url, shown, monkeypatch):
    """A sink's ``repr`` and ``str`` show only the URL's scheme, host and port."""
    monkeypatch.setenv("TEST_URL", "https://from.example/s3cret")
    monkeypatch.setenv("TEST_TOKEN", "s3cret")
    for kind in (WebhookSink, AlertmanagerSink):
        sink = kind(url, headers={"Authorization": "Bearer env:TEST_TOKEN"})
        assert str(sink) == f"{kind.__name__}({shown})"
        assert "s3cret" not in repr(sink) + repr(vars(sink)) + repr(vars(sink._poster))


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "s3cret"},
        {"url": "ftp://h/s3cret"},
        {"url": "http://[s3cret"},
        {"url": "https://h/env:TEST_UNSET"},
        {"url": "https://h", "headers": {"A": "env:TEST_UNSET"}},
        {"url": "https://h", "headers": {"A b": "s3cret"}},
        {"url": "https://h", "headers": {"A": "s3cret\r\nB: c"}},
        {"url": "https://h", "headers": {"A": 3}},
        {"url": "https://h", "headers": ["A"]},
        {"url": "https://h", "timeout": 0},
        {"url": "https://h", "attempts": 0},
    ],
)
def test_invalid_settings_are_rejected(settings):
    """The error for an invalid setting of a webhook does not reveal secret values."""
    with pytest.raises(RuleError) as raised:
        WebhookSink(**settings)
    assert "s3cret" not in str(raised.value)
    assert raised.value.__context__ is None or "s3cret" not in str(raised.value.__context__)


def test_an_alertmanager_is_not_posted_to_more_than_once_a_second():
    """A ``repeat`` below one second is rejected, as it would flood the Alertmanager."""
    with pytest.raises(RuleError, match="at least 1 second"):
        AlertmanagerSink("http://127.0.0.1:9", repeat=0.1)


def test_a_missing_httpx_is_reported_when_the_sink_is_created(monkeypatch):
    """If httpx is missing, creating a webhook sink raises and shows how to install it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ImportError, match=r"pip install 'nanospan\[alerts\]'"):
        WebhookSink("http://127.0.0.1:9")


def test_a_webhook_gives_up_when_no_time_is_left():
    """Delivery fails after one attempt if there is no time for another."""
    sink = WebhookSink("http://127.0.0.1:9/s3cret", timeout=5)
    began = time.monotonic()
    with pytest.raises(DeliveryError) as failed:
        sink.deliver(make_alert(), never)
    assert str(failed.value) == "connection failed (ConnectError) after 1 attempt"
    assert time.monotonic() - began < 30
