"""Read and check pool settings, from Python values, mappings and the environment."""

from __future__ import annotations

import logging
import math
import numbers
import os
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_origin

from psycopg import BaseConnection

from nanospan.values.messages import shorten, shown

__all__ = [
    "MAXIMUM",
    "RULES",
    "check_value",
    "environment_texts",
    "read_environment",
    "read_sections",
    "to_fields",
]

logger = logging.getLogger("nanospan.pool")

DEFAULT_POOL_SIZE = 5
DEFAULT_MAX_OVERFLOW = 15

MAXIMUM = 2**31 - 1
"""The largest valid number: libpq reads its parameters as 32-bit integers."""


@dataclass(frozen=True)
class Rule:
    """The values that a setting accepts.

    Attributes:
        kind: The type of the setting's values.
        minimum: The smallest valid number.
        exclusive: Whether the minimum itself is invalid.
        optional: Whether None is valid, which means "never"; in a mapping, -1 means the same.
        choices: The valid texts of a ``str``, or those that may stand in for a number.
        callable: Whether a function is valid as well.
    """

    kind: type[bool | int | float | str | type | Mapping[str, Any] | None]
    minimum: float = 0.0
    exclusive: bool = False
    optional: bool = False
    choices: tuple[str, ...] = ()
    callable: bool = False


_COUNT = Rule(int)
_POSITIVE_COUNT = Rule(int, minimum=1)
_SECONDS = Rule(float)
_POSITIVE_SECONDS = Rule(float, exclusive=True)
_SECONDS_OR_NEVER = Rule(float, exclusive=True, optional=True)
_SWITCH = Rule(bool)
_FUNCTION = Rule(type(None), optional=True, callable=True)

RULES = {
    "min_size": _COUNT,
    "max_size": _COUNT,
    "timeout": _POSITIVE_SECONDS,
    "recycle": _SECONDS_OR_NEVER,
    "connection_timeout": _POSITIVE_SECONDS,
    "keepalives_idle": _POSITIVE_COUNT,
    "keepalives_interval": _POSITIVE_COUNT,
    "keepalives_count": _POSITIVE_COUNT,
    "health_check_interval": _SECONDS,
    "type_cache_ttl": _SECONDS,
    "leak_after": _SECONDS_OR_NEVER,
    "max_waiting": _COUNT,
    "max_idle": _POSITIVE_SECONDS,
    "capture_stacks": _SWITCH,
    "null_pool": _SWITCH,
    "vector_values": Rule(str, choices=("pgvector", "numpy", "list")),
    "prepare_threshold": Rule(int, optional=True, choices=("auto",)),
    "reset": Rule(str, choices=("none", "discard"), callable=True, optional=True),
    "open": Rule(str, choices=("eagerly", "lazily")),
    "num_workers": _POSITIVE_COUNT,
    "reconnect_timeout": _SECONDS,
    "close_returns": _SWITCH,
    "configure": _FUNCTION,
    "check": _FUNCTION,
    "reconnect_failed": _FUNCTION,
    "kwargs": Rule(Mapping, optional=True, callable=True),
    "connection_class": Rule(type, optional=True),
}
"""The rule for each field of ``ConnectionPoolConfig``."""

