"""Who holds the connections of a pool, since when, and where they were taken."""

from __future__ import annotations

import asyncio
import traceback
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import threading
    from types import FrameType

__all__ = ["Holder", "LeaseHolder", "LeaseTable"]

STACK_DEPTH = 8
"""Frames kept of where a lease was taken, from the innermost outwards."""


@dataclass(frozen=True)
class LeaseHolder:
    """One lease under way, as it is reported.

    Attributes:
        label: What the lease was labelled with, if anything.
        owner: The asyncio task or thread that took it, such as `task 'Task-3'`.
        seconds: How long it has been held.
        stack: Where it was taken, outermost first, as `file:line in function`; empty unless
            `capture_stacks` is set.
    """

    label: str | None
    owner: str
    seconds: float
    stack: tuple[str, ...] = ()

    def __str__(self) -> str:
        label = "" if self.label is None else f"{self.label!r}, "
        place = f", at {self.stack[-1]}" if self.stack else ""
        return f"{self.seconds:.2f} s by {label}{self.owner}{place}"


class Holder:
    """One lease under way, as it is kept: names are made from it only when somebody asks.

    Attributes:
        label: The user's name for the lease.
        owner: The task or thread that took it.
        since: Moment of the monotonic clock from which it is held.
        reported: Whether it was logged as a leak.
    """

    __slots__ = ("_stack", "label", "owner", "reported", "since")

    def __init__(self, label: str | None = None) -> None:
        """Begins without an owner."""
        self.label = label
        self.owner: asyncio.Task[Any] | threading.Thread | None = None
        self.since = 0.0
        self.reported = False
        self._stack: traceback.StackSummary | None = None

    def capture_stack(self, frame: FrameType | None) -> None:
        """Remembers where the lease is taken, from `frame` outwards, without reading sources."""
        frames = ((f, f.f_lineno) for f in _outside(frame))
        self._stack = traceback.StackSummary.extract(frames, limit=STACK_DEPTH, lookup_lines=False)

    def view(self, now: float) -> LeaseHolder:
        """The lease as it is reported."""
        stack = [f"{f.filename}:{f.lineno} in {f.name}" for f in self._stack or ()]
        return LeaseHolder(self.label, self._owner_name(), now - self.since, tuple(stack[::-1]))

    def _owner_name(self) -> str:
        if isinstance(self.owner, asyncio.Task):
            return f"task {self.owner.get_name()!r}"
        if self.owner is not None:
            return f"thread {self.owner.name!r}"
        return "an unknown task"


class LeaseTable:
    """The leases of one pool. Safe to read from any thread while they come and go."""

    __slots__ = ("_holders",)

    def __init__(self) -> None:
        """Begins without any."""
        self._holders: dict[object, Holder] = {}

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._holders)

    def begin(self, connection: object, holder: Holder, now: float) -> None:
        """Notes that `holder` has `connection` from now on."""
        holder.since = now
        self._holders[connection] = holder

    def end(self, connection: object) -> Holder | None:
        """Notes that `connection` came back; gives who had it."""
        return self._holders.pop(connection, None)

    def clear(self) -> None:
        """Forgets all of them."""
        self._holders.clear()

    def views(self) -> tuple[LeaseHolder, ...]:
        """Who holds a lease now, the longest first."""
        now = monotonic()
        views = [holder.view(now) for holder in list(self._holders.values())]
        return tuple(sorted(views, key=lambda view: -view.seconds))

    def overdue(self, leak_after: float) -> list[LeaseHolder]:
        """Those held for longer than `leak_after` seconds that were not reported yet."""
        now = monotonic()
        late = []
        for holder in list(self._holders.values()):
            if not holder.reported and now - holder.since > leak_after:
                holder.reported = True
                late.append(holder.view(now))
        return late


def _outside(frame: FrameType | None) -> list[FrameType]:
    """The frames from `frame` outwards that are not this package's."""
    package = __name__.rpartition(".")[0]
    frames: list[FrameType] = []
    while frame is not None and len(frames) < STACK_DEPTH:
        if not frame.f_globals.get("__name__", "").startswith((package, "contextlib")):
            frames.append(frame)
        frame = frame.f_back
    return frames
