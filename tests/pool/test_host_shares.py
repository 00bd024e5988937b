"""Tests of how the hosts of a connection string share the time for connecting."""

from __future__ import annotations

import math
from time import monotonic
from typing import TYPE_CHECKING

import psycopg
import pytest

from nanospan.pool.host_shares import HostShares, limited

if TYPE_CHECKING:
    from collections.abc import Generator


def test_equal_shares_of_what_is_left() -> None:
    """Each host gets an equal share of the rest; what one does not need is left to the others."""
    shares = HostShares(3, deadline=100.0)
    assert shares.next_deadline(40.0) == 60.0
    assert shares.next_deadline(40.0) == 70.0  # the first refused at once
    assert shares.next_deadline(70.0) == 100.0
    assert shares.next_deadline(90.0) == 100.0  # one more than announced


def test_shares_apply_to_their_block() -> None:
    """Shares apply to the attempts in their block, and to no others."""
    assert HostShares.of_context() is None
    shares = HostShares(1, 1.0)
    with shares.applied():
        assert HostShares.of_context() is shares
    assert HostShares.of_context() is None


def attempt(closed: list[bool]) -> Generator[int, int, str]:
    """Ask for two things, and return them."""
    try:
        first = yield 1
        second = yield 2
        return f"{first} {second}"
    finally:
        closed.append(True)


def test_an_attempt_in_time() -> None:
    """An attempt within its time passes on what it asks for, gets, and returns."""
    steps = limited(attempt([]), math.inf)
    assert (next(steps), steps.send(10)) == (1, 2)
    with pytest.raises(StopIteration) as end:
        steps.send(20)
    assert end.value.value == "10 20"


def test_an_attempt_that_is_late() -> None:
    """An attempt that is resumed after its deadline ends with a timeout, and is closed."""
    closed: list[bool] = []
    steps = limited(attempt(closed), monotonic() - 1)
    assert next(steps) == 1
    with pytest.raises(psycopg.errors.ConnectionTimeout):
        steps.send(10)
    assert closed == [True]
