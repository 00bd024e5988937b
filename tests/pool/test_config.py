"""Tests for pool settings: defaults, configuration sections, environment, invalid values."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from nanospan.pool import ConnectionPoolConfig, set_default_config, settings
from nanospan.pool.config import default_config

VARIABLES = (
    "POSTGRES_POOL_SIZE",
    "POSTGRES_MAX_OVERFLOW",
    "POSTGRES_POOL_TIMEOUT",
    "POSTGRES_CONNECTION_TIMEOUT",
)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(settings, "_logged", set())


def test_defaults() -> None:
    """Without any configuration, a pool has 5 to 20 connections."""
    config = ConnectionPoolConfig.from_memfuse_config({})
    assert config == ConnectionPoolConfig()
    assert (config.min_size, config.max_size) == (5, 20)


def test_layers() -> None:
    """More specific sections override less specific ones, key by key."""
    config = ConnectionPoolConfig.from_memfuse_config(
        {
            "postgres": {"pool_size": 1, "max_overflow": 1, "pool_timeout": 1, "pool_recycle": 11},
            "database": {"postgres": {"max_overflow": 2, "pool_timeout": 2}},
            "store": {"database": {"postgres": {"pool_timeout": 3}}},
        }
    )
    assert (config.min_size, config.max_size, config.timeout, config.recycle) == (1, 3, 3, 11)


def test_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment variables override every section, and their text is parsed as a number."""
    for variable, text in zip(VARIABLES, ("2", "3", "4.5", "6"), strict=True):
        monkeypatch.setenv(variable, text)
    config = ConnectionPoolConfig.from_memfuse_config(
        {"store": {"database": {"postgres": {"pool_size": 9, "pool_timeout": 9}}}}
    )
    assert (config.min_size, config.max_size) == (2, 5)
    assert (config.timeout, config.connection_timeout) == (4.5, 6.0)


def test_every_key_reaches_its_field() -> None:
    """Each documented configuration key sets the corresponding setting."""
    section = {
        "pool_size": 2,
        "max_overflow": 1,
        "pool_timeout": 4,
        "pool_recycle": 5,
        "connection_timeout": 6,
        "keepalives_idle": 7,
        "keepalives_interval": 8,
        "keepalives_count": 9,
        "health_check_interval": 10,
        "type_cache_ttl": 11,
        "leak_after": 12,
        "max_waiting": 13,
        "max_idle": 14,
    }
    assert ConnectionPoolConfig.from_memfuse_config({"postgres": section}) == ConnectionPoolConfig(
        2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pool_size", "many"),
        ("pool_size", ""),
        ("pool_size", True),
        ("pool_size", 5.5),
        ("pool_size", "5.5"),
        ("pool_size", None),
        ("pool_size", -1),
        ("max_overflow", []),
        ("pool_timeout", "soon"),
        ("pool_timeout", 0),
        ("pool_timeout", False),
        ("pool_recycle", float("nan")),
        ("connection_timeout", float("inf")),
        ("connection_timeout", -3.0),
        ("keepalives_idle", 1.5),
        ("keepalives_count", 0),
        ("keepalives_idle", 2**31),
        ("pool_recycle", -2),
        ("pool_recycle", 10**400),
        ("health_check_interval", {}),
        ("type_cache_ttl", -1),
        ("leak_after", 0),
        ("leak_after", "never"),
        ("max_waiting", 2.5),
        ("capture_stacks", "maybe"),
        ("null_pool", 2),
        ("max_idle", "x"),
        ("prepare_threshold", -2),
        ("prepare_threshold", 2.5),
        ("prepare_threshold", "often"),
        ("prepare_threshold", True),
    ],
)
def test_wrong_values(key: str, value: object) -> None:
    """If a value has the wrong type or is out of range, the error names its configuration key."""
    with pytest.raises(ValueError, match=rf"database\.postgres\.{key} must be"):
        ConnectionPoolConfig.from_memfuse_config({"database": {"postgres": {key: value}}})


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("text", ["many", "-1", "nan", "1,5"])
def test_wrong_variables(monkeypatch: pytest.MonkeyPatch, variable: str, text: str) -> None:
    """If an environment variable has an invalid value, the error names the variable."""
    monkeypatch.setenv(variable, text)
    with pytest.raises(ValueError, match=variable):
        ConnectionPoolConfig.from_memfuse_config({})


