"""Timing one execution of a command, and ending it when something comes between."""

from __future__ import annotations

import os
import select
import selectors
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

GRACE = 2.0
"""Seconds between asking a command to end and ending it."""

WATCH = 1.0
"""Seconds between looks at a command that runs: seldom enough not to disturb it."""

TAIL_BYTES = 4096
"""How much of the end of its standard error output is kept."""

PIPE_BYTES = 65_536
"""What a pipe of Linux holds."""


@dataclass(frozen=True, slots=True)
class Execution:
    """How an execution of a command ended.

    Attributes:
        seconds: Wall time from before its start to its end.
        status: What it exited with; below zero, the signal that ended it; `None` if it was ended
            here, for its time was up.
        errors: The end of its standard error output.
    """

    seconds: float
    status: int | None
    errors: str


class Interrupts:
    """Signals that ask this process to end, kept until the command under way is ended, too.

    Attributes:
        received: Those that came.
        wakeup: A descriptor that can be read once one came.
    """

    def __init__(self, wakeup: int) -> None:
        self.received: list[int] = []
        self.wakeup = wakeup

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if one came."""
        if self.received:
            raise KeyboardInterrupt


@contextmanager
def deferred_interrupts() -> Iterator[Interrupts]:
    """Keep `SIGINT`, `SIGTERM` and `SIGHUP` for `Interrupts`; to be used in the main thread.

    An exception out of a signal's handler could strike between the start of a process and the
    moment at which somebody knows of it. So the signal is raised anew at the end, for the handler
    that was there before.
    """
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    interrupts = Interrupts(reader)
    previous = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if (handler := signal.getsignal(number)) is not signal.SIG_IGN
    }
    wakeup_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in previous:
        signal.signal(number, lambda number, _frame: interrupts.received.append(number))
    try:
        yield interrupts
    finally:
        signal.set_wakeup_fd(wakeup_before)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)
        if interrupts.received:
            signal.raise_signal(interrupts.received[0])


def execute(
    command: Sequence[str], timeout: float, interrupts: Interrupts, watch: Callable[[], object]
) -> Execution:
    """Run a command in a session of its own, without input, its output thrown away.

    What it started and left running is left alone if it ended by itself, and else ended with it.

    Args:
        command: The program and its arguments.
        timeout: Seconds after which it is ended.
        interrupts: What may come between.
        watch: Called every now and then while it runs.

    Raises:
        OSError: If it cannot be started.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 - running what the user gave is the purpose
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with process, _descriptor(process) as pidfd:
        assert process.stderr is not None  # noqa: S101 - for the type checker
        errors = _Tail(process.stderr.fileno())
        ended = False
        try:
            ended = _wait(pidfd, errors, begin + timeout, interrupts, watch)
            seconds = time.perf_counter() - begin
        finally:
            if not ended:
                _end(process.pid, pidfd)
        errors.read()
    interrupts.check()
    return Execution(seconds, process.returncode if ended else None, errors.text())


@contextmanager
def _descriptor(process: subprocess.Popen[bytes]) -> Iterator[int]:
    """A descriptor that tells the end of a process at once; `wait(timeout)` looks now and then."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except BaseException:
        _signal(process.pid, signal.SIGKILL)
        raise
    try:
        yield pidfd
    finally:
        os.close(pidfd)


class _Tail:
    """The last bytes that came through a pipe."""

    def __init__(self, pipe: int) -> None:
        os.set_blocking(pipe, False)
        self.pipe = pipe
        self._kept = b""

    def read(self) -> bool:
        """Take what is there, which is no more than a pipe holds; tell whether more may come."""
        try:
            part = os.read(self.pipe, PIPE_BYTES)
        except BlockingIOError:
            return True
        self._kept = (self._kept + part)[-TAIL_BYTES:]
        return bool(part)

    def text(self) -> str:
        return self._kept.decode(errors="replace")


def _wait(
    pidfd: int,
    errors: _Tail,
    deadline: float,
    interrupts: Interrupts,
    watch: Callable[[], object],
) -> bool:
    """Wait for the process, and tell whether it ended by itself."""
    with selectors.DefaultSelector() as selector:
        for descriptor in (pidfd, interrupts.wakeup, errors.pipe):
            selector.register(descriptor, selectors.EVENT_READ)
        while not interrupts.received:
            left = deadline - time.perf_counter()
            if left <= 0:
                return False
            ready = {key.fd for key, _ in selector.select(min(left, WATCH))}
            if pidfd in ready:
                return True
            if interrupts.wakeup in ready:
                os.read(interrupts.wakeup, PIPE_BYTES)
            if errors.pipe in ready and not errors.read():
                selector.unregister(errors.pipe)
            if not ready:  # what has just come may be the end, whose time is taken first
                watch()
    return False


def _end(group: int, pidfd: int) -> None:
    """End a process and its group: politely, and then for certain."""
    _signal(group, signal.SIGTERM)
    ending = select.poll()
    ending.register(pidfd, select.POLLIN)
    ending.poll(GRACE * 1000)
    # Until it is waited for, its number belongs to it and its group, whoever of them still lives.
    _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)
