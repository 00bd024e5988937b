"""The life of an alert, step by step.

Properties, of every sequence of findings, settings and silences:
- states follow the arrows: only a firing alert resolves, only a resolved one cools down;
- it fires only after its condition held for `for_seconds` without a break, and after its cooldown;
- the sinks are told that it fires once for each time it does, and that it resolved exactly if so;
- nothing is told while a silence covers it, but the end of what was told.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanospan.alerts.states import Finding, Track, step

OVER = Finding(breached=True, cleared=False, value=2.0)
BETWEEN = Finding(breached=False, cleared=False, value=1.0)
UNDER = Finding(breached=False, cleared=True, value=0.0)


def run(findings, **settings):
    """The changes that a finding per second brings, as (second, state)."""
    track, changes = Track(), []
    for second, finding in enumerate(findings):
        track, change = step(track, finding, float(second), **settings)
        if change is not None:
            changes.append((second, change.state))
    return changes


def test_a_breach_goes_pending_then_fires_then_resolves():
    """After `for_seconds` of breach it fires, and at the end of it, it resolves."""
    changes = run([UNDER, OVER, OVER, OVER, OVER, UNDER], for_seconds=2)
    assert changes == [(1, "pending"), (3, "firing"), (5, "resolved")]


def test_without_for_seconds_it_fires_at_once():
    """There is no pending state where nothing has to be waited for."""
    assert run([OVER, UNDER, OVER]) == [(0, "firing"), (1, "resolved"), (2, "firing")]


def test_a_breach_that_is_too_short_is_withdrawn():
    """A pending alert is inactive again once its condition ends, and starts from nothing."""
    changes = run([OVER, UNDER, OVER, OVER, OVER], for_seconds=2)
    assert changes == [(0, "pending"), (1, "inactive"), (2, "pending"), (4, "firing")]


def test_hysteresis_keeps_it_firing():
    """Between limit and hysteresis a firing alert goes on, and a pending one does not."""
    assert run([OVER, BETWEEN, BETWEEN, UNDER]) == [(0, "firing"), (3, "resolved")]
    assert run([OVER, BETWEEN], for_seconds=5) == [(0, "pending"), (1, "inactive")]


def test_cooldown_holds_back_the_next_firing():
    """It goes pending at once, and fires when the cooldown is over."""
    changes = run([OVER, UNDER, OVER, OVER, OVER, OVER], cooldown=3)
    assert changes == [(0, "firing"), (1, "resolved"), (2, "pending"), (4, "firing")]


def test_what_still_fires_after_a_silence_is_told_then():
    """Muted, it fires untold; unmuted, it is told once; its end is told, silence or not."""
    track, change = step(Track(), OVER, 0.0, muted=True)
    assert (change.state, change.entered, change.announce) == ("firing", True, False)
    track, change = step(track, OVER, 1.0, muted=False)
    assert (change.state, change.entered, change.announce) == ("firing", False, True)
    track, change = step(track, OVER, 2.0)
    assert change is None
    track, change = step(track, UNDER, 3.0, muted=True)
    assert (change.state, change.announce) == ("resolved", True)


def test_what_fired_and_ended_in_a_silence_is_never_told():
    """Nobody hears of the end of what nobody heard of."""
    track, _ = step(Track(), OVER, 0.0, muted=True)
    _, change = step(track, UNDER, 1.0, muted=False)
    assert (change.state, change.announce) == ("resolved", False)


def test_an_idle_track_can_be_forgotten():
    """Inactive and cool: nothing is lost with it."""
    assert Track().is_idle(0.0)
    track, _ = step(Track(), OVER, 0.0, cooldown=5)
    track, _ = step(track, UNDER, 1.0, cooldown=5)
    track, change = step(track, UNDER, 2.0, cooldown=5)
    assert (track.state, change) == ("inactive", None)
    assert not track.is_idle(5.9)
    assert track.is_idle(6.0)


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
    """The properties above."""
    track, now = Track(), 0.0
    breached_since = resolved_at = None
    told = []
    for finding, seconds, muted in looks:
        now += seconds
        before = track
        settings = {"for_seconds": for_seconds, "cooldown": cooldown, "muted": muted}
        track, change = step(before, finding, now, **settings)
        if not finding.breached:
            breached_since = None
        elif breached_since is None:
            breached_since = now
        if track.state != before.state:
            assert (before.state, track.state) in ARROWS
            assert track.since == now
            # Going back to rest is the one step that nobody is told of.
            assert (change is None) == ((before.state, track.state) == ("resolved", "inactive"))
        else:
            assert change is None or (change.state, change.entered) == ("firing", False)
        if change is None:
            continue
        assert change.state == track.state
        if change.state == "firing" and change.entered:
            assert now - breached_since >= for_seconds
            assert (
                resolved_at is None
                or now - resolved_at == pytest.approx(cooldown)
                or (now - resolved_at > cooldown)
            )
        if change.state == "resolved":
            assert finding.cleared
            resolved_at = now
        if change.announce:
            assert not muted or change.state == "resolved"
            if change.state != "pending":
                told.append(change.state)
    assert told == (["firing", "resolved"] * len(told))[: len(told)]
