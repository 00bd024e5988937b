"""Tests that the code and commands in docs/regression.md do what the page shows."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "regression.md").read_text()
EXAMPLES = ROOT / "docs" / "benchmarks"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-\d+)?")
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def _shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def _session(block: str) -> list[tuple[str, str]]:
    """Return the commands in a console block, each with the output shown after it."""
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def _assert_shown(printed: str, shown: str) -> None:
    """Assert that texts are equal, except that numbers may differ by 10 % between platforms."""
    assert NUMBER.sub("0", printed).split() == NUMBER.sub("0", shown).split(), printed
    for here, there in zip(NUMBER.findall(printed), NUMBER.findall(shown), strict=True):
        if "e-" not in there:
            assert float(here) == pytest.approx(float(there), rel=0.1, abs=0.5), printed


def test_the_page_can_be_followed_from_top_to_bottom(tmp_path):
    """In page order, every Python block runs and every command has the output and status shown."""
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    commands = 0
    for kind, block in BLOCKS:
        if kind == "python":
            done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, check=False)
            assert done.returncode == 0, block
        elif kind == "console":
            status = 0
            for command, shown in _session(block):
                done = _shell(f"(exit {status}); {command}", tmp_path)
                assert done.stderr == ""
                _assert_shown(done.stdout, shown)
                status = done.returncode
                commands += 1
    assert commands >= 4


def test_the_gate_for_pull_requests_rejects_a_slower_branch(tmp_path):
    """On a branch that is slower than main, the page's gate reports a regression and returns 1."""
    [gate] = [block for kind, block in BLOCKS if kind == "sh" and "worktree" in block]
    repository = tmp_path / "repository"
    repository.mkdir()
    # Run times alternate, so that the machine's load does not make consecutive runs alike. The
    # slower branch sleeps longer than Python takes to start, even on a busy machine.
    bench = (
        "import os, pathlib, time; note = pathlib.Path(__file__).with_name('note')\n"
        "time.sleep({seconds} + 0.05 * note.exists())\n"
        "note.unlink() if note.exists() else note.touch()\n"
    )
    git = "git -c user.name=t -c user.email=t@example.org -c init.defaultBranch=main"
    for number, seconds in enumerate((0.0, 0.6)):
        (repository / "bench.py").write_text(bench.format(seconds=seconds))
        steps = f"{git} init -q; git add bench.py; {git} commit -qm {number}"
        assert _shell(steps, repository).returncode == 0
        if number == 0:
            _shell("git update-ref refs/remotes/origin/main HEAD", repository)
    done = _shell(gate.replace("--runs 30", "--runs 15"), repository)
    assert done.returncode == 1, done.stderr
    lines = done.stdout[done.stdout.index("|") :].splitlines()  # skips Git's own output
    assert lines[2].startswith("| A | `python ../base/bench.py` |")
    assert lines[3].startswith("| B | `python bench.py` |")
    # If a time has grown at least fivefold, the factor is printed instead of the percentage.
    [shift] = re.findall(r"B against A: \*\*regressed\*\*, (.+?) \(", lines[5])
    assert re.fullmatch(r"\+[1-9]\d*\.\d %|x [5-9]\.\d\d|x \d\d\d?\.?\d?", shift), shift


def test_ab_prints_what_is_shown(tmp_path):
    """``nanospan ab`` prints the lines shown on the page, apart from the measured values."""
    [ab] = [block for kind, block in BLOCKS if kind == "text"]
    [(command, shown)] = _session(ab)
    done = _shell(command, tmp_path)
    assert done.returncode in (0, 1), done.stderr
    for here, there in itertools.zip_longest(done.stdout.splitlines(), shown.splitlines()):
        assert here.split()[:2] == there.split()[:2]


def test_the_benches_write_files_like_those_shown(tmp_path):
    """``nanospan compare`` can compare a new benchmark file with the example file on the page."""
    bench = f"pytest {ROOT / 'benches' / 'test_overhead.py'} -q -k nanospan --benchmark-enable"
    options = f"--rootdir {ROOT} --benchmark-json=now.json -p no:cacheprovider"
    done = _shell(f"{bench} {options}", tmp_path)
    assert done.returncode == 0, done.stdout
    done = _shell(f"nanospan compare --format json {EXAMPLES / 'before.json'} now.json", tmp_path)
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    assert len(report["operations"]) >= 7
    assert report["only_in_baseline"] == []
