"""Tests that the documentation's Python blocks run, and that its links and commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benches/*.md")])
BLOCKS = [
    pytest.param(code, id=f"{document.name}-{number}")
    for document in DOCUMENTS
    for number, code in enumerate(
        re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL)
    )
]


@pytest.mark.parametrize("code", BLOCKS)
def test_python_blocks_run_as_they_stand(code, tmp_path):
    """Each Python block in the documentation is a program that runs without errors or warnings."""
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout


def test_the_first_example_is_short():
    """The README's first example has at most 20 lines."""
    first = BLOCKS[[block.id for block in BLOCKS].index("README.md-0")].values[0]
    assert len(first.strip().splitlines()) <= 20


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document):
    """Every relative link in the documentation leads to an existing file."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_in_the_pages_exist(document):
    """Every path in backticks that starts with a project folder exists."""
    folders = "benches|docs|examples|python|rust|tests|tools"
    for path in re.findall(rf"`((?:{folders})/[\w./-]+)", document.read_text()):
        assert (ROOT / path).exists(), path


def test_every_make_command_in_the_pages_exists():
    """Every `make X` in the documentation names a target in the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        named = set(re.findall(r"`make ([a-z-]+)", document.read_text()))
        assert named <= targets, document.name