def test_not_a_mapping() -> None:
    """A configuration that is not a mapping is an error."""
    with pytest.raises(ValueError, match="configuration must be a mapping, got list"):
        ConnectionPoolConfig.from_memfuse_config([])  # type: ignore[arg-type]


def test_empty_sections() -> None:
    """Empty sections, as found in YAML files, are treated as missing."""
    config = {"postgres": None, "database": {"postgres": {}}, "store": None}
    assert ConnectionPoolConfig.from_memfuse_config(config) == ConnectionPoolConfig()


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("pool_sise", "pool_size"),
        ("poolsize", "pool_size"),
        ("max-overflow", "max_overflow"),
        ("keepalive_idle", "keepalives_idle"),
        ("max_size", "max_overflow"),
        ("timeout", "pool_timeout"),
        ("connect_timeout", "connection_timeout"),
    ],
)
def test_misspelled_keys(key: str, meant: str, caplog: pytest.LogCaptureFixture) -> None:
    """A misspelled key is ignored, and a warning suggests the key that was probably meant."""
    with caplog.at_level(logging.WARNING):
        config = ConnectionPoolConfig.from_memfuse_config({"postgres": {key: 7}})
    assert config == ConnectionPoolConfig()
    (record,) = caplog.records
    assert f"postgres.{key} " in record.getMessage()
    assert f"{meant}?" in record.getMessage()


def test_other_keys(caplog: pytest.LogCaptureFixture) -> None:
    """Keys unrelated to the pool, such as the database's address, are silently ignored."""
    section = {"host": "h", "port": 5432, "database": "d", "user": "u", "password": "p", 3: 4}
    ConnectionPoolConfig.from_memfuse_config({"postgres": section})
    assert not caplog.records


@pytest.mark.parametrize(
    "settings",
    [
        {"min_size": 3, "max_size": 2},
        {"min_size": 0, "max_size": 0},
        {"min_size": -1},
        {"timeout": 0.0},
        {"recycle": True},
        {"keepalives_interval": 0},
    ],
)
def test_wrong_construction(settings: dict[str, Any]) -> None:
    """The constructor also rejects invalid settings."""
    with pytest.raises(ValueError, match="must be"):
        ConnectionPoolConfig(**settings)


def test_process_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process's default is what was set, else what the environment says, else the defaults."""
    try:
        assert default_config() == ConnectionPoolConfig()
        monkeypatch.setenv("POSTGRES_POOL_SIZE", "3")
        assert default_config().min_size == 3
        set_default_config(ConnectionPoolConfig(min_size=1, max_size=2))
        assert default_config() == ConnectionPoolConfig(min_size=1, max_size=2)
        set_default_config({"database": {"postgres": {"pool_size": 7, "max_overflow": 4}}})
        assert (default_config().min_size, default_config().max_size) == (3, 7)
        monkeypatch.delenv("POSTGRES_POOL_SIZE")
        assert (default_config().min_size, default_config().max_size) == (7, 11)
        set_default_config({})
        assert default_config() == ConnectionPoolConfig()
    finally:
        set_default_config(None)


def test_wrong_process_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """An invalid default is refused and changes nothing; an invalid variable fails when used."""
    with pytest.raises(TypeError, match="config must be a mapping or ConnectionPoolConfig, got in"):
        set_default_config(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"postgres\.pool_size must be an integer"):
        set_default_config({"postgres": {"pool_size": "x"}})
    assert default_config() == ConnectionPoolConfig()
    monkeypatch.setenv("POSTGRES_MAX_OVERFLOW", "some")
    with pytest.raises(ValueError, match="POSTGRES_MAX_OVERFLOW must be an integer, got 'some'"):
        default_config()


def test_leak_report_can_be_switched_off() -> None:
    """Setting `leak_after` to None turns leak reports off."""
    config = ConnectionPoolConfig.from_memfuse_config({"postgres": {"leak_after": None}})
    assert config.leak_after is None
