"""The sink that appends alerts to a file, one JSON object per line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from nanospan.alerts.sinks.base import DeliveryError, Sink
from nanospan.values.line_files import LineFile
from nanospan.values.messages import shown

if TYPE_CHECKING:
    import os

    from typing_extensions import Unpack

    from nanospan.alerts.alert import Alert
    from nanospan.alerts.sinks.base import Filters, Pause

__all__ = ["JsonLinesSink"]


class JsonLinesSink(Sink):
    """Appends each alert to a file as one line of JSON (``Alert.to_dict``).

    The file is reopened for each alert, so it may be rotated at any time. Several processes may
    share the file: each line is written with a single system call and under a lock (``flock``). A
    line that does not fit on the disk is removed again, and its alert counts as lost. A new file is
    readable and writable only by its owner.

    Args:
        path: The path of the file to append to. It may also be a pipe or device, such as
            ``/dev/stdout``; an alert is lost if nothing reads the pipe.
        **filters: ``states`` and ``min_severity``; see :class:`Sink`.
    """

    def __init__(self, path: str | os.PathLike[str], **filters: Unpack[Filters]) -> None:
        super().__init__(**filters)
        # The working directory may have changed by the time of the first alert.
        self._path = Path(path).absolute()
        self._file = LineFile(self._path)

    def deliver(self, alert: Alert, pause: Pause) -> None:
        """Append the alert to the file."""
        line = json.dumps(alert.to_dict(), ensure_ascii=False, allow_nan=False) + "\n"
        try:
            self._file.append(line.encode(), pause)
        except OSError as exc:
            raise DeliveryError(f"the alert was not appended: {exc.strerror}") from exc

    def __str__(self) -> str:
        return f"JsonLinesSink({shown(str(self._path))})"
