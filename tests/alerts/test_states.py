"""Tests for the life cycle of an alert, step by step.

Properties checked for every sequence of findings, settings and silences:
- States follow the arrows: only a firing alert resolves, and only a resolved alert cools down.
- An alert fires only after its condition has held for ``for_seconds`` without interruption and its
  cooldown has ended.
- Each firing is announced at most once; a resolution is announced if and only if its firing was.
- Nothing is announced during a silence except the resolution of an announced alert.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanospan.alerts.states import Finding, Lifecycle, step

OVER = Finding(breached=True, cleared=False, value=2.0)
BETWEEN = Finding(breached=False, cleared=False, value=1.0)
UNDER = Finding(breached=False, cleared=True, value=0.0)


def run(findings, **settings):
    """Evaluate one finding per second; return the transitions as (second, state) pairs."""
    lifecycle, transitions = Lifecycle(), []
    for second, finding in enumerate(findings):
        lifecycle, transition = step(lifecycle, finding, float(second), **settings)
        if transition is not None:
            transitions.append((second, transition.state))
    return transitions


def test_a_breach_goes_pending_then_fires_then_resolves():
    """An alert is pending for ``for_seconds``, then fires, and resolves when the breach ends."""
    transitions = run([UNDER, OVER, OVER, OVER, OVER, UNDER], for_seconds=2)
    assert transitions == [(1, "pending"), (3, "firing"), (5, "resolved")]


def test_without_for_seconds_it_fires_at_once():
    """Without ``for_seconds``, an alert skips the pending state."""
    assert run([OVER, UNDER, OVER]) == [(0, "firing"), (1, "resolved"), (2, "firing")]


def test_a_breach_that_is_too_short_never_fires():
    """A pending alert becomes inactive when its breach ends; the next breach starts afresh."""
    transitions = run([OVER, UNDER, OVER, OVER, OVER], for_seconds=2)
    assert transitions == [(0, "pending"), (1, "inactive"), (2, "pending"), (4, "firing")]


def test_hysteresis_keeps_an_alert_firing():
    """Between the limits, a firing alert keeps firing, but a pending alert becomes inactive."""
    assert run([OVER, BETWEEN, BETWEEN, UNDER]) == [(0, "firing"), (3, "resolved")]
    assert run([OVER, BETWEEN], for_seconds=5) == [(0, "pending"), (1, "inactive")]


def test_cooldown_delays_the_next_firing():
    """During the cooldown, a new breach is pending; it fires once the cooldown has ended."""
    transitions = run([OVER, UNDER, OVER, OVER, OVER, OVER], cooldown=3)
    assert transitions == [(0, "firing"), (1, "resolved"), (2, "pending"), (4, "firing")]


def test_an_alert_that_outlasts_a_silence_is_announced_at_its_end():
    """An alert that outlasts a silence is announced once, and so is its resolution."""
    lifecycle, transition = step(Lifecycle(), OVER, 0.0, muted=True)
    assert (transition.state, transition.entered, transition.announce) == ("firing", True, False)
    lifecycle, transition = step(lifecycle, OVER, 1.0, muted=False)
    assert (transition.state, transition.entered, transition.announce) == ("firing", False, True)
    lifecycle, transition = step(lifecycle, OVER, 2.0)
    assert transition is None
    lifecycle, transition = step(lifecycle, UNDER, 3.0, muted=True)
    assert (transition.state, transition.announce) == ("resolved", True)


def test_an_alert_that_fires_only_during_a_silence_is_never_announced():
    """If an alert's firing was not announced, its resolution is not announced either."""
    lifecycle, _ = step(Lifecycle(), OVER, 0.0, muted=True)
    _, transition = step(lifecycle, UNDER, 1.0, muted=False)
    assert (transition.state, transition.announce) == ("resolved", False)


def test_a_lifecycle_is_idle_when_inactive_and_cooled_down():
    """An inactive alert is idle, and may be dropped, only once its cooldown has ended."""
    assert Lifecycle().is_idle(0.0)
    lifecycle, _ = step(Lifecycle(), OVER, 0.0, cooldown=5)
    lifecycle, _ = step(lifecycle, UNDER, 1.0, cooldown=5)
    lifecycle, transition = step(lifecycle, UNDER, 2.0, cooldown=5)
    assert (lifecycle.state, transition) == ("inactive", None)
    assert not lifecycle.is_idle(5.9)
    assert lifecycle.is_idle(6.0)


ARROWS = {
    ("inactive", "pending"),
    ("inactive", "firing"),
    ("pending", "firing"),
    ("pending", "inactive"),
    ("firing", "resolved"),
    ("resolved", "inactive"),
    ("resolved", "pending"),
    ("resolved", "firing"),
}


@given(
    looks=st.lists(
        st.tuples(
            st.sampled_from([OVER, BETWEEN, UNDER]),
            st.floats(0.01, 10),
            st.booleans(),
        ),
        max_size=60,
    ),
    for_seconds=st.sampled_from([0.0, 1.0, 7.5]),
    cooldown=st.sampled_from([0.0, 3.0, 20.0]),
)
def test_properties(looks, for_seconds, cooldown):
    """Random sequences have the properties listed in the module's docstring."""
    lifecycle, now = Lifecycle(), 0.0
    breached_since = resolved_at = None
    announced = []
    for finding, seconds, muted in looks:
        now += seconds
        before = lifecycle
        settings = {"for_seconds": for_seconds, "cooldown": cooldown, "muted": muted}
        lifecycle, transition = step(before, finding, now, **settings)
        if not finding.breached:
            breached_since = None
        elif breached_since is None:
            breached_since = now
        if lifecycle.state != before.state:
            assert (before.state, lifecycle.state) in ARROWS
            assert lifecycle.since == now
            # Returning from resolved to inactive is the only step that is not published.
            is_unpublished = (before.state, lifecycle.state) == ("resolved", "inactive")
            assert (transition is None) == is_unpublished
        else:
            assert transition is None or (transition.state, transition.entered) == ("firing", False)
        if transition is None:
            continue
        assert transition.state == lifecycle.state
        if transition.state == "firing" and transition.entered:
            assert now - breached_since >= for_seconds
            assert (
                resolved_at is None
                or now - resolved_at == pytest.approx(cooldown)
                or (now - resolved_at > cooldown)
            )
        if transition.state == "resolved":
            assert finding.cleared
            resolved_at = now
        if transition.announce:
            assert not muted or transition.state == "resolved"
            if transition.state != "pending":
                announced.append(transition.state)
    assert announced == (["firing", "resolved"] * len(announced))[: len(announced)]
