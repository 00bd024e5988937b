"""Run fuzz targets for a given time each, two at a time: ``make fuzz``.

Exit status: 0 if all targets held, 1 if one failed, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanospan_fuzz import tools

if TYPE_CHECKING:
    from pathlib import Path

GRACE = 300
"""The time after the end of its session in which a target must have stopped, in seconds."""


LINES = 40
WIDTH = 200
"""How many lines of a failed target's output to print, and how many characters of each."""


@dataclass(frozen=True)
class Result:
    """The outcome of running a target.

    Attributes:
        job: The job.
        runs: How many inputs the target has run.
        found: How many inputs that reach new code have been added to the corpus.
        failures: The files with inputs that failed.
        status: The exit status of the job's command.
    """

    job: tools.Job
    runs: int
    found: int
    failures: list[Path]
    status: int

    @property
    def failed(self) -> bool:
        """Whether the target failed, or could not run."""
        return self.status != 0 or bool(self.failures)

    def __str__(self) -> str:
        verdict = f"FAILED, see {_log(self.job)}" if self.failed else "ok"
        return (
            f"{self.job.target:24} {self.job.engine:10} {self.runs:>12,} runs "
            f"{self.found:>+7,} inputs  {verdict}"
        )


class Runner:
    """Runs jobs, and ends those that are running when it is interrupted."""

    def __init__(self, seconds: int, folder: str) -> None:
        self._seconds = seconds
        self._folder = folder
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, job: tools.Job) -> Result:
        """Run a job to its end; its output goes to a file."""
        before = _files(tools.corpus(job.target)), _failures(job.target)
        environment = {**os.environ, **job.environment, "TMPDIR": self._folder}
        with _log(job).open("wb") as log:
            with self._lock:
                if self._stopped:
                    return Result(job, 0, 0, [], 1)
                # A group of processes, so that those that a target has started end with it.
                process = subprocess.Popen(  # noqa: S603 - our own command
                    job.command,
                    cwd=tools.ROOT,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
                self._running.add(process)
            try:
                status = process.wait(self._seconds + GRACE)
            except subprocess.TimeoutExpired:
                status = -signal.SIGKILL
            finally:
                self._end(process)
        after = _files(tools.corpus(job.target)), _failures(job.target)
        failures = sorted(dict(after[1].items() - before[1].items()))
        return Result(job, _runs(job), len(after[0] - before[0]), failures, status)

    def stop(self) -> None:
        """End the running jobs, and start no others."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running.discard(process)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main() -> int:
    """Run the targets that the command line names; return the exit status."""
    arguments = _arguments()
    tools.FAILURES.mkdir(parents=True, exist_ok=True)
    (tools.WORK / "logs").mkdir(parents=True, exist_ok=True)
    in_rust = set(arguments.targets) & set(tools.rust_targets())
    rust = tools.rust_engine() if in_rust else ""
    jobs = tools.jobs(arguments.targets, arguments.seconds, rust, tools.python_engine())
    print(
        f"{len(jobs)} targets, {arguments.seconds} s each, {arguments.jobs} at a time", flush=True
    )
    with tempfile.TemporaryDirectory(prefix="nanospan-fuzz-") as folder:
        runner = Runner(arguments.seconds, folder)
        results = []
        with ThreadPoolExecutor(arguments.jobs) as executor:
            try:
                for done in as_completed([executor.submit(runner.run, job) for job in jobs]):
                    results.append(done.result())
                    print(results[-1], flush=True)
            except KeyboardInterrupt:
                runner.stop()
                print("interrupted", file=sys.stderr)
                return 130
    return _report(results)


def _report(results: list[Result]) -> int:
    """Print how to replay each failing input; return the exit status."""
    failed = [result for result in results if result.failed]
    for result in failed:
        print(f"\n{result.job.target} failed:")
        print("\n".join(_errors(result.job)[-LINES:]))
        for path in result.failures:
            print(f"replay with: {_replay(result.job, path)}")
    print(f"\n{len(results) - len(failed)} of {len(results)} targets held")
    return 1 if failed else 0


def _errors(job: tools.Job) -> list[str]:
    """Return the lines of a job's output that tell of failures rather than of progress."""
    lines = _log(job).read_text(errors="replace").splitlines()
    telling = re.compile(
        r"FAILED|panicked|ERROR|SUMMARY|[\w.]*(Error|Exception|Exit)\b|\d+ bytes took"
    )
    return [line[:WIDTH] for line in lines if telling.match(line) or "panicked" in line]


def _replay(job: tools.Job, path: Path) -> str:
    shown = os.path.relpath(path, tools.ROOT)
    if job.engine == "libFuzzer":
        return f"{os.path.relpath(tools.libfuzzer(job.target), tools.ROOT)} {shown}"
    if job.engine == "proptest":
        return f"cp {shown} tests/corpus/{job.target}/ && cargo test --package nanospan-fuzz"
    python = os.path.relpath(sys.executable, tools.ROOT)
    return f"PYTHONPATH=fuzz/python {python} -m nanospan_fuzz.replay {job.target} {shown}"


def _log(job: tools.Job) -> Path:
    return tools.WORK / "logs" / f"{job.target}.log"


def _files(folder: Path) -> set[Path]:
    return set(folder.iterdir())


def _failures(target: str) -> dict[Path, int]:
    """Return the target's failing inputs, and when each was last written."""
    return {
        path: path.stat().st_mtime_ns
        for path in tools.FAILURES.iterdir()
        if path.name.startswith(f"{target}-")
    }


def _runs(job: tools.Job) -> int:
    found = re.findall(
        r"number_of_executed_units: (\d+)|^#(\d+)\t|: (\d+) runs$",
        _log(job).read_text(errors="replace"),
        re.MULTILINE,
    )
    return int(max(found[-1])) if found else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description="Run fuzz targets.")
    parser.add_argument("targets", nargs="*", help="the targets (default: all)")
    parser.add_argument("--seconds", type=int, default=600, help="time for each (default: 600)")
    parser.add_argument("--jobs", type=int, default=2, help="targets at a time (default: 2)")
    arguments = parser.parse_args()
    known = tools.all_targets()
    arguments.targets = arguments.targets or known
    if unknown := sorted(set(arguments.targets) - set(known)):
        parser.error(f"unknown target {', '.join(unknown)}; choose from {', '.join(known)}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
