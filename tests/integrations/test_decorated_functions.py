"""Tests that libraries treat a decorated function as they treat a plain one."""

import asyncio
import io
import json
import subprocess
import sys
from typing import Annotated

import click
import cloudpickle
import coverage
import fastapi
import joblib
import pydantic
import pytest
from asgi_requests import request
from celery import Celery
from click.testing import CliRunner
from joblib.externals.loky import get_reusable_executor
from sphinx.application import Sphinx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from nanospan import PerformanceMonitor, track_performance

pytestmark = pytest.mark.usefixtures("process_monitor")

tracked = track_performance("op")


@pytest.fixture
@tracked
def name(request):
    return request.node.name


@pytest.fixture
@tracked
def closing(name):
    closed = []
    yield name, closed
    closed.append(True)


def test_pytest_fixtures(closing):
    """Decorated functions and generator functions are fixtures, which get what they ask for."""
    assert closing == ("test_pytest_fixtures", [])


class TestWeb:
    async def test_fastapi_endpoints_and_dependencies(self, stats):
        """FastAPI reads the parameters of decorated endpoints and dependencies of each kind."""
        app = fastapi.FastAPI()

        @tracked
        def plain(q: int = 1):
            return q

        @tracked
        async def later(request: Request):
            return request.method

        @tracked
        async def closing(s: int = 3):
            yield s

        @app.get("/later/{number}")
        @tracked
        async def endpoint(
            number: int,
            a: Annotated[int, fastapi.Depends(plain)],
            b: Annotated[str, fastapi.Depends(later)],
            c: Annotated[int, fastapi.Depends(closing)],
        ):
            return [number, a, b, c]

        @app.get("/threaded/{number}")
        @tracked
        def threaded(number: int):
            return number

        assert await request(app, "/later/5") == (200, b'[5,1,"GET",3]')
        assert await request(app, "/threaded/5") == (200, b"5")
        assert stats().count == 5
        assert (await request(app, "/later/x"))[0] == 422
        parameters = app.openapi()["paths"]["/later/{number}"]["get"]["parameters"]
        assert [parameter["name"] for parameter in parameters] == ["number", "q", "s"]

    async def test_starlette_routes(self, stats):
        """Starlette takes decorated endpoints for endpoints, not for ASGI applications."""

        @tracked
        async def later(request: Request):
            return PlainTextResponse(request.path_params["name"])

        @tracked
        def threaded(request: Request):
            return PlainTextResponse(request.method)

        app = Starlette(routes=[Route("/threaded", threaded), Route("/{name}", later)])
        assert await request(app, "/x") == (200, b"x")
        assert await request(app, "/threaded") == (200, b"GET")
        assert (await request(app, "/x", method="POST"))[0] == 405
        assert stats().count == 2


class TestPydantic:
    def test_functions_in_a_model(self, stats):
        """A model may define decorated methods, validators and computed fields."""

        class Model(pydantic.BaseModel):
            x: int

            @tracked
            def double(self):
                return 2 * self.x

            @pydantic.field_validator("x")
            @classmethod
            @tracked
            def positive(cls, value):
                if value < 0:
                    raise ValueError("negative")
                return value

            @pydantic.computed_field
            @property
            @tracked
            def triple(self) -> int:
                return 3 * self.x

        assert Model(x=1).double() == 2
        assert Model(x=1).model_dump() == {"x": 1, "triple": 3}
        with pytest.raises(pydantic.ValidationError, match="negative"):
            Model(x=-1)
        assert list(Model.model_fields) == ["x"]
        assert stats().count == 5

    def test_validate_call(self):
        """validate_call checks and converts the arguments of decorated functions."""

        @pydantic.validate_call
        @tracked
        def add(a: int, b: int = 2) -> int:
            return a + b

        @pydantic.validate_call
        @tracked
        async def add_later(a: int) -> int:
            return a

        assert (add("1"), add("1", b="3"), asyncio.run(add_later("4"))) == (3, 4, 4)
        with pytest.raises(pydantic.ValidationError, match="valid integer"):
            add("x")


class TestCommands:
    def test_click(self, stats):
        """A decorated function becomes a command with its name, help and parameters."""

        @click.command()
        @click.option("--count", default=1)
        @click.argument("name")
        @tracked
        def greet(name, count):
            """Greet a person."""
            click.echo(f"hello {name} " * count)

        assert greet.name == "greet"
        assert "Greet a person." in CliRunner().invoke(greet, ["--help"]).output
        assert CliRunner().invoke(greet, ["x", "--count", "2"]).output == "hello x hello x \n"
        assert stats().count == 1

    def test_celery(self, stats):
        """A decorated function becomes a task that checks its arguments, bound or not."""
        app = Celery("tests", broker="memory://", backend="cache+memory://")
        app.conf.task_always_eager = True

        @app.task
        @tracked
        def add(a, b=2):
            """Add two numbers."""
            return a + b

        @app.task(bind=True)
        @tracked
        def name(self, suffix):
            return self.name + suffix

        assert add.name == f"{__name__}.add"
        assert (add.delay(1).get(), add.apply_async((1,), {"b": 3}).get()) == (3, 4)
        assert name.delay("!").get() == f"{__name__}.name!"
        with pytest.raises(TypeError, match="missing 1 required positional argument"):
            add.delay()
        assert stats().count == 3


