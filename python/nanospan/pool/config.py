"""The pool settings, and the settings that apply where a caller gives none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

from nanospan.pool.settings import (
    DEFAULT_MAX_OVERFLOW,
    DEFAULT_POOL_SIZE,
    RULES,
    check_value,
    environment_texts,
    read_environment,
    read_sections,
    to_fields,
)
from nanospan.values.messages import shown

if TYPE_CHECKING:
    from nanospan.pool.session_state import Reset
    from nanospan.pool.vector_values import VectorValues

__all__ = [
    "AnyConfig",
    "ConnectionPoolConfig",
    "PoolSettings",
    "SharedPoolSettings",
    "as_config",
    "default_config",
    "set_default_config",
]


@dataclass(frozen=True)
class ConnectionPoolConfig:
    """Settings of a connection pool. All times are in seconds.

    Parameters in the connection string (``connect_timeout``, ``keepalives_*``) take precedence over
    these settings because they are more specific, and so do those in ``kwargs``.

    The functions get a connection, or, in the case of ``reconnect_failed``, the pool. Asynchronous
    pools await what they return.

    Attributes:
        min_size: Number of connections the pool keeps open.
        max_size: Maximum number of open connections; 0 means no limit, in null pools only.
        timeout: Maximum time a lease waits for a connection.
        recycle: Maximum age of a connection; older ones are replaced. ``None`` means no limit.
        connection_timeout: Time limit for opening the pool, for each health check, for each attempt
            to connect, and for ``configure`` and ``reset``. Several hosts, or addresses of one
            name, share it: each is tried for an equal part of what is left.
        keepalives_idle: Idle time before the first TCP keepalive probe.
        keepalives_interval: Time between keepalive probes.
        keepalives_count: Number of lost probes after which a connection is considered dead.
        health_check_interval: How long a successful health check remains valid.
        type_cache_ttl: How long the looked-up identifiers of pgvector's types remain valid.
        leak_after: How long a connection may be leased before the lease is logged as a leak;
            ``None`` disables the warning.
        max_waiting: Maximum number of leases that may wait for a connection at the same time; any
            further lease fails immediately. 0 means no limit.
        max_idle: Interval at which the pool closes one connection in excess of ``min_size``, if at
            least one idle connection was not used during the interval.
        capture_stacks: Whether to record the call stack where each lease is taken, and show it in
            statistics, errors and the log. Costs a few microseconds per lease.
        null_pool: Whether to open a new connection for each lease and keep no idle connections,
            because a pooler such as PgBouncer keeps them; ``min_size`` then has no effect.
        vector_values: What vectors and half vectors arrive as: ``pgvector`` for what the installed
            pgvector gives, ``numpy`` for arrays, or ``list`` for lists of floats.
        prepare_threshold: Number of executions after which psycopg prepares a statement on the
            server; 0 prepares it at once, and ``None`` never, as some versions and modes of
            PgBouncer require. ``auto`` means psycopg's default, 5, or ``None`` for null pools.
        reset: What resets a connection's session when a lease ends: ``discard`` for ``DISCARD
            ALL``, which is one round trip after each lease that used the connection; a function,
            which must leave the connection outside a transaction; or ``none``. In any case, open
            transactions are rolled back, psycopg's attributes (``autocommit``, ``row_factory``,
            ...) are restored, and so is each parameter that the server reports to have changed.
        open: Whether the manager connects once before it opens a pool (``eagerly``), and raises an
            error if it cannot; or opens the pool in any case (``lazily``), which connects once the
            server is there.
        num_workers: Maximum number of connections that are being opened at the same time.
        reconnect_timeout: How long attempts to connect fail before ``reconnect_failed`` is called,
            and then the time between its calls. The pool never stops trying.
        close_returns: Whether ``close`` of a leased connection returns it to the pool; without
            effect in null pools.
        configure: A function that prepares each new connection. It must leave the connection
            outside a transaction.
        check: A function that is called before each lease; if it raises an exception, the
            connection is replaced.
        reconnect_failed: A function that is called when the server cannot be reached.
        kwargs: Arguments for the connection class's ``connect``, such as ``autocommit`` or
            ``row_factory``; or a function that returns them for each new connection.
        connection_class: The class of the connections, which the pool extends; ``None`` means
            psycopg's.
    """

    min_size: int = DEFAULT_POOL_SIZE
    max_size: int = DEFAULT_POOL_SIZE + DEFAULT_MAX_OVERFLOW
    timeout: float = 30.0
    recycle: float | None = 3600.0
    connection_timeout: float = 10.0
    keepalives_idle: int = 600
    keepalives_interval: int = 30
    keepalives_count: int = 3
    health_check_interval: float = 300.0
    type_cache_ttl: float = 300.0
    leak_after: float | None = 60.0
    max_waiting: int = 0
    max_idle: float = 600.0
    capture_stacks: bool = False
    null_pool: bool = False
    vector_values: VectorValues = "pgvector"
    prepare_threshold: int | Literal["auto"] | None = "auto"
    reset: Reset | None = "none"
    open: Literal["eagerly", "lazily"] = "eagerly"
    num_workers: int = 8
    reconnect_timeout: float = 300.0
    close_returns: bool = False
    configure: Callable[[Any], Any] | None = None
    check: Callable[[Any], Any] | None = None
    reconnect_failed: Callable[[Any], Any] | None = None
    kwargs: Mapping[str, Any] | Callable[[], Any] | None = field(
        default=None, repr=False, hash=False
    )
    connection_class: type[Any] | None = None

    def __post_init__(self) -> None:
        """Validate the settings; if one is invalid, raise a ValueError that names it."""
        for item in fields(self):
            check_value(item.name, RULES[item.name], getattr(self, item.name))
        if self.max_size < self.min_size and not self.null_pool:
            msg = f"max_size must be at least min_size ({self.min_size}), got {self.max_size}"
            raise ValueError(msg)
        if self.max_size == 0 and not self.null_pool:
            raise ValueError(
                "max_size must be at least 1, got 0; only a null pool may have no limit"
            )

    @classmethod
    def from_memfuse_config(cls, config: Mapping[str, Any] | None = None) -> ConnectionPoolConfig:
        """Read the settings from an application's configuration and the environment.

        The sources are merged in this order, later ones overriding earlier ones: the sections
        ``postgres``, ``database.postgres`` and ``store.database.postgres``, then the environment
        variables ``POSTGRES_POOL_SIZE``, ``POSTGRES_MAX_OVERFLOW``, ``POSTGRES_POOL_TIMEOUT`` and
        ``POSTGRES_CONNECTION_TIMEOUT``. The key ``pool_size`` sets ``min_size``, and ``max_size``
        is ``pool_size`` plus ``max_overflow``; ``pool_timeout`` and ``pool_recycle`` set
        ``timeout`` and ``recycle``. Numbers may be given as text, and -1 as ``pool_recycle``,
        ``leak_after`` or ``prepare_threshold`` means ``None``. Unknown keys are ignored; if
        one looks like a misspelled setting, a warning is logged once.

        Args:
            config: The application's configuration, as nested mappings of any type. A section that
                is not a mapping is ignored.

        Returns:
            The settings; any setting missing from all sources has its default value.

        Raises:
            ValueError: If ``config`` is not a mapping, or a value has the wrong type or is out of
                range. The message names the key or variable.
        """
        return cls.from_sections({} if config is None else read_sections(config))

    @classmethod
    def from_sections(cls, settings: Mapping[str, Any]) -> ConnectionPoolConfig:
        """Create the settings from the result of ``read_sections`` and the environment."""
        return cls(**to_fields({**settings, **read_environment()}))


class PoolSettings(TypedDict, total=False):
    """Fields of ``ConnectionPoolConfig`` whose types do not depend on the pool's connections."""

    timeout: float
    connection_timeout: float
    keepalives_idle: int
    keepalives_interval: int
    keepalives_count: int
    health_check_interval: float
    type_cache_ttl: float
    leak_after: float | None
    max_waiting: int
    max_idle: float
    capture_stacks: bool
    vector_values: VectorValues
    prepare_threshold: int | Literal["auto"] | None
    num_workers: int
    reconnect_timeout: float
    close_returns: bool
    reconnect_failed: Callable[[Any], Any] | None
    kwargs: Mapping[str, Any] | Callable[[], Any] | None


