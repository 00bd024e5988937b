"""Measure how the time of every export grows with the number of operations.

Fill a monitor with a few samples of each of 1,000, 10,000 and 50,000 operations, and time whatever
visits all operations: files and their readers, Prometheus, OpenTelemetry, snapshots, baselines,
statistics, comparisons, alert rules and commands. Print the processor time of each at each size,
and the exponent: the slope of the logarithm of the time over the logarithm of the number, by least
squares. An exponent of 1 is linear, of 2 quadratic. Exit with status 1 if one is over 1.1.

An exponent compares sizes, so what differs between sizes for other reasons than the code is kept
the same:

- Work: a round makes as many calls at each size as visit the largest number of operations once: 50
  calls at 1,000, 5 at 10,000 and 1 at 50,000. A time is that of the fastest of three rounds, per
  call; if rounds are long, there are fewer.
- Moments: the sizes take turns, so that the machine's slow moments fall on all of them alike. Each
  size has its own process, because small sizes would otherwise use the memory that large ones
  have left in pieces.
- Caches: each call starts with empty caches. Otherwise 1,000 operations would be read from the
  processor's caches where 50,000 are read from memory.
- Collector: it is off during a call. How often it runs depends on all objects in the process.
- Allocator: the heap is large from the start, and freed memory is kept. Otherwise small results
  would reuse memory, and large ones would be given to the system and taken again, page by page.

With ``--as-is``, the last three are as a program finds them, for comparison. The measurement needs
8 GB of memory.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import io
import math
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics import Counter, Histogram, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricsData, ResourceMetrics
from opentelemetry.sdk.resources import Resource

from nanospan import MonitorSnapshot, PerformanceMonitor
from nanospan.alerts import ChangeRule, RegressionRule, StatisticRule
from nanospan.alerts.evaluation import Evaluator
from nanospan.alerts.observations import MonitorObservations
from nanospan.cli import main as command
from nanospan.compat.memfuse.performance_monitor import PerformanceMonitor as MemFuseMonitor
from nanospan.export.otlp.metrics import MetricsBuilder
from nanospan.export.plot import plot
from nanospan.export.prometheus import Exposition, NanospanCollector
from nanospan.export.prometheus.saved import SavedExposition
from nanospan.export.recording_files import read_recording
from nanospan.export.report import write_report
from nanospan.export.sample_files import read_histories, read_samples
from nanospan.export.write import write
from nanospan.regression import Baseline, change_points
from nanospan.values.measurements import Measurement
from nanospan.values.recordings import record_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from multiprocessing.connection import Connection

    from nanospan.alerts.rules import Rule

SIZES = (1_000, 10_000, 50_000)
SAMPLES = 3  # per operation
LIMIT = 1.1
ROUNDS = 3
LONG = 5.0  # seconds of processor time after which there are no further rounds
CACHES = 1 << 26  # bytes to read so that the processor's caches hold nothing else
HEAP = 1 << 29  # bytes that the allocator takes from the system at the start, and ...
HEAP_OF_OPERATION = 1 << 16  # ... for each operation
LARGEST_FILE = 1 << 33  # for the readers; few samples take more memory than their text suggests
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt
DELTA = dict.fromkeys((Counter, Histogram, ObservableCounter), AggregationTemporality.DELTA)

Subjects = dict[str, "Callable[[], object]"]


def show(line: str) -> None:
    """Write a line to standard output and flush it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def progress(text: str) -> None:
    """Show on a terminal what is being timed, in a line that the next one replaces."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def filled(operations: int) -> PerformanceMonitor:
    """Return a monitor with samples, metadata and a threshold for each operation."""
    monitor = MemFuseMonitor(4, max_operations=operations, thresholds={})
    for number in range(operations):
        name = f"operation {number}"
        monitor.set_threshold(name, 0.0012)
        for sample in range(SAMPLES):
            monitor.record_metric(name, 0.001 * (1 + sample / 7), metadata={"attempt": sample})
    return monitor


def commands_of(folder: Path) -> Subjects:
    """Return the commands that read saved files, without what they print."""

    def quietly(*arguments: str) -> Callable[[], None]:
        def run() -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                assert command(arguments) == 0, arguments

        return run

    samples, snapshot, baseline = (
        str(folder / name) for name in ("samples.jsonl", "monitor.snapshot", "baseline.json")
    )
    table, page = str(folder / "out.parquet"), str(folder / "out.html")
    return {
        "nanospan export csv": quietly("export", "csv", "--from", samples, "-o", f"{page}.csv"),
        "nanospan export parquet": quietly("export", "parquet", "--from", samples, "-o", table),
        "nanospan report": quietly("report", page, "--from", snapshot),
        "nanospan compare": quietly("compare", baseline, baseline),
        "nanospan changes": quietly("changes", baseline),
    }


def exports_of(monitor: PerformanceMonitor, snapshot: MonitorSnapshot) -> Subjects:
    """Return the exports of a live monitor or its snapshot."""
    measurements = [
        Measurement("test.value", "counter", number, "s", "A value.", {"number": str(number)})
        for number in range(len(snapshot))
    ]

    def otlp(temporality: dict[type, AggregationTemporality]) -> object:
        builder = MetricsBuilder(temporality, 160)
        builder.build(snapshot, measurements)
        builder.mark_arrived()
        scope = builder.build(monitor.snapshot(), measurements)
        return encode_metrics(MetricsData([ResourceMetrics(Resource({}), [scope], "")]))

    made: Subjects = {
        f"write {format_}, {content}": lambda format_=format_, content=content: write(
            monitor, io.BytesIO(), format_, content
        )
        for format_ in ("jsonl", "csv", "parquet")
        for content in ("samples", "summaries")
    }
    exposition, collector = Exposition(monitor), NanospanCollector(monitor)
    return made | {
        "write trace": lambda: write(monitor, io.BytesIO(), "trace"),
        "write_report": lambda: write_report(monitor, io.BytesIO()),
        "plot, one operation": lambda: plot(monitor, "operation 0"),
        "Prometheus text": lambda: exposition.render("text"),
        "Prometheus OpenMetrics": lambda: exposition.render("openmetrics"),
        "Prometheus protobuf": lambda: exposition.render("protobuf"),
        "NanospanCollector": lambda: list(collector.collect()),
        "OTLP, cumulative": lambda: otlp({}),
        "OTLP, delta": lambda: otlp(DELTA),
    }


def values_of(monitor: PerformanceMonitor, snapshot: MonitorSnapshot, folder: Path) -> Subjects:
    """Return the snapshots, baselines, statistics and comparisons of a monitor."""
    packed, baseline = snapshot.to_bytes(), monitor.baseline()
    stats = monitor.get_all_stats()
    saved = [folder / name for name in ("monitor.snapshot", "baseline.json", "samples.jsonl")]
    saved[0].write_bytes(packed)
    baseline.save(saved[1])
    write(monitor, saved[2])
    return {
        "snapshot": monitor.snapshot,
        "snapshot.to_bytes": snapshot.to_bytes,
        "MonitorSnapshot.from_bytes": lambda: MonitorSnapshot.from_bytes(packed),
        "snapshot.to_dict": snapshot.to_dict,
        "snapshot.since": lambda: snapshot.since(snapshot),
        "record_of": lambda: record_of(monitor),
        "baseline": monitor.baseline,
        "Baseline.save": lambda: baseline.save(folder / "again.json"),
        "Baseline.load": lambda: Baseline.load(saved[1]),
        "compare": lambda: monitor.compare(baseline),
        "detect_regressions": lambda: monitor.detect_regressions(stats),
        "get_all_stats": monitor.get_all_stats,
        "export_metrics": monitor.export_metrics,
        "thresholds": lambda: dict(monitor.thresholds),
        "MemFuse: _metrics": lambda: monitor._metrics,  # type: ignore[attr-defined]  # noqa: SLF001 - MemFuse has it
        "change_points of each": lambda: [
            change_points(recorded.samples) for recorded in baseline.operations.values()
        ],
        **{
            f"read_recording {path.suffix}": lambda path=path: read_recording(path)
            for path in saved
        },
        "SavedExposition": lambda: SavedExposition([saved[0]]).render(),
        "read_samples": lambda: read_samples(saved[1]),
        "read_histories, two files": lambda: read_histories([saved[1], saved[1]]),
    }


def rules_of(monitor: PerformanceMonitor) -> Subjects:
    """Return an evaluation of each kind of alert rule, on all operations."""
    observations = MonitorObservations(monitor)
    kinds: dict[str, Rule] = {
        "StatisticRule": StatisticRule(name="slow", operation="*", statistic="p95", above=1.0),
        "RegressionRule": RegressionRule(name="worse", operation="*", baseline=monitor.baseline()),
        "ChangeRule": ChangeRule(name="changed", operation="*"),
    }

    def evaluate(rule: Rule) -> None:
        evaluator = Evaluator()
        for moment in (0.0, 100.0):
            list(evaluator.findings((rule,), observations, moment))

    return {f"alerts: {kind}": lambda rule=rule: evaluate(rule) for kind, rule in kinds.items()}


def take_heap(size: int) -> None:
    """Make glibc's allocator take memory now and keep it; other allocators stay as they are."""
    with contextlib.suppress(AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)
        bytearray(size)


