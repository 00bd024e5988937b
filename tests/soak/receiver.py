"""A server that receives alerts and OTLP metrics, and counts what arrived."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

if TYPE_CHECKING:
    from typing_extensions import Self


class Receiver(ThreadingHTTPServer):
    """Receives on ``/alerts`` and ``/v1/metrics`` while its ``with`` block is open."""

    daemon_threads = False  # so that closing waits for the requests

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.alerts: list[dict[str, Any]] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self._thread = threading.Thread(target=self.serve_forever, args=[0.05])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def counts(self) -> dict[str, int]:
        """Return how many samples of each operation the last export of the first sender held."""
        counts: dict[str, int] = {}
        resources = [each for request in self.metrics for each in request.resource_metrics]
        for sent in resources:
            if sent.resource == resources[0].resource:
                counts = {}
                for metric in (each for scope in sent.scope_metrics for each in scope.metrics):
                    for point in metric.exponential_histogram.data_points:
                        name = _operation(point.attributes)
                        counts[name] = counts.get(name, 0) + point.count
        return counts


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"
    timeout = 5.0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/alerts":
            self.server.alerts.append(json.loads(body))
        else:
            self.server.metrics.append(ExportMetricsServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _operation(attributes: Any) -> str:
    return next(each.value.string_value for each in attributes if each.key == "operation")
