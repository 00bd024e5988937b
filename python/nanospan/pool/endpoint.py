"""The ``Endpoint`` class: a database, how to connect to it, and its known pgvector types."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Mapping
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import psycopg
from psycopg.adapt import AdaptersMap

from nanospan.pool.connections import pooled_class
from nanospan.pool.conninfo import with_parameters
from nanospan.pool.errors import OUTAGE, ConninfoSourceError
from nanospan.pool.policy import connect_parameters
from nanospan.pool.tasks import within
from nanospan.values.messages import shown

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from nanospan.pool.config import ConnectionPoolConfig
    from nanospan.pool.conninfo import Conninfo, Target
    from nanospan.pool.vector_types import DatabaseTypes, VectorTypes

__all__ = ["ConnectArguments", "Endpoint", "call", "call_async", "known_arguments"]

PROGRAM_ERRORS = (TypeError, AttributeError, NameError, ImportError, AssertionError, LookupError)
"""Errors of the program that provides a function, which do not go away by trying again."""
REMEMBERED = 8
"""Number of recent connection strings whose secrets are hidden in errors."""


class ConnectArguments(NamedTuple):
    """The arguments for psycopg's ``connect``.

    Attributes:
        conninfo: The connection string.
        keywords: The other arguments.
        target: Both, parsed.
    """

    conninfo: str
    keywords: dict[str, Any]
    target: Target


class Endpoint:
    """A database, how to connect to it, and its pgvector types. Thread-safe.

    Attributes:
        target: The parsed connection string; if a function returns it, the one that a manager got
            first, or in a pool that no manager shares, a placeholder.
        config: The pool's settings.
        types: The database's pgvector types, as last looked up.
        conninfo: The connection string, or the function that returns it, as given.
    """

    def __init__(
        self,
        target: Target,
        config: ConnectionPoolConfig,
        types: DatabaseTypes,
        conninfo: Conninfo | None = None,
    ) -> None:
        """Create an endpoint; without ``conninfo``, the target's connection string is used."""
        self.target = target
        self.config = config
        self.types = types
        self.conninfo = target.conninfo if conninfo is None else conninfo
        self._targets = deque([target], maxlen=REMEMBERED)
        self._own_types: tuple[Any, VectorTypes, AdaptersMap] | None = None

    def connection_class(self, default: type[Any]) -> type[Any]:
        """Return the class of the pool's connections.

        Args:
            default: psycopg's class of the pool's kind, ``Connection`` or ``AsyncConnection``.

        Raises:
            TypeError: If the configured class is of the other kind.
        """
        kind: type[Any] = pooled_class(cast("Hashable", self.config.connection_class or default))
        if not issubclass(kind, default):
            raise TypeError(
                f"connection_class must be a subclass of psycopg.{default.__name__}, got "
                f"{shown(self.config.connection_class)}"
            )
        return kind

    def arguments(self) -> ConnectArguments:
        """Return the arguments for a synchronous connection.

        Raises:
            TypeError: If a function returns neither a string nor a mapping, whichever is due.
            ConninfoError: If a function returns a connection string that libpq cannot read.
            ConninfoSourceError: If a function raises an exception that may not last. Errors of
                the program, such as a ``TypeError``, are raised as they are.
        """
        with _from_function():
            given = call(self.conninfo), call(self.config.kwargs)
        return self._combine(*given)

    async def arguments_async(self, seconds: float) -> ConnectArguments:
        """Return the arguments for an asynchronous connection; see ``arguments``.

        Raises:
            ConninfoSourceError: Also if a function takes longer than ``seconds``.
        """
        if callable(self.conninfo) or callable(self.config.kwargs):
            try:
                with _from_function():
                    given = await within(seconds, self._call_functions())
            except asyncio.TimeoutError as exc:
                raise ConninfoSourceError(f"{exc}" or f"no answer within {seconds:g} s") from None
        else:
            given = self.conninfo, self.config.kwargs
        return self._combine(*given)

    async def _call_functions(self) -> tuple[str, Any]:
        return await call_async(self.conninfo), await call_async(self.config.kwargs)

    def redact(self, text: str) -> str:
        """Replace the secrets of the last connection strings in ``text`` with ``***``."""
        for target in list(self._targets):
            text = target.redact(text)
        return text

    def types_are_stale(self) -> bool:
        """Return True if the pgvector types should be looked up again on the server."""
        return self.types.stale(self.config.type_cache_ttl, monotonic())

    def adapters(self, context: Any = None) -> AdaptersMap | None:
        """Return the shared adapters for the known types, which give vectors as configured.

        Args:
            context: An object with the adapters to use for all other types, instead of psycopg's.
                The combination with the last such object is kept.
        """
        current, values = self.types.current, self.config.vector_values
        if current is None:
            return None if context is None else AdaptersMap(context.adapters)
        if context is None:
            return current.adapters_for(values)
        kept = self._own_types
        if kept is None or kept[0] is not context or kept[1] is not current:
            adapters = AdaptersMap(context.adapters)
            current.register(adapters, values)
            self._own_types = kept = (context, current, adapters)
        return kept[2]

    def _combine(self, conninfo: str, given: Any) -> ConnectArguments:
        kwargs = {} if given is None else given
        if not isinstance(kwargs, Mapping):
            raise TypeError(f"kwargs must be a mapping, got {type(kwargs).__name__}")
        target = with_parameters(conninfo, kwargs)
        if target not in list(self._targets):  # a copy, as other threads append to it
            self._targets.append(target)
        ours = connect_parameters(self.config, {*target.params, *kwargs})
        keywords = {**ours, **kwargs, "context": self.adapters(kwargs.get("context"))}
        return ConnectArguments(conninfo, keywords, target)


@contextmanager
def _from_function() -> Iterator[None]:
    """Convert exceptions other than errors of the program: they may come from an outage."""
    try:
        yield
    except (*OUTAGE, *PROGRAM_ERRORS):
        raise
    except Exception as exc:
        raise ConninfoSourceError(f"{type(exc).__name__}: {exc}") from exc


@contextmanager
def known_arguments() -> Iterator[None]:
    """Run the block, which connects; raise a TypeError for an argument that libpq does not know.

    What the server causes has an SQLSTATE, or is an ``OperationalError``.
    """
    try:
        yield
    except psycopg.ProgrammingError as exc:
        if exc.sqlstate is not None:
            raise
        error = TypeError(f"kwargs must contain arguments of connect only: {exc}")
    else:
        return
    raise error


def call(given: Any) -> Any:
    """Return ``given``, or what it returns if it is a function."""
    if not callable(given):
        return given
    result = given()
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()  # it would warn that it was never awaited
        name = getattr(given, "__qualname__", repr(given))
        raise TypeError(f"{name} must be a plain function in a synchronous pool, got an async one")
    return result


async def call_async(given: Any) -> Any:
    """Return ``given``, or what it returns if it is a function, asynchronous or not."""
    result = given() if callable(given) else given
    return await result if inspect.isawaitable(result) else result
