"""Read-only views of a manager's pools, under the names that MemFuse's manager had for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from nanospan.compat.memfuse.replaced_pools import ReplacedPool
    from nanospan.pool.shared_pool import SharedPool

__all__ = ["HealthCache", "PoolView"]

V = TypeVar("V", covariant=True)  # noqa: PLC0105 - a one-letter name is clear


class PoolView(Mapping[str, V]):
    """A property of every pool, keyed by connection string; read-only.

    Any spelling of a connection string finds its pool. Iterating gives the spelling with which the
    pool was opened.
    """

    def __init__(
        self,
        urls: Callable[[], list[str]],
        find: Callable[[str], SharedPool[Any] | ReplacedPool | None],
        value: Callable[[Any], V],
    ) -> None:
        self._urls = urls
        self._find = find
        self._value = value

    def __getitem__(self, url: str) -> V:
        if (pool := self._find(url)) is None:
            raise KeyError(url)
        return self._value(pool)

    def __iter__(self) -> Iterator[str]:
        return iter(self._urls())

    def __len__(self) -> int:
        return len(self._urls())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} pools>"  # the keys contain passwords


class HealthCache(MutableMapping[str, float]):
    """When every healthy pool was last checked, in Unix seconds, keyed by connection string.

    Removing an entry, or setting it to a time at which a check is no longer valid, makes the
    manager check the pool the next time it is requested. Other keys are kept as in a dict.
    """

    def __init__(
        self,
        urls: Callable[[], list[str]],
        find: Callable[[str], SharedPool[Any] | None],
    ) -> None:
        self._urls = urls
        self._find = find
        self._others: dict[str, float] = {}

    def __getitem__(self, key: str) -> float:
        if (shared := self._find(key)) is None:
            return self._others[key]
        remaining = shared.healthy_until - monotonic()
        if remaining <= 0:
            raise KeyError(key)
        return time.time() + remaining - shared.config.health_check_interval

    def __setitem__(self, key: str, checked_at: float) -> None:
        if (shared := self._find(key)) is None:
            self._others[key] = checked_at
        elif time.time() - checked_at >= shared.config.health_check_interval:
            shared.distrust()

    def __delitem__(self, key: str) -> None:
        self[key]
        if (shared := self._find(key)) is None:
            del self._others[key]
        else:
            shared.distrust()

    def __iter__(self) -> Iterator[str]:
        yield from [url for url in self._urls() if url in self]
        yield from list(self._others)

    def __len__(self) -> int:
        return sum(1 for _ in self)
