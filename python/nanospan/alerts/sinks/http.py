"""Posting JSON over HTTP with timeouts and retries, without revealing secrets."""

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

from nanospan.alerts.fields import RuleError, check_count, check_number
from nanospan.alerts.sinks.base import DeliveryError
from nanospan.alerts.sinks.secret import Origin, secret_headers, secret_url
from nanospan.values.extras import needs
from nanospan.values.timed_calls import TimedCalls
from nanospan.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import httpx

    from nanospan.alerts.sinks.base import Pause
    from nanospan.values.timed_calls import Connections

__all__ = ["Poster"]

FIRST_PAUSE = 0.5
"""The maximum pause after the first attempt, in seconds; doubled after each further attempt."""

LONGEST_PAUSE = 30.0
"""The limit, in seconds, up to which the maximum pause is doubled."""

LONGEST_RETRY_AFTER = 600.0
"""The maximum time to wait because of a server's ``Retry-After`` header, in seconds."""

# Request Timeout, Too Early and Too Many Requests: a retry may succeed.
_RETRYABLE = frozenset({408, 425, 429})
_SERVER_ERRORS = range(500, 600)
_SUCCESS = range(200, 300)


MISSING = needs("httpx", "alerts")
"""What a sink lacks if httpx is not installed."""


def is_installed() -> bool:
    """Return whether httpx, which posts the requests, is installed."""
    return importlib.util.find_spec("httpx") is not None


