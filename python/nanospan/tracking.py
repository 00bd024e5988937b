"""Decorate functions of any kind so that each execution is recorded as a span."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from nanospan import _core
from nanospan.wrappers import generate

if TYPE_CHECKING:
    from nanospan._core import Operation, OperationRef

F = TypeVar("F", bound=Callable[..., Any])

# The definitions of the functions that replace decorated ones; see ``nanospan.wrappers``.

_FUNCTION = """
def function():
    return original()
"""

_COROUTINE_FUNCTION = """
async def function():
    return await original()
"""

_GENERATOR_FUNCTION = """
def function():
    with span():
        return (yield from original())
"""

_ASYNC_GENERATOR_FUNCTION = """
async def function():
    with span():
        inner = original()
        try:
            step = inner.asend(None)
            while True:
                try:
                    value = await step
                except StopAsyncIteration:
                    return
                # Emulates `yield from`, which async generators do not support.
                try:
                    sent = yield value
                except GeneratorExit:
                    raise
                except BaseException as error:
                    # The generator decides what the error means.
                    step = inner.athrow(error)
                else:
                    step = inner.asend(sent)
        finally:
            await inner.aclose()
"""

# The globals of the original may give these names another meaning.
_EXCEPTIONS = {
    error.__name__: error for error in (BaseException, GeneratorExit, StopAsyncIteration)
}


def track_performance(
    operation: str, metadata: Mapping[str, Any] | None = None
) -> Callable[[F], F]:
    """Decorate a function so that the process-wide monitor records each of its executions.

    Coroutine functions, generators and async generators are timed from their first step to their
    end. Class methods and static methods may be decorated before or after ``@classmethod`` or
    ``@staticmethod``. The result is a function of the same kind, with the same name, signature,
    defaults and docstring. The monitor is looked up at each call, not when the function is
    decorated.

    ```python
    @track_performance("load_user", {"source": "db"})
    async def load_user(user_id): ...
    ```

    Args:
        operation: The operation's name, a non-empty string.
        metadata: Metadata to attach to every sample.

    Raises:
        TypeError: If ``operation`` is not a str, ``metadata`` is not a mapping, or (when applied)
            the decorated object is not callable.
        ValueError: If ``operation`` is empty.
    """
    operation_ref = _core.OperationRef(operation, metadata)

    def decorator(function: F) -> F:
        return decorate(function, operation_ref)

    return decorator


def decorate(function: F, operation_ref: OperationRef) -> F:
    """Return a function that calls ``function`` and records each execution.

    It is a Python function of the same kind, with the same parameters and defaults.

    A generator's execution lasts from its first step until it returns, raises or is closed. A
    generator that is never started is not recorded, and one that is closed early is
    recorded as cancelled.

    Args:
        function: A function, coroutine function, generator function or async generator function,
            any other callable, or a ``classmethod`` or ``staticmethod`` that wraps one of these.
        operation_ref: The operation under which executions are recorded.

    Raises:
        TypeError: If ``function`` is not callable.
    """
    if isinstance(function, (classmethod, staticmethod)):
        return cast("F", type(function)(decorate(function.__func__, operation_ref)))
    _check(function)
    wrapper: Callable[..., Any]
    if _is(inspect.isasyncgenfunction, function):
        values = {"original": function, "span": operation_ref.span, **_EXCEPTIONS}
        wrapper = generate(_ASYNC_GENERATOR_FUNCTION, function, values)
    elif _is(inspect.isgeneratorfunction, function):
        values = {"original": function, "span": operation_ref.span}
        wrapper = generate(_GENERATOR_FUNCTION, function, values)
        code = getattr(function, "__code__", None)
        if code is not None and code.co_flags & inspect.CO_ITERABLE_COROUTINE:
            wrapper = types.coroutine(wrapper)
    else:
        wrapper = _native(function, operation_ref)
    return cast("F", wrapper)


def wrap(
    function: Callable[..., Any], operation: Operation, metadata: dict[str, Any] | None
) -> Callable[..., Any]:
    """Return a native callable that calls ``function`` and records each execution.

    Raises:
        TypeError: If ``function`` is not callable, or is a generator function.
    """
    _check(function)
    kinds = {
        "a generator function": inspect.isgeneratorfunction,
        "an async generator function": inspect.isasyncgenfunction,
    }
    for name, kind in kinds.items():
        if _is(kind, function):
            raise TypeError(
                f"`function` must be a function or coroutine function, got {name}; "
                "decorate it instead"
            )
    is_coroutine_function = _is(inspect.iscoroutinefunction, function)
    operation_ref = _core.OperationRef.fixed(operation, metadata)
    wrapper = _core.tracked_function(function, operation_ref, is_coroutine_function)
    return functools.wraps(function)(wrapper)


def _native(function: Callable[..., Any], operation_ref: OperationRef) -> types.FunctionType:
    """Wrap a function or coroutine function, so that the native core times it."""
    is_coroutine_function = _is(inspect.iscoroutinefunction, function)
    tracker = _core.Tracker(function, operation_ref, is_coroutine_function)
    source, flags = _FUNCTION, 0
    if is_coroutine_function:
        if _core.VECTORCALL_IS_USED:
            source = _COROUTINE_FUNCTION
        else:
            # A second coroutine would cost as much as all the recording. The wrapper returns the
            # tracker's, and is marked as a coroutine function.
            flags = inspect.CO_COROUTINE
    wrapper = generate(source, function, {"original": tracker.call}, flags)
    _core.attach(tracker, wrapper)
    return wrapper


def _check(function: object) -> None:
    if not callable(function):
        raise TypeError(f"a tracked function must be callable, got {type(function).__name__}")


def _is(kind: Callable[[Any], bool], function: Callable[..., Any]) -> bool:
    """Return whether the predicate ``kind`` holds for ``function`` or its class's ``__call__``."""
    code = getattr(function, "__code__", None)
    if not isinstance(getattr(code, "co_flags", 0), int):
        return False  # a mock, or an object with any attribute
    return kind(function) or (
        not isinstance(function, type) and kind(getattr(type(function), "__call__", None))  # noqa: B004
    )
