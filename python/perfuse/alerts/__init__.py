"""Alerts on what a monitor records: rules, their states, and the sinks that are told.

``monitor.alerts`` holds those of a monitor; see `docs/alerts.md`.
"""

from perfuse.alerts.alert import Alert
from perfuse.alerts.delivery import Delivery
from perfuse.alerts.fields import RuleError
from perfuse.alerts.files import AlertsFile, AlertsFileError, Problem, load
from perfuse.alerts.manager import Alerts
from perfuse.alerts.rules import ChangeRule, RegressionRule, Rule, StatisticRule
from perfuse.alerts.silences import Silence
from perfuse.alerts.sinks import (
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
