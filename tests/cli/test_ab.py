"""Tests for ``nanospan ab`` on real commands."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from nanospan.cli import main
from nanospan.regression import Baseline

if TYPE_CHECKING:
    from collections.abc import Callable

NANOSPAN = [sys.executable, "-m", "nanospan", "ab"]


@pytest.fixture
def log(tmp_path: Path) -> Callable[[str], list[str]]:
    """Return ``log``: ``log(name)`` is a command that logs the name; ``log()`` lists all names."""
    path = tmp_path / "log"
    path.touch()

    def log(name: str = "") -> list[str]:
        if not name:
            return path.read_text().split()
        return ["sh", "-c", f'echo {name} >> "$0"', str(path)]

    return log


def _until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, f"timed out waiting until {what}"
        time.sleep(0.01)


def test_the_commands_take_turns_in_going_first(
    log: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands run in the order A B, B A, A B ..., including warm-ups."""
    assert main(["ab", "--runs", "3", "--warmup", "2", "--", *log("a"), "--", *log("b")]) == 0
    assert log() == list("abbaabbaab")
    assert "3 runs of each, in turn, after 2 warm-ups" in capsys.readouterr().out


def _sleeping(note: Path, seconds: float) -> list[str]:
    """Return a command that alternates between sleeping a little less and a little more.

    Its times are therefore independent, however slowly the load of the machine changes.
    """
    longer = f'touch "$0"; sleep {seconds + 0.02}'
    script = f'if rm "$0" 2>/dev/null; then sleep {seconds}; else {longer}; fi'
    return ["sh", "-c", script, str(note)]


def test_times_that_cannot_be_saved_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """If the times cannot be saved, the verdict is still printed before the error."""
    assert main(["ab", "--runs", "2", "--save", "/dev/full", "--", "true", "--", "true"]) == 2
    output, error = capsys.readouterr()
    assert "B against A: insufficient" in output
    assert "No space left on device" in error


