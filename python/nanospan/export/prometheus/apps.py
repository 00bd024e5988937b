"""ASGI and WSGI applications that answer scrapes."""

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
    """Return an ASGI application that answers scrapes.

    Each scrape's snapshot is taken and encoded in a separate thread, without the GIL and, on Linux,
    at a lower priority than the event loop's. The event loop only sends the result in pieces of
    64 KiB. Mount the application in another, or serve it alone:

    ```python
    app.mount("/metrics", metrics_app())  # Starlette, FastAPI
    ```

    Args:
        source: A monitor, or an :class:`Exposition` of one; the process-wide monitor by default.
        path: The path of the metrics if the application is not mounted; other paths get a 404.

    Returns:
        An application for asyncio servers. It also answers the lifespan protocol, although it has
        nothing to start or stop.
    """
    return MetricsApp(exposition_of(source), path)


NICENESS = 10
"""Niceness added to a scrape's thread: competing with one busy thread, it gets 10 % of a core."""


def _lower_priority() -> None:
    """Lower this thread's priority, so that other threads preempt it rather than wait for it."""
    if sys.platform == "linux":  # elsewhere, this would apply to the whole process
        with contextlib.suppress(OSError):  # a sandbox may forbid it
            os.nice(NICENESS)


class MetricsApp:
    """The ASGI application that :func:`metrics_app` returns."""

    # A class rather than a function, because Starlette's Route treats functions as request
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
        # Frameworks differ in whether the path still includes the mount's prefix.
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        request = Request(scope["method"], path, accept, accept_encoding)
        # Each scrape gets a new thread, because a lower priority would persist in a shared one.
        executor = ThreadPoolExecutor(1, "nanospan-scrape", _lower_priority)
        try:
            response = await asyncio.get_running_loop().run_in_executor(
                executor, respond, self._exposition, self._path, request
            )
            try:
                await _send(response, send)
            finally:
                executor.submit(response.close)
        finally:
            executor.shutdown(wait=False)


async def _send(response: Response, send: Send) -> None:
    headers = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in response.headers]
    status = int(response.status[:3])
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for piece in response.body:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0)  # a server that accepts each piece at once never yields to the loop
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def metrics_wsgi_app(
    source: Recorder | Exposition | None = None, *, path: str = METRICS_PATH
) -> WSGIApplication:
    """Return a WSGI application that answers scrapes, encoding metrics without the GIL.

    Args:
        source: A monitor, or an :class:`Exposition` of one; the process-wide monitor by default.
        path: The path of the metrics if the application is not mounted; other paths get a 404.
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
    """Return ``source`` unchanged if it is an exposition; wrap a monitor in a new exposition."""
    return source if isinstance(source, Exposition) else Exposition(source)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return
