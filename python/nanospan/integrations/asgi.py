"""ASGI middleware that records HTTP requests as one operation per method and route."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

from nanospan._core import outcome_of
from nanospan.integrations.routes import Entry, inclusion_of, template_of
from nanospan.recorder import Recorder, process_recorder
from nanospan.values.messages import shown

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
"""HTTP methods that appear in operation names; all other methods appear as ``_OTHER``."""

UNMATCHED = "(unmatched)"
"""The text used in place of a route template for requests that match no route."""

MAX_HANDLES = 4096
"""Maximum number of cached operations; when the cache is full, it is cleared."""


class NanospanMiddleware:
    """ASGI middleware that records each HTTP request as an operation like ``GET /users/{id}``.

    It finds the routes of Starlette, FastAPI and Litestar, including those in mounted applications;
    none of them is a dependency. For other frameworks, set ``route``::

        app.add_middleware(NanospanMiddleware)           # Starlette, FastAPI
        app = NanospanMiddleware(app)                    # any ASGI application

    A request is timed until the last byte of the response body has been sent, even if the response
    is streamed; background tasks are not included. The outcome is ``error`` if the
    application raised an exception or returned an error status, ``cancelled`` if the client
    disconnected early or the task was cancelled, and otherwise ``ok``. The sample's metadata
    contains ``status_class``, such as ``2xx``, and, if the application raised an exception,
    ``error`` with the exception's text.

    Requests that match no route are recorded as ``GET (unmatched)``, and requests with an unknown
    method as ``_OTHER ...``, so that clients cannot create arbitrary operations. WebSocket
    connections and lifespan events are passed on unchanged and are not recorded.

    Args:
        app: The ASGI application to wrap.
        monitor: The monitor that records requests; the process-wide one if None.
        error_status: The lowest HTTP status that counts as an error; set it to 400 to include
            client errors.
        exclude: Paths whose requests are not recorded, such as ``["/health", "/metrics"]``; paths
            below them are excluded too.
        route: A function that returns the route template of a request, given its scope after the
            application has answered; for None, the template is found as without this function. A
            template must not contain values from the path, since each one is an operation.

    Raises:
        TypeError: If ``app`` or ``route`` is not callable, or ``exclude`` is a single string.
        ValueError: If an excluded path does not begin with ``/``.
    """

    def __init__(
        self,
        app: Application,
        monitor: Recorder | None = None,
        *,
        error_status: int = 500,
        exclude: Iterable[str] = (),
        route: Callable[[Scope], str | None] | None = None,
    ) -> None:
        if not callable(app):
            raise TypeError(f"app must be callable, got {type(app).__name__}")
        if isinstance(exclude, str):
            raise TypeError(f"exclude must be a list of paths, got the string {shown(exclude)}")
        if route is not None and not callable(route):
            raise TypeError(f"route must be a function of the scope, got {type(route).__name__}")
        exclude = tuple(exclude)
        for path in exclude:
            if not path.startswith("/"):
                raise ValueError(f"a path in exclude must begin with '/', got {shown(path)}")
        self.app = app
        self._monitor = process_recorder() if monitor is None else monitor
        self.error_status = error_status
        self._exclude = frozenset(path.rstrip("/") for path in exclude)
        self._exclude_below = tuple(path.rstrip("/") + "/" for path in exclude)
        self._route = route
        # The cached operations, keyed by method, the ids of the route and of the context of its
        # inclusion, the mount's path, Litestar's template, and whether a router got the scope. The
        # values keep the route and the context alive, so that their ids are not reused.
        self._handles: dict[tuple[object, ...], tuple[Operation, object]] = {}
        self._logged: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, and record the call if it handles an HTTP request."""
        if scope["type"] != "http" or self._is_excluded(scope):
            await self.app(scope, receive, send)
            return
        request = _Request(self, scope, receive, send)
        try:
            await self.app(scope, request.receive, request.send)
        except BaseException as error:
            request.end(error)
            raise
        # This does nothing if the response is complete, because send() has recorded the request.
        request.end(_INCOMPLETE)

    def _is_excluded(self, scope: Scope) -> bool:
        if not self._exclude:
            return False
        path: str = scope["path"]
        # With some servers, the path includes a proxy's prefix.
        root = scope.get("root_path", "").rstrip("/")
        if root and path.startswith(root + "/"):
            path = path.removeprefix(root)
        return path in self._exclude or path.startswith(self._exclude_below)

    def operation(self, scope: Scope, entry: Entry) -> Operation:
        """Return the operation for a request that the application has already routed.

        Args:
            scope: The request's scope.
            entry: The scope's path and root path before the application was called.
        """
        method = scope["method"]
        if method not in METHODS:
            method = "_OTHER"
        if self._route is not None and (template := self._ask(self._route, scope)):
            return self._monitor.operation(f"{method} {template}")
        route = scope.get("route")
        if route is None:
            route = scope.get("endpoint", scope.get("route_handler"))
        inclusion = inclusion_of(scope)
        key = (
            method,
            id(route),
            id(inclusion),
            scope.get("root_path"),
            scope.get("path_template"),
            "router" in scope,
        )
        known = self._handles.get(key)
        if known is not None:
            return known[0]
        try:
            template, is_fixed = template_of(scope, entry, self.app)
        except Exception as error:  # noqa: BLE001 - routes are third-party objects
            message = "cannot read the template of route %s; its requests are recorded as unmatched"
            self._log_first(error, message, scope.get("route"))
            template, is_fixed = None, False
        operation = self._monitor.operation(f"{method} {template or UNMATCHED}")
        if is_fixed:
            if len(self._handles) >= MAX_HANDLES:  # a mount's path may contain parameter values
                self._handles.clear()
            self._handles[key] = operation, (route, inclusion)
        return operation

    def _ask(self, route: Callable[[Scope], object], scope: Scope) -> str | None:
        try:
            template = route(scope)
        except Exception as error:  # noqa: BLE001 - a broken function must not fail the request
            self._log_first(error, "route=%s raised an exception; it is ignored", route)
            return None
        if template is None or isinstance(template, str):
            return template
        wrong = TypeError(f"route must return a str or None, got {type(template).__name__}")
        self._log_first(wrong, "route=%s returned an invalid value; it is ignored", route)
        return None

    def _log_first(self, error: Exception, message: str, value: object) -> None:
        """Log an exception, unless the message has already been logged."""
        if message not in self._logged:
            self._logged.add(message)
            logger.error(message, shown(value), exc_info=error)


# The error to record if the application returns early; the server then sends a 500.
_INCOMPLETE = RuntimeError("the application returned before its response was complete")

_STATUS_CLASSES = {hundreds: {"status_class": f"{hundreds}xx"} for hundreds in range(1, 6)}


class _Request:
    """A request in progress; observes the messages between the server and the application."""

    __slots__ = (
        "_client_left",
        "_entry",
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
        self._entry = scope["path"], scope.get("root_path", "")
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
            # Servers report a disconnect after every complete response, too. A concurrent receive()
            # may have seen that disconnect before send() returned, so it is ignored.
            self._client_left = had_left
            self.end()

    def end(self, error: BaseException | None = None) -> None:
        """Record the request, unless it has already been recorded."""
        if self._is_recorded:
            return
        self._is_recorded = True
        duration = perf_counter() - self._start
        operation = self._middleware.operation(self._scope, self._entry)
        metadata = _STATUS_CLASSES.get(self._status // 100)
        if self._client_left or (error is not None and outcome_of(error) == "cancelled"):
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
    except Exception:  # noqa: BLE001 - an exception's __str__ may raise anything
        return type(error).__name__
