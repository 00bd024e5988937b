"""Tests of everything at once, and of the checks that this relies on."""

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

from readings import MIB, Reading
from tally import Tally, differences

SECONDS = 60


def test_nothing_is_lost_and_nothing_grows_in_a_minute_of_everything_at_once():
    """All counts match, and memory, descriptors, threads and tasks do not grow."""
    # The other tests need the processors more.
    command = ["nice", "-n", "10", sys.executable, Path(__file__).parent, "--seconds", str(SECONDS)]
    finished = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout


async def test_growth_of_each_kind_is_found():
    """A leak of anything that a reading counts is reported."""
    before = Reading.take()
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    task = asyncio.create_task(asyncio.sleep(3600))
    child = await asyncio.create_subprocess_exec("sleep", "3600")
    reading, writing = os.pipe()
    held = [[] for _ in range(Reading.ALLOWED["objects"] + 1_000)]
    memory = os.urandom(Reading.ALLOWED["memory"] + 16 * MIB)
    try:
        lines = before.growth_to(Reading.take())
        assert [line.partition(" ")[0] for line in lines] == list(Reading.ALLOWED)
    finally:
        del held, memory
        os.close(reading)
        os.close(writing)
        child.kill()
        await child.wait()
        task.cancel()
        ended.set()
        thread.join()


async def test_a_process_at_rest_has_not_grown():
    """Two readings with nothing in between differ by no more than is allowed."""
    before = Reading.take()
    assert before.growth_to(Reading.take()) == []


def test_a_missing_and_an_additional_count_are_found():
    """Counts are compared by name in both directions, also when read again."""
    tally = Tally()
    for name in ("a", "a", "b"):
        tally.add(name)
    assert tally.totals() == {"a": 2, "b": 1}
    tally.add("a")
    assert tally.totals() == {"a": 3, "b": 1}
    assert differences("x", tally.totals(), {"a": 3, "b": 1}) == []
    assert differences("x", tally.totals(), {"a": 2, "b": 1, "c": 4}) == [
        "x: 2 of 'a' instead of 3",
        "x: 4 of 'c' instead of 0",
    ]
