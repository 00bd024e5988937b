"""A table of a pool's current leases: who holds each one, since when, and where it was taken."""

from __future__ import annotations

import threading
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nanospan.values.messages import shown

if TYPE_CHECKING:
    import asyncio
    from types import FrameType

__all__ = ["Holder", "LeaseHolder", "LeaseTable"]

STACK_DEPTH = 8
"""Maximum number of stack frames kept per lease, counted from the innermost."""


@dataclass(frozen=True)
class LeaseHolder:
    """A lease as shown in statistics, errors and the log.

    Attributes:
        label: The label the caller gave the lease, if any.
        owner: The asyncio task or thread that took the lease, such as ``task 'Task-3'``.
        seconds: How long the connection has been held, in seconds.
        stack: Call stack where the lease was taken, outermost frame first, each frame as
            ``file:line in function``; empty unless ``capture_stacks`` is set.
    """

    label: str | None
    owner: str
    seconds: float
    stack: tuple[str, ...] = ()

    def __str__(self) -> str:
        label = "" if self.label is None else f"{shown(self.label)}, "
        place = f", at {self.stack[-1]}" if self.stack else ""
        return f"{self.seconds:.2f} s by {label}{self.owner}{place}"


class Holder:
    """A lease as stored in a ``LeaseTable``; ``view`` converts it for reporting.

    Attributes:
        label: The label the caller gave the lease, if any.
        owner: The task or thread that took the lease.
        since: Monotonic time, in seconds, at which the connection was taken; 0 until then.
        reported: Whether the lease has been logged as a leak.
    """

    __slots__ = ("_stack", "label", "owner", "reported", "since")

    def __init__(self, label: str | None = None) -> None:
        self.label = label
        self.owner: asyncio.Task[Any] | threading.Thread | None = None
        self.since = 0.0
        self.reported = False
        self._stack: traceback.StackSummary | None = None

    def capture_stack(self, frame: FrameType | None) -> None:
        """Record the call stack of ``frame`` without reading source files."""
        frames = ((f, f.f_lineno) for f in _outside(frame))
        self._stack = traceback.StackSummary.extract(frames, limit=STACK_DEPTH, lookup_lines=False)

    def view(self, now: float) -> LeaseHolder:
        """Return the lease as a ``LeaseHolder``, with its duration up to ``now``."""
        stack = [f"{f.filename}:{f.lineno} in {f.name}" for f in self._stack or ()]
        return LeaseHolder(self.label, self._owner_name(), now - self.since, tuple(stack[::-1]))

    def _owner_name(self) -> str:
        if isinstance(self.owner, threading.Thread):
            return f"thread {shown(self.owner.name)}"
        if self.owner is not None:  # not always asyncio's class: task factories can choose theirs
            return f"task {shown(self.owner.get_name())}"
        return "an unknown task"


class LeaseTable:
    """A table of one pool's current leases. Any thread may read it while leases begin and end."""

    __slots__ = ("_holders",)

    def __init__(self) -> None:
        self._holders: dict[object, Holder] = {}

    def __len__(self) -> int:
        """Return the number of leased connections."""
        return len(self._holders)

    def __contains__(self, connection: object) -> bool:
        """Return True if the connection is leased."""
        return connection in self._holders

    def begin(self, connection: object, holder: Holder, now: float) -> None:
        """Record that ``holder`` has taken ``connection``."""
        holder.since = now
        self._holders[connection] = holder

    def set_label(self, connection: object, label: str | None) -> None:
        """Label the connection's lease, if it is leased."""
        holder = self._holders.get(connection)
        if holder is not None:
            holder.label = label

    def end(self, connection: object) -> Holder | None:
        """Remove and return the connection's lease; return None if the connection is not leased."""
        return self._holders.pop(connection, None)

    def clear(self) -> None:
        """Remove all leases from the table."""
        self._holders.clear()

    def views(self, now: float) -> tuple[LeaseHolder, ...]:
        """Return the current leases, the longest-held first."""
        views = [holder.view(now) for holder in list(self._holders.values())]
        return tuple(sorted(views, key=lambda view: -view.seconds))

    def overdue(self, leak_after: float, now: float) -> list[LeaseHolder]:
        """Return the leases that have been held for more than ``leak_after`` seconds.

        Each lease is included only once: later calls omit it.
        """
        late = []
        for holder in list(self._holders.values()):
            if not holder.reported and now - holder.since > leak_after:
                holder.reported = True
                late.append(holder.view(now))
        return late


def _outside(frame: FrameType | None) -> list[FrameType]:
    """Return ``frame`` and its callers, omitting frames in this package and ``contextlib``."""
    package = __name__.rpartition(".")[0]
    frames: list[FrameType] = []
    while frame is not None and len(frames) < STACK_DEPTH:
        if not frame.f_globals.get("__name__", "").startswith((package, "contextlib")):
            frames.append(frame)
        frame = frame.f_back
    return frames
