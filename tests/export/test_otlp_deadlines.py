"""Tests that an export over OTLP ends in time, whatever the collector does."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import hostile_servers as hostile
import pytest
from hostile_servers import HostileServer, stuck_resolver
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from nanospan.export.otlp import OtlpExporter, OtlpExportError
from nanospan.export.otlp.exporter import CREDENTIAL_PROVIDERS
from nanospan.export.otlp.timed_session import TimedSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanospan import PerformanceMonitor

LIMIT = 0.3
PATIENCE = 60.0


@pytest.fixture
def export(
    monitor: PerformanceMonitor, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], OtlpExporter]:
    """Return a function that exports to a URL, and returns the exporter."""
    monitor.record_metric("op", 0.1)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", str(LIMIT))
    monkeypatch.setenv("NO_PROXY", "*")
    for name in CREDENTIAL_PROVIDERS:
        monkeypatch.delenv(name, raising=False)

    def export(url: str) -> OtlpExporter:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        exporter = OtlpExporter()
        exporter(monitor.snapshot(), [])
        return exporter

    return export


def exporting_threads() -> list[threading.Thread]:
    """Return the threads of requests that have not ended."""
    return [thread for thread in threading.enumerate() if thread.name == "nanospan-otlp"]


def assert_no_thread_is_left() -> None:
    deadline = time.monotonic() + PATIENCE
    while exporting_threads():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("scheme", "behave"),
    [
        ("http", hostile.mute),
        ("http", hostile.drip_status),
        ("http", hostile.drip_headers),
        ("http", hostile.drip_body),
        ("http", hostile.flood_body),
        ("https", hostile.mute),
        ("https", hostile.drip_handshake),
    ],
)
def test_collectors_that_never_finish(
    export: Callable[[str], OtlpExporter],
    caplog: pytest.LogCaptureFixture,
    scheme: str,
    behave: Callable[[HostileServer, socket.socket], object],
) -> None:
    """An export fails at its time limit, though bytes arrive all the time, and leaves no thread."""
    caplog.set_level(logging.CRITICAL, "opentelemetry")
    with HostileServer(behave) as server:
        with pytest.raises(OtlpExportError):
            export(f"{scheme}://127.0.0.1:{server.port}")
        assert_no_thread_is_left()


def test_a_name_that_is_not_resolved(
    export: Callable[[str], OtlpExporter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up that hangs ends the export at its time limit, and keeps no more than one thread."""
    with stuck_resolver("collector.test", socket.getaddrinfo) as getaddrinfo:
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        with pytest.raises(OtlpExportError):
            export("http://collector.test:4318")
        assert len(exporting_threads()) == 1
    assert_no_thread_is_left()


def test_a_connection_that_is_kept(
    export: Callable[[str], OtlpExporter], monitor: PerformanceMonitor
) -> None:
    """A second export on the same connection has the same limit."""

    def answer_once(server: HostileServer, connection: socket.socket) -> None:
        connection.recv(1_000_000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        hostile.drip_headers(server, connection)

    with HostileServer(answer_once) as server:
        deadline, exporter = time.monotonic() + PATIENCE, None
        while exporter is None:  # on a busy machine, the first export may take too long, too
            assert time.monotonic() < deadline
            with contextlib.suppress(OtlpExportError):
                exporter = export(f"http://127.0.0.1:{server.port}")
        with pytest.raises(OtlpExportError):
            exporter(monitor.snapshot(), [])
        assert_no_thread_is_left()
        exporter.close()


def test_a_redirected_request_has_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The requests of a redirect, which some exporters follow, share a thread and a time limit."""
    monkeypatch.setenv("NO_PROXY", "*")
    threads: list[int] = []

    def redirect_once(_: HostileServer, connection: socket.socket) -> None:
        connection.recv(1_000_000)
        status = b"200 OK" if threads else b"307 Temporary Redirect\r\nLocation: /other"
        threads.append(len(exporting_threads()))
        head = b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        connection.sendall(b"HTTP/1.1 " + status + head)

    with HostileServer(redirect_once) as server:
        TimedSession().post(f"http://127.0.0.1:{server.port}", data=b"x", timeout=PATIENCE)
    assert threads == [1, 1]


def test_proxies_keep_their_own_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections through a SOCKS proxy are still of urllib3's class for them, and can be cut."""

    class SocksConnection(HTTPConnection):
        pass

    class SocksPool(HTTPConnectionPool):
        ConnectionCls = SocksConnection

    manager = SimpleNamespace(pool_classes_by_scheme={"http": SocksPool})
    monkeypatch.setattr(HTTPAdapter, "proxy_manager_for", lambda *_, **__: manager)
    adapter = TimedSession().get_adapter("http://collector.test")
    assert isinstance(adapter, HTTPAdapter)
    used = {adapter.proxy_manager_for("socks5://p").pool_classes_by_scheme["http"] for _ in "12"}
    [pool] = used
    assert issubclass(pool, SocksPool)
    assert issubclass(pool.ConnectionCls, SocksConnection)
    assert pool.ConnectionCls is not SocksConnection
