"""Tests that the code, files and commands in docs/alerts.md do what the page shows."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from alerting import make_alert

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "alerts.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
UNSET = {"HOOK_URL", "HOOK_TOKEN", "NANOSPAN_ALERTS"}
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if name not in UNSET},
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
}


def run(command, folder):
    return subprocess.run(
        command,
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )


SHOWN = [
    (code, shown)
    for (kind, code), (next_kind, shown) in itertools.pairwise(BLOCKS)
    if (kind, next_kind) == ("python", "text")
]


@pytest.mark.parametrize(("code", "shown"), SHOWN)
def test_programs_print_what_is_shown(code, shown, tmp_path):
    """Each Python block that is followed by a text block prints exactly that text."""
    done = run([sys.executable, "-W", "error", "-c", code], tmp_path)
    assert (done.returncode, done.stdout) == (0, shown)


def test_commands_print_what_is_shown(tmp_path):
    """Each command on the page prints the output and returns the exit status shown."""
    for kind, block in BLOCKS:
        if kind == "toml":
            name = re.match(r"# (\w+\.toml)\n", block)[1]
            (tmp_path / name).write_text(block)
    consoles = [block for kind, block in BLOCKS if kind == "console"]
    assert consoles
    for block in consoles:
        status = 0
        parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)[1:]
        for command, shown in zip(parts[::2], parts[1::2], strict=True):
            done = run(["bash", "-c", f"(exit {status}); {command}"], tmp_path)
            assert done.stdout == shown
            status = done.returncode


def test_every_file_except_wrong_toml_is_valid(tmp_path):
    """``nanospan alerts check`` accepts every file on the page except ``wrong.toml``."""
    for kind, block in BLOCKS:
        if kind == "toml" and "wrong.toml" not in block:
            (tmp_path / "file.toml").write_text(block)
            done = run(["nanospan", "alerts", "check", "file.toml"], tmp_path)
            assert done.returncode == 0, done.stdout


def test_the_payload_shown_has_the_format_of_a_webhook():
    """The page's webhook payload has the keys and value types of a real alert, in order."""
    [payload] = [json.loads(block) for kind, block in BLOCKS if kind == "json"]
    alert = make_alert().to_dict()
    assert list(payload) == list(alert)
    assert [type(value) for value in payload.values()] == [type(v) for v in alert.values()]
