"""Tests that what track_performance returns is a function, to Python and its standard library."""

import abc
import asyncio
import bdb
import dataclasses
import doctest
import functools
import inspect
import subprocess
import sys
import traceback
import types
import typing
import xmlrpc.client
from unittest import mock

import pytest

from nanospan import PerformanceMonitor, _core, track_performance
from nanospan.wrappers import generate

pytestmark = pytest.mark.usefixtures("process_monitor")

tracked = track_performance("op")


@tracked
def documented(a, b=2, *, c=3):
    """Add three numbers.

    >>> documented(1)
    6
    """
    return a + b + c


@tracked
async def coroutine_function(a, b=2):
    return a + b


@tracked
def generator_function(a, b=2):
    yield a + b


@tracked
async def async_generator_function(a, b=2):
    yield a + b


KINDS = {
    documented: inspect.isfunction,
    coroutine_function: inspect.iscoroutinefunction,
    generator_function: inspect.isgeneratorfunction,
    async_generator_function: inspect.isasyncgenfunction,
}


def run(function, *args, **kwargs):
    """Call a function of any kind and return its result, or the first value it yields."""

    async def first(iterator):
        [value] = [value async for value in iterator]
        return value

    made = function(*args, **kwargs)
    if inspect.isasyncgen(made):
        return asyncio.run(first(made))
    if inspect.isgenerator(made):
        [value] = made
        return value
    return asyncio.run(made) if inspect.isawaitable(made) else made


class TestKind:
    @pytest.mark.parametrize("function", KINDS)
    def test_it_is_a_function_of_the_kind_of_the_original(self, function):
        """Each decorated function is a FunctionType, and of exactly the kind of the original."""
        assert type(function) is types.FunctionType
        kinds = [inspect.isfunction, *list(KINDS.values())[1:]]
        held = [kind for kind in kinds if kind(function)]
        assert held == [kind for kind in kinds if kind(function.__wrapped__)]
        assert KINDS[function] in held

    @pytest.mark.parametrize("function", KINDS)
    def test_a_copy_made_from_its_parts_records_too(self, function, stats):
        """A function made from the code and closure of a decorated one records its executions."""
        copied = types.FunctionType(
            function.__code__,
            function.__globals__,
            argdefs=function.__defaults__,
            closure=function.__closure__,
        )
        copied.__kwdefaults__ = function.__kwdefaults__
        assert run(copied, 1) == run(function, 1)
        assert stats().count == 2

    def test_any_other_callable_becomes_a_function(self, stats):
        """Built-in functions, partials, bound methods, classes and mocks become functions."""
        callables = [
            (len, ([1],)),
            (functools.partial(pow, 2), (3,)),
            ("a".replace, ("a", "b")),
            (documented.__get__(1), ()),
            (list, ((1,),)),
            (mock.Mock(return_value=3), (1,)),
            (mock.MagicMock(spec=generator_function, return_value=3), (1,)),
            (xmlrpc.client.MultiCall(None).add, (1,)),  # has any attribute
        ]
        for original, args in callables:
            function = tracked(original)
            assert type(function) is types.FunctionType
            assert function(*args) == original(*args)
        assert stats().count == len(callables) + 2  # `documented` was called twice

    def test_a_partial_of_a_generator_function_is_a_generator_function(self, stats):
        """A partial of a generator function, and an object that is called as one, are timed."""

        class Callable:
            def __call__(self, n):
                yield from range(n)

        partial = functools.partial(generator_function.__wrapped__, 3)
        for function, args in ((tracked(partial), ()), (tracked(Callable()), (2,))):
            assert inspect.isgeneratorfunction(function)
            list(function(*args))
        assert stats().count == 2


