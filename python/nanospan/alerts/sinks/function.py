"""Alerts as calls of a function, plain or async."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
from typing import TYPE_CHECKING, Any

from nanospan.alerts.sinks.base import DeliveryError, Sink

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanospan.alerts.alert import Alert
    from nanospan.alerts.sinks.base import Pause

__all__ = ["FunctionSink"]


class FunctionSink(Sink):
    """Calls ``function(alert)``.

    A plain function runs on the sink's thread. A coroutine function runs on the event loop it
    belongs to, and may use whatever lives there.

    Args:
        function: The function.
        loop: For a coroutine function: its event loop; the running one by default.
        timeout: Seconds after which a coroutine is cancelled, and its alert lost.
        **filters: ``states`` and ``min_severity``, as every :class:`Sink` has them.

    Raises:
        TypeError: If `function` cannot be called.
        ValueError: If it is a coroutine function and there is no event loop.
    """

    def __init__(
        self,
        function: Callable[[Alert], Any],
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        timeout: float = 30.0,
        **filters: Any,
    ) -> None:
        super().__init__(**filters)
        if not callable(function):
            raise TypeError(f"a function sink needs a callable, got {function!r}")
        self._function = function
        self._timeout = timeout
        self._loop = loop
        if self._loop is None and _is_async(function):
            try:
                self._loop = asyncio.get_running_loop()
            except RuntimeError:
                raise ValueError(
                    f"{self} is async and there is no running event loop: add it from a coroutine, "
                    "or give FunctionSink its loop"
                ) from None

    def deliver(self, alert: Alert, _pause: Pause) -> None:
        """Call the function and wait for its end."""
        if not _is_async(self._function):
            result = self._function(alert)
            if inspect.iscoroutine(result):
                result.close()
                raise DeliveryError("it gave a coroutine, which nothing awaits: use an async def")
            return
        if self._loop is None or self._loop.is_closed():
            raise DeliveryError("its event loop is closed")
        coroutine = self._function(alert)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # closed since it was looked at
            coroutine.close()
            raise DeliveryError("its event loop is closed") from None
        try:
            future.result(self._timeout)
        except concurrent.futures.TimeoutError:
            if future.done():  # the coroutine's own
                raise
            future.cancel()
            raise DeliveryError(f"not done after {self._timeout:g} seconds") from None
        except concurrent.futures.CancelledError:
            raise DeliveryError("cancelled") from None

    def __str__(self) -> str:
        name = getattr(self._function, "__qualname__", type(self._function).__qualname__)
        return f"FunctionSink({name})"


def _is_async(function: Callable[..., Any]) -> bool:
    call = getattr(type(function), "__call__", None)  # noqa: B004 - its async __call__
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
