"""Tests for what signal handlers and finalisers may use while it is in use."""

import gc
import signal
import threading
import weakref

import pytest

from nanospan import _core
from nanospan.reentrant import Bell, LazyProperty, LiveObjects, Wakeup

PATIENCE = 60.0


def test_a_wakeup_ends_the_next_wait():
    """Several calls of ``set`` end one ``wait``; without one, ``wait`` times out."""
    wakeup = Wakeup()
    assert not wakeup.wait(0)
    wakeup.set()
    wakeup.set()
    assert wakeup.wait()
    assert not wakeup.wait(-1)


def test_a_wakeup_ends_the_current_wait():
    """A wait in another thread ends when ``set`` is called, however long its time limit is."""
    wakeup, ended = Wakeup(), threading.Event()
    thread = threading.Thread(target=lambda: wakeup.wait(float("inf")) and ended.set())
    thread.start()
    wakeup.set()
    thread.join(PATIENCE)
    assert ended.is_set()


def test_a_signal_handler_ends_the_wait_that_it_interrupts():
    """A handler may call ``set`` on the thread that waits."""
    wakeup = Wakeup()
    before = signal.signal(signal.SIGALRM, lambda *_: wakeup.set())
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    try:
        assert wakeup.wait(PATIENCE)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_bell_wakes_every_thread_whose_condition_holds():
    """Threads wait until their condition is true, and get its value."""
    bell, values, got = Bell(), {}, []

    def wait(key):
        got.append(bell.wait_for(lambda: values.get(key), PATIENCE))

    threads = [threading.Thread(target=wait, args=(key,)) for key in "aab"]
    for thread in threads:
        thread.start()
    values["a"] = 1
    bell.ring()
    for thread in threads[:2]:
        thread.join(PATIENCE)
    assert got == [1, 1]
    values["b"] = 2
    bell.ring()
    threads[2].join(PATIENCE)
    assert got == [1, 1, 2]


def test_a_wait_for_a_condition_ends_with_the_time_or_an_exception():
    """If the time expires, the value is false; exceptions of the condition are raised."""
    bell = Bell()
    assert not bell.wait_for(lambda: 0, 0.01)
    with pytest.raises(ZeroDivisionError):
        bell.wait_for(lambda: 1 / 0)


def test_a_lazy_property_is_computed_once():
    """The property is computed when it is read first, and kept; on a class it is the property."""

    class Lazy:
        computed = 0

        @LazyProperty
        def value(self):
            """The value."""
            self.computed += 1
            return self.computed

    lazy = Lazy()
    assert (lazy.value, lazy.value, Lazy().value) == (1, 1, 1)
    assert Lazy.value.__doc__ == "The value."


class Thing:
    """An object that compares equal to every other."""

    def __eq__(self, other):
        return True

    __hash__ = None


def test_live_objects_are_compared_by_identity_and_forgotten_when_freed():
    """Objects are listed in order while they exist, whatever they compare equal to."""
    live, first, second = LiveObjects(), Thing(), Thing()
    live.add(first)
    live.add(second)
    live.add(second)
    assert [id(thing) for thing in live.all()] == [id(first), id(second)]
    assert second in live
    assert Thing() not in live
    del first
    assert [id(thing) for thing in live.all()] == [id(second)]
    live.discard(second)
    assert live.all() == []


def test_an_atomic_is_replaced_only_if_it_is_what_was_expected():
    """``replace`` compares by identity, and says whether it has replaced the value."""
    first, second = Thing(), Thing()
    atomic = _core.Atomic(first)
    assert not atomic.replace(second, second)
    assert atomic.get() is first
    assert atomic.replace(first, second)
    assert atomic.get() is second


def test_an_update_is_repeated_if_the_value_changes_meanwhile():
    """Of an update that another one interrupts, neither is lost; an exception changes nothing."""
    atomic = _core.Atomic(())
    interrupt = ["interrupting"]

    def add(values):
        if interrupt:
            added = interrupt.pop()
            atomic.update(lambda values: (*values, added))
        return (*values, "interrupted")

    assert atomic.update(add) == ("interrupting", "interrupted")
    with pytest.raises(ZeroDivisionError):
        atomic.update(lambda _: 1 / 0)
    assert atomic.get() == ("interrupting", "interrupted")


def test_a_finaliser_of_a_replaced_value_may_update_the_atomic():
    """A finaliser of the old value may update the atomic, and its update is not lost."""
    atomic = _core.Atomic(None)

    class Finalised:
        def __del__(self):
            atomic.update(lambda value: (value, "finalised"))

    atomic.update(lambda _: Finalised())
    atomic.update(lambda _: "new")
    assert atomic.get() == ("new", "finalised")


def test_threads_that_update_an_atomic_lose_nothing():
    """Every update by several threads takes effect exactly once."""
    atomic = _core.Atomic(0)

    def count():
        for _ in range(2000):
            atomic.update(lambda value: value + 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert atomic.get() == 8000


def test_a_cycle_through_an_atomic_is_collected():
    """The garbage collector frees an object that an atomic refers to, and that refers to it."""
    holder = Thing()
    holder.atomic = _core.Atomic(holder)
    gone = weakref.ref(holder)
    del holder
    gc.collect()
    assert gone() is None
