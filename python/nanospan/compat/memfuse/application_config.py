"""Settings that a running MemFuse has read, found without importing MemFuse."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from psycopg.conninfo import make_conninfo

__all__ = ["application_config", "application_url"]

# MemFuse's tests import its package under both names.
_MODULES = ("memfuse_core.utils.config", "src.memfuse_core.utils.config")


def application_config() -> Mapping[str, Any] | None:
    """Return the configuration that MemFuse's ``config_manager`` holds, or None if it is empty."""
    for name in _MODULES:
        manager = getattr(sys.modules.get(name), "config_manager", None)
        config = None if manager is None else manager.get_config()
        if config and isinstance(config, Mapping):
            return config
    return None


def application_url() -> str | None:
    """Return the connection string of the database that MemFuse's configuration names, if any."""
    database = (application_config() or {}).get("database")
    if not isinstance(database, Mapping):
        return None
    if url := database.get("url"):
        return str(url)
    postgres = database.get("postgres")
    if not postgres or not isinstance(postgres, Mapping):
        return None
    return make_conninfo(
        host=postgres.get("host", "localhost"),
        port=postgres.get("port", 5432),
        dbname=postgres.get("database", "memfuse"),
        user=postgres.get("user", "postgres"),
        password=postgres.get("password") or None,
    )
