"""Responses of HTTP servers to alerts: status and Retry-After."""

from __future__ import annotations

from math import isfinite

import httpx

from nanospan.alerts.sinks.base import DeliveryError
from nanospan.alerts.sinks.http import Poster
from nanospan_fuzz.inputs import as_lines, check_message


def target(data: bytes) -> None:
    """Any response gives a DeliveryError or none, and pauses of at most ten minutes."""
    status, retry_after, body = as_lines(data, 3)
    code = int(status) if status.isascii() and status.isdecimal() and len(status) < 4 else 503

    def answer(_request: httpx.Request) -> httpx.Response:
        headers = [(b"Retry-After", retry_after.encode("utf-8", "replace"))]
        return httpx.Response(code, headers=headers, content=body.encode("utf-8", "replace"))

    poster = Poster("http://127.0.0.1/", attempts=2)
    poster._client = httpx.Client(transport=httpx.MockTransport(answer))  # noqa: SLF001 - no network
    pauses: list[float] = []

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return True

    try:
        poster.post({"alert": 1}, pause)
    except DeliveryError as error:
        check_message(error)
    finally:
        poster.close()
    assert all(isfinite(seconds) and 0 <= seconds <= 600 for seconds in pauses)
