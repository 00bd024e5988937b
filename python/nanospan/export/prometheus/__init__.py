"""Expose a monitor's data to Prometheus, using a Rust encoder that runs without the GIL.

```python
from nanospan.export.prometheus import start_http_server

server = start_http_server()  # http://127.0.0.1:9464/metrics
server.close()
```

Only ``NanospanCollector`` requires a third-party package, ``prometheus_client``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nanospan.export.prometheus.apps import metrics_app, metrics_wsgi_app
from nanospan.export.prometheus.exposition import DEFAULT_BUCKETS, Exposition, Format
from nanospan.export.prometheus.server import MetricsServer, start_http_server
from nanospan.values.extras import needs

if TYPE_CHECKING:
    from nanospan.export.prometheus.collector import NanospanCollector

__all__ = [
    "DEFAULT_BUCKETS",
    "Exposition",
    "Format",
    "MetricsServer",
    "NanospanCollector",
    "metrics_app",
    "metrics_wsgi_app",
    "start_http_server",
]


def __getattr__(name: str) -> Any:
    if name == "NanospanCollector":
        try:
            from nanospan.export.prometheus.collector import NanospanCollector  # noqa: PLC0415
        except ModuleNotFoundError as exc:
            message = f"NanospanCollector {needs('prometheus-client', 'prometheus')}"
            raise ImportError(message) from exc
        return NanospanCollector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
