"""The states of a periodic export, as a pure function of events.

    idle ----due, flush---> running --ended--> idle, or running again if a flush waits
    idle ----close--------> last
    running --close-------> closing --ended--> last
    running --stop--------> ending
    closing --withdraw----> ending, if the last export is not waited for any more
    last, ending --ended--> shutting --ended--> closed

In every state but ``idle`` and ``closed`` exactly one run is in progress: an export, or in
``shutting`` the call that closes the exporter. No export starts after the last one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from queue import SimpleQueue

__all__ = ["Answer", "Event", "Lifecycle", "State", "Step", "step"]

Answer: TypeAlias = "SimpleQueue[bool]"
"""Receives the outcome of a request, once; True means success."""

State = Literal["idle", "running", "closing", "last", "ending", "shutting", "closed"]

Kind = Literal["due", "flush", "close", "stop", "withdraw", "succeeded", "failed", "fork"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens to an export.

    Attributes:
        kind: What happens:

            - ``due``: it is time for the next export;
            - ``flush``, ``close``: a request for an export, or for the last one;
            - ``stop``: the exporter closes its own export while it is exporting;
            - ``withdraw``: the answer to a request is no longer waited for;
            - ``succeeded``, ``failed``: the run in progress has ended;
            - ``fork``: this is a new child process, where no run is in progress.
        answer: The answer that is waited for, if the event is about one.
        run: The run that has ended, if the event is its end; ``step`` ignores it.
    """

    kind: Kind
    answer: Answer | None = None
    run: object = None


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The state of a periodic export, and the answers that are waited for.

    Attributes:
        state: The current state.
        served: The requests that the run in progress answers; if it is the last export, once the
            exporter is closed.
        waiting: The requests that the export after the one in progress answers, because the one in
            progress may lack the latest samples.
        last_succeeded: Whether the last export succeeded; only used in ``shutting``.
    """

    state: State = "idle"
    served: tuple[Answer, ...] = ()
    waiting: tuple[Answer, ...] = ()
    last_succeeded: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """The consequences of an event.

    Attributes:
        lifecycle: The state after the event.
        start: The run to start: an export, closing the exporter, or none.
        answers: The answers to give now.
        skipped: Whether an export was due but not started.
    """

    lifecycle: Lifecycle
    start: Literal["export", "shut"] | None = None
    answers: tuple[tuple[Answer, bool], ...] = ()
    skipped: bool = False


def step(before: Lifecycle, event: Event) -> Step:  # noqa: PLR0911 - one return per kind of event
    """Return what follows from an event in the state ``before``."""
    asking = () if event.answer is None else (event.answer,)
    match event.kind:
        case "due":
            if before.state == "idle":
                return Step(Lifecycle("running"), start="export")
            return Step(before, skipped=before.state == "running")
        case "flush":
            return _flush(before, asking)
        case "close":
            return _close(before, asking)
        case "stop":
            if before.state == "idle":  # its export has ended in the meantime
                return _close(before, asking)
            if before.state != "running":
                return Step(before)
            return Step(
                Lifecycle("ending", before.served), answers=_all(before.waiting, succeeded=False)
            )
        case "withdraw":
            return Step(_withdraw(before, asking))
        case "fork":
            state: State = "idle" if before.state in {"idle", "running"} else "closed"
            return Step(
                Lifecycle(state), answers=_all(before.served + before.waiting, succeeded=False)
            )
    return _ended(before, succeeded=event.kind == "succeeded")


def _all(answers: tuple[Answer, ...], *, succeeded: bool) -> tuple[tuple[Answer, bool], ...]:
    return tuple((answer, succeeded) for answer in answers)


def _flush(before: Lifecycle, asking: tuple[Answer, ...]) -> Step:
    if before.state == "idle":
        return Step(Lifecycle("running", asking), start="export")
    if before.state in {"running", "closing"}:
        return Step(replace(before, waiting=before.waiting + asking))
    # No further export will start, and the one in progress may lack the latest samples.
    return Step(before, answers=_all(asking, succeeded=False))


def _close(before: Lifecycle, asking: tuple[Answer, ...]) -> Step:
    if before.state == "idle":
        return Step(Lifecycle("last", asking), start="export")
    if before.state in {"running", "closing"}:
        return Step(replace(before, state="closing", waiting=before.waiting + asking))
    if before.state == "closed":
        return Step(before, answers=_all(asking, succeeded=True))
    return Step(replace(before, served=before.served + asking))


def _withdraw(before: Lifecycle, asking: tuple[Answer, ...]) -> Lifecycle:
    served = tuple(answer for answer in before.served if answer not in asking)
    waiting = tuple(answer for answer in before.waiting if answer not in asking)
    gives_up = before.state == "closing" and not waiting
    state: State = "ending" if gives_up else before.state
    return replace(before, state=state, served=served, waiting=waiting)


def _ended(before: Lifecycle, *, succeeded: bool) -> Step:
    answers = _all(before.served, succeeded=succeeded)
    if before.state == "running":
        if not before.waiting:
            return Step(Lifecycle("idle"), answers=answers)
        return Step(Lifecycle("running", before.waiting), start="export", answers=answers)
    if before.state == "closing":
        return Step(Lifecycle("last", before.waiting), start="export", answers=answers)
    if before.state in {"last", "ending"}:
        shutting = Lifecycle("shutting", before.served, last_succeeded=succeeded)
        return Step(shutting, start="shut")
    if before.state == "shutting":
        return Step(
            Lifecycle("closed"), answers=_all(before.served, succeeded=before.last_succeeded)
        )
    return Step(before)  # no run was in progress
