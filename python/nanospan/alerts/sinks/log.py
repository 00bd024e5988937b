"""The sink that writes alerts to a logger."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from nanospan.alerts.sinks.base import Sink

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from nanospan.alerts.alert import Alert
    from nanospan.alerts.sinks.base import Filters, Pause

__all__ = ["LogSink"]

_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.CRITICAL}


class LogSink(Sink):
    """Logs firing alerts at the level that matches their severity, and other alerts at INFO.

    Each log record has the :class:`Alert` as its attribute ``alert``, for structured logging.

    Args:
        logger: The logger to write to, or its name.
        **filters: ``states`` and ``min_severity``; see :class:`Sink`.
    """

    def __init__(
        self, logger: logging.Logger | str = "nanospan.alerts", **filters: Unpack[Filters]
    ) -> None:
        super().__init__(**filters)
        self._logger = logging.getLogger(logger) if isinstance(logger, str) else logger

    def deliver(self, alert: Alert, _pause: Pause) -> None:
        """Log the alert's state, rule and summary."""
        level = _LEVELS[alert.severity] if alert.state == "firing" else logging.INFO
        self._logger.log(
            level, "%s: %s: %s", alert.state, alert.rule, alert.summary, extra={"alert": alert}
        )
