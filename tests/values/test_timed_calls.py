"""Tests for calls that are given up after a time limit."""

from __future__ import annotations

import contextvars
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from nanospan.values.timed_calls import TimedCalls

if TYPE_CHECKING:
    from nanospan.values.timed_calls import Connections

PATIENCE = 60.0
SHORT = 0.02
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.fixture
def calls() -> TimedCalls:
    """Return an object that makes calls."""
    return TimedCalls("nanospan-test")


def test_results_and_errors(calls: TimedCalls) -> None:
    """A call in time returns its result, or raises its error, with the caller's context."""
    variable.set("set")
    assert calls.run(lambda _: variable.get(), PATIENCE) == "set"
    with pytest.raises(ZeroDivisionError):
        calls.run(lambda _: 1 // 0, PATIENCE)


def test_connections_are_cut(calls: TimedCalls) -> None:
    """When a call is given up, what it waits for on its connections ends at once."""
    received: list[bytes] = []
    ours, theirs = socket.socketpair()
    ended = threading.Event()

    def wait(connections: Connections) -> None:
        connections.add(ours)
        received.append(ours.recv(1))
        late, other = socket.socketpair()
        with late, other:
            connections.add(late)  # which is cut at once
            received.append(late.recv(1))
        ended.set()

    with ours, theirs:
        with pytest.raises(TimeoutError):
            calls.run(wait, SHORT)
        assert ended.wait(PATIENCE)
    assert received == [b"", b""]


def test_an_interrupted_call_is_given_up(calls: TimedCalls) -> None:
    """If a signal handler raises while a call is waited for, its connections are cut, too."""
    received: list[bytes] = []
    ours, theirs = socket.socketpair()
    ended = threading.Event()

    def interrupt(*_: object) -> None:
        raise InterruptedError

    def wait(connections: Connections) -> None:
        connections.add(ours)
        os.kill(os.getpid(), signal.SIGUSR1)
        received.append(ours.recv(1))
        ended.set()

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with ours, theirs:
            with pytest.raises(InterruptedError):
                calls.run(wait, 2 * PATIENCE)
            assert ended.wait(PATIENCE)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert received == [b""]
    assert calls.run(lambda _: "next", PATIENCE) == "next"


def test_a_call_that_cannot_be_cut(calls: TimedCalls) -> None:
    """Until a call that was given up has ended, others wait for it within their own limits."""
    go_on = threading.Event()
    started: list[str] = []

    def work(_: Connections) -> None:
        started.append("work")
        go_on.wait(PATIENCE)

    for _ in range(3):
        with pytest.raises(TimeoutError):
            calls.run(work, SHORT)
    assert started == ["work"]
    go_on.set()
    assert calls.run(lambda _: "next", PATIENCE) == "next"


def test_connections_are_released(calls: TimedCalls) -> None:
    """A call that ends in time keeps its connections no longer than itself."""
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            calls.run(lambda connections: connections.add(ours), PATIENCE)
        assert theirs.recv(1) == b""  # the last descriptor of the other end is closed
