"""Tests for the operation names under which the ASGI middleware records requests."""

import logging

import pytest
from asgi_requests import Copying, answer, counts, middleware, only_sample, request
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router

from nanospan.integrations import asgi
from nanospan.integrations.asgi import NanospanMiddleware


async def test_starlette_requests_are_named_after_their_route(monitor):
    """Requests with the same route and method are recorded as one operation."""
    routes = [Route("/users/{id:int}", answer, methods=["GET", "DELETE"]), Route("/", answer)]
    app = Starlette(routes=routes, middleware=middleware(monitor))
    for path, method in [
        ("/users/1", "GET"),
        ("/users/2", "GET"),
        ("/users/1", "DELETE"),
        ("/", "GET"),
    ]:
        assert (await request(app, path, method)) == (200, b"answer")
    assert counts(monitor) == {"GET /users/{id}": 2, "DELETE /users/{id}": 1, "GET /": 1}
    assert only_sample(monitor, "GET /")["metadata"] == {"status_class": "2xx"}


async def test_fastapi_requests_are_named_after_their_route(monitor):
    """FastAPI requests are named after their route, with the prefixes of all nested routers."""
    users, teams = APIRouter(), APIRouter(prefix="/teams/{team}")

    @users.get("/users/{id}")
    async def user(id: int):  # noqa: A002 - must match the name in the path
        return id

    teams.include_router(users)
    app = FastAPI()
    app.include_router(users)
    app.include_router(users, prefix="/v2")
    app.include_router(teams, prefix="/v2")

    @app.get("/plain")
    def plain():
        return "plain"

    app.add_middleware(NanospanMiddleware, monitor)
    for path in ["/users/1", "/users/2", "/v2/users/1", "/v2/teams/red/users/1", "/plain"]:
        status, _ = await request(app, path)
        assert status == 200
    assert counts(monitor) == {
        "GET /users/{id}": 2,
        "GET /v2/users/{id}": 1,
        "GET /v2/teams/{team}/users/{id}": 1,
        "GET /plain": 1,
    }


async def test_mounted_applications_have_the_template_of_their_mount(monitor):
    """Operation names contain the mount's template, so two mounts of one application differ."""
    users = Starlette(routes=[Route("/users/{id}", answer), Route("/", answer)])
    routes = [
        Mount("/old", users),
        Mount("/teams/{team:int}", routes=[Mount("/eu", users), Mount("/us", users)]),
        Host("eu.example.org", Router([Mount("/host", users)])),
    ]
    app = Starlette(routes=routes, middleware=middleware(monitor))
    for path in [
        "/old/users/1",
        "/old/users/2",
        "/old/",
        "/teams/007/eu/users/1",
        "/teams/8/eu/users/1",
        "/teams/7/us/users/1",
        "/host/users/1",
    ]:
        assert (await request(app, path))[0] == 200, path
    assert counts(monitor) == {
        "GET /old/users/{id}": 2,
        "GET /old/": 1,
        "GET /teams/{team}/eu/users/{id}": 2,
        "GET /teams/{team}/us/users/{id}": 1,
        "GET /host/users/{id}": 1,
    }


async def test_a_fastapi_application_mounted_in_another(monitor):
    """Operation names contain the mount's path and the prefixes within the mounted application."""
    router = APIRouter(prefix="/things")

    @router.get("/{id}")
    async def thing(id: str):  # noqa: A002 - must match the name in the path
        return id

    inner, outer = FastAPI(), FastAPI()
    inner.include_router(router)
    outer.mount("/inner", inner)
    outer.add_middleware(NanospanMiddleware, monitor)
    assert (await request(outer, "/inner/things/1"))[0] == 200
    assert (await request(outer, "/inner/things/1", root_path="/behind/proxy"))[0] == 200
    assert counts(monitor) == {"GET /inner/things/{id}": 2}


async def test_an_application_without_routes_is_named_after_its_mount(monitor):
    """All paths in a mounted application without routes share one operation."""

    async def files(scope, receive, send):
        await PlainTextResponse("file")(scope, receive, send)

    app = Starlette(routes=[Mount("/static", files)], middleware=middleware(monitor))
    for path in ["/static/a.css", "/static/b/c.js"]:
        await request(app, path)
    assert counts(monitor) == {"GET /static/{path}": 2}


