"""What warming pools up came to."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanospan.pool.conninfo import mask_conninfo

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["WarmupReport", "check_urls", "conclude", "display_name"]

logger = logging.getLogger("nanospan.pool")


@dataclass(frozen=True)
class WarmupReport:
    """What the warm-up of one URL came to.

    Attributes:
        url: The masked URL.
        connections: How many connections were open at its end, in use or not.
        seconds: How long it took.
        error: What went wrong, `None` if nothing did.
    """

    url: str
    connections: int
    seconds: float
    error: Exception | None = None


def check_urls(urls: Iterable[str]) -> list[str]:
    """The URLs as a list; one string is refused with a `TypeError`."""
    if isinstance(urls, str):
        raise TypeError("urls is an iterable of connection strings, not one string")
    return list(urls)


def display_name(url: object) -> str:
    """A URL as a report shows it."""
    return mask_conninfo(url) if isinstance(url, str) else repr(type(url).__name__)


def conclude(reports: list[WarmupReport], *, strict: bool) -> list[WarmupReport]:
    """Logs what failed, and with `strict` raises the first of it."""
    errors = []
    for report in reports:
        if report.error is not None:
            logger.error("warm-up of %s failed: %s", report.url, report.error)
            errors.append(report.error)
        else:
            logger.info(
                "warmed up %s: %d connections in %.2f s",
                report.url,
                report.connections,
                report.seconds,
            )
    if strict and errors:
        raise errors[0]
    return reports
