"""Tests for the ASGI middleware: outcomes, durations and excluded paths of requests."""

import asyncio
import contextlib
import json
import sys

import pytest
from asgi_requests import answer, counts, http_scope, middleware, only_sample, request
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

from nanospan.integrations.asgi import NanospanMiddleware

if sys.version_info < (3, 11):
    from exceptiongroup import BaseExceptionGroup


@pytest.mark.parametrize(
    ("status", "error_status", "outcome"),
    [
        (200, 500, "ok"),
        (404, 500, "ok"),
        (404, 400, "error"),
        (302, 400, "ok"),
        (503, 500, "error"),
    ],
)
async def test_the_status_decides_the_outcome(monitor, status, error_status, outcome):
    """A status of ``error_status`` or more, 500 by default, is recorded as an error."""
    routes = [Route("/", lambda _: PlainTextResponse("answer", status))]
    app = Starlette(routes=routes, middleware=middleware(monitor, error_status=error_status))
    await request(app, "/")
    sample = only_sample(monitor, "GET /")
    assert sample["success"] == (outcome == "ok")
    assert sample["metadata"] == {"status_class": f"{status // 100}xx"}


@pytest.mark.parametrize("outside", [True, False])
async def test_an_exception_is_an_error_and_propagates(monitor, outside):
    """A handler's exception is recorded as an error and propagates to the server."""

    def broken(_request):
        raise LookupError("no such thing")

    app = Starlette(routes=[Route("/", broken)], middleware=[] if outside else middleware(monitor))
    if outside:
        app = NanospanMiddleware(app, monitor)
    with pytest.raises(LookupError, match="no such thing"):
        await request(app, "/")
    sample = only_sample(monitor, "GET /")
    assert not sample["success"]
    # Outside the framework, the middleware sees its 500 response before the exception.
    assert sample["metadata"] == (
        {"status_class": "5xx"} if outside else {"error": "no such thing"}
    )


async def test_returning_without_an_answer_is_an_error(monitor):
    """A request without a response is recorded as an error, because the server then sends a 500."""

    async def silent(scope, receive, send):
        pass

    async def receive():
        raise AssertionError

    await NanospanMiddleware(silent, monitor)(http_scope("/"), receive, receive)
    assert monitor.get_stats("GET (unmatched)").error_count == 1


async def test_a_cancelled_task_is_a_cancelled_request(monitor):
    """If a request's task is cancelled, the request is recorded as cancelled."""
    entered = asyncio.Event()

    async def slow(_request):
        entered.set()
        await asyncio.Event().wait()

    app = Starlette(routes=[Route("/", slow)], middleware=middleware(monitor))
    task = asyncio.create_task(request(app, "/"))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    stats = monitor.get_stats("GET /")
    assert (stats.cancelled_count, stats.error_count, stats.success_rate) == (1, 0, 1)
    assert only_sample(monitor, "GET /")["metadata"] == {"outcome": "cancelled"}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (BaseExceptionGroup("", [asyncio.CancelledError(), ValueError("broken")]), "error"),
        (BaseExceptionGroup("", [asyncio.CancelledError()]), "cancelled"),
        (SystemExit(3), "error"),
        (SystemExit(0), "cancelled"),
    ],
)
async def test_what_an_exception_contains_decides(monitor, error, outcome):
    """A group is an error if it contains one, and so is an exit with a status other than 0."""

    async def app(scope, receive, send):
        raise error

    with pytest.raises(type(error)):
        await request(NanospanMiddleware(app, monitor), "/")
    stats = monitor.get_stats("GET (unmatched)")
    assert (stats.error_count, stats.cancelled_count) == (outcome == "error", outcome != "error")


async def endless(_request):
    async def chunks():
        while True:
            yield b"chunk"
            await asyncio.sleep(0)

    return StreamingResponse(chunks())


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
async def test_a_client_that_leaves_cancels_the_request(monitor, spec_version):
    """A request whose client disconnects while it is sent is recorded as cancelled."""
    app = Starlette(routes=[Route("/", endless)], middleware=middleware(monitor))
    chunks = 0
    left = asyncio.Event()

    async def receive():
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        nonlocal chunks
        chunks += message["type"] == "http.response.body"
        if chunks >= 3:
            left.set()
            if spec_version == "2.4":
                raise OSError("the client has left")

    scope = http_scope("/") | {"asgi": {"version": "3.0", "spec_version": spec_version}}
    with pytest.raises(ClientDisconnect) if spec_version == "2.4" else contextlib.nullcontext():
        await app(scope, receive, send)
    stats = monitor.get_stats("GET /")
    assert (stats.count, stats.cancelled_count) == (1, 1)
    assert only_sample(monitor, "GET /")["metadata"] == {
        "status_class": "2xx",
        "outcome": "cancelled",
    }


@pytest.mark.parametrize("asks", [True, False])
async def test_only_an_application_that_receives_notices_a_client_that_leaves(monitor, asks):
    """Without a ``receive`` by the application, a request is recorded by its status."""

    async def work(incoming):
        if asks:
            assert await incoming.is_disconnected()
        return PlainTextResponse("answered into the void")

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        pass

    app = Starlette(routes=[Route("/", work)], middleware=middleware(monitor))
    await app(http_scope("/"), receive, send)
    stats = monitor.get_stats("GET /")
    assert (stats.count, stats.cancelled_count) == (1, int(asks))