class TestParameters:
    def test_every_kind_of_parameter_is_passed_on(self):
        """Calls give the results and errors of the original, whatever its parameters are."""

        def positional_only(a, b=2, /, c=3):
            return a, b, c

        def keyword_only(a=1, *, b, c=3):
            return a, b, c

        def everything(a, /, b=2, *args, c, d=4, **kwargs):
            return a, b, args, c, d, kwargs

        def clashing(original, function, call=1, *span, args=2, self=3, **kwargs):
            return original, function, call, span, args, self, kwargs

        originals = [positional_only, keyword_only, everything, clashing, lambda: 1, lambda *a: a]
        calls = [
            ((), {}),
            ((1,), {}),
            ((1, 2), {}),
            ((1, 2, 3, 4), {}),
            ((1,), {"b": 5}),
            ((1, 2), {"c": 5}),
            ((1,), {"c": 5, "d": 6, "e": 7}),
            ((1, 2, 3), {"original": 1}),
            ((), {"original": 1, "function": 2, "args": 3, "self": 4, "kwargs": 5}),
        ]

        def outcome(function, args, kwargs):
            try:
                return function(*args, **kwargs)
            except TypeError as error:
                return str(error)

        for original in originals:
            function = tracked(original)
            assert inspect.signature(function) == inspect.signature(original)
            assert inspect.signature(function, follow_wrapped=False) == inspect.signature(original)
            for args, kwargs in calls:
                assert outcome(function, args, kwargs) == outcome(original, args, kwargs)

    def test_parameters_with_mangled_names_are_passed_on(self):
        """In a class, parameters whose names begin with two underscores are passed on."""

        class Service:
            @tracked
            def method(self, __a, *, __b=2):  # noqa: PYI063 - the name is the point
                return __a, __b

        assert Service().method(1) == (1, 2)
        assert Service().method(1, _Service__b=3) == (1, 3)

    @pytest.mark.parametrize("function", KINDS)
    def test_defaults_assigned_later_hold(self, function, monkeypatch):
        """Defaults assigned to a decorated function replace those of the original."""
        monkeypatch.setattr(function, "__defaults__", (20,))
        if function is documented:
            monkeypatch.setattr(function, "__kwdefaults__", {"c": 0})
        assert run(function, 1) == 21

    def test_code_assigned_later_runs(self):
        """Assigning the code of another function to a decorated one replaces what it does."""

        @tracked
        def function():
            return "before"

        def make():
            cell = None
            return lambda: (cell, "after")

        function.__code__ = make().__code__
        assert function()[1] == "after"

    def test_a_changed_closure_is_honoured(self):
        """Replacing what the closure of a decorated function holds replaces what it calls."""

        @tracked
        def function(x):
            return x

        function.__closure__[0].cell_contents = lambda x: ("other", x)
        assert function(1) == ("other", 1)

    def test_a_closure_changed_while_the_monitor_is_looked_up_is_honoured(self):
        """A change of the closure while the process-wide monitor is made frees nothing in use."""
        code = """
import functools, gc
from nanospan import _core, recorder, track_performance
@track_performance("op", {"k": 1})
def function(): return "original"
made, junk = recorder._make, []
def make():
    function.__closure__[0].cell_contents = lambda: "other"
    gc.collect()
    junk.extend(_core.OperationRef(f"junk {i}") for i in range(1000))
    junk.extend(bytes([65]) * n for n in range(8, 200) for _ in range(50))
    return made()
recorder._make = make
partial = functools.partial(function)
print(partial(), partial())
"""
        command = [sys.executable, "-c", code]
        run = subprocess.run(command, check=False, capture_output=True, text=True)
        assert (run.returncode, run.stdout) == (0, "original other\n"), run.stderr

    def test_a_function_attached_twice_still_runs_its_code(self):
        """Attaching a function to another tracker leaves the way to run functions' code alone."""

        @tracked
        def function():
            return "before"

        other = _core.Tracker(lambda: "after", _core.OperationRef("op"), False)
        function.__closure__[0].cell_contents = other.call
        _core.attach(other, function)
        function.__defaults__ = ()
        assert functools.partial(function)() == "after"

    def test_the_closure_of_the_original_keeps_working(self):
        """A decorated closure sees and makes changes of the variables that it closes over."""
        count = 0

        @tracked
        def increase():
            nonlocal count
            count += 1
            return count

        increase()
        count += 10
        assert (increase(), count) == (12, 12)

    def test_only_a_function_that_calls_it_can_be_attached_to_a_tracker(self):
        """Attaching a tracker to another function, or to no function, raises a TypeError."""
        tracker = _core.Tracker(len, _core.OperationRef("op"), False)
        for other in (documented, documented.__wrapped__, len, None):
            with pytest.raises(TypeError, match="`wrapper` must be a function whose"):
                _core.attach(tracker, other)


