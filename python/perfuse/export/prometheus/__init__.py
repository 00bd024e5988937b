"""Prometheus: what it scrapes, encoded in Rust without the GIL, and where it finds it.

```python
from perfuse.export.prometheus import start_http_server

server = start_http_server()  # http://127.0.0.1:9464/metrics
server.close()
```

Importing it needs no third-party package; only ``PerfuseCollector`` asks for ``prometheus_client``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perfuse.export.prometheus.apps import metrics_app, metrics_wsgi_app
from perfuse.export.prometheus.exposition import DEFAULT_BUCKETS, Exposition, Format
from perfuse.export.prometheus.server import MetricsServer, start_http_server

if TYPE_CHECKING:
    from perfuse.export.prometheus.collector import PerfuseCollector

__all__ = [
    "DEFAULT_BUCKETS",
    "Exposition",
    "Format",
    "MetricsServer",
    "PerfuseCollector",
    "metrics_app",
    "metrics_wsgi_app",
    "start_http_server",
]


def __getattr__(name: str) -> Any:
    if name == "PerfuseCollector":
        try:
            from perfuse.export.prometheus.collector import PerfuseCollector  # noqa: PLC0415
        except ModuleNotFoundError as exc:
            raise ImportError(
                f"PerfuseCollector needs {exc.name}: pip install 'perfuse[prometheus]'"
            ) from exc
        return PerfuseCollector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
