"""Tests for ``nanospan changes``."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nanospan.cli import main
from nanospan.cli.sparkline import sparkline
from nanospan.regression import Baseline

if TYPE_CHECKING:
    from pathlib import Path


def _levels(*levels: float, count: int = 40) -> list[float]:
    draw = random.Random(5)
    return [level * draw.lognormvariate(0, 0.05) for level in levels for _ in range(count)]


@pytest.fixture
def history(tmp_path: Path) -> str:
    """Write a history with a step up and a step down; return its path."""
    path = tmp_path / "history.csv"
    path.write_text("throughput\n" + "\n".join(map(str, _levels(100, 150, 120))))
    return str(path)


def test_changes_are_drawn_and_listed(history: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The output has a line of bars, a mark below each change, and a table of changes."""
    assert main(["changes", history]) == 0
    heading, bars, marks, _, up, down = capsys.readouterr().out.splitlines()
    assert heading == "values: 120 values, 2 changes"
    assert len(bars) == 80
    assert set(bars) <= set("▁▂▃▄▅▆▇█")
    assert [column for column, mark in enumerate(marks) if mark == "▲"] == [26, 53]
    assert up.split()[0] == "40"
    assert down.split()[0] == "80"
    assert float(up.split()[1]) == pytest.approx(100, rel=0.05)
    assert float(up.split()[2]) == pytest.approx(150, rel=0.05)
    assert down.split()[3].startswith("-")


def test_a_history_without_a_change_has_no_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For a history without a change, the output has bars and a heading but no table."""
    (tmp_path / "h.json").write_text(json.dumps({"a": _levels(1), "b": [2.0]}))
    assert main(["changes", str(tmp_path / "h.json")]) == 0
    first, _, empty, second, bars = capsys.readouterr().out.splitlines()
    assert (first, empty) == ("a: 40 values, no change", "")
    assert (second, bars) == ("b: 1 value, no change", "▁")


def test_json_and_markdown(history: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON and Markdown outputs contain the same changes."""
    assert main(["changes", history, "--format", "json"]) == 0
    values = json.loads(capsys.readouterr().out)["operations"]["values"]
    assert values["values"] == 120
    assert [change["index"] for change in values["changes"]] == [40, 80]
    assert main(["changes", history, "--format", "markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "`values`: 120 values, 2 changes"
    assert lines[2] == "| from | before | after | change | interval | p |"
    assert lines[4].startswith("| 40 |")


def test_saved_runs_are_one_moment_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each saved run is one value, ordered by time; a change is reported with its first file."""
    medians = _levels(0.010, 0.014, count=12)
    for number, median in enumerate(medians):
        run = {
            "datetime": f"2026-11-{number + 1:02}T08:00:00+00:00",
            "benchmarks": [{"fullname": "test_search", "stats": {"median": median}}],
        }
        (tmp_path / f"{number:04}_run.json").write_text(json.dumps(run))
    files = sorted(map(str, tmp_path.iterdir()))
    random.Random(1).shuffle(files)
    assert main(["changes", *files]) == 0
    heading, bars, _, columns, row = capsys.readouterr().out.splitlines()
    assert heading == "test_search: 24 values, 1 change"
    assert len(bars) == 24
    assert columns.split()[:2] == ["from", "file"]
    assert row.split()[:2] == ["12", "0012_run.json"]
    assert row.split()[3:7:2] == ["ms", "ms"]


def test_operations_can_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--operation`` selects what is shown; the error for an unknown name lists the operations."""
    Baseline.from_samples({"a": [1, 2], "b": [3, 4]}).save(tmp_path / "b.json")
    assert main(["changes", str(tmp_path / "b.json"), "--operation", "b"]) == 0
    assert capsys.readouterr().out.startswith("b: 2 values")
    assert main(["changes", str(tmp_path / "b.json"), "--operation", "c"]) == 2
    assert capsys.readouterr().err == "nanospan: no operation is named c; use one of a, b\n"


def test_a_picture_is_drawn(history: str, tmp_path: Path) -> None:
    """``--plot`` writes a PNG file and no other file."""
    picture = tmp_path / "picture.png"
    assert main(["changes", history, "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG\r\n")
    width, height = (
        int.from_bytes(picture.read_bytes()[begin : begin + 4], "big") for begin in (16, 20)
    )
    assert (width, height) == (1000, 300)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.csv", "picture.png"]


@pytest.mark.parametrize("name", ["$x_{", "a\nb", "检索"])
def test_any_name_can_be_drawn(tmp_path: Path, name: str) -> None:
    """``--plot`` accepts any operation name, and does not interpret it as a formula."""
    (tmp_path / "h.json").write_text(json.dumps({name: _levels(1, 2)}))
    arguments = [str(tmp_path / "h.json"), "--plot", str(tmp_path / "h.png")]
    done = subprocess.run(
        [sys.executable, "-m", "nanospan", "changes", *arguments], capture_output=True, check=False
    )
    assert done.returncode == 0
    assert (tmp_path / "h.png").stat().st_size > 1000


def test_too_many_histories_for_one_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--plot`` rejects more than 50 operations, which would make the picture too large."""
    (tmp_path / "h.json").write_text(json.dumps({str(number): [1, 2] for number in range(51)}))
    assert main(["changes", str(tmp_path / "h.json"), "--plot", str(tmp_path / "h.png")]) == 2
    assert "choose some with --operation" in capsys.readouterr().err
    assert not (tmp_path / "h.png").exists()


def test_a_missing_extra_is_one_line(
    history: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without matplotlib, only ``--plot`` fails, and the error says how to install it."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["changes", history]) == 0
    capsys.readouterr()
    assert main(["changes", history, "--plot", "never.png"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "nanospan: --plot needs matplotlib: pip install 'nanospan[plot]'\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2", "expected JSON"),
        ("1\nnan\n", "line 2: expected a finite number, found nan"),
        ("{}", "found a JSON object of another kind"),
    ],
)
def test_bad_input_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    """The error for bad input is one line that names the file and the place in it."""
    (tmp_path / "wrong").write_text(content)
    assert main(["changes", str(tmp_path / "wrong")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"nanospan: {tmp_path / 'wrong'}: ")
    assert message in captured.err


def test_an_unwritable_picture_ends_with_2(
    history: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """If the picture cannot be written, the exit status is 2 and the error gives the reason."""
    assert main(["changes", history, "--plot", str(tmp_path / "absent" / "h.png")]) == 2
    assert "No such file or directory" in capsys.readouterr().err


def test_sparklines() -> None:
    """Values sharing a column show their median; the extremes have the lowest and highest bars."""
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8], [], 80) == ("▁▂▃▄▅▆▇█", "")
    assert sparkline([0, 0, 100, 1, 1, 1], [3], 2) == ("▁█", " ▲")
    assert sparkline([3.0, 3.0], [0], 80) == ("▁▁", "▲")
    assert sparkline([-1e308, 1e308], [], 80) == ("▁█", "")
    assert sparkline([5.0], [], 80) == ("▁", "")
