"""Tests for ``nanospan alerts check``."""

import sys

import pytest

from nanospan.alerts import AlertsFileError, load
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


def test_a_valid_file_is_summarised(tmp_path, capsys):
    """For a valid file, its contents are counted, and missing variables and baselines listed."""
    path = tmp_path / "alerts.toml"
    path.write_text(GOOD)
    assert check(path, capsys) == (
        0,
        (
            f"{path}: 2 rules, 1 sink, 0 silences\n"
            f"{path}: TEST_HOOK_URL is not set in this environment\n"
            f"{path}: {tmp_path / 'baseline.json'} does not exist\n"
        ),
        "",
    )


def test_a_missing_package_ends_with_1(tmp_path, capsys, monkeypatch):
    """If a sink could not start because httpx is missing, that is an error with the pip line."""
    path = tmp_path / "alerts.toml"
    path.write_text(GOOD)
    monkeypatch.setitem(sys.modules, "httpx", None)
    status, out, err = check(path, capsys)
    assert (status, out.count("\n")) == (1, 3)
    needs = "needs httpx: pip install 'nanospan[alerts]'"
    assert err == f"{path}: WebhookSink(env:TEST_HOOK_URL) {needs}\n"
    # What the check reports is what stops the program that loads the file.
    monkeypatch.setenv("TEST_HOOK_URL", "https://example.org/hook")
    path.write_text(GOOD[GOOD.index("[[sink]]") :])
    with pytest.raises(AlertsFileError, match=r"needs httpx: pip install 'nanospan\[alerts\]'"):
        load(path)


def test_only_sinks_that_post_need_httpx(tmp_path, capsys, monkeypatch):
    """A file whose sinks do not use HTTP is valid without httpx."""
    path = tmp_path / "alerts.toml"
    path.write_text(GOOD.partition("[[sink]]")[0] + '[[sink]]\ntype = "log"\n')
    monkeypatch.setitem(sys.modules, "httpx", None)
    assert check(path, capsys)[::2] == (0, "")


def test_an_invalid_file_ends_with_2(tmp_path, capsys):
    """Each error in a file is printed on one line, as compilers do, with its key and value."""
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
    """If the file cannot be read, the reason is printed on one line."""
    status, out, err = check(tmp_path / name, capsys)
    assert (status, out) == (2, "")
    assert err.startswith("nanospan: ")
    assert err.count("\n") == 1


def test_help_explains_the_command(capsys):
    """``nanospan alerts check --help`` mentions the exit status and ``NANOSPAN_ALERTS``."""
    with pytest.raises(SystemExit) as exit_:
        main(["alerts", "check", "--help"])
    assert exit_.value.code == 0
    output = capsys.readouterr().out
    for word in ("NANOSPAN_ALERTS", "Exit status", "FILE"):
        assert word in output
    with pytest.raises(SystemExit) as exit_:
        main(["alerts"])
    assert exit_.value.code == 2
