"""The exposition over HTTP: as ASGI and WSGI applications, and from nanospan's server."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import logging
import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from wsgiref.validate import validator

import pytest
import uvicorn
from fastapi import FastAPI

from nanospan.export.prometheus import Exposition, metrics_app, metrics_wsgi_app, start_http_server
from nanospan.export.prometheus import server as server_module
from nanospan.export.prometheus.server import MAX_CONNECTIONS

OPENMETRICS = {"Accept": "application/openmetrics-text"}


class ThreadRecordingExposition(Exposition):
    """Remembers which thread took the snapshot, and that thread's niceness."""

    thread: int | None = None
    niceness: int | None = None

    def snapshots(self):
        self.thread = threading.get_ident()
        self.niceness = os.getpriority(os.PRIO_PROCESS, 0)
        return super().snapshots()


@pytest.fixture
def exposition(monitor) -> ThreadRecordingExposition:
    monitor.record_metric("op", 0.1)
    return ThreadRecordingExposition(monitor)


async def _request(app, method="GET", path="/metrics", root_path="", **headers):
    """Return status, headers and body of one ASGI request."""
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": root_path,
        "headers": [(k.replace("_", "-").lower().encode(), v.encode()) for k, v in headers.items()],
    }
    sent = []

    async def send(message):
        sent.append(message)

    await app(scope, None, send)
    start, *body = sent
    assert [message["more_body"] for message in body] == [True] * (len(body) - 1) + [False]
    content = b"".join(message["body"] for message in body)
    return start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, content


def _fetch(url, method="GET", **headers):
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.status, error.headers, error.read()


class TestASGI:
    async def test_a_scrape_is_answered_by_another_thread(self, exposition):
        """The event loop's thread neither takes the snapshot nor encodes it."""
        status, headers, body = await _request(metrics_app(exposition))
        assert status == 200
        assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert int(headers["content-length"]) == len(body)
        assert b'operation="op"' in body
        assert exposition.thread not in {None, threading.get_ident()}

    @pytest.mark.skipif(sys.platform != "linux", reason="niceness is a thread's on Linux only")
    async def test_a_scrape_lets_the_other_threads_go_first(self, exposition):
        """The scrape's thread has a lower priority, and that of other threads is unchanged."""
        usual = os.getpriority(os.PRIO_PROCESS, 0)
        await _request(metrics_app(exposition))
        assert exposition.niceness > min(usual, 18)
        assert os.getpriority(os.PRIO_PROCESS, 0) == usual
        assert await asyncio.to_thread(os.getpriority, os.PRIO_PROCESS, 0) == usual

    async def test_no_thread_outlives_its_scrape(self, exposition):
        """A scrape's thread ends when the scrape is answered or cancelled half-way."""
        sending = asyncio.Event()

        async def never(message):
            sending.set()
            await asyncio.Event().wait()

        app = metrics_app(exposition)
        await _request(app)
        scope = {"type": "http", "method": "GET", "path": "/metrics", "headers": []}
        stuck = asyncio.create_task(app(scope, None, never))
        await asyncio.wait_for(sending.wait(), 30)
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck
        for _ in range(1000):
            if not [t for t in threading.enumerate() if t.name.startswith("nanospan-scrape")]:
                break
            await asyncio.sleep(0.01)
        else:
            pytest.fail("a thread is left")

    async def test_accept_and_accept_encoding_are_honoured(self, exposition):
        """The answer has the format and content coding that the client asked for."""
        status, headers, body = await _request(
            metrics_app(exposition), accept="application/openmetrics-text", accept_encoding="gzip"
        )
        assert (status, headers["content-encoding"]) == (200, "gzip")
        assert headers["vary"] == "Accept, Accept-Encoding"
        assert int(headers["content-length"]) == len(body)
        assert gzip.decompress(body).endswith(b"# EOF\n")

    @pytest.mark.parametrize(
        ("path", "root_path"),
        [("/metrics", ""), ("/", ""), ("", ""), ("/m", "/m"), ("/m/", "/m"), ("/m/metrics", "/m")],
    )
    async def test_a_mounted_application_answers(self, exposition, path, root_path):
        """It answers whether or not a framework keeps the mount's prefix in the path."""
        status, *_ = await _request(metrics_app(exposition), path=path, root_path=root_path)
        assert status == 200

    async def test_other_paths_are_not_found(self, exposition):
        """A 404 says where the metrics are."""
        status, _, body = await _request(metrics_app(exposition, path="/prom"), path="/metrics")
        assert (status, body) == (404, b"Metrics are at /prom.\n")
        assert (await _request(metrics_app(exposition, path="/prom"), path="/prom"))[0] == 200

    async def test_only_get_and_head_are_allowed(self, exposition):
        """A 405 names the allowed methods; HEAD gets the headers of GET without a body."""
        status, headers, _ = await _request(metrics_app(exposition), method="POST")
        assert (status, headers["allow"]) == (405, "GET, HEAD")
        status, headers, body = await _request(metrics_app(exposition), method="HEAD")
        assert (status, body) == (200, b"")
        assert int(headers["content-length"]) == len((await _request(metrics_app(exposition)))[2])

    async def test_the_lifespan_protocol_is_answered(self, exposition):
        """The application confirms startup and shutdown."""
        events = iter(["lifespan.startup", "lifespan.shutdown"])
        sent = []

        async def receive():
            return {"type": next(events)}

        async def send(message):
            sent.append(message["type"])

        await metrics_app(exposition)({"type": "lifespan"}, receive, send)
        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    async def test_a_websocket_is_closed(self, exposition):
        """A WebSocket connection is closed at once."""
        sent = []

        async def send(message):
            sent.append(message["type"])

        await metrics_app(exposition)({"type": "websocket"}, None, send)
        assert sent == ["websocket.close"]

    async def test_a_cancelled_scrape_leaves_the_app_usable(self, exposition):
        """A client that goes away cancels only its own request."""
        app = metrics_app(exposition)
        scrape = asyncio.ensure_future(_request(app))
        await asyncio.sleep(0)
        scrape.cancel()
        with pytest.raises(asyncio.CancelledError):
            await scrape
        assert (await _request(app))[0] == 200

    async def test_it_works_in_fastapi_behind_uvicorn(self, exposition):
        """Mounted or added as a route in FastAPI, it answers behind a real server."""
        app = FastAPI()
        app.mount("/metrics", metrics_app(exposition))
        app.add_route("/direct", metrics_app(exposition, path="/direct"))
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        serving = asyncio.ensure_future(server.serve())
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        host, port = server.servers[0].sockets[0].getsockname()
        for path in ("/metrics", "/metrics/", "/direct"):
            url = f"http://{host}:{port}{path}"
            status, headers, body = await asyncio.to_thread(_fetch, url, **OPENMETRICS)
            assert (status, headers["content-type"].split(";")[0]) == (200, OPENMETRICS["Accept"])
            assert body.endswith(b"# EOF\n")
        server.should_exit = True
        await serving


