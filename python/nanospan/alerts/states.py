"""The life cycle of an alert, as a pure function of findings and times.

    inactive --breached--> pending --for_seconds--> firing --cleared--> resolved --> inactive

A pending alert becomes inactive if its condition ends. A resolved alert may become pending at once,
but fires again only after its cooldown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["Finding", "Lifecycle", "State", "Transition", "step"]

State = Literal["inactive", "pending", "firing", "resolved"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of evaluating a rule for one operation.

    Attributes:
        breached: Whether the condition holds.
        cleared: Whether the condition has ended, so that a firing alert resolves. ``breached`` and
            ``cleared`` are both false while the value is between the limit and the level at which
            the alert resolves, and while there is too little data to judge. They are never both
            true.
        value: The value that the rule judged; None if there was no value to judge.
    """

    breached: bool
    cleared: bool
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The position of an alert in its life cycle.

    Attributes:
        state: The current state.
        since: When the alert entered the state, on the monotonic clock, in seconds.
        cool_until: When the cooldown ends and the alert may fire again, on the same clock.
        announced: Whether the sinks were told that the alert is firing.
    """

    state: State = "inactive"
    since: float = -math.inf
    cool_until: float = -math.inf
    announced: bool = False

    def is_idle(self, now: float) -> bool:
        """Return whether the alert can be forgotten: inactive, with its cooldown expired."""
        return self.state == "inactive" and now >= self.cool_until


@dataclass(frozen=True, slots=True)
class Transition:
    """A change in an alert's state, which the engine publishes.

    Attributes:
        state: The alert's current state.
        entered: Whether the alert has just entered the state. False if the alert was already firing
            and is announced only now, because a silence ended.
        announce: Whether to send the alert to the sinks.
    """

    state: State
    entered: bool
    announce: bool


def step(  # noqa: PLR0911, PLR0913 - one return per arrow; keyword-only settings
    lifecycle: Lifecycle,
    finding: Finding,
    now: float,
    *,
    for_seconds: float = 0.0,
    cooldown: float = 0.0,
    muted: bool = False,
) -> tuple[Lifecycle, Transition | None]:
    """Return an alert's next position in its life cycle, given the latest finding.

    Args:
        lifecycle: The alert's position before the finding.
        finding: The result of the latest evaluation.
        now: The current time in seconds, on a monotonic clock.
        for_seconds: How long the condition must hold before the alert fires, in seconds.
        cooldown: Minimum time between resolving and firing again, in seconds.
        muted: Whether a silence applies to the alert. An alert that is still firing when the
            silence ends is announced then. A resolved alert is announced if and only if it was
            announced as firing.

    Returns:
        The alert's position after the finding, and the transition to publish, if any.
    """
    if lifecycle.state == "firing":
        if finding.cleared:
            entered = Lifecycle("resolved", now, now + cooldown)
            return entered, Transition("resolved", entered=True, announce=lifecycle.announced)
        if not lifecycle.announced and not muted:
            return replace(lifecycle, announced=True), Transition(
                "firing", entered=False, announce=True
            )
        return lifecycle, None
    if not finding.breached:
        if lifecycle.state == "pending":
            entered = replace(lifecycle, state="inactive", since=now)
            return entered, Transition("inactive", entered=True, announce=False)
        if lifecycle.state == "resolved":
            return replace(lifecycle, state="inactive", since=now), None
        return lifecycle, None
    pending_since = lifecycle.since if lifecycle.state == "pending" else now
    if now >= max(pending_since + for_seconds, lifecycle.cool_until):
        entered = Lifecycle("firing", now, announced=not muted)
        return entered, Transition("firing", entered=True, announce=not muted)
    if lifecycle.state == "pending":
        return lifecycle, None
    entered = replace(lifecycle, state="pending", since=now)
    return entered, Transition("pending", entered=True, announce=not muted)
