"""Runs calls amid each other: in signal handlers, collections, finalisers and forked children.

A program that calls ``main`` runs every call under a tracer. At each new line of the package, all
other calls are made: by a signal handler that interrupts the line, and by a child that is forked
while another thread is at the line. At the first line, they are also made by a collection's
callback and by a finaliser. A call that hangs is named by the file ``progress``.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import gc
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import nanospan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import CodeType, FrameType

    Calls = Mapping[str, Callable[[], object]]

PACKAGE = str(Path(nanospan.__file__).parent)
LIMIT = 500.0
"""Seconds after which a program counts as stuck; it takes a few, on a machine that is not busy."""
PATIENCE = 60
"""Seconds after which a child counts as stuck."""


@functools.cache
def lines_in_blocks(path: str) -> frozenset[int]:
    """Return the lines of a source file that are in a ``with`` or ``try`` statement."""
    found: set[int] = set()
    for node in ast.walk(ast.parse(Path(path).read_text())):
        if isinstance(node, (ast.With, ast.Try)):
            found.update(range(node.body[0].lineno, (node.end_lineno or 0) + 1))
    return frozenset(found)


def is_in_block(key: tuple[CodeType, int]) -> bool:
    code, line = key
    return line in lines_in_blocks(code.co_filename)


class Reentry:
    """Runs calls amid each other, and collects the problems.

    Args:
        calls: Every call, by name.
        renew: Called before each call, to restore what the calls need.
        expected: Returns whether an exception is a legitimate result of a call.
        progress: A file whose content names the current call.
        packages: The folders whose lines are interrupted.
        slow: The names of calls that interrupt others all at the first line, and in turn at the
            lines in blocks, where locks may be held.
        awaited: The names of calls that are interrupted, but interrupt no others.
    """

    def __init__(  # noqa: PLR0913 - keywords
        self,
        calls: Calls,
        renew: Callable[[], object],
        expected: Callable[[BaseException], bool],
        progress: str,
        *,
        packages: tuple[str, ...] = (PACKAGE,),
        slow: Iterable[str] = (),
        awaited: Iterable[str] = (),
    ) -> None:
        self.calls = calls
        self.renew = renew
        self.expected = expected
        self.packages = packages
        self.once = [name for name in calls if name not in {*awaited}]
        self.often = [name for name in self.once if name not in {*slow}]
        self._slow = [name for name in self.once if name in {*slow}]
        self.problems: list[str] = []
        self.lines = self.forks = 0
        self._progress = os.open(progress, os.O_CREAT | os.O_RDWR)
        self._amid = self._where = ""
        self._interruptions: list[str] = []
        self._forked: set[object] = set()

    def note(self, text: str) -> None:
        os.pwrite(self._progress, text.ljust(300).encode(), 0)

    def make(self, name: str, how: str) -> None:
        """Make one call amid the current one."""
        self.note(f"{name} {how} {self._amid} at {self._where}")
        try:
            self.calls[name]()
        except BaseException as exc:  # noqa: BLE001 - every exception is judged
            if not self.expected(exc):
                where = traceback.extract_tb(exc.__traceback__)[-1]
                self.problems.append(
                    f"{name} {how} {self._amid} at {self._where}: {exc!r} in {where.name}"
                )

    def make_all(self, how: str) -> None:
        for name in self._interruptions:
            self.make(name, how)

    # Ways to interrupt

    def by_handler(self) -> None:
        signal.raise_signal(signal.SIGUSR1)

    def by_collection(self) -> None:
        def collected(phase: str, _info: object) -> None:
            if phase == "start":
                gc.callbacks.remove(collected)
                self.make_all("in a collection amid")

        gc.callbacks.append(collected)
        gc.collect(0)

    def by_finaliser(self) -> None:
        everything = self.make_all

        class Finalised:
            def __del__(self) -> None:
                everything("in a finaliser amid")

        Finalised()

    def traced(self, name: str, at_line: Callable[[tuple[CodeType, int], bool], None]) -> None:
        """Make a call; call ``at_line`` at each of its lines, and say whether it is the first."""
        seen: set[object] = set()

        def trace(frame: FrameType, event: str, _argument: object) -> Any:
            if not frame.f_code.co_filename.startswith(self.packages):
                return None
            if event == "line":
                key = (frame.f_code, frame.f_lineno)
                if key not in seen:
                    seen.add(key)
                    path = Path(frame.f_code.co_filename)
                    self._where = f"{path.parent.name}/{path.name}:{frame.f_lineno}"
                    at_line(key, len(seen) == 1)
            return trace

        self._amid, self._where = name, "its start"
        sys.settrace(trace)
        try:
            self.make(name, "alone;")
        finally:
            sys.settrace(None)

    def amid_each(self) -> None:
        """Interrupt each line of each call, by every other call."""
        slow = itertools.cycle(self._slow)
        seen: set[object] = set()

        def at_line(key: tuple[CodeType, int], is_first: bool) -> None:
            # Where no lock may be held, it does not matter which call has reached a line.
            if not is_first and not is_in_block(key) and key in seen:
                return
            seen.add(key)
            self.lines += 1
            one = [next(slow)] if self._slow and is_in_block(key) else []
            self._interruptions = self.once if is_first else [*self.often, *one]
            self.by_handler()
            if is_first:
                self._interruptions = self.often
                self.by_collection()
                self.by_finaliser()

        before = signal.signal(signal.SIGUSR1, lambda *_: self.make_all("in a handler amid"))
        try:
            for name in self.calls:
                self.renew()
                self.traced(name, at_line)
        finally:
            signal.signal(signal.SIGUSR1, before)

    def fork_amid_each(self) -> None:
        """Fork while another thread is at a line of a call; make every call in the child."""
        for name in self.calls:
            self.renew()
            self.fork_amid(name)

    def fork_amid(self, name: str) -> None:
        """Fork at the lines of one call, where a child has not been forked yet."""
        reached: queue.SimpleQueue[bool] = queue.SimpleQueue()
        resume: queue.SimpleQueue[None] = queue.SimpleQueue()

        def at_line(key: tuple[CodeType, int], is_first: bool) -> None:
            # A lock is held in a block; elsewhere, the first line of each call suffices.
            if (is_first or is_in_block(key)) and key not in self._forked:
                self._forked.add(key)
                reached.put(True)
                resume.get()

        def work() -> None:
            self.traced(name, at_line)
            reached.put(False)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        while reached.get():
            self.fork()
            resume.put(None)
        thread.join()

    def fork(self) -> None:
        """Make every call in a forked child."""
        self.forks += 1
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm(PATIENCE)
                self.problems.clear()
                self._interruptions = self.often
                self.make_all("in a child forked amid")
                status = len(self.problems) > 0
                if self.problems:
                    os.pwrite(self._progress, self.problems[0].ljust(300).encode(), 0)
            finally:
                os._exit(status)
        status = os.waitpid(child, 0)[1]
        if status:
            told = os.pread(self._progress, 300, 0).decode().strip()
            self.problems.append(f"the child ended with {status}: {told}")

    def storm(self, seconds: float = 0.5) -> None:
        """Make all calls in turn while a timer, collections and finalisers make others."""
        turns = itertools.cycle(self.often)

        def interrupt(*_: object) -> None:
            self.make(next(turns), "in a storm amid")

        def collected(phase: str, _info: object) -> None:
            if phase == "start":
                interrupt()

        before = signal.signal(signal.SIGALRM, interrupt)
        thresholds = gc.get_threshold()
        gc.callbacks.append(collected)
        gc.set_threshold(50)
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        end = time.process_time() + seconds
        self._where = "any line"
        try:
            while time.process_time() < end:
                self.renew()
                for name in self.often:
                    self._amid = name
                    self.make(name, "alone;")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            gc.callbacks.remove(collected)
            gc.set_threshold(*thresholds)


def run_program(name: str, progress: Path, *arguments: str) -> dict[str, Any]:
    """Run one of the programs that call ``main``; return its results, or fail if a call hangs."""
    command = [sys.executable, Path(__file__).with_name(name), progress, *arguments]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = program.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        program.kill()
        program.communicate()
        pytest.fail(f"the program hangs: {progress.read_text().strip()}")
    if program.returncode:
        pytest.fail(f"the program has failed at {progress.read_text().strip()}:\n{err}")
    results: dict[str, Any] = json.loads(out)
    return results


def main(reentry: Reentry) -> None:
    """Run everything, and print the results as JSON."""
    warnings.simplefilter("ignore")
    times: dict[str, float] = {}
    with contextlib.redirect_stdout(sys.stderr):
        for step in (reentry.amid_each, reentry.fork_amid_each, reentry.storm):
            before = sum(os.times()[:4])
            step()
            times[step.__name__] = round(sum(os.times()[:4]) - before, 2)
    found = {
        "calls": list(reentry.calls),
        "lines": reentry.lines,
        "forks": reentry.forks,
        "seconds": times,
        "problems": reentry.problems[:20],
    }
    print(json.dumps(found), flush=True)
    os._exit(0)
