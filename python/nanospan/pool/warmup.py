"""Time pool warm-ups and report their results."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from nanospan.pool.conninfo import mask_conninfo
from nanospan.values.messages import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Self

    from nanospan.pool.conninfo import Conninfo

__all__ = ["Warmup", "WarmupReport", "check_urls", "conclude"]

logger = logging.getLogger("nanospan.pool")


@dataclass(frozen=True)
class WarmupReport:
    """The result of warming up the pool for one URL.

    Attributes:
        url: The pool's URL, with passwords and keys masked.
        connections: Number of connections, idle or leased, that are open after the warm-up; 0 if it
            failed.
        seconds: Duration of the warm-up, in seconds.
        error: The exception that made the warm-up fail; ``None`` if it succeeded.
    """

    url: str
    connections: int
    seconds: float
    error: Exception | None = None


class Warmup:
    """Context manager that times the warm-up of one pool and captures any error for the report.

    Attributes:
        connections: Number of connections open after the warm-up; to be set in the ``with`` block.
        report: The warm-up's result; available once the block has ended.
    """

    report: WarmupReport

    def __init__(self, url: object) -> None:
        self.connections = 0
        if isinstance(url, str) or callable(url):
            self._url = mask_conninfo(url)
        else:
            self._url = repr(type(url).__name__)
        self._started = perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        seconds = perf_counter() - self._started
        kept = error if isinstance(error, Exception) else None
        self.report = WarmupReport(self._url, self.connections, seconds, kept)
        return kept is not None


def check_urls(urls: Iterable[Conninfo]) -> list[Conninfo]:
    """Return the URLs as a list; raise TypeError if they are a single string or function."""
    if isinstance(urls, str) or callable(urls):
        raise TypeError(
            "common_db_urls must be an iterable of connection strings, got "
            f"{type(urls).__name__}; pass [url]"
        )
    return list(urls)


def conclude(reports: list[WarmupReport], *, strict: bool) -> list[WarmupReport]:
    """Log the reports and return them; if ``strict`` and there are errors, raise the first."""
    errors = []
    for report in reports:
        if report.error is not None:
            logger.error("warm-up of %s failed: %s", shorten(report.url), report.error)
            errors.append(report.error)
        else:
            logger.info(
                "warmed up %s: %d connections in %.2f s",
                shorten(report.url),
                report.connections,
                report.seconds,
            )
    if strict and errors:
        raise errors[0]
    return reports
