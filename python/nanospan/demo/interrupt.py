"""Run a coroutine so that Ctrl-C and ``SIGTERM`` cancel it and let it clean up."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import FrameType

T = TypeVar("T")


def run_cancellable(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` in a new event loop. Must be called from the main thread.

    If a signal handler raised an exception, it would end whichever task happened to be running.
    Instead, the first ``SIGINT`` or ``SIGTERM`` cancels ``work``, and further ones are ignored
    until ``work`` has cleaned up. Then the signal is raised again for the previous handler.

    Args:
        work: The coroutine to run.

    Returns:
        The result of ``work``.

    Raises:
        BaseException: Any exception from ``work``, or from a received signal's previous handler.
    """
    received: list[int] = []

    async def cancellable() -> T:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(work)

        def cancel(number: int, _frame: FrameType | None) -> None:
            if not received:
                received.append(number)
                loop.call_soon_threadsafe(task.cancel)

        # Do not handle a signal that is ignored or that ends the process at once.
        previous = {
            number: handler
            for number in (signal.SIGINT, signal.SIGTERM)
            if callable(handler := signal.getsignal(number))
        }
        for number in previous:
            signal.signal(number, cancel)
        try:
            return await task
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    try:
        return asyncio.run(cancellable())
    finally:
        if received:
            signal.raise_signal(received[0])