class TestClasses:
    def test_special_methods_are_bound_as_usual(self, stats):
        """Decorated special methods get their class or instance without further decorators."""
        seen = []

        class Base:
            @tracked
            def __new__(cls, *args):
                seen.append("new")
                return super().__new__(cls)

            @tracked
            def __init__(self, value):
                self.value = value

            @tracked
            def __init_subclass__(cls, **kwargs):
                seen.append((cls.__name__, kwargs))

            @tracked
            def __class_getitem__(cls, item):
                return cls, item

            @tracked
            def __getitem__(self, item):
                return item

        class Child(Base, option=1):
            pass

        assert seen == [("Child", {"option": 1})]
        assert Child[int] == (Child, int)
        # Often enough for the interpreter to specialise the calls.
        made = [Child(i) for i in range(100)]
        assert [child.value for child in made] == list(range(100))
        assert [child[i] for i, child in enumerate(made)] == list(range(100))
        assert stats().count == 302

    def test_properties_and_descriptors(self, stats):
        """Decorated functions work as property, cached_property and method of a dataclass."""

        @dataclasses.dataclass(order=True)
        class Point:
            x: int

            @property
            @tracked
            def double(self):
                return 2 * self.x

            @functools.cached_property
            @tracked
            def triple(self):
                return 3 * self.x

            @tracked
            def __post_init__(self):
                self.seen = True

        point = Point(1)
        for _ in range(100):
            assert (point.double, point.triple, point.seen) == (2, 3, True)
        assert [field.name for field in dataclasses.fields(Point)] == ["x"]
        assert stats().count == 102

    def test_abstract_methods_stay_abstract(self):
        """A decorated abstract method keeps its class from being instantiated."""

        class Base(abc.ABC):
            @tracked
            @abc.abstractmethod
            def inside(self): ...

            @abc.abstractmethod
            @tracked
            def outside(self): ...

        assert Base.__abstractmethods__ == {"inside", "outside"}
        with pytest.raises(TypeError, match="abstract"):
            Base()

    def test_single_dispatch(self, stats):
        """Singledispatch takes decorated functions, and finds the type in their annotations."""

        @functools.singledispatch
        @tracked
        def name(value):
            return "object"

        @name.register
        @tracked
        def _(value: int):
            return "int"

        assert (name(1), name("a")) == ("int", "object")
        assert stats().count == 2

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="get_overloads() is new in 3.11")
    def test_overloads_are_told_apart(self):
        """typing.get_overloads returns each decorated overload."""

        @typing.overload
        @tracked
        def convert(value: int) -> str: ...
        @typing.overload
        @tracked
        def convert(value: str) -> int: ...
        def convert(value):
            return value

        hints = [typing.get_type_hints(found) for found in typing.get_overloads(convert)]
        assert hints == [{"value": int, "return": str}, {"value": str, "return": int}]


class TestTools:
    def test_autospec_checks_calls(self):
        """A mock made by autospec has the parameters of the decorated function."""
        with mock.patch(f"{__name__}.documented", autospec=True) as patched:
            documented(1, c=4)
            with pytest.raises(TypeError, match="too many positional arguments"):
                documented(1, 2, 3, 4)
            patched.assert_called_once_with(1, c=4)
        with mock.patch(f"{__name__}.coroutine_function", autospec=True) as patched:
            patched.return_value = 5
            assert asyncio.run(coroutine_function(1)) == 5

    def test_doctest_finds_and_runs_the_examples(self):
        """Doctest finds decorated functions, at their lines, and runs their examples."""
        module = types.ModuleType(__name__)
        module.__dict__.update(documented=documented, __file__=__file__)
        finder = doctest.DocTestFinder(exclude_empty=True)
        [found] = finder.find(documented, "documented", globs=globals())
        assert found.lineno > inspect.getsourcelines(documented)[1]
        assert doctest.DocTestRunner(verbose=False).run(found) == (0, 1)
        assert documented.__globals__ is globals()

    def test_source_and_place_are_those_of_the_original(self):
        """Inspect finds the file, the first line and the source of each kind of function."""
        for function in KINDS:
            assert inspect.getfile(function) == __file__
            assert function.__code__.co_firstlineno == inspect.getsourcelines(function)[1]
            assert function.__code__.co_name == function.__name__
            assert inspect.getsource(function) == inspect.getsource(function.__wrapped__)

    def test_a_traceback_shows_only_lines_of_the_original(self):
        """Each entry of a traceback is at the definition of the function or in its body."""

        @tracked
        def fails():
            raise ValueError("broken")

        with pytest.raises(ValueError, match="broken") as caught:
            fails()
        first = fails.__code__.co_firstlineno
        _, *entries = traceback.extract_tb(caught.value.__traceback__)
        assert {entry.name for entry in entries} == {"fails"}
        assert entries[-1].lineno == first + 2
        assert all(entry.lineno == first for entry in entries[:-1])

    def test_a_debugger_steps_into_the_original(self, stats):
        """A debugger that steps into a decorated call stops at each line of the original."""
        lines = []

        class Debugger(bdb.Bdb):
            def user_line(self, frame):
                if frame.f_code.co_filename == __file__:
                    lines.append(frame.f_lineno)
                self.set_step()

        @tracked
        def function(x):
            y = x + 1
            return y * 2

        assert Debugger().runcall(function, 1) == 4
        first = function.__code__.co_firstlineno
        assert [line for line in lines if line > first][:2] == [first + 2, first + 3]
        assert stats().count == 1


