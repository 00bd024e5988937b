"""The sink that passes alerts to a function, plain or async."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from nanospan.alerts.sinks.base import DeliveryError, Sink

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Unpack

    from nanospan.alerts.alert import Alert
    from nanospan.alerts.sinks.base import Filters, Pause

__all__ = ["FunctionSink"]


class FunctionSink(Sink):
    """Calls a function with each alert.

    A plain function runs on the sink's thread. An async function runs on an event loop and may use
    objects that belong to that loop.

    Args:
        function: The function to call with each :class:`Alert`; its result is ignored.
        loop: The event loop to run an async function on; by default the currently running loop.
        timeout: Maximum duration of an async call, in seconds; after that, the call is cancelled
            and its alert is lost.
        **filters: ``states`` and ``min_severity``; see :class:`Sink`.

    Raises:
        TypeError: If ``function`` is not callable.
        ValueError: If ``function`` is async, ``loop`` is not given and no event loop is running.
    """

    def __init__(
        self,
        function: Callable[[Alert], Any],
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        timeout: float = 30.0,
        **filters: Unpack[Filters],
    ) -> None:
        super().__init__(**filters)
        if not callable(function):
            raise TypeError(
                f"function must be callable, got {type(function).__name__}; "
                "pass a function or a Sink"
            )
        self._function = function
        self._timeout = timeout
        self._loop = loop
        if self._loop is None and _is_async(function):
            try:
                self._loop = asyncio.get_running_loop()
            except RuntimeError:
                raise ValueError(
                    f"{self} is async but no event loop is running; "
                    "add it from a coroutine or use FunctionSink(function, loop=...)"
                ) from None

    def deliver(self, alert: Alert, _pause: Pause) -> None:
        """Call the function with the alert and wait until it returns."""
        if not _is_async(self._function):
            result = self._function(alert)
            if isinstance(result, Coroutine):
                result.close()
                raise DeliveryError(
                    "the function is not async but returned a coroutine; use async def"
                )
            return
        if self._loop is None or self._loop.is_closed():
            raise DeliveryError("the event loop is closed")
        coroutine = self._function(alert)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the loop was closed after the check above
            coroutine.close()
            raise DeliveryError("the event loop is closed") from None
        try:
            future.result(self._timeout)
        except concurrent.futures.TimeoutError:
            if future.done():  # the coroutine itself raised TimeoutError
                raise
            future.cancel()
            raise DeliveryError(f"timed out after {self._timeout:g} seconds") from None
        except concurrent.futures.CancelledError:
            raise DeliveryError("the call was cancelled") from None

    def __str__(self) -> str:
        name = getattr(self._function, "__qualname__", type(self._function).__qualname__)
        return f"FunctionSink({name})"


def _is_async(function: Callable[[Alert], object]) -> bool:
    call = getattr(type(function), "__call__", None)  # noqa: B004 - __call__ may be async
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
