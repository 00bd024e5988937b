"""Calls over the network that end in time, whatever the server does."""

from __future__ import annotations

import contextvars
import os
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from nanospan.reentrant import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Connections", "TimedCalls"]

T = TypeVar("T")


class _HasDescriptor(Protocol):
    def fileno(self) -> int: ...


class Connections:
    """The connections that a call has opened so far, to be cut once the call is given up.

    Attributes:
        is_cut: Whether the call was given up.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.is_cut = False
        self._is_closed = False

    def add(self, connection: _HasDescriptor) -> None:
        """Cut the connection of this socket when the call is given up, or at once if it was.

        The socket is duplicated, so that it may be wrapped in TLS or closed meanwhile.
        """
        try:
            copy = socket.socket(fileno=os.dup(connection.fileno()))
        except OSError:  # it is closed, or no descriptor is free; the call is given up even so
            return
        with self._lock:
            if not self.is_cut and not self._is_closed:
                self._sockets.append(copy)
                return
        _shut_down(copy)

    def cut(self) -> None:
        """Shut the connections down, so that whatever waits for their servers fails at once."""
        with self._lock:
            self.is_cut = True
        self.close(_shut_down)

    def close(self, close_one: Callable[[socket.socket], object] = socket.socket.close) -> None:
        """Release the duplicated sockets, once the call has ended."""
        with self._lock:
            self._is_closed = True
            sockets, self._sockets = self._sockets, []
        for each in sockets:
            close_one(each)


def _shut_down(connection: socket.socket) -> None:
    with connection, suppress(OSError):  # the server may have closed it already
        connection.shutdown(socket.SHUT_RDWR)


class _Call(Generic[T]):
    """One call, its connections, and what has become of it."""

    def __init__(self, function: Callable[[Connections], T]) -> None:
        self._function = function
        self.connections = Connections()
        self.result: T | None = None
        self.error: BaseException | None = None
        self.is_over = False

    def run(self) -> None:
        try:
            self.result = self._function(self.connections)
        except BaseException as exc:  # noqa: BLE001 - raised in the thread that waits
            self.error = exc
        finally:
            self.connections.close()
            self.is_over = True


class TimedCalls:
    """Makes calls that wait for a server, one at a time, and gives each up after a time limit.

    A socket's own timeout does not suffice: each byte that arrives restarts it, and it covers
    neither the look-up of a name nor the attempts at several addresses. So each call runs on a
    new thread, which is left behind when the time is up. Cutting its connections ends it at
    once. Only a look-up of a name cannot be interrupted: that thread ends when the resolver gives
    up, and until then no other call begins, so that there is never more than one.

    Args:
        name: The name of the threads.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._left_behind: threading.Thread | None = None

    def run(self, function: Callable[[Connections], T], seconds: float) -> T:
        """Return what ``function`` returns, or raise what it raises.

        Args:
            function: Called in another thread, with the present context variables. It must pass
                each socket that it opens to its argument's ``add``.
            seconds: The time limit.

        Raises:
            TimeoutError: If the call takes longer.
        """
        deadline = time.monotonic() + seconds
        if self._left_behind is not None:
            with suppress(RuntimeError):  # it was interrupted before it had started
                self._left_behind.join(seconds)
            if self._left_behind.is_alive():
                raise TimeoutError
            self._left_behind = None
        call = _Call(function)
        thread = threading.Thread(
            target=contextvars.copy_context().run, args=(call.run,), name=self._name, daemon=True
        )
        try:
            try:
                start_thread(thread)
            except RuntimeError:  # the interpreter is ending, or there are too many threads
                call.run()
            else:
                thread.join(max(deadline - time.monotonic(), 0.0))
        finally:  # also if a signal handler raises; CPython 3.11 then takes the thread for ended
            if not call.is_over:
                self._left_behind = thread
                call.connections.cut()
        if self._left_behind is not None:
            raise TimeoutError
        error, call.error = call.error, None
        if error is None:
            return call.result  # type: ignore[return-value]  # set, as there is no error
        try:
            raise error
        finally:
            del error  # whose traceback refers to this frame
