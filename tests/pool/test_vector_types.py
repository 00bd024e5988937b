"""Tests for publishing and caching a database's types, without a server."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from psycopg.adapt import AdaptersMap

from nanospan.pool.vector_types import DatabaseTypes, TypeCache

if TYPE_CHECKING:
    import pytest

ROWS = (("vector", 70_000, 70_001, "vector", ","), ("halfvec", 70_010, 70_011, "halfvec", ","))
OTHER_ROWS = (("vector", 80_000, 80_001, "vector", ","),)


def test_generations() -> None:
    """Publishing different types starts a new generation, and only the latest is current."""
    types = DatabaseTypes("d")
    assert not types.is_current(0)
    first = types.publish(ROWS, 1.0)
    assert types.publish(ROWS, 2.0) is first
    assert types.is_current(1)
    second = types.publish(OTHER_ROWS, 3.0)
    assert (first.generation, second.generation) == (1, 2)
    assert types.current is second
    assert not types.is_current(1)


def test_published_types_are_registered() -> None:
    """Published types are known to a copy of their adapters, until other types are published."""
    types = DatabaseTypes("d")
    first = types.publish(ROWS, 1.0)
    copy = AdaptersMap(first.adapters)
    assert first.known_to(copy)
    second = types.publish(OTHER_ROWS, 2.0)
    assert not second.known_to(copy)
    second.register(copy)
    assert second.known_to(copy)


def test_staleness() -> None:
    """Types are stale before the first look-up, after `type_cache_ttl`, and once distrusted."""
    types = DatabaseTypes("d")
    assert types.stale(300.0, 0.0)
    types.publish(ROWS, 10.0)
    assert not types.stale(300.0, 310.0)
    assert types.stale(300.0, 310.5)
    types.distrust(20.0)
    assert types.stale(300.0, 20.0)
    types.publish(ROWS, 20.5)
    assert not types.stale(300.0, 21.0)


def test_a_missing_extension_is_looked_for_every_second() -> None:
    """A missing extension is looked for again after 1 s, or after a shorter `type_cache_ttl`."""
    types = DatabaseTypes("d")
    types.publish((), 10.0)
    assert not types.stale(300.0, 11.0)
    assert types.stale(300.0, 11.5)
    assert types.stale(0.5, 10.75)


def test_one_look_up_at_a_time() -> None:
    """Callers that join a look-up in progress get its result, or None if it is given up."""
    types = DatabaseTypes("d")
    assert types.join_lookup() is None
    joined = types.join_lookup()
    assert joined is not None
    types.give_up_lookup()
    assert joined.result(0) is None
    assert types.join_lookup() is None
    joined = types.join_lookup()
    assert joined is not None
    published = types.publish(ROWS, 1.0)
    assert joined.result(0) is published


def test_a_missing_extension_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A missing extension is logged once, and again only if it has been present in between."""
    types = DatabaseTypes("the database")
    with caplog.at_level(logging.WARNING):
        types.publish((), 1.0)
        types.publish((), 2.0)
        assert [record.getMessage() for record in caplog.records] == [
            'no extension "vector" in the database: vectors are read as text until it is created'
        ]
        types.publish(ROWS, 3.0)
        types.publish((), 4.0)
    assert len(caplog.records) == 2


def test_cache() -> None:
    """The cache keeps one entry per key, and clearing the cache drops all entries."""
    cache = TypeCache()
    types = cache.of("key", "d")
    assert cache.of("key", "another name") is types
    assert cache.of("other", "d") is not types
    cache.clear()
    assert cache.of("key", "d") is not types
