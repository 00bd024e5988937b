"""Tests for the threads, queues and schedules of synchronous pools."""

from __future__ import annotations

import threading
from time import monotonic
from typing import Any

import pytest
from psycopg_pool import PoolTimeout

from nanospan.pool.threads import PoolScheduler, TaskQueue, WaitingThread, start_in_thread

PATIENCE = 60.0


def test_work_in_a_thread_returns_or_raises_through_its_future() -> None:
    """The future has the result of the work, or its exception, whatever its class."""
    thread = start_in_thread(threading.current_thread).result(PATIENCE)
    assert thread is not threading.current_thread()

    def fail() -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        start_in_thread(fail).result(PATIENCE)


def test_work_is_done_at_once_if_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit of threads, and when the interpreter ends, the caller does the work."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    future = start_in_thread(threading.current_thread)
    assert future.done()
    assert future.result() is threading.current_thread()


def test_a_queue_gives_each_task_to_one_thread_in_order() -> None:
    """Threads that wait for tasks get each exactly once."""
    tasks: TaskQueue[int] = TaskQueue()
    got: list[int] = []

    def work() -> None:
        while (task := tasks.get()) >= 0:
            got.append(task)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for task in [*range(1, 1000), -1, -1, -1]:
        tasks.put_nowait(task)
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(got) == list(range(1, 1000))


def test_a_scheduler_calls_actions_when_they_are_due() -> None:
    """Actions run in the order of their times, even if one fails; None ends the scheduler."""
    called: list[str] = []
    scheduler = PoolScheduler()

    def fail() -> None:
        called.append("first")
        raise ValueError

    def plan_the_rest() -> None:
        called.append("second")
        scheduler.enter(0.02, None)

    now = monotonic()
    scheduler.enterabs(now + 2 * PATIENCE, lambda: called.append("never"))
    scheduler.enterabs(now, plan_the_rest)
    scheduler.enterabs(now - 1, fail)
    thread = threading.Thread(target=scheduler.run)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert called == ["first", "second"]


def test_an_action_that_is_added_while_the_scheduler_waits_is_called() -> None:
    """Adding an action wakes the scheduler up, so that it does not miss an earlier time."""
    scheduler = PoolScheduler()
    called = threading.Event()
    scheduler.enter(2 * PATIENCE, None)
    thread = threading.Thread(target=scheduler.run, daemon=True)
    thread.start()
    scheduler.enter(0.0, called.set)
    scheduler.enter(0.0, None)
    assert called.wait(PATIENCE)
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_waiting_lease_gets_what_comes_first() -> None:
    """Of a connection, an error and the end of the time, the first decides."""
    given: WaitingThread[Any] = WaitingThread()
    assert given.conn is None
    assert given.set("connection")
    assert not given.set("another")
    assert not given.fail(ValueError())
    assert given.conn == given.wait(0) == "connection"
    failed: WaitingThread[Any] = WaitingThread()
    assert failed.fail(ValueError())
    assert not failed.set("connection")
    with pytest.raises(ValueError):
        failed.wait(0)
    late: WaitingThread[Any] = WaitingThread()
    with pytest.raises(PoolTimeout):
        late.wait(0)
    assert not late.set("connection")
