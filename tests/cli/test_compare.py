"""Tests for ``nanospan compare``."""

from __future__ import annotations

import json
import os
import pty
import random
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nanospan.cli import main
from nanospan.regression import Baseline

if TYPE_CHECKING:
    from pathlib import Path


def _durations(median: float, count: int = 200, seed: int = 0) -> list[float]:
    draw = random.Random(seed)
    return [median * draw.lognormvariate(0, 0.2) for _ in range(count)]


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """Write two baselines with every kind of difference; return their paths."""
    before = {
        "same": _durations(0.010),
        "slower": _durations(0.0020),
        "faster": _durations(3e-6),
        "rare": [1.5, 1.25],
        "gone": [1.0],
    }
    now = {
        "same": _durations(0.010, seed=1),
        "slower": _durations(0.0026, seed=2),
        "faster": _durations(2e-6, seed=3),
        "rare": [1.5, 1.25],
        "new\x1b[2J": [1.0],
    }
    Baseline.from_samples(before).save(tmp_path / "before.json")
    Baseline.from_samples(now).save(tmp_path / "now.json")
    return str(tmp_path / "before.json"), str(tmp_path / "now.json")


def test_the_table_has_a_line_for_each_operation(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Regressions come first, figures have units, and operations in only one file are listed."""
    assert main(["compare", *files]) == 1
    output = capsys.readouterr().out
    heading, *rows, _, verdicts, _, gone, new = output.splitlines()
    assert heading.split() == (
        ["operation", "verdict", "baseline", "current", "shift", "interval", "p95", "p99"]
    )
    assert [row.split()[:2] for row in rows] == [
        ["slower", "regressed"],
        ["rare", "insufficient"],
        ["faster", "improved"],
        ["same", "unchanged"],
    ]
    before, now = statistics.median(_durations(2.0)), statistics.median(_durations(2.6, seed=2))
    assert rows[0].split()[2:6] == [f"{before:.2f}", "ms", f"{now:.2f}", "ms"]
    assert rows[0].split()[6].startswith("+")
    assert rows[1].split()[2:6] == ["1.38", "s", "1.38", "s"]
    assert rows[2].split()[3:6:2] == ["µs", "µs"]
    assert len({len(row) for row in rows}) == 1
    assert verdicts == "4 operations: 1 regressed, 1 insufficient, 1 improved, 1 unchanged"
    assert gone == "Only in baseline: gone"
    assert new == r"Only in current: new\x1b[2J"


def test_nothing_regressed_is_a_success(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The status is 0 for missing or faster operations and changes below ``--min-effect``."""
    before, now = files
    assert main(["compare", before, before]) == 0
    assert main(["compare", before, now, "--min-effect", "0.5"]) == 0
    assert "regressed" not in capsys.readouterr().out


def test_json_is_complete(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON output contains every part of the comparison, and no infinity or NaN."""
    assert main(["compare", *files, "--format", "json", "--fdr", "0.01"]) == 1
    document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert document["verdict"] == "regressed"
    assert document["verdicts"] == {
        "regressed": 1,
        "insufficient": 1,
        "improved": 1,
        "unchanged": 1,
    }
    assert document["fdr"] == 0.01
    assert document["baseline"]["file"] == files[0]
    assert document["baseline"]["kind"] == "baseline"
    slower = document["operations"]["slower"]
    assert slower["verdict"] == "regressed"
    assert 1.2 < slower["shift_ci"][0] < slower["shift"] < slower["shift_ci"][1] < 1.4
    assert 0.0025 < slower["medians"][1] < 0.0027
    assert "0.95" in slower["quantiles"]
    assert document["only_in_baseline"] == ["gone"]
    assert document["only_in_current"] == ["new\x1b[2J"]


def test_markdown_is_a_table_for_pull_requests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each line of the Markdown table has the same number of cells, whatever names contain."""
    samples = {"__init__": _durations(1), "a|b": _durations(1), "tick`tock": _durations(1)}
    Baseline.from_samples(samples).save(tmp_path / "b.json")
    files = [str(tmp_path / "b.json")] * 2
    assert main(["compare", *files, "--format", "markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| operation | verdict |")
    assert lines[1] == "| :--- | :--- | ---: | ---: | ---: | ---: | ---: | ---: |"
    assert [line.split(" | ")[0] for line in lines[2:5]] == [
        "| `__init__`",
        r"| `a\|b`",
        "| ``tick`tock``",
    ]
    assert {line.replace(r"\|", "").count("|") for line in lines[:5]} == {9}


def test_plain_numbers_have_no_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Plain lists of numbers are shown without a unit, and CSV and JSON lists can be compared."""
    (tmp_path / "a.csv").write_text("\n".join(map(str, _durations(150))))
    (tmp_path / "b.json").write_text(json.dumps(_durations(150, seed=1)))
    assert main(["compare", str(tmp_path / "a.csv"), str(tmp_path / "b.json")]) == 0
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row[:2] == ["values", "unchanged"]
    assert row[4:6] != ["s", "ms"]
    assert 100 < float(row[2]) < 200


def test_different_machines_are_pointed_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For files from different machines, the output says that this may explain differences."""
    Baseline.from_samples({"a": _durations(1)}).save(tmp_path / "here.json")
    document = json.loads((tmp_path / "here.json").read_text())
    document["host"] = "runner-7"
    (tmp_path / "there.json").write_text(json.dumps(document))
    main(["compare", str(tmp_path / "here.json"), str(tmp_path / "there.json")])
    assert "and runner-7, which may explain the differences" in capsys.readouterr().out


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "wrong.json: No such file or directory"),
        ("", "wrong.json: the file is empty"),
        (
            '{"format": "nanospan-baseline", "version": 9}',
            "wrong.json: version: this release of nanospan reads format versions up to 1, got 9",
        ),
        ("[1, -1]", "wrong.json: [1]: expected a number of seconds, zero or more, found -1"),
        ("[1, 2]", "no operation is in both files: "),
    ],
)
def test_bad_input_ends_with_2(  # noqa: PLR0913, PLR0917 - fixtures and parameters
    files: tuple[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    side: int,
    content: str | None,
    message: str,
) -> None:
    """If a file is unusable, one line on stderr says why, and nothing is compared."""
    wrong = tmp_path / "wrong.json"
    if content is not None:
        wrong.write_text(content)
    arguments = [files[0], files[0]]
    arguments[side] = str(wrong)
    assert main(["compare", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("nanospan: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fdr", "0"], "--fdr: must be greater than 0 and less than 1, got 0"),
        (["--fdr", "nan"], "--fdr: must be a finite number, got nan"),
        (["--min-effect", "-1"], "--min-effect: must be at least 0, got -1"),
        (["--min-effect", "much"], "--min-effect: must be a finite number, got much"),
        (["--format", "xml"], "invalid choice: 'xml'"),
    ],
)
def test_wrong_options_end_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong options are reported, with exit status 2, before any file is read."""
    with pytest.raises(SystemExit) as exit_:
        main(["compare", "absent", "absent", *arguments])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def _on_a_terminal(arguments: list[str], **environment: str) -> str:
    """Run ``nanospan`` with stdout on a pseudo-terminal; return its output."""
    reader, writer = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "nanospan", *arguments],
        stdout=writer,
        env={**os.environ, "TERM": "xterm", **environment},
    ):
        os.close(writer)
        output = b""
        try:
            while part := os.read(reader, 65_536):
                output += part
        except OSError:  # reading from a closed pseudo-terminal raises OSError
            pass
    os.close(reader)
    return output.decode()


def test_colours_are_for_terminals_only(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Regressions are red unless ``NO_COLOR`` is set or the output is not a colour terminal."""
    arguments = ["compare", *files]
    coloured = _on_a_terminal(arguments, NO_COLOR="")
    [red] = [line for line in coloured.splitlines() if "\x1b[31m" in line]
    assert "slower" in red
    assert "\x1b[" not in _on_a_terminal(arguments, NO_COLOR="1")
    assert "\x1b[" not in _on_a_terminal(arguments, TERM="dumb")
    main(arguments)
    assert "\x1b[" not in capsys.readouterr().out


