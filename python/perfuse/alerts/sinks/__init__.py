"""Where alerts go."""

from perfuse.alerts.sinks.alertmanager import AlertmanagerSink
from perfuse.alerts.sinks.base import DeliveryError, Sink
from perfuse.alerts.sinks.function import FunctionSink
from perfuse.alerts.sinks.json_lines import JsonLinesSink
from perfuse.alerts.sinks.log import LogSink
from perfuse.alerts.sinks.webhook import WebhookSink

__all__ = [
    "AlertmanagerSink",
    "DeliveryError",
    "FunctionSink",
    "JsonLinesSink",
    "LogSink",
    "Sink",
    "WebhookSink",
]
