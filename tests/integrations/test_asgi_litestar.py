"""Tests for the ASGI middleware around Litestar applications."""

import pytest
from asgi_requests import Copying, answer, counts, request
from litestar import Litestar, Router, asgi, get
from litestar.params import FromPath
from litestar.types import Receive, Scope, Send
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from nanospan.integrations.asgi import NanospanMiddleware


@get(["/users/{id:int}", "/people/{id:int}"], sync_to_thread=False)
def user(id: FromPath[int]) -> str:  # noqa: A002 - must match the name in the path
    return str(id)


@asgi("/files", is_mount=True, copy_scope=True)
async def files(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("file")(scope, receive, send)


def litestar():
    handlers = [user, Router("/teams/{team:str}", route_handlers=[user]), files]
    return Litestar(handlers, openapi_config=None)


@pytest.mark.parametrize("wrap", [lambda app: app, Copying], ids=["itself", "copied scope"])
async def test_litestar_requests_are_named_after_their_route(monitor, wrap):
    """Litestar requests have their route's template, even if a middleware copies the scope."""
    app = NanospanMiddleware(wrap(litestar()), monitor)
    for path in [
        "/users/1",
        "/users/2/",
        "/people/1",
        "/teams/red/users/1",
        "/files/a",
        "/files/b",
    ]:
        assert (await request(app, path))[0] == 200, path
    assert (await request(app, "/unknown"))[0] == 404
    assert (await request(app, "/users/1", "DELETE"))[0] == 405
    assert counts(monitor) == {
        "GET /users/{id}": 2,
        "GET /people/{id}": 1,
        "GET /teams/{team}/users/{id}": 1,
        "GET /files/{path}": 2,
        "GET (unmatched)": 1,
        "DELETE (unmatched)": 1,
    }


async def test_a_litestar_application_mounted_by_starlette(monitor):
    """The operation's name contains the template of the mount."""
    app = Starlette(routes=[Mount("/v/{version}", litestar()), Route("/users/{name}", answer)])
    app = NanospanMiddleware(app, monitor)
    for path in ["/v/1/users/1", "/v/2/users/1", "/v/1/files/a", "/users/1"]:
        assert (await request(app, path))[0] == 200, path
    assert counts(monitor) == {
        "GET /v/{version}/users/{id}": 2,
        "GET /v/{version}/files/{path}": 1,
        "GET /users/{name}": 1,
    }
