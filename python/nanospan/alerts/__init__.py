"""Alerting on a monitor's data: rules, alert states, and the sinks that receive alerts.

Use it through ``monitor.alerts``; see ``docs/alerts.md``.
"""

from nanospan.alerts.alert import Alert
from nanospan.alerts.alerts_file import AlertsFile, AlertsFileError, Problem, load
from nanospan.alerts.delivery import Delivery
from nanospan.alerts.fields import RuleError
from nanospan.alerts.manager import Alerts
from nanospan.alerts.rules import ChangeRule, RegressionRule, Rule, StatisticRule
from nanospan.alerts.silences import Silence
from nanospan.alerts.sinks import (
    AlertmanagerSink,
    DeliveryError,
    FunctionSink,
    JsonLinesSink,
    LogSink,
    Sink,
    WebhookSink,
)

__all__ = [
    "Alert",
    "AlertmanagerSink",
    "Alerts",
    "AlertsFile",
    "AlertsFileError",
    "ChangeRule",
    "Delivery",
    "DeliveryError",
    "FunctionSink",
    "JsonLinesSink",
    "LogSink",
    "Problem",
    "RegressionRule",
    "Rule",
    "RuleError",
    "Silence",
    "Sink",
    "StatisticRule",
    "WebhookSink",
    "load",
]
