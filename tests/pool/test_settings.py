"""Tests for reading settings from mappings of many kinds, with values as people write them."""

from __future__ import annotations

import logging
from collections import ChainMap, UserDict, defaultdict
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from nanospan.pool import ConnectionPoolConfig, settings
from nanospan.pool.config import as_config

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in settings._VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(settings, "_logged", set())


def strict(config: dict[str, Any]) -> Any:
    """Return a configuration as Hydra makes it: unknown keys are errors."""
    made = OmegaConf.create(config)
    OmegaConf.set_struct(made, True)
    return made


@pytest.mark.parametrize(
    "kind",
    [
        dict,
        OmegaConf.create,
        strict,
        MappingProxyType,
        UserDict,
        ChainMap,
        lambda c: defaultdict(dict, c),
    ],
    ids=["dict", "DictConfig", "strict DictConfig", "proxy", "UserDict", "ChainMap", "defaultdict"],
)
def test_kinds_of_mappings(kind: Callable[[dict[str, Any]], Any]) -> None:
    """Settings are read from any mapping of mappings, which is not changed."""
    section = {"pool_size": 2, "max_overflow": 3, "pool_timeout": 4.5}
    config = kind({"store": "pgai", "database": kind({"postgres": kind(section)})})
    before = repr(config)
    assert as_config(config) == ConnectionPoolConfig(min_size=2, max_size=5, timeout=4.5)
    assert repr(config) == before


@pytest.mark.parametrize(
    "config",
    [
        None,
        {},
        OmegaConf.create({}),
        {"database": "memfuse"},
        {"store": "pgai", "database": ["memfuse"]},
        {"postgres": None, "database": {"postgres": "postgresql://localhost/memfuse"}},
        OmegaConf.create({"database": "memfuse", "store": {"database": None}}),
        {"host": "localhost", "port": 5432, "database": "memfuse", "user": "me", "password": "x"},
    ],
)
def test_no_settings(config: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A mapping without sections has no settings; other sections are passed over."""
    assert as_config(config) is None
    assert ConnectionPoolConfig.from_memfuse_config(config) == ConnectionPoolConfig()
    assert not caplog.records


@pytest.mark.parametrize("config", [5, "postgresql://localhost", [("postgres", {})], object()])
def test_neither_mapping_nor_config(config: Any) -> None:
    """Any other object is a TypeError that says what may be passed."""
    with pytest.raises(TypeError, match="must be a mapping or ConnectionPoolConfig, got"):
        as_config(config)


@pytest.mark.parametrize("number", ["20", " 20 ", "20.0", 20.0, np.int64(20), np.float64(20)])
def test_counts_as_people_write_them(number: object) -> None:
    """A count may be text, or a float without a fraction; the setting is an int."""
    config = as_config({"postgres": {"pool_size": number, "max_overflow": 0}})
    assert config is not None
    assert config.min_size == config.max_size == 20
    assert type(config.min_size) is int


@pytest.mark.parametrize("number", ["2.5", 2.5, "25e-1", np.float32(2.5)])
def test_seconds_as_people_write_them(number: object) -> None:
    """A duration may be text or any float."""
    config = as_config({"postgres": {"pool_timeout": number}})
    assert config is not None
    assert config.timeout == 2.5


@pytest.mark.parametrize("never", [-1, "-1", -1.0, None])
def test_never(never: object) -> None:
    """-1 means never: to recycle connections, log leaks or prepare statements."""
    section = {"pool_recycle": never, "leak_after": never, "prepare_threshold": never}
    config = as_config({"postgres": section})
    assert config is not None
    assert config.recycle is None
    assert config.leak_after is None
    assert config.prepare_threshold is None


@pytest.mark.parametrize(("given", "threshold"), [("auto", "auto"), ("0", 0), (7, 7)])
def test_prepare_threshold(given: object, threshold: object) -> None:
    """The threshold for preparing statements is a count, or ``auto``."""
    config = as_config({"postgres": {"prepare_threshold": given}})
    assert config == ConnectionPoolConfig(prepare_threshold=threshold)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "value"), [("true", True), ("No", False), ("1", True)])
def test_switches_as_people_write_them(text: str, value: bool) -> None:
    """A switch may be text, as it is when interpolated from the environment."""
    config = as_config({"postgres": {"capture_stacks": text}})
    assert config is not None
    assert config.capture_stacks is value


@pytest.mark.parametrize("number", [Decimal("NaN"), "nan", "inf", "-inf", "1e999", "0x10", "1,5"])
def test_nonsense(number: object) -> None:
    """A value that is not a finite number is an error that names its key."""
    with pytest.raises(ValueError, match=r"^database\.postgres\.pool_timeout must be"):
        as_config({"database": {"postgres": {"pool_timeout": number}}})


def test_unresolvable_values() -> None:
    """Other values are not read, so an interpolation that cannot be resolved does not matter."""
    section = {"host": "${oc.env:NO_SUCH_VARIABLE}", "password": "???", "pool_size": "${size}"}
    config = OmegaConf.create({"size": 6, "postgres": section})
    assert as_config(config) == ConnectionPoolConfig(min_size=6, max_size=21)


@pytest.mark.parametrize("key", ["pool_size", "min_size", "max_size", "keepalives_idle"])
def test_settings_outside_a_section(key: str, caplog: pytest.LogCaptureFixture) -> None:
    """Settings in no section are ignored; a warning, logged once, says where to put them."""
    for _ in range(2):
        assert as_config({"host": "localhost", key: 7, "timeout": 3}) is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"setting {key} ignored because it is in no section")
    assert "did you mean postgres." in record.getMessage()
