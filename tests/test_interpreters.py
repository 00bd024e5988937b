"""Tests for several interpreters in one process: only one of them may use nanospan."""

import importlib.util
import subprocess
import sys
import textwrap

import pytest

MODULE = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec(MODULE) is None, reason="this Python has no subinterpreters"
)

PROGRAM = f"""
import {MODULE} as interpreters

WORK = '''
try:
    import nanospan
except ImportError as error:
    print("refused:", error, flush=True)
else:
    monitor = nanospan.get_performance_monitor()
    with monitor.track_operation("op"):
        pass
    assert type(monitor) is nanospan.PerformanceMonitor, type(monitor)
    print("recorded", monitor.get_stats("op").total_count, flush=True)
'''
# Interpreters that share the GIL, and ones that have, from Python 3.12 on, their own.
if hasattr(interpreters, "new_config"):
    KINDS = [(interpreters.new_config(name),) for name in ("legacy", "isolated")]
    create = interpreters.create
    def run(interpreter):
        failed = interpreters.exec(interpreter, WORK)
        assert not failed, failed
else:
    KINDS = [False, True]
    create = lambda isolated: interpreters.create(isolated=isolated)
    run = lambda interpreter: interpreters.run_string(interpreter, WORK)

def in_another(kind):
    interpreter = create(*kind) if isinstance(kind, tuple) else create(kind)
    run(interpreter)
    interpreters.destroy(interpreter)
"""


def run(code):
    """Run ``code`` in a fresh process; return the lines it prints."""
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.splitlines()


def is_refusal(line):
    # CPython itself refuses the import in an interpreter with its own GIL.
    return line.startswith("refused: ") and (
        "must be imported by only one interpreter" in line
        or "does not support loading in subinterpreters" in line
    )


def test_a_second_interpreter_is_refused_while_the_first_goes_on():
    """A second interpreter gets an ImportError that says so; the first one is not disturbed."""
    first, *refused, last = run("""
    exec(WORK)
    for kind in KINDS:
        in_another(kind)
        in_another(kind)
    exec(WORK)
    """)
    assert (first, last) == ("recorded 1", "recorded 2")
    assert len(refused) == 4
    assert all(map(is_refusal, refused))


def test_interpreters_are_refused_after_the_first_has_ended():
    """If the interpreter that imported nanospan ends, others still get the ImportError."""
    first, *refused = run("""
    for kind in (KINDS[0], *KINDS):
        in_another(kind)
    exec(WORK)
    """)
    assert first == "recorded 1"
    assert len(refused) == 3
    assert all(map(is_refusal, refused))
