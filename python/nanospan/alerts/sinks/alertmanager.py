"""The sink that posts alerts to a Prometheus Alertmanager (API version 2)."""

from __future__ import annotations

import logging
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from nanospan._core import escape_name
from nanospan.alerts.fields import RuleError, check_number
from nanospan.alerts.sinks.base import DeliveryError, PostponedError
from nanospan.alerts.sinks.http import Poster
from nanospan.alerts.sinks.webhook import HttpSink
from nanospan.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanospan.alerts.alert import Alert
    from nanospan.alerts.rules import Severity
    from nanospan.alerts.sinks.base import Pause
    from nanospan.alerts.sinks.secret import Origin

__all__ = ["AlertmanagerSink"]

logger = logging.getLogger("nanospan.alerts")

LIFETIME = 4
"""The time from a post to the alert's ``endsAt``, as a multiple of ``repeat``.

With this factor, which Prometheus uses too, three posts in a row may be lost before the
Alertmanager considers an alert resolved.
"""

RETRY_SECONDS = 10.0
"""The time between posts while posting fails, in seconds; at most ``repeat``."""

_Labels = tuple[tuple[str, str], ...]


class AlertmanagerSink(HttpSink):
    """Keeps a Prometheus Alertmanager informed of the firing alerts.

    Firing alerts are posted with ``startsAt`` and with an ``endsAt`` that is ``4 * repeat`` seconds
    in the future. They are posted again every ``repeat`` seconds, so that they stay active while
    this process lives and end soon after it dies. Resolved alerts are posted with their end time.
    An alert that could not be posted is retried every 10 seconds, in its latest state. Alerts that
    are already firing when the sink is added are also posted, so that they do not resolve when an
    alerts file is reloaded.

    The labels are ``alertname`` (the rule), ``operation``, ``severity``, ``instance``
    (``host:pid``, so that processes do not resolve each other's alerts) and the rule's own labels.
    The annotations are ``summary`` and, if the alert has them, ``value`` and ``limit`` as plain
    numbers.

    Args:
        url: The Alertmanager's address without an API path, such as ``http://127.0.0.1:9093``.
            ``env:NAME`` in it is replaced by that environment variable's value.
        headers: Additional headers; ``env:NAME`` in a value is replaced by that variable's value.
        repeat: Time between posts of an alert that keeps firing, in seconds; at least 1.
        timeout: Maximum duration of each attempt, in seconds, from the look-up of the host to
            the last of the response's headers, however slowly they arrive.
        attempts: Maximum number of attempts for each post. If all fail, the alerts are posted again
            when the next post is due.
        origin: Where the settings come from: ``program``, ``file`` (secrets in ``headers`` must be
            given as ``env:NAME``), or ``unchecked file`` (the same, but the environment variables
            may be unset).
        min_severity: The lowest severity of alerts to post.

    Raises:
        RuleError: (a ``ValueError``) If a setting is invalid; the message contains no secrets.
        ImportError: If httpx is not installed.
    """

    wants_current_alerts = True

    def __init__(  # noqa: PLR0913 - settings, mostly keyword-only
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        repeat: float = 60.0,
        timeout: float = 10.0,
        attempts: int = 3,
        origin: Origin = "program",
        min_severity: Severity = "info",
    ) -> None:
        if check_number("repeat", repeat) < 1:
            raise RuleError("repeat", repeat, "must be at least 1 second")
        poster = Poster(
            url,
            headers,
            timeout=timeout,
            attempts=attempts,
            origin=origin,
            path="/api/v2/alerts",
        )
        super().__init__(poster, min_severity=min_severity)
        self._repeat = repeat
        self._firing: dict[_Labels, Alert] = {}  # the firing alerts, as last posted
        self._unposted: dict[_Labels, Alert] = {}  # the latest state of alerts not yet posted
        self._due: float | None = None  # on the monotonic clock
        self._last_failure = ""  # why the last post failed; empty if it succeeded

    def deliver(self, alert: Alert, pause: Pause) -> None:
        """Post the alert, or keep it for the next post if the previous one failed."""
        self._unposted[_labels(alert)] = alert
        if self._due is None:
            self._due = time.monotonic() + self._repeat
        if self._last_failure:
            # Retrying for each alert would let the queue fill up and drop its oldest alerts. If it
            # dropped a resolved alert, the firing alert would be repeated for ever.
            raise PostponedError(self._last_failure)
        self._post(self._unposted, pause)

    def refresh(self, pause: Pause) -> None:
        """Post all firing alerts again, along with alerts that could not be posted before."""
        self._due = time.monotonic() + self._repeat
        self._post({**self._firing, **self._unposted}, pause)

    def _post(self, alerts: dict[_Labels, Alert], pause: Pause) -> None:
        try:
            self._poster.post([self._entry(*item) for item in alerts.items()], pause)
        except DeliveryError as exc:
            self._due = time.monotonic() + min(RETRY_SECONDS, self._repeat)
            if not self._last_failure:
                logger.warning("%s cannot post alerts; will retry: %s", self, exc)
            self._last_failure = str(exc)
            raise PostponedError(self._last_failure) from None
        if self._last_failure:
            self._last_failure = ""
            logger.info("%s works again: posted %s", self, counted(len(alerts), "alert"))
        posted = {**self._firing, **alerts}
        self._firing = {labels: each for labels, each in posted.items() if each.state == "firing"}
        self._unposted = {}
        if not self._firing:
            self._due = None

    def refresh_in(self) -> float | None:
        """Return the seconds until the next post is due, or None if there is nothing to post."""
        return None if self._due is None else self._due - time.monotonic()

    def after_fork(self) -> None:
        """Forget the parent's alerts, which the parent continues to post."""
        super().after_fork()
        self._firing = {}
        self._unposted = {}
        self._due = None
        self._last_failure = ""

    def _entry(self, labels: _Labels, alert: Alert) -> dict[str, Any]:
        started = alert.since if alert.fired_at is None else alert.fired_at
        ends = alert.since if alert.state == "resolved" else time.time() + LIFETIME * self._repeat
        annotations = {"summary": escape_name(alert.summary)}
        for name, number in (("value", alert.value), ("limit", alert.limit)):
            if number is not None:
                annotations[name] = repr(float(number))
        return {
            "labels": dict(labels),
            "annotations": annotations,
            # After the clock is set back, the end may precede the start, which would be rejected.
            "startsAt": _timestamp(min(started, ends)),
            "endsAt": _timestamp(ends),
        }


def _labels(alert: Alert) -> _Labels:
    labels = {
        "instance": alert.instance,
        **alert.labels,
        "alertname": alert.rule,
        "operation": alert.operation,
        "severity": alert.severity,
    }
    # The Alertmanager rejects labels with empty values.
    return tuple(sorted((name, escape_name(value)) for name, value in labels.items() if value))


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
