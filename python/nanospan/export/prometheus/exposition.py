"""Encode a monitor's operations and measurements in the formats that Prometheus reads."""

from __future__ import annotations

import logging
import platform
import zlib
from typing import TYPE_CHECKING, Literal, TypeAlias

from nanospan import _core
from nanospan.export.prometheus.naming import family_name, label_pairs, readable
from nanospan.recorder import process_recorder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nanospan._core import MonitorSnapshot, Snapshot
    from nanospan.recorder import Recorder
    from nanospan.values.measurements import Measurement

logger = logging.getLogger("nanospan")

Format: TypeAlias = Literal["text", "openmetrics", "protobuf"]
"""Exposition format: text 0.0.4, OpenMetrics 1.0, or protobuf with native histograms."""

Labels: TypeAlias = "Sequence[tuple[str, str]]"
Series: TypeAlias = "tuple[Labels, float | Snapshot]"
Family: TypeAlias = "tuple[str, str, str, str, list[Series]]"
"""A family's name without suffix, help text, unit, kind and series.

The kind is ``counter``, ``gauge``, ``info`` or ``histogram``.
"""

# fmt: off
DEFAULT_BUCKETS = (
    1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3,
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)
# fmt: on
"""Default upper bounds of classic buckets, in seconds: from a microsecond to a minute."""

MAX_WARNINGS = 100
"""Maximum number of distinct warnings per exposition, so a broken source cannot fill the log."""

MAX_NATIVE_BUCKETS = 160
"""Default maximum number of buckets in a native histogram, as in the official clients.

It limits a native histogram to a few kilobytes.
"""

GZIP_LEVEL = 1
"""The fastest gzip level.

An exposition is so repetitive that higher levels save little and take several times as long (see
``benches/scrape.py``), and it is sent only once.
"""


class Exposition:
    """Encodes a monitor's operations and measurements for a scrape.

    All methods are thread-safe. The snapshot is taken and encoded without the GIL, so other threads
    keep running; a coroutine should call the methods through :func:`asyncio.to_thread`, so that the
    event loop is not blocked.

    Args:
        monitor: The monitor to expose; by default, the process-wide one, looked up at each scrape.
        buckets: Upper bounds of classic buckets in seconds, ascending; an empty list leaves only
            ``+Inf``. A bucket's count may miss durations less than 1.1 % below its bound; see
            ``docs/prometheus.md``.
        max_native_buckets: Maximum number of buckets in a native histogram, at least 5. If there
            are more, adjacent buckets are merged, halving the resolution until the histogram fits.

    Raises:
        ValueError: If the bounds are not positive, finite and strictly ascending, or
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
        # Warnings about measurements that have been logged; each is logged only once.
        self._warnings: set[str] = set()

    def snapshots(self) -> list[tuple[MonitorSnapshot, Labels]]:
        """Return the snapshots to expose, each with labels that distinguish it from the others."""
        return [(self._current_monitor().snapshot(), ())]

    def measurements(self) -> list[Measurement]:
        """Return the measurements to expose alongside the operations."""
        return self._current_monitor().measurements()

    def _current_monitor(self) -> Recorder:
        return process_recorder() if self._monitor is None else self._monitor

    def families(self) -> list[Family]:
        """Return the metric families of the measurements and of the build information.

        A measurement that conflicts with an earlier one (a different kind, or duplicate labels) is
        left out with a single warning, because Prometheus would reject the whole scrape.
        """
        families: dict[str, Family] = {}
        seen: set[tuple[str, Labels]] = set()
        for measurement in self.measurements():
            name, unit = family_name(measurement.name, measurement.unit, measurement.kind)
            kind = "gauge" if measurement.kind == "up_down_counter" else measurement.kind
            # promtool requires a help text; OpenTelemetry's documentation explains the name.
            description = readable(measurement.description or measurement.name)
            family = families.setdefault(name, (name, description, unit, kind, []))
            labels = label_pairs(measurement.attributes)
            if name.startswith("nanospan_operation_") or name == "nanospan_build":
                self._warn_once(
                    f"measurement {measurement.name!r} must not have the name of a nanospan metric"
                )
            elif family[3] != kind:
                self._warn_once(
                    f"measurement {measurement.name!r} must be of the kind {family[3]} like the "
                    f"others of {name}, got {measurement.kind}"
                )
            elif (name, labels) in seen:
                self._warn_once(f"measurement {measurement.name!r} was reported twice: {labels!r}")
            else:
                seen.add((name, labels))
                family[4].append((labels, measurement.value))
        return [*families.values(), _build()]

    def _warn_once(self, message: str) -> None:
        if message not in self._warnings and len(self._warnings) < MAX_WARNINGS:
            self._warnings.add(message)
            logger.warning("Prometheus export: %s; it is left out", message)

    def encode(self, format: Format = "text") -> _core.Chunks:  # noqa: A002 - the plain word for it
        """Return an iterator over the encoded exposition; its ``len()`` is the size in bytes.

        Raises:
            ValueError: If ``format`` is unknown.
        """
        return self.encoder.encode(format, self.snapshots(), self.families())

    def render(self, format: Format = "text") -> bytes:  # noqa: A002 - the plain word for it
        """Return the encoded exposition as bytes, to write to a file or send to a push gateway.

        Raises:
            ValueError: If ``format`` is unknown.
        """
        return b"".join(self.encode(format))


def compressed(chunks: Iterable[bytes]) -> list[bytes]:
    """Compress ``chunks`` to one gzip member, in pieces; the GIL is released for each piece."""
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
