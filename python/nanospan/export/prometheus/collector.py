"""A collector for programs that have a registry of `prometheus_client`."""

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
    """What a monitor knows, as metrics of ``prometheus_client`` with classic buckets.

    ```python
    from prometheus_client import REGISTRY
    from nanospan.export.prometheus import NanospanCollector

    REGISTRY.register(NanospanCollector())
    ```

    It needs the extra ``prometheus``. That client can neither create native histograms nor encode
    without the GIL, which :func:`metrics_app` and :func:`start_http_server` do.

    Args:
        source: A monitor, by default that of the process, or an :class:`Exposition` of one.
    """

    def __init__(self, source: Recorder | Exposition | None = None) -> None:
        self._exposition = exposition_of(source)

    def describe(self) -> Iterator[Metric]:
        """Yield the families without samples, which is how a registry finds names taken twice."""
        for metric in self.collect():
            metric.samples = []
            yield metric

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        exposition = self._exposition
        collected = exposition.encoder.samples(exposition.sources(), exposition.families())
        for name, documentation, unit, kind, samples in collected:
            metric = Metric(name, documentation, kind, unit)
            metric.samples = [
                Sample(name + suffix, labels, value) for suffix, labels, value in samples
            ]
            yield metric