class SharedPoolSettings(PoolSettings, total=False):
    """Fields of ``ConnectionPoolConfig`` that ``get_connection_pool`` takes as keywords."""

    min_size: int
    max_size: int
    recycle: float | None
    null_pool: bool
    open: Literal["eagerly", "lazily"]
    reset: Reset | None
    configure: Callable[[Any], Any] | None
    check: Callable[[Any], Any] | None
    connection_class: type[Any] | None


AnyConfig: TypeAlias = ConnectionPoolConfig | Mapping[str, Any]
"""Settings as callers may give them: an object, or an application's configuration."""


def as_config(
    config: AnyConfig | None, settings: SharedPoolSettings | None = None
) -> ConnectionPoolConfig | None:
    """Return the settings that a caller gave, read from a mapping if necessary.

    Args:
        config: An object or a mapping, or ``None``.
        settings: Fields given as keyword arguments, which take precedence. Those that are given
            in neither way have the process's defaults.

    Returns:
        ``None`` if the caller gave none: ``None``, or a mapping without pool settings.

    Raises:
        TypeError: If ``config`` is neither a mapping nor a ConnectionPoolConfig, or ``settings``
            has a name that is not a field's.
        ValueError: If a value in the mapping or in the environment is invalid.
    """
    given: ConnectionPoolConfig | dict[str, Any] | None = _given(config)
    if isinstance(given, dict):
        given = ConnectionPoolConfig.from_sections(given) if given else None
    if settings:
        if unknown := settings.keys() - RULES.keys():
            raise TypeError(f"unknown setting {', '.join(map(shown, sorted(unknown)))}")
        given = replace(given or default_config(), **settings)
    return given


