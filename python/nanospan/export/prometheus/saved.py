"""Expose saved snapshots, for jobs that end before Prometheus can scrape them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from nanospan._core import MonitorSnapshot, escape_name
from nanospan.export.prometheus.exposition import Exposition
from nanospan.values.data_files import DataFileError, read_bytes
from nanospan.values.measurements import Measurement
from nanospan.values.messages import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from nanospan.export.prometheus.families import Labels

logger = logging.getLogger("nanospan")


class SavedExposition(Exposition):
    """Encodes saved snapshots for Prometheus, rereading each file when it changes.

    The files contain the output of ``monitor.snapshot().to_bytes()``. Each file's series have the
    label ``snapshot``, set to the file's name without its suffix. The gauge
    ``nanospan_snapshot_timestamp_seconds`` is the time at which the snapshot was taken. If a file
    becomes unreadable, the error is logged and the file's last valid snapshot is served. If a file
    is deleted, its metrics are no longer served.

    Args:
        paths: The snapshot files.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If a file is not a valid snapshot, or two files have the same name, not
            counting folder and suffix.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        super().__init__()
        self._files: dict[str, _File] = {}
        for path in paths:
            other = self._files.setdefault(path.stem, _File(path))
            if other.path != path:
                raise ValueError(
                    "snapshot files must have different names, not counting folder and suffix, "
                    f"got {shorten(other.path)} and {shorten(path)}; rename one of them"
                )

    def snapshots(self) -> list[tuple[MonitorSnapshot, Labels]]:
        """Return the files' current snapshots, each with its ``snapshot`` label."""
        return [
            (snapshot, (("snapshot", escape_name(name)),))
            for name, file in self._files.items()
            if (snapshot := file.current()) is not None
        ]

    def measurements(self) -> list[Measurement]:
        """Return a gauge for each snapshot, with the time at which the snapshot was taken."""
        return [
            Measurement(
                "nanospan.snapshot.timestamp",
                "gauge",
                snapshot.time,
                "s",
                "When the snapshot was taken, as Unix time.",
                dict(labels),
            )
            for snapshot, labels in self.snapshots()
        ]


class _File:
    """A snapshot file and the last valid snapshot read from it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state: tuple[int, int, int] | None = _state(path)
        self._snapshot: MonitorSnapshot | None = _read(path)
        self._warning = ""

    def current(self) -> MonitorSnapshot | None:
        """Reread the file if it has changed; return its last valid snapshot, or None if deleted."""
        warning = ""
        try:
            state = _state(self.path)
            if state != self._state:
                # Set this before reading, so that a damaged file is not reread until it changes.
                self._state = state
                self._snapshot = _read(self.path)
            else:
                warning = self._warning
        except FileNotFoundError:
            self._state = self._snapshot = None
            warning = f"{shorten(self.path)} was deleted; its metrics are no longer served"
        except (OSError, ValueError) as exc:
            warning = f"{exc}; serving the file's previous content"
        if warning and warning != self._warning:
            logger.warning("%s", warning)
        self._warning = warning
        return self._snapshot


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _read(path: Path) -> MonitorSnapshot:
    try:
        return MonitorSnapshot.from_bytes(read_bytes(path))
    except DataFileError:
        raise
    except ValueError as exc:
        raise ValueError(f"{shorten(path)}: {exc}") from exc
