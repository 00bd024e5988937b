"""Posting JSON so that it arrives: time limits, retries with backoff and jitter, no secret told."""

from __future__ import annotations

import contextvars
import email.utils
import importlib.util
import json
import logging
import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nanospan.alerts.fields import RuleError, check_number
from nanospan.alerts.sinks.base import DeliveryError
from nanospan.alerts.sinks.secret import Origin, take_headers, take_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import httpx

    from nanospan.alerts.sinks.base import Pause

__all__ = ["Poster"]

logger = logging.getLogger("nanospan.alerts")

FIRST_PAUSE = 0.5  # seconds; doubled for each further attempt
LONGEST_PAUSE = 30.0
LONGEST_RETRY_AFTER = 600.0  # a server that asks for more is asked again all the same

# RFC 9110: time-out, and "not now". 425: the connection's early data were refused.
_MAY_PASS = frozenset({408, 425, 429})
_SERVER_ERRORS = range(500, 600)
_SUCCESS = range(200, 300)


class Poster:
    """Posts JSON to one URL.

    A request is tried again after connection errors, time-outs and the statuses 408, 425, 429 and
    5xx: after half a second, then twice as long each time up to 30 s, of which a random part is
    waited ("full jitter" of M. Brooker, "Exponential Backoff And Jitter", 2015), but no less than
    the server asks for with ``Retry-After``, up to 10 minutes.

    Args:
        url: Where to; ``env:NAME`` in it stands for an environment variable.
        headers: Further headers; ``env:NAME`` in a value likewise.
        timeout: Seconds for each of connecting, sending and waiting for the answer.
        attempts: How often a request is tried in all.
        origin: Where the settings stand: in a program; in a file, where no secret may stand in
            `headers`; in a file that is only checked, whose variables need not be set.
        path: What is appended to the URL.

    Raises:
        RuleError: (a `ValueError`) If a setting has a value it cannot have; shows no secret.
        ImportError: If httpx is not installed.
    """

    def __init__(  # noqa: PLR0913 - settings, all by keyword
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float = 10.0,
        attempts: int = 6,
        origin: Origin = "program",
        path: str = "",
    ) -> None:
        self._url = take_url("url", url, origin)
        self._headers = take_headers("headers", headers or {}, origin)
        if not check_number("timeout", timeout) > 0:
            raise RuleError("timeout", timeout, "must be over 0")
        if isinstance(attempts, bool) or not isinstance(attempts, int) or attempts < 1:
            raise RuleError("attempts", attempts, "must be an integer of at least 1")
        if origin != "unchecked file" and importlib.util.find_spec("httpx") is None:
            raise ImportError("this sink needs httpx: pip install 'nanospan[alerts]'")
        self._timeout = timeout
        self._attempts = attempts
        self._path = path
        self._client: httpx.Client | None = None

    @property
    def unset_variables(self) -> list[str]:
        """Environment variables that it needs and that are not set."""
        return [name for each in (self._url, *self._headers.values()) for name in each.unset()]

    def post(self, payload: Any, pause: Pause) -> None:
        """Post, and try again as long as there is hope.

        Args:
            payload: What is sent, as JSON.
            pause: For waiting between attempts.

        Raises:
            DeliveryError: If it was refused, or no attempt went well.
        """
        body = json.dumps(payload, ensure_ascii=False, allow_nan=False)
        content = body.encode("utf-8", "backslashreplace")
        for attempt in range(1, self._attempts + 1):
            problem, retry_after = self._try(content)
            if not problem:
                return
            ceiling = min(FIRST_PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE)
            seconds = max(random.uniform(0, ceiling), retry_after)  # noqa: S311 - no secret
            if attempt == self._attempts or not pause(seconds):
                break
        raise DeliveryError(f"{problem}, in {attempt} attempt{'s' if attempt > 1 else ''}")

    def _try(self, content: bytes) -> tuple[str, float]:
        """One attempt: what went wrong, if anything, and for how long the server wants to rest.

        Raises:
            DeliveryError: If trying again is of no use.
        """
        import httpx  # noqa: PLC0415 - optional, and known to be there

        try:
            url = self._url.reveal().rstrip("/") + self._path if self._path else self._url.reveal()
            headers = {name: secret.reveal() for name, secret in self._headers.items()}
            # Streamed and left unread: an answer's text is of no interest, however long it is.
            with (
                _unlogged(),
                self._open().stream(
                    "POST", url, content=content, headers={**_JSON, **headers}
                ) as response,
            ):
                status = response.status_code
                retry_after = _seconds(response.headers.get("Retry-After"))
        except httpx.TimeoutException as exc:
            return f"no answer in time ({type(exc).__name__})", 0.0
        except httpx.TransportError as exc:
            return f"no connection ({type(exc).__name__})", 0.0
        except Exception as exc:  # noqa: BLE001 - whatever it is
            # The text may hold the URL or a header; the kind of error says enough.
            kind = type(exc).__name__
        else:
            if status in _SUCCESS:
                return "", 0.0
            if status in _MAY_PASS or status in _SERVER_ERRORS:
                return f"status {status}", retry_after
            raise DeliveryError(f"refused with status {status}")
        # Raised outside the handler, so that the error with its text is not in the context.
        raise DeliveryError(f"the request could not be made ({kind})")

    def _open(self) -> httpx.Client:
        if self._client is None:
            import httpx  # noqa: PLC0415 - optional, and known to be there

            # No connection is kept: alerts are rare, and a kept one would be shared by a fork.
            limits = httpx.Limits(max_keepalive_connections=0)
            self._client = httpx.Client(timeout=self._timeout, limits=limits)
        return self._client

    def close(self) -> None:
        """Close the client, if there is one."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def forget(self) -> None:
        """Leave the client to the process that was forked from."""
        self._client = None

    def __str__(self) -> str:
        return str(self._url)


_JSON = {"Content-Type": "application/json", "User-Agent": "nanospan"}


def _seconds(retry_after: str | None) -> float:
    """The seconds that ``Retry-After`` means (RFC 9110, section 10.2.3), 0 if it makes no sense."""
    if retry_after is None:
        return 0.0
    if retry_after.strip().isdecimal():
        seconds = float(retry_after)
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


_is_posting: contextvars.ContextVar[bool] = contextvars.ContextVar("posting", default=False)


def _pass_on(_record: logging.LogRecord) -> bool:
    return not _is_posting.get()


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep httpx's line on each request, which has the whole URL, out of the application's log."""
    logging.getLogger("httpx").addFilter(_pass_on)  # once: adding it again has no effect
    token = _is_posting.set(True)
    try:
        yield
    finally:
        _is_posting.reset(token)
