"""Tests for the table of a pool's current leases, without a server."""

from __future__ import annotations

import asyncio
import inspect
import threading

from nanospan.pool.lease_table import STACK_DEPTH, Holder, LeaseTable


def table_with(**since: float) -> LeaseTable:
    """Return a table with one lease per label, each taken at the given time."""
    table = LeaseTable()
    for label, moment in since.items():
        table.begin(label, Holder(label), moment)
    return table


def test_leases_begin_and_end() -> None:
    """A lease is in the table until it ends, and ending an unknown lease is harmless."""
    table = LeaseTable()
    connection = object()
    holder = Holder("mine")
    table.begin(connection, holder, 10.0)
    assert len(table) == 1
    assert holder.since == 10.0
    assert table.end(connection) is holder
    assert table.end(connection) is None
    assert len(table) == 0


def test_views_are_sorted_by_age() -> None:
    """Views of leases are sorted by age, oldest first, and contain the age at the given time."""
    views = table_with(second=2.0, first=1.0, third=3.0).views(10.0)
    assert [(view.label, view.seconds) for view in views] == [
        ("first", 9.0),
        ("second", 8.0),
        ("third", 7.0),
    ]


def test_overdue_leases_are_reported_once() -> None:
    """A lease older than the limit is reported as overdue exactly once."""
    table = table_with(old=1.0, young=5.0)
    assert [holder.label for holder in table.overdue(5.0, 6.0)] == []
    assert [holder.label for holder in table.overdue(5.0, 6.1)] == ["old"]
    assert [holder.label for holder in table.overdue(5.0, 6.1)] == []
    assert [holder.label for holder in table.overdue(5.0, 60.0)] == ["young"]


def test_clear() -> None:
    """A cleared table has no leases."""
    table = table_with(one=1.0)
    table.clear()
    assert len(table) == 0
    assert table.views(2.0) == ()


async def test_owner_of_another_class() -> None:
    """A task may be of a class other than asyncio's, which a loop's task factory chooses."""

    async def take() -> None:
        table.begin("connection", holder, 1.0)
        holder.owner = asyncio.current_task()

    table, holder = LeaseTable(), Holder("mine")
    task = asyncio.tasks._PyTask(take(), name="plain")
    await task
    assert not isinstance(task, asyncio.Task)
    assert [view.owner for view in table.views(2.0)] == ["task 'plain'"]


async def test_owners() -> None:
    """A lease's owner is shown as a task or thread, by name."""
    holder = Holder()
    assert holder.view(0.0).owner == "an unknown task"
    holder.owner = threading.current_thread()
    assert holder.view(0.0).owner == "thread 'MainThread'"
    task = asyncio.current_task()
    assert task is not None
    task.set_name("import")
    holder.owner = task
    assert str(holder.view(0.5)) == "0.50 s by task 'import'"


def test_stacks() -> None:
    """A lease's captured stack ends with the given frame and has at most STACK_DEPTH frames."""

    def nested(depth: int) -> Holder:
        if depth:
            return nested(depth - 1)
        holder = Holder("deep")
        holder.capture_stack(inspect.currentframe())
        return holder

    view = nested(20).view(0.0)
    assert len(view.stack) == STACK_DEPTH
    assert "test_lease_table.py" in view.stack[-1]
    assert view.stack[-1].endswith(" in nested")
    assert str(view).endswith(f", at {view.stack[-1]}")
