"""The life of an alert, as a function of what was found and when: no clock, no threads.

    inactive --breached--> pending --for_seconds--> firing --cleared--> resolved --> inactive

A pending alert whose condition ends is inactive again. A resolved one may go pending at once, but
fires again only after its cooldown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["Change", "Finding", "State", "Track", "step"]

State = Literal["inactive", "pending", "firing", "resolved"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found about an operation.

    Attributes:
        breached: The condition holds.
        cleared: It is over, so that a firing alert resolves. Between a limit and its hysteresis, or
            while nothing can be judged, neither is true. Never both.
        value: What was compared, `None` if there was nothing to compare.
    """

    breached: bool
    cleared: bool
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """Where an alert stands.

    Attributes:
        state: Its state.
        since: When it came into it, on the clock that `step` is given.
        cool_until: When it may fire again.
        announced: Whether the sinks were told that it fires.
    """

    state: State = "inactive"
    since: float = -math.inf
    cool_until: float = -math.inf
    announced: bool = False

    def is_idle(self, now: float) -> bool:
        """Whether nothing is lost by forgetting it."""
        return self.state == "inactive" and now >= self.cool_until


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be told of a step.

    Attributes:
        state: The state that was entered, or is announced late.
        entered: Whether it was entered in this step. False when a silence ended over an alert that
            fires: it is announced then.
        announce: Whether the sinks are to be told.
    """

    state: State
    entered: bool
    announce: bool


def step(  # noqa: PLR0911, PLR0913 - one return for each arrow; settings by keyword
    track: Track,
    finding: Finding,
    now: float,
    *,
    for_seconds: float = 0.0,
    cooldown: float = 0.0,
    muted: bool = False,
) -> tuple[Track, Change | None]:
    """Take an alert one step on.

    Args:
        track: Where it stands.
        finding: What was found now.
        now: The time, in seconds, on a clock that never goes back.
        for_seconds: How long the condition holds before it fires.
        cooldown: How long after resolving it cannot fire.
        muted: Whether a silence covers it. A firing alert is announced when the silence ends; that
            it resolved is announced exactly if that it fired was.

    Returns:
        Where it stands then, and what is to be told, if anything.
    """
    if track.state == "firing":
        if finding.cleared:
            entered = Track("resolved", now, now + cooldown)
            return entered, Change("resolved", entered=True, announce=track.announced)
        if not track.announced and not muted:
            return replace(track, announced=True), Change("firing", entered=False, announce=True)
        return track, None
    if not finding.breached:
        if track.state == "pending":
            entered = replace(track, state="inactive", since=now)
            return entered, Change("inactive", entered=True, announce=False)
        if track.state == "resolved":
            return replace(track, state="inactive", since=now), None
        return track, None
    pending_since = track.since if track.state == "pending" else now
    if now >= max(pending_since + for_seconds, track.cool_until):
        entered = Track("firing", now, announced=not muted)
        return entered, Change("firing", entered=True, announce=not muted)
    if track.state == "pending":
        return track, None
    entered = replace(track, state="pending", since=now)
    return entered, Change("pending", entered=True, announce=not muted)
