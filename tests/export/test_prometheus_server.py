"""Tests for nanospan's HTTP metrics server: life cycle, limits and failures."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
from interruption import AmidEveryLine
from servers import fetch

from nanospan.export.prometheus import Exposition, start_http_server
from nanospan.export.prometheus import server as server_module
from nanospan.export.prometheus.server import MAX_CONNECTIONS


@pytest.fixture
def exposition(monitor) -> Exposition:
    monitor.record_metric("op", 0.1)
    return Exposition(monitor)


def test_it_serves_until_it_is_closed(exposition):
    """The server reports its port and URL; closing it frees the port and ends its thread."""
    with start_http_server(0, source=exposition) as server:
        assert server.url == f"http://127.0.0.1:{server.port}/metrics"
        status, headers, body = fetch(server.url, **{"Accept-Encoding": "gzip"})
        assert (status, headers["Server"]) == (200, "nanospan ")
        assert b'operation="op"' in gzip.decompress(body)
        assert "serving" in repr(server)
    server.close()
    assert "closed" in repr(server)
    assert not [t for t in threading.enumerate() if t.name == "nanospan-metrics"]
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/metrics?x=1", 200),
        ("GET", "/metrics/", 200),
        ("GET", "/m%65trics", 200),
        ("GET", "/x", 404),
        ("POST", "/metrics", 405),
        ("HEAD", "/metrics", 200),
        ("TRACE", "/metrics", 405),
        ("BREW", "/metrics", 405),
    ],
)
def test_only_scrapes_are_answered(exposition, method, path, status):
    """Other paths get a 404, and all methods but GET and HEAD a 405 that lists these."""
    with start_http_server(0, source=exposition) as server:
        found, headers, body = fetch(f"http://127.0.0.1:{server.port}{path}", method)
        assert found == status
        assert headers.get("Allow") == ("GET, HEAD" if status == 405 else None)
        assert bool(body) is (method != "HEAD")


def test_a_silent_client_does_not_block_concurrent_scrapes(exposition):
    """Scrapes are answered even while another client is connected but sends nothing."""
    with start_http_server(0, source=exposition) as server:
        with socket.create_connection(("127.0.0.1", server.port)):
            results = []
            threads = [
                threading.Thread(target=lambda: results.append(fetch(server.url)[0]))
                for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert results == [200] * 8


def test_clients_beyond_the_limit_are_closed(exposition):
    """Connections beyond the limit are closed; a new client is accepted once another leaves."""
    with start_http_server(0, source=exposition) as server, contextlib.ExitStack() as stack:
        address = ("127.0.0.1", server.port)
        silent = [
            stack.enter_context(socket.create_connection(address)) for _ in range(MAX_CONNECTIONS)
        ]
        with socket.create_connection(address) as refused:
            assert refused.recv(1) == b""
        silent[0].close()
        deadline = time.monotonic() + 60
        while True:
            try:
                assert fetch(server.url)[0] == 200
                break
            except OSError:
                assert time.monotonic() < deadline


def test_a_request_that_never_ends_is_closed(exposition, monkeypatch):
    """A request that arrives one byte at a time is cut off when its time limit has passed."""
    monkeypatch.setattr(server_module, "REQUEST_TIMEOUT", 0.5)
    with (
        start_http_server(0, source=exposition) as server,
        socket.create_connection(("127.0.0.1", server.port)) as client,
    ):
        client.settimeout(0.05)
        deadline = time.monotonic() + 60
        client.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        while True:
            assert time.monotonic() < deadline
            try:
                client.sendall(b"y")
                if not client.recv(1000):
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert fetch(server.url)[0] == 200


def test_a_failing_exposition_is_a_500_and_logged(monitor, caplog):
    """If encoding fails, the response is a 500, the cause is logged, and the server goes on."""

    class Failing(Exposition):
        def snapshots(self):
            raise ZeroDivisionError("broken")

    with (
        start_http_server(0, source=Failing(monitor)) as server,
        caplog.at_level(logging.ERROR, "nanospan"),
    ):
        assert fetch(server.url)[0] == 500
        assert fetch(server.url)[0] == 500
    assert "ZeroDivisionError: broken" in caplog.text


def test_an_address_that_cannot_be_used_is_named(exposition):
    """The error names an address or port that is in use, unknown or out of range."""
    with (
        start_http_server(0, source=exposition) as server,
        pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {server.port}: "),
    ):
        start_http_server(server.port)
    with pytest.raises(OSError, match=r"cannot listen on no\.such\.host\.invalid port 0: "):
        start_http_server(0, "no.such.host.invalid")
    with pytest.raises(ValueError, match="from 0 to 65535, got 65536"):
        start_http_server(65536)
    with pytest.raises(ValueError, match="from 0 to 65535, got <int of"):
        start_http_server(10**5000)


def test_it_listens_on_ipv6(exposition):
    """The server listens on IPv6, and its URL has the address in brackets."""
    try:
        server = start_http_server(0, "::1", exposition)
    except OSError as exc:
        pytest.skip(f"no IPv6 here: {exc}")
    with server:
        assert server.url == f"http://[::1]:{server.port}/metrics"
        assert fetch(server.url)[0] == 200


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_leaves_the_port_to_its_parent(exposition):
    """A forked child neither serves nor keeps the port open, and can start another server."""
    result, report = os.pipe()
    waiting, go_on = os.pipe()
    with start_http_server(0, source=exposition) as server:
        pid = os.fork()
        if pid == 0:
            try:
                server.close()
                with start_http_server(0, source=exposition) as own:
                    os.write(report, str(fetch(own.url)[0]).encode())
                os.read(waiting, 1)
            finally:
                os._exit(0)
        try:
            assert os.read(result, 10) == b"200"
            assert fetch(server.url)[0] == 200
            port = server.port
            server.close()
            # The child is still running here, yet the port is free.
            start_http_server(port, source=exposition).close()
        finally:
            os.write(go_on, b"!")
            os.waitpid(pid, 0)
    for end in (result, report, waiting, go_on):
        os.close(end)


def test_a_client_that_goes_away_is_not_an_error(exposition, caplog):
    """A connection closed early by the client leaves nothing in the log."""
    with start_http_server(0, source=exposition) as server:
        for _ in range(3):
            connection = http.client.HTTPConnection("127.0.0.1", server.port)
            connection.request("GET", "/metrics")
            connection.close()
        assert fetch(server.url)[0] == 200
    assert caplog.records == []


OUT_OF_DESCRIPTORS = """
import contextlib, json, logging, os, resource, socket, time
from nanospan.export.prometheus import start_http_server

