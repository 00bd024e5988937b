"""Snapshots that programs have saved, as an exposition: for jobs that end before a scrape."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from nanospan._core import MonitorSnapshot
from nanospan.export.prometheus.exposition import Exposition
from nanospan.export.prometheus.naming import readable
from nanospan.values.measurements import Measurement

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from nanospan.export.prometheus.exposition import Labels

logger = logging.getLogger("nanospan")


class SavedExposition(Exposition):
    """Shows files that hold what ``monitor.snapshot().to_bytes()`` gave, as they are when scraped.

    Each file's series have the label ``snapshot``, its name without suffix, and
    ``nanospan_snapshot_timestamp_seconds`` says when it was taken. What cannot be read is logged;
    the last good content stays until the file is gone.

    Args:
        paths: The files.

    Raises:
        OSError: If one cannot be read.
        ValueError: If one is no snapshot, or two have the same name.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        super().__init__()
        self._files: dict[str, _File] = {}
        for path in paths:
            other = self._files.setdefault(path.stem, _File(path))
            if other.path != path:
                raise ValueError(f"{other.path} and {path} have the same name, {path.stem!r}")

    def sources(self) -> list[tuple[MonitorSnapshot, Labels]]:
        """Return what the files hold now."""
        return [
            (snapshot, (("snapshot", readable(name)),))
            for name, file in self._files.items()
            if (snapshot := file.current()) is not None
        ]

    def measurements(self) -> list[Measurement]:
        """Return when each was taken."""
        return [
            Measurement(
                "nanospan.snapshot.timestamp",
                "gauge",
                snapshot.time,
                "s",
                "When the snapshot was taken, as Unix time.",
                dict(labels),
            )
            for snapshot, labels in self.sources()
        ]


class _File:
    """A file and what it last held."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state: tuple[int, int, int] | None = _state(path)
        self._snapshot: MonitorSnapshot | None = _read(path)
        self._complaint = ""

    def current(self) -> MonitorSnapshot | None:
        """Return the content, read again if the file has changed, or None if it is gone."""
        complaint = ""
        try:
            state = _state(self.path)
            if state != self._state:
                # Damaged content is not read again before it changes.
                self._state = state
                self._snapshot = _read(self.path)
            else:
                complaint = self._complaint
        except FileNotFoundError:
            self._state = self._snapshot = None
            complaint = f"{self.path} is gone; its metrics end"
        except (OSError, ValueError) as exc:
            complaint = f"{exc}; what the file held before is shown"
        if complaint and complaint != self._complaint:
            logger.warning("%s", complaint)
        self._complaint = complaint
        return self._snapshot


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _read(path: Path) -> MonitorSnapshot:
    try:
        return MonitorSnapshot.from_bytes(path.read_bytes())
    except ValueError as exc:
        raise ValueError(f"{path}: {exc}") from exc
