"""The sink that posts alerts to a URL."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from nanospan.alerts.sinks.base import Sink
from nanospan.alerts.sinks.http import Poster

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Unpack

    from nanospan.alerts.alert import Alert
    from nanospan.alerts.sinks.base import Filters, Pause
    from nanospan.alerts.sinks.secret import Origin

__all__ = ["HttpSink", "WebhookSink"]

logger = logging.getLogger("nanospan.alerts")


class HttpSink(Sink):
    """The base class of sinks that post alerts over HTTP."""

    def __init__(self, poster: Poster, **filters: Unpack[Filters]) -> None:
        super().__init__(**filters)
        self._poster = poster

    @property
    def unset_variables(self) -> list[str]:
        """The environment variables in the URL and headers that are unset or empty."""
        return self._poster.unset_variables

    def explain(self, exc: BaseException) -> None:
        """Log only the exception's type, because its message and traceback may contain secrets."""
        logger.error("%s failed (%s)", self, type(exc).__name__)

    def close(self) -> None:
        """Close the HTTP client."""
        self._poster.close()

    def after_fork(self) -> None:
        """Drop the HTTP client, which belongs to the parent process."""
        self._poster.forget()

    def __str__(self) -> str:
        return f"{type(self).__name__}({self._poster})"


class WebhookSink(HttpSink):
    """Posts each alert as JSON (``Alert.to_dict``) to a URL.

    ```python
    WebhookSink("env:HOOK_URL", headers={"Authorization": "Bearer env:HOOK_TOKEN"})
    ```

    Only the URL's scheme, host and port ever appear in ``repr``, logs or error messages; the rest
    of the URL and the values of headers never do.

    Args:
        url: The URL; ``env:NAME`` in it is replaced by that environment variable's value.
        headers: Additional headers; ``env:NAME`` in a value is replaced by that variable's value.
        timeout: Maximum duration of each attempt, in seconds, from the look-up of the host to
            the last of the response's headers, however slowly they arrive.
        attempts: Maximum number of attempts for each alert. Connection errors, timeouts and the
            statuses 408, 425, 429 and 5xx are retried after random pauses that grow with each
            attempt, or after the server's ``Retry-After`` if that is longer.
        origin: Where the settings come from: ``program``, ``file`` (secrets in ``headers`` must be
            given as ``env:NAME``), or ``unchecked file`` (the same, but the environment variables
            may be unset).
        **filters: ``states`` and ``min_severity``; see :class:`Sink`.

    Raises:
        RuleError: (a ``ValueError``) If a setting is invalid; the message contains no secrets.
        ImportError: If httpx is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        attempts: int = 6,
        origin: Origin = "program",
        **filters: Unpack[Filters],
    ) -> None:
        poster = Poster(url, headers, timeout=timeout, attempts=attempts, origin=origin)
        super().__init__(poster, **filters)

    def deliver(self, alert: Alert, pause: Pause) -> None:
        """Post the alert as JSON."""
        self._poster.post(alert.to_dict(), pause)
