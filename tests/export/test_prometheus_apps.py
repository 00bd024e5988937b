"""Tests for the ASGI and WSGI applications that serve the exposition."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import itertools
import os
import sys
import threading
from wsgiref.validate import validator

import pytest
import uvicorn
from asgi_requests import request
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from nanospan.export.prometheus import Exposition, apps, metrics_app, metrics_wsgi_app

OPENMETRICS = {"Accept": "application/openmetrics-text"}


class ThreadRecordingExposition(Exposition):
    """An exposition that records which thread took its snapshot, and that thread's niceness."""

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
    """Send one ASGI request and return the status, headers and body."""
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


class TestASGI:
    async def test_a_scrape_is_answered_by_another_thread(self, exposition):
        """The snapshot is taken and encoded by a thread other than the event loop's."""
        status, headers, body = await _request(metrics_app(exposition))
        assert status == 200
        assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert int(headers["content-length"]) == len(body)
        assert b'operation="op"' in body
        assert exposition.thread not in {None, threading.get_ident()}

    @pytest.mark.skipif(sys.platform != "linux", reason="needs a niceness per thread")
    async def test_a_scrape_lets_the_other_threads_go_first(self, exposition):
        """A scrape's thread has a lower priority; the priority of other threads is unchanged."""
        usual = os.getpriority(os.PRIO_PROCESS, 0)
        await _request(metrics_app(exposition))
        assert exposition.niceness > min(usual, 18)
        assert os.getpriority(os.PRIO_PROCESS, 0) == usual
        assert await asyncio.to_thread(os.getpriority, os.PRIO_PROCESS, 0) == usual

    async def test_no_thread_outlives_its_scrape(self, exposition):
        """A scrape's thread ends once the scrape has been answered or cancelled half-way."""
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
            pytest.fail("a scrape's thread is still alive")

    async def test_a_client_that_does_not_read_keeps_no_thread(self, exposition, monkeypatch):
        """A response that is not received in time is given up, and its thread ends."""
        monkeypatch.setattr(apps, "SEND_TIMEOUT", 0.05)

        async def never(message):
            await asyncio.Event().wait()

        scope = {"type": "http", "method": "GET", "path": "/metrics", "headers": []}
        await asyncio.wait_for(metrics_app(exposition)(scope, None, never), 30)
        for thread in threading.enumerate():
            if thread.name.startswith("nanospan-scrape"):
                await asyncio.to_thread(thread.join, 30)
                assert not thread.is_alive()

    async def test_accept_and_accept_encoding_are_honoured(self, exposition):
        """The response has the format and content coding that the client asked for."""
        status, headers, body = await _request(
            metrics_app(exposition), accept="application/openmetrics-text", accept_encoding="gzip"
        )
        assert (status, headers["content-encoding"]) == (200, "gzip")
        assert headers["vary"] == "Accept, Accept-Encoding"
        assert int(headers["content-length"]) == len(body)
        assert gzip.decompress(body).endswith(b"# EOF\n")

    @pytest.mark.parametrize(
        ("path", "root_path"),
        [
            ("/metrics", ""),
            ("/metrics/", ""),
            ("/", ""),
            ("", ""),
            ("/m", "/m"),
            ("/m/", "/m"),
            ("/m/metrics", "/m"),
            ("/metrics", "/m"),
            ("http://example.org/metrics", ""),
            ("HTTPS://[::1]:443/metrics/", ""),
        ],
    )
    async def test_a_mounted_application_answers(self, exposition, path, root_path):
        """An app answers at its path or mount, with or without a prefix or a trailing slash."""
        status, *_ = await _request(metrics_app(exposition), path=path, root_path=root_path)
        assert status == 200

    @pytest.mark.parametrize("path", ["/metrics/x", "/m", "http://example.org/x", "/metricsx"])
    async def test_a_path_that_only_resembles_the_mount_is_not_found(self, exposition, path):
        """A path that merely begins like the app's path or its mount gets a 404."""
        status, *_ = await _request(metrics_app(exposition), path=path, root_path="/metri")
        assert status == 404

    async def test_nothing_acceptable_is_a_406(self, exposition):
        """If the client refuses every format or coding, the response is a 406 that lists them."""
        for refusal in ({"accept": "*/*;q=0"}, {"accept_encoding": "identity;q=0"}):
            status, headers, body = await _request(metrics_app(exposition), **refusal)
            assert (status, headers["vary"]) == (406, "Accept, Accept-Encoding")
            assert b"codings gzip and identity" in body

    async def test_other_paths_are_not_found(self, exposition):
        """The 404 response for any other path names the path of the metrics."""
        status, _, body = await _request(metrics_app(exposition, path="/prom"), path="/metrics")
        assert (status, body) == (404, b"Metrics are at /prom.\n")
        assert (await _request(metrics_app(exposition, path="/prom"), path="/prom"))[0] == 200

    async def test_only_get_and_head_are_allowed(self, exposition):
        """Other methods get a 405 that lists both; HEAD has the headers of GET without a body."""
        for method in ("POST", "TRACE", "BREW", "get"):
            status, headers, _ = await _request(metrics_app(exposition), method=method)
            assert (status, headers["allow"]) == (405, "GET, HEAD")
        status, headers, body = await _request(metrics_app(exposition), method="HEAD")
        assert (status, body) == (200, b"")
        assert int(headers["content-length"]) == len((await _request(metrics_app(exposition)))[2])

    async def test_the_lifespan_protocol_is_answered(self, exposition):
        """The application confirms lifespan startup and shutdown."""
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
        """A scrape cancelled by a client's disconnection does not affect later scrapes."""
        app = metrics_app(exposition)
        scrape = asyncio.ensure_future(_request(app))
        await asyncio.sleep(0)
        scrape.cancel()
        with pytest.raises(asyncio.CancelledError):
            await scrape
        assert (await _request(app))[0] == 200

    async def test_it_works_in_fastapi_behind_uvicorn(self, exposition):
        """The app works in FastAPI on a real server, whether mounted or added as a route."""
        app = FastAPI()
        app.mount("/mounted", metrics_app(exposition))
        app.add_route("/metrics", metrics_app(exposition))
        app.add_route("/elsewhere/{tenant}", metrics_app(exposition))
        async with _served(app) as address:
            for path in ("/metrics", "/elsewhere/one", "/mounted/"):
                status, content_type, body = await asyncio.to_thread(_get, address, path)
                assert (status, content_type.split(";")[0]) == (200, OPENMETRICS["Accept"])
                assert body.endswith(b"# EOF\n")
            # Starlette redirects these, before the application sees them.
            for path in ("/metrics/", "/mounted"):
                status, *_ = await asyncio.to_thread(_get, address, path)
                assert status == 307
            status, _, body = await asyncio.to_thread(_get, address, "/metrics", "HEAD")
            assert (status, body) == (200, b"")
            for path, method in itertools.product(("/metrics", "/mounted/"), ("TRACE", "BREW")):
                assert (await asyncio.to_thread(_get, address, path, method))[0] == 405

    async def test_the_routes_of_starlette_lead_to_it(self, exposition):
        """The app works as a route of Starlette, also of a mounted application."""
        inner = Starlette(routes=[Route("/metrics", metrics_app(exposition))])
        outer = Starlette(routes=[Mount("/sub", inner), Route("/prom", metrics_app(exposition))])
        for path in ("/prom", "/sub/metrics"):
            assert (await request(outer, path))[0] == 200

    async def test_a_route_in_a_mount_leads_to_it_and_a_mount_does_not_hide_paths(self, exposition):
        """A route in a mounted application answers at any path, a mount at the root at its own."""
        inner = FastAPI()
        inner.add_route("/internal/prom", metrics_app(exposition))
        outer = FastAPI()
        outer.mount("/api", inner)
        inner.mount("/mounted", metrics_app(exposition))
        assert (await request(outer, "/api/internal/prom"))[0] == 200
        assert (await request(outer, "/api/mounted/metrics"))[0] == 200
        assert (await request(outer, "/api/mounted/x"))[0] == 404
        nested = Starlette(routes=[Route("/m", metrics_app(exposition))])
        assert (await request(Starlette(routes=[Mount("/x", nested)]), "/x/m"))[0] == 200
        root = Starlette(routes=[Mount("/", metrics_app(exposition))])
        statuses = [(await request(root, path))[0] for path in ("/metrics", "/admin/secret")]
        assert statuses == [200, 404]

    async def test_a_request_in_absolute_form_is_answered(self, exposition):
        """A request line with a whole URL is answered behind a real server."""
        async with _served(metrics_app(exposition)) as address:
            for path in (f"http://{address}/metrics", "http://example.org/", "/metrics/"):
                assert (await asyncio.to_thread(_get, address, path))[0] == 200
            assert (await asyncio.to_thread(_get, address, f"http://{address}/x"))[0] == 404


