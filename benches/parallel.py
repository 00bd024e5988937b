"""Measure how recording scales from one thread to two: ``python benches/parallel.py``.

Print the throughput of one thread, of two threads with two operations, and of two threads with the
same operation, as medians over rounds that alternate in one process. The first row records nothing
and shows the best that the machine can do. If its ratio or its number of cores is not close to 2,
the machine is busy (or there is a GIL), and the ratios do not reflect nanospan's scaling.
"""

from __future__ import annotations

import statistics
import sys
import sysconfig
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import TYPE_CHECKING

from nanospan import PerformanceMonitor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Work = Callable[[PerformanceMonitor, str], None]

ROUNDS = 15
CALLS = 500_000  # per thread and round


def nothing(_monitor: PerformanceMonitor, _name: str) -> None:
    """Do arithmetic on objects that no other thread uses, without recording."""
    value = 1.0
    for _ in repeat(None, CALLS):
        value = value * 0.5 + 1.0
        value = value * 0.5 + 1.0


def spans(monitor: PerformanceMonitor, name: str) -> None:
    """Time blocks, looking up the operation by name for each block."""
    for _ in repeat(None, CALLS):
        with monitor.track_operation(name):
            pass


def records(monitor: PerformanceMonitor, name: str) -> None:
    """Record durations, looking up the operation by name for each duration."""
    for _ in repeat(None, CALLS):
        monitor.record_metric(name, 0.001)


def handle_spans(monitor: PerformanceMonitor, name: str) -> None:
    """Time blocks through a handle of the operation."""
    operation = monitor.operation(name)
    for _ in repeat(None, CALLS):
        with operation.track():
            pass


def handle_records(monitor: PerformanceMonitor, name: str) -> None:
    """Record durations through a handle of the operation."""
    operation = monitor.operation(name)
    for _ in repeat(None, CALLS):
        operation.record(0.001)


SUBJECTS = {
    "arithmetic, no nanospan": nothing,
    "with monitor.track_operation(name)": spans,
    "monitor.record_metric(name, ...)": records,
    "with operation.track()": handle_spans,
    "operation.record(...)": handle_records,
}


def throughput(pool: ThreadPoolExecutor, work: Work, names: Sequence[str]) -> tuple[float, float]:
    """Run ``work`` in one thread for each of ``names``, and measure the throughput.

    Returns:
        The total calls per second of all threads, and the average number of cores in use.
    """
    monitor = PerformanceMonitor()
    for name in names:
        monitor.record_metric(name, 0.001)  # so that creating the operation is not measured
    barrier = threading.Barrier(len(names))

    def run(name: str) -> tuple[float, float, float]:
        barrier.wait()
        start, busy = time.perf_counter(), time.thread_time()
        work(monitor, name)
        return start, time.perf_counter(), time.thread_time() - busy

    starts, ends, busy = zip(*pool.map(run, names), strict=True)
    elapsed = max(ends) - min(starts)
    return len(names) * CALLS / elapsed, sum(busy) / elapsed


def main() -> None:
    """Measure and print the table of throughputs."""

    def write(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    build = "free-threaded" if sysconfig.get_config_var("Py_GIL_DISABLED") else "with a GIL"
    write(f"CPython {sys.version.split()[0]}, built {build}, GIL {'on' if gil else 'off'}")
    write(f"million calls a second, medians of {ROUNDS} rounds of {CALLS:,} calls a thread")
    heads = "one thread", "two, two operations", "ratio", "cores", "two, one operation", "ratio"
    write(f"{'':36}" + "".join(f"{head:>20}" for head in heads))
    with ThreadPoolExecutor(2) as pool:
        for subject, work in SUBJECTS.items():
            rounds = [
                [
                    figure
                    for names in (["a"], ["a", "b"], ["a", "a"])
                    for figure in throughput(pool, work, names)
                ]
                for _ in range(ROUNDS)
            ]
            medians = (statistics.median(column) for column in zip(*rounds, strict=True))
            one, _, apart, cores, same, _ = medians
            figures = one / 1e6, apart / 1e6, apart / one, cores, same / 1e6, same / one
            write(f"{subject:36}" + "".join(f"{figure:20.2f}" for figure in figures))


if __name__ == "__main__":
    main()