async def test_no_route_below_a_host(monitor, caplog):
    """A request that matches a host but no route below it is unmatched, and nothing is logged."""
    routes = [Host("eu.example.org", Router([Route("/users/{id}", answer)]))]
    app = Starlette(routes=routes, middleware=middleware(monitor))
    assert (await request(app, "/users/1"))[0] == 200
    assert (await request(app, "/unknown"))[0] == 404
    assert counts(monitor) == {"GET /users/{id}": 1, "GET (unmatched)": 1}
    assert caplog.records == []


async def test_a_route_of_another_framework(monitor, caplog):
    """A route without a template is unmatched, and nothing is logged."""

    async def app(scope, receive, send):
        scope["route"] = object()
        await PlainTextResponse("answer")(scope, receive, send)

    await request(NanospanMiddleware(app, monitor), "/")
    assert counts(monitor) == {"GET (unmatched)": 1}
    assert caplog.records == []


@pytest.mark.parametrize("place", ["around the application", "in the application", "in a mount"])
async def test_the_route_is_found_below_a_copied_scope(monitor, place):
    """A middleware that passes on a copy of the scope does not hide the route."""
    copying = [Middleware(Copying)]
    users = [Route("/users/{id}", answer, methods=["GET"]), Route("/", answer)]
    routes = [
        Mount("/teams/{team}", routes=users, middleware=copying if place == "in a mount" else []),
        Host("eu.example.org", Router([Route("/eu", answer)])),
    ]
    app = Starlette(routes=routes, middleware=copying if place == "in the application" else [])
    if place == "around the application":
        app = Copying(app)
    app = NanospanMiddleware(app, monitor)
    for path, method in [
        ("/teams/red/users/1", "GET"),
        ("/teams/blue/users/2", "GET"),
        ("/teams/red/users/1", "POST"),
        ("/teams/red/", "GET"),
        ("/teams/red/unknown", "GET"),
        ("/eu", "GET"),
        ("/unknown", "GET"),
    ]:
        await request(app, path, method)
        await request(app, path, method, root_path="/behind/proxy")
    assert counts(monitor) == {
        "GET /teams/{team}/users/{id}": 4,
        "POST /teams/{team}/users/{id}": 2,
        "GET /teams/{team}/": 2,
        "GET /teams/{team}/{path}": 2,
        "GET /eu": 2,
        "GET (unmatched)": 2,
    }


async def test_fastapi_routes_are_found_below_a_copied_scope(monitor):
    """FastAPI's included routers are searched, in the order in which FastAPI searches them."""
    users = APIRouter(prefix="/users")

    @users.get("/{id}")
    @users.get("/me")
    async def user(id: int = 0):  # noqa: A002 - must match the name in the path
        return id

    teams = APIRouter(prefix="/teams/{team}")
    teams.include_router(users)
    app = FastAPI()
    app.include_router(users, prefix="/v2")
    app.include_router(teams)
    app = NanospanMiddleware(Copying(app), monitor)
    for path in ["/v2/users/1", "/v2/users/me", "/teams/red/users/1", "/docs"]:
        assert (await request(app, path))[0] == 200, path
    assert (await request(app, "/v2/users"))[0] == 404
    assert counts(monitor) == {
        "GET /v2/users/{id}": 1,
        "GET /v2/users/me": 1,
        "GET /teams/{team}/users/{id}": 1,
        "GET /docs": 1,
        "GET (unmatched)": 1,
    }


async def test_routes_that_share_an_endpoint(monitor):
    """Routes with the same endpoint are told apart, although the scope has only the endpoint."""
    app = FastAPI()
    app.add_route("/users/{id}", answer)
    app.add_route("/teams/{id}", answer)
    app.mount("/v2", Starlette(routes=[Route("/users/{name}", answer)]))
    app.add_middleware(NanospanMiddleware, monitor)
    for path in ["/users/1", "/teams/1", "/v2/users/1", "/users/2"]:
        assert (await request(app, path))[0] == 200
    assert counts(monitor) == {
        "GET /users/{id}": 2,
        "GET /teams/{id}": 1,
        "GET /v2/users/{name}": 1,
    }


