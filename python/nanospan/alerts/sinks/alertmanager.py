"""Alerts in a Prometheus Alertmanager (version 2 of its API)."""

from __future__ import annotations

import logging
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from nanospan.alerts.fields import RuleError, check_number
from nanospan.alerts.sinks.base import DeliveryError, PostponedError
from nanospan.alerts.sinks.http import Poster
from nanospan.alerts.sinks.webhook import HttpSink

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nanospan.alerts.alert import Alert
    from nanospan.alerts.rules import Severity
    from nanospan.alerts.sinks.base import Pause
    from nanospan.alerts.sinks.secret import Origin

__all__ = ["AlertmanagerSink"]

logger = logging.getLogger("nanospan.alerts")

# As Prometheus does: three repetitions may be lost before an alert is taken for over.
LIFETIME = 4
RETRY_SECONDS = 10.0

_Labels = tuple[tuple[str, str], ...]


class AlertmanagerSink(HttpSink):
    """Keeps an Alertmanager told of what fires.

    Firing alerts are posted with ``startsAt`` and an ``endsAt`` four repetitions ahead, and posted
    again every `repeat` seconds, so that they stay active while this process lives and end soon
    after it died; resolved ones are posted with their end. What could not be posted is tried again
    every 10 seconds, in its latest state. What fires already when the sink is added is posted, too,
    so that a file of rules may be loaded again without ending anything there.

    Labels are ``alertname`` (the rule), ``operation``, ``severity``, ``instance`` (``host:pid``, so
    that processes do not resolve each other's alerts) and the rule's; annotations ``summary`` and,
    if there are any, ``value`` and ``limit`` in plain numbers.

    Args:
        url: The Alertmanager's address without a path of its API, ``http://127.0.0.1:9093`` say.
            ``env:NAME`` in it stands for the value of an environment variable.
        headers: Further headers; ``env:NAME`` in a value likewise.
        repeat: Seconds between two posts of what goes on firing.
        timeout: Seconds for each of connecting, sending and waiting for the answer.
        attempts: How often a post is tried before it waits for the next one.
        origin: Where the settings stand: in a program; in a file, where no secret may stand in
            `headers`; in a file that is only checked, whose variables need not be set.
        min_severity: Alerts of a lesser severity are kept from it.

    Raises:
        RuleError: (a `ValueError`) If a setting has a value it cannot have; shows no secret.
        ImportError: If httpx is not installed.
    """

    wants_standing = True

    def __init__(  # noqa: PLR0913 - settings, all by keyword
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
        self._firing: dict[_Labels, Alert] = {}  # what was posted last of each that fires
        self._untold: dict[_Labels, Alert] = {}  # the latest state of those that were not posted
        self._due: float | None = None  # on the monotonic clock
        self._trouble = ""  # why the last post failed, if it did

    def deliver(self, alert: Alert, pause: Pause) -> None:
        """Post the alert; while posts fail, keep it until the next one is due."""
        self._untold[_labels(alert)] = alert
        if self._due is None:
            self._due = time.monotonic() + self._repeat
        if self._trouble:
            # It is tried again when it is due. To try for each alert would fill the queue, which
            # loses the oldest: an end, say, and with it what is repeated for ever.
            raise PostponedError(self._trouble)
        self._post(self._untold, pause)

    def refresh(self, pause: Pause) -> None:
        """Post everything that the Alertmanager has to know."""
        self._due = time.monotonic() + self._repeat
        self._post({**self._firing, **self._untold}, pause)

    def _post(self, alerts: dict[_Labels, Alert], pause: Pause) -> None:
        try:
            self._poster.post([self._entry(*item) for item in alerts.items()], pause)
        except DeliveryError as exc:
            self._due = time.monotonic() + min(RETRY_SECONDS, self._repeat)
            if not self._trouble:
                logger.warning("%s cannot be told of alerts; trying on: %s", self, exc)
            self._trouble = str(exc)
            raise PostponedError(self._trouble) from None
        if self._trouble:
            self._trouble = ""
            logger.info("%s was told of %d alerts", self, len(alerts))
        told = {**self._firing, **alerts}
        self._firing = {labels: each for labels, each in told.items() if each.state == "firing"}
        self._untold = {}
        if not self._firing:
            self._due = None

    def refresh_in(self) -> float | None:
        """Seconds until the next repetition."""
        return None if self._due is None else self._due - time.monotonic()

    def after_fork(self) -> None:
        """What the parent told is the parent's to repeat."""
        super().after_fork()
        self._firing = {}
        self._untold = {}
        self._due = None
        self._trouble = ""

    def _entry(self, labels: _Labels, alert: Alert) -> dict[str, Any]:
        started = alert.since if alert.fired_at is None else alert.fired_at
        ends = alert.since if alert.state == "resolved" else time.time() + LIFETIME * self._repeat
        annotations = {"summary": alert.summary}
        for name, number in (("value", alert.value), ("limit", alert.limit)):
            if number is not None:
                annotations[name] = repr(float(number))
        return {
            "labels": dict(labels),
            "annotations": annotations,
            # The clock may have been set back since; the Alertmanager refuses ends before starts.
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
    # The Alertmanager refuses empty values: to it they are labels that are not there.
    return tuple(sorted((name, value) for name, value in labels.items() if value))


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
