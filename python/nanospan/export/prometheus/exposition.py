"""Encode a monitor's operations and measurements in the formats that Prometheus reads."""

from __future__ import annotations

import logging
import platform
import zlib
from typing import TYPE_CHECKING, Literal, TypeAlias

from nanospan import _core
from nanospan.export.prometheus.families import Family, Labels, families_of
from nanospan.recorder import process_recorder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nanospan._core import MonitorSnapshot
    from nanospan.recorder import Recorder
    from nanospan.values.measurements import Measurement

logger = logging.getLogger("nanospan")

Format: TypeAlias = Literal["text", "openmetrics", "protobuf"]
"""A Prometheus format: text 0.0.4, OpenMetrics 1.0, or protobuf with native histograms."""

# fmt: off
DEFAULT_BUCKETS = (
    1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3,
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)
# fmt: on
"""Default upper bounds of a classic histogram's buckets, from 1 µs to 1 min, in seconds."""

MAX_WARNINGS = 100
"""Maximum number of distinct warnings that an exposition logs, to keep the log readable."""

MAX_NATIVE_BUCKETS = 160
"""Default maximum number of buckets in a native histogram, as in the official clients.

A native histogram with this many buckets takes a few kilobytes.
"""

GZIP_LEVEL = 1
"""The gzip level for responses: the fastest.

Metrics are repetitive, so higher levels save little and take several times as long; see
``benches/scrape.py``.
"""


class Exposition:
    """Encodes a monitor's operations and measurements in the formats that Prometheus reads.

    All methods are thread-safe. They take and encode a snapshot without holding the GIL, so other
    threads keep running. In a coroutine, call them through :func:`asyncio.to_thread`, so that they
    do not block the event loop.

    Args:
        monitor: The monitor to expose; by default, the process-wide one, looked up at each scrape.
        buckets: Upper bounds of a classic histogram's buckets in seconds, in ascending order; an
            empty list leaves only ``+Inf``. A bucket's count may miss durations less than 1.1 %
            below the bucket's bound; see ``docs/prometheus.md``.
        max_native_buckets: Maximum number of buckets in a native histogram, at least 5. If a
            histogram has more, its adjacent buckets are merged in pairs until it fits.

    Raises:
        ValueError: If ``buckets`` are not positive, finite and strictly ascending, or
            ``max_native_buckets`` is below 5.
    """

    def __init__(
        self,
        monitor: Recorder | None = None,
        *,
        buckets: Iterable[float] = DEFAULT_BUCKETS,
        max_native_buckets: int = MAX_NATIVE_BUCKETS,
    ) -> None:
        self._monitor = monitor
        self.buckets = tuple(buckets)
        self.encoder = _core.PrometheusEncoder(self.buckets, max_native_buckets)
        # The warnings about measurements that have already been logged.
        self._warnings: set[str] = set()

    def snapshots(self) -> list[tuple[MonitorSnapshot, Labels]]:
        """Return the snapshots to expose, each with the labels that distinguish its series."""
        return [(self._current_monitor().snapshot(), ())]

    def measurements(self) -> list[Measurement]:
        """Return the measurements to expose in addition to the operations' metrics."""
        return self._current_monitor().measurements()

    def _current_monitor(self) -> Recorder:
        return process_recorder() if self._monitor is None else self._monitor

    def families(self) -> list[Family]:
        """Return the metric families of the measurements, and one with build information.

        Measurements that would make Prometheus reject the whole scrape are added together or left
        out, with a warning logged once; see :func:`families_of`.
        """
        return [*families_of(self.measurements(), self._warn_once), _build()]

    def _warn_once(self, message: str) -> None:
        if message not in self._warnings and len(self._warnings) < MAX_WARNINGS:
            self._warnings.add(message)
            logger.warning("Prometheus export: %s", message)

    def encode(self, format: Format = "text") -> _core.Chunks:  # noqa: A002 - the plain word for it
        """Encode the current metrics; return an iterator over chunks of bytes.

        The ``len()`` of the iterator is the total size in bytes.

        Raises:
            ValueError: If ``format`` is unknown.
        """
        return self.encoder.encode(format, self.snapshots(), self.families())

    def render(self, format: Format = "text") -> bytes:  # noqa: A002 - the plain word for it
        """Encode the current metrics as bytes, for example for a file or a push gateway.

        Raises:
            ValueError: If ``format`` is unknown.
        """
        return b"".join(self.encode(format))


def compressed(chunks: Iterable[bytes]) -> list[bytes]:
    """Compress chunks with gzip, releasing the GIL for each; return the result in pieces."""
    gzip = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    pieces = [gzip.compress(chunk) for chunk in chunks]
    pieces.append(gzip.flush())
    return [piece for piece in pieces if piece]


def _build() -> Family:
    labels = (
        ("implementation", platform.python_implementation()),
        ("python_version", platform.python_version()),
        ("version", _core.__version__),
    )
    return (
        "nanospan_build",
        "The version of nanospan and the Python it runs on.",
        "",
        "info",
        [(labels, 1.0)],
    )
