"""Tests for ``tools/check_words.py``, which checks wording in ``make lint``."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "check_words.py"


@pytest.fixture
def check(tmp_path):
    """Return a function that runs the tool on a Git checkout holding the given files."""

    def run(**files):
        subprocess.run(["git", "init", "-q", tmp_path], check=True)
        for name, text in files.items():
            (tmp_path / name.replace("_", ".")).write_text(text)
        command = [sys.executable, TOOL, tmp_path]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_a_clean_tree_passes(check):
    """For files without a listed phrase, the tool prints nothing and exits with 0."""
    done = check(page_md="There is no server.\nIt is no longer slow.\n", code_py="x = None\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_phrase_is_reported_with_its_line_and_what_to_write(check):
    """Each hit is a line with the file, the line number, the phrase and the alternative."""
    phrase = "whoever"  # words: allow
    done = check(page_md=f"fine\n\nIt calls {phrase} waits.\n")
    assert done.returncode == 1
    assert done.stdout == (
        f'page.md:3: "{phrase}"; write the one who acts: the caller, the thread, the user instead\n'
    )


def test_a_phrase_is_found_across_lines(check):
    """A phrase that wraps across lines of a comment is reported with its first line."""
    done = check(code_py="x = 1\n# This value is\n# no sink at all.\n")  # words: allow
    assert done.stdout.startswith('code.py:2: "is no sink"; write ')  # words: allow


def test_an_allowed_line_passes(check):
    """A line with a ``words: allow`` comment is skipped; the same phrase elsewhere is reported."""
    phrase = "nobody"  # words: allow
    done = check(page_md=f"{phrase} <!-- words: allow -->\n{phrase}\n")
    assert [line.split(";")[0] for line in done.stdout.splitlines()] == [f'page.md:2: "{phrase}"']


def test_a_docstring_that_opens_like_a_question_is_reported(check):
    """Docstrings that open with a question word are reported; other strings are not."""
    done = check(code_py='def f():\n    """What it gives."""\n\n\ntext = """What?"""\n')
    assert [line.split(";")[0] for line in done.stdout.splitlines()] == ['code.py:2: "What"']


def test_single_backticks_in_a_docstring_are_reported(check):
    """Code in single backticks is reported in docstrings; links, roles and comments are not."""
    docstring = (
        'def f():\n    """Return ``x``.\n\n    See `X <https://x>`_, :class:`X`, `y`.\n    """\n'
    )
    done = check(code_py=docstring + "    # `z`\n")
    assert done.stdout == 'code.py:4: "`y`"; write ``y`` instead\n'


def test_help_explains_the_command(check):
    """``--help`` prints the usage and ends with 0; an unknown option prints it and ends with 2."""
    for option, status in (("--help", 0), ("--wrong", 2)):
        command = [sys.executable, TOOL, option]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == status
        assert "usage: tools/check_words.py [FOLDER]" in done.stdout
