"""Building blocks that signal handlers, finalisers and forked children may use at any moment.

A handler or finaliser can interrupt Python code between any two instructions, and it runs on the
thread that it has interrupted. If that thread holds a lock, even a re-entrant one, the handler may
wait for ever: for the lock itself, or for a thread that waits for it. A child forked by another
thread inherits the lock, and nothing in it will release it. Therefore, no code that may be called
from there holds a lock. State that belongs together is one immutable value, which ``_core.Atomic``
replaces; what remains is here.
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from nanospan import _core

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

__all__ = ["Bell", "LazyProperty", "LiveObjects", "Wakeup", "start_thread"]

T = TypeVar("T")


def start_thread(thread: threading.Thread) -> None:
    """Start a thread, unless the interpreter is ending.

    A finaliser may still run then. CPython before 3.12 would wait for ever for the thread to begin.

    Raises:
        RuntimeError: If the interpreter is ending, or there are too many threads.
    """
    if sys.is_finalizing():
        raise RuntimeError("no thread can be started while the interpreter is ending")
    thread.start()


class Wakeup:
    """Lets one thread wait until another calls ``set``, which may also be a handler on that thread.

    ``threading.Event`` holds a lock in ``set`` and ``wait``, so that a handler could not call it.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        # It does not exclude anyone: it is free while the wake-up is set, and acquired by `wait`.
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """End the current ``wait``, or else the next one. Never blocks."""
        with suppress(RuntimeError):  # it is set already
            self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until ``set`` is called, and reset.

        Args:
            timeout: Maximum time to wait, in seconds; by default, there is no limit.

        Returns:
            False if the timeout expired first.
        """
        if timeout is None:
            return self._lock.acquire()
        return self._lock.acquire(timeout=min(max(timeout, 0.0), threading.TIMEOUT_MAX))


class Bell:
    """Lets threads wait for a condition, which they check whenever ``ring`` is called.

    Serves as ``threading.Condition`` does, but has no lock: change the condition, then ring.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: _core.Atomic[tuple[Wakeup, ...]] = _core.Atomic(())

    def ring(self) -> None:
        """Make every waiting thread check its condition. Never blocks."""
        for wakeup in self._waiting.get():
            wakeup.set()

    def wait_for(self, condition: Callable[[], T], timeout: float | None = None) -> T:
        """Wait until ``condition`` returns a true value.

        Args:
            condition: Called now, and whenever ``ring`` may have been called. Its exceptions are
                raised.
            timeout: Maximum time to wait, in seconds; by default, there is no limit.

        Returns:
            The latest value of ``condition``, which is false if the timeout expired.
        """
        if value := condition():
            return value
        end = None if timeout is None else time.monotonic() + timeout
        mine = Wakeup()
        self._waiting.update(lambda waiting: (*waiting, mine))
        try:
            while not (value := condition()):
                if not mine.wait(None if end is None else end - time.monotonic()):
                    return condition()
            return value
        finally:
            self._waiting.update(
                lambda waiting: tuple(other for other in waiting if other is not mine)
            )


class LiveObjects(Generic[T]):
    """The objects that were added and still exist, compared by identity.

    ``weakref.WeakSet`` raises an exception if an object is added while it is being iterated over.
    """

    __slots__ = ("_references",)

    def __init__(self) -> None:
        self._references: dict[int, weakref.ref[T]] = {}

    def add(self, live: T) -> None:
        """Add an object, without keeping it alive."""
        key, references = id(live), self._references

        def forget(_: weakref.ref[T]) -> None:
            references.pop(key, None)

        references[key] = weakref.ref(live, forget)

    def discard(self, live: T) -> None:
        """Remove an object, if it was added."""
        self._references.pop(id(live), None)

    def __contains__(self, live: object) -> bool:
        """Return True if the object was added."""
        return id(live) in self._references

    def all(self) -> list[T]:
        """Return the objects, in the order in which they were added."""
        # Copying a dict's values runs no Python code, unlike taking the referents.
        found = [reference() for reference in list(self._references.values())]
        return [live for live in found if live is not None]


class LazyProperty(Generic[T]):
    """A property that is computed when it is first read, and kept in the object's ``__dict__``.

    Before Python 3.12, ``functools.cached_property`` holds one lock for all objects meanwhile. If
    two threads compute the property at the same time, the first value is kept.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type[Any]) -> T: ...
    def __get__(self, instance: object | None, owner: type[Any]) -> Self | T:
        """Return the value, or on a class the property itself."""
        if instance is None:
            return self
        return cast("T", instance.__dict__.setdefault(self._name, self._compute(instance)))
