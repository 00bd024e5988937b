"""When a pool tries again to connect."""

from __future__ import annotations

from nanospan.pool.policy import Reconnection


def test_delays_double_up_to_a_limit_and_differ() -> None:
    """Each delay is drawn from the upper half of a span that doubles from 0.1 s to 3 s."""
    spans = [0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0]
    seen = set()
    for _ in range(20):
        attempt = Reconnection()
        for span in spans:
            delay = attempt.next_delay()
            assert span / 2 <= delay <= span
            seen.add(delay)
    assert len(seen) > 100
