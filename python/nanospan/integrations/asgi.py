"""Record the requests to an ASGI application under one operation per method and route."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

from nanospan.integrations.routes import inclusion_of, template_of
from nanospan.recorder import Recorder, process_recorder

if TYPE_CHECKING:
    from nanospan._core import Operation

logger = logging.getLogger("nanospan")

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

METHODS = frozenset(
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"]
)
"""HTTP methods that appear in names; clients may invent others, which share ``_OTHER``."""

UNMATCHED = "(unmatched)"
"""The template used for requests that match no route."""

MAX_HANDLES = 4096
"""The maximum number of cached operations; beyond it, the cache is cleared."""


class NanospanMiddleware:
    """Records every HTTP request under its method and route template: ``GET /users/{id}``.

    Works with Starlette, FastAPI and other frameworks that put the matched route into
    ``scope["route"]``, including mounted applications, and requires none of them::

        app.add_middleware(NanospanMiddleware)           # Starlette, FastAPI
        app = NanospanMiddleware(app)                    # any ASGI application

    A request lasts until the last byte of the response body has been sent, even when streaming;
    background tasks are not included. Its outcome is ``error`` if the application raised an
    exception or returned an error status, ``cancelled`` if the client left early or the task was
    cancelled, and otherwise ``ok``. The sample's metadata contains ``status_class`` (``2xx``), and
    after an exception ``error`` with its text.

    Requests that match no route are recorded as ``GET (unmatched)``, and unknown methods as
    ``_OTHER ...``, so that clients cannot create new operations. WebSocket connections and lifespan
    events are passed on unchanged and not recorded.

    Args:
        app: The application to call.
        monitor: The monitor that records requests; the process-wide one if None.
        error_status: The lowest status code that counts as an error; 400 includes client errors.
        exclude: Paths to leave unrecorded, along with all paths below them, such as
            ``["/health", "/metrics"]``.

    Raises:
        TypeError: If ``app`` is not callable, or ``exclude`` is a single string.
        ValueError: If an excluded path does not begin with ``/``.
    """

    def __init__(
        self,
        app: Application,
        monitor: Recorder | None = None,
        *,
        error_status: int = 500,
        exclude: Iterable[str] = (),
    ) -> None:
        if not callable(app):
            raise TypeError(f"app must be callable, got {type(app).__name__}")
        if isinstance(exclude, str):
            raise TypeError(f"exclude must be a list of paths, got the string {exclude!r}")
        exclude = tuple(exclude)
        for path in exclude:
            if not path.startswith("/"):
                raise ValueError(f"a path in exclude must begin with '/', got {path!r}")
        self.app = app
        self._monitor = process_recorder() if monitor is None else monitor
        self.error_status = error_status
        self._exclude = frozenset(path.rstrip("/") for path in exclude)
        self._exclude_below = tuple(path.rstrip("/") + "/" for path in exclude)
        # Keyed by method, the ids of the route and its inclusion, and the path of the mount. The
        # values keep both objects alive, so that their ids are not reused.
        self._handles: dict[tuple[object, ...], tuple[Operation, object]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, and record the call if it is an HTTP request."""
        if scope["type"] != "http" or self._is_excluded(scope):
            await self.app(scope, receive, send)
            return
        request = _Request(self, scope, receive, send)
        try:
            await self.app(scope, request.receive, request.send)
        except BaseException as error:
            request.end(error)
            raise
        # Does nothing if the response is complete, as the request has been recorded then.
        request.end(_INCOMPLETE)

    def _is_excluded(self, scope: Scope) -> bool:
        if not self._exclude:
            return False
        path: str = scope["path"]
        # Servers disagree on whether the path includes a proxy's prefix.
        root = scope.get("root_path", "").rstrip("/")
        if root and path.startswith(root + "/"):
            path = path.removeprefix(root)
        return path in self._exclude or path.startswith(self._exclude_below)

    def operation(self, scope: Scope) -> Operation:
        """Return the operation under which to record a request that has been routed."""
        method = scope["method"]
        if method not in METHODS:
            method = "_OTHER"
        route = scope.get("route")
        if route is None:
            route = scope.get("endpoint")
        inclusion = inclusion_of(scope)
        key = (method, id(route), id(inclusion), scope.get("root_path"))
        known = self._handles.get(key)
        if known is not None:
            return known[0]
        try:
            template = template_of(scope) or UNMATCHED
        except Exception:
            # Routes are third-party objects; an exception from one must not fail the request.
            logger.exception("cannot read the template of route %r", route)
            template = UNMATCHED
        operation = self._monitor.operation(f"{method} {template}")
        if len(self._handles) >= MAX_HANDLES:  # possible if the path of a mount has parameters
            self._handles.clear()
        self._handles[key] = operation, (route, inclusion)
        return operation


# Recorded for an application that returns early, in which case the server sends a 500.
_INCOMPLETE = RuntimeError("the application returned before its response had ended")

_STATUS_CLASSES = {hundreds: {"status_class": f"{hundreds}xx"} for hundreds in range(1, 6)}


class _Request:
    """A request in progress, which observes the messages between server and application."""

    __slots__ = (
        "_client_left",
        "_is_recorded",
        "_middleware",
        "_receive",
        "_scope",
        "_send",
        "_start",
        "_status",
    )

    def __init__(
        self, middleware: NanospanMiddleware, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._middleware = middleware
        self._scope = scope
        self._receive = receive
        self._send = send
        self._status = 0
        self._client_left = False
        self._is_recorded = False
        self._start = perf_counter()

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._client_left = True
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self._status = message["status"]
        is_last = (
            kind in ("http.response.body", "http.response.zerocopysend")
            and not message.get("more_body", False)
        ) or kind == "http.response.pathsend"
        had_left = self._client_left
        try:
            await self._send(message)
        except OSError:
            # Since ASGI 2.4, servers raise OSError when the client has disconnected.
            self._client_left = True
            raise
        if is_last:
            # Servers also report the end of a response as a disconnect, which a concurrent
            # receive() may have seen before the server returned from send().
            self._client_left = had_left
            self.end()

    def end(self, error: BaseException | None = None) -> None:
        """Record the request, unless it has already been recorded."""
        if self._is_recorded:
            return
        self._is_recorded = True
        duration = perf_counter() - self._start
        operation = self._middleware.operation(self._scope)
        metadata = _STATUS_CLASSES.get(self._status // 100)
        if self._client_left or not isinstance(error, (Exception, type(None))):
            operation.record_cancelled(duration, metadata)
        elif error is not None:
            operation.record(
                duration, success=False, metadata={**(metadata or {}), "error": _text_of(error)}
            )
        else:
            is_ok = self._status < self._middleware.error_status
            operation.record(duration, is_ok, metadata)


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an exception without text must not become another
        return type(error).__name__
