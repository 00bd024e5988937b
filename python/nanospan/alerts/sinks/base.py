"""What a sink is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar, get_args

from nanospan.alerts.fields import check_choice
from nanospan.alerts.rules import SEVERITIES, Severity
from nanospan.alerts.states import State

if TYPE_CHECKING:
    from nanospan.alerts.alert import Alert

__all__ = ["DeliveryError", "Pause", "PostponedError", "Sink"]

logger = logging.getLogger("nanospan.alerts")

Pause = Callable[[float], bool]
"""Waits so many seconds between two attempts; false if there is no time for another attempt."""

TOLD: tuple[State, ...] = ("firing", "resolved")


class DeliveryError(Exception):
    """An alert could not be delivered, for good. The text holds no secret."""


class PostponedError(DeliveryError):
    """An alert could not be delivered yet; the sink keeps it and tries again by itself."""


class Sink:
    """Where alerts go. Subclasses have `deliver`.

    A sink's methods are called by a thread of its own, one at a time: `deliver` may take as long as
    it takes. A sink belongs to one monitor.

    Args:
        states: The states of which it is told; ``firing`` and ``resolved`` by default, and
            ``pending`` may be added.
        min_severity: Alerts of a lesser severity are kept from it.

    Raises:
        RuleError: (a `ValueError`) If there is no such state or severity.
    """

    wants_standing: ClassVar[bool] = False
    """Whether it is told, when it is added, of what fires already: for sinks that keep a state."""

    def __init__(self, *, states: Iterable[State] = TOLD, min_severity: Severity = "info") -> None:
        known = tuple(state for state in get_args(State) if state != "inactive")
        self._states = frozenset(check_choice("states", state, known) for state in states)
        severity = check_choice("min_severity", min_severity, SEVERITIES)
        self._severities = frozenset(SEVERITIES[SEVERITIES.index(severity) :])

    def wants(self, alert: Alert) -> bool:
        """Whether it is to be told of an alert."""
        return alert.state in self._states and alert.severity in self._severities

    def deliver(self, alert: Alert, pause: Pause) -> None:
        """Bring an alert to where it belongs.

        Args:
            alert: The alert.
            pause: For waiting between attempts.

        Raises:
            DeliveryError: If it cannot be done. Anything else that is raised counts the same.
        """
        raise NotImplementedError

    def refresh(self, pause: Pause) -> None:
        """Do what is due without a new alert."""

    def refresh_in(self) -> float | None:
        """Seconds until `refresh` is due; `None` if it is not until the next alert."""
        return None

    def explain(self, exc: BaseException) -> None:
        """Log an error of `deliver` that is no `DeliveryError`."""
        logger.error("%s failed", self, exc_info=exc)

    def close(self) -> None:
        """Let go of what it holds. Called once, by its own thread."""

    def after_fork(self) -> None:
        """Forget, in a forked child, what belongs to the parent."""

    def __str__(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        return f"<{self}>"
