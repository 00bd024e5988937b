"""Children that are forked amid everything else, and writers that are killed amid their writes."""

from __future__ import annotations

import json
import os
import random
import signal
import time
import traceback
from typing import TYPE_CHECKING

from alerting import make_alert

from nanospan import PerformanceMonitor
from nanospan.alerts import JsonLinesSink
from nanospan.export.recording_files import read_recording
from nanospan.export.write import write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STUCK_SECONDS = 60
"""After how many seconds a signal ends a child."""
KILLED_AFTER = (0.02, 0.2)
"""The range of times after which a writer is killed, in seconds."""
SAMPLES = 2_000


def fork(child: Callable[[], None]) -> int:
    """Fork a child that calls ``child`` and ends, with status 1 if that raises."""
    pid = os.fork()
    if pid == 0:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(STUCK_SECONDS)
        try:
            child()
        except BaseException:  # noqa: BLE001 - the process ends here
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def fork_and_wait(child: Callable[[], None]) -> list[str]:
    """Fork a child as ``fork`` does, wait for it, and return what went wrong."""
    _, status = os.waitpid(fork(child), 0)
    if status == signal.SIGALRM:
        return ["fork: a child was stuck"]
    return [f"fork: a child ended with status {status}"] if status else []


class Killed:
    """Kills writers of files in a folder, and checks that their files remain whole."""

    def __init__(self, folder: Path) -> None:
        self.kills = 0
        self._folder = folder
        self._recording = folder / "recording.jsonl"
        self._alerts = folder / "alerts.jsonl"
        self._monitor = PerformanceMonitor(SAMPLES)
        self._record()
        self._write()

    def kill_one(self) -> list[str]:
        """Fork a writer, kill it a moment later, and return what is wrong with its files."""
        pid = fork(self._write_for_ever)
        time.sleep(random.uniform(*KILLED_AFTER))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        self.kills += 1
        return self._faults(status)

    def left_over(self) -> list[str]:
        """Write once more, and return which other files than the written ones there are."""
        self._write()
        found = {path.name for path in self._folder.iterdir()}
        return [f"kill: {name} was left behind" for name in sorted(found - self._names())]

    def _names(self) -> set[str]:
        return {self._recording.name, self._alerts.name}

    def _record(self) -> None:
        for i in range(SAMPLES):
            self._monitor.record_metric("op", i / 1e6, metadata={"i": i})

    def _write_for_ever(self) -> None:
        self._record()  # a child counts from zero
        while True:
            self._write()

    def _write(self) -> None:
        write(self._monitor, self._recording)
        JsonLinesSink(self._alerts).deliver(make_alert(summary="x" * 500), lambda _seconds: True)

    def _faults(self, status: int) -> list[str]:
        faults = [] if status == signal.SIGKILL else [f"kill: a writer ended by itself: {status}"]
        (operation,) = read_recording(self._recording).operations
        count = operation.histogram.count
        if count != SAMPLES:
            faults.append(f"kill: {count:,} of {SAMPLES:,} samples were left in a recording")
        if self._alerts.exists():
            for line in self._alerts.read_bytes().splitlines():
                json.loads(line)
        return faults