_SECTIONS = (("postgres",), ("database", "postgres"), ("store", "database", "postgres"))
_FIELD_OF = {"pool_timeout": "timeout", "pool_recycle": "recycle"}
_KEY_RULES = {
    "pool_size": _COUNT,
    "max_overflow": _COUNT,
    "pool_timeout": RULES["timeout"],
    "pool_recycle": RULES["recycle"],
    **{
        name: rule
        for name, rule in RULES.items()
        if name not in {"min_size", "max_size", "timeout", "recycle"}
        and rule.kind in {bool, int, float, str}  # what a configuration file can hold
    },
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
# Keys that an application's configuration has outside the sections for other purposes.
_AMBIGUOUS = frozenset({"timeout", "recycle", "connect_timeout"})
_OBJECTS: dict[type, str] = {
    type(None): "a function",
    Mapping: "a mapping or a function",
    type: "a class of connections",
}
_logged: set[str] = set()
_SWITCHES = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


def read_sections(config: Mapping[str, Any]) -> dict[str, Any]:
    """Read the pool settings in an application's configuration.

    Later sections override earlier ones: ``postgres``, ``database.postgres`` and
    ``store.database.postgres``. Only the pool's own keys are read, so that others may hold
    anything, such as an interpolation that cannot be resolved.

    Args:
        config: The configuration, as nested mappings. A section that is not a mapping is ignored.

    Returns:
        The settings found, keyed as in the sections; numbers given as text are converted.

    Raises:
        ValueError: If ``config`` is not a mapping, or a value is invalid. The message names the
            key.
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"the configuration must be a mapping, got {type(config).__name__}")  # noqa: TRY004 - all configuration errors are ValueErrors
    settings: dict[str, Any] = {}
    for path in _SECTIONS:
        settings.update(_read_section(config, path))
    if not settings:
        _report_misplaced(config)
    return settings


def environment_texts() -> tuple[str | None, ...]:
    """Return the values of the variables that ``read_environment`` reads."""
    return tuple(map(os.environ.get, _VARIABLES))


def read_environment() -> dict[str, Any]:
    """Read the pool settings in the environment, keyed as in the sections of a configuration.

    Raises:
        ValueError: If a variable has an invalid value. The message names the variable.
    """
    return {
        key: _convert(variable, _KEY_RULES[key], text)
        for variable, key in _VARIABLES.items()
        if (text := os.environ.get(variable, "").strip())
    }


def to_fields(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a ``ConnectionPoolConfig`` for settings keyed as in a section."""
    fields = {_FIELD_OF.get(key, key): value for key, value in settings.items()}
    min_size = fields.pop("pool_size", DEFAULT_POOL_SIZE)
    max_overflow = fields.pop("max_overflow", DEFAULT_MAX_OVERFLOW)
    return {"min_size": min_size, "max_size": min_size + max_overflow, **fields}


def check_value(name: str, rule: Rule, value: object) -> None:
    """Raise ValueError, naming the setting, if a value has the wrong type or is out of range."""
    if (
        (value is None and rule.optional)
        or (rule.callable and callable(value))
        or (isinstance(value, str) and value in rule.choices)
    ):
        return
    if noun := _OBJECTS.get(rule.kind):
        if not _is_object(rule.kind, value):
            got = repr(value) if isinstance(value, type) else type(value).__name__
            raise ValueError(f"{name} must be {noun} or None, got {got}")
        return
    if rule.kind is bool:
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, got {shown(value)}")
        return
    if rule.kind is str:
        choices = " or ".join(map(repr, rule.choices)) + " or a function" * rule.callable
        raise ValueError(f"{name} must be {choices}, got {shown(value)}")
    accepted = (int,) if rule.kind is int else (int, float)
    alternatives = (*rule.choices, None) if rule.optional else rule.choices
    alternative = "".join(f" or {each!r}" for each in alternatives)
    finite = not isinstance(value, float) or math.isfinite(value)
    if isinstance(value, bool) or not isinstance(value, accepted) or not finite:
        noun = "an integer" if rule.kind is int else "a finite number"
        raise ValueError(f"{name} must be {noun}{alternative}, got {shown(value)}")
    if not rule.minimum <= value <= MAXIMUM or (rule.exclusive and value == rule.minimum):
        relation = "more than" if rule.exclusive else "at least"
        limits = f"{relation} {rule.minimum:g} and at most {MAXIMUM}"
        raise ValueError(f"{name} must be {limits}{alternative}, got {shown(value)}")


def _is_object(kind: type, value: object) -> bool:
    if kind is type:
        value = get_origin(value) or value  # such as AsyncConnection[dict]
        return isinstance(value, type) and issubclass(value, BaseConnection)
    return isinstance(value, kind)


def _read_section(config: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    section: Any = config
    for name in path:
        section = section.get(name)
        if not isinstance(section, Mapping):
            return {}
    settings = {}
    for key in section:
        name = ".".join((*path, str(key)))
        if key in _KEY_RULES:
            settings[key] = _convert(name, _KEY_RULES[key], section[key])
        elif meant := _meant_by(key):
            _warn_once(f"unknown setting {shorten(name)} ignored; did you mean {meant}?")
    return settings


def _report_misplaced(config: Mapping[str, Any]) -> None:
    """Log a warning if a configuration without any setting has settings outside the sections."""
    known = (_KEY_RULES.keys() | _MEANT.keys()) - _AMBIGUOUS
    misplaced = sorted(key for key in config if isinstance(key, str) and key in known)
    if misplaced:
        meant = ", ".join(f"postgres.{_MEANT.get(key, key)}" for key in misplaced)
        _warn_once(
            f"setting {', '.join(misplaced)} ignored because it is in no section; "
            f"did you mean {meant}?"
        )


def _warn_once(message: str) -> None:
    """Log a warning, unless it was logged before: the same mapping may be read for each lease."""
    if message not in _logged:
        _logged.add(message)
        logger.warning("%s", message)


def _meant_by(key: object) -> str | None:
    if not isinstance(key, str):
        return None
    normal = key.lower().replace("-", "_")
    close = get_close_matches(normal, _KEY_RULES, n=1, cutoff=0.8)
    return _MEANT.get(normal) or (close[0] if close else None)


def _convert(name: str, rule: Rule, given: object) -> object:
    """Return a value of a configuration as the type its rule requires; -1 may mean "never"."""
    value = _number(given) if rule.kind in {int, float} else given
    if rule.kind is bool and isinstance(given, str):
        value = _SWITCHES.get(given.strip().lower(), given)
    if rule.kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if rule.optional and value == -1:
        return None
    check_value(name, rule, value)
    return value


def _number(given: object) -> object:
    """Return a number, or a number's text, as an int or float, and anything else unchanged."""
    if isinstance(given, str):
        for kind in (int, float):
            try:
                return kind(given)
            except ValueError:
                continue
    elif not isinstance(given, bool | int | float) and isinstance(given, numbers.Real):
        return int(given) if isinstance(given, numbers.Integral) else float(given)  # NumPy's types
    return given
