"""Find the route template, such as ``/users/{id}``, of an ASGI request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

REST = "/{path}"
"""The end of a Starlette mount's template, which matches the path below the mount."""


def template_of(scope: Mapping[str, Any]) -> str | None:
    """Return the template of the route that a request matched, including any mounts' templates.

    Starlette and FastAPI put the innermost matched route into ``scope["route"]`` and the outermost
    router into ``scope["router"]``. Old versions put the route's endpoint into
    ``scope["endpoint"]`` instead of the route itself. In a mounted application,
    ``scope["root_path"]`` is the mount's path, which may contain parameter values. Such values must
    not become part of an operation's name, so the path is matched again to find the
    mount's template.

    Args:
        scope: The request's ASGI scope, after the application has routed the request.

    Returns:
        A template such as ``/teams/{team}/users/{id}``, or None if no route matched.
    """
    routes = getattr(scope.get("router"), "routes", ())
    route = scope.get("route")
    if route is None:
        if scope.get("endpoint") is None:
            return None
        route = _route_to(scope["endpoint"], routes)
        if route is None:
            return None
    template = _path_format(scope, route)
    mounted_at = scope.get("root_path", "")[len(scope.get("app_root_path", "")) :]
    if "app_root_path" not in scope or not mounted_at:
        return template
    mount = _mount_template(routes, mounted_at) or "/(mounted)"
    return mount + (REST if _is_mount(route) else template)


def inclusion_of(scope: Mapping[str, Any]) -> Any:
    """Return FastAPI's context for the matched route, or None if no included router contains it.

    The context has the route's full path, including the prefix of the included router.
    """
    noted = scope.get("fastapi")
    if noted is None:
        return None
    return noted.get("effective_route_context") if isinstance(noted, Mapping) else None


def _path_format(scope: Mapping[str, Any], route: Any) -> str:
    inclusion = inclusion_of(scope)
    # The context may belong to an outer application's route instead.
    if getattr(inclusion, "original_route", None) is route:
        route = inclusion
    path_format: str = route.path_format
    return path_format


def _is_mount(route: object) -> bool:
    return hasattr(route, "routes")


def _route_to(endpoint: object, routes: Iterable[Any]) -> Any:
    """Return the route or mount with this endpoint, or None; nested routes are searched too."""
    for route in routes:
        if getattr(route, "endpoint", None) is endpoint or (
            _is_mount(route) and route.app is endpoint
        ):
            return route
        found = _route_to(endpoint, getattr(route, "routes", ()))
        if found is not None:
            return found
    return None


def _mount_template(routes: Iterable[Any], path: str) -> str | None:
    """Return the joined templates of the nested mounts that match the whole ``path``, or None."""
    for route in filter(_is_mount, routes):
        regex = getattr(route, "path_regex", None)
        if regex is None:  # a Starlette Host, which does not match a part of the path
            template: str | None = _mount_template(route.routes, path)
            if template is not None:
                return template
            continue
        match = regex.match(path + "/")
        if match is None:
            continue
        own: str = route.path_format.removesuffix(REST)
        rest = match["path"].rstrip("/")
        if not rest:
            return own
        inner = _mount_template(route.routes, "/" + rest)
        if inner is not None:
            return own + inner
    return None