async def test_the_route_is_found_by_its_endpoint(monitor):
    """If the scope has an endpoint but no route, the route is looked up in the router."""

    class Older:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await self.app(scope, receive, send)
            del scope["route"]

    routes = [
        Mount("/api", routes=[Route("/people/{id}", answer), Route("/users/{id}", answer)]),
        Mount("/static", PlainTextResponse("file")),
    ]
    app = Starlette(routes=routes, middleware=[*middleware(monitor), Middleware(Older)])
    for path in ["/api/users/1", "/static/a.css"]:
        assert (await request(app, path))[0] == 200
    assert counts(monitor) == {"GET /api/users/{id}": 1, "GET /static/{path}": 1}


async def test_a_function_names_the_route(monitor):
    """The ``route`` setting names requests; for None, the framework's route is used."""

    def route(scope):
        return "/files/{path}" if scope["path"].startswith("/files/") else None

    routes = [Route("/files/a/{name}", answer), Route("/users/{id}", answer)]
    app = Starlette(routes=routes, middleware=middleware(monitor, route=route))
    for path in ["/files/a/1", "/files/unknown", "/users/1", "/unknown"]:
        await request(app, path)
    assert counts(monitor) == {
        "GET /files/{path}": 2,
        "GET /users/{id}": 1,
        "GET (unmatched)": 1,
    }


@pytest.mark.parametrize(
    ("template", "error"), [(7, "route must return a str or None, got int"), (None, "no such key")]
)
async def test_a_broken_function_does_not_break_requests(monitor, caplog, template, error):
    """If ``route`` fails, the framework's route is used, and the first error is logged."""

    def route(_scope):
        if template is None:
            raise LookupError("no such key")
        return template

    routes = [Route("/users/{id}", answer)]
    app = Starlette(routes=routes, middleware=middleware(monitor, route=route))
    for _ in range(2):
        assert await request(app, "/users/1") == (200, b"answer")
    [record] = caplog.records
    assert error in str(record.exc_info[1])
    assert counts(monitor) == {"GET /users/{id}": 2}


async def test_clients_cannot_create_names(monitor):
    """Requests with unknown paths share one operation, as do requests with unknown methods."""
    app = Starlette(routes=[Route("/known", answer)], middleware=middleware(monitor))
    for i in range(20):
        assert (await request(app, f"/unknown/{i}"))[0] == 404
        assert (await request(app, "/known", f"METHOD{i}"))[0] == 405
    assert counts(monitor) == {"GET (unmatched)": 20, "_OTHER /known": 20}


async def test_memory_for_mounts_with_parameters_is_bounded(monitor, monkeypatch):
    """The middleware's cache stays bounded even if a mount path's parameter has many values."""
    monkeypatch.setattr(asgi, "MAX_HANDLES", 10)
    inner = Starlette(routes=[Route("/", answer)])
    app = NanospanMiddleware(Starlette(routes=[Mount("/teams/{team}", inner)]), monitor)
    for i in range(35):
        await request(app, f"/teams/{i}/")
    assert len(app._handles) <= 10
    assert counts(monitor) == {"GET /teams/{team}/": 35}


async def test_a_broken_route_does_not_break_requests(monitor, caplog):
    """If reading a route's template fails, the error is logged once and requests still work."""

    class Odd(Route):
        @property
        def path_format(self):
            raise RuntimeError("odd")

        @path_format.setter
        def path_format(self, value):
            pass

    app = Starlette(routes=[Odd("/", answer)], middleware=middleware(monitor))
    with caplog.at_level(logging.ERROR, "nanospan"):
        assert await request(app, "/") == (200, b"answer")
        assert await request(app, "/") == (200, b"answer")
    assert len(caplog.records) == 1
    assert counts(monitor) == {"GET (unmatched)": 2}
