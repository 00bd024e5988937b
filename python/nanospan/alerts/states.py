"""The life cycle of an alert, as a pure function of findings and times.

    inactive --breached--> pending --for_seconds--> firing --cleared--> resolved --> inactive

A pending alert whose condition ends becomes inactive. A resolved alert may become pending at once
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
    """The result of evaluating a rule on one operation.

    Attributes:
        breached: Whether the condition holds.
        cleared: Whether the condition is over, so that a firing alert resolves. Both are false
            between a limit and its hysteresis, and while there is too little data to judge. They
            are never both true.
        value: The value that was compared; None if there was nothing to compare.
    """

    breached: bool
    cleared: bool
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The position of an alert in its life cycle.

    Attributes:
        state: The current state.
        since: When the state was entered, on the clock of ``step``.
        cool_until: When the alert may fire again, on the same clock.
        announced: Whether the sinks were told that the alert fires.
    """

    state: State = "inactive"
    since: float = -math.inf
    cool_until: float = -math.inf
    announced: bool = False

    def is_idle(self, now: float) -> bool:
        """Return whether the alert can be forgotten: it is inactive and its cooldown is over."""
        return self.state == "inactive" and now >= self.cool_until


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state to publish.

    Attributes:
        state: The state that was entered, or that is announced late.
        entered: Whether the state was entered in this step. False if the alert was already firing
            and is announced now because its silence ended.
        announce: Whether to tell the sinks.
    """

    state: State
    entered: bool
    announce: bool


def step(  # noqa: PLR0911, PLR0913 - one return for each arrow; settings by keyword
    lifecycle: Lifecycle,
    finding: Finding,
    now: float,
    *,
    for_seconds: float = 0.0,
    cooldown: float = 0.0,
    muted: bool = False,
) -> tuple[Lifecycle, Transition | None]:
    """Advance an alert by one finding.

    Args:
        lifecycle: The alert before the finding.
        finding: The finding.
        now: The current time in seconds, on a clock that never goes back.
        for_seconds: How long the condition must hold before the alert fires.
        cooldown: How long after resolving the alert cannot fire.
        muted: Whether a silence covers the alert. A firing alert is announced when the silence
            ends. A resolved alert is announced if and only if its firing was.

    Returns:
        The alert after the finding, and the transition to publish, if any.
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
