"""The sink that appends alerts to a file, one JSON object per line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from nanospan.alerts.sinks.base import Sink

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from nanospan.alerts.alert import Alert
    from nanospan.alerts.sinks.base import Filters, Pause

__all__ = ["JsonLinesSink"]


class JsonLinesSink(Sink):
    """Appends each alert to a file as one line of JSON (``Alert.to_dict``).

    The file is reopened for each alert, so it may be rotated at any time. Each line is written
    with a single system call, so several processes may share the file. A new file is readable and
    writable only by its owner.

    Args:
        path: The path of the file to append to.
        **filters: ``states`` and ``min_severity``; see :class:`Sink`.
    """

    def __init__(self, path: str | os.PathLike[str], **filters: Unpack[Filters]) -> None:
        super().__init__(**filters)
        # The working directory may have changed by the time of the first alert.
        self._path = Path(path).absolute()

    def deliver(self, alert: Alert, _pause: Pause) -> None:
        """Append the alert to the file."""
        line = json.dumps(alert.to_dict(), ensure_ascii=False, allow_nan=False) + "\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def __str__(self) -> str:
        return f"JsonLinesSink({str(self._path)!r})"