class Poster:
    """Posts JSON to one URL.

    A request is retried after connection errors, timeouts and HTTP statuses 408, 425, 429 and 5xx.
    The pause before a retry is random ("full jitter" in M. Brooker, "Exponential Backoff And
    Jitter", 2015) between zero and a maximum, which starts at half a second and doubles with each
    attempt up to 30 s. If the server sends a longer ``Retry-After``, it is honoured, up to 10
    minutes.

    Args:
        url: The URL; ``env:NAME`` in it is replaced by that environment variable's value.
        headers: Additional headers; ``env:NAME`` in a value is replaced by that variable's value.
        timeout: Maximum duration of each attempt, in seconds, from the look-up of the host to
            the last of the response's headers, however slowly they arrive.
        attempts: Maximum number of attempts for each request.
        origin: Where the settings come from: ``program``, ``file`` (secrets in ``headers`` must be
            given as ``env:NAME``), or ``unchecked file`` (the same, but the environment variables
            may be unset).
        path: A path to append to the URL.

    Raises:
        RuleError: (a ``ValueError``) If a setting is invalid; the message contains no secrets.
        ImportError: If httpx is not installed.
    """

    def __init__(  # noqa: PLR0913 - settings, mostly keyword-only
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float = 10.0,
        attempts: int = 6,
        origin: Origin = "program",
        path: str = "",
    ) -> None:
        self._url = secret_url("url", url, origin)
        self._headers = secret_headers("headers", headers or {}, origin)
        if not check_number("timeout", timeout) > 0:
            raise RuleError("timeout", timeout, "must be greater than 0")
        check_count("attempts", attempts)
        if origin != "unchecked file" and not is_installed():
            raise ImportError(f"this sink {MISSING}")
        self._timeout = timeout
        self._attempts = attempts
        self._path = path
        self._client: httpx.Client | None = None
        self._calls = TimedCalls("nanospan-post")

    @property
    def unset_variables(self) -> list[str]:
        """The variables named in the URL and headers (``env:NAME``) that are unset or empty."""
        return [name for each in (self._url, *self._headers.values()) for name in each.unset()]

    def post(self, payload: object, pause: Pause) -> None:
        """Post a payload, retrying after errors that may be temporary.

        Args:
            payload: The value to send as JSON.
            pause: Waits the given number of seconds between attempts; returns False if there is no
                time for another attempt.

        Raises:
            DeliveryError: If the request was rejected, or every attempt failed.
        """
        content = json.dumps(payload, ensure_ascii=False, allow_nan=False).encode()
        for attempt in range(1, self._attempts + 1):
            problem, retry_after = self._try(content)
            if not problem:
                return
            ceiling = min(FIRST_PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE)
            seconds = max(random.uniform(0, ceiling), retry_after)  # noqa: S311 - not cryptography
            if attempt == self._attempts or not pause(seconds):
                break
        raise DeliveryError(f"{problem} after {counted(attempt, 'attempt')}")

    def _try(self, content: bytes) -> tuple[str, float]:
        """Make one attempt; return the error (empty on success) and the ``Retry-After`` in seconds.

        Raises:
            DeliveryError: If retrying cannot help.
        """
        import httpx  # noqa: PLC0415 - optional; the constructor has checked that it is installed

        progress = _Progress()
        try:
            client = self._open()  # reads certificates, which the attempt does not include
            status, retry_after = self._calls.run(
                lambda connections: self._request(client, content, progress, connections),
                self._timeout,
            )
        except (TimeoutError, httpx.TimeoutException):
            return f"timed out while {progress.phase}", 0.0
        except (httpx.TransportError, OSError) as exc:  # OSError: such as no free descriptor
            return f"connection failed ({type(exc).__name__})", 0.0
        except Exception as exc:  # noqa: BLE001 - any error may reveal a secret
            # The message may contain the URL or a header, so only the exception's type is reported.
            kind = type(exc).__name__
        else:
            if status in _SUCCESS:
                return "", 0.0
            if status in _RETRYABLE or status in _SERVER_ERRORS:
                return f"status {status}", retry_after
            raise DeliveryError(f"rejected with status {status}")
        # Raised outside the handler, so that the original error does not become its context.
        raise DeliveryError(f"the request could not be made ({kind})")

    def _request(
        self, client: httpx.Client, content: bytes, progress: _Progress, connections: Connections
    ) -> tuple[int, float]:
        """Send the request; return the response's status and ``Retry-After`` in seconds."""
        progress.connections = connections
        url = self._url.reveal().rstrip("/") + self._path if self._path else self._url.reveal()
        headers = {name: secret.reveal() for name, secret in self._headers.items()}
        # The response body may be long and is not needed, so it is never read.
        with (
            _unlogged(),
            client.stream(
                "POST",
                url,
                content=content,
                headers={**_JSON, **headers},
                extensions={"trace": progress.trace},
            ) as response,
        ):
            return response.status_code, _seconds(response.headers.get("Retry-After"))

    def _open(self) -> httpx.Client:
        if self._client is None:
            import httpx  # noqa: PLC0415 - optional; the constructor has checked for it

            # Connections are not kept alive: alerts are rare, and forked children would share them.
            limits = httpx.Limits(max_keepalive_connections=0)
            self._client = httpx.Client(timeout=self._timeout, limits=limits)
        return self._client

    def close(self) -> None:
        """Close the HTTP client, if there is one."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def forget(self) -> None:
        """Drop the HTTP client without closing it, because it belongs to the parent process."""
        self._client = None

    def __str__(self) -> str:
        return str(self._url)


class _Progress:
    """Follows one request, of which httpx reports each step.

    Attributes:
        phase: What the request is waiting for, in words.
        connections: Gets the sockets that the request opens.
    """

    connections: Connections

    def __init__(self) -> None:
        self.phase = "connecting"

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Note a step, such as ``connection.connect_tcp.complete``."""
        _, step, state = event.split(".")
        if state == "started" and not self.connections.is_cut:  # what follows is not what took long
            self.phase = _PHASES.get(step, self.phase)
        elif step == "connect_tcp" and state == "complete":
            self.connections.add(info["return_value"].get_extra_info("socket"))


_PHASES = {
    "start_tls": "waiting for the TLS handshake",
    "send_request_headers": "sending the request",
    "receive_response_headers": "waiting for the response",
}

_JSON = {"Content-Type": "application/json", "User-Agent": "nanospan"}


def _seconds(retry_after: str | None) -> float:
    """Convert a ``Retry-After`` header to seconds; return 0 if it is missing or invalid.

    The format is defined in RFC 9110, section 10.2.3.
    """
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


def _is_not_posting(_record: logging.LogRecord) -> bool:
    return not _is_posting.get()


@contextmanager
def _unlogged() -> Iterator[None]:
    """Suppress httpx's logging of requests in the block, because it would reveal the URL."""
    logging.getLogger("httpx").addFilter(_is_not_posting)  # adding it again has no effect
    token = _is_posting.set(True)
    try:
        yield
    finally:
        _is_posting.reset(token)
