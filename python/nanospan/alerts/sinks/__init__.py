"""The built-in sinks, which deliver alerts to logs, files, functions and HTTP servers."""

from nanospan.alerts.sinks.alertmanager import AlertmanagerSink
from nanospan.alerts.sinks.base import DeliveryError, Sink
from nanospan.alerts.sinks.function import FunctionSink
from nanospan.alerts.sinks.json_lines import JsonLinesSink
from nanospan.alerts.sinks.log import LogSink
from nanospan.alerts.sinks.webhook import WebhookSink

__all__ = [
    "AlertmanagerSink",
    "DeliveryError",
    "FunctionSink",
    "JsonLinesSink",
    "LogSink",
    "Sink",
    "WebhookSink",
]