def time_of(work: Callable[[], object], calls: int, caches: bytearray | None) -> float:
    """Return the processor time of a call in seconds, as the mean of several.

    Args:
        work: What to call.
        calls: The number of calls.
        caches: What to read before each call so that the caches hold nothing else; None leaves the
            caches and the collector as they are.
    """
    total = 0.0
    gc.collect()
    if caches is not None:
        gc.disable()
    for _ in range(calls):
        if caches is not None:
            caches.count(1)
        start = time.process_time()
        work()
        total += time.process_time() - start
    gc.enable()
    return total / calls


def exponent_of(times: dict[int, float]) -> float:
    """Return the slope of the logarithm of the time over that of the number of operations."""
    points = [(math.log(size), math.log(seconds)) for size, seconds in times.items()]
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def subjects_of(operations: int, folder: Path) -> Subjects:
    """Return all that is timed, with a monitor with that many operations and files in a folder."""
    monitor = filled(operations)
    snapshot = monitor.snapshot()
    assert len(snapshot) == operations
    return {
        **exports_of(monitor, snapshot),
        **values_of(monitor, snapshot, folder),
        **rules_of(monitor),
        **commands_of(folder),
    }


def serve(orders: Connection, operations: int, caches: int | None, heap: int | None) -> None:
    """Time the subjects that ``orders`` asks for, with a monitor with that many operations.

    Args:
        orders: Gets a list of the subjects first, and then a time for each pair of a subject and a
            number of calls, until None arrives.
        operations: The number of operations.
        caches: The size of the caches to empty, or None to leave caches and collector as they are.
        heap: The memory to take at the start, or None to leave the allocator as it is.
    """
    if heap is not None:
        take_heap(heap)
    read = None if caches is None else bytearray(caches)
    os.environ["NANOSPAN_MAX_BYTES"] = str(LARGEST_FILE)
    with tempfile.TemporaryDirectory() as name:
        for work in subjects_of(1, Path(name)).values():
            work()  # imports what it needs
    with tempfile.TemporaryDirectory() as name:
        subjects = subjects_of(operations, Path(name))
        orders.send(list(subjects))
        for subject, calls in iter(orders.recv, None):
            orders.send(time_of(subjects[subject], calls, read))


