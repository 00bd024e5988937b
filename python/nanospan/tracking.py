"""Decorate functions of any kind so that each execution is recorded as a span."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from nanospan import _core

if TYPE_CHECKING:
    from nanospan._core import OperationRef

F = TypeVar("F", bound=Callable[..., Any])


def track_performance(
    operation: str, metadata: Mapping[str, Any] | None = None
) -> Callable[[F], F]:
    """Decorate a function so that the process-wide monitor records each of its executions.

    Coroutine functions, generators and async generators are timed from their first step to their
    end. Class methods and static methods may be decorated before or after ``@classmethod`` or
    ``@staticmethod``. The function's name, signature and docstring are kept. The monitor is
    looked up at each call, not when the function is decorated.

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
    """Wrap ``function`` so that each execution is recorded.

    Functions and coroutine functions get a native wrapper. Generator functions and async generator
    functions are wrapped in a function of the same kind, which runs the original inside a span.

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
    if not callable(function):
        raise TypeError(f"a tracked function must be callable, got {type(function).__name__}")
    wrapper: Callable[..., Any]
    if _is(inspect.isasyncgenfunction, function):
        wrapper = _async_generator_function(function, operation_ref)
    elif _is(inspect.isgeneratorfunction, function):
        wrapper = _generator_function(function, operation_ref)
        if function.__code__.co_flags & inspect.CO_ITERABLE_COROUTINE:
            wrapper = types.coroutine(wrapper)
    else:
        is_coroutine_function = _is(inspect.iscoroutinefunction, function)
        wrapper = _core.tracked_function(function, operation_ref, is_coroutine_function)
        if is_coroutine_function and not inspect.iscoroutinefunction(wrapper):
            # A partial or a callable object has no code object that marks it as a coroutine
            # function.
            wrapper = _awaiting(wrapper)
    return cast("F", functools.wraps(function)(wrapper))


def _is(kind: Callable[[Any], bool], function: Callable[..., Any]) -> bool:
    """Return whether the predicate ``kind`` holds for ``function`` or its class's ``__call__``."""
    return kind(function) or (
        not isinstance(function, type) and kind(getattr(type(function), "__call__", None))  # noqa: B004
    )


def _awaiting(function: Callable[..., Any]) -> Callable[..., Any]:
    async def tracked(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return tracked


def _generator_function(
    function: Callable[..., Any], operation_ref: OperationRef
) -> Callable[..., Any]:
    def tracked(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        with operation_ref.span():
            return (yield from function(*args, **kwargs))

    return tracked


def _async_generator_function(
    function: Callable[..., Any], operation_ref: OperationRef
) -> Callable[..., Any]:
    async def tracked(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        with operation_ref.span():
            inner = function(*args, **kwargs)
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
                    except BaseException as error:  # noqa: BLE001 - the generator decides
                        step = inner.athrow(error)
                    else:
                        step = inner.asend(sent)
            finally:
                await inner.aclose()

    return tracked