def test_coverage_counts_the_lines_of_the_original(tmp_path, monkeypatch):
    """Coverage with branches finds the lines and branches that ran, and no others."""
    (tmp_path / "covered.py").write_text(
        "from nanospan import track_performance\n"
        '@track_performance("op")\n'
        "def function(x):\n"
        "    if x:\n"
        "        return 1\n"
        "    return 2\n"
        'lambda_ = track_performance("op")(lambda x: 1 if x else 2)\n'
        'unused = track_performance("op")(lambda: 1)\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    measured = coverage.Coverage(
        data_file=None, config_file=False, branch=True, include=[str(tmp_path / "*")]
    )
    with measured.collect():
        import covered

        assert (covered.function(1), covered.lambda_(0)) == (1, 2)
    sys.modules.pop("covered")
    assert measured.analysis2(str(tmp_path / "covered.py"))[3] == [6]
    report = io.StringIO()
    measured.report(file=report)
    assert " 8 " in report.getvalue()


def test_sphinx_documents_the_signature(tmp_path, monkeypatch):
    """Autodoc shows the signature, annotations and docstring of decorated functions."""
    (tmp_path / "documented_by_sphinx.py").write_text(
        "from nanospan import track_performance\n"
        '@track_performance("op")\n'
        "async def function(a: int, *, b: str = 'x') -> float:\n"
        '    """Do something."""\n'
        "class Class:\n"
        '    """A class."""\n'
        '    @track_performance("op")\n'
        "    def method(self, c: int) -> str:\n"
        '        """Do more."""\n'
    )
    (tmp_path / "conf.py").write_text("extensions = ['sphinx.ext.autodoc']\n")
    (tmp_path / "index.rst").write_text(
        "Title\n=====\n.. automodule:: documented_by_sphinx\n   :members:\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    warnings = io.StringIO()
    app = Sphinx(
        tmp_path,
        tmp_path,
        tmp_path / "out",
        tmp_path / "doctrees",
        "text",
        status=None,
        warning=warnings,
    )
    app.build()
    sys.modules.pop("documented_by_sphinx")
    text = (tmp_path / "out" / "index.txt").read_text()
    assert warnings.getvalue() == ""
    assert "async documented_by_sphinx.function(a: int, *, b: str = 'x') -> float" in text
    assert "method(c: int) -> str" in text
    assert "Do something." in text


LOADED = """
import asyncio, pickle, sys
from nanospan import get_performance_monitor
add, add_later, numbers = pickle.load(sys.stdin.buffer)
async def later(): return await add_later(2)
found = [add(1), asyncio.run(later()), list(numbers(2))]
stats = get_performance_monitor().get_stats("op")
import json
print(json.dumps([found, stats.count]))
"""


def local_functions():
    """Return decorated functions that can be pickled only by value."""
    offset = 10

    @tracked
    def add(a, *, b=2):
        return a + b + offset

    @tracked
    async def add_later(a):
        await asyncio.sleep(0)
        return a + offset

    @tracked
    def numbers(n):
        yield from range(n)

    return add, add_later, numbers


def test_cloudpickle_sends_local_functions():
    """Functions that cloudpickle sends to another process record into its own monitor."""
    pickled = cloudpickle.dumps(local_functions())
    finished = subprocess.run(
        [sys.executable, "-c", LOADED], input=pickled, capture_output=True, check=True
    )
    assert json.loads(finished.stdout) == [[13, 12, [0, 1]], 3]


def test_a_function_bound_to_a_monitor_cannot_be_sent():
    """Pickling a function that records into another monitor by value says what to do."""
    function = PerformanceMonitor().track_operation("op")(lambda: 1)
    with pytest.raises(TypeError, match="decorate it with track_performance"):
        cloudpickle.dumps(function)


def test_joblib_runs_local_functions_in_processes():
    """Joblib sends decorated local functions to its processes."""
    add, _, _ = local_functions()
    try:
        found = joblib.Parallel(n_jobs=2)(joblib.delayed(add)(i, b=0) for i in range(4))
    finally:
        get_reusable_executor().shutdown(wait=True)
    assert found == [10, 11, 12, 13]
