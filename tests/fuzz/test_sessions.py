"""The engine that runs targets in Python: what it finds, and what it saves."""

import random
import time

import pytest

from nanospan_fuzz import limits
from nanospan_fuzz.inputs import InvalidInput
from nanospan_fuzz.mutations import alter, repeat
from nanospan_fuzz.replay import replay
from nanospan_fuzz.session import Session
from nanospan_fuzz.targets import Target


def target(run, *, reads_files=False):
    return Target("target", run, reads_files=reads_files, is_json=False)


def test_failing_inputs_are_saved_once_for_each_cause(tmp_path):
    """The first input that fails in one place is saved; the session goes on."""

    def run(data):
        if data == b"unusable":
            raise InvalidInput
        if data.startswith(b"bad"):
            raise LookupError("a bug")

    session = Session(target(run), tmp_path / "failures")
    for data in (b"good", b"unusable", b"bad 1", b"bad 2"):
        session.run(data)
    [saved] = (tmp_path / "failures").iterdir()
    assert saved.read_bytes() == b"bad 1"
    assert session.runs == 4


def test_memory_out_of_proportion_fails():
    """A reader of files fails if it takes more than three times the input."""
    hog = target(lambda data: [bytearray(100) for _ in data], reads_files=True)
    replay(hog, b"short")
    with pytest.raises(limits.LimitError, match="of memory, more than"):
        replay(hog, b"a" * 20_000)


def test_time_out_of_proportion_fails(monkeypatch):
    """A target fails if an input takes more processor time than the limit."""
    monkeypatch.setattr(limits, "LONGEST", 0.01)

    def spin(_data):
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass

    with pytest.raises(limits.LimitError, match="took"):
        replay(target(spin), b"")


@pytest.mark.parametrize("is_json", [True, False])
def test_alterations_differ_and_end(is_json):
    """Alterations of an input are bytes, and most differ from it."""
    seed = b'{"a": [1, "x"], "b": {}}'
    source = random.Random(1)
    altered = [alter(seed, source, [seed], is_json=is_json) for _ in range(200)]
    assert len(set(altered)) > 100
    assert len(repeat(seed, source, 1000)) <= 1000 + len(seed)