def set_default_config(config: AnyConfig | None) -> None:
    """Set the settings of pools that are opened without any, throughout the process.

    Where no default is set, the environment variables that ``from_memfuse_config`` reads apply.
    Pools that are already open keep their settings. Thread-safe; forked children inherit the
    default.

    Args:
        config: The settings, or an application's configuration, over which the environment
            variables take precedence. ``None``, or a mapping without pool settings, removes the
            default.

    Raises:
        TypeError: If ``config`` is neither a mapping nor a ConnectionPoolConfig.
        ValueError: If a value in the mapping or in the environment is invalid. The default then
            stays as it was.
    """
    _DEFAULT.set(config)


def default_config() -> ConnectionPoolConfig:
    """Return the settings of pools that are opened without any; see ``set_default_config``."""
    return _DEFAULT.get()


class _Default:
    """The process's default settings, of which the environment is read when they are needed."""

    def __init__(self) -> None:
        self._given: ConnectionPoolConfig | dict[str, Any] = {}
        self._last: tuple[object, object, ConnectionPoolConfig] | None = None

    def set(self, config: AnyConfig | None) -> None:
        as_config(config)  # raises if a value is invalid
        self._given = _given(config)

    def get(self) -> ConnectionPoolConfig:
        given = self._given
        if isinstance(given, ConnectionPoolConfig):
            return given
        # Reading and checking the settings takes far longer than a look at the environment.
        variables = environment_texts()
        last = self._last
        if last is not None and last[0] is given and last[1] == variables:
            return last[2]
        config = ConnectionPoolConfig.from_sections(given)
        self._last = (given, variables, config)
        return config


_DEFAULT = _Default()


def _given(config: AnyConfig | None) -> ConnectionPoolConfig | dict[str, Any]:
    """Return settings as given, or those found in a mapping, which are empty if there are none."""
    if config is None:
        return {}
    if isinstance(config, ConnectionPoolConfig):
        return config
    if not isinstance(config, Mapping):
        raise TypeError(
            f"config must be a mapping or ConnectionPoolConfig, got {type(config).__name__}"
        )
    return read_sections(config)
