"""Tests for ``tools/python_cycles.py``, which finds circular Python imports in ``make lint``."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "python_cycles.py"
pytest.importorskip("grimp")


@pytest.fixture
def check(tmp_path):
    """Return a function that runs the tool on a package ``circular`` with the given files."""

    def run(files):
        for name, text in {"__init__.py": "", **files}.items():
            file = tmp_path / "circular" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        command = [sys.executable, TOOL, tmp_path, "circular"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_files_that_import_one_way_pass(check):
    """Files that import each other in one direction only are accepted."""
    done = check({"a.py": "import circular.b\n", "b.py": "import circular.c\n", "c.py": ""})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_circle_is_printed_with_what_ties_it(check):
    """Imports inside functions or for type checking count, and the circle's imports are printed."""
    lazy = "def f():\n    from circular import b\n"
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import circular.a\n"
    done = check({"a.py": lazy, "b.py": typed, "c.py": "import circular.a\n"})
    assert done.returncode == 1
    assert done.stdout == (
        "cycle 1:\n  circular.a imports circular.b\n  circular.b imports circular.a\n"
    )


def test_a_file_that_imports_its_own_package_closes_a_circle(check):
    """A file that imports the package by which it is re-exported is in a circle."""
    done = check({"p/__init__.py": "from circular.p.a import x\n", "p/a.py": "import circular.p\n"})
    assert done.returncode == 1
    assert "circular.p.a imports circular.p\n" in done.stdout
