"""Count the failures of an exporter, and log each cause once until an export succeeds."""

from __future__ import annotations

import logging
import traceback

from nanospan.values.messages import shorten

logger = logging.getLogger("nanospan")


class FailureLog:
    """The failures of one exporter.

    There are no locks, because each attribute has one writer: ``failed`` and ``succeeded`` are
    called by the run in progress, and ``overran`` by the schedule's thread.

    Args:
        name: The exporter's name in log messages.
        max_causes: Maximum number of distinct causes to log; failures beyond that are only counted.

    Attributes:
        last_error: A description of the latest failure, or None.
    """

    def __init__(self, name: str, max_causes: int) -> None:
        self._name = name
        self._max_causes = max_causes
        self._failures = 0
        self._overruns = 0
        self._count_at_success = 0
        self._has_logged_overrun = False  # since the last success, like the causes
        self._causes: set[object] = set()
        self.last_error: str | None = None

    @property
    def count(self) -> int:
        """The number of failures and overruns."""
        return self._failures + self._overruns

    def succeeded(self) -> None:
        """Log each cause again when it recurs; log that exports succeed again if they failed."""
        failures = self.count - self._count_at_success
        self._count_at_success += failures
        self._has_logged_overrun = False
        self._causes.clear()
        if failures:
            logger.info("export by %s succeeded again after %d failures", self._name, failures)

    def failed(self, error: BaseException) -> None:
        """Count a failure, and log the first one with a given cause since the last success."""
        self._failures += 1
        self.last_error = _describe(error)
        cause = _cause(error)
        if cause in self._causes or len(self._causes) >= self._max_causes:
            return
        self._causes.add(cause)
        logger.warning(
            "export by %s failed: %s; further failures with this cause are counted, but not logged "
            "until an export succeeds",
            self._name,
            self.last_error,
            exc_info=error,
        )

    def overran(self, timeout: float) -> None:
        """Count an export that takes longer than ``timeout`` seconds, and log the first one."""
        self._overruns += 1
        self.last_error = f"still running after {timeout:g} s"
        if not self._has_logged_overrun:
            self._has_logged_overrun = True
            logger.warning(
                "export by %s is %s; its next export will start only after this one finishes",
                self._name,
                self.last_error,
            )


def _describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {shorten(error)}"
    except Exception:  # noqa: BLE001 - the text is the exporter's code
        return type(error).__name__


def _cause(error: BaseException) -> object:
    """Return a key that identifies an error's cause: its class and the line that raised it.

    The error's message is left out, because it may contain details, such as ports or times, that
    differ on every attempt.
    """
    places = [
        (frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    return type(error), *places[-1:]