@contextlib.contextmanager
def processes(sizes: Iterable[int], *, as_is: bool) -> Iterator[dict[int, Connection]]:
    """Start a process for each size, and end it afterwards."""
    if not as_is:
        # Python's own allocator would return memory to the system.
        os.environ["PYTHONMALLOC"] = "malloc"
    context = multiprocessing.get_context("spawn")
    started = {}
    for size in sizes:
        ours, theirs = context.Pipe()
        kept = (None, None) if as_is else (CACHES, HEAP + HEAP_OF_OPERATION * size)
        process = context.Process(target=serve, args=(theirs, size, *kept), daemon=True)
        process.start()
        theirs.close()
        started[size] = ours, process
    yield {size: ours for size, (ours, _) in started.items()}
    for ours, process in started.values():
        ours.send(None)
        process.join()


def measured(
    sizes: Sequence[int], chosen: str, *, as_is: bool
) -> Iterator[tuple[str, dict[int, float]]]:
    """Yield the name of each subject whose name contains ``chosen``, and its time at each size."""
    with processes(sizes, as_is=as_is) as timers:
        progress("recording")
        *_, subjects = [timer.recv() for timer in timers.values()]
        for subject in subjects:
            if chosen not in subject:
                continue
            times, spent = dict.fromkeys(sizes, math.inf), 0.0
            for number in range(ROUNDS):
                progress(f"{subject}: round {number + 1}")
                for size, timer in timers.items():
                    calls = max(sizes) // size
                    timer.send((subject, calls))
                    seconds = timer.recv()
                    times[size] = min(times[size], seconds)
                    spent += seconds * calls
                if spent > LONG:
                    break
            progress("")
            yield subject, times


def main() -> int:
    """Print the table; return 1 if an exponent is over the limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="time only the subjects whose names contain TEXT"
    )
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        default=SIZES,
        metavar="N",
        help="numbers of operations (default: %(default)s)",
    )
    parser.add_argument(
        "--as-is", action="store_true", help="leave caches, collector and allocator as they are"
    )
    arguments = parser.parse_args()
    sizes = "".join(f"{size:12,}" for size in arguments.sizes)
    show(f"{'ms at operations':32}{sizes}{'exponent':>12}")
    exponents: dict[str, float] = {}
    for subject, of_size in measured(arguments.sizes, arguments.only, as_is=arguments.as_is):
        exponents[subject] = exponent_of(of_size)
        mark = "" if exponents[subject] <= LIMIT else f"  MISSED: over {LIMIT}"
        columns = "".join(f"{seconds * 1e3:12.1f}" for seconds in of_size.values())
        show(f"{subject:32}{columns}{exponents[subject]:12.2f}{mark}")
    return int(any(exponent > LIMIT for exponent in exponents.values()))


if __name__ == "__main__":
    sys.exit(main())
