"""Alerts as requests to a URL."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from nanospan.alerts.sinks.base import Sink
from nanospan.alerts.sinks.http import Poster

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanospan.alerts.alert import Alert
    from nanospan.alerts.sinks.base import Pause
    from nanospan.alerts.sinks.secret import Origin

__all__ = ["HttpSink", "WebhookSink"]

logger = logging.getLogger("nanospan.alerts")


class HttpSink(Sink):
    """What sinks that post have in common."""

    def __init__(self, poster: Poster, **filters: Any) -> None:
        super().__init__(**filters)
        self._poster = poster

    @property
    def unset_variables(self) -> list[str]:
        """Environment variables that it needs and that are not set."""
        return self._poster.unset_variables

    def explain(self, exc: BaseException) -> None:
        """Log the kind of error only: its text and traceback may hold what must not be told."""
        logger.error("%s failed (%s)", self, type(exc).__name__)

    def close(self) -> None:
        """Close its client."""
        self._poster.close()

    def after_fork(self) -> None:
        """Leave the client to the parent."""
        self._poster.forget()

    def __str__(self) -> str:
        return f"{type(self).__name__}({self._poster})"


class WebhookSink(HttpSink):
    """Posts each alert as JSON (``Alert.to_dict``) to a URL.

    ```python
    WebhookSink("env:HOOK_URL", headers={"Authorization": "Bearer env:HOOK_TOKEN"})
    ```

    URL and headers never show in `repr`, log or error, except for the URL's scheme, host and port.

    Args:
        url: Where to. ``env:NAME`` in it stands for the value of an environment variable.
        headers: Further headers; ``env:NAME`` in a value likewise.
        timeout: Seconds for each of connecting, sending and waiting for the answer.
        attempts: How often each alert is tried: again after connection errors, time-outs and the
            statuses 408, 425, 429 and 5xx, with growing random pauses or as ``Retry-After`` says.
        origin: Where the settings stand: in a program; in a file, where no secret may stand in
            `headers`; in a file that is only checked, whose variables need not be set.
        **filters: ``states`` and ``min_severity``, as every :class:`Sink` has them.

    Raises:
        RuleError: (a `ValueError`) If a setting has a value it cannot have; shows no secret.
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
        **filters: Any,
    ) -> None:
        poster = Poster(url, headers, timeout=timeout, attempts=attempts, origin=origin)
        super().__init__(poster, **filters)

    def deliver(self, alert: Alert, pause: Pause) -> None:
        """Post one alert."""
        self._poster.post(alert.to_dict(), pause)
