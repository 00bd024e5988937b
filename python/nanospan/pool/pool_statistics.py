"""Statistics of one pool: distributions of durations, and the number of failed leases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nanospan.recorder import Recorder, process_recorder

if TYPE_CHECKING:
    from nanospan._core import Snapshot, Span

__all__ = ["PoolStatistics"]

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


class PoolStatistics:
    """Distributions of a pool's wait, hold and connect times, and its failed leases. Thread-safe.

    Attributes:
        wait: Times spent waiting for a connection, in seconds.
        hold: Times for which connections were held, in seconds.
        connect: Times taken to open a connection, in seconds.
        metadata: The masked connection string, which all samples of the pool's leases and health
            checks share.
        timeouts: Number of leases that failed because no connection was available in time.
    """

    def __init__(self, pool: str) -> None:
        """Create empty statistics.

        Args:
            pool: The masked connection string, attached to each lease's sample as metadata.
        """
        # Each pool needs its own recorder: the process-wide one would aggregate all pools.
        recorder = Recorder(1)
        self.wait = recorder.operation("wait")
        self.hold = recorder.operation("hold")
        self.connect = recorder.operation("connect")
        self.timeouts = 0
        self._lease = process_recorder().operation("connection_lease")
        self.metadata = {"pool": pool}

    def track_lease(self) -> Span:
        """Return a new ``connection_lease`` span; its metadata has the masked connection string."""
        return self._lease.track(self.metadata)

    def as_dict(self) -> dict[str, Any]:
        """Return the statistics in the format of ``get_pool_statistics``."""
        return {
            "errors": self.timeouts,
            "wait": _summary(self.wait.snapshot()),
            "hold": _summary(self.hold.snapshot()),
            "connect": _summary(self.connect.snapshot()),
        }


def _summary(snapshot: Snapshot) -> dict[str, float]:
    quantiles = {name: snapshot.quantile(q) or 0.0 for name, q in QUANTILES.items()}
    return {"count": snapshot.count, **quantiles}
