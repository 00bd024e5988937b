"""One exposition: a monitor's operations and measurements in a format that Prometheus reads."""

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
"""Text 0.0.4, OpenMetrics 1.0, or protobuf with native histograms."""

Labels: TypeAlias = "Sequence[tuple[str, str]]"
Series: TypeAlias = "tuple[Labels, float | Snapshot]"
Family: TypeAlias = "tuple[str, str, str, str, list[Series]]"
"""Name without suffix, help, unit, kind (counter, gauge, info, histogram), series."""

# fmt: off
DEFAULT_BUCKETS = (
    1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3,
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)
# fmt: on
"""Bounds of classic buckets in seconds: from a microsecond to a minute."""

MAX_NATIVE_BUCKETS = 160
"""As in the other official clients: a native histogram of some kilobytes at the most."""

GZIP_LEVEL = 1
"""The fastest: an exposition is so repetitive that higher levels save little for a multiple of the
time (see `benches/test_prometheus.py`), and it travels once."""


class Exposition:
    """What is scraped: everything that a monitor knows, and how histograms are shown.

    Its methods may be called from any thread. Taking the snapshot and encoding it hold no GIL, so
    that the program goes on meanwhile; from a coroutine, call them through
    :func:`asyncio.to_thread`, as :func:`metrics_app` does.

    Args:
        monitor: Whose operations and measurements; by default that of the process, found
            when asked.
        buckets: Upper bounds of classic buckets in seconds, ascending; none leaves ``+Inf``. A
            count there may miss durations less than 1.1 % below the bound; see
            ``docs/prometheus.md``.
        max_native_buckets: At most so many buckets in a native histogram, at least 5. Neighbours
            are merged, which halves the resolution each time, until no more are left.

    Raises:
        ValueError: If a bound is not positive, finite and larger than the one before, or
            ``max_native_buckets`` is too small.
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
        # Complaints about measurements, each made once.
        self._complaints: set[str] = set()

    def sources(self) -> list[tuple[MonitorSnapshot, Labels]]:
        """Return the snapshots that are shown, each with labels that tell it from the others."""
        return [(self._watched().snapshot(), ())]

    def measurements(self) -> list[Measurement]:
        """Return what is shown beside operations."""
        return self._watched().measurements()

    def _watched(self) -> Recorder:
        return process_recorder() if self._monitor is None else self._monitor

    def families(self) -> list[Family]:
        """Return the metric families beside those of operations.

        A measurement that contradicts one before it (another kind, or the same labels again) is
        left out, which is logged once: Prometheus would refuse the whole exposition for it.
        """
        families: dict[str, Family] = {}
        seen: set[tuple[str, Labels]] = set()
        for measurement in self.measurements():
            name, unit = family_name(measurement.name, measurement.unit, measurement.kind)
            kind = "gauge" if measurement.kind == "up_down_counter" else measurement.kind
            # promtool wants a help text; the name is at least what OpenTelemetry explains.
            description = readable(measurement.description or measurement.name)
            family = families.setdefault(name, (name, description, unit, kind, []))
            labels = label_pairs(measurement.attributes)
            if name.startswith("nanospan_operation_") or name == "nanospan_build":
                self._complain(f"measurement {measurement.name!r} has the name of an own metric")
            elif family[3] != kind:
                self._complain(
                    f"measurement {measurement.name!r} is a {measurement.kind}, while {name} "
                    f"is already a {family[3]}"
                )
            elif (name, labels) in seen:
                self._complain(f"measurement {measurement.name!r} was reported twice: {labels!r}")
            else:
                seen.add((name, labels))
                family[4].append((labels, measurement.value))
        return [*families.values(), _build()]

    def _complain(self, message: str) -> None:
        if message not in self._complaints and len(self._complaints) < 100:  # noqa: PLR2004
            self._complaints.add(message)
            logger.warning("Prometheus export: %s; it is left out", message)

    def encode(self, format: Format = "text") -> _core.Chunks:  # noqa: A002 - what it is
        """Return the exposition as an iterator of byte strings, whose ``len()`` is that of all.

        Raises:
            ValueError: If there is no such format.
        """
        return self.encoder.encode(format, self.sources(), self.families())

    def render(self, format: Format = "text") -> bytes:  # noqa: A002 - what it is
        """Return the exposition, for a file or a push gateway.

        Raises:
            ValueError: If there is no such format.
        """
        return b"".join(self.encode(format))


def compressed(chunks: Iterable[bytes]) -> list[bytes]:
    """Return ``chunks`` as one gzip member, in pieces. zlib releases the GIL for each."""
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
        "The version of nanospan, and the Python it runs on.",
        "",
        "info",
        [(labels, 1.0)],
    )
