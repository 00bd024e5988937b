"""Tests for the alerts that a new sink receives because they are firing."""

import random

from alerting import make_alert

from nanospan.alerts.firing import FEW, FiringAlerts


def test_the_firing_alerts_are_those_whose_last_state_is_firing():
    """After any changes, the firing alerts are as if each change had been made to a dict."""
    pick = random.Random(1)
    firing, expected = FiringAlerts(), {}
    for number in range(6 * FEW):
        name = str(pick.randrange(2 * FEW))
        alert = make_alert(rule=name, state=pick.choice(["firing", "resolved"]), value=number)
        earlier, firing = firing, firing.after(alert)
        assert earlier.all() == list(expected.values())
        if alert.state == "firing":
            expected[name] = alert
        else:
            expected.pop(name, None)
        assert firing.all() == list(expected.values())
