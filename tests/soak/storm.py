"""Threads that record as fast as they can, amid signals, collections and finalisers."""

from __future__ import annotations

import gc
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from tally import Tally, differences

from nanospan import MonitorSnapshot, PerformanceMonitor

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = 200
"""How many operations there may be; the threads take turns to record half as many."""
SIGNAL_SECONDS = 0.002
WINDOW = 50
"""The size of each window, which is full long before the first rounds end."""
BURST = 20
"""How often a thread does its work between two pauses."""
PAUSE_RATIO = 9
"""How long a pause is, as a multiple of the work, because the service needs the interpreter too."""
FORGET_EVERY = 50  # snapshots between two of the monitor that is cleared


class _Finalised:
    """An object in a reference cycle, whose finaliser records."""

    def __init__(self, record: Callable[[], None]) -> None:
        self._record = record
        self._itself = self

    def __del__(self) -> None:
        self._record()


class Storm:
    """Records into one monitor in every way, and counts each sample.

    Args:
        alarmed: Called by the signal handler, amid whatever the main thread is doing.
    """

    def __init__(self, alarmed: Callable[[], None] = lambda: None) -> None:
        self.monitor = PerformanceMonitor(WINDOW, max_operations=NAMES)
        self.tally = Tally()
        self.faults: list[str] = []
        self._alarmed = alarmed
        self._stopping = False
        self._threads: list[threading.Thread] = []
        self._handler: Any = None

    def start(self) -> None:
        """Start the threads and the signals. Call it from the main thread."""
        self._stopping = False
        work = (self._blocks, self._calls, self._failures, self._cycles, self._snapshots)
        self._threads = [threading.Thread(target=self._guarded, args=[each]) for each in work]
        gc.callbacks.append(self._collected)
        self._handler = signal.signal(signal.SIGALRM, self._signalled)
        signal.setitimer(signal.ITIMER_REAL, SIGNAL_SECONDS)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop everything that :meth:`start` started. Blocks; call it from the main thread."""
        self._stopping = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._handler or signal.SIG_DFL)
        for thread in self._threads:
            thread.join()
        gc.collect()  # the cycles that are left record while they can still be counted
        gc.callbacks.remove(self._collected)

    def mismatches(self) -> list[str]:
        """Compare the monitor's counts with the ones kept beside it."""
        snapshot = self.monitor.snapshot()
        recorded = {name: each.all.count for name, each in snapshot.operations.items()}
        open_spans = {name: each.in_flight for name, each in snapshot.operations.items()}
        copy = MonitorSnapshot.from_bytes(snapshot.to_bytes())
        return [
            *self.faults,
            *differences("storm", self.tally.totals(), recorded),
            *differences("storm, open spans", {}, {n: c for n, c in open_spans.items() if c}),
            *([] if copy == snapshot else ["storm: a snapshot differs from its copy"]),
        ]

    def _guarded(self, work: Callable[[int], None]) -> None:
        turn = 0
        try:
            while not self._stopping:
                began = time.thread_time()
                for _ in range(BURST):
                    turn += 1
                    work(turn)
                time.sleep(PAUSE_RATIO * (time.thread_time() - began))
        except BaseException as exc:  # noqa: BLE001 - reported at the end
            self.faults.append(f"storm: {work.__name__} raised {exc!r}")

    def _record(self, name: str) -> None:
        self.monitor.record_metric(name, 0.001, metadata={"name": name})
        self.tally.add(name)

    def _blocks(self, turn: int) -> None:
        name = f"block {turn % (NAMES // 2)}"
        with self.monitor.track_operation(name, {"turn": turn}) as span:
            span.set(half=turn / 2)
        self.tally.add(name)

    def _calls(self, _turn: int) -> None:
        @self.monitor.track_operation("call")
        def called() -> None:
            pass

        for _ in range(100):
            called()
            self.tally.add("call")

    def _failures(self, _turn: int) -> None:
        try:
            with self.monitor.track_operation("failure"):
                raise LookupError
        except LookupError:
            self.tally.add("failure")

    def _cycles(self, turn: int) -> None:
        cycle = _Finalised(lambda: self._record("finaliser"))
        self.monitor.record_metric("cycle", turn / 1e6, metadata={"held": cycle})
        self.tally.add("cycle")

    def _snapshots(self, turn: int) -> None:
        self.monitor.snapshot()
        self.monitor.get_all_stats()
        if turn % FORGET_EVERY == 0:
            another = PerformanceMonitor(100)
            another.record_metric("forgotten", 0.1, metadata={"turn": turn})
            another.clear_metrics()

    def _signalled(self, *_: object) -> None:
        self._record("signal")
        self._alarmed()
        if not self._stopping:  # not amid itself, which would not end on a slow machine
            signal.setitimer(signal.ITIMER_REAL, SIGNAL_SECONDS)

    def _collected(self, _phase: str, _info: dict[str, int]) -> None:
        self._record("collection")