def test_a_slower_command_regressed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Verdict and exit status rate B against A; ``--save`` saves the times."""
    fast, slow = _sleeping(tmp_path / "fast", 0.01), _sleeping(tmp_path / "slow", 0.5)
    saved = tmp_path / "ab.json"
    assert main(["ab", "--runs", "12", "--save", str(saved), "--", *fast, "--", *slow]) == 1
    output = capsys.readouterr().out.splitlines()
    assert output[0].split() == ["command", "median", "minimum", "maximum"]
    assert output[1].split()[:3] == ["A", "sh", "-c"]
    assert output[2].split()[:3] == ["B", "sh", "-c"]
    assert output[4].startswith("B against A: regressed, ")
    samples = Baseline.load(saved).samples()
    assert [len(samples[name]) for name in "AB"] == [12, 12]
    assert min(samples["A"]) >= 0.01
    assert min(samples["B"]) >= 0.25
    assert main(["ab", "--runs", "12", "--", *slow, "--", *fast]) == 0
    assert "B against A: improved, " in capsys.readouterr().out


def test_json_and_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON output contains every measured time; the Markdown output is a table."""
    commands = ["--runs", "2", "--warmup", "0", "--", "true", "--", "sh", "-c", "true | true"]
    assert main(["ab", "--format", "json", *commands]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == "insufficient"
    assert document["commands"]["A"]["command"] == ["true"]
    assert len(document["commands"]["B"]["seconds"]) == 2
    assert document["comparison"]["counts"] == [2, 2]
    assert main(["ab", "--format", "markdown", *commands]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].startswith(r"| B | `sh -c 'true \| true'` | ")
    assert "**insufficient**" in lines[5]


def test_commands_have_no_input_and_no_output(capfd: pytest.CaptureFixture[str]) -> None:
    """Each command gets empty input, and its output is discarded, however long."""
    noisy = ["sh", "-c", "cat; head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2"]
    assert main(["ab", "--runs", "2", "--timeout", "60", "--", *noisy, "--", *noisy]) == 0
    captured = capfd.readouterr()
    assert "\0" not in captured.out + captured.err


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo before >&2; echo the reason >&2; exit 3", "exited with status 3 in run 1 of 31"),
        ("echo the reason >&2; kill -SEGV $$", "was ended by SIGSEGV in run 1 of 31"),
        ("printf '\\033[2J' >&2; echo the reason >&2; exit 1", "\\x1b[2J"),
    ],
)
def test_a_failing_command_is_reported_with_its_errors(
    script: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the command, run and failure, and ends with the command's stderr output."""
    assert main(["ab", "--", "true", "--", "sh", "-c", script]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("nanospan: command B ")
    assert message in captured.err
    assert captured.err.endswith("the reason\n")
    assert "\x1b" not in captured.err


def test_only_the_end_of_the_error_output_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Only the last lines of a failed command's long stderr output are shown."""
    script = "i=0; while [ $i -lt 5000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1"
    assert main(["ab", "--", "sh", "-c", script, "--", "true"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "  line 4999"
    assert len(lines) < 15


def test_a_failure_without_error_output_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """If a failed command wrote nothing to stderr, the error says so."""
    assert main(["ab", "--", "false", "--", "true"]) == 2
    assert capsys.readouterr().err.endswith("Its standard error output is empty.\n")


def test_a_command_that_takes_too_long_is_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that exceeds its timeout is killed with its children, even if they ignore TERM."""
    monkeypatch.setattr("nanospan.cli.child.GRACE", 0.1)
    pid = tmp_path / "pid"
    script = 'trap "" TERM; sh -c \'trap "" TERM; echo $$ > "$0"; sleep 600\' "$0" & wait'
    command = ["sh", "-c", script, str(pid)]
    assert main(["ab", "--timeout", "3", "--", *command, "--", "true"]) == 2
    assert "command A took longer than 3 s in run 1 of 31" in capsys.readouterr().err
    _until(lambda: not psutil.pid_exists(int(pid.read_text())), "the grandchild is gone")


def test_a_process_that_a_command_leaves_running_is_not_waited_for(
    tmp_path: Path,
) -> None:
    """A run ends with its command, even if a child process still holds stderr open."""
    pid = tmp_path / "pid"
    command = ["sh", "-c", 'sleep 600 & echo $! > "$0"', str(pid)]
    begin = time.monotonic()
    main(["ab", "--runs", "1", "--warmup", "0", "--", "true", "--", *command])
    assert time.monotonic() - begin < 300
    os.kill(int(pid.read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected two commands, each after --, got 0"),
        (["--"], "expected two commands"),
        (["--", "true"], "expected two commands, each after --, got 1"),
        (["--", "true", "--"], "expected two commands"),
        (["--", "true", "--", "true", "--", "true"], "expected two commands, .*, got 3"),
        (["--", "true", "--", "absent-program", "x"], "command B: .* no program 'absent-program'"),
        (["--", "/etc/passwd", "--", "true"], "command A: there is no program '/etc/passwd'"),
        (["--runs", "0", "--", "true", "--", "true"], "--runs: must be a whole number from 1 to"),
        (["--runs", "x", "--", "true", "--", "true"], "--runs: must be a whole number from 1 to"),
        (["--warmup", "-1", "--", "true", "--", "true"], "--warmup: must be a whole number"),
        (["--timeout", "0", "--", "true", "--", "true"], "--timeout: must be greater than 0"),
        (["--save", "/absent/x", "--", "true", "--", "true"], "the folder of /absent/x does not"),
    ],
)
def test_wrong_arguments_end_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong arguments are reported, with exit status 2, before any command runs."""
    with pytest.raises(SystemExit) as exit_:
        main(["ab", *arguments])
    assert exit_.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.search(message, captured.err)


def test_a_program_that_cannot_be_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An executable file that cannot be started is reported."""
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF, but only as far as that")
    broken.chmod(0o700)
    assert main(["ab", "--", "true", "--", str(broken)]) == 2
    problem = f"{broken}: Exec format error"
    assert f"nanospan: command B failed to start: {problem}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_ctrl_c_ends_the_command_and_all_it_started(
    tmp_path: Path, number: signal.Signals, status: int, word: str
) -> None:
    """SIGINT or SIGTERM ends the command and its children, and no times are saved."""
    pids = tmp_path / "pids"
    script = 'echo $$ >> "$0"; sleep 600 & echo $! >> "$0"; wait'
    with subprocess.Popen(
        [*NANOSPAN, "--save", "ab.json", "--", "sh", "-c", script, str(pids), "--", "true"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as process:
        _until(lambda: pids.exists() and pids.read_text().count("\n") == 2, "it runs")
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert (out, err) == ("", f"nanospan: {word}\n")
    for pid in map(int, pids.read_text().split()):
        _until(lambda pid=pid: not psutil.pid_exists(pid), f"{pid} is gone")
    assert [path.name for path in tmp_path.iterdir()] == ["pids"]


def test_hanging_up_ends_the_command(tmp_path: Path) -> None:
    """SIGHUP, sent when the terminal is closed, ends the running command."""
    pid = tmp_path / "pid"
    command = ["sh", "-c", 'echo $$ > "$0"; exec sleep 600', str(pid)]
    with subprocess.Popen([*NANOSPAN, "--", *command, "--", "true"]) as process:
        _until(lambda: pid.exists() and pid.read_text(), "it runs")
        process.send_signal(signal.SIGHUP)
    assert process.returncode == -signal.SIGHUP
    _until(lambda: not psutil.pid_exists(int(pid.read_text())), "the command is gone")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_an_ignored_signal_stays_ignored(tmp_path: Path, number: signal.Signals) -> None:
    """Signals that were ignored at the start, as SIGHUP is under ``nohup``, end nothing."""
    go = tmp_path / "go"
    command = ["sh", "-c", 'echo > "$0.runs"; until test -e "$0"; do sleep 0.01; done', str(go)]
    before = signal.signal(number, signal.SIG_IGN)
    try:
        process = subprocess.Popen([*NANOSPAN, "--runs", "1", "--", *command, "--", "true"])
    finally:
        signal.signal(number, before)
    with process:
        _until(Path(f"{go}.runs").exists, "it runs")
        process.send_signal(number)
        go.touch()
    assert process.returncode == 0


def test_progress_is_shown_on_a_terminal() -> None:
    """On a terminal, a progress line is updated in place and removed at the end."""
    reader, writer = pty.openpty()
    done = subprocess.run(
        [*NANOSPAN, "--runs", "2", "--", "sleep", "0.2", "--", "sleep", "0.2"],
        stderr=writer,
        stdout=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    shown = os.read(reader, 65_536).decode()
    os.close(reader)
    assert done.returncode == 0
    assert "1 of 6 runs, about " in shown
    assert re.search(r"6 of 6 runs, A [\d.]+ m?s, B [\d.]+ m?s, about 0 s left", shown)
    assert shown.endswith("\r\x1b[K")


def test_progress_is_logged_only_if_it_takes_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal, progress is logged occasionally, and not at all for short work."""
    arguments = ["ab", "--runs", "1", "--warmup", "0", "--", "true", "--", "true"]
    monkeypatch.setattr("nanospan.cli.status.Status.FIRST", 3600)
    main(arguments)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("nanospan.cli.status.Status.FIRST", 0)
    main(arguments)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("nanospan: 1 of 2 runs, A ")


def test_a_long_first_run_shows_the_elapsed_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """During the first run, progress shows the elapsed time instead of an estimate."""
    monkeypatch.setattr("nanospan.cli.status.Status.FIRST", 0)
    monkeypatch.setattr("nanospan.cli.child.WATCH_INTERVAL", 0.01)
    main(["ab", "--runs", "1", "--warmup", "0", "--", "sleep", "0.5", "--", "true"])
    assert capsys.readouterr().err == "nanospan: 0 of 2 runs, 0 s into the first\n"


def test_handlers_and_descriptors_are_restored() -> None:
    """The command restores signal handlers and leaves no file descriptor open."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)]
    main(["ab", "--runs", "1", "--", "true", "--", "true"])
    before = psutil.Process().num_fds()
    main(["ab", "--runs", "3", "--", "true", "--", "true"])
    main(["ab", "--", "true", "--", "false"])
    assert psutil.Process().num_fds() == before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)] == handlers
    assert signal.set_wakeup_fd(-1) == -1
