"""Time one execution of a command, and terminate the command on a timeout or a signal."""

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
"""Seconds between sending SIGTERM and SIGKILL to a command."""

WATCH_INTERVAL = 1.0
"""Seconds between wake-ups while a command runs; rare enough not to disturb the timing."""

TAIL_BYTES = 4096
"""The number of bytes to keep from the end of a command's standard error output."""

PIPE_BYTES = 65_536
"""The capacity of a pipe on Linux."""


@dataclass(frozen=True, slots=True)
class Execution:
    """The result of one execution of a command.

    Attributes:
        seconds: The wall-clock time from just before the start to the end, in seconds.
        status: The exit status, or minus the number of the signal that ended the command; None if
            the command timed out.
        errors: The end of what the command wrote to standard error.
    """

    seconds: float
    status: int | None
    errors: str


class Interrupts:
    """Signals that ask this process to end, deferred until the running command has ended.

    Attributes:
        received: The numbers of the signals received so far.
        wakeup: A file descriptor that becomes readable when a signal is received.
    """

    def __init__(self, wakeup: int) -> None:
        self.received: list[int] = []
        self.wakeup = wakeup

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal was received."""
        if self.received:
            raise KeyboardInterrupt


@contextmanager
def deferred_interrupts() -> Iterator[Interrupts]:
    """Defer ``SIGINT``, ``SIGTERM`` and ``SIGHUP`` during the block. Main thread only.

    If a signal handler raised an exception just after a process was started, the reference to the
    process could be lost. The signals are therefore only recorded. At the end of the block the
    previous handlers are restored, and the first signal received is raised again.
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
    """Run and time a command in a new session, with no input and with standard output discarded.

    If the command ends on its own, processes that it started are left running; otherwise they are
    terminated together with the command.

    Args:
        command: The program and its arguments.
        timeout: Maximum duration in seconds, after which the command is terminated.
        interrupts: The deferred signals; if one is received, the command is terminated.
        watch: Called about once a second while the command runs.

    Raises:
        OSError: If the command cannot be started.
        KeyboardInterrupt: If one of the deferred signals was received.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 - the purpose is to run the user's command
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with process, _pidfd(process) as pidfd:
        assert process.stderr is not None  # noqa: S101 - for the type checker
        errors = _Tail(process.stderr.fileno())
        ended = False
        try:
            ended = _wait(pidfd, errors, begin + timeout, interrupts, watch)
            seconds = time.perf_counter() - begin
        finally:
            if not ended:
                _terminate(process.pid, pidfd)
        errors.read()
    interrupts.check()
    return Execution(seconds, process.returncode if ended else None, errors.text())


@contextmanager
def _pidfd(process: subprocess.Popen[bytes]) -> Iterator[int]:
    """Open a file descriptor that becomes readable when a process ends.

    ``Popen.wait(timeout)`` is not used, because it polls, so it would notice the end late.
    """
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
    """Reads from a pipe and keeps the last ``TAIL_BYTES`` bytes."""

    def __init__(self, pipe: int) -> None:
        os.set_blocking(pipe, False)
        self.pipe = pipe
        self._kept = b""

    def read(self) -> bool:
        """Read the available bytes, up to ``PIPE_BYTES``; return False at the end of the stream."""
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
    """Wait until the process ends; return False if a signal or the deadline comes first."""
    with selectors.DefaultSelector() as selector:
        for descriptor in (pidfd, interrupts.wakeup, errors.pipe):
            selector.register(descriptor, selectors.EVENT_READ)
        while not interrupts.received:
            left = deadline - time.perf_counter()
            if left <= 0:
                return False
            ready = {key.fd for key, _ in selector.select(min(left, WATCH_INTERVAL))}
            if pidfd in ready:
                return True
            if interrupts.wakeup in ready:
                os.read(interrupts.wakeup, PIPE_BYTES)
            if errors.pipe in ready and not errors.read():
                selector.unregister(errors.pipe)
            if not ready:  # otherwise the process may be ending, which must be timed first
                watch()
    return False


def _terminate(group: int, pidfd: int) -> None:
    """Terminate a process group; ``pidfd`` refers to the group's leader.

    The group is sent SIGTERM, then SIGKILL when the leader has ended or after ``GRACE`` seconds.
    """
    _signal(group, signal.SIGTERM)
    ending = select.poll()
    ending.register(pidfd, select.POLLIN)
    ending.poll(GRACE * 1000)
    # The process has not been waited for, so its id cannot have been reused for another group.
    _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)
