"""The exposition as ASGI and WSGI applications."""

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

    Snapshot and encoding run in a thread of their own, without the GIL, and on Linux with a lower
    priority than the event loop's; the loop itself only passes on pieces of 64 KiB. Mount it, or
    run it as it is:

    ```python
    app.mount("/metrics", metrics_app())  # Starlette, FastAPI
    ```

    Args:
        source: A monitor, by default that of the process, or an :class:`Exposition` of one.
        path: Where it answers, if it was not mounted there; anything else is 404.

    Returns:
        An application for asyncio servers. It takes part in the lifespan protocol, having nothing
        to start or stop.
    """
    return MetricsApp(exposition_of(source), path)


NICENESS = 10
"""By how much a scrape's priority is lowered: to a tenth of a processor beside one busy thread."""


def _step_back() -> None:
    """Let the other threads go first, so that those that wake need not wait for a time slice."""
    if sys.platform == "linux":  # elsewhere this would be about the whole process
        with contextlib.suppress(OSError):  # a sandbox may refuse it
            os.nice(NICENESS)


class MetricsApp:
    """What :func:`metrics_app` returns."""

    # An object, not a function: Starlette's Route takes functions for request handlers.

    def __init__(self, exposition: Exposition, path: str) -> None:
        self._exposition = exposition
        self._path = path

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one connection."""
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
        # Frameworks disagree on whether the path still has the mount's prefix.
        place = scope["path"].removeprefix(scope.get("root_path", ""))
        request = Request(scope["method"], place, accept, accept_encoding)
        # A thread for this scrape: of one that others use, the lower priority would be theirs, too.
        executor = ThreadPoolExecutor(1, "nanospan-scrape", _step_back)
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
        await asyncio.sleep(0)  # a server that takes a piece at once lets nobody else run
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def metrics_wsgi_app(
    source: Recorder | Exposition | None = None, *, path: str = METRICS_PATH
) -> WSGIApplication:
    """Return a WSGI application that answers scrapes, encoding without the GIL.

    Args:
        source: A monitor, by default that of the process, or an :class:`Exposition` of one.
        path: Where it answers, if it was not mounted there; anything else is 404.
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
    """Return ``source`` if it is an exposition, or that of the monitor it is."""
    return source if isinstance(source, Exposition) else Exposition(source)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return
