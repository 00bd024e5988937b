"""The base class of alert sinks, and the exceptions that sinks raise."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar, TypedDict, get_args

from nanospan.alerts.fields import check_choice
from nanospan.alerts.rules import SEVERITIES, Severity
from nanospan.alerts.states import State

if TYPE_CHECKING:
    from nanospan.alerts.alert import Alert

__all__ = ["DeliveryError", "Filters", "Pause", "PostponedError", "Sink"]

logger = logging.getLogger("nanospan.alerts")

Pause = Callable[[float], bool]
"""A function that waits the given number of seconds between attempts.

It returns False if there is no time for another attempt.
"""

DEFAULT_STATES: tuple[State, ...] = ("firing", "resolved")


class DeliveryError(Exception):
    """An alert could not be delivered and is lost. The error's text must not contain secrets."""


class PostponedError(DeliveryError):
    """An alert could not be delivered yet; the sink keeps the alert and will retry."""


class Filters(TypedDict, total=False):
    """The keyword arguments that select which alerts a sink receives."""

    states: Iterable[State]
    min_severity: Severity


class Sink:
    """The base class of sinks, which receive alerts. Subclasses implement ``deliver``.

    ``deliver``, ``refresh`` and ``close`` are called one at a time, on a thread that serves only
    this sink, so they may block. Do not add a sink to more than one monitor.

    Args:
        states: The states of alerts to deliver: any of ``pending``, ``firing`` and ``resolved``; by
            default ``firing`` and ``resolved``.
        min_severity: The lowest severity of alerts to deliver.

    Raises:
        RuleError: (a ``ValueError``) If ``states`` or ``min_severity`` has an invalid value.
    """

    wants_current_alerts: ClassVar[bool] = False
    """Whether the sink, when added, receives the alerts that are already firing."""

    def __init__(
        self, *, states: Iterable[State] = DEFAULT_STATES, min_severity: Severity = "info"
    ) -> None:
        known = tuple(state for state in get_args(State) if state != "inactive")
        self._states = frozenset(check_choice("states", state, known) for state in states)
        severity = check_choice("min_severity", min_severity, SEVERITIES)
        self._severities = frozenset(SEVERITIES[SEVERITIES.index(severity) :])

    def wants(self, alert: Alert) -> bool:
        """Return whether this sink should receive the alert."""
        return alert.state in self._states and alert.severity in self._severities

    def deliver(self, alert: Alert, pause: Pause) -> None:
        """Deliver an alert.

        Args:
            alert: The alert to deliver.
            pause: A function that waits the given number of seconds between attempts; it returns
                False if there is no time for another attempt.

        Raises:
            DeliveryError: If the alert cannot be delivered. If any other exception is raised, the
                alert is also lost, and the exception is logged.
        """
        raise NotImplementedError

    def refresh(self, pause: Pause) -> None:
        """Do periodic work that is not triggered by a new alert, such as posting alerts again."""

    def refresh_in(self) -> float | None:
        """Return the number of seconds until ``refresh`` is due, or None if it is not needed."""
        return None

    def explain(self, exc: BaseException) -> None:
        """Log an exception that a method of this sink raised unexpectedly (not a DeliveryError)."""
        logger.error("%s failed", self, exc_info=exc)

    def close(self) -> None:
        """Release the sink's resources. Called once, on the sink's thread."""

    def after_fork(self) -> None:
        """Discard state that belongs to the parent process. Called in a forked child."""

    def __str__(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        return f"<{self}>"
