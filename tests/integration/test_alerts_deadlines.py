"""Tests that an attempt to post an alert ends in time, whatever the server does."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import hostile_servers as hostile
import pytest
from alerting import PATIENCE, make_alert, wait_until
from hostile_servers import HostileServer, stuck_resolver

from nanospan.alerts import AlertmanagerSink, WebhookSink
from nanospan.alerts.delivery import SinkWorker

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 0.3
"""The time limit of an attempt, in seconds: several times as long as the pauses of the servers."""


def posting_threads() -> list[threading.Thread]:
    """Return the threads of attempts that have not ended."""
    return [thread for thread in threading.enumerate() if thread.name == "nanospan-post"]


def outcome(sink: WebhookSink | AlertmanagerSink, **fields: object) -> str:
    """Deliver an alert; return why it failed, or an empty string."""
    worker = SinkWorker(sink)
    worker.put(make_alert(**fields))
    try:
        assert worker.flush(PATIENCE)
        return worker.report().last_error
    finally:
        worker.end(time.monotonic() + PATIENCE)
        worker.join()


def assert_timed_out(error: str, phase: str) -> None:
    """Assert that the only attempt timed out, at ``phase`` unless this machine is very slow."""
    assert error in {f"timed out while {each} after 1 attempt" for each in (phase, "connecting")}


@pytest.mark.parametrize(
    ("sink", "scheme", "behave", "phase"),
    [
        (WebhookSink, "http", hostile.mute, "waiting for the response"),
        (WebhookSink, "http", hostile.drip_status, "waiting for the response"),
        (WebhookSink, "http", hostile.drip_headers, "waiting for the response"),
        (AlertmanagerSink, "http", hostile.drip_headers, "waiting for the response"),
        (WebhookSink, "http", hostile.drip_interim, "waiting for the response"),
        (WebhookSink, "https", hostile.mute, "waiting for the TLS handshake"),
        (WebhookSink, "https", hostile.drip_handshake, "waiting for the TLS handshake"),
    ],
)
def test_servers_that_never_finish(
    sink: type[WebhookSink | AlertmanagerSink],
    scheme: str,
    behave: Callable[[HostileServer, socket.socket], object],
    phase: str,
) -> None:
    """An attempt ends at its time limit, though bytes arrive all the time, and names the phase."""
    with HostileServer(behave) as server:
        url = f"{scheme}://127.0.0.1:{server.port}"
        assert_timed_out(outcome(sink(url, timeout=LIMIT, attempts=1)), phase)
        wait_until(lambda: not posting_threads())


def test_a_server_that_reads_slowly() -> None:
    """An attempt ends at its time limit if the server reads a large alert byte by byte."""
    with HostileServer(hostile.read_slowly) as server:
        sink = WebhookSink(f"http://127.0.0.1:{server.port}", timeout=LIMIT, attempts=1)
        error = outcome(sink, summary="s" * 20_000_000)
    assert_timed_out(error, "sending the request")


@pytest.mark.parametrize("behave", [hostile.drip_body, hostile.flood_body])
def test_bodies_that_never_end(behave: Callable[[HostileServer, socket.socket], object]) -> None:
    """The response's body is not read, so that one without an end delays nothing."""
    with HostileServer(behave) as server:
        sink = WebhookSink(f"http://127.0.0.1:{server.port}", timeout=PATIENCE, attempts=1)
        assert outcome(sink) == ""


def test_a_name_that_is_not_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up that hangs ends each attempt, and keeps no more than one thread."""
    with stuck_resolver("hook.test", socket.getaddrinfo) as getaddrinfo:
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        error = outcome(WebhookSink("http://hook.test", timeout=LIMIT, attempts=3))
        assert error == "timed out while connecting after 3 attempts"
        assert len(posting_threads()) == 1
    wait_until(lambda: not posting_threads())


def test_an_attempt_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no thread can be started, as when the interpreter ends, the alert is still posted."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "nanospan-post":
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with HostileServer(hostile.drip_body) as server:
        sink = WebhookSink(f"http://127.0.0.1:{server.port}", attempts=1)
        sink.deliver(make_alert(), lambda _: False)
        sink.close()
        assert server.accepted == 1
