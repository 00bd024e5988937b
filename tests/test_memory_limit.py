"""Test that nothing ends the process when memory runs out.

One subprocess records data and calls each native function whose memory depends on data, first with
no memory left (``RLIMIT_AS``), then with a little more each time, until the function succeeds. Up
to that point it must raise ``MemoryError``, and the monitor must keep exactly what was recorded.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HELPER = Path(__file__).resolve().parent / "helpers" / "memory_limit.py"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is Linux's")


@pytest.fixture(scope="module")
def outcomes():
    """Return what happened to each function, keyed by its name."""
    done = subprocess.run(
        [sys.executable, str(HELPER)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def functions(outcomes):
    """Return the outcomes of the functions that read what was recorded."""
    return {name: found for name, found in outcomes.items() if "wrong" in found}


def test_running_out_of_memory_is_a_memory_error(functions):
    """Every function raises MemoryError and nothing else until there is enough memory."""
    assert len(functions) > 35
    assert {name: found["wrong"] for name, found in functions.items() if found["wrong"]} == {}


def test_the_limits_are_low_enough(functions):
    """Every function whose result is larger than some kilobytes ran out of memory."""
    enough = {name for name, found in functions.items() if not found["memory_errors"]}
    assert enough <= {"names", "thresholds", "outcomes"}


def test_an_operation_without_memory_is_recorded_as_overflow(outcomes):
    """One warning says that memory is missing, and the name is recorded once there is memory."""
    found = outcomes["new operation"]
    assert found["happened"] == ["", ""]
    assert found["counts"] == {"known": 1, "__overflow__": 2, "new": 1}
    (warning,) = found["logged"]
    assert "operation 'new' could not be created: out of memory" in warning
    assert "max_operations" not in warning


def test_a_sample_without_memory_for_its_metadata_is_recorded_without(outcomes):
    """No sample is lost, one warning is logged, and metadata is kept once there is memory."""
    found = outcomes["lost metadata"]
    assert found["happened"] == ["", ""]
    assert found["counts"] == {"known": 4}
    assert found["metadata"] == [{}, {}, {}, {"a": 1}]
    (warning,) = found["logged"]
    assert "no memory for the metadata of operation 'known'" in warning
