"""The distributions and counters of one pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nanospan.recorder import Recorder, process_recorder

if TYPE_CHECKING:
    from nanospan._core import Snapshot, Span

__all__ = ["PoolStatistics"]

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


class PoolStatistics:
    """Durations of waiting, leases and connecting. Safe to use from several threads.

    Attributes:
        wait: Seconds that leases waited for a connection.
        hold: Seconds that connections were held.
        connect: Seconds that connecting took.
        timeouts: Leases that failed because no connection came in time.
    """

    def __init__(self, pool: str) -> None:
        """Start at zero.

        Args:
            pool: The masked connection string, which samples of leases carry.
        """
        # A recorder per pool, as the process-wide one would add up all pools.
        recorder = Recorder(1)
        self.wait = recorder.operation("wait")
        self.hold = recorder.operation("hold")
        self.connect = recorder.operation("connect")
        self.timeouts = 0
        self._lease = process_recorder().operation("connection_lease")
        # One dict for all leases, so that their samples share it.
        self._metadata = {"pool": pool}

    def track_lease(self) -> Span:
        """Return a new span of ``connection_lease``, whose metadata names the pool."""
        return self._lease.track(self._metadata)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as ``get_pool_statistics`` shows them."""
        return {
            "errors": self.timeouts,
            "wait": _summary(self.wait.snapshot()),
            "hold": _summary(self.hold.snapshot()),
            "connect": _summary(self.connect.snapshot()),
        }


def _summary(snapshot: Snapshot) -> dict[str, float]:
    quantiles = {name: snapshot.quantile(q) or 0.0 for name, q in QUANTILES.items()}
    return {"count": snapshot.count, **quantiles}