@contextlib.asynccontextmanager
async def _served(app):
    """Serve an app with uvicorn and h11 until the block ends; yield its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, http="h11", log_level="error"))
    serving = asyncio.ensure_future(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    host, port = server.servers[0].sockets[0].getsockname()
    yield f"{host}:{port}"
    server.should_exit = True
    await serving


def _get(address, target, method="GET"):
    """Send a request, without following redirects; return the status, content type and body."""
    connection = http.client.HTTPConnection(address, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, target, headers=OPENMETRICS)
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Content-Type", ""), answer.read()


def test_wsgi_follows_the_protocol(exposition):
    """``wsgiref.validate`` accepts the responses to GET, HEAD, a wrong path and a wrong method."""
    app = validator(metrics_wsgi_app(exposition))
    for method, path, expected in (
        ("GET", "/metrics", "200 OK"),
        ("HEAD", "/metrics", "200 OK"),
        ("GET", "/metrics/", "200 OK"),
        ("GET", "/", "200 OK"),
        ("GET", "", "200 OK"),
        ("GET", "/other", "404 Not Found"),
        ("DELETE", "/metrics", "405 Method Not Allowed"),
        ("TRACE", "/metrics", "405 Method Not Allowed"),
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


def test_wsgi_answers_requests_in_absolute_form(exposition):
    """Some servers leave a request's whole URL in ``PATH_INFO``; such requests are answered too."""
    app = metrics_wsgi_app(exposition)
    started = []
    for path in ("http://example.org/metrics", "http://example.org/other"):
        environ = _environ("GET", path)
        b"".join(app(environ, lambda status, _: started.append(status)))
    assert started == ["200 OK", "404 Not Found"]


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