async def test_a_disconnect_at_the_end_of_the_response_is_ignored(monitor):
    """A client that disconnects after the complete response does not cancel the request."""
    ended = asyncio.Event()
    heard = asyncio.Event()

    async def app(scope, receive, send):
        async def listen():
            assert (await receive())["type"] == "http.disconnect"
            heard.set()

        listener = asyncio.create_task(listen())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"all"})
        await listener

    async def receive():
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.body":
            ended.set()
            await heard.wait()

    await NanospanMiddleware(app, monitor)(http_scope("/"), receive, send)
    stats = monitor.get_stats("GET (unmatched)")
    assert (stats.count, stats.cancelled_count) == (1, 0)


async def test_a_body_counts_to_its_end_and_background_tasks_do_not(monitor):
    """A request's duration ends when the last chunk is sent, before background tasks run."""
    seen = []

    async def chunks():
        for _ in range(3):
            seen.append(counts(monitor))
            await asyncio.sleep(0.01)
            yield b"chunk"

    def background():
        seen.append(counts(monitor))
        raise LookupError("too late to matter to the client")

    def stream(_request):
        return StreamingResponse(chunks(), background=BackgroundTask(background))

    app = Starlette(routes=[Route("/", stream)], middleware=middleware(monitor))
    with pytest.raises(LookupError):
        await request(app, "/")
    assert seen == [{}, {}, {}, {"GET /": 1}]
    sample = only_sample(monitor, "GET /")
    assert sample["success"]
    assert sample["duration"] >= 0.03


@pytest.mark.parametrize("kind", ["http.response.pathsend", "http.response.zerocopysend"])
async def test_files_sent_by_the_server_end_the_body(monitor, kind):
    """Sending a file through an ASGI extension also ends the response."""
    recorded = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": kind, "path": "/file"})
        recorded.append(counts(monitor))

    async def ignore(*_message):
        pass

    await NanospanMiddleware(app, monitor)(http_scope("/"), ignore, ignore)
    assert recorded == [{"GET (unmatched)": 1}]
    assert counts(monitor) == {"GET (unmatched)": 1}


@pytest.mark.parametrize("kind", ["websocket", "lifespan", "something new"])
async def test_other_scopes_are_passed_on_unchanged(monitor, kind):
    """Calls with a scope other than HTTP reach the application unchanged and are not recorded."""
    given = ({"type": kind, "path": "/"}, object(), object())
    called = []

    async def app(*arguments):
        called.append(arguments)

    await NanospanMiddleware(app, monitor)(*given)
    assert [id(argument) for argument in called[0]] == [id(argument) for argument in given]
    assert counts(monitor) == {}


async def test_web_sockets_work_behind_the_middleware(monitor):
    """A Starlette WebSocket works behind the middleware and is not recorded."""

    async def endpoint(websocket):
        await websocket.accept()
        await websocket.close()

    routes = [WebSocketRoute("/ws", endpoint)]
    app = Starlette(routes=routes, middleware=middleware(monitor))
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message["type"])

    scope = http_scope("/ws") | {"type": "websocket", "scheme": "ws", "subprotocols": []}
    await app(scope, receive, send)
    assert sent == ["websocket.accept", "websocket.close"]
    assert counts(monitor) == {}


async def test_excluded_paths_are_served_and_not_recorded(monitor):
    """Excluding ``/metrics`` also excludes the paths below it, but not ``/metricsx``."""
    paths = ["/metrics", "/metrics/", "/metrics/x", "/metricsx"]
    routes = [Route(path, answer) for path in paths]
    app = Starlette(routes=routes, middleware=middleware(monitor, exclude=["/metrics"]))
    for path in paths:
        assert (await request(app, path))[0] == 200
        assert (await request(app, path, root_path="/behind/proxy"))[0] == 200
    assert counts(monitor) == {"GET /metricsx": 2}


async def test_the_process_wide_monitor_is_the_default():
    """The middleware records into the process-wide monitor by default."""
    code = """
import asyncio, json
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from nanospan import get_performance_monitor
from nanospan.integrations.asgi import NanospanMiddleware
app = Starlette(
    routes=[Route("/", lambda request: PlainTextResponse(""))],
    middleware=[Middleware(NanospanMiddleware)],
)
async def receive(): return {"type": "http.request"}
async def send(message): pass
scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
asyncio.run(app(scope, receive, send))
print(json.dumps(list(get_performance_monitor().get_all_stats())))
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    stdout, _ = await process.communicate()
    assert json.loads(stdout) == ["GET /"]


def test_invalid_arguments_are_rejected(monitor):
    """Creating the middleware with invalid arguments raises an error."""
    with pytest.raises(TypeError, match="callable"):
        NanospanMiddleware("app", monitor)
    with pytest.raises(TypeError, match="the string '/metrics'"):
        NanospanMiddleware(answer, monitor, exclude="/metrics")
    with pytest.raises(TypeError, match="route must be a function of the scope, got str"):
        NanospanMiddleware(answer, monitor, route="/users/{id}")
    with pytest.raises(ValueError, match="'metrics'"):
        NanospanMiddleware(answer, monitor, exclude=["metrics"])
