"""Pool settings from an application's configuration and from keywords."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import psycopg

from nanospan.compat.memfuse.application_config import application_config, application_url
from nanospan.pool.config import ConnectionPoolConfig, SharedPoolSettings, as_config
from nanospan.pool.conninfo import check_kwargs
from nanospan_fuzz.inputs import as_object, check_message

if TYPE_CHECKING:
    from collections.abc import Callable

IS_JSON = True


def target(data: bytes) -> None:
    """Any mapping gives a ValueError or TypeError, or settings within their limits."""
    given = as_object(data)
    readers: list[Callable[[], ConnectionPoolConfig | None]] = [
        lambda: ConnectionPoolConfig.from_memfuse_config(given),
        lambda: as_config(given),
        lambda: as_config(None, cast("SharedPoolSettings", given)),
    ]
    for read in readers:
        try:
            config = read()
        except (TypeError, ValueError) as error:
            check_message(error)
            continue
        assert config is None or 0 <= config.min_size <= max(config.min_size, config.max_size)
        assert config is None or config.timeout > 0
    try:
        check_kwargs(given)
    except ValueError as error:
        check_message(error)
    _read_application(given)


def _read_application(given: dict[str, object]) -> None:
    """Read the settings as those of a running MemFuse."""
    module = SimpleNamespace(config_manager=SimpleNamespace(get_config=lambda: given))
    sys.modules["memfuse_core.utils.config"] = module  # type: ignore[assignment]
    try:
        assert application_config() in (given, None)
        application_url()
    except (psycopg.ProgrammingError, UnicodeEncodeError) as error:
        check_message(error)
    finally:
        del sys.modules["memfuse_core.utils.config"]
