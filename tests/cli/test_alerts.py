"""`nanospan alerts check`."""

import pytest

from nanospan.cli import main

GOOD = """
[[rule]]
name = "slow"
operation = "op"
statistic = "p95"
above = 0.1

[[rule]]
name = "regressed"
kind = "regression"
operation = "op"
baseline = "baseline.json"

[[sink]]
type = "webhook"
url = "env:TEST_HOOK_URL"
"""


def check(path, capsys):
    status = main(["alerts", "check", str(path)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_good_file_is_summed_up(tmp_path, capsys):
    """It says what is in it, and what this environment lacks."""
    path = tmp_path / "alerts.toml"
    path.write_text(GOOD)
    assert check(path, capsys) == (
        0,
        (
            f"{path}: 2 rules, 1 sink, 0 silences\n"
            f"{path}: TEST_HOOK_URL is not set in this environment\n"
            f"{path}: {tmp_path / 'baseline.json'} is not there\n"
        ),
        "",
    )


def test_a_bad_file_ends_with_2_and_its_lines(tmp_path, capsys):
    """Each mistake is a line with place, key and value, as compilers write them."""
    path = tmp_path / "alerts.toml"
    path.write_text(GOOD.replace("0.1", '"fast"').replace("type = ", "typ = "))
    status, out, err = check(path, capsys)
    assert (status, out) == (2, "")
    assert err == (
        f"{path}:6: rule[0]: above = 'fast': must be a finite number\n"
        f"{path}:14: sink[0] lacks type: one of log, json_lines, webhook, alertmanager\n"
    )


@pytest.mark.parametrize("name", ["absent.toml", "."])
def test_a_file_that_cannot_be_read_ends_with_2(tmp_path, capsys, name):
    """The reason is one line."""
    status, out, err = check(tmp_path / name, capsys)
    assert (status, out) == (2, "")
    assert err.startswith("nanospan: ")
    assert err.count("\n") == 1


def test_help_says_what_it_does(capsys):
    """`nanospan alerts check --help` has the exit status and the variable."""
    with pytest.raises(SystemExit) as exit_:
        main(["alerts", "check", "--help"])
    assert exit_.value.code == 0
    output = capsys.readouterr().out
    for word in ("NANOSPAN_ALERTS", "Exit status", "FILE"):
        assert word in output
    with pytest.raises(SystemExit) as exit_:
        main(["alerts"])
    assert exit_.value.code == 2