def test_wsgi_follows_the_protocol(exposition):
    """``wsgiref.validate`` accepts the answers to GET, HEAD, a wrong path and a wrong method."""
    app = validator(metrics_wsgi_app(exposition))
    for method, path, expected in (
        ("GET", "/metrics", "200 OK"),
        ("HEAD", "/metrics", "200 OK"),
        ("GET", "/other", "404 Not Found"),
        ("DELETE", "/metrics", "405 Method Not Allowed"),
    ):
        environ = _environ(method, path)
        started = []
        answer = app(
            environ, lambda status, headers, _=None, s=started: s.extend([status, headers])
        )
        body = b"".join(answer)
        answer.close()
        assert started[0] == expected
        assert bool(body) is (method != "HEAD")


def _environ(method, path):
    import io
    import sys

    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


class TestServer:
    def test_it_serves_until_it_is_closed(self, exposition):
        """The handle has port and URL; closing it frees the port and ends the thread."""
        with start_http_server(0, source=exposition) as server:
            assert server.url == f"http://127.0.0.1:{server.port}/metrics"
            status, headers, body = _fetch(server.url, **{"Accept-Encoding": "gzip"})
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
            ("GET", "/x", 404),
            ("POST", "/metrics", 405),
            ("HEAD", "/metrics", 200),
            ("BREW", "/metrics", 501),
        ],
    )
    def test_only_scrapes_are_answered(self, exposition, method, path, status):
        """Other paths get a 404, other methods a 405, and unknown methods a 501."""
        with start_http_server(0, source=exposition) as server:
            found, _, body = _fetch(f"http://127.0.0.1:{server.port}{path}", method)
            assert found == status
            assert bool(body) is (method != "HEAD")

    def test_a_silent_client_does_not_block_concurrent_scrapes(self, exposition):
        """Concurrent scrapes are answered while another client sends nothing."""
        with start_http_server(0, source=exposition) as server:
            with socket.create_connection(("127.0.0.1", server.port)):
                results = []
                threads = [
                    threading.Thread(target=lambda: results.append(_fetch(server.url)[0]))
                    for _ in range(8)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            assert results == [200] * 8

    def test_clients_beyond_the_limit_are_closed(self, exposition):
        """With silent clients on all threads, one more is closed until one of them leaves."""
        with start_http_server(0, source=exposition) as server, contextlib.ExitStack() as stack:
            address = ("127.0.0.1", server.port)
            silent = [
                stack.enter_context(socket.create_connection(address))
                for _ in range(MAX_CONNECTIONS)
            ]
            with socket.create_connection(address) as refused:
                assert refused.recv(1) == b""
            silent[0].close()
            deadline = time.monotonic() + 60
            while True:
                try:
                    assert _fetch(server.url)[0] == 200
                    break
                except OSError:
                    assert time.monotonic() < deadline

    def test_a_request_that_never_ends_is_closed(self, exposition, monkeypatch):
        """A client that sends a byte now and then is closed once the time limit has passed."""
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
            assert _fetch(server.url)[0] == 200

    def test_garbage_is_answered_with_an_error(self, exposition):
        """Input that is not HTTP gets a 400, and the server keeps answering."""
        with start_http_server(0, source=exposition) as server:
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                client.sendall(b"\xff\x00 garbage here\r\n\r\n")
                assert b"400" in client.recv(1000)
            assert _fetch(server.url)[0] == 200

    def test_a_failing_exposition_is_a_500_and_logged(self, monitor, caplog):
        """The scraper gets a 500, the log holds the cause, and the server keeps answering."""

        class Failing(Exposition):
            def snapshots(self):
                raise ZeroDivisionError("broken")

        with (
            start_http_server(0, source=Failing(monitor)) as server,
            caplog.at_level(logging.ERROR, "nanospan"),
        ):
            assert _fetch(server.url)[0] == 500
            assert _fetch(server.url)[0] == 500
        assert "ZeroDivisionError: broken" in caplog.text

    def test_an_address_that_cannot_be_used_is_named(self, exposition):
        """The error names the address and port that are taken, unknown or out of range."""
        with (
            start_http_server(0, source=exposition) as server,
            pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {server.port}: "),
        ):
            start_http_server(server.port)
        with pytest.raises(OSError, match=r"cannot listen on no\.such\.host\.invalid port 0: "):
            start_http_server(0, "no.such.host.invalid")
        with pytest.raises(ValueError, match="from 0 to 65535, got 65536"):
            start_http_server(65536)

    def test_it_listens_on_ipv6(self, exposition):
        """An IPv6 address appears in the URL in brackets."""
        try:
            server = start_http_server(0, "::1", exposition)
        except OSError as exc:
            pytest.skip(f"no IPv6 here: {exc}")
        with server:
            assert server.url == f"http://[::1]:{server.port}/metrics"
            assert _fetch(server.url)[0] == 200

    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
    def test_a_forked_child_leaves_the_port_to_its_parent(self, exposition):
        """The child neither serves nor keeps the port, and can start another server."""
        result, report = os.pipe()
        waiting, go_on = os.pipe()
        with start_http_server(0, source=exposition) as server:
            pid = os.fork()
            if pid == 0:
                try:
                    server.close()
                    with start_http_server(0, source=exposition) as own:
                        os.write(report, str(_fetch(own.url)[0]).encode())
                    os.read(waiting, 1)
                finally:
                    os._exit(0)
            try:
                assert os.read(result, 10) == b"200"
                assert _fetch(server.url)[0] == 200
                port = server.port
                server.close()
                # The child still runs here, and the port is free nevertheless.
                start_http_server(port, source=exposition).close()
            finally:
                os.write(go_on, b"!")
                os.waitpid(pid, 0)
        for end in (result, report, waiting, go_on):
            os.close(end)

    def test_a_client_that_goes_away_is_not_an_error(self, exposition, caplog):
        """A connection that the client closes early leaves nothing in the log."""
        with start_http_server(0, source=exposition) as server:
            for _ in range(3):
                connection = http.client.HTTPConnection("127.0.0.1", server.port)
                connection.request("GET", "/metrics")
                connection.close()
            assert _fetch(server.url)[0] == 200
        assert caplog.records == []
