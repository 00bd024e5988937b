"""Requests to the ASGI and WSGI applications for metrics, with any scope."""

from __future__ import annotations

import asyncio
from typing import Any

from nanospan import PerformanceMonitor
from nanospan.export.prometheus.apps import metrics_app, metrics_wsgi_app
from nanospan_fuzz.inputs import as_object

IS_JSON = True
MONITOR = PerformanceMonitor()
APP = metrics_app(MONITOR)
WSGI = metrics_wsgi_app(MONITOR)
LOOP = asyncio.new_event_loop()


def target(data: bytes) -> None:
    """Any request that a server may pass on gets an answer with a known status."""
    given = as_object(data)
    scope = scope_of(given)
    sent: list[dict[str, Any]] = []
    LOOP.run_until_complete(_call(scope, sent))
    assert sent[0]["status"] in {200, 404, 405, 406}
    assert not sent[-1]["more_body"]
    status: list[str] = []
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    environ = {
        "REQUEST_METHOD": scope["method"],
        "PATH_INFO": scope["path"],
        "HTTP_ACCEPT": headers.get(b"accept", ""),
        "HTTP_ACCEPT_ENCODING": headers.get(b"accept-encoding", ""),
    }
    body = WSGI(environ, lambda given, _headers: status.append(given))  # type: ignore[arg-type]  # two arguments do
    assert all(isinstance(piece, bytes) for piece in body)
    assert status[0][:3] in {"200", "404", "405", "406"}


def scope_of(given: dict[str, Any]) -> dict[str, Any]:
    """Return an ASGI scope with texts of an input where a server has those of a request."""
    headers = given.get("headers")
    pairs = headers.items() if isinstance(headers, dict) else ()
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "http",
        "method": _text(given.get("method", "GET")),
        "path": _text(given.get("path", "/metrics")),
        "raw_path": _text(given.get("path", "")).encode(),
        "query_string": str(given.get("query", "")).encode("latin-1", "replace"),
        "root_path": _text(given.get("root_path", "")),
        "headers": [
            (
                str(name).lower().encode("latin-1", "replace"),
                str(value).encode("latin-1", "replace"),
            )
            for name, value in pairs
        ],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
    }


def _text(value: object) -> str:
    """Return a text without lone surrogates, which no server finds in a request."""
    return str(value).encode("utf-8", "replace").decode()


async def _call(scope: dict[str, Any], sent: list[dict[str, Any]]) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await APP(scope, receive, send)
