"""Tests that walk through all sequences of events of a periodic export."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from nanospan.export.periodic_states import Event, Lifecycle, step

LENGTH = 8
REQUESTS = 3  # the largest number of requests in a sequence

RESTING = {"idle", "closed"}


@dataclass(frozen=True)
class Witness:
    """A record of the past, without regard to states.

    Attributes:
        run: The run in progress: "export", "shut" or None.
        exports: The number of exports that have begun.
        outcome: Whether the export that ended last succeeded.
        closing: Whether the end was requested.
        last: The number of the last export, once it is known.
        shuts: How often the exporter was closed.
        over: Whether the exporter has been closed, or is closed by the parent of this process.
        owed: The answers that are owed, each with the number of the first export that can give it,
            or 0 for what needs no export.
    """

    run: str | None = None
    exports: int = 0
    outcome: bool | None = None
    closing: bool = False
    last: int | None = None
    shuts: int = 0
    over: bool = False
    owed: tuple[tuple[int, int], ...] = ()

    def hear(self, event: Event) -> Witness:
        """Return what is known once an event has happened, before anything follows from it."""
        if event.kind in {"flush", "close"}:
            joins = event.kind == "close" and self.last is not None
            first = 0 if self.over else self.last if joins else self.exports + 1
            owed = (*self.owed, (event.answer, first))
            return replace(self, owed=owed, closing=self.closing or event.kind == "close")
        if event.kind == "stop":
            is_last = self.run == "export" and not self.closing
            return replace(self, closing=True, last=self.exports if is_last else self.last)
        if event.kind == "withdraw":
            owed = tuple(each for each in self.owed if each[0] != event.answer)
            gives_up = self.closing and self.run == "export" and self.last is None
            gives_up = gives_up and all(first <= self.exports for _, first in owed)
            return replace(self, owed=owed, last=self.exports if gives_up else self.last)
        if event.kind == "fork":
            return replace(self, run=None, over=self.over or self.closing)
        if event.kind in {"succeeded", "failed"} and self.run == "export":
            return replace(self, run=None, outcome=event.kind == "succeeded")
        has_shut = event.kind in {"succeeded", "failed"} and self.run == "shut"
        return replace(self, run=None, shuts=self.shuts + 1, over=True) if has_shut else self

    def answer(self, answer: int, succeeded: bool) -> Witness:
        """Check an answer: success means that an export begun after the request succeeded."""
        first = dict(self.owed)[answer]
        if succeeded and first:
            assert self.outcome
            assert self.exports >= first
        left = tuple(each for each in self.owed if each[0] != answer)
        assert len(left) == len(self.owed) - 1
        return replace(self, owed=left)

    def start(self, what: str) -> Witness:
        """Check that a run may start: one at a time, and no export after the last."""
        assert self.run is None
        assert not self.over
        if what == "shut":
            assert self.closing
            assert self.shuts == 0
            return replace(self, run=what, last=self.exports)
        assert self.last is None
        number = self.exports + 1
        return replace(self, run=what, exports=number, last=number if self.closing else None)


def follow(witness: Witness, lifecycle: Lifecycle, event: Event) -> tuple[Witness, Lifecycle]:
    """Apply an event, and check all that follows."""
    then = step(lifecycle, event)
    witness = witness.hear(event)
    for answer, succeeded in then.answers:
        witness = witness.answer(answer, succeeded)
    if then.start is not None:
        witness = witness.start(then.start)
    after = then.lifecycle
    assert (after.state in RESTING) == (witness.run is None)
    assert sorted(after.served + after.waiting) == sorted(answer for answer, _ in witness.owed)
    assert not (after.state in RESTING and witness.owed)
    assert not (after.state == "idle" and witness.closing)
    assert then.skipped == (event.kind == "due" and lifecycle.state == "running")
    return witness, after


def events(lifecycle: Lifecycle, asked: int) -> list[Event]:
    """Return the events that can follow ``asked`` requests."""
    kinds = ["due", "stop", "fork", "succeeded", "failed"]
    requests = [Event(kind, asked) for kind in ("flush", "close") if asked < REQUESTS]
    owed = lifecycle.served + lifecycle.waiting
    return [*map(Event, kinds), *requests, *(Event("withdraw", answer) for answer in owed)]


def walk():
    """Yield every situation that up to ``LENGTH`` events can lead to, each once."""
    seen = set()
    found = {(Witness(), Lifecycle(), 0)}
    for _ in range(LENGTH):
        following = set()
        for witness, lifecycle, asked in found:
            for event in events(lifecycle, asked):
                after = follow(witness, lifecycle, event)
                following.add((*after, asked + (event.kind in {"flush", "close"})))
        found = following - seen
        seen |= found
        yield from found


def test_exports_run_one_at_a_time_and_none_after_the_last():
    """In every sequence one run is in progress at most, and each answer is given once and true."""
    states = {lifecycle.state for _, lifecycle, _ in walk()}
    assert states == {"idle", "running", "closing", "last", "ending", "shutting", "closed"}


def test_nothing_waits_for_ever():
    """From every situation, the end of the runs in progress answers all, and ends what is closing.

    If the end was requested, the exporter is closed exactly once, unless a forked child
    has left that to its parent.
    """
    for *situation, _ in walk():
        ends = [Event("succeeded")] * 3
        witness, lifecycle = functools.reduce(lambda now, end: follow(*now, end), ends, situation)
        assert not witness.owed
        assert lifecycle.state == ("closed" if witness.closing else "idle")
        assert witness.shuts <= witness.closing


def test_a_closed_export_stays_closed():
    """Nothing starts an export that has been closed; a flush fails, and a close succeeds."""
    closed = Lifecycle("closed")
    for event in events(closed, 0):
        then = step(closed, event)
        assert (then.lifecycle, then.start) == (closed, None)
        assert then.answers == {"flush": ((0, False),), "close": ((0, True),)}.get(event.kind, ())


def test_a_close_that_gives_up_starts_no_further_export():
    """If the last caller no longer waits while an earlier export runs, that export is the last."""
    running = step(Lifecycle(), Event("due")).lifecycle
    closing = step(running, Event("close", 1)).lifecycle
    waiting = step(closing, Event("flush", 2)).lifecycle
    assert step(waiting, Event("withdraw", 1)).lifecycle.state == "closing"
    ending = step(closing, Event("withdraw", 1)).lifecycle
    assert ending.state == "ending"
    assert step(ending, Event("succeeded")).start == "shut"


def test_a_forked_child_continues_only_what_was_open():
    """In a child an open export is idle, and one that was being closed is closed."""
    for witness, lifecycle, _ in walk():
        then = step(lifecycle, Event("fork"))
        assert then.lifecycle == Lifecycle("closed" if witness.closing else "idle")
        assert [succeeded for _, succeeded in then.answers] == [False] * len(witness.owed)
        assert then.start is None
