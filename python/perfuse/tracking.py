"""Decorating functions of every kind, so that each execution is one span."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from perfuse._core import Span

F = TypeVar("F", bound=Callable[..., Any])


def decorate(function: F, new_span: Callable[[], Span]) -> F:
    """Return ``function`` with each execution inside a span of its own.

    A generator's execution lasts from its first step until it returns, raises or is closed; one
    that is never started is never recorded. Closing a generator early is a cancellation.

    Args:
        function: A function, coroutine function, generator function or async generator function,
            any other callable, or a ``classmethod`` or ``staticmethod`` of one.
        new_span: Called for each execution.

    Raises:
        TypeError: If ``function`` cannot be called.
    """
    if isinstance(function, (classmethod, staticmethod)):
        return cast("F", type(function)(decorate(function.__func__, new_span)))
    if not callable(function):
        raise TypeError(f"only a callable can be tracked, got {function!r}")
    # A callable object is asked for what its __call__ is.
    kind = function if inspect.isroutine(_unwrapped(function)) else type(function).__call__
    if inspect.iscoroutinefunction(kind):
        wrapper = _coroutine_function(function, new_span)
    elif inspect.isasyncgenfunction(kind):
        wrapper = _async_generator_function(function, new_span)
    elif inspect.isgeneratorfunction(kind):
        wrapper = _generator_function(function, new_span)
    else:
        wrapper = _function(function, new_span)
    return cast("F", functools.wraps(function)(wrapper))


def _unwrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _function(function: Callable[..., Any], new_span: Callable[[], Span]) -> Callable[..., Any]:
    def tracked(*args: Any, **kwargs: Any) -> Any:
        with new_span():
            return function(*args, **kwargs)

    return tracked


def _coroutine_function(
    function: Callable[..., Any], new_span: Callable[[], Span]
) -> Callable[..., Any]:
    async def tracked(*args: Any, **kwargs: Any) -> Any:
        with new_span():
            return await function(*args, **kwargs)

    return tracked


def _generator_function(
    function: Callable[..., Any], new_span: Callable[[], Span]
) -> Callable[..., Any]:
    def tracked(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        with new_span():
            return (yield from function(*args, **kwargs))

    return tracked


def _async_generator_function(
    function: Callable[..., Any], new_span: Callable[[], Span]
) -> Callable[..., Any]:
    async def tracked(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        with new_span():
            inner = function(*args, **kwargs)
            try:
                step = inner.asend(None)
                while True:
                    try:
                        value = await step
                    except StopAsyncIteration:
                        return
                    # What `yield from` does, which async generators lack.
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