DEEP = """
import asyncio, sys, threading
from nanospan import get_performance_monitor, track_performance

@track_performance("op")
def down(n):
    return n and down(n - 1)

@track_performance("op")
async def down_later(n):
    return n and await down_later(n - 1)

native = get_performance_monitor().operation("op").wrap(lambda n: n and native(n - 1))

def attempt():
    for call in (down, native, lambda n: asyncio.run(down_later(n))):
        assert call(100) == 0
        try:
            call(200_000)
        except RecursionError:
            pass
        print("survived")

sys.setrecursionlimit(1_000_000)
attempt()
threading.stack_size(512 * 1024)
thread = threading.Thread(target=attempt)
thread.start()
thread.join()
"""


def test_deep_recursion_never_overflows_the_c_stack():
    """With a high recursion limit, deep recursion through tracked calls raises RecursionError."""
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", DEEP], capture_output=True, text=True, check=False
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.split() == ["survived"] * 6


class TestWrap:
    def test_it_records_into_its_operation(self):
        """A wrapped function records each call, with the metadata, into the handle's operation."""
        monitor = PerformanceMonitor()
        operation = monitor.operation("op")
        add = operation.wrap(lambda a, b=2: a + b, {"k": 1})
        later = operation.wrap(coroutine_function.__wrapped__)
        assert (add(1), add(1, b=3), asyncio.run(later(2))) == (3, 4, 4)
        samples = monitor.export_metrics("op")["op"]
        assert [sample["metadata"] for sample in samples] == [{"k": 1}, {"k": 1}, {}]

    def test_it_is_a_native_object_that_shows_the_original(self):
        """A wrapped function has the original's name, signature and docstring."""
        original = documented.__wrapped__
        wrapped = PerformanceMonitor().operation("op").wrap(original)
        assert not inspect.isfunction(wrapped)
        assert wrapped.__wrapped__ is original
        assert wrapped.__name__ == "documented"
        assert inspect.signature(wrapped) == inspect.signature(original)
        assert inspect.iscoroutinefunction(
            PerformanceMonitor().operation("op").wrap(coroutine_function)
        )

    def test_what_has_no_native_form_is_rejected(self):
        """Wrapping a generator function or an object that is not callable raises a TypeError."""
        operation = PerformanceMonitor().operation("op")
        with pytest.raises(TypeError, match="got a generator function; decorate it instead"):
            operation.wrap(generator_function)
        with pytest.raises(TypeError, match="got an async generator function; decorate it"):
            operation.wrap(async_generator_function)
        with pytest.raises(TypeError, match="must be callable, got int"):
            operation.wrap(5)
        with pytest.raises(TypeError, match="metadata must be a mapping or None, got int"):
            operation.wrap(len, 5)


def test_generated_code_reads_only_its_closure():
    """Names in generated code do not depend on the globals of the original."""
    source = """
def function():
    try:
        return original()
    except Error as error:
        return error
"""
    namespace = {"Error": None, "original": None}
    exec("def function(e): raise e", namespace)
    values = {"original": namespace["function"], "Error": ValueError}
    error = ValueError()
    assert generate(source, namespace["function"], values)(error) is error
