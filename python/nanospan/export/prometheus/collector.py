"""A metrics collector for programs that already use a ``prometheus_client`` registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import Metric, Sample
from prometheus_client.registry import Collector

from nanospan.export.prometheus.apps import exposition_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanospan.export.prometheus.exposition import Exposition
    from nanospan.recorder import Recorder


class NanospanCollector(Collector):
    """Collects a monitor's metrics for ``prometheus_client``, with classic histograms.

    ```python
    from prometheus_client import REGISTRY
    from nanospan.export.prometheus import NanospanCollector

    REGISTRY.register(NanospanCollector())
    ```

    Requires the ``prometheus`` extra. Unlike :func:`metrics_app` and :func:`start_http_server`,
    ``prometheus_client`` does not support native histograms, and it holds the GIL while encoding.

    Args:
        source: A monitor or an :class:`Exposition`; by default, the process-wide monitor.
    """

    def __init__(self, source: Recorder | Exposition | None = None) -> None:
        self._exposition = exposition_of(source)

    def describe(self) -> Iterator[Metric]:
        """Yield the metric families without samples, so that a registry can check their names."""
        for metric in self.collect():
            metric.samples = []
            yield metric

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families with their current samples."""
        exposition = self._exposition
        collected = exposition.encoder.samples(exposition.snapshots(), exposition.families())
        for name, documentation, unit, kind, samples in collected:
            metric = Metric(name, documentation, kind, unit)
            metric.samples = [
                Sample(name + suffix, labels, value) for suffix, labels, value in samples
            ]
            yield metric
