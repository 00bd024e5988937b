"""ASGI and WSGI applications that serve a monitor's metrics to Prometheus."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from nanospan.export.prometheus.exposition import Exposition
from nanospan.export.prometheus.response import METRICS_PATH, Request, respond

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping
    from typing import TypeAlias
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from nanospan.export.prometheus.response import Response
    from nanospan.recorder import Recorder

    Message: TypeAlias = MutableMapping[str, Any]
    Receive: TypeAlias = Callable[[], Awaitable[Message]]
    Send: TypeAlias = Callable[[Message], Awaitable[None]]


def metrics_app(
    source: Recorder | Exposition | None = None, *, path: str = METRICS_PATH
) -> MetricsApp:
    """Return an ASGI application that serves a monitor's metrics to Prometheus.

    For each scrape, a separate thread takes a snapshot and encodes it, without holding the GIL and,
    on Linux, at a lower priority than the event loop's thread. All that the event loop does is send
    the result, in pieces of 64 KiB. Serve the application on its own, or add it to another one:

    ```python
    Starlette(routes=[Route("/metrics", metrics_app())])
    fastapi_app.add_route("/metrics", metrics_app())
    ```

    A mounted application (``app.mount``) works too, but Starlette redirects ``/metrics`` to
    ``/metrics/`` for it.

    Args:
        source: A monitor, or an :class:`Exposition` of one; the process-wide monitor by default.
        path: The path that serves the metrics, with or without a trailing slash. The metrics are
            also at ``/``, the path of a mounted application, and wherever a route of Starlette
            leads to the application. Other paths get a 404.

    Returns:
        An application for asyncio servers. It answers the messages of the lifespan protocol,
        although it has nothing to start or stop.
    """
    return MetricsApp(exposition_of(source), path)


NICENESS = 10
"""Niceness added to the thread that serves a scrape.

With this niceness, the thread gets 10 % of a core that it shares with one busy thread.
"""


SEND_TIMEOUT = 30.0
"""Maximum time for a client to receive a response, in seconds."""


def _lower_priority() -> None:
    """Lower this thread's priority, so that other threads need not wait for it."""
    if sys.platform == "linux":  # on other systems, os.nice applies to the whole process
        with contextlib.suppress(OSError):  # a sandbox may forbid it
            os.nice(NICENESS)


class MetricsApp:
    """The ASGI application that :func:`metrics_app` returns."""

    # This is a class rather than a function, because Starlette's Route treats functions as request
    # handlers.

    def __init__(self, exposition: Exposition, path: str) -> None:
        self._exposition = exposition
        self._path = path

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection: an HTTP request, a WebSocket or the lifespan protocol."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "http":
            await self._http(scope, send)

    async def _http(self, scope: Message, send: Send) -> None:
        accept, accept_encoding = (
            ",".join(value.decode("latin-1") for name, value in scope["headers"] if name == key)
            for key in (b"accept", b"accept-encoding")
        )
        path = self._path if self._is_routed(scope) else _path_below_mount(scope)
        request = Request(scope["method"], path, accept, accept_encoding)
        # Each scrape gets a new thread, because a shared thread would keep the lower priority.
        executor = ThreadPoolExecutor(1, "nanospan-scrape", _lower_priority)
        try:
            response = await asyncio.get_running_loop().run_in_executor(
                executor, respond, self._exposition, self._path, request
            )
            try:
                # A client that does not read must not keep the thread.
                await asyncio.wait_for(_send(response, send), SEND_TIMEOUT)
            except asyncio.TimeoutError:
                pass  # the server closes the connection, because the response is not complete
            finally:
                executor.submit(response.close)
        finally:
            executor.shutdown(wait=False)

    def _is_routed(self, scope: Message) -> bool:
        """Return whether a route of Starlette, rather than a mount, has chosen this application."""
        if scope.get("endpoint") is not self:
            return False
        if (route := scope.get("route")) is not None:
            return not hasattr(route, "routes")  # a mount has routes
        # FastAPI does not name a route that it did not make itself.
        routes = getattr(scope.get("app"), "routes", ())
        if any(getattr(each, "endpoint", None) is self for each in routes):
            return True
        root_path = scope.get("root_path", "")
        return bool(scope.get("app_root_path", root_path) == root_path)


def _path_below_mount(scope: Message) -> str:
    """Return a request's path relative to the mount; some frameworks leave the prefix in place."""
    path: str = scope["path"]
    root_path = scope.get("root_path", "")
    below = path.removeprefix(root_path)
    return below if below[:1] in {"", "/"} else path


async def _send(response: Response, send: Send) -> None:
    headers = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in response.headers]
    status = int(response.status[:3])
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for piece in response.body:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0)  # let other tasks run even if send() never waits
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def metrics_wsgi_app(
    source: Recorder | Exposition | None = None, *, path: str = METRICS_PATH
) -> WSGIApplication:
    """Return a WSGI application that serves a monitor's metrics to Prometheus.

    The metrics are encoded without holding the GIL.

    Args:
        source: A monitor, or an :class:`Exposition` of one; the process-wide monitor by default.
        path: The path that serves the metrics, with or without a trailing slash. The metrics are
            also at ``/``, the path of a mounted application. Other paths get a 404.
    """
    exposition = exposition_of(source)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(
            environ["REQUEST_METHOD"],
            environ.get("PATH_INFO", ""),
            environ.get("HTTP_ACCEPT", ""),
            environ.get("HTTP_ACCEPT_ENCODING", ""),
        )
        response = respond(exposition, path, request)
        start_response(response.status, response.headers)
        return response.body

    return app


def exposition_of(source: Recorder | Exposition | None) -> Exposition:
    """Return ``source`` if it is an ``Exposition``, otherwise a new one of the given monitor."""
    return source if isinstance(source, Exposition) else Exposition(source)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return
