"""Tests that the code in docs/export.md and docs/report.md prints the output shown there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from servers import free_port

DOCS = Path(__file__).parents[2] / "docs"
# Durations vary from run to run.
VARYING = re.compile(r"\b\d{10}\.\d{9}\b")


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def commands(page):
    """Yield each command on a page, with the output shown below it."""
    for block in blocks(page, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, output = part.split("\n", 1)
            yield command, output


def environment():
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path}


@pytest.mark.skipif(shutil.which("curl") is None, reason="the pages' commands use curl")
@pytest.mark.parametrize(("page", "program"), [("export.md", "shop.py"), ("report.md", "day.py")])
def test_commands_print_the_output_shown(page, program, tmp_path):
    """A page's commands print the output shown when run in order on a free port."""
    (tmp_path / program).write_text(blocks(page, "python")[0])
    options = {"cwd": tmp_path, "env": environment(), "text": True}
    if page == "report.md":
        subprocess.run([sys.executable, program], check=True, capture_output=True, **options)
    port, server = str(free_port()), None
    try:
        for command, output in commands(page):
            here, shown = command.replace("9464", port), output.replace("9464", port)
            if here.endswith("&"):
                arguments = [*here.removesuffix("&").split(), "--port", port]
                server = subprocess.Popen(arguments, stderr=subprocess.PIPE, **options)
                assert server.stderr.readline() == shown
                continue
            done = subprocess.run(
                here, shell=True, capture_output=True, check=False, timeout=60, **options
            )
            assert VARYING.sub("", done.stdout) == VARYING.sub("", shown), done.stderr
    finally:
        if server is not None:
            server.terminate()
            server.communicate(timeout=60)


@pytest.mark.parametrize("page", ["export.md", "report.md"])
def test_programs_print_the_output_shown(page, tmp_path):
    """Each program on the page prints the text block shown after it."""
    text = (DOCS / page).read_text()
    shown = re.findall(r"```python\n((?:(?!```).)*)```\n\n```text\n(.*?)```", text, re.DOTALL)
    assert shown
    for code, output in shown:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert done.stdout == output
