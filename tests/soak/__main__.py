"""Use nanospan for minutes as hard as possible, and check that nothing is lost and nothing grows.

Rounds follow each other. In each, threads record amid signals, collections and finalisers; a
service leases connections that the server ends at random, and is exported, scraped and watched by
alerts; children are forked amid all of it, and writers of files are killed. At the end of each
round everything but one monitor is closed, all counts are compared with counts that were kept
beside nanospan, and what the process holds is compared with what it held after the first rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import logging
import sys
import tempfile
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "helpers"))
from processes import Killed
from readings import MIB, Reading
from service import Service
from storm import Storm

from nanospan.demo.database import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 600.0
ROUND_SECONDS = 15.0
WARM_UP = 3
"""The number of rounds after which nothing may grow; caches fill in them."""

STUCK_SECONDS = 120.0
"""How much longer than its time a round may take before the run ends with all tracebacks."""


class _Errors(logging.Handler):
    """Keeps the errors that nanospan logs; everything else in the log is expected here."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] == "nanospan":
            self.lines.append(f"log: {self.format(record)}")


class Soak:
    """All rounds of a run, and what they counted."""

    def __init__(self, url: str, folder: Path, report: Callable[[str], None]) -> None:
        self.faults: list[str] = []
        self._errors = _Errors()
        logging.getLogger().addHandler(self._errors)
        self.counts: dict[str, int] = {}
        self._url = url
        self._folder = folder
        self._report = report
        self._service: Service | None = None
        self._storm = Storm(lambda: self._service and self._service.interrupted())
        (folder / "killed").mkdir()
        self._killed = Killed(folder / "killed")

    async def run(self, seconds: float) -> tuple[Reading, Reading]:
        """Run for about some seconds; return the readings after the first rounds and the last."""
        end = time.monotonic() + seconds
        each = min(ROUND_SECONDS, seconds / (3 * WARM_UP))
        start = reading = Reading.take()
        done = 0
        while done < WARM_UP + 1 or time.monotonic() + each / 2 < end:
            await self._round(each)
            reading = Reading.take()
            done += 1
            self._report(f"round {done}: {shown(asdict(reading))}")
            if done == WARM_UP:
                start = reading
        self.faults += start.growth_to(reading)
        self.faults += self._killed.left_over()
        self.faults += self._errors.lines
        self.faults += [f"{name}: none at all" for name, count in self.counts.items() if not count]
        self.counts["rounds"] = done
        return start, reading

    async def _round(self, seconds: float) -> None:
        faulthandler.dump_traceback_later(seconds + STUCK_SECONDS, exit=True)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            service = self._service = Service(self._url, Path(folder))
            self._storm.start()
            try:
                killing = asyncio.ensure_future(asyncio.to_thread(self._kill_until, service))
                self.faults += await service.run(seconds)
                self.faults += await killing
            finally:
                self._storm.stop()
                self._service = None
            self.faults += self._storm.mismatches()
        faulthandler.cancel_dump_traceback_later()
        self._count(service)

    def _kill_until(self, service: Service) -> list[str]:
        faults: list[str] = []
        while not service.stopping.is_set():
            faults += self._killed.kill_one()
        return faults

    def _count(self, service: Service) -> None:
        recorded = sum(
            each.all.count for each in self._storm.monitor.snapshot().operations.values()
        )
        self.counts["recorded by the storm"] = recorded
        self.counts["kills"] = self._killed.kills
        for name, count in {
            "requests": sum(service.tally.totals().values()),
            "leases": service.leases,
            "outages": service.outages,
            "alerts": service.delivered,
            "scrapes": service.scrapes,
            "forks": service.forks,
        }.items():
            self.counts[name] = self.counts.get(name, 0) + count


def shown(reading: dict[str, int]) -> str:
    """Format a reading for people."""
    memory = f"memory {reading['memory'] / MIB:.1f} MiB"
    return ", ".join([memory, *(f"{k} {v:,}" for k, v in reading.items() if k != "memory")])


def positive(text: str) -> float:
    """Parse a number of seconds above 0."""
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError
    return seconds


def main() -> int:
    """Run the command line; return 1 if anything was lost, wrong or has grown."""
    parser = argparse.ArgumentParser(
        prog="soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seconds", type=positive, default=SECONDS, help="how long to run (default: %(default)g)"
    )
    arguments = parser.parse_args()
    # Threads are the point of the forks here.
    warnings.filterwarnings("ignore", message=".*use of fork", category=DeprecationWarning)

    def report(line: str) -> None:
        print(line, flush=True)

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(EmbeddedServer(settings={"max_connections": "100"}))
        url = server.create_database("soak")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
        soak = Soak(url, folder, report)
        start, end = asyncio.run(soak.run(arguments.seconds))
    report(", ".join(f"{name} {count:,}" for name, count in soak.counts.items()))
    report(f"start: {shown(asdict(start))}")
    report(f"end:   {shown(asdict(end))}")
    for fault in dict.fromkeys(soak.faults):
        report(f"FAILED: {fault}")
    return 1 if soak.faults else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
