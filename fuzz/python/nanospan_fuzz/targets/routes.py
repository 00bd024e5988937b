"""Names of operations for HTTP requests, found among the routes of an application."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from nanospan import PerformanceMonitor
from nanospan.integrations.asgi import NanospanMiddleware
from nanospan_fuzz.inputs import as_object
from nanospan_fuzz.targets.asgi_requests import scope_of

IS_JSON = True
LOOP = asyncio.new_event_loop()


def _answer(_request: object) -> PlainTextResponse:
    return PlainTextResponse("answer")


ROUTES = [
    Route("/users/{user}", _answer),
    Route("/files/{path:path}", _answer, methods=["GET", "POST"]),
    Route("/numbers/{number:int}/{ratio:float}", _answer),
    Mount("/teams/{team}", routes=[Route("/users/{user}", _answer), Route("/", _answer)]),
]
TEMPLATES = {
    "/users/{user}",
    "/files/{path}",
    "/files/{path:path}",
    "/numbers/{number:int}/{ratio:float}",
    "/numbers/{number}/{ratio}",
    "/teams/{team}/users/{user}",
    "/teams/{team}/",
    "/teams/{team}/{path}",
    "(unmatched)",
}
METHODS = {
    *("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"),
    "_OTHER",
}
MONITOR = PerformanceMonitor()


class _Copying:
    """Passes on a copy of the scope, which hides the route from what is outside."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app({**scope}, receive, send)


STARLETTE = Starlette(routes=ROUTES)
APPS = [
    NanospanMiddleware(STARLETTE, MONITOR, exclude=["/health"]),
    NanospanMiddleware(_Copying(STARLETTE), MONITOR),
]


def target(data: bytes) -> None:
    """No request creates an operation that is not a method and a route's template."""
    given = as_object(data)
    for app in APPS:
        LOOP.run_until_complete(_call(app, scope_of(given)))
    for name in MONITOR.snapshot().operations:
        method, _, template = name.partition(" ")
        assert method in METHODS, name
        assert template in TEMPLATES, name


async def _call(app: NanospanMiddleware, scope: dict[str, Any]) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_message: Any) -> None:
        pass

    await app(scope, receive, send)
