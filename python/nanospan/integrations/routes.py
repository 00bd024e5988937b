"""Find the route template, such as ``/users/{id}``, of an ASGI request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

Entry: TypeAlias = tuple[str, str]
"""The path and the root path in a request's scope before the application was called."""

REST = "/{path}"
"""The end of a mount's template, which matches the path below the mount."""

LONGEST_CHAIN = 64
"""The number of nested middlewares to look through for the application that they wrap."""


def template_of(scope: Mapping[str, Any], entry: Entry, app: object) -> tuple[str | None, bool]:
    """Return the template of the route that a request matched, including any mounts' templates.

    Starlette and FastAPI put the innermost matched route into ``scope["route"]`` and the outermost
    router into ``scope["router"]``. For some routes, the scope contains only the endpoint, which
    several routes may share. A middleware that passes on a copy of the scope hides all of this. The
    path is then matched again. This also finds the templates of mounts: ``scope["root_path"]`` is a
    mount's path, which may contain parameter values, and those must not become part of an
    operation's name.

    Litestar puts the template into ``scope["path_template"]``.

    Args:
        scope: The request's ASGI scope, after the application has routed the request.
        entry: The scope's path and root path before the application was called.
        app: The application that was called with the scope.

    Returns:
        A template such as ``/teams/{team}/users/{id}``, or None if no route matched, and whether
        it is the template of every request with the same entries in the scope.
    """
    if "path_template" not in scope:
        return _starlette_template(scope, entry, app)
    litestar = scope.get("litestar_app", scope.get("app"))
    template = _litestar_template(litestar, scope["route_handler"], scope["path_template"])
    if not _is_mount(scope.get("route")):
        return template, True
    # Starlette has mounted the Litestar application.
    outer, _ = _starlette_template(scope, entry, app)
    return (outer or "").removesuffix(REST) + template, False


def inclusion_of(scope: Mapping[str, Any]) -> Any:
    """Return FastAPI's context for the matched route, or None if no included router contains it.

    The context has the route's full path, including the prefix of the included router.
    """
    noted = scope.get("fastapi")
    if noted is None:
        return None
    return noted.get("effective_route_context") if isinstance(noted, Mapping) else None


def _starlette_template(
    scope: Mapping[str, Any], entry: Entry, app: object
) -> tuple[str | None, bool]:
    route, endpoint = scope.get("route"), scope.get("endpoint")
    own = _path_format(scope, route)
    is_leaf = own is not None and not _is_mount(route)
    root_path = scope.get("root_path", "")
    outer_root_path = scope.get("app_root_path", root_path)
    if is_leaf and root_path == outer_root_path:
        return own, True
    if route is None and endpoint is None and "router" in scope:
        return None, True
    router = _outermost_router(scope, app)
    if router is None:
        return own, True
    path, entry_root_path = entry
    if not path.startswith(entry_root_path):
        # In an application mounted by Starlette before 0.33, the path begins below the mount.
        path = entry_root_path.removeprefix(outer_root_path) + path
    if hasattr(router, "asgi_router"):
        return _litestar_match(router, scope["method"], path.removeprefix(root_path)), False
    outer_scope = {**scope, "path": path, "root_path": outer_root_path}
    template = _matching_template(router.routes, outer_scope, endpoint)
    if own is not None and is_leaf:
        is_below = template is not None and template.endswith(own)
        return template if is_below else "/(mounted)" + own, True
    return template, False


def _path_format(scope: Mapping[str, Any], route: Any) -> str | None:
    inclusion = inclusion_of(scope)
    # The context may belong to an outer application's route instead.
    if inclusion is not None and getattr(inclusion, "original_route", None) is route:
        route = inclusion
    return getattr(route, "path_format", None)


def _is_mount(route: object) -> bool:
    return hasattr(route, "routes")


def _outermost_router(scope: Mapping[str, Any], app: Any) -> Any:
    """Return the outermost router or application with routes that got the request, if known."""
    for known in (scope.get("router"), scope.get("app")):
        if hasattr(known, "routes"):
            return known
    for _ in range(LONGEST_CHAIN):
        if hasattr(app, "routes"):
            return app
        app = getattr(app, "app", None)
    return None


def _litestar_template(app: Any, handler: Any, path_template: str) -> str:
    if not getattr(handler, "is_mount", False):
        return path_template
    # For mounted applications, Litestar gives the template of the root instead.
    for route in app.routes:
        if getattr(route, "route_handler", None) is handler:
            return f"{route.path_format.rstrip('/')}{REST}"
    return "/(mounted)"


def _litestar_match(app: Any, method: str, path: str) -> str | None:
    """Return the template of the route that a Litestar application would choose."""
    try:
        found = app.asgi_router.handle_routing(path="/" + path.strip("/"), method=method)
    except Exception as error:
        if getattr(error, "status_code", None) in (404, 405):
            return None
        raise
    _, handler, _, _, template = found
    return _litestar_template(app, handler, template)


def _candidates(routes: Iterable[Any]) -> Iterator[Any]:
    """Yield the routes, with those of FastAPI's included routers in place of the routers."""
    for route in routes:
        contexts = getattr(route, "effective_route_contexts", None)
        if contexts is None:
            yield route
            continue
        for context in contexts():
            route_of_another_type = context.starlette_route
            yield context if route_of_another_type is None else route_of_another_type


def _matching_template(
    routes: Iterable[Any] | None, scope: Mapping[str, Any], endpoint: object
) -> str | None:
    """Return the template of the route that a router with these routes would choose.

    Args:
        routes: The router's routes, in their order.
        scope: The scope as the router received it.
        endpoint: The endpoint of the chosen route or mount; None if it is not known.
    """
    chosen = None
    for route in _candidates(routes or ()):
        matches = getattr(route, "matches", None)
        # Matching a path is slow, so routes to other endpoints are skipped.
        is_other = endpoint is not None and getattr(route, "endpoint", endpoint) is not endpoint
        if matches is None or is_other:
            continue
        match, additions = matches({**scope})
        if match.name == "FULL":
            chosen = (route, additions)
            break
        if match.name == "PARTIAL" and chosen is None:  # the path matches, but not the method
            chosen = (route, additions)
    if chosen is None:
        return None
    route, additions = chosen
    own: str | None = getattr(route, "path_format", None)
    if not _is_mount(route):
        return own
    if route.app is endpoint:  # the mounted application's own routing is not known
        endpoint = None
    inner = _matching_template(route.routes, {**scope, **additions}, endpoint)
    if inner is None:
        return own
    return inner if own is None else own.removesuffix(REST) + inner
