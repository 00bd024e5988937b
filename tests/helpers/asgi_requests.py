"""A helper that sends requests to ASGI applications without a server."""

import asyncio

from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse

from nanospan.integrations.asgi import NanospanMiddleware


def http_scope(path, method="GET", root_path=""):
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": root_path + path,
        "raw_path": (root_path + path).encode(),
        "query_string": b"",
        "root_path": root_path,
        "headers": [(b"host", b"eu.example.org")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
    }


async def request(app, path, method="GET", root_path=""):
    """Send one request to an ASGI application; return the response's status and body."""
    sent = []
    incoming = [{"type": "http.request", "body": b"", "more_body": False}]
    answered = asyncio.Event()

    async def receive():
        if incoming:
            return incoming.pop()
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            answered.set()

    await app(http_scope(path, method, root_path), receive, send)
    body = b"".join(m.get("body", b"") for m in sent if m["type"] == "http.response.body")
    return sent[0]["status"], body


class Copying:
    """A middleware that passes on a copy of the scope, so the route is not visible outside it."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app({**scope}, receive, send)


def answer(_request):
    return PlainTextResponse("answer")


def middleware(monitor, **options):
    return [Middleware(NanospanMiddleware, monitor, **options)]


def counts(monitor):
    return {operation: stats.count for operation, stats in monitor.get_all_stats().items()}


def only_sample(monitor, operation):
    [sample] = monitor.export_metrics(operation)[operation]
    return sample