def test_a_closed_pipe_is_not_an_error(files: tuple[str, str]) -> None:
    """``nanospan compare ... | head -1`` prints no traceback and keeps its exit status."""
    with subprocess.Popen(
        [sys.executable, "-m", "nanospan", "compare", *files],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("redirection", "status", "message"),
    [
        (">/dev/full", 2, "nanospan: standard output: No space left on device\n"),
        (">&-", 1, ""),
        (">&- 2>&-", 1, ""),
        (">/dev/full 2>&-", 2, ""),
    ],
)
def test_output_that_cannot_be_written_is_not_a_verdict(
    files: tuple[str, str], redirection: str, status: int, message: str
) -> None:
    """A full disk gives exit status 2, not the status for a regression; closed streams do not."""
    done = subprocess.run(
        [
            "sh",
            "-c",
            f'"$@" {redirection}',
            "sh",
            sys.executable,
            "-m",
            "nanospan",
            "compare",
            *files,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (status, message)


def test_a_file_may_be_a_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``nanospan compare <(COMMAND) FILE`` reads the pipe; a device is an error."""
    file = tmp_path / "file"
    file.write_text(json.dumps(_durations(0.01)))
    reader, writer = os.pipe()
    os.write(writer, file.read_bytes())
    os.close(writer)
    assert main(["compare", f"/dev/fd/{reader}", str(file)]) == 0
    os.close(reader)
    capsys.readouterr()
    assert main(["compare", "/dev/zero", str(file)]) == 2
    problem = "must be a regular file or a pipe, got a device"
    assert capsys.readouterr().err == f"nanospan: /dev/zero: {problem}\n"


def test_huge_factors_are_shown_as_powers_of_ten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A huge factor is shown in scientific notation, to fit into the table."""
    for name, value in (("before", 1e-9), ("after", 1e200)):
        (tmp_path / name).write_text(json.dumps([value] * 100))
    assert main(["compare", str(tmp_path / "before"), str(tmp_path / "after")]) == 1
    assert "x 1.00e+209" in capsys.readouterr().out


def test_the_output_may_have_any_encoding(files: tuple[str, str]) -> None:
    """Characters that the output's encoding lacks are replaced with question marks."""
    done = subprocess.run(
        [sys.executable, "-m", "nanospan", "compare", *files],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stderr) == (1, b"")
    assert b" ?s " in done.stdout


def test_comparing_imports_no_extra(files: tuple[str, str]) -> None:
    """``nanospan compare`` imports none of the packages of nanospan's extras."""
    code = (
        f"import sys; from nanospan.cli import main; main(['compare', *{files!r}]); "
        "sys.exit(any(name in sys.modules for name in ('rich', 'matplotlib', 'psycopg')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0
