"""Name event loops in errors, of objects that are used in another loop than their own."""

from __future__ import annotations

from asyncio import get_running_loop
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

__all__ = ["wrong_loop_error"]


def wrong_loop_error(what: str, home: asyncio.AbstractEventLoop, remedy: str) -> RuntimeError:
    """Return the error for an object that is used in the running event loop, but has another.

    Args:
        what: The object, such as ``pool 'name'``.
        home: The event loop that the object belongs to.
        remedy: What to do about it.
    """
    if home.is_closed():
        state = "which is closed"
    elif home.is_running():
        state = "which runs in another thread"
    else:
        state = "which is not running now"
    return RuntimeError(
        f"{what} belongs to event loop {_name(home)}, {state}, and cannot be used in "
        f"{_name(get_running_loop())}; {remedy}"
    )


def _name(loop: asyncio.AbstractEventLoop) -> str:
    """Return a text that tells event loops apart, as their ``repr`` does not."""
    return f"<{type(loop).__name__} at {id(loop):#x}>"