messages = []
class Collect(logging.Handler):
    def emit(self, record):
        messages.append(record.getMessage())
logging.getLogger("nanospan").addHandler(Collect())
logging.getLogger("nanospan").setLevel(logging.INFO)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
with start_http_server(0) as server, socket.socket() as client:
    client.settimeout(60)
    filled = []
    with contextlib.suppress(OSError):
        while True:
            filled.append(os.dup(0))
    client.connect(("127.0.0.1", server.port))
    client.sendall(b"GET /metrics HTTP/1.0\\r\\n\\r\\n")
    limit = time.monotonic() + 60
    while not messages and time.monotonic() < limit:
        time.sleep(0.01)
    before = time.process_time()
    time.sleep(1)
    spent = time.process_time() - before
    for descriptor in filled:
        os.close(descriptor)
    answer = client.recv(12).decode()
    limit = time.monotonic() + 60
    while len(messages) < 2 and time.monotonic() < limit:
        time.sleep(0.01)
print(json.dumps([spent, answer, messages]))
"""


def test_a_server_without_descriptors_rests_and_recovers():
    """If the process has no free descriptor, the server rests, logs this once, and serves later."""
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_DESCRIPTORS],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    spent, answer, messages = json.loads(done.stdout)
    assert spent < 0.3  # seconds of processor time in 1 s; a loop without rest takes most of it
    assert answer == "HTTP/1.0 200"
    assert len(messages) == 2
    assert "cannot serve a connection (OSError: [Errno 24]" in messages[0]
    assert "works again" in messages[1]
    assert not done.stderr


def test_a_server_that_cannot_start_threads_rests_and_recovers(exposition, caplog, monkeypatch):
    """If no thread can start, connections are closed, with one log entry, until one can."""
    monkeypatch.setattr(server_module, "REST", 0.01)
    refused, start = [], threading.Thread.start

    def refuse(thread):
        if threading.current_thread().name != "nanospan-metrics":
            return start(thread)
        refused.append(thread)
        raise RuntimeError("can't start new thread")

    with start_http_server(0, source=exposition) as server:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            for _ in range(3):
                with pytest.raises(OSError):
                    fetch(server.url)
        assert len(refused) == 3
        with caplog.at_level(logging.INFO, "nanospan"):
            assert fetch(server.url)[0] == 200
    failed, works = caplog.messages
    assert "(RuntimeError: can't start new thread)" in failed
    assert "works again" in works


def test_a_client_that_does_not_read_is_cut_off(monitor, monkeypatch):
    """A client that does not read its response loses its connection when the time is up."""
    monkeypatch.setattr(server_module, "SEND_TIMEOUT", 0.3)
    chunk, ended = bytes(65_536), threading.Event()

    class Endless(Exposition):
        def encode(self, _format):
            return Body()

    class Body:
        def __len__(self):
            return 1 << 40

        def __iter__(self):
            try:
                while True:
                    yield chunk
            finally:
                ended.set()

        def close(self):
            pass

    with (
        start_http_server(0, source=Endless(monitor)) as server,
        socket.create_connection(("127.0.0.1", server.port)) as client,
    ):
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert ended.wait(60)


@pytest.mark.parametrize("interrupted", ["start", "close"])
def test_a_signal_handler_may_use_servers_amid_their_use(exposition, interrupted, monkeypatch):
    """A handler that interrupts any line may start and close servers, the same one too."""
    monkeypatch.setattr(server_module, "POLL", 0.005)
    servers = []

    def handler():
        for server in servers:
            repr(server)
            server.close()
        with start_http_server(0, source=exposition):
            pass

    amid = AmidEveryLine(handler)
    while amid.was_amid:
        servers.clear()
        if interrupted == "start":
            with amid:
                servers.append(start_http_server(0, source=exposition))
        else:
            servers.append(start_http_server(0, source=exposition))
            with amid:
                servers[0].close()
        servers[0].close()
        assert "closed" in repr(servers[0])
        assert not [t for t in threading.enumerate() if t.name == "nanospan-metrics"]
