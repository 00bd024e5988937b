"""Requests of an ASGI application as operations, one for each route template."""

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
"""Methods that are named; a client may send others without bound, which share ``_OTHER``."""

UNMATCHED = "(unmatched)"
"""Stands for the route of what no route took."""

MAX_HANDLES = 4096
"""How many routes are remembered; more are looked up again."""


class NanospanMiddleware:
    """Records every HTTP request under its method and route template, as ``GET /users/{id}``.

    It works with Starlette, FastAPI and what else puts its choice into ``scope["route"]``, mounted
    applications included, and needs none of them::

        app.add_middleware(NanospanMiddleware)           # Starlette, FastAPI
        app = NanospanMiddleware(app)                    # any ASGI application

    A request is timed from here to the last byte of its body, streaming included; background tasks
    come after. Its outcome is ``error`` if an exception came out or the status is an error,
    ``cancelled`` if the client left first or the task was cancelled, else ``ok``. The sample's
    metadata holds ``status_class`` (``2xx``), and ``error`` where an exception came out.

    What no route took goes to ``GET (unmatched)``, whatever its path, and unusual methods to
    ``_OTHER ...``, so that clients cannot make names up. Web sockets and the lifespan pass
    untouched.

    Args:
        app: The application to call.
        monitor: Where requests are recorded; the process's monitor if None.
        error_status: The lowest status that is an error: 400 counts client errors too.
        exclude: Paths that are not recorded, with what is below them: ``["/health", "/metrics"]``.

    Raises:
        TypeError: If ``app`` cannot be called, or ``exclude`` is a single string.
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
            raise TypeError(f"an ASGI application is callable, got {app!r}")
        if isinstance(exclude, str):
            raise TypeError(f"exclude is a list of paths, got the string {exclude!r}")
        exclude = tuple(exclude)
        for path in exclude:
            if not path.startswith("/"):
                raise ValueError(f"an excluded path begins with '/', got {path!r}")
        self.app = app
        self._monitor = process_recorder() if monitor is None else monitor
        self.error_status = error_status
        self._exclude = frozenset(path.rstrip("/") for path in exclude)
        self._exclude_below = tuple(path.rstrip("/") + "/" for path in exclude)
        # By method, identities of the route and its inclusion, and place of the mount. Both objects
        # are kept beside the operation, so that their identities are not given to others.
        self._handles: dict[tuple[object, ...], tuple[Operation, object]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, and record the request if it is one."""
        if scope["type"] != "http" or self._is_excluded(scope):
            await self.app(scope, receive, send)
            return
        request = _Request(self, scope, receive, send)
        try:
            await self.app(scope, request.receive, request.send)
        except BaseException as error:
            request.end(error)
            raise
        # Nothing is left to do, unless the response has remained without an end.
        request.end(_INCOMPLETE)

    def _is_excluded(self, scope: Scope) -> bool:
        if not self._exclude:
            return False
        path: str = scope["path"]
        # Servers disagree on whether the path holds the prefix under which a proxy has them.
        root = scope.get("root_path", "").rstrip("/")
        if root and path.startswith(root + "/"):
            path = path.removeprefix(root)
        return path in self._exclude or path.startswith(self._exclude_below)

    def operation(self, scope: Scope) -> Operation:
        """Return the operation of a request that has been routed."""
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
            # Routes are other people's objects. Whatever they are like, the request goes on.
            logger.exception("the route %r has no template that can be read", route)
            template = UNMATCHED
        operation = self._monitor.operation(f"{method} {template}")
        if len(self._handles) >= MAX_HANDLES:  # where the place of a mount has parameters
            self._handles.clear()
        self._handles[key] = operation, (route, inclusion)
        return operation


# What makes a server send a 500.
_INCOMPLETE = RuntimeError("the application returned before its response had ended")

_STATUS_CLASSES = {hundreds: {"status_class": f"{hundreds}xx"} for hundreds in range(1, 6)}


class _Request:
    """A request under way: watches what passes between the server and the application."""

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
            # How servers say, since version 2.4 of ASGI, that nobody is there to receive.
            self._client_left = True
            raise
        if is_last:
            # A response that has ended is told to who listens as the client's leaving, too, which
            # may come before the server returns from here.
            self._client_left = had_left
            self.end()

    def end(self, error: BaseException | None = None) -> None:
        """Record the request, unless it has been."""
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
