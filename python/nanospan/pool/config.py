"""The pool settings, including code to read them from an application's configuration."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

__all__ = ["ConnectionPoolConfig"]

logger = logging.getLogger(__name__)

DEFAULT_POOL_SIZE = 5
DEFAULT_MAX_OVERFLOW = 15


@dataclass(frozen=True)
class ConnectionPoolConfig:
    """Settings of a connection pool. All times are in seconds.

    Parameters in the connection string (``connect_timeout``, ``keepalives_*``) take precedence over
    these settings because they are more specific.

    Attributes:
        min_size: Number of connections the pool keeps open.
        max_size: Maximum number of open connections.
        timeout: Maximum time a lease waits for a connection.
        recycle: Maximum age of a connection; older ones are replaced.
        connection_timeout: Time limit for opening the pool, for each health check, and for each
            attempt to connect (where psycopg rounds it to whole seconds, at least 2).
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
            which suits a server behind a pooler such as PgBouncer; ``min_size`` then has no effect.
    """

    min_size: int = DEFAULT_POOL_SIZE
    max_size: int = DEFAULT_POOL_SIZE + DEFAULT_MAX_OVERFLOW
    timeout: float = 30.0
    recycle: float = 3600.0
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

    def __post_init__(self) -> None:
        """Validate the settings; if one is invalid, raise a ValueError that names it."""
        for item in fields(self):
            _check_value(item.name, _RULES[item.name], getattr(self, item.name))
        if self.max_size < self.min_size and not self.null_pool:
            msg = f"max_size must be at least min_size ({self.min_size}), got {self.max_size}"
            raise ValueError(msg)

    @classmethod
    def from_memfuse_config(cls, config: Mapping[str, Any] | None = None) -> ConnectionPoolConfig:
        """Read the settings from an application's configuration and the environment.

        The sources are merged in this order, later ones overriding earlier ones: the sections
        ``postgres``, ``database.postgres`` and ``store.database.postgres``, then the environment
        variables ``POSTGRES_POOL_SIZE``, ``POSTGRES_MAX_OVERFLOW``, ``POSTGRES_POOL_TIMEOUT`` and
        ``POSTGRES_CONNECTION_TIMEOUT``. The key ``pool_size`` sets ``min_size``, and ``max_size``
        is ``pool_size`` plus ``max_overflow``. Unknown keys are ignored; if one looks like a
        misspelled setting, a warning is logged.

        Args:
            config: The application's configuration, as nested mappings.

        Returns:
            The settings; any setting missing from all sources has its default value.

        Raises:
            ValueError: If a section is not a mapping, or a value has the wrong type or is out of
                range. The message names the key or variable.
        """
        settings: dict[str, Any] = {}
        for path in _SECTIONS:
            settings.update(_read_section(config, path))
        settings.update(_read_environment(os.environ))
        min_size = settings.pop("pool_size", DEFAULT_POOL_SIZE)
        max_overflow = settings.pop("max_overflow", DEFAULT_MAX_OVERFLOW)
        return cls(
            min_size=min_size,
            max_size=min_size + max_overflow,
            **{_FIELD_OF.get(key, key): value for key, value in settings.items()},
        )


@dataclass(frozen=True)
class _Rule:
    kind: type[bool | int | float]
    minimum: float = 0.0
    exclusive: bool = False  # whether a value equal to the minimum is invalid
    optional: bool = False


_COUNT = _Rule(int)
_POSITIVE_COUNT = _Rule(int, minimum=1)
_SECONDS = _Rule(float)
_POSITIVE_SECONDS = _Rule(float, exclusive=True)
_SWITCH = _Rule(bool)

_RULES = {
    "min_size": _COUNT,
    "max_size": _POSITIVE_COUNT,
    "timeout": _POSITIVE_SECONDS,
    "recycle": _POSITIVE_SECONDS,
    "connection_timeout": _POSITIVE_SECONDS,
    "keepalives_idle": _POSITIVE_COUNT,
    "keepalives_interval": _POSITIVE_COUNT,
    "keepalives_count": _POSITIVE_COUNT,
    "health_check_interval": _SECONDS,
    "type_cache_ttl": _SECONDS,
    "leak_after": _Rule(float, exclusive=True, optional=True),
    "max_waiting": _COUNT,
    "max_idle": _POSITIVE_SECONDS,
    "capture_stacks": _SWITCH,
    "null_pool": _SWITCH,
}

_SECTIONS = (("postgres",), ("database", "postgres"), ("store", "database", "postgres"))
_FIELD_OF = {"pool_timeout": "timeout", "pool_recycle": "recycle"}
_KEY_RULES = {
    "pool_size": _COUNT,
    "max_overflow": _COUNT,
    "pool_timeout": _RULES["timeout"],
    "pool_recycle": _RULES["recycle"],
    **{k: r for k, r in _RULES.items() if k not in {"min_size", "max_size", "timeout", "recycle"}},
}
_VARIABLES = {
    "POSTGRES_POOL_SIZE": "pool_size",
    "POSTGRES_MAX_OVERFLOW": "max_overflow",
    "POSTGRES_POOL_TIMEOUT": "pool_timeout",
    "POSTGRES_CONNECTION_TIMEOUT": "connection_timeout",
}
# Likely wrong keys for which get_close_matches would suggest the wrong setting or nothing at all.
_MEANT = {
    "min_size": "pool_size",
    "max_size": "max_overflow",
    "timeout": "pool_timeout",
    "recycle": "pool_recycle",
    "connect_timeout": "connection_timeout",
}


def _check_value(name: str, rule: _Rule, value: object) -> None:
    if value is None and rule.optional:
        return
    if rule.kind is bool:
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, got {value!r}")
        return
    accepted = (int,) if rule.kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, accepted) or not math.isfinite(value):
        noun = "an integer" if rule.kind is int else "a finite number"
        alternative = " or None" if rule.optional else ""
        msg = f"{name} must be {noun}{alternative}, got {value!r}"
        raise ValueError(msg)
    if value < rule.minimum or (rule.exclusive and value == rule.minimum):
        relation = "more than" if rule.exclusive else "at least"
        msg = f"{name} must be {relation} {rule.minimum:g}, got {value!r}"
        raise ValueError(msg)


def _read_section(config: Mapping[str, Any] | None, path: tuple[str, ...]) -> dict[str, Any]:
    section: Any = config
    for depth in range(len(path) + 1):
        if section is None:  # absent, or left empty in a YAML file
            return {}
        if not isinstance(section, Mapping):
            name = ".".join(path[:depth]) or "the configuration"
            msg = f"{name} must be a mapping, got {type(section).__name__}"
            raise ValueError(msg)  # noqa: TRY004 - all configuration errors are ValueErrors
        if depth < len(path):
            section = section.get(path[depth])
    settings = {}
    for key, value in section.items():
        name = ".".join((*path, str(key)))
        if key in _KEY_RULES:
            _check_value(name, _KEY_RULES[key], value)
            settings[key] = value
        elif meant := _meant_by(key):
            logger.warning("unknown setting %s ignored; did you mean %s?", name, meant)
    return settings


def _meant_by(key: object) -> str | None:
    if not isinstance(key, str):
        return None
    normal = key.lower().replace("-", "_")
    close = get_close_matches(normal, _KEY_RULES, n=1, cutoff=0.8)
    return _MEANT.get(normal) or (close[0] if close else None)


def _read_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for variable, key in _VARIABLES.items():
        text = environment.get(variable, "").strip()
        if not text:
            continue
        rule = _KEY_RULES[key]
        value: object
        try:
            value = rule.kind(text)
        except ValueError:
            value = text  # rejected below, with the same message as any other wrong type
        _check_value(variable, rule, value)
        settings[key] = value
    return settings
